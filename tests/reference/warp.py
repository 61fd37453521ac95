"""Interpolation of images and warping through displacement fields, one output voxel at a time.

Cubic interpolation follows M. Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing
Magazine 16(6), 1999, with whole-sample symmetric boundaries; its coefficients come from a dense linear system per axis
instead of the usual recursive filter.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.reference.bspline import basis

Array = npt.NDArray[np.floating[Any]]


def mirror(index: int, length: int) -> int:
    """Return the sample that `index` falls on when the signal is reflected about its first and last samples."""
    if length == 1:
        return 0
    index = index % (2 * length - 2)
    return index if index < length else 2 * length - 2 - index


def cubic_coefficients(image: Array, d: int) -> Array:
    """Return coefficients whose cubic B-spline interpolates `image` (..., *grid) along its last d axes."""
    result = np.array(image, dtype=np.float64)
    for axis in range(image.ndim - d, image.ndim):
        length = image.shape[axis]
        system = np.zeros((length, length))
        for row in range(length):
            for offset, weight in ((-1, 1 / 6), (0, 4 / 6), (1, 1 / 6)):
                system[row, mirror(row + offset, length)] += weight
        result = np.moveaxis(np.linalg.solve(system, np.moveaxis(result, axis, 0).reshape(length, -1)), 0, -1)
        lines = [n for a, n in enumerate(image.shape) if a != axis]
        result = np.moveaxis(result.reshape(*lines, length), -1, axis)
    return result


def taps(x: float, length: int, order: int) -> list[tuple[int, float]]:
    """Return the samples that interpolation at x in [0, length - 1] reads along one axis, with their weights."""
    if order == 0:
        return [(int(np.floor(x + 0.5)), 1.0)]
    start = min(int(np.floor(x)), max(length - 2, 0))
    t = x - start
    if order == 1:
        return [(start, 1 - t), (mirror(start + 1, length), t)]
    return [(mirror(start - 1 + k, length), weight) for k, weight in enumerate(basis(t))]


def sample(coefficients: npt.NDArray[Any], point: Array, order: int) -> npt.NDArray[Any]:
    """Interpolate (c, *grid) at one point inside the grid; returns (c,)."""
    axes = [taps(x, length, order) for x, length in zip(point, coefficients.shape[1:], strict=True)]
    if order == 0:
        return coefficients[(slice(None), *(axis[0][0] for axis in axes))]
    total = np.zeros(len(coefficients))
    for corner in itertools.product(*axes):
        index, weights = zip(*corner, strict=True)
        total += np.prod(weights) * coefficients[(slice(None), *index)]
    return total


def warp(
    image: npt.NDArray[Any], displacement: Array, *, order: int = 1, border: str = "edge", fill: float = 0.0
) -> npt.NDArray[Any]:
    """Return out(x) = image(x + u(x)) for image (c, *grid) and u (d, *out_grid), as (c, *out_grid).

    Floating point at order 1 and 3, the image's own type at order 0. Outside [0, N - 1] the coordinate is clamped
    ("edge") or the value is `fill` ("constant").
    """
    d, out_grid = len(displacement), displacement.shape[1:]
    last = np.array(image.shape[1:]) - 1.0
    coefficients = image if order == 0 else np.asarray(image, dtype=np.float64)
    if order == 3:
        coefficients = cubic_coefficients(coefficients, d)
    out = np.zeros((len(image), *out_grid), dtype=coefficients.dtype)
    for x in np.ndindex(*out_grid):
        point = np.array(x) + displacement[(slice(None), *x)].astype(np.float64)
        inside = np.clip(point, 0, last)
        if border == "constant" and not np.array_equal(inside, point):
            out[(slice(None), *x)] = fill
        else:
            out[(slice(None), *x)] = sample(coefficients, inside, order)
    return out


def warp_points(points: Array, displacement: Array) -> Array:
    """Return p + u(p), (m, d); u (d, *grid) is interpolated linearly at the point clamped to the grid."""
    last = np.array(displacement.shape[1:]) - 1.0
    return np.array([p + sample(displacement.astype(np.float64), np.clip(p, 0, last), 1) for p in points])
