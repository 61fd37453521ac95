"""Maps without folds: what must hold for any lattice, in the plane and in space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import assume, given
from hypothesis import strategies as st

from modelaug import SplineOptions
from modelaug.transforms.diffeomorphic import LandmarkMap, correspond, fit_map
from tests.properties.strategies import generator, grids, seeds
from tests.reference import maps as reference

Array = npt.NDArray[np.float64]

# Control points displaced by less than this share of a cell cannot fold, in the plane or in space (Choi and Lee 2000).
INJECTIVE = 0.4


def lattice(rng: np.random.Generator, grid: tuple[int, ...], reach: float) -> Array:
    """Return random control points (d, *nodes) that move by up to `reach` cells, not along axes of one voxel."""
    cells = np.array([1 if n == 1 else rng.integers(1, 6) for n in grid])
    width = np.array([0.0 if n == 1 else (n - 1) / c for n, c in zip(grid, cells, strict=True)])
    drawn = rng.uniform(-1, 1, size=(len(grid), *(cells + 3)))
    return drawn * (reach * width).reshape(-1, *(1 for _ in grid))


def affine(rng: np.random.Generator, d: int) -> Array:
    """Return an affine map (d, d + 1) that is far from folding."""
    matrix = np.eye(d) + rng.uniform(-0.25, 0.25, size=(d, d)) / d
    return np.concatenate([matrix, rng.uniform(-3, 3, size=(d, 1))], axis=1)


def chain(rng: np.random.Generator, grid: tuple[int, ...], steps: int, reach: float = INJECTIVE) -> LandmarkMap:
    """Return a random map."""
    drawn = tuple(lattice(rng, grid, reach) for _ in range(steps))
    return LandmarkMap(drawn, affine(rng, len(grid)), grid, np.zeros(1))


def anywhere(rng: np.random.Generator, grid: tuple[int, ...], count: int) -> Array:
    """Return points (count, d), half of them voxels or on the border, some far beyond the grid."""
    top = np.array(grid) - 1.0
    points = rng.uniform(-1.0, 2.0, size=(count, len(grid))) * (top + 1)
    points[::4] = rng.integers(0, np.array(grid), size=points[::4].shape)
    points[1::8] = rng.choice([0.0, 1.0], size=points[1::8].shape) * top
    return points


@given(grids(), seeds, st.integers(0, 3))
def test_values_and_determinants_agree_with_the_oracle(grid: tuple[int, ...], seed: int, steps: int) -> None:
    rng = generator(seed)
    chi = chain(rng, grid, steps, reach=0.8)
    points = anywhere(rng, grid, 24)
    values, determinants = reference.chain_at(chi.steps, chi.affine, grid, points)
    np.testing.assert_allclose(chi.at(points), values, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(chi.determinants(points), determinants, rtol=1e-10, atol=1e-10)
    for threads in (2, 7):
        assert np.array_equal(chi.at(points, threads=threads), chi.at(points))


@given(grids(), seeds, st.integers(0, 3))
def test_displacement_on_the_grid_is_that_at_its_voxels(grid: tuple[int, ...], seed: int, steps: int) -> None:
    chi = chain(generator(seed), grid, steps, reach=0.8)
    voxels = np.indices(grid).reshape(len(grid), -1).T.astype(np.float64)
    expected = (chi.at(voxels) - voxels).T.reshape(-1, *grid)
    np.testing.assert_allclose(chi.displacement(), expected, atol=2e-5)
    for threads in (2, 7):
        assert np.array_equal(chi.displacement(threads=threads), chi.displacement())


@given(grids(), seeds, st.integers(1, 3))
def test_small_displacements_are_one_to_one_and_solve_finds_the_one_point(
    grid: tuple[int, ...], seed: int, steps: int
) -> None:
    rng = generator(seed)
    chi = chain(rng, grid, steps)
    assert chi.is_one_to_one()
    points, starts = anywhere(rng, grid, 12), anywhere(rng, grid, 12)
    found, residuals = chi.solve(chi.at(points), starts)
    assert residuals.max() <= 3e-4
    np.testing.assert_allclose(chi.at(found), chi.at(points), atol=3.01e-4)
    # The least slope of three steps and an affine map bounds how far apart points with near images can be.
    np.testing.assert_allclose(found, points, atol=1.0)
    close, _ = chi.solve(chi.at(points), points + 1e-3)
    np.testing.assert_allclose(close, points, atol=0.1)


@given(grids(), seeds, st.floats(0.2, 1.5))
def test_whether_a_step_folds(grid: tuple[int, ...], seed: int, reach: float) -> None:
    step, d = lattice(generator(seed), grid, reach), len(grid)
    chi = LandmarkMap((step,), np.eye(d, d + 1), grid, np.zeros(1))
    least = chi.determinants(_dense(step, grid, 8 if d == 2 else 4)).min()
    assert least > 0 if chi.is_one_to_one() else least < 0.1


@given(seeds, st.sampled_from([(24, 31), (13, 27), (9, 10, 12)]))
def test_no_step_of_a_fitted_map_falls_below_the_determinant_it_promises(seed: int, grid: tuple[int, ...]) -> None:
    # Crowded landmarks, so that lattices are as fine as they get: between voxels, too.
    rng, d = generator(seed), len(grid)
    sites = rng.uniform(size=(20, d)) * (np.array(grid) - 1)
    chi = fit_map(sites, sites + rng.normal(scale=0.7, size=sites.shape), SplineOptions(), grid)
    for step in chi.steps:
        single = LandmarkMap((step,), np.eye(d, d + 1), grid, np.zeros(1))
        assert single.determinants(_dense(step, grid, 6 if d == 2 else 3)).min() > 0.2


def _dense(step: Array, grid: tuple[int, ...], per_voxel: int) -> Array:
    """Return points (p, d) 1 / per_voxel voxels apart, as far beyond the grid as a step varies."""
    cells = np.array(step.shape[1:]) - 3
    reach = [0 if n == 1 else int(np.ceil(3 * (n - 1) / c)) for n, c in zip(grid, cells, strict=True)]
    ranges = [(-r * per_voxel, (n - 1 + r) * per_voxel + 1) for n, r in zip(grid, reach, strict=True)]
    axes = [np.arange(*ends) / per_voxel for ends in ranges]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(grid))


@given(grids(), seeds, st.integers(0, 2), st.integers(0, 2))
def test_correspondence(grid: tuple[int, ...], seed: int, fixed_steps: int, moving_steps: int) -> None:
    # METHOD's oracle: what the fixed image shows at x, the moving one shows at x + flow(x).
    rng = generator(seed)
    fixed, moving = chain(rng, grid, fixed_steps), chain(rng, grid, moving_steps)
    flow, residual = correspond(fixed.displacement(), moving)
    voxels = np.indices(grid).reshape(len(grid), -1).T.astype(np.float64)
    partners = voxels + flow.reshape(len(grid), -1).T
    target, _ = reference.chain_at(fixed.steps, fixed.affine, grid, voxels)
    reached, _ = reference.chain_at(moving.steps, moving.affine, grid, partners)
    missed = np.linalg.norm(reached - target, axis=1)
    assert missed.max() <= 4e-4
    # An upper bound, up to rounding.
    assert (residual.ravel() >= missed - 5e-5).all()
    assert residual.max() <= 4e-4
    for threads in (2, 7):
        again = correspond(fixed.displacement(), moving, threads=threads)
        assert np.array_equal(again[0], flow)
        assert np.array_equal(again[1], residual)


@given(grids(), seeds, st.integers(0, 2))
def test_an_image_corresponds_to_itself_without_displacement(grid: tuple[int, ...], seed: int, steps: int) -> None:
    chi = chain(generator(seed), grid, steps)
    assert np.abs(correspond(chi.displacement(), chi)[0]).max() < 1e-2


@given(grids(), seeds)
def test_affine_maps_correspond_affinely(grid: tuple[int, ...], seed: int) -> None:
    rng, d = generator(seed), len(grid)
    fixed, moving = (LandmarkMap((), affine(rng, d), grid, np.zeros(1)) for _ in range(2))
    flow, _ = correspond(fixed.displacement(), moving)
    voxels = np.indices(grid).reshape(d, -1).T
    target = voxels @ fixed.affine[:, :d].T + fixed.affine[:, d] - moving.affine[:, d]
    expected = np.linalg.solve(moving.affine[:, :d], target.T).T - voxels
    np.testing.assert_allclose(flow.reshape(d, -1).T, expected, atol=1e-3)


@given(grids(smallest=4), seeds, st.integers(1, 12), st.floats(0.1, 3.0))
def test_fitted_maps_never_fold_and_say_what_they_miss(
    grid: tuple[int, ...], seed: int, count: int, reach: float
) -> None:
    rng = generator(seed)
    top = np.array(grid) - 1.0
    sites = rng.uniform(size=(count, len(grid))) * top
    targets = sites + rng.normal(scale=reach, size=sites.shape)
    options = SplineOptions(max_steps=6)
    chi = fit_map(sites, targets, options, grid)
    assert chi.is_one_to_one()
    assert 0 <= len(chi.steps) <= 6
    np.testing.assert_allclose(np.linalg.norm(chi.at(sites) - targets, axis=1), chi.residuals, atol=1e-9)


@given(grids(smallest=6), seeds)
def test_landmarks_far_apart_are_moved_where_they_should_be(grid: tuple[int, ...], seed: int) -> None:
    rng, d = generator(seed), len(grid)
    top = np.array(grid) - 1.0
    sites = np.stack([0.25 * top, 0.75 * top])
    targets = np.clip(sites + rng.uniform(-0.1, 0.1, size=(2, d)) * top, 0, top)
    assume(np.linalg.norm(targets - sites, axis=1).min() > 0.05)
    chi = fit_map(sites, targets, SplineOptions(), grid)
    assert len(chi.steps) >= 1
    np.testing.assert_allclose(chi.at(sites), targets, atol=1.0)
