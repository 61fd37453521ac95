"""warp and warp_points: agreement with the reference, and the laws of interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import modelaug
from tests.properties.strategies import displacement, generator, grids, image, points, seeds, wide_grids
from tests.reference import warp as oracle

orders = st.sampled_from([0, 1, 3])
borders = st.sampled_from(["edge", "constant"])
channels = st.integers(1, 3)
LABEL_TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.float32, np.float64]


@given(grids(), st.data(), seeds, orders, borders, channels, st.sampled_from([0.0, -2.5]))
def test_agrees_with_the_reference(
    grid: tuple[int, ...], data: st.DataObject, seed: int, order: int, border: str, count: int, fill: float
) -> None:
    rng = generator(seed)
    out_grid = data.draw(grids(d=len(grid)))
    # Three channels of a volume pulled onto two planes have the shape of three images and fields in the plane.
    assume(len(grid) == 2 or count < 3 or out_grid[0] != 2)
    source = image(rng, (count, *grid))
    field = displacement(rng, grid, out_grid)
    found = modelaug.warp(source, field, order=order, border=border, fill=fill)
    expected = oracle.warp(source, field, order=order, border=border, fill=fill)
    assert found.dtype == np.float32
    assert found.shape == (count, *out_grid)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(source).max()))
    if order == 0:
        assert np.array_equal(found, expected)


@given(wide_grids(), seeds, orders, borders)
def test_long_rows_agree_with_the_reference(grid: tuple[int, ...], seed: int, order: int, border: str) -> None:
    rng = generator(seed)
    source, field = image(rng, (1, *grid)), displacement(rng, grid, grid)
    found = modelaug.warp(source, field, order=order, border=border, fill=-2.5)
    expected = oracle.warp(source, field, order=order, border=border, fill=-2.5)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(source).max()))
    if order == 0:
        assert np.array_equal(found, expected)


@given(wide_grids(), seeds, borders)
def test_nearest_decides_halves_to_the_last_bit(grid: tuple[int, ...], seed: int, border: str) -> None:
    rng = generator(seed)
    labels = rng.integers(0, 2**32, size=(1, *grid), dtype=np.uint32)
    whole = rng.integers(-3, 4, size=(len(grid), *grid)).astype(np.float32)
    half = whole + np.float32(0.5)
    away = rng.choice(np.array([-np.inf, 0, np.inf], np.float32), size=half.shape)
    field = np.where(away == 0, half, np.nextafter(half, away))
    found = modelaug.warp(labels, field, order=0, border=border, fill=5)
    assert np.array_equal(found, oracle.warp(labels, field, order=0, border=border, fill=5))


@given(wide_grids(), seeds, orders, borders)
def test_a_voxel_does_not_depend_on_its_row(grid: tuple[int, ...], seed: int, order: int, border: str) -> None:
    # Rows are taken in blocks of as many voxels as fit a register; where a block starts must not be seen.
    rng = generator(seed)
    source, field = image(rng, (1, *grid)), displacement(rng, grid, grid)
    whole = modelaug.warp(source, field, order=order, border=border)
    for length in {1, grid[-1] // 2, grid[-1] - 1}:
        assert np.array_equal(
            whole[..., :length], modelaug.warp(source, field[..., :length], order=order, border=border)
        )


@given(grids(), seeds, orders, st.sampled_from([1e4, 1e9, 3e38]))
def test_far_away_is_the_border_or_the_fill(grid: tuple[int, ...], seed: int, order: int, far: float) -> None:
    rng = generator(seed)
    source = image(rng, (1, *grid))
    towards = rng.integers(0, 2, size=len(grid))
    field = np.broadcast_to(np.reshape(far * (2 * towards - 1), (-1, *(1 for _ in grid))), (len(grid), *grid))
    corner = source[(0, *(towards * (np.array(grid) - 1)))]
    found = modelaug.warp(source, field.astype(np.float32), order=order)
    np.testing.assert_allclose(found, np.full_like(found, corner), atol=1e-5 * max(1, np.abs(source).max()))
    framed = modelaug.warp(source, field.astype(np.float32), order=order, border="constant", fill=7.0)
    assert np.array_equal(framed, np.full_like(framed, 7.0))


@given(grids(), seeds, orders, borders)
def test_batches_and_channels_are_warped_one_by_one(grid: tuple[int, ...], seed: int, order: int, border: str) -> None:
    rng = generator(seed)
    source = image(rng, (4, 2, *grid))
    field = np.stack([displacement(rng, grid, grid) for _ in range(4)])
    together = modelaug.warp(source, field, order=order, border=border)
    assert together.shape == (4, 2, *grid)
    for b in range(4):
        alone = modelaug.warp(source[b], field[b], order=order, border=border)
        assert np.array_equal(together[b], alone)
        for c in range(2):
            assert np.array_equal(alone[c], modelaug.warp(source[b, c], field[b], order=order, border=border))


@given(grids(), seeds, orders, borders)
def test_threads_change_no_bit(grid: tuple[int, ...], seed: int, order: int, border: str) -> None:
    rng = generator(seed)
    source = image(rng, (2, 2, *grid))
    field = np.stack([displacement(rng, grid, grid) for _ in range(2)])
    single = modelaug.warp(source, field, order=order, border=border, threads=1)
    for threads in (2, 7):
        assert np.array_equal(single, modelaug.warp(source, field, order=order, border=border, threads=threads))


@given(grids(), seeds, st.sampled_from(LABEL_TYPES))
def test_labels_keep_their_type_and_values(grid: tuple[int, ...], seed: int, dtype: type[np.generic]) -> None:
    rng = generator(seed)
    top = int(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 2**20
    labels = rng.choice(np.array([0, 3, top - 1, top], dtype=dtype), size=(1, *grid))
    field = displacement(rng, grid, grid)
    found = modelaug.warp(labels, field, order=0)
    assert found.dtype == labels.dtype
    assert np.array_equal(found, oracle.warp(labels, field, order=0))
    framed = modelaug.warp(labels, field, order=0, border="constant", fill=3)
    assert framed.dtype == labels.dtype
    assert np.array_equal(framed, oracle.warp(labels, field, order=0, border="constant", fill=3))


@given(grids(), seeds, orders, borders)
def test_zero_displacement_changes_nothing(grid: tuple[int, ...], seed: int, order: int, border: str) -> None:
    source = image(generator(seed), grid)
    found = modelaug.warp(source, np.zeros((len(grid), *grid), np.float32), order=order, border=border)
    assert found.shape == source.shape
    if order == 3:
        np.testing.assert_allclose(found, source, atol=1e-5 * max(1, np.abs(source).max()))
    else:
        assert np.array_equal(found, source)


@given(grids(), seeds, orders, borders)
def test_whole_shift_is_a_slice(grid: tuple[int, ...], seed: int, order: int, border: str) -> None:
    rng = generator(seed)
    shift = rng.integers(-2, 3, size=len(grid))
    source = image(rng, grid)
    field = np.broadcast_to(shift.reshape(-1, *(1 for _ in grid)), (len(grid), *grid)).astype(np.float32)
    found = modelaug.warp(source, field, order=order, border=border, fill=9.0)
    pad = [(2, 2)] * len(grid)
    padded = np.pad(source, pad, mode="edge") if border == "edge" else np.pad(source, pad, constant_values=9.0)
    expected = padded[tuple(slice(2 + s, 2 + s + n) for s, n in zip(shift, grid, strict=True))]
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(source).max()))


@given(grids(), seeds, orders, borders)
def test_warp_is_linear_in_the_image(grid: tuple[int, ...], seed: int, order: int, border: str) -> None:
    rng = generator(seed)
    a, b = image(rng, (1, *grid)), image(rng, (1, *grid))
    field = displacement(rng, grid, grid)
    options = {"order": order, "border": border}
    expected = 2 * modelaug.warp(a, field, **options) - modelaug.warp(b, field, **options)
    scale = max(1, np.abs(a).max(), np.abs(b).max())
    np.testing.assert_allclose(modelaug.warp(2 * a - b, field, **options), expected, atol=2e-5 * scale)


@given(grids(), st.data(), seeds, st.sampled_from([1, 3]))
def test_constants_stay_and_order_one_keeps_the_range(
    grid: tuple[int, ...], data: st.DataObject, seed: int, order: int
) -> None:
    rng = generator(seed)
    field = displacement(rng, grid, data.draw(grids(d=len(grid))))
    flat = modelaug.warp(np.full(grid, 7.25, np.float32), field, order=order)
    np.testing.assert_allclose(flat, 7.25, atol=1e-4)
    source = image(rng, grid)
    warped = modelaug.warp(source, field, order=1)
    assert source.min() - 1e-5 <= warped.min() <= warped.max() <= source.max() + 1e-5


@pytest.mark.parametrize("order", [1, 3])
@given(grids(smallest=2), seeds)
def test_ramps_are_reproduced(order: int, grid: tuple[int, ...], seed: int) -> None:
    # Mirroring bends a ramp at the borders, so cubic interpolation is exact only where no reflected sample weighs in.
    rng = generator(seed)
    if order == 3:
        grid = tuple(n + 24 for n in grid[:2])
    d = len(grid)
    margin = 10 if order == 3 else 0
    slope = rng.normal(size=d)
    ramp = np.tensordot(slope, np.indices(grid), axes=1)
    limit = np.reshape(grid, (-1, *(1 for _ in grid))) - 1.0
    target = margin + rng.random(size=(d, *grid)) * (limit - 2 * margin)
    field = (target - np.indices(grid)).astype(np.float32)
    expected = np.tensordot(slope, np.indices(grid) + field.astype(np.float64), axes=1)
    scale = max(1.0, float(np.abs(ramp).max()))
    np.testing.assert_allclose(modelaug.warp(ramp.astype(np.float32), field, order=order), expected, atol=1e-5 * scale)


@given(st.data(), grids(), seeds)
def test_points_agree_with_the_reference(data: st.DataObject, grid: tuple[int, ...], seed: int) -> None:
    rng = generator(seed)
    where = data.draw(points(grid)) + rng.integers(-100, 101, size=(1, len(grid))) / 64
    field = displacement(rng, grid, grid)
    found = modelaug.warp_points(where, field)
    assert found.dtype == np.float64
    assert found.shape == where.shape
    np.testing.assert_allclose(found, oracle.warp_points(where, field), atol=1e-10)


@given(grids(), seeds)
def test_points_and_voxels_move_alike(grid: tuple[int, ...], seed: int) -> None:
    rng = generator(seed)
    field = displacement(rng, grid, grid)
    voxels = np.array(list(np.ndindex(*grid)), dtype=np.float64)
    expected = voxels + field.reshape(len(grid), -1).T.astype(np.float64)
    np.testing.assert_allclose(modelaug.warp_points(voxels, field), expected, atol=1e-10)
