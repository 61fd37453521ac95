"""Composition, inversion and Jacobian determinant of fields u (d, *grid) in voxels, in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tests.reference.warp import warp

Array = npt.NDArray[np.floating[Any]]


def compose(u: Array, v: Array) -> Array:
    """Return w(x) = v(x) + u(x + v(x)): warping by u and then by v equals warping once by w."""
    return v.astype(np.float64) + warp(u.astype(np.float64), v)


def invert(u: Array, *, iterations: int = 60) -> Array:
    """Return v with v(x) = -u(x + v(x)) by fixed-point iteration from zero (M. Chen et al., Med. Phys. 35(1), 2008)."""
    v = np.zeros(u.shape)
    for _ in range(iterations):
        v = -warp(u.astype(np.float64), v)
    return v


def inversion_residual(u: Array, v: Array) -> Array:
    """Return |v(x) + u(x + v(x))|, (*grid)."""
    return np.sqrt((compose(u, v) ** 2).sum(axis=0))


def jacobian_determinant(u: Array) -> Array:
    """Return det(I + grad u), (*grid): central differences, one-sided at the borders, zero along axes of one voxel."""
    d, grid = len(u), u.shape[1:]
    field = u.astype(np.float64)
    result = np.zeros(grid)
    for x in np.ndindex(*grid):
        matrix = np.eye(d)
        for axis in range(d):
            before, after = list(x), list(x)
            before[axis] = max(x[axis] - 1, 0)
            after[axis] = min(x[axis] + 1, grid[axis] - 1)
            distance = after[axis] - before[axis]
            if distance > 0:
                matrix[:, axis] += (field[(slice(None), *after)] - field[(slice(None), *before)]) / distance
        result[x] = np.linalg.det(matrix)
    return result
