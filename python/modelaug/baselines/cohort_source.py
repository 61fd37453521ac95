"""The base of sources of pairs of a cohort's subjects."""

from __future__ import annotations

from modelaug import _checks
from modelaug.data.cohort import Cohort
from modelaug.synthesis.batching import BatchedSource, pair_layout
from modelaug.synthesis.pairs import Layout


class CohortSource(BatchedSource):
    """A source whose pairs have the grid, channels, landmarks and labels of a cohort.

    Parameters
    ----------
    cohort
        The subjects.
    seed
        Non-negative integer.
    """

    _origin = "cohort"

    def __init__(self, cohort: Cohort, seed: int) -> None:
        self.cohort = _checks.instance("cohort", cohort, Cohort, large=True)
        self.seed = _checks.integer("seed", seed, minimum=0)

    def layout(self) -> Layout:
        """Return shape and type of every array of a pair, by its name in `Pair`."""
        cohort = self.cohort
        return pair_layout(
            cohort.grid,
            channels=cohort.images.shape[1],
            landmarks=cohort.landmarks.shape[1],
            labels=None if cohort.labels is None else cohort.labels.dtype,
        )
