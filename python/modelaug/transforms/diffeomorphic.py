"""One-to-one maps that move landmarks, and the correspondence of two images rendered by them.

A single spline that moves landmarks far, or closely spaced ones apart, folds: several points go to the same place.
Small displacements do not, and a chain of maps without folds has none. So landmarks are moved in as few steps as that
takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelaug import _core
from modelaug.transforms.splines import SplineOptions

__all__ = ["LandmarkMap", "correspond", "fit_map"]

Array = npt.NDArray[np.float64]

_LEAST = 0.2  # Jacobian determinant that every step exceeds; the chain's is the product
_TOLERANCE = 3e-4  # voxels, of Newton's method
_ITERATIONS = 10  # of Newton's method, in each of the stretches it may need


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """A map of space, chi(x) = A f_K(... f_1(x)) + b with f_k(x) = x + r_k(x), each r_k a cubic B-spline.

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

    def displacement(self, *, threads: int = 1) -> npt.NDArray[np.float32]:
        """Return chi(x) - x at all voxels, (d, *grid), float32."""
        return _core.evaluate_composition_on_grid(list(self.steps), self.affine, self.grid, threads)

    def solve(self, targets: Array, starts: Array, *, threads: int = 1) -> tuple[Array, Array]:
        """Return the points (p, d) that go to `targets` (p, d), sought from `starts`, and what they miss them by (p,).

        Newton's method; where it does not converge, along the path of a target that moves in small steps. Without folds
        there is exactly one such point.
        """
        return _core.solve_composition(
            list(self.steps),
            self.affine,
            self.grid,
            _points(targets),
            _points(starts),
            _TOLERANCE,
            _ITERATIONS,
            threads,
        )

    def is_one_to_one(self) -> bool:
        """Return whether no step folds anywhere, by a bound that holds for all points.

        A step whose determinant is hardly positive somewhere may be taken for folded.
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
    """Return a map whose steps move `sites` to `targets`, or as near as steps without folds get.

    The first step is a spline from the sites to the targets. If it folds, it is cut down to half the way, and so on, to
    a 64th; further steps go from where the landmarks are then, until none is farther than ``options.max_residual`` from
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
        The affine map behind the steps; the identity by default.
    before
        Displacements (d, *nodes) that come before the steps; `sites` are where they end.
    folds
        Whether to take the first spline as it is, even if it folds.
    """
    steps, residuals = _core.fit_steps(
        _points(sites),
        _points(targets),
        grid,
        options.tolerance,
        options.levels(grid),
        _LEAST,
        options.max_steps,
        options.max_residual,
        folds,
    )
    affine = np.eye(len(grid), len(grid) + 1) if affine is None else affine
    return LandmarkMap((*before, *steps), affine, grid, residuals)


def correspond(
    fixed: npt.NDArray[np.float32],
    moving: LandmarkMap,
    *,
    threads: int = 1,
    out: npt.NDArray[np.float32] | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the correspondence of two images rendered by two maps into one frame.

    Every voxel x of the fixed image shows what lies at ``x + fixed(x)`` in the frame; its partner y in the moving image
    is where ``moving(y) = x + fixed(x)``. Newton's method on the splines themselves solves for it.

    Parameters
    ----------
    fixed : ndarray, (d, *grid), float32
        Displacement of the fixed image's map.
    moving
        The moving image's map.
    threads
        Threads to use.
    out : ndarray, (d, *grid), float32, optional
        Where the flow is written to; a new array by default.

    Returns
    -------
    flow : ndarray, (d, *grid), float32
        y - x, in voxels; smooth beyond the frame of the moving image as well.
    residual : ndarray, (*grid), float32
        An upper bound of |moving(x + flow(x)) - (x + fixed(x))|, in voxels, up to rounding: measured, or what the
        curvature of the splines lets a step of Newton's method leave.
    """
    return _core.correspond(fixed, list(moving.steps), moving.affine, _TOLERANCE, _ITERATIONS, threads, out)
