"""Pairs of random smooth maps without folds, and the correspondence of what they show of one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _core
from modelaug._random import generator
from modelaug.transforms.diffeomorphic import LandmarkMap, correspond

__all__ = ["Deformations", "PairOfMaps", "RandomLattice", "smooth_fields"]

Array = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]

_ACCURACY: Final = 0.01  # voxels; largest residual of the correspondence
_SMALLEST: Final = 1e-3  # factor at which draws that fold become the identity


class RandomLattice:
    """Independent normal numbers on a coarse lattice, from corner to corner of a grid, and a cubic spline through them.

    The spline is the natural one along every axis: its second derivative is 0 at the border. An axis of one voxel has
    two nodes that are the same voxel.

    Parameters
    ----------
    grid
        Shape of the domain.
    points
        Nodes along every axis, at least 2.

    Attributes
    ----------
    points : tuple of int
        Nodes along each axis.
    """

    def __init__(self, grid: tuple[int, ...], points: int) -> None:
        self.grid = grid
        self.points = tuple(points if length > 1 else 2 for length in grid)
        self._solutions = [_natural_spline(count) for count in self.points]

    def numbers(self, rng: np.random.Generator, count: int) -> Array:
        """Draw the numbers of `count` fields, (count, *points)."""
        return rng.standard_normal((count, *self.points))

    def control_points(self, values: Array) -> Array:
        """Return the B-spline control points (count, *points + 2) that interpolate values (count, *points)."""
        for axis, solution in enumerate(self._solutions):
            # Not a BLAS product, whose rounding may depend on the number of its threads.
            values = np.moveaxis(np.einsum("np,p...->n...", solution, np.moveaxis(values, axis + 1, 0)), 0, axis + 1)
        return np.ascontiguousarray(values)


def smooth_fields(lattice: RandomLattice, numbers: Array) -> Field:
    """Return the fields (count, *grid) whose values at the nodes are `numbers` (count, *points)."""
    return _core.bspline_on_grid(lattice.control_points(numbers), lattice.grid, 1)


@dataclass(frozen=True, eq=False)
class PairOfMaps:
    """Two maps from the voxels of the fixed and the moving image to the image that both show.

    Attributes
    ----------
    maps : tuple of LandmarkMap
    displacements : tuple of ndarray, (d, *grid), float32
        Those of the maps at all voxels.
    flow : ndarray, (d, *grid), float32
    inside : ndarray, (*grid), bool
        Voxels of the fixed image whose partner lies inside the moving one.
    info : dict
        ``attempts``; ``shrink``, the factor on all displacements, 1 unless every attempt failed; ``residual``, an upper
        bound of the distance in voxels of what the two images show at corresponding voxels, where the partner is
        inside; ``outside``, voxels whose partner is not; ``folds``, 0.
    """

    maps: tuple[LandmarkMap, LandmarkMap]
    displacements: tuple[Field, Field]
    flow: Field
    inside: npt.NDArray[np.bool_]
    info: dict[str, Any]

    def landmarks(self, points: Array) -> tuple[Array, Array]:
        """Return where the two images show `points` (m, d) of the image behind them; beyond their frames, perhaps."""
        fixed, moving = (chi.solve(points, points)[0] for chi in self.maps)
        return fixed, moving


class Deformations:
    """Draws pairs of random maps, chains of splines through normal displacements on lattices, that do not fold.

    Pair i is a pure function of (seed, parameters, i). An attempt at a pair is rejected if the Jacobian determinant of
    a map or of the flow is not positive at all voxels, by finite differences, or the correspondence cannot be solved
    for to a hundredth of a voxel. After `max_attempts` the last one is halved until it is valid.

    Parameters
    ----------
    grid
        Shape of both images.
    deviations
        For each spline of a map, in the order in which they are applied to a voxel: its lattice, and the standard
        deviations (d,) in voxels of the displacements of its nodes. Nothing moves along axes of one voxel.
    seed
        Non-negative integer.
    max_attempts
        Attempts at a pair.
    """

    def __init__(
        self, grid: tuple[int, ...], deviations: Sequence[tuple[RandomLattice, Array]], *, seed: int, max_attempts: int
    ) -> None:
        self._grid = grid
        moves = np.array(grid) > 1
        self._steps = [(lattice, (sd * moves).reshape(-1, *(1 for _ in grid))) for lattice, sd in deviations]
        self._seed, self._max_attempts = seed, max_attempts
        self._identity = np.eye(len(grid), len(grid) + 1)

    def draw(self, index: int, out: Field | None = None) -> PairOfMaps:
        """Return the first valid pair of maps for `index`, its flow in `out` if that is given."""
        for attempts, shrink, steps in self._attempts(index):
            pair = self._pair(steps, {"attempts": attempts, "shrink": shrink}, out)
            if pair is not None:
                return pair
        raise RuntimeError("the identity is said to fold; this is a defect")

    def _attempts(self, index: int) -> Iterator[tuple[int, float, list[tuple[Array, ...]]]]:
        d = len(self._grid)
        for attempt in range(self._max_attempts):
            rng = generator(self._seed, index, attempt)
            steps = [
                tuple(lattice.control_points(sd * lattice.numbers(rng, d)) for lattice, sd in self._steps)
                for _ in range(2)
            ]
            yield attempt + 1, 1.0, steps
        shrink = 1.0
        while shrink > 0.0:
            shrink = shrink / 2 if shrink > _SMALLEST else 0.0
            yield self._max_attempts, shrink, [tuple(shrink * step for step in chain) for chain in steps]

    def _pair(self, steps: list[tuple[Array, ...]], info: dict[str, Any], out: Field | None) -> PairOfMaps | None:
        """Return the pair of maps, or None if it is not valid."""
        fixed, moving = (LandmarkMap(chain, self._identity, self._grid, np.zeros(0)) for chain in steps)
        displacements = (fixed.displacement(), moving.displacement())
        if any(_core.count_folds(u, 1) > 0 for u in displacements):
            return None
        flow, residual = correspond(displacements[0], moving, out=out)
        folds = _core.count_folds(flow, 1)
        if folds or not float(residual.max()) <= _ACCURACY:  # nor if it is NaN
            return None
        inside, outside = _core.find_inside(flow, 1)
        info |= {"residual": float((residual * inside).max()), "outside": outside, "folds": folds}
        return PairOfMaps((fixed, moving), displacements, flow, inside, info)


def _natural_spline(points: int) -> Array:
    """Return what makes of values at nodes the control points of the natural cubic spline, (points + 2, points).

    A uniform cubic B-spline has the value (c[i] + 4 c[i + 1] + c[i + 2]) / 6 at node i, and the second derivative
    c[i] - 2 c[i + 1] + c[i + 2].
    """
    system = np.zeros((points + 2, points + 2))
    for i in range(points):
        system[i + 1, i : i + 3] = np.array([1.0, 4.0, 1.0]) / 6
    system[0, :3] = system[-1, -3:] = [1.0, -2.0, 1.0]
    return np.asarray(np.linalg.inv(system)[:, 1:-1], dtype=np.float64)
