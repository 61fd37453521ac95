"""Smooth random fields: cubic B-splines whose control points are random numbers on lattices."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core
from modelaug._arrays import Array, Image

_FEW_NODES = 100_000  # control points of a field that are always allowed


class Lattice(ABC):
    """Random cubic B-splines on a grid: from random numbers to control points, and to fields.

    Attributes
    ----------
    grid : tuple of int
        Shape of the fields, 2 or 3 axes.
    """

    def __init__(self, grid: tuple[int, ...]) -> None:
        self.grid = grid

    @abstractmethod
    def numbers(self, rng: np.random.Generator, count: int) -> Any:
        """Draw the random numbers of `count` fields; their count and order never change."""

    @abstractmethod
    def coefficients(self, numbers: Any) -> npt.NDArray[np.floating[Any]]:
        """Return the control points (count, *nodes) for the numbers."""

    def on_grid(self, numbers: Any) -> Image:
        """Evaluate the splines at all voxels, (count, *grid)."""
        return _core.bspline_on_grid(np.asarray(self.coefficients(numbers), np.float64), self.grid, 1)


class MultiscaleLattice(Lattice):
    """Smooth random fields of unit variance with correlations at several scales.

    A field is a cubic B-spline: its control points are independent standard normal numbers on lattices with halved
    spacing, one per level, and a single number for the first, global level. Every level adds the same average variance;
    multiplied with `inverse_deviation`, which `on_grid` leaves to the caller, the sum has unit variance at each voxel.
    The covariance therefore has a closed form (`covariance`), is positive definite, and apart from the constant part of
    the first level is exactly 0 at distances of more than half the largest one along any axis.

    Parameters
    ----------
    grid
        Shape of the fields, 2 or 3 axes.
    spacing : ndarray, (d,)
        Millimetres per voxel.
    levels
        Number of levels. Level l > 1 has no correlation at distances, along an axis, of ``diagonal / 2^(l - 1)`` and
        more: four times the spacing of its control points.

    Attributes
    ----------
    cells : list of tuple of int
        Cells of the lattice along each axis, from level 2 on; at least one entry.
    inverse_deviation : ndarray, (*grid), float32
    """

    def __init__(self, grid: tuple[int, ...], spacing: Array, levels: int) -> None:
        super().__init__(_checks.grid_shape("grid", grid))
        self.levels = _checks.integer("levels", levels, minimum=1, maximum=12)
        extent = (np.array(self.grid) - 1) * spacing
        step = float(np.linalg.norm(extent)) / 8
        # Where an axis is shorter than a cell, one cell covers it; each level has twice the cells of the one before.
        coarsest = tuple(max(1, round(length / step)) if length > 0 else 1 for length in extent.tolist())
        self.cells = [coarsest]
        for _ in range(3, self.levels + 1):
            self.cells.append(tuple(2 * n if g > 1 else 1 for n, g in zip(self.cells[-1], self.grid, strict=True)))
            if math.prod(n + 3 for n in self.cells[-1]) > max(2 * math.prod(self.grid), _FEW_NODES):
                raise ValueError(f"levels is {levels}, finer than the grid {self.grid}; pass at most {len(self.cells)}")
        local = self.cells if self.levels > 1 else []
        axes = [list(zip(self.grid, cells, strict=True)) for cells in local]
        self._axes = [[basis_matrix(np.arange(g) * (n / max(g - 1, 1)), n) for g, n in each] for each in axes]
        variances = [math.prod(float((b**2).sum(axis=1).mean()) for b in bases) for bases in self._axes]
        self._amplitudes = [1 / math.sqrt(self.levels * variance) for variance in variances]
        self._global = 1 / math.sqrt(self.levels)
        total = np.full(self.grid, self._global**2)
        for amplitude, bases in zip(self._amplitudes, self._axes, strict=True):
            total += amplitude**2 * functools.reduce(np.multiply.outer, [(b**2).sum(axis=1) for b in bases])
        self.inverse_deviation = (1 / np.sqrt(total)).astype(np.float32)

    def numbers(self, rng: np.random.Generator, count: int) -> list[Array]:
        """Draw the standard normal numbers of `count` fields: one array per level, (count, *nodes)."""
        shapes = [tuple(n + 3 for n in cells) for cells in self.cells[: len(self._axes)]]
        return [rng.standard_normal(count), *(rng.standard_normal((count, *shape)) for shape in shapes)]

    def coefficients(self, numbers: list[Array]) -> Image:
        """Return the control points (count, *nodes) on the finest lattice for the numbers of all levels."""
        # Equal control points make a constant spline.
        total: Array = (self._global * numbers[0]).reshape(-1, *(1 for _ in self.grid))
        for level, (amplitude, normals) in enumerate(zip(self._amplitudes, numbers[1:], strict=True)):
            if level > 0:
                for axis, length in enumerate(self.grid):
                    total = refined(total, axis + 1) if length > 1 else total
            total = total + amplitude * normals
        if not self._amplitudes:
            total = np.broadcast_to(total, (len(total), *(n + 3 for n in self.cells[0])))
        return np.ascontiguousarray(total, dtype=np.float32)

    def covariance(self) -> Array:
        """Return the covariance of a field between all pairs of voxels, (voxels, voxels); for small grids only."""
        voxels = math.prod(self.grid)
        total = np.full((voxels, voxels), self._global**2)
        for amplitude, bases in zip(self._amplitudes, self._axes, strict=True):
            part: Array = np.ones((1, 1))
            for b in bases:
                part = np.asarray(np.kron(part, b @ b.T), dtype=np.float64)
            total += amplitude**2 * part
        scale = self.inverse_deviation.astype(np.float64).ravel()
        return np.asarray(total * scale[:, None] * scale)


class InterpolatingLattice(Lattice):
    """Smooth random fields that interpolate independent normal numbers at nodes from corner to corner of a grid.

    A field is a natural cubic spline along every axis: its second derivative is 0 at the border. An axis of one voxel
    has two nodes at that voxel.

    Parameters
    ----------
    grid
        Shape of the domain.
    points
        Nodes along every axis, at least 2.

    Attributes
    ----------
    points : tuple of int
        Nodes along each axis.
    """

    def __init__(self, grid: tuple[int, ...], points: int) -> None:
        super().__init__(grid)
        self.points = tuple(points if length > 1 else 2 for length in grid)
        self._solutions = [_natural_spline(count) for count in self.points]

    def numbers(self, rng: np.random.Generator, count: int) -> Array:
        """Draw the standard normal numbers of `count` fields, (count, *points)."""
        return rng.standard_normal((count, *self.points))

    def coefficients(self, numbers: Array) -> Array:
        """Return the control points (count, *points + 2) of the splines through numbers (count, *points)."""
        for axis, solution in enumerate(self._solutions, start=1):
            # Not a BLAS product, whose rounding may depend on the number of its threads.
            numbers = np.moveaxis(np.einsum("np,p...->n...", solution, np.moveaxis(numbers, axis, 0)), 0, axis)
        return np.ascontiguousarray(numbers)


def basis_matrix(positions: npt.ArrayLike, cells: int) -> Array:
    """Return the values of the ``cells + 3`` uniform cubic B-splines at positions (p,) in cells, (p, cells + 3).

    The splines' domain is [0, cells]; spline j is centred at ``j - 1``.
    """
    at = np.asarray(positions, dtype=np.float64)
    matrix = np.zeros((len(at), cells + 3))
    first = np.minimum(at.astype(int), cells - 1)
    t = at - first
    s = 1 - t
    weights = np.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3], axis=1) / 6
    np.put_along_axis(matrix, first[:, None] + np.arange(4), weights, axis=1)
    return matrix


def refined(nodes: Array, axis: int) -> Array:
    """Return the control points of the same spline on twice the cells along an axis (two-scale relation)."""
    coarse = np.moveaxis(nodes, axis, 0)
    fine = np.empty((2 * len(coarse) - 3, *coarse.shape[1:]))
    fine[0::2] = 0.5 * (coarse[:-1] + coarse[1:])
    fine[1::2] = 0.125 * (coarse[:-2] + 6 * coarse[1:-1] + coarse[2:])
    return np.moveaxis(fine, 0, axis)


def _natural_spline(points: int) -> Array:
    """Return the matrix (points + 2, points) from node values to control points of the natural cubic spline."""
    # At its ends the second derivative, c[i] - 2 c[i + 1] + c[i + 2], is 0.
    system = np.zeros((points + 2, points + 2))
    system[1:-1] = basis_matrix(np.arange(points), points - 1)
    system[0, :3] = system[-1, -3:] = [1.0, -2.0, 1.0]
    return np.asarray(np.linalg.inv(system)[:, 1:-1], dtype=np.float64)
