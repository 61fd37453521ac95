"""Maps that move landmarks without folding: what a single spline cannot do, the frame's border, and bad luck."""

from __future__ import annotations

import numpy as np
import pytest

from modelaug import SplineOptions, fit_bspline, jacobian_determinant
from modelaug.transforms.diffeomorphic import LandmarkMap, correspond, fit_map
from tests.examples import Array, directions, philox


def _still(grid: tuple[int, ...]) -> Array:
    """Return landmarks around the middle of the frame that stay where they are."""
    middle = (np.array(grid) - 1) / 2
    return middle + directions(len(grid), 24) * 0.4 * middle.min()


@pytest.mark.parametrize(("grid", "share"), [((64, 64), 0.75), ((20, 24, 22), 0.95)])
def test_steps_do_what_folds_a_single_spline(grid: tuple[int, ...], share: float) -> None:
    # A landmark moves most of the way towards one that stays.
    around = _still(grid)
    middle = (np.array(grid) - 1) / 2
    sites = np.concatenate([around, middle[None]])
    targets = sites.copy()
    targets[-1] += share * (around[3] - middle)
    single = fit_bspline(sites, targets - sites, grid, tolerance=0.05)
    assert (jacobian_determinant(single.on_grid()) <= 0).any()
    chi = fit_map(sites, targets, SplineOptions(), grid)
    assert len(chi.steps) > 1
    assert chi.is_one_to_one()
    assert chi.residuals.max() <= 1.0
    assert (jacobian_determinant(chi.displacement()) > 0).all()
    folding = fit_map(sites, targets, SplineOptions(), grid, folds=True)
    assert len(folding.steps) == 1
    assert not folding.is_one_to_one()


def test_landmarks_that_would_have_to_pass_through_each_other_are_missed() -> None:
    grid = (32, 32)
    sites = np.concatenate([_still(grid), [[15.0, 15.4], [15.0, 15.6]]])
    targets = sites.copy()
    targets[-2:] = sites[:-3:-1]
    targets[-2:] += [[0.0, 4.0], [0.0, -4.0]]
    chi = fit_map(sites, targets, SplineOptions(), grid)
    assert chi.is_one_to_one()
    assert chi.residuals.max() > 1.0


def test_a_step_is_the_spline_inside_and_smooth_across_the_border() -> None:
    grid = (17, 24)
    rng = philox(5)
    sites = rng.uniform(size=(9, 2)) * (np.array(grid) - 1)
    spline = fit_bspline(sites, rng.normal(size=(9, 2)), grid, tolerance=0.01, max_levels=4)
    chi = LandmarkMap((spline.coefficients,), np.eye(2, 3), grid, spline.residuals)
    points = rng.uniform(size=(50, 2)) * (np.array(grid) - 1)
    np.testing.assert_allclose(chi.at(points) - points, spline.at(points), atol=1e-12)
    np.testing.assert_allclose(chi.at(sites) - sites, spline.at(sites), atol=1e-12)
    # Second differences across the border are continuous: they differ by no more than at a knot inside.
    h = 1e-2
    for edge in ([16.0, 11.3], [16.0, 23.0], [7.7, 0.0]):
        normal = np.array([1.0 * (edge[0] == 16.0), 1.0 * (edge[1] == 23.0) - 1.0 * (edge[1] == 0.0)])
        line = np.array(edge) + np.arange(-3, 4)[:, None] * h * normal
        curvature = np.diff(chi.at(line), 2, axis=0) / h**2
        assert np.abs(np.diff(curvature, axis=0)).max() < 0.2
    # Far away the border's displacement goes on.
    np.testing.assert_allclose(
        chi.at(np.array([[5.0, 1e3]])) - [5.0, 1e3], chi.at(np.array([[5.0, 1e6]])) - [5.0, 1e6], atol=1e-9
    )


def test_flow_goes_on_smoothly_where_the_partner_is_outside() -> None:
    grid = (48, 48)
    around = _still(grid)
    fixed = fit_map(around, around + philox(1).normal(scale=0.5, size=around.shape), SplineOptions(), grid)
    shifted = np.concatenate([np.eye(2), [[20.0], [-15.0]]], axis=1)
    moving = LandmarkMap(fixed.steps, shifted, grid, fixed.residuals)
    flow, residual = correspond(fixed.displacement(), moving)
    target = np.indices(grid) + flow
    assert ((target < 0) | (target > 47)).any(axis=0).mean() > 0.3
    assert residual.max() <= 1e-3
    assert np.isfinite(flow).all()
    assert (jacobian_determinant(flow) > 0).all()


def test_newton_finds_its_way_from_far_away() -> None:
    # Strongly compressed and stretched: full Newton steps from afar overshoot.
    grid = (40, 40)
    sites = np.concatenate([_still(grid), [[19.5, 19.5]]])
    targets = sites.copy()
    targets[-1] += 6.0
    chi = fit_map(sites, targets, SplineOptions(), grid)
    voxels = np.indices(grid).reshape(2, -1).T.astype(np.float64)
    found, residual = chi.solve(chi.at(voxels), np.zeros_like(voxels))
    assert residual.max() <= 3e-4
    np.testing.assert_allclose(found, voxels, atol=5e-3)


def test_a_fold_is_told_by_the_residual() -> None:
    # No point of a folded map's border goes everywhere: where there is no solution the residual says so.
    grid = (9, 9)
    step = np.zeros((2, 7, 7))
    step[0] = -2.0 * np.linspace(-2, 10, 7)[:, None]
    folded = LandmarkMap((step,), np.eye(2, 3), grid, np.zeros(1))
    assert not folded.is_one_to_one()
    identity = LandmarkMap((), np.eye(2, 3), grid, np.zeros(1))
    _, residual = correspond(identity.displacement(), folded)
    assert residual.max() > 1e-2


def test_lattices_are_no_finer_than_the_voxels() -> None:
    grid = (33, 33)
    sites = np.concatenate([_still(grid), [[10.0, 10.0], [10.2, 10.0]]])
    targets = sites.copy()
    targets[-2:] += [[2.0, 0.0], [-2.0, 0.0]]
    for finest, cells in ((1.0, 32), (2.0, 16), (40.0, 1)):
        spline = SplineOptions(finest=finest).displacement(sites, targets, grid)
        assert spline.coefficients.shape[1:] == (cells + 3, cells + 3)


@pytest.mark.parametrize(
    "options",
    [{"tolerance": -1}, {"max_levels": 0}, {"finest": 0}, {"max_steps": 0}, {"max_residual": -1}, {"finest": "1"}],
)
def test_bad_options_are_refused_in_one_line(options: dict[str, float]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(options))} is ") as caught:
        SplineOptions(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("grid", [(160, 160, 160), (512, 512, 12), (20000, 16), (100000, 9)])
def test_large_grids_with_coarse_lattices_take_no_memory(grid: tuple[int, ...]) -> None:
    # What an affine map of the landmarks gives: a single cell.
    d = len(grid)
    step = np.zeros((d, *(4,) * d))
    assert LandmarkMap((step,), np.eye(d, d + 1), grid, np.zeros(1)).is_one_to_one()
    step[0] = np.linspace(1, -2, 4).reshape(-1, *(1,) * (d - 1)) * 1.5 * grid[0]
    assert not LandmarkMap((step,), np.eye(d, d + 1), grid, np.zeros(1)).is_one_to_one()
