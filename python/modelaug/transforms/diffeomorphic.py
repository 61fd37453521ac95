"""Diffeomorphic maps that move landmarks, and the correspondence of two images rendered by them.

A single spline that moves landmarks far, or closely spaced ones apart, folds: several points go to the same place.
Small displacements do not, and a composition of diffeomorphic maps is diffeomorphic. So landmarks are moved in as few
steps as that takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelaug import _core
from modelaug._arrays import Array, Field
from modelaug.transforms.splines import SplineOptions

_LEAST = 0.2  # Jacobian determinant that every step exceeds; the composition's is the product
_TOLERANCE = 3e-4  # voxels, of Newton's method
_ITERATIONS = 10  # of Newton's method, in each of the stretches it may need


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """The composition chi(x) = A f_K(... f_1(x)) + b of maps f_k(x) = x + r_k(x), each r_k a cubic B-spline.

    Beyond the grid the outermost control points of a spline continue, so that the map is twice continuously
    differentiable everywhere.

    Attributes
    ----------
    steps : tuple of ndarray, (d, *nodes), float64
        Control points of the displacements, in voxels.
    affine : ndarray, (d, d + 1), float64
        A and b, in voxels.
    grid : tuple of int
        Shape of the domain of all steps.
    residuals : ndarray, (m,), float64
        Distances in voxels by which the steps miss the landmarks' targets.
    """

    steps: tuple[Array, ...]
    affine: Array
    grid: tuple[int, ...]
    residuals: Array

    def at(self, points: Array, *, threads: int = 1) -> Array:
        """Return chi at points (p, d), inside the grid or not."""
        return _core.evaluate_composition(list(self.steps), self.affine, self.grid, _points(points), threads)[0]

    def determinants(self, points: Array, *, threads: int = 1) -> Array:
        """Return the determinant (p,) of the Jacobian at points (p, d)."""
        return _core.evaluate_composition(list(self.steps), self.affine, self.grid, _points(points), threads)[1]

    def displacement(self, *, threads: int = 1) -> Field:
        """Return chi(x) - x at all voxels, (d, *grid), float32."""
        return _core.evaluate_composition_on_grid(list(self.steps), self.affine, self.grid, threads)

    def solve(self, targets: Array, starts: Array, *, threads: int = 1) -> tuple[Array, Array]:
        """Solve chi(y) = target for points y (p, d) from `starts` (p, d); return them and the residuals (p,) in voxels.

        Newton's method; where it does not converge, the target moves from the value at the start in small steps. A
        diffeomorphic map has exactly one solution.
        """
        values, guesses = _points(targets), _points(starts)
        return _core.solve_composition(
            list(self.steps), self.affine, self.grid, values, guesses, _TOLERANCE, _ITERATIONS, threads
        )

    def is_one_to_one(self) -> bool:
        """Return whether the map is diffeomorphic: no step folds anywhere, by a bound that holds for all points.

        A step whose Jacobian determinant is hardly positive somewhere may count as folded.
        """
        return all(_core.is_diffeomorphic(step, self.grid, 0.0) for step in self.steps)


def _points(values: npt.ArrayLike) -> Array:
    return np.ascontiguousarray(values, dtype=np.float64)


def fit_map(
    sites: Array,
    targets: Array,
    options: SplineOptions,
    grid: tuple[int, ...],
    *,
    affine: Array | None = None,
    before: tuple[Array, ...] = (),
    folds: bool = False,
) -> LandmarkMap:
    """Fit a diffeomorphic map that moves `sites` to `targets`, or as near as its steps get without folds.

    The first step is a spline from the sites to the targets. If it folds, it goes half the way, a quarter, and so on to
    a 64th; further steps go from the landmarks' new positions, until none is farther than ``options.max_residual`` from
    its target, or they come no nearer.

    Parameters
    ----------
    sites, targets : ndarray, (m, d)
        Voxels; the sites within the grid.
    options
        How splines are fitted.
    grid
        Shape of the domain.
    affine : ndarray, (d, d + 1), optional
        Affine map applied after the steps; the identity by default.
    before
        Control points (d, *nodes) of displacements applied before the steps; `sites` are positions after them.
    folds
        Whether to take the first spline as it is, even if it folds.
    """
    positions, goals, levels = _points(sites), _points(targets), options.levels(grid)
    steps, residuals = _core.fit_steps(
        positions, goals, grid, options.tolerance, levels, _LEAST, options.max_steps, options.max_residual, folds
    )
    affine = np.eye(len(grid), len(grid) + 1) if affine is None else affine
    return LandmarkMap((*before, *steps), affine, grid, residuals)


def correspond(fixed: Field, moving: LandmarkMap, *, threads: int = 1, out: Field | None = None) -> tuple[Field, Field]:
    """Return the flow between two images that two maps render from one reference space, and its residual.

    Every voxel x of the fixed image shows the point ``x + fixed(x)`` of the reference space; its partner y in the
    moving image solves ``moving(y) = x + fixed(x)``, by Newton's method on the splines themselves.

    Parameters
    ----------
    fixed : ndarray, (d, *grid), float32
        Displacement of the fixed image's map.
    moving
        The moving image's map.
    threads
        Threads to use.
    out : ndarray, (d, *grid), float32, optional
        Array for the flow; a new one by default.

    Returns
    -------
    flow : ndarray, (d, *grid), float32
        y - x, in voxels; smooth beyond the grid of the moving image as well.
    residual : ndarray, (*grid), float32
        An upper bound of |moving(x + flow(x)) - (x + fixed(x))|, in voxels, up to rounding: measured, or
        bounded by the curvature of the splines after a step of Newton's method.
    """
    return _core.correspond(fixed, list(moving.steps), moving.affine, _TOLERANCE, _ITERATIONS, threads, out)
