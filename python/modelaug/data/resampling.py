"""Resampling of images, fields, points, scans and cohorts to coarser or finer grids.

Both grids have parallel axes and a common centre. With r old voxels for each new one along an axis of N old and n new
voxels, new voxel x lies at ``(N - 1) / 2 + (x - (n - 1) / 2) r`` of the old ones. Where both grids have the same
extent, from the outer edge of the first voxel to that of the last, r is N / n and x lies at ``(x + 1/2) N / n - 1/2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # whose submodules are imported when they are used: ndimage takes long

from modelaug import _checks
from modelaug.data.cohort import Cohort
from modelaug.data.geometry import Geometry
from modelaug.data.scans import Scan
from modelaug.transforms.fields import check_field


def resize_image(image: npt.ArrayLike, grid: Sequence[int]) -> npt.NDArray[np.float32]:
    """Resample images to another grid of the same extent.

    Along an axis with fewer voxels, a voxel becomes the mean over the part that it covers; along one with more, values
    are interpolated linearly between centres.

    Parameters
    ----------
    image : array_like, (..., *old)
        Any number of leading axes, such as channels.
    grid
        The new shape, with as many axes as the old one.

    Returns
    -------
    ndarray, (..., *grid), float32
    """
    shape = _checks.grid_shape("grid", grid)
    pixels = _checks.finite("image", image, ndim=tuple(range(len(shape), len(shape) + 3)), dtype=np.float32)
    for axis, new in enumerate(shape, start=pixels.ndim - len(shape)):
        old = pixels.shape[axis]
        if old != new:
            pixels = np.moveaxis(np.moveaxis(pixels, axis, -1) @ _weights(old, new), -1, axis)
    return np.array(pixels, order="C")  # never the caller's own memory


def resize_field(displacement: npt.ArrayLike, grid: Sequence[int]) -> npt.NDArray[np.float32]:
    """Resample a displacement field to another grid of the same extent, in its voxels; see `resize_image`.

    Parameters
    ----------
    displacement : array_like, (d, *old)
        In voxels of the old grid.
    grid
        The new shape.

    Returns
    -------
    ndarray, (d, *grid), float32
    """
    field = check_field("displacement", displacement)
    shape = _checks.grid_shape("grid", grid, axes=len(field))
    ratio = np.array(shape, np.float32) / np.array(field.shape[1:], np.float32)
    return np.asarray(resize_image(field, shape) * ratio.reshape(-1, *(1 for _ in shape)), np.float32)


def resize_points(points: npt.ArrayLike, old: Sequence[int], new: Sequence[int]) -> npt.NDArray[np.float64]:
    """Convert points (..., d) from voxels of the grid `old` to those of the grid `new` of the same extent."""
    ratio = np.array(new, np.float64) / np.array(old, np.float64)
    return (np.asarray(points, np.float64) + 0.5) * ratio - 0.5


def resize_cohort(cohort: Cohort, grid: Sequence[int]) -> Cohort:
    """Resample a cohort to another grid of the same extent: images as in `resize_image`, labels by nearest neighbour.

    Halfway between two voxels, labels take alternately the one before and the one after, as in `resample`. Landmarks
    beyond the centres of the outermost voxels, by less than half a voxel, are moved onto them.
    """
    old, new = cohort.grid, _checks.grid_shape("grid", grid, axes=len(cohort.grid))
    if old == new:
        return cohort
    labels = cohort.labels
    if labels is not None:
        for axis, (n_old, n_new) in enumerate(zip(old, new, strict=True), start=1):
            labels = np.take(labels, _nearest_voxels(n_old, _centres(n_old, n_new)), axis=axis)
    return Cohort(
        resize_image(cohort.images, new),
        np.clip(resize_points(cohort.landmarks, old, new), 0, np.array(new) - 1),
        labels=labels,
        objects=cohort.objects,
        spacing=cohort.spacing * np.array(old) / np.array(new),
        names=cohort.names,
        preparation=cohort.preparation,
    )


def resample(scan: Scan, spacing: npt.ArrayLike) -> Scan:
    """Resample a scan to another spacing; its extent stays, to within half a voxel at each end.

    Images are interpolated linearly, along coarser axes after Gaussian smoothing with a standard deviation of
    sqrt(ratio^2 - 1) / 2 voxels against aliasing. Labels take the nearest voxel, and halfway between two alternately
    the one before and the one after, so that structures do not move on average.

    Parameters
    ----------
    scan
        In 2D or 3D.
    spacing
        Millimetres: a number for all axes, or one per axis.
    """
    old = scan.geometry.spacing
    new = _checks.spacing("spacing", spacing, len(old))
    ratio = new / old
    if (ratio == 1).all():
        return scan
    step, geometry = {"step": "resample", "from": old.tolist(), "to": new.tolist()}, scan.geometry
    if np.allclose(ratio, 1.0, rtol=1e-4):  # files keep spacings in single precision
        return scan.after(step, geometry=Geometry(new, geometry.origin, geometry.direction))
    grid = tuple(max(1, round(n / r)) for n, r in zip(scan.grid, ratio, strict=True))
    start = first_voxel(scan.grid, grid, ratio)
    image = np.empty((len(scan.image), *grid), np.float32)
    for target, channel in zip(image, smoothed(scan.image, ratio), strict=True):
        # A matrix, not its diagonal, about which older releases of scipy warn.
        scipy.ndimage.affine_transform(
            channel, np.diag(ratio), offset=start, output_shape=grid, output=target, order=1, mode="nearest"
        )
    axes = zip(scan.grid, grid, start, ratio, strict=True)
    nearest = np.ix_(*(_nearest_voxels(n, first + r * np.arange(k)) for n, k, first, r in axes))
    return scan.after(
        step,
        image=image,
        labels=lambda labels: labels[nearest],
        landmarks=lambda landmarks: (landmarks - start) / ratio,
        geometry=geometry.moved(start, new),
    )


def smoothed(image: npt.NDArray[np.float32], ratio: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Smooth channels (c, *grid) against aliasing at steps of `ratio` voxels (d,), see `resample`."""
    deviations = np.sqrt(np.maximum(ratio**2 - 1, 0)) / 2
    return np.asarray(scipy.ndimage.gaussian_filter(image, (0, *deviations), mode="nearest"))


