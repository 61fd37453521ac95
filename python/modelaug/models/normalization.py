"""Shape normalization: the images and labels of a cohort warped to the mean shape."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import scipy

from modelaug._arrays import Array, Image, Labels
from modelaug.data.cohort import Cohort
from modelaug.transforms.diffeomorphic import fit_map
from modelaug.transforms.splines import SplineOptions
from modelaug.transforms.warping import warp

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Normalized:
    """A cohort in the reference space of the mean shape.

    Attributes
    ----------
    textures : ndarray, (n, c, *grid), float32
    labels : ndarray, (*grid), integer, or None
        Majority vote of the subjects' label maps at each voxel; ties go to the smallest label.
    residuals : ndarray, (n,), float64
        Largest distance in voxels by which each subject's map misses a landmark.
    """

    textures: Image
    labels: Labels | None
    residuals: Array


def normalize(
    cohort: Cohort,
    reference: Array,
    spline: SplineOptions,
    *,
    threads: int,
    progress: Progress | None = None,
) -> Normalized:
    """Warp all images and labels of a cohort to the mean shape.

    The texture of subject i is ``I_i(psi_i(x))`` with a diffeomorphic map psi_i from the mean landmarks s_0 to its own
    landmarks s_i. Where a subject's map leaves its own grid, its texture fades into the mean of the subjects whose maps
    do not; where all do, into its own background: the median of its border.

    Parameters
    ----------
    cohort
        The subjects.
    reference : ndarray, (m, d)
        Mean landmarks in voxels, within the grid.
    spline
        Options of the maps fitted to landmarks.
    threads
        Number of subjects to warp at the same time.
    progress
        Called with (subjects normalized, number of subjects) after each subject.
    """
    n, c = cohort.images.shape[:2]
    textures = np.empty((n, c, *cohort.grid), dtype=np.float32)
    seen = np.empty((n, *cohort.grid), dtype=bool)
    labels = None if cohort.labels is None else np.empty_like(cohort.labels)
    residuals = np.zeros(n)
    # An error of a texture is an error of every image drawn with it.
    closely = replace(spline, max_residual=spline.tolerance)

    def warp_subject(i: int) -> None:
        fitted = fit_map(reference, cohort.landmarks[i], closely, cohort.grid)
        residuals[i] = fitted.residuals.max()
        field = fitted.displacement()
        image = cohort.images[i]
        # Rendering interpolates a second time; a cubic spline keeps the image sharp until then, clamping stops ringing.
        low, high = (f(image, axis=tuple(range(1, image.ndim)), keepdims=True) for f in (np.min, np.max))
        textures[i] = np.clip(warp(image, field, order=3, threads=1), low, high)
        inside = np.ones(cohort.grid, dtype=np.uint8)
        seen[i] = warp(inside, field, order=0, border="constant", threads=1)
        if labels is not None and cohort.labels is not None:
            labels[i] = warp(cohort.labels[i], field, order=0, threads=1)

    with ThreadPoolExecutor(threads) as pool:
        for done, _ in enumerate(pool.map(warp_subject, range(n)), start=1):
            if progress is not None:
                progress(done, n)

    # The border of an image is no anatomy, so the texture fades over it.
    fade, distance = max(cohort.grid) / 32, scipy.ndimage.distance_transform_edt
    trust = np.stack([np.ones(cohort.grid) if s.all() else np.minimum(distance(s) / fade, 1) for s in seen])
    count = seen.sum(axis=0)
    for channel in range(c):
        mean = np.where(seen, textures[:, channel], 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        for i in range(n):
            background = np.median(borders(cohort.images[i, channel]))
            elsewhere = np.where(count > 0, mean, background)
            textures[i, channel] += ((1 - trust[i]) * (elsewhere - textures[i, channel])).astype(np.float32)
    return Normalized(textures, None if labels is None else _majority_vote(labels), residuals)


def borders(image: Image) -> Image:
    """Return the values (b,) of an image (*grid) on the border of the grid."""
    rim = np.ones(image.shape, dtype=bool)
    if min(rim.shape) > 2:
        rim[(slice(1, -1),) * rim.ndim] = False
    return image[rim]


def _majority_vote(labels: Labels) -> Labels:
    """Return the most frequent label at each voxel of label maps (n, *grid), the smallest in a tie."""
    values = np.unique(labels)
    best = np.zeros(labels.shape[1:], dtype=np.int64)
    result = np.full(labels.shape[1:], values[0], dtype=labels.dtype)
    for value in values:
        votes = (labels == value).sum(axis=0)
        result[votes > best] = value
        best = np.maximum(best, votes)
    return result
