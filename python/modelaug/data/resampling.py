"""Images, fields, points and cohorts on a coarser or finer grid of the same extent.

A grid's extent reaches from the outer edges of its first voxels to those of its last, so voxel x of an axis of N voxels
lies at ``(x + 1/2) n / N - 1/2`` on one of n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.data.cohort import Cohort
from modelaug.transforms.fields import check_field

__all__ = ["resize_cohort", "resize_field", "resize_image", "resize_points"]


def resize_image(image: npt.ArrayLike, grid: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return images on another grid of the same extent.

    Along an axis that gets shorter, a voxel becomes the mean over the part it covers; along one that gets longer,
    values are interpolated linearly between centres.

    Parameters
    ----------
    image : array_like, (..., *old)
        Any number of leading axes, such as channels.
    grid
        The new shape, as many axes as the old one.

    Returns
    -------
    ndarray, (..., *grid), float32

    Raises
    ------
    TypeError, ValueError
        If `grid` is no shape, or `image` has fewer axes or holds no finite numbers.
    """
    shape = _checks.grid_shape("grid", grid)
    pixels = _checks.finite("image", image, ndim=tuple(range(len(shape), len(shape) + 3)), dtype=np.float32)
    for axis, new in enumerate(shape, start=pixels.ndim - len(shape)):
        old = pixels.shape[axis]
        if old != new:
            pixels = np.moveaxis(np.moveaxis(pixels, axis, -1) @ _weights(old, new), -1, axis)
    return np.array(pixels, order="C")  # never the caller's own memory


def resize_field(displacement: npt.ArrayLike, grid: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return a displacement on another grid of the same extent, in that grid's voxels; see `resize_image`.

    Parameters
    ----------
    displacement : array_like, (d, *old)
        In voxels of the old grid.
    grid
        The new shape.

    Returns
    -------
    ndarray, (d, *grid), float32

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape or holds values that are not finite.
    """
    field = check_field("displacement", displacement)
    shape = _checks.grid_shape("grid", grid, axes=len(field))
    ratio = np.array(shape, np.float32) / np.array(field.shape[1:], np.float32)
    return np.asarray(resize_image(field, shape) * ratio.reshape(-1, *(1 for _ in shape)), np.float32)


def resize_points(points: npt.ArrayLike, old: Sequence[int], new: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return where points (..., d) in voxels of the grid `old` lie on the grid `new` of the same extent."""
    ratio = np.array(new, np.float64) / np.array(old, np.float64)
    return (np.asarray(points, np.float64) + 0.5) * ratio - 0.5


def resize_cohort(cohort: Cohort, grid: Sequence[int]) -> Cohort:
    """Return the cohort on another grid of the same extent: images as `resize_image`, labels by the nearest voxel.

    Landmarks that come to lie beyond the centres of the outermost voxels, by less than half a voxel, are moved there.

    Raises
    ------
    TypeError, ValueError
        If `grid` is no shape of as many axes as the images have.
    """
    old, new = cohort.grid, _checks.grid_shape("grid", grid, axes=len(cohort.grid))
    if old == new:
        return cohort
    labels = cohort.labels
    if labels is not None:
        for axis, (n_old, n_new) in enumerate(zip(old, new, strict=True), start=1):
            nearest = np.floor((np.arange(n_new) + 0.5) * n_old / n_new).astype(int)
            labels = np.take(labels, nearest, axis=axis)
    return Cohort(
        resize_image(cohort.images, new),
        np.clip(resize_points(cohort.landmarks, old, new), 0, np.array(new) - 1),
        labels=labels,
        objects=cohort.objects,
        spacing=cohort.spacing * np.array(old) / np.array(new),
        names=cohort.names,
        preparation=cohort.preparation,
    )


def _weights(old: int, new: int) -> npt.NDArray[np.float32]:
    """Return the matrix (old, new) that resizes an axis."""
    if new < old:
        edges = np.arange(new + 1) * (old / new)
        cells = np.arange(old)[:, None]
        covered = np.minimum(edges[1:], cells + 1) - np.maximum(edges[:-1], cells)
        return np.asarray(np.maximum(covered, 0) * (new / old), np.float32)
    at = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    weights: npt.NDArray[Any] = np.maximum(1 - np.abs(at - np.arange(old)[:, None]), 0)
    return weights.astype(np.float32)
