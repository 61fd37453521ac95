"""fit_bspline: agreement with the basic multilevel algorithm, and the laws any such fit obeys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import modelaug
from tests.properties.strategies import Array, generator, grids, points, seeds, wide_grids
from tests.reference import bspline as oracle

levels = st.integers(1, 5)


def _values(seed: int, count: int, components: int) -> Array:
    return generator(seed).normal(size=(count, components)) * 3


def _spread(grid: tuple[int, ...], count: int, seed: int) -> Array:
    """Return sites in general position (m, d)."""
    return generator(seed).uniform(size=(count, len(grid))) * (np.array(grid) - 1.0)


@given(st.data(), grids(), seeds, st.integers(1, 3), levels, st.booleans(), st.booleans(), st.sampled_from([0.0, 0.3]))
def test_agrees_with_the_reference(
    data: st.DataObject,
    grid: tuple[int, ...],
    seed: int,
    components: int,
    max_levels: int,
    affine: bool,
    weighted: bool,
    tolerance: float,
) -> None:
    sites = data.draw(points(grid))
    values = _values(seed, len(sites), components)
    weights = generator(seed + 1).uniform(0.2, 5, size=len(sites)) if weighted else None
    options = {"tolerance": tolerance, "max_levels": max_levels, "weights": weights, "affine": affine}
    expected = oracle.fit(sites, values, grid, **options)
    # Where rounding alone decides whether a level is enough, the two may rightly differ in levels.
    assume(all(abs(largest - tolerance) > 1e-9 for largest in expected.history))
    spline = modelaug.fit_bspline(sites, values, grid, **options)
    assert spline.levels == expected.levels
    assert spline.converged == expected.converged
    assert tuple(spline.grid) == grid
    np.testing.assert_allclose(spline.residuals, expected.residuals, atol=1e-10)
    where = data.draw(points(grid))
    found = spline.at(where)
    assert found.dtype == np.float64
    assert found.shape == (len(where), components)
    np.testing.assert_allclose(found, expected.at(where), atol=1e-10)
    volume = spline.on_grid()
    assert volume.dtype == np.float32
    assert volume.shape == (components, *grid)
    reference = expected.on_grid()
    np.testing.assert_allclose(volume, reference, atol=1e-5 * max(1, np.abs(reference).max()))


@given(st.data(), wide_grids(), seeds, levels, st.integers(1, 7))
def test_grid_and_points_agree_for_any_number_of_components(
    data: st.DataObject, grid: tuple[int, ...], seed: int, max_levels: int, components: int
) -> None:
    # Components are fitted in groups, lines of control points expanded in groups; neither must be seen.
    sites = data.draw(points(grid))
    values = _values(seed, len(sites), components)
    spline = modelaug.fit_bspline(sites, values, grid, tolerance=0.0, max_levels=max_levels, affine=False)
    for k in range(components):
        alone = modelaug.fit_bspline(sites, values[:, [k]], grid, tolerance=0.0, max_levels=spline.levels, affine=False)
        if alone.levels == spline.levels:
            np.testing.assert_allclose(alone.coefficients[0], spline.coefficients[k], atol=1e-12)
    voxels = np.array(list(np.ndindex(*grid)), dtype=np.float64)
    expected = spline.at(voxels).T.reshape(components, *grid)
    found = spline.on_grid(threads=1)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))
    assert np.array_equal(found, spline.on_grid(threads=3))


@given(st.data(), grids(), seeds, levels, st.booleans())
def test_outside_is_clamped_or_continued_linearly(
    data: st.DataObject, grid: tuple[int, ...], seed: int, max_levels: int, affine: bool
) -> None:
    sites = data.draw(points(grid))
    values = _values(seed, len(sites), 2)
    options = {"tolerance": 0.0, "max_levels": max_levels, "affine": affine}
    expected = oracle.fit(sites, values, grid, **options)
    assume(min(expected.history) > 1e-9)
    spline = modelaug.fit_bspline(sites, values, grid, **options)
    away = data.draw(points(grid)) + generator(seed).integers(-200, 201, size=(1, len(grid))) / 64
    for outside in ("clamp", "extrapolate"):
        found, wanted = spline.at(away, outside=outside), expected.at(away, outside=outside)
        np.testing.assert_allclose(found, wanted, atol=1e-10 * max(1, np.abs(wanted).max()))


@given(st.data(), grids(), seeds)
def test_residuals_are_distances_from_the_values(data: st.DataObject, grid: tuple[int, ...], seed: int) -> None:
    sites = data.draw(points(grid))
    values = _values(seed, len(sites), 3)
    spline = modelaug.fit_bspline(sites, values, grid, tolerance=0.1, max_levels=4)
    left = np.linalg.norm(values - spline.at(sites), axis=1)
    assert spline.residuals.shape == (len(sites),)
    np.testing.assert_allclose(spline.residuals, left, atol=1e-10)
    assert spline.converged == bool(spline.residuals.max() <= 0.1)
    assert spline.converged or spline.levels == 4 or max(grid) == 1


@given(grids(), seeds)
def test_affine_data_need_no_spline(grid: tuple[int, ...], seed: int) -> None:
    rng = generator(seed)
    sites = _spread(grid, 12, seed)
    matrix, offset = rng.normal(size=(2, len(grid))), rng.normal(size=2) * 10
    spline = modelaug.fit_bspline(sites, sites @ matrix.T + offset, grid, tolerance=1e-8, weights=rng.uniform(1, 9, 12))
    assert spline.levels == 0
    assert spline.converged
    where = rng.uniform(-30, 30, size=(20, len(grid)))
    # No slope is known, and none is assumed, along an axis of one voxel.
    seen = np.where(np.array(grid) == 1, 0.0, where)
    np.testing.assert_allclose(spline.at(where, outside="extrapolate"), seen @ matrix.T + offset, atol=1e-9)
    nodes = np.array(list(np.ndindex(*grid)), dtype=np.float64)
    np.testing.assert_allclose(spline.on_grid().reshape(2, -1).T, nodes @ matrix.T + offset, atol=1e-4)


@given(st.data(), grids(d=2, smallest=2) | grids(d=3, smallest=2), seeds)
def test_data_apart_are_interpolated(data: st.DataObject, grid: tuple[int, ...], seed: int) -> None:
    # At level 8 a voxel spans over four cells, so no two sites on distinct voxels share a node.
    voxels = data.draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in grid)), min_size=1, max_size=8, unique=True))
    sites = np.array(voxels, dtype=np.float64)
    values = _values(seed, len(sites), 2)
    spline = modelaug.fit_bspline(sites, values, grid, tolerance=1e-9, max_levels=8)
    assert spline.converged
    np.testing.assert_allclose(spline.at(sites), values, atol=1e-8)


@given(st.data(), grids(), seeds, st.booleans())
def test_order_of_sites_and_threads_change_no_bit(
    data: st.DataObject, grid: tuple[int, ...], seed: int, weighted: bool
) -> None:
    sites = data.draw(points(grid, largest=14))
    values = _values(seed, len(sites), 2)
    rng = generator(seed + 1)
    weights = rng.uniform(0.2, 5, size=len(sites)) if weighted else np.ones(len(sites))
    where = _spread(grid, 10, seed)
    options = {"tolerance": 0.01, "max_levels": 5}
    first = modelaug.fit_bspline(sites, values, grid, weights=weights, threads=1, **options)
    for threads in (1, 2, 7):
        order = rng.permutation(len(sites))
        other = modelaug.fit_bspline(
            sites[order], values[order], grid, weights=weights[order], threads=threads, **options
        )
        assert other.levels == first.levels
        assert np.array_equal(other.residuals, first.residuals[order])
        assert np.array_equal(other.at(where), first.at(where))
        assert np.array_equal(other.on_grid(threads=threads), first.on_grid(threads=1))


@given(st.data(), grids(), seeds, levels, st.booleans())
def test_fit_is_linear_in_the_values(
    data: st.DataObject, grid: tuple[int, ...], seed: int, max_levels: int, affine: bool
) -> None:
    sites = data.draw(points(grid))
    a, b = _values(seed, len(sites), 2), _values(seed + 1, len(sites), 2)
    where = _spread(grid, 10, seed)

    def fitted(values: Array) -> Array:
        options = {"tolerance": 0.0, "max_levels": max_levels, "affine": affine}
        return modelaug.fit_bspline(sites, values, grid, **options).at(where)

    np.testing.assert_allclose(fitted(2 * a - b), 2 * fitted(a) - fitted(b), atol=1e-10)
    np.testing.assert_allclose(fitted(np.hstack([a, b])), np.hstack([fitted(a), fitted(b)]), atol=1e-10)


@given(st.data(), grids(), seeds, levels, st.booleans())
def test_weight_two_is_a_site_given_twice(
    data: st.DataObject, grid: tuple[int, ...], seed: int, max_levels: int, affine: bool
) -> None:
    sites = data.draw(points(grid))
    values = _values(seed, len(sites), 2)
    weights = np.ones(len(sites))
    weights[0] = 2
    where = _spread(grid, 10, seed)
    options = {"tolerance": 0.0, "max_levels": max_levels, "affine": affine}
    weighted = modelaug.fit_bspline(sites, values, grid, weights=weights, **options)
    scaled = modelaug.fit_bspline(sites, values, grid, weights=weights * 0.125, **options)
    repeated = modelaug.fit_bspline(np.vstack([sites, sites[:1]]), np.vstack([values, values[:1]]), grid, **options)
    np.testing.assert_allclose(weighted.at(where), repeated.at(where), atol=1e-10)
    np.testing.assert_allclose(weighted.at(where), scaled.at(where), atol=1e-10)


@given(st.data(), grids(), seeds, st.integers(1, 6))
def test_contradicting_sites_end_unconverged(
    data: st.DataObject, grid: tuple[int, ...], seed: int, max_levels: int
) -> None:
    sites = data.draw(points(grid))
    sites = np.vstack([sites, sites[:1]])
    values = _values(seed, len(sites), 1)
    values[-1] = values[0] + 1
    spline = modelaug.fit_bspline(sites, values, grid, tolerance=0.1, max_levels=max_levels)
    assert not spline.converged
    assert spline.levels == (max_levels if max(grid) > 1 else 1)
    assert spline.residuals.max() >= 0.5 - 1e-12


@given(st.lists(st.tuples(st.floats(0, 6), st.floats(0, 9)), min_size=1, max_size=8), seeds, st.integers(1, 8))
def test_any_coordinate_gives_finite_numbers(sites: list[tuple[float, float]], seed: int, max_levels: int) -> None:
    # Coordinates next to zero or to the upper end make weights that underflow; none may become a quotient 0 / 0.
    where = np.array(sites)
    values = _values(seed, len(where), 1)
    options = {"tolerance": 0.0, "max_levels": max_levels, "affine": False}
    spline = modelaug.fit_bspline(where, values, (7, 10), **options)
    assert np.isfinite(spline.on_grid()).all()
    np.testing.assert_allclose(spline.at(where), oracle.fit(where, values, (7, 10), **options).at(where), atol=1e-9)


@given(grids(smallest=2), seeds, st.integers(1, 6))
def test_pieces_join_smoothly(grid: tuple[int, ...], seed: int, max_levels: int) -> None:
    rng = generator(seed)
    sites = _spread(grid, 9, seed)
    spline = modelaug.fit_bspline(sites, rng.normal(size=(9, 1)), grid, tolerance=0.0, max_levels=max_levels)
    cells = 2**max_levels
    knots = rng.integers(1, cells, size=(20, len(grid))) / cells * (np.array(grid) - 1.0)
    step = 1e-6 * np.eye(len(grid))[rng.integers(len(grid), size=20)]
    below, here, above = spline.at(knots - step), spline.at(knots), spline.at(knots + step)
    slope = max(1.0, float(np.abs(spline.on_grid()).max())) * cells
    assert np.abs(above - here).max() <= 1e-5 * slope
    assert np.abs((above - here) - (here - below)).max() <= 1e-9 * slope**2


@pytest.mark.parametrize("grid", [(33, 47), (17, 12, 15)])
def test_many_sites_agree_with_the_reference_on_deep_lattices(grid: tuple[int, ...]) -> None:
    sites = _spread(grid, 60, 3)
    sites[0], sites[1] = 0, np.array(grid) - 1.0
    values = _values(4, 60, len(grid))
    max_levels = 8 if len(grid) == 2 else 5
    spline = modelaug.fit_bspline(sites, values, grid, tolerance=1e-6, max_levels=max_levels, threads=2)
    expected = oracle.fit(sites, values, grid, tolerance=1e-6, max_levels=max_levels)
    assert (spline.levels, spline.converged) == (expected.levels, expected.converged)
    where = np.vstack([sites, _spread(grid, 100, 5)])
    np.testing.assert_allclose(spline.at(where), expected.at(where), atol=1e-10)
    some = generator(6).integers(0, np.array(grid), size=(100, len(grid)))
    np.testing.assert_allclose(
        spline.on_grid()[(slice(None), *some.T)].T, expected.at(some.astype(np.float64)), atol=1e-4
    )
