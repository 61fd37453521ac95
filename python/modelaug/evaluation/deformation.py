"""Metrics of a displacement field: folds, regularity, inverse consistency and end-point error."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.transforms.fields import check_field, compose, jacobian_determinant


def folded_percentage(displacement: npt.ArrayLike, *, threads: int | None = None) -> float:
    """Return the percentage of voxels at which a field folds: its Jacobian determinant is not positive.

    Parameters
    ----------
    displacement : array_like, (d, *grid)
        Displacement in voxels.
    threads
        Threads to use; None means all cores.
    """
    return 100 * float(np.mean(jacobian_determinant(displacement, threads=threads) <= 0))


def log_jacobian_sd(displacement: npt.ArrayLike, *, threads: int | None = None) -> float:
    """Return the standard deviation of the logarithm of the Jacobian determinant, a measure of irregularity.

    Voxels without a positive determinant, which `folded_percentage` counts, are left out. The divisor is the number of
    voxels. The result is NaN if no determinant is positive.

    Parameters
    ----------
    displacement : array_like, (d, *grid)
        Displacement in voxels.
    threads
        Threads to use; None means all cores.
    """
    determinant = jacobian_determinant(displacement, threads=threads)
    positive = determinant[determinant > 0]
    return float(np.log(positive, dtype=np.float64).std()) if positive.size else float("nan")


def inverse_consistency(
    u: npt.ArrayLike, v: npt.ArrayLike, spacing: npt.ArrayLike | None = None, mask: npt.ArrayLike | None = None
) -> float:
    """Return the mean length of ``u(x) + v(x + u(x))``, the error of going to x + u(x) and back by v.

    Only those x count for which x + u(x) is in the grid of v.

    Parameters
    ----------
    u, v : array_like, (d, *grid)
        Displacements in voxels, from one image to another and back. Their grids may differ, but not their spacing.
    spacing : array_like, (d,), optional
        Millimetres per voxel along each axis; 1 by default.
    mask : array_like of bool, (*grid), optional
        Which voxels of the grid of u count; all by default.

    Returns
    -------
    float
        In mm; in voxels without `spacing`.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong shape or values that are not finite, or no voxel counts.
    """
    there, back = check_field("u", u), check_field("v", v)
    returned = compose(back, there)
    targets = np.indices(there.shape[1:], dtype=np.float64) + there
    last = np.array(back.shape[1:]).reshape(-1, *[1] * (there.ndim - 1)) - 1
    inside = ((targets >= 0) & (targets <= last)).all(axis=0)
    return _mean_length(returned, spacing, inside & _mask(mask, there.shape[1:]))


def mean_end_point_error(
    displacement: npt.ArrayLike,
    truth: npt.ArrayLike,
    spacing: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> float:
    """Return the mean end-point error: the mean length of the difference of a field and the true one.

    Parameters
    ----------
    displacement, truth : array_like, (d, *grid)
        Displacements in voxels.
    spacing : array_like, (d,), optional
        Millimetres per voxel along each axis; 1 by default.
    mask : array_like of bool, (*grid), optional
        Which voxels count; all by default.

    Returns
    -------
    float
        In mm; in voxels without `spacing`.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong shape or values that are not finite, or no voxel counts.
    """
    found, true = check_field("displacement", displacement), check_field("truth", truth)
    if found.shape != true.shape:
        raise ValueError(f"truth has shape {true.shape} but displacement {found.shape}; pass two fields on one grid")
    return _mean_length(found.astype(np.float64) - true, spacing, _mask(mask, found.shape[1:]))


def _mask(mask: npt.ArrayLike | None, grid: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    if mask is None:
        return np.ones(grid, bool)
    array = np.asarray(mask)
    if array.dtype != bool or array.shape != grid:
        raise ValueError(f"mask is an array {array.shape} of {array.dtype}; pass one {grid} of bool")
    return array


def _mean_length(
    vectors: npt.NDArray[np.floating[Any]], spacing: npt.ArrayLike | None, chosen: npt.NDArray[np.bool_]
) -> float:
    scale = _checks.spacing("spacing", spacing, len(vectors))
    if not chosen.any():
        raise ValueError("no voxel counts: mask excludes all, or u leads out of the grid; pass another mask or field")
    return float(np.linalg.norm(vectors[:, chosen].T * scale, axis=1).mean())
