"""Hypothesis strategies for grids, points, images and displacement fields."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Array = npt.NDArray[np.float64]

seeds = st.integers(0, 2**32 - 1)
"""Bulk data are drawn from a generator with such a seed: quick, and as reproducible as hypothesis's own choices."""

GRAIN = 64
"""Coordinates are multiples of 1 / GRAIN: sums stay exact in float32, so all borders and ties are met exactly."""


def generator(seed: int) -> np.random.Generator:
    """Return a generator for one example."""
    return np.random.Generator(np.random.Philox(seed))


@st.composite
def grids(draw: st.DrawFn, *, d: int | None = None, smallest: int = 1) -> tuple[int, ...]:
    """Draw the shape of a small 2D or 3D grid, axes of one voxel and odd lengths included."""
    dimension = d if d is not None else draw(st.sampled_from([2, 3]))
    side = st.integers(smallest, 11 if dimension == 2 else 6)
    return tuple(draw(st.lists(side, min_size=dimension, max_size=dimension)))


@st.composite
def wide_grids(draw: st.DrawFn, *, d: int | None = None) -> tuple[int, ...]:
    """Draw the shape of a grid whose rows are longer than vector registers, multiples of their length or not."""
    dimension = d if d is not None else draw(st.sampled_from([2, 3]))
    outer = draw(st.lists(st.integers(1, 3), min_size=dimension - 1, max_size=dimension - 1))
    return (*outer, draw(st.one_of(st.integers(12, 70), st.sampled_from([16, 17, 31, 32, 33, 64]))))


def coordinates(length: int) -> st.SearchStrategy[float]:
    """Draw a coordinate within [0, length - 1], often on a voxel, a knot, or the border itself."""
    last = length - 1
    return st.one_of(
        st.sampled_from([0.0, float(last), last / 2, last / 4, 3 * last / 8]),
        st.integers(0, last).map(float),
        st.integers(0, last * GRAIN).map(lambda ticks: ticks / GRAIN),
    )


@st.composite
def points(draw: st.DrawFn, grid: Sequence[int], *, largest: int = 9) -> Array:
    """Draw 1 to `largest` points of a grid's domain, (m, d); some may coincide."""
    rows = st.tuples(*(coordinates(length) for length in grid))
    return np.array(draw(st.lists(rows, min_size=1, max_size=largest)), dtype=np.float64)


def image(rng: np.random.Generator, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return white noise."""
    return rng.normal(size=tuple(shape)).astype(np.float32)


def displacement(
    rng: np.random.Generator, grid: Sequence[int], out_grid: Sequence[int], *, reach: float = 2.0
) -> npt.NDArray[np.float32]:
    """Return a field (d, *out_grid) of multiples of 1 / GRAIN whose targets leave `grid` by up to `reach` voxels."""
    span = max(*grid, *out_grid) + reach
    drawn = rng.integers(round(-span * GRAIN), round(span * GRAIN) + 1, size=(len(grid), *out_grid)) / GRAIN
    target = np.indices(tuple(out_grid)) + drawn
    limit = np.reshape(grid, (-1, *(1 for _ in grid))) - 1 + reach
    # Some targets are moved onto the grid's faces, where off-by-one errors live.
    target = np.clip(target, -reach, limit)
    target = np.where(rng.random(target.shape) < 0.1, limit - reach, target)
    target = np.where(rng.random(target.shape) < 0.1, 0.0, target)
    return (target - np.indices(tuple(out_grid))).astype(np.float32)


def smooth_field(rng: np.random.Generator, grid: Sequence[int], *, slope: float) -> npt.NDArray[np.float32]:
    """Return a field (d, *grid) of one wave per component, a contraction with Lipschitz constant at most `slope`."""
    d = len(grid)
    x = np.indices(tuple(grid), dtype=np.float64)
    field = np.zeros((d, *grid))
    for component in field:
        # Between a quarter and half a wave per axis: slow waves of the same slope would leave the grid.
        frequency = (
            rng.choice([-1, 1], size=d) * rng.uniform(0.5, 1, size=d) * np.pi / np.maximum(np.array(grid) - 1, 1)
        )
        phase = np.tensordot(frequency, x, axes=1) + rng.uniform(0, 2 * np.pi)
        component += slope / d / np.abs(frequency).sum() * np.sin(phase)
    return field.astype(np.float32)
