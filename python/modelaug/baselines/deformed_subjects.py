"""The base of sources of pairs of deformed subjects of a cohort."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelaug._arrays import Array, Image
from modelaug._random import Stream, generator
from modelaug.baselines.cohort_source import CohortSource
from modelaug.baselines.deformations import Deformations
from modelaug.synthesis.pairs import Pair, PairInfo
from modelaug.synthesis.weights import SubjectWeights
from modelaug.transforms.lattices import InterpolatingLattice
from modelaug.transforms.warping import pull, pull_nearest


class DeformedSubjects(CohortSource):
    """Base of the sources that deform a random subject twice, without folds, and render both deformations.

    A subclass has `options` with ``weight_width``, ``weight_unit`` and ``max_attempts``.
    """

    options: Any
    _labels_continue = True  # beyond the border, rather than being 0

    def _set_deformations(self, lattices: Sequence[tuple[InterpolatingLattice, Array]]) -> None:
        """Set the lattices of the deformations, with the standard deviations (d,) of their nodes in voxels."""
        width, grid = self.options.weight_width, self.cohort.grid
        self._deformations = Deformations(grid, lattices, seed=self.seed, max_attempts=self.options.max_attempts)
        self._weights = None if width is None else SubjectWeights(self.cohort, width, self.options.weight_unit)

    def draw(self, index: int) -> Pair:
        """Return pair `index`.

        ``info`` holds ``subject``, ``attempts``, ``shrink``, ``residual``, ``outside`` and ``folds``, see `PairInfo`.
        Landmarks near the border may leave the image.
        """
        return super().draw(index)

    def _fill(self, index: int, out: Pair) -> PairInfo:
        """Draw pair `index` into arrays; return its info."""
        cohort, rng = self.cohort, generator(self.seed, index, stream=Stream.SUBJECT)
        subject = int(rng.integers(len(cohort)))
        content = self._content(subject, rng)
        drawn = self._deformations.draw(index, out.flow)
        for i, (image, labels) in enumerate(((out.fixed, out.labels_fixed), (out.moving, out.labels_moving))):
            self._render(content, drawn.displacements[i], index, i, image)
            if cohort.labels is not None and labels is not None:
                pull_nearest(cohort.labels[subject], drawn.displacements[i], labels, edge=self._labels_continue)
        # The weight is 0 beyond the subject's border, and where the partner is outside the moving image.
        weight = np.ones(cohort.grid, np.float32) if self._weights is None else self._weights.of(subject)
        pull(weight, drawn.displacements[0], out.weight, 0.0)
        np.multiply(out.weight, drawn.inside, out=out.weight)
        out.landmarks_fixed[:], out.landmarks_moving[:] = drawn.shown(cohort.landmarks[subject])
        return {"subject": subject, **drawn.info}

    @abstractmethod
    def _content(self, subject: int, rng: np.random.Generator) -> Any:
        """Return the content of a subject that both images of a pair show."""

    @abstractmethod
    def _render(self, content: Any, displacement: Image, index: int, i: int, out: Image) -> None:
        """Render the fixed (i = 0) or moving (1) image (c, *grid) of pair `index`."""
