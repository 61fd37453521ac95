"""Distances, tapers, repair and merging of localized models: dense matrices, one formula after the other.

With N. J. Higham (IMA J. Numer. Anal. 22(3), 2002) for the repair and K. Ye, L.-H. Lim (SIAM J. Matrix Anal. Appl.
37(3), 2016) for the merging of subspaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def taper(r: float, t: float, name: str) -> float:
    """Return the weight of a correlation at distance `r`."""
    if name == "hard":
        return 1.0 if r <= t else 0.0
    if name == "gaussian":
        return math.exp(-(r**2) / (2 * t**2))
    return (1 - r / t) ** 4 * (4 * r / t + 1) if r < t else 0.0


def tapers(distances: Array, t: float, name: str) -> Array:
    """Return the weights of a matrix of distances."""
    return np.array([[taper(float(r), t, name) for r in row] for row in distances])


def walk(points: Array, i: int, j: int, step: int) -> float:
    """Return the length of the way along a polygon from point i to point j, forwards (1) or backwards (-1)."""
    length, m = 0.0, len(points)
    while i % m != j:
        length += math.dist(points[i % m], points[(i + step) % m])
        i += step
    return length


def shortest_paths(graph: Array) -> Array:
    """Return the lengths of the shortest paths in a dense graph, by trying every stop until no path gets shorter."""
    while True:
        shorter = np.min(graph[:, :, None] + graph[None, :, :], axis=1)
        if np.array_equal(shorter, graph):
            return graph
        graph = np.minimum(graph, shorter)


def multi_object_distances(
    points: Array, objects: Sequence[tuple[Sequence[int], str]], stretch: float, crossing: float
) -> Array:
    """Return the shortest paths over (indices, kind) objects and jumps between all points."""
    m = len(points)
    graph = np.zeros((m, m))
    for i in range(m):
        for j in range(m):
            if i != j:
                graph[i, j] = stretch * math.dist(points[i], points[j]) + crossing
    for indices, kind in objects:
        own = points[list(indices)]
        for a, i in enumerate(indices):
            for b, j in enumerate(indices):
                if kind == "points":
                    along = math.dist(points[i], points[j])
                else:
                    along = walk(own, a, b, 1 if a < b else -1)
                    if kind == "closed":
                        along = min(along, walk(own, a, b, -1 if a < b else 1))
                graph[i, j] = min(graph[i, j], along)
    return shortest_paths(graph)


def nearest_correlation(matrix: Array, tolerance: float = 1e-5, limit: int = 1000) -> Array:
    """Return the nearest correlation matrix by alternating projections with Dykstra's correction."""

    def relative(a: Array, b: Array) -> float:
        return float(np.sqrt(((a - b) ** 2).sum()) / np.sqrt((a**2).sum()))

    y = x = matrix
    ds = np.zeros_like(matrix)
    for _ in range(limit):
        r = y - ds
        eigenvalues, q = np.linalg.eigh(r)
        new_x = q @ np.diag(np.clip(eigenvalues, 0, None)) @ q.T
        ds = new_x - r
        new_y = new_x - np.diag(np.diag(new_x)) + np.eye(len(matrix))
        done = max(relative(new_x, x), relative(new_y, y), relative(new_y, new_x)) < tolerance
        x, y = new_x, new_y
        if done:
            break
    return y


def truncated(covariance: Array, coverage: float, most: int) -> tuple[Array, Array]:
    """Return the fewest modes (at most `most`) of a covariance that cover its variance, and their variances."""
    eigenvalues, q = np.linalg.eigh(0.5 * (covariance + covariance.T))
    order = np.argsort(eigenvalues)[::-1]
    eigenvalues, q = np.clip(eigenvalues[order], 0, None), q[:, order]
    k = 1
    while k < most and eigenvalues[:k].sum() < (coverage - 1e-12) * eigenvalues.sum():
        k += 1
    return q[:, :k], eigenvalues[:k]


def localized_covariance(samples: Array, weights: Array, *, repair: bool) -> Array:
    """Return the covariance whose correlations were weighted, and repaired if that is wanted."""
    sigma = samples.std(axis=0, ddof=1)
    correlation = np.corrcoef(samples.T) * weights
    if repair:
        correlation = nearest_correlation(correlation)
    return np.diag(sigma) @ correlation @ np.diag(sigma)


def merged_basis(p1: Array, p2: Array) -> Array:
    """Return a basis of the nearest subspace to span(p2) that contains span(p1), k1 < k2."""
    u, _, vt = np.linalg.svd(p1.T @ p2)
    return np.hstack([p1 @ u, (p2 @ vt.T)[:, p1.shape[1] :]])


def merged(p1: Array, lam1: Array, p2: Array, lam2: Array, *, scale: bool) -> tuple[Array, Array]:
    """Return the merged modes and variances of two levels, the latter scaled to the sum of the first's if wanted."""
    k1, k2 = len(lam1), len(lam2)
    if k1 >= k2:
        return p1, lam1
    u, _, vt = np.linalg.svd(p1.T @ p2)
    covariance = np.zeros((k2, k2))
    covariance[:k1, :k1] = u.T @ np.diag(lam1) @ u
    covariance[k1:, k1:] = (vt @ np.diag(lam2) @ vt.T)[k1:, k1:]
    eigenvalues, w = np.linalg.eigh(covariance)
    eigenvalues, w = np.clip(eigenvalues[::-1], 0, None), w[:, ::-1]
    if scale:
        eigenvalues = eigenvalues * lam1.sum() / eigenvalues.sum()
    return merged_basis(p1, p2) @ w, eigenvalues


def localized_model(
    samples: Array,
    distances: Array,
    thresholds: Sequence[float],
    name: str,
    coverage: float,
    rescale: str,
    *,
    repair: bool,
) -> tuple[Array, Array]:
    """Return the modes and variances of the multi-level model."""
    covariance = np.cov(samples.T)
    p1, lam1 = truncated(covariance, coverage, len(samples) - 1)
    basis, variances = p1, lam1
    for t in thresholds[1:]:
        level = localized_covariance(samples, tapers(distances, t, name), repair=repair)
        basis, variances = merged(basis, variances, *truncated(level, coverage, len(level)), scale=rescale == "total")
    if rescale == "tail":
        whole, first = basis @ np.diag(variances) @ basis.T, p1 @ np.diag(lam1) @ p1.T
        tail = whole - first
        scaled = first + tail * (np.trace(covariance) - np.trace(first)) / np.trace(tail)
        basis, variances = truncated(scaled, 1.0, basis.shape[1])
    return basis, variances


def kernel_mixture(
    samples: Array, distances: Array, thresholds: Sequence[float], name: str, coverage: float, *, repair: bool
) -> tuple[Array, Array]:
    """Return the modes and variances of the covariance weighted by the mean of all tapers, the first of them 1."""
    weights = sum((tapers(distances, t, name) for t in thresholds[1:]), np.ones_like(distances)) / len(thresholds)
    return truncated(localized_covariance(samples, weights, repair=repair), coverage, len(distances))
