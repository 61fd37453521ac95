"""Scattered-data approximation by multilevel B-splines.

S. Lee, G. Wolberg, S. Y. Shin: Scattered data interpolation with multilevel B-splines. IEEE Transactions on
Visualization and Computer Graphics 3(3), 1997.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core
from modelaug._checked import Checked, Limits, NonNegative, Positive


@dataclass(frozen=True, eq=False)
class BSpline:
    """A cubic B-spline with k components on the domain [0, N - 1] of a grid's axes.

    Attributes
    ----------
    coefficients : ndarray, (k, *nodes), float64
        Control points; an axis with c cells has c + 3 of them.
    grid : tuple of int
        Shape of the domain in voxels.
    residuals : ndarray, (m,), float64
        Euclidean norm of value minus spline at each site of the fit.
    levels : int
        Number of lattices in the fit; 0 if the affine part alone meets the tolerance.
    converged : bool
        Whether no residual exceeds the tolerance.
    """

    coefficients: npt.NDArray[np.float64]
    grid: tuple[int, ...]
    residuals: npt.NDArray[np.float64]
    levels: int
    converged: bool

    def at(
        self,
        points: npt.ArrayLike,
        outside: Literal["error", "clamp", "extrapolate"] = "error",
        *,
        threads: int | None = None,
    ) -> npt.NDArray[np.float64]:
        """Evaluate the spline at points.

        Parameters
        ----------
        points : array_like, (p, d)
            Voxels, components in array-axis order.
        outside
            For points outside the domain: ``"error"`` refuses them, ``"clamp"`` takes the value at the nearest point of
            the domain, ``"extrapolate"`` continues linearly from there.
        threads
            Threads to use; None means all cores.

        Returns
        -------
        ndarray, (p, k), float64

        Raises
        ------
        ValueError
            If `points` has the wrong shape, holds values that are not finite, or lies outside with ``outside="error"``.
        """
        _checks.choice("outside", outside, ("error", "clamp", "extrapolate"))
        checked = _checks.finite("points", points, ndim=2, dtype=np.float64)
        _check_sites("points", checked, self.grid, inside=outside == "error")
        count = _checks.thread_count(threads)
        return _core.bspline_at(self.coefficients, self.grid, checked, outside == "extrapolate", count)

    def on_grid(self, *, threads: int | None = None) -> npt.NDArray[np.float32]:
        """Evaluate the spline at all voxels: (k, *grid), float32."""
        return _core.bspline_on_grid(self.coefficients, self.grid, _checks.thread_count(threads))


def fit_bspline(
    sites: npt.ArrayLike,
    values: npt.ArrayLike,
    grid: Sequence[int],
    *,
    tolerance: float,
    max_levels: int = 8,
    weights: npt.ArrayLike | None = None,
    affine: bool = True,
    threads: int | None = None,
) -> BSpline:
    """Approximate scattered values by cubic B-splines on lattices of doubling density (Lee et al. 1997).

    An affine map is fitted first by least squares; B-spline lattices with 1, 2, 4, ... cells per axis then approximate
    the residuals, each refined exactly into the next, until no residual is longer than `tolerance`.

    Parameters
    ----------
    sites : array_like, (m, d)
        Positions in voxels, components in array-axis order, within [0, N - 1] along every axis.
    values : array_like, (m, k)
        Values at the sites; all components share one lattice.
    grid
        Shape of the domain, 2 or 3 axes.
    tolerance
        Largest allowed residual, in the unit of `values`.
    max_levels
        Largest number of lattices. Sites that coincide but have different values never converge and stop here, or
        earlier where the next lattice would exceed 2^26 control points (after 13 levels in 2D, 9 in 3D).
    weights : array_like, (m,), optional
        Positive confidences of the sites; equal by default.
    affine
        Whether to start from the least-squares affine map. Without it the splines pull towards 0 away from the sites.
    threads
        Threads to use; None means all cores. The bits do not depend on their number, and small fits take one.

    Returns
    -------
    BSpline
        The same bits for any order of the sites.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import fit_bspline
    >>> sites = [[4, 5], [4, 25], [20, 15], [30, 8], [28, 33]]  # fixed landmarks
    >>> values = [[0, 2], [1, 0], [0, -1], [2, 2], [-1, 0]]  # and how far from them the moving ones are
    >>> spline = fit_bspline(sites, values, (40, 36), tolerance=0.01)
    >>> spline.converged, bool(spline.residuals.max() <= 0.01)
    (True, True)
    >>> np.round(spline.at([[20, 15]]), 1) + 0.0
    array([[ 0., -1.]])
    >>> spline.on_grid().shape  # a displacement field
    (2, 40, 36)
    """
    shape = _checks.grid_shape("grid", grid)
    x = _checks.finite("sites", sites, ndim=2, dtype=np.float64)
    z = _checks.finite("values", values, ndim=2, dtype=np.float64)
    _check_sites("sites", x, shape, inside=True)
    if len(z) != len(x):
        raise ValueError(f"values has shape {z.shape}; pass one row per site, {len(x)}")
    w = None if weights is None else _checks.finite("weights", weights, ndim=1, dtype=np.float64)
    if w is not None and w.shape != (len(x),):
        raise ValueError(f"weights has shape {w.shape}; pass one weight per site, ({len(x)},)")
    if w is not None and w.min() <= 0:
        raise ValueError(f"weights[{int(np.argmin(w))}] is {w.min():g}; pass positive weights, drop sites without any")
    largest = _checks.number("tolerance", tolerance, minimum=0.0)
    most = _checks.integer("max_levels", max_levels, minimum=1, maximum=_checks.LARGEST_INT)
    count = _checks.thread_count(threads)
    coefficients, residuals, levels, converged = _core.fit_bspline(x, z, w, shape, largest, most, bool(affine), count)
    return BSpline(coefficients, shape, residuals, levels, converged)


@dataclass(frozen=True)
class SplineOptions(Checked):
    """Options of the dense maps fitted to landmarks, see `fit_bspline` and `maps.fit_map`.

    Parameters
    ----------
    tolerance
        Residual at the landmarks, in voxels, at which no finer lattice is added.
    max_levels
        Largest number of lattices.
    finest
        Smallest cell of a lattice along the grid's longest axis, in voxels: no map varies between voxels unseen. Every
        axis has as many cells, so they are smaller along shorter ones.
    max_steps
        Largest number of steps, one spline each, that move the landmarks where a single one folds or misses them.
    max_residual
        Largest distance in voxels by which the steps may miss a landmark.
    """

    tolerance: NonNegative = 0.05
    max_levels: Annotated[int, Limits(1, _checks.LARGEST_INT)] = 8
    finest: Positive = 1.0
    max_steps: Annotated[int, Limits(1, _checks.LARGEST_INT)] = 16
    max_residual: NonNegative = 1.0

    def displacement(
        self, sites: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], grid: tuple[int, ...]
    ) -> BSpline:
        """Return the spline that moves `sites` to `targets`, both (m, d) in voxels."""
        return fit_bspline(sites, targets - sites, grid, tolerance=self.tolerance, max_levels=self.levels(grid))

    def levels(self, grid: tuple[int, ...]) -> int:
        """Return the largest number of lattices on a grid."""
        cells = max(1.0, max(grid) / self.finest)
        return min(self.max_levels, 1 + math.floor(math.log2(cells)))


def _check_sites(name: str, sites: npt.NDArray[np.float64], grid: tuple[int, ...], *, inside: bool) -> None:
    if sites.shape[1] != len(grid):
        raise ValueError(f"{name} has shape {sites.shape}; pass {len(grid)} coordinates each for the grid {grid}")
    outside = ((sites < 0) | (sites > np.array(grid) - 1)).any(axis=1)
    if inside and outside.any():
        i = int(np.argmax(outside))
        raise ValueError(
            f"{name}[{i}] is {sites[i].tolist()}, outside the domain [0, N - 1] of the grid {grid}; drop or move it"
        )
