"""Registered test pairs, for plots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelaug import _checks


@dataclass(frozen=True, eq=False)
class Example:
    """One registered test pair, for plots.

    Parameters
    ----------
    fold
        Number of the fold.
    method
        Name of the method that found the displacement.
    fixed, moving
        The subjects' indices in the cohort.
    displacement : ndarray, (2, h, w), float32
        Pull displacement in pixels on the fixed image's grid.
    """

    fold: int
    method: str
    fixed: int
    moving: int
    displacement: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        field = _checks.finite("displacement", self.displacement, ndim=3, dtype=np.float32)
        object.__setattr__(self, "displacement", field)
