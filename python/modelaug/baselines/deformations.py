"""Pairs of random diffeomorphic maps, and the correspondence between the two images that they deform."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from modelaug import _core
from modelaug._arrays import Array, Field
from modelaug._random import generator
from modelaug.synthesis.attempts import attempts
from modelaug.synthesis.geometry import ACCURACY, PairOfMaps
from modelaug.synthesis.pairs import PairInfo
from modelaug.transforms.diffeomorphic import LandmarkMap, correspond
from modelaug.transforms.lattices import InterpolatingLattice

Steps = list[tuple[Array, ...]]


class Deformations:
    """Draws pairs of random maps without folds: compositions of splines through normal displacements on lattices.

    Pair i is a pure function of (seed, parameters, i). An attempt at a pair is rejected if the Jacobian determinant of
    a map or of the flow is not positive at all voxels, by finite differences, or the correspondence cannot be solved
    to a hundredth of a voxel. After `max_attempts` the last draw is halved until it is valid.

    Parameters
    ----------
    grid
        Shape of both images.
    deviations
        For each spline of a map, in the order in which they are applied to a voxel: its lattice, and the standard
        deviations (d,) in voxels of the displacements of its nodes. Displacements along axes of one voxel are 0.
    seed
        Non-negative integer.
    max_attempts
        Attempts at a pair.
    """

    def __init__(
        self,
        grid: tuple[int, ...],
        deviations: Sequence[tuple[InterpolatingLattice, Array]],
        *,
        seed: int,
        max_attempts: int,
    ) -> None:
        self._grid = grid
        moves = np.array(grid) > 1
        self._steps = [(lattice, (sd * moves).reshape(-1, *(1 for _ in grid))) for lattice, sd in deviations]
        self._seed, self._max_attempts = seed, max_attempts
        self._identity = np.eye(len(grid), len(grid) + 1)

    def draw(self, index: int, out: Field | None = None) -> PairOfMaps:
        """Return the first valid pair of maps for `index`, with its flow in `out` if given."""
        draws = attempts(functools.partial(self._draw_steps, index), _shrunk, self._max_attempts)
        for steps, attempt, shrink in draws:
            pair = self._pair(steps, {"attempts": attempt, "shrink": shrink}, out)
            if pair is not None:
                return pair
        raise RuntimeError("the identity is said to fold; this is a defect")

    def _draw_steps(self, index: int, attempt: int) -> Steps:
        """Draw the control points of the splines of both maps."""
        rng = generator(self._seed, index, attempt)
        d = len(self._grid)
        return [
            tuple(lattice.coefficients(sd * lattice.numbers(rng, d)) for lattice, sd in self._steps) for _ in range(2)
        ]

    def _pair(self, steps: Steps, info: PairInfo, out: Field | None) -> PairOfMaps | None:
        """Return the pair of maps composed of the steps, or None if it is not valid."""
        fixed, moving = (LandmarkMap(splines, self._identity, self._grid, np.zeros(0)) for splines in steps)
        displacements = (fixed.displacement(), moving.displacement())
        if any(_core.count_folds(u, 1) > 0 for u in displacements):
            return None
        flow, residual = correspond(displacements[0], moving, out=out)
        folds = _core.count_folds(flow, 1)
        if folds or not float(residual.max()) <= ACCURACY:  # nor if it is NaN
            return None
        inside, outside = _core.find_inside(flow, 1)
        info |= {"residual": float((residual * inside).max()), "outside": outside, "folds": folds}
        return PairOfMaps((fixed, moving), displacements, flow, inside, info)


def _shrunk(steps: Steps, factor: float) -> Steps:
    return [tuple(factor * spline for spline in splines) for splines in steps]
