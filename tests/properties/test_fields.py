"""compose, invert and jacobian_determinant: agreement with the reference, and the calculus they stand for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import modelaug
from modelaug import _core
from tests.properties.strategies import displacement, generator, grids, image, seeds, smooth_field, wide_grids
from tests.reference import fields as oracle


@given(grids(), seeds)
def test_compose_agrees_with_the_reference(grid: tuple[int, ...], seed: int) -> None:
    rng = generator(seed)
    u, v = displacement(rng, grid, grid), displacement(rng, grid, grid)
    found = modelaug.compose(u, v)
    assert found.dtype == np.float32
    assert found.shape == u.shape
    np.testing.assert_allclose(found, oracle.compose(u, v), atol=1e-5 * max(1, np.abs(u).max(), np.abs(v).max()))


@given(wide_grids(), seeds)
def test_long_rows_agree_with_the_reference(grid: tuple[int, ...], seed: int) -> None:
    rng = generator(seed)
    u, v = displacement(rng, grid, grid), displacement(rng, grid, grid)
    scale = max(1, np.abs(u).max(), np.abs(v).max())
    np.testing.assert_allclose(modelaug.compose(u, v), oracle.compose(u, v), atol=1e-5 * scale)
    expected = oracle.jacobian_determinant(u)
    found = modelaug.jacobian_determinant(u)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@given(grids(), seeds)
def test_zero_is_neutral_in_composition(grid: tuple[int, ...], seed: int) -> None:
    u = displacement(generator(seed), grid, grid)
    zero = np.zeros_like(u)
    assert np.array_equal(modelaug.compose(u, zero), u)
    assert np.array_equal(modelaug.compose(zero, u), u)


@given(grids(), seeds)
def test_landmarks_follow_a_composition_in_two_steps(grid: tuple[int, ...], seed: int) -> None:
    # A point of the fixed grid is pulled by v first and by u then.
    rng = generator(seed)
    u, v = displacement(rng, grid, grid), displacement(rng, grid, grid)
    voxels = np.array(list(np.ndindex(*grid)), dtype=np.float64)
    twice = modelaug.warp_points(modelaug.warp_points(voxels, v), u)
    np.testing.assert_allclose(
        modelaug.warp_points(voxels, modelaug.compose(u, v)), twice, atol=1e-5 * max(1, np.abs(twice).max())
    )


@given(grids(), seeds)
def test_warping_twice_is_warping_by_the_composition(grid: tuple[int, ...], seed: int) -> None:
    # On a ramp linear interpolation is exact, so equality is too, wherever no coordinate is clamped.
    rng = generator(seed)
    d = len(grid)
    u, v = smooth_field(rng, grid, slope=0.4), smooth_field(rng, grid, slope=0.4)
    ramp = np.tensordot(rng.normal(size=d), np.indices(grid), axes=1).astype(np.float32)
    twice = modelaug.warp(modelaug.warp(ramp, u), v)
    once = modelaug.warp(ramp, modelaug.compose(u, v))
    last = np.reshape(grid, (-1, *(1 for _ in grid))) - 1
    reach = np.abs(u).reshape(d, -1).max(axis=1).reshape(last.shape)
    first = np.indices(grid) + v
    # Both neighbours that an interpolation at `first` averages must themselves have been pulled from inside.
    inside = ((np.floor(first) >= reach) & (np.floor(first) + 1 <= last - reach)).all(axis=0)
    np.testing.assert_allclose(twice[inside], once[inside], atol=1e-5 * max(1, np.abs(ramp).max()))


@given(seeds, st.sampled_from([(41, 36), (21, 18, 20)]))
def test_warping_twice_is_near_the_composition_on_smooth_images(seed: int, grid: tuple[int, ...]) -> None:
    rng = generator(seed)
    u, v = (smooth_field(rng, grid, slope=0.2) for _ in range(2))
    smooth = np.sin(np.tensordot(rng.uniform(-0.15, 0.15, size=len(grid)), np.indices(grid), axes=1))
    twice = modelaug.warp(modelaug.warp(smooth.astype(np.float32), u), v)
    once = modelaug.warp(smooth.astype(np.float32), modelaug.compose(u, v))
    margin = int(np.abs(u).max() + np.abs(v).max()) + 2
    inside = tuple(slice(margin, n - margin) for n in grid)
    assert twice[inside].size > 0
    # Two linear interpolations err by at most a quarter of the second derivative.
    np.testing.assert_allclose(twice[inside], once[inside], atol=0.25 * (0.15 * len(grid)) ** 2)


@given(grids(), seeds)
def test_inverse_agrees_with_the_reference(grid: tuple[int, ...], seed: int) -> None:
    u = smooth_field(generator(seed), grid, slope=0.5)
    found, residual = modelaug.invert(u, tolerance=1e-4, return_residual=True)
    assert found.dtype == residual.dtype == np.float32
    assert found.shape == u.shape
    assert residual.shape == grid
    scale = max(1, np.abs(u).max())
    np.testing.assert_allclose(residual, oracle.inversion_residual(u, found), atol=1e-5 * scale)
    assert residual.max() <= 1e-4 + 1e-5 * scale
    # A contraction by 1/2 doubles the error of the residual at most.
    np.testing.assert_allclose(found, oracle.invert(u), atol=2e-4 + 2e-5 * scale)
    assert np.array_equal(found, modelaug.invert(u, tolerance=1e-4))


@given(wide_grids(), seeds, st.sampled_from([0.5, 4.0]))
def test_inverse_of_long_rows_does_what_its_residual_says(grid: tuple[int, ...], seed: int, slope: float) -> None:
    # Steep fields fold: damped steps take over where full ones do not get nearer.
    u = smooth_field(generator(seed), grid, slope=slope)
    found, residual = modelaug.invert(u, tolerance=1e-4, return_residual=True)
    scale = max(1, np.abs(u).max(), np.abs(found).max())
    np.testing.assert_allclose(residual, oracle.inversion_residual(u, found), atol=1e-5 * scale)
    if slope < 1:
        assert residual.max() <= 1e-4


@given(grids(), seeds)
def test_inverse_composes_to_zero(grid: tuple[int, ...], seed: int) -> None:
    u = smooth_field(generator(seed), grid, slope=0.5)
    v = modelaug.invert(u, tolerance=1e-4)
    assert np.abs(modelaug.compose(u, v)).max() <= 1e-4 + 1e-5 * max(1, np.abs(u).max())


@given(grids(), seeds)
def test_residual_tells_when_there_is_no_inverse(grid: tuple[int, ...], seed: int) -> None:
    rng = generator(seed)
    u = displacement(rng, grid, grid)
    found, residual = modelaug.invert(u, max_iterations=5, return_residual=True)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(
        residual, oracle.inversion_residual(u, found), atol=1e-5 * max(1, np.abs(u).max(), np.abs(found).max())
    )


@given(seeds, st.sampled_from([(25, 30), (14, 13, 15)]))
def test_jacobian_of_the_inverse_is_the_reciprocal(seed: int, grid: tuple[int, ...]) -> None:
    u = smooth_field(generator(seed), grid, slope=0.3)
    v = modelaug.invert(u, tolerance=1e-5)
    there = modelaug.warp(modelaug.jacobian_determinant(u), v)
    landing = np.indices(grid) + v
    last = np.reshape(grid, (-1, *(1 for _ in grid))) - 1
    inside = ((landing > 2) & (landing < last - 2)).all(axis=0)
    inside &= ((np.indices(grid) > 1) & (np.indices(grid) < last - 1)).all(axis=0)
    np.testing.assert_allclose((there * modelaug.jacobian_determinant(v))[inside], 1, atol=0.03)


@given(grids(), seeds)
def test_jacobian_agrees_with_the_reference(grid: tuple[int, ...], seed: int) -> None:
    u = image(generator(seed), (len(grid), *grid))
    found = modelaug.jacobian_determinant(u)
    assert found.dtype == np.float32
    assert found.shape == grid
    expected = oracle.jacobian_determinant(u)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@given(grids(), seeds)
def test_jacobian_of_an_affine_field_is_its_determinant(grid: tuple[int, ...], seed: int) -> None:
    rng = generator(seed)
    d = len(grid)
    matrix = rng.integers(-8, 9, size=(d, d)) / 8
    offset = rng.integers(-64, 65, size=d) / 8
    u = np.tensordot(matrix, np.indices(grid), axes=1) + offset.reshape(-1, *(1 for _ in grid))
    flat = np.where(np.array(grid) == 1, 0.0, matrix)
    expected = np.float32(np.linalg.det(np.eye(d) + flat))
    np.testing.assert_allclose(modelaug.jacobian_determinant(u.astype(np.float32)), expected, atol=1e-6)


@given(grids(), seeds)
def test_threads_change_no_bit(grid: tuple[int, ...], seed: int) -> None:
    rng = generator(seed)
    u, v = displacement(rng, grid, grid), displacement(rng, grid, grid)
    for threads in (2, 7):
        assert np.array_equal(modelaug.compose(u, v, threads=1), modelaug.compose(u, v, threads=threads))
        assert np.array_equal(modelaug.invert(u, threads=1), modelaug.invert(u, threads=threads))
        assert np.array_equal(
            modelaug.jacobian_determinant(u, threads=1), modelaug.jacobian_determinant(u, threads=threads)
        )


@given(wide_grids(), seeds, st.sampled_from([1, 2, 5]))
def test_folds_and_voxels_outside_are_counted(grid: tuple[int, ...], seed: int, threads: int) -> None:
    u = displacement(generator(seed), grid, grid).astype(np.float32)
    assert _core.count_folds(u, threads) == (modelaug.jacobian_determinant(u) <= 0).sum()
    inside, outside = _core.find_inside(u, threads)
    position = np.indices(grid) + u.astype(np.float64)
    upper = np.array(grid).reshape(-1, *(1 for _ in grid)) - 1
    beyond = np.maximum(np.maximum(-position, position - upper), 0).max(axis=0)
    sure = np.abs(beyond - 1e-3) > 1e-5  # a thousandth of a voxel is not yet outside
    assert np.array_equal(inside[sure], (beyond <= 1e-3)[sure])
    assert outside == (~inside).sum()
    assert np.array_equal(inside, modelaug.warp(np.ones(grid, np.uint8), u, order=0, border="constant") > 0)
