"""Lattices of random numbers: the splines that they become, and the covariance of the fields."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from modelaug import _core
from modelaug.models.texture import in_blocks
from modelaug.transforms.lattices import InterpolatingLattice, MultiscaleLattice, basis_matrix, refined
from tests.properties.strategies import generator, grids, seeds
from tests.reference import bspline

Array = npt.NDArray[np.float64]

small = st.one_of(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 5)] * 3))


@given(st.integers(1, 6), seeds)
def test_basis_and_two_scale_relation_are_those_of_the_oracle(cells: int, seed: int) -> None:
    rng = generator(seed)
    positions = np.append(rng.uniform(0, cells, 20), [0.0, cells])
    matrix = basis_matrix(positions, cells)
    assert matrix.shape == (22, cells + 3)
    for row, position in zip(matrix, positions, strict=True):
        cell, t = bspline.locate(float(position), cells + 1, cells)
        expected = np.zeros(cells + 3)
        expected[cell : cell + 4] = bspline.basis(t)
        np.testing.assert_allclose(row, expected, atol=1e-14)
    nodes = rng.normal(size=(cells + 3, 5))
    np.testing.assert_allclose(refined(nodes, 0), bspline.refine(nodes, 0), atol=1e-14)
    np.testing.assert_allclose(refined(nodes.T, 1), bspline.refine(nodes.T, 1), atol=1e-14)
    np.testing.assert_allclose(basis_matrix(2 * positions, 2 * cells) @ refined(nodes, 0), matrix @ nodes, atol=1e-13)


def upsampled(values: Array, grid: tuple[int, ...]) -> Array:
    """Return natural cubic splines through values at equal distances, axis by axis, by scipy."""
    for axis, length in enumerate(grid):
        nodes = np.linspace(0.0, 1.0, values.shape[axis])
        spline = CubicSpline(nodes, values, axis=axis, bc_type="natural")
        values = spline(np.linspace(0.0, 1.0, length) if length > 1 else [0.0])
    return values


@given(grids(), seeds, st.integers(2, 6))
def test_fields_are_natural_cubic_splines_through_the_numbers(grid: tuple[int, ...], seed: int, points: int) -> None:
    lattice = InterpolatingLattice(grid, points)
    numbers = lattice.numbers(generator(seed), 2)
    assert numbers.shape == (2, *(points if n > 1 else 2 for n in grid))
    for field, values in zip(lattice.on_grid(numbers), numbers, strict=True):
        np.testing.assert_allclose(field, upsampled(values, grid), atol=3e-5)


@given(grid=small, levels=st.integers(1, 4))
def test_a_field_has_the_covariance_it_says(grid: tuple[int, ...], levels: int) -> None:
    lattice = MultiscaleLattice(grid, np.linspace(1.0, 2.0, len(grid)), levels)
    shapes = [part.shape[1:] for part in lattice.numbers(np.random.default_rng(0), 1)]
    sizes = [math.prod(shape) for shape in shapes]
    rows = []
    # Fields of one number each, 32 at a time, each in a channel of its own.
    for units in np.split(np.eye(sum(sizes)), range(32, sum(sizes), 32)):
        parts = np.split(units, np.cumsum(sizes)[:-1], axis=1)
        numbers = [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
        count = len(units)
        channels = np.multiply.outer(np.eye(count), np.ones(grid)).astype(np.float32)
        wide = np.tile(np.array([-1e6, 1e6], np.float32), (count, 1))
        fields = _core.render_fields(
            in_blocks(channels), lattice.inverse_deviation, wide, 0 * channels[0], lattice.coefficients(numbers), 1
        )
        rows.append(fields.reshape(count, -1).astype(np.float64))
    matrix = np.concatenate(rows).T
    np.testing.assert_allclose(matrix @ matrix.T, lattice.covariance(), atol=2e-6)
    np.testing.assert_allclose(np.diag(lattice.covariance()), 1.0, atol=1e-6)


def test_levels_end_where_they_say() -> None:
    # On a line of 129 voxels of 1 mm, level l knows nothing of voxels 128 / 2^(l - 1) mm away.
    for levels in (2, 3, 4):
        lattice = MultiscaleLattice((129, 1), np.ones(2), levels)
        before = MultiscaleLattice((129, 1), np.ones(2), levels - 1)
        scale = np.sqrt(levels / (levels - 1))
        deviations = [1 / part.inverse_deviation.astype(np.float64).ravel() for part in (lattice, before)]
        raw = [w.covariance() * d[:, None] * d for w, d in zip((lattice, before), deviations, strict=True)]
        added = raw[0] * scale**2 - raw[1]
        reach = 128 / 2 ** (levels - 1)
        distance = np.abs(np.subtract.outer(np.arange(129), np.arange(129)))
        assert np.abs(added[distance >= reach]).max() < 1e-6
        assert added[distance <= reach / 8].min() > 0.2


def test_levels_finer_than_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^levels is 9, finer than the grid"):
        MultiscaleLattice((64, 64, 64), np.ones(3), 9)
    assert len(MultiscaleLattice((64, 64, 64), np.ones(3), 4).cells) == 3
