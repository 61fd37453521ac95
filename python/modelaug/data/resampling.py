"""Images, fields, points, scans and cohorts on coarser or finer grids.

Two grids have parallel axes and their centres in one place. With r voxels of an axis of N for each of n, voxel x of the
n lies at ``(N - 1) / 2 + (x - (n - 1) / 2) r``. Where both have the same extent, from the outer edges of the first
voxels to those of the last, r is N / n and this place ``(x + 1/2) N / n - 1/2``.
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

    Halfway between two, labels take in turn the one before and the one after, as in `resample`. Landmarks that come to
    lie beyond the centres of the outermost voxels, by less than half a voxel, are moved there.
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
    """Return a scan with voxels of another size that cover the same extent, to within half a voxel at each end.

    Images are interpolated linearly, along axes that become coarser after Gaussian smoothing with a standard deviation
    of sqrt(ratio^2 - 1) / 2 voxels against aliasing; labels take the nearest voxel, and halfway between two in turn the
    one before and the one after, so that structures do not move on average.

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
    step = {"step": "resample", "from": old.tolist(), "to": new.tolist()}
    geometry = scan.geometry
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
    labels = None
    if scan.labels is not None:
        axes = zip(scan.grid, grid, start, ratio, strict=True)
        labels = scan.labels[np.ix_(*(_nearest_voxels(n, first + r * np.arange(k)) for n, k, first, r in axes))]
    return scan.after(
        step,
        image=image,
        labels=labels,
        landmarks=None if scan.landmarks is None else (scan.landmarks - start) / ratio,
        geometry=geometry.moved(start, new),
    )


def smoothed(image: npt.NDArray[np.float32], ratio: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return channels (c, *grid) smoothed against aliasing by steps of `ratio` voxels (d,), see `resample`."""
    deviations = np.sqrt(np.maximum(ratio**2 - 1, 0)) / 2
    return np.asarray(scipy.ndimage.gaussian_filter(image, (0, *deviations), mode="nearest"))


def first_voxel(old: Sequence[int], new: Sequence[int], ratio: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return where the first voxel of the grid `new` lies in `old`, (d,), with `ratio` (d,) old voxels per new one."""
    return np.asarray((np.array(old) - 1 - (np.array(new) - 1) * ratio) / 2)


def _centres(old: int, new: int) -> npt.NDArray[np.float64]:
    """Return where the voxels of an axis lie on one of the same extent with `old` voxels, (new,)."""
    return np.asarray((np.arange(new) + 0.5) * (old / new) - 0.5)


def _nearest_voxels(count: int, at: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return which of `count` voxels is nearest to each position; halfway, the one before and the one after in turn.

    To always take the same one would move labels against the image, by half a voxel where the size doubles.
    """
    index = np.floor(at + 0.5)
    before = np.floor(at)
    halfway = np.abs(at - before - 0.5) < 1e-6
    index[halfway] = before[halfway] + np.arange(halfway.sum()) % 2
    return np.clip(index, 0, count - 1).astype(np.intp)


def _weights(old: int, new: int) -> npt.NDArray[np.float32]:
    """Return the matrix (old, new) that resizes an axis."""
    if new < old:
        edges = np.arange(new + 1) * (old / new)
        cells = np.arange(old)[:, None]
        covered = np.minimum(edges[1:], cells + 1) - np.maximum(edges[:-1], cells)
        return np.asarray(np.maximum(covered, 0) * (new / old), np.float32)
    at = np.clip(_centres(old, new), 0, old - 1)
    weights: npt.NDArray[Any] = np.maximum(1 - np.abs(at - np.arange(old)[:, None]), 0)
    return weights.astype(np.float32)
