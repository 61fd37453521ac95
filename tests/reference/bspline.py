"""Multilevel B-spline approximation of scattered data, one datum and one node at a time.

Source: S. Lee, G. Wolberg, S. Y. Shin, "Scattered data interpolation with multilevel B-splines", IEEE TVCG 3(3), 1997,
referred to as LWS below. Unlike the kernel, the sum over levels is kept as a list of lattices (LWS's basic algorithm),
so that agreement also checks the kernel's refinement.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


def basis(t: float) -> Array:
    """Return the four uniform cubic B-splines at t in [0, 1] (LWS section 3.1), shape (4,)."""
    return np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6


def basis_derivative(t: float) -> Array:
    """Return the derivatives of the four uniform cubic B-splines at t in [0, 1], shape (4,)."""
    return np.array([-3 * (1 - t) ** 2, 9 * t**2 - 12 * t, -9 * t**2 + 6 * t + 3, 3 * t**2]) / 6


def cells_of(grid: tuple[int, ...], level: int) -> tuple[int, ...]:
    """Return the number of cells per axis at a level, counted from 1; an axis of one voxel keeps one cell."""
    return tuple(1 if length == 1 else 2 ** (level - 1) for length in grid)


def locate(x: float, length: int, cells: int) -> tuple[int, float]:
    """Return the cell that holds coordinate x of the domain [0, length - 1], closed above, and the offset t in it."""
    position = 0.0 if length == 1 else x * cells / (length - 1)
    cell = min(int(np.floor(position)), cells - 1)
    return cell, position - cell


def tensor(factors: list[Array]) -> Array:
    """Return the outer product of one vector per axis."""
    product = np.ones(())
    for factor in factors:
        product = np.multiply.outer(product, factor)
    return product


def approximate(sites: Array, values: Array, grid: tuple[int, ...], cells: tuple[int, ...], weights: Array) -> Array:
    """Fit one lattice, (k, *(cells + 3)), by the B-spline approximation of LWS section 3.2, data weighted by `weights`.

    The node phi minimises sum_c a_c (w_c phi - w_c phi_c)^2 with phi_c = w_c z_c / sum w^2, the minimum-norm
    solution of one datum alone (LWS equations 3 to 5); nodes without data are zero.
    """
    nodes = tuple(n + 3 for n in cells)
    numerator = np.zeros((values.shape[1], *nodes))
    denominator = np.zeros(nodes)
    for site, value, confidence in zip(sites, values, weights, strict=True):
        located = [locate(x, length, n) for x, length, n in zip(site, grid, cells, strict=True)]
        w = tensor([basis(t) for _, t in located])
        total = (w**2).sum()
        for offset in itertools.product(range(4), repeat=len(grid)):
            node = tuple(cell + o for (cell, _), o in zip(located, offset, strict=True))
            phi = w[offset] * value / total
            numerator[(slice(None), *node)] += confidence * w[offset] ** 2 * phi
            denominator[node] += confidence * w[offset] ** 2
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), 0)


def evaluate(lattice: Array, points: Array, grid: tuple[int, ...], derivative: int | None = None) -> Array:
    """Evaluate a lattice (k, *nodes) at points (p, d) inside the domain, or its derivative along one axis: (p, k)."""
    cells = tuple(n - 3 for n in lattice.shape[1:])
    result = np.zeros((len(points), lattice.shape[0]))
    for row, point in enumerate(points):
        located = [locate(x, length, n) for x, length, n in zip(point, grid, cells, strict=True)]
        factors = [basis(t) for _, t in located]
        if derivative is not None:
            # By the chain rule; nothing varies along an axis of one voxel.
            scale = 0.0 if grid[derivative] == 1 else cells[derivative] / (grid[derivative] - 1)
            factors[derivative] = scale * basis_derivative(located[derivative][1])
        block = lattice[(slice(None), *(slice(cell, cell + 4) for cell, _ in located))]
        result[row] = (block * tensor(factors)).reshape(len(block), -1).sum(axis=1)
    return result


def refine(lattice: Array, axis: int) -> Array:
    """Return the lattice of twice as many cells along one axis that evaluates identically (LWS section 4.3).

    Nodes of n cells have indices -1..n+1, those of the result -1..2n+1. Even nodes take (1, 6, 1) / 8 of three coarse
    nodes, odd ones (1, 1) / 2 of two.
    """
    coarse = np.moveaxis(lattice, axis, 0)
    cells = len(coarse) - 3
    fine = np.zeros((2 * cells + 3, *coarse.shape[1:]))
    for j in range(-1, 2 * cells + 2):
        i = j // 2
        if j % 2 == 0:
            fine[j + 1] = (coarse[i] + 6 * coarse[i + 1] + coarse[i + 2]) / 8
        else:
            fine[j + 1] = (coarse[i + 1] + coarse[i + 2]) / 2
    return np.moveaxis(fine, 0, axis)


def affine_part(sites: Array, values: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Return centre (d,), offset (k,) and matrix (k, d) of the weighted least-squares affine map, of least norm.

    Directions in which the sites spread by less than 1e-6 voxels (root mean square) have no slope.
    """
    centre = np.average(sites, axis=0, weights=weights)
    offset = np.average(values, axis=0, weights=weights)
    root = np.sqrt(weights)[:, None]
    left, spread, directions = np.linalg.svd(root * (sites - centre), full_matrices=False)
    known = spread > 1e-6 * np.sqrt(weights.sum())
    slope = directions[known].T @ ((left[:, known].T @ (root * (values - offset))) / spread[known, None])
    return centre, offset, slope.T


