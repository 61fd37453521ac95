"""Images and labels of a cohort, pulled onto the mean shape."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from modelaug.data.cohort import Cohort
from modelaug.transforms.diffeomorphic import fit_map
from modelaug.transforms.splines import SplineOptions
from modelaug.transforms.warping import warp

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Normalized:
    """A cohort in the frame of the mean shape.

    Attributes
    ----------
    textures : ndarray, (n, c, *grid), float32
    labels : ndarray, (*grid), integer, or None
        The commonest label of the subjects at each voxel, the smallest of equally common ones.
    residuals : ndarray, (n,), float64
        Largest distance in voxels at which a subject's map misses a landmark.
    """

    textures: npt.NDArray[np.float32]
    labels: npt.NDArray[np.integer[Any]] | None
    residuals: npt.NDArray[np.float64]


def normalize(
    cohort: Cohort,
    reference: npt.NDArray[np.float64],
    spline: SplineOptions,
    *,
    threads: int,
    progress: Progress | None = None,
) -> Normalized:
    """Pull all images and labels of a cohort onto the mean shape, by maps without folds.

    Where a subject's map looks beyond its own frame, its texture fades into the mean of the subjects that do not; where
    all do, into its own background: the median of its border.

    Parameters
    ----------
    cohort
        The subjects.
    reference : ndarray, (m, d)
        Mean landmarks in voxels, within the grid.
    spline
        How landmarks become dense maps.
    threads
        Subjects to work on at the same time.
    progress
        Called with (subjects done, subjects in all).
    """
    n, c = cohort.images.shape[:2]
    textures = np.empty((n, c, *cohort.grid), dtype=np.float32)
    seen = np.empty((n, *cohort.grid), dtype=bool)
    labels = None if cohort.labels is None else np.empty_like(cohort.labels)
    residuals = np.zeros(n)
    # What a texture is off by here, it is off by in every image.
    closely = replace(spline, max_residual=spline.tolerance)

    def one(i: int) -> None:
        fitted = fit_map(reference, cohort.landmarks[i], closely, cohort.grid)
        residuals[i] = fitted.residuals.max()
        field = fitted.displacement()
        image = cohort.images[i]
        # A cubic spline keeps the sharpness that rendering, a second interpolation, would take; clamped, it does not
        # ring.
        low, high = (f(image, axis=tuple(range(1, image.ndim)), keepdims=True) for f in (np.min, np.max))
        textures[i] = np.clip(warp(image, field, order=3, threads=1), low, high)
        inside = np.ones(cohort.grid, dtype=np.uint8)
        seen[i] = warp(inside, field, order=0, border="constant", threads=1)
        if labels is not None and cohort.labels is not None:
            labels[i] = warp(cohort.labels[i], field, order=0, threads=1)

    with ThreadPoolExecutor(threads) as pool:
        for done, _ in enumerate(pool.map(one, range(n)), start=1):
            if progress is not None:
                progress(done, n)

    # A frame's border is no anatomy: the image fades into what lies beyond it.
    fade = max(cohort.grid) / 32
    trust = np.stack(
        [
            np.ones(cohort.grid) if s.all() else np.minimum(scipy.ndimage.distance_transform_edt(s) / fade, 1)
            for s in seen
        ]
    )
    count = seen.sum(axis=0)
    for channel in range(c):
        mean = np.where(seen, textures[:, channel], 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        for i in range(n):
            background = np.median(borders(cohort.images[i, channel]))
            elsewhere = np.where(count > 0, mean, background)
            textures[i, channel] += ((1 - trust[i]) * (elsewhere - textures[i, channel])).astype(np.float32)
    return Normalized(textures, None if labels is None else _commonest(labels), residuals)


def borders(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the values of an image (*grid) on the border of the grid, (values,)."""
    rim = np.ones(image.shape, dtype=bool)
    if min(rim.shape) > 2:
        rim[(slice(1, -1),) * rim.ndim] = False
    return image[rim]


def _commonest(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    values = np.unique(labels)
    best = np.zeros(labels.shape[1:], dtype=np.int64)
    result = np.full(labels.shape[1:], values[0], dtype=labels.dtype)
    for value in values:
        votes = (labels == value).sum(axis=0)
        result[votes > best] = value
        best = np.maximum(best, votes)
    return result
