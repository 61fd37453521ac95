"""Localized covariances of images and their modes: dense matrices over all pairs of pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tests.reference.locality import merged, tapers

Array = npt.NDArray[np.float64]


def pixel_distances(grid: Sequence[int], spacing: Sequence[float], channels: int) -> Array:
    """Return the distances between all values of an image (channels, *grid), whose channels lie on each other."""
    places = [
        [i * step for i, step in zip(index, spacing, strict=True)]
        for _ in range(channels)
        for index in itertools.product(*map(range, grid))
    ]
    return np.array([[math.dist(a, b) for b in places] for a in places])


def localized_covariance(samples: Array, distances: Array, threshold: float, taper: str) -> Array:
    """Return the covariance of samples (n, p), elementwise weighted by their distances (p, p)."""
    centred = samples - samples.mean(axis=0)
    return centred.T @ centred / (len(samples) - 1) * tapers(distances, threshold, taper)


def leading(covariance: Array, coverage: float, most: int) -> tuple[Array, Array]:
    """Return the fewest leading modes (at most `most`) that reach a fraction of the trace, and their variances."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    k = 1
    while k < most and eigenvalues[:k].sum() < coverage * np.trace(covariance):
        k += 1
    return vectors[:, :k], eigenvalues[:k]


def localized_eigenimages(
    samples: Array, distances: Array, thresholds: Sequence[float], taper: str, coverage: float, rescale: str
) -> tuple[Array, Array]:
    """Return the modes and variances of the multi-level model of samples (n, p), for rescale "total" or "none"."""
    basis, variances = leading(np.cov(samples.T), coverage, len(samples) - 1)
    for t in thresholds[1:]:
        level = leading(localized_covariance(samples, distances, t, taper), coverage, samples.shape[1])
        basis, variances = merged(basis, variances, *level, scale=rescale == "total")
    return basis, variances