@dataclass(frozen=True)
class ReferenceSpline:
    """An affine map plus one lattice per level; `history` holds the largest residual before and after each level."""

    grid: tuple[int, ...]
    affine: tuple[Array, Array, Array]
    lattices: tuple[Array, ...]
    residuals: Array
    history: tuple[float, ...]
    converged: bool

    @property
    def levels(self) -> int:
        """Number of B-spline levels."""
        return len(self.lattices)

    def at(self, points: Array, outside: str = "error") -> Array:
        """Evaluate at points (p, d), clamped to the domain unless `outside` is "extrapolate"; returns (p, k)."""
        inside = np.clip(points, 0, np.array(self.grid) - 1.0)
        if outside == "error" and not np.array_equal(inside, points):
            raise ValueError("points are outside the domain")
        centre, offset, matrix = self.affine
        result = offset + (inside - centre) @ matrix.T
        for lattice in self.lattices:
            result += evaluate(lattice, inside, self.grid)
        if outside == "extrapolate":
            for axis in range(len(self.grid)):
                slope = np.tile(matrix[:, axis], (len(points), 1))
                for lattice in self.lattices:
                    slope += evaluate(lattice, inside, self.grid, derivative=axis)
                result += slope * (points - inside)[:, [axis]]
        return result

    def on_grid(self) -> Array:
        """Evaluate at every voxel of the grid; returns (k, *grid)."""
        points = np.array(list(np.ndindex(*self.grid)), dtype=np.float64)
        return self.at(points).T.reshape(-1, *self.grid)


def fit(
    sites: Array,
    values: Array,
    grid: tuple[int, ...],
    *,
    tolerance: float,
    max_levels: int = 8,
    weights: Array | None = None,
    affine: bool = True,
) -> ReferenceSpline:
    """Fit values (m, k) at sites (m, d) by an affine map and LWS's basic multilevel algorithm (their section 4.1)."""
    confidence = np.ones(len(sites)) if weights is None else weights
    if affine:
        part = affine_part(sites, values, confidence)
    else:
        part = (np.zeros(len(grid)), np.zeros(values.shape[1]), np.zeros((values.shape[1], len(grid))))
    lattices: list[Array] = []
    left = values - part[1] - (sites - part[0]) @ part[2].T
    history = [float(np.linalg.norm(left, axis=1).max())]
    # A single voxel has nothing to refine.
    most = max_levels if max(grid) > 1 else 1
    while history[-1] > tolerance and len(lattices) < most:
        cells = cells_of(grid, len(lattices) + 1)
        lattices.append(approximate(sites, left, grid, cells, confidence))
        left = left - evaluate(lattices[-1], sites, grid)
        history.append(float(np.linalg.norm(left, axis=1).max()))
    residuals = np.linalg.norm(left, axis=1)
    return ReferenceSpline(grid, part, tuple(lattices), residuals, tuple(history), history[-1] <= tolerance)