def first_voxel(old: Sequence[int], new: Sequence[int], ratio: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the position (d,) of the first voxel of `new` in the grid `old`, `ratio` (d,) old voxels per new one."""
    return np.asarray((np.array(old) - 1 - (np.array(new) - 1) * ratio) / 2)


def _centres(old: int, new: int) -> npt.NDArray[np.float64]:
    """Return the positions (new,) of new voxels along an axis of the same extent with `old` voxels."""
    return np.asarray((np.arange(new) + 0.5) * (old / new) - 0.5)


def _nearest_voxels(count: int, at: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the nearest of `count` voxels to each position; halfway, alternately the one before and the one after.

    Always taking the same one would move labels against the image, by half a voxel where the size doubles.
    """
    index = np.floor(at + 0.5)
    before = np.floor(at)
    halfway = np.abs(at - before - 0.5) < 1e-6
    index[halfway] = before[halfway] + np.arange(halfway.sum()) % 2
    return np.clip(index, 0, count - 1).astype(np.intp)


def _weights(old: int, new: int) -> npt.NDArray[np.float32]:
    """Return the matrix (old, new) that resamples an axis."""
    if new < old:
        edges = np.arange(new + 1) * (old / new)
        cells = np.arange(old)[:, None]
        covered = np.minimum(edges[1:], cells + 1) - np.maximum(edges[:-1], cells)
        return np.asarray(np.maximum(covered, 0) * (new / old), np.float32)
    at = np.clip(_centres(old, new), 0, old - 1)
    weights: npt.NDArray[Any] = np.maximum(1 - np.abs(at - np.arange(old)[:, None]), 0)
    return weights.astype(np.float32)
