"""Chains of B-spline displacements, one point and one control point at a time.

Source: maps.LandmarkMap's definition. A lattice of c cells along an axis of N voxels has its knots (N - 1) / c voxels
apart; beyond the domain its first and last control points go on for ever.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.reference.bspline import basis, basis_derivative

Array = npt.NDArray[np.floating[Any]]


def displaced(step: Array, grid: tuple[int, ...], point: Array) -> tuple[Array, Array]:
    """Return x + r(x) (d,) and its Jacobian (d, d) for a displacement with control points (d, *nodes)."""
    d = len(grid)
    value, jacobian = point.astype(np.float64), np.eye(d)
    cells = [n - 3 for n in step.shape[1:]]
    per_voxel = [0.0 if length == 1 else n / (length - 1) for length, n in zip(grid, cells, strict=True)]
    positions = [x * scale for x, scale in zip(point, per_voxel, strict=True)]
    first = [int(np.floor(p)) for p in positions]
    weights = [basis(p - i) for p, i in zip(positions, first, strict=True)]
    slopes = [s * basis_derivative(p - i) for s, p, i in zip(per_voxel, positions, first, strict=True)]
    for offset in itertools.product(range(4), repeat=d):
        node = tuple(min(max(i + o, 0), n + 2) for i, o, n in zip(first, offset, cells, strict=True))
        control = step[(slice(None), *node)]
        value += np.prod([w[o] for w, o in zip(weights, offset, strict=True)]) * control
        for axis in range(d):
            factors = [(slopes if other == axis else weights)[other][o] for other, o in enumerate(offset)]
            jacobian[:, axis] += np.prod(factors) * control
    return value, jacobian


def chain_at(steps: Sequence[Array], affine: Array, grid: tuple[int, ...], points: Array) -> tuple[Array, Array]:
    """Return chi (p, d) and the determinants of its Jacobian (p,) at points (p, d)."""
    d = len(grid)
    values, determinants = [], []
    for x in points:
        total = np.eye(d)
        for step in steps:
            x, jacobian = displaced(step, grid, x)
            total = jacobian @ total
        values.append(affine[:, :d] @ x + affine[:, d])
        determinants.append(np.linalg.det(affine[:, :d] @ total))
    return np.array(values), np.array(determinants)
