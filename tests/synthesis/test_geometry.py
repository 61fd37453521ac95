"""Geometry of pairs: the flow is what the images show, nothing folds, and the rest says why it was made anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import modelaug
from modelaug import AppearanceModel, Cohort, PairOptions, PairSynthesizer, ResidualOptions, SplineOptions
from modelaug.models.alignment import apply_pose, inverse_pose
from modelaug.models.crossings import count_crossings
from tests.examples import FULL, MODELS, Array, heart_model, hearts, philox, plane_model, volume_model, wilder

RESIDUAL = ResidualOptions(amplitude=2.0, spacing=8.0)


def voxels(grid: tuple[int, ...]) -> Array:
    """Return the positions of all voxels, (p, d)."""
    return np.indices(grid).reshape(len(grid), -1).T.astype(np.float64)


@pytest.mark.parametrize("residual", [None, RESIDUAL])
@pytest.mark.parametrize("model", MODELS)
def test_both_images_show_the_same_at_corresponding_voxels(
    model: Callable[[], AppearanceModel], residual: ResidualOptions | None
) -> None:
    source = PairSynthesizer(model(), options=PairOptions(residual=residual))
    for index in range(3):
        geometry = source.geometry(index)
        fixed, moving = geometry.maps
        x = voxels(model().grid)
        partner = x + geometry.flow.reshape(len(geometry.flow), -1).T
        missed = np.linalg.norm(moving.at(partner) - fixed.at(x), axis=1)
        assert missed.max() < 1e-3
        inside = ((partner >= 0) & (partner <= np.array(model().grid) - 1)).all(axis=1)
        assert missed[inside].max() - 5e-5 <= geometry.info["residual"] <= 4e-4
        assert abs(geometry.info["outside"] - (~inside).sum()) <= 0.01 * inside.size
        assert np.isfinite(geometry.flow).all()
        # The landmarks of both images are where the maps have the mean shape.
        for chi, landmarks in zip(geometry.maps, geometry.landmarks, strict=True):
            np.testing.assert_allclose(chi.at(landmarks), model().reference, atol=0.011)


@pytest.mark.parametrize("flow", ["composed", "direct"])
@pytest.mark.parametrize("residual", [None, RESIDUAL])
@pytest.mark.parametrize("model", MODELS)
def test_no_fold(model: Callable[[], AppearanceModel], residual: ResidualOptions | None, flow: Any) -> None:
    # Twice the variance of the cohort, so that many draws are at the limit.
    source = PairSynthesizer(wilder(model(), 2.0), options=PairOptions(residual=residual, flow=flow))
    for index in range(6):
        geometry = source.geometry(index)
        for field in (geometry.flow, *geometry.displacements):
            assert (modelaug.jacobian_determinant(field) > 0).all()
        for chi in geometry.maps:
            assert chi.is_one_to_one()
            assert (chi.determinants(voxels(model().grid)) > 0).all()
        assert geometry.info["folds"] == 0
        assert geometry.info["steps"].tolist() == [len(chi.steps) for chi in geometry.maps]


@pytest.mark.parametrize("model", [plane_model, volume_model])
def test_the_relative_pose_is_in_the_flow_exactly(model: Callable[[], AppearanceModel]) -> None:
    m = model()
    source = PairSynthesizer(wilder(m, 0.0))
    for index in range(3):
        geometry = source.geometry(index)
        fixed, moving = (m.pose.reconstruct(b) for b in geometry.info["pose"])
        mean = voxels(m.grid) * m.spacing
        back = inverse_pose(fixed, m.center)
        d = len(m.grid)
        target = apply_pose(moving, m.center, mean @ back[:, :d].T + back[:, d])
        expected = (target - mean) / m.spacing
        np.testing.assert_allclose(geometry.flow.reshape(d, -1).T, expected, atol=1e-3)
        assert np.abs(expected).max() > 0.5


@pytest.mark.parametrize("model", [plane_model, volume_model])
def test_inverse_pose_undoes_a_pose(model: Callable[[], AppearanceModel]) -> None:
    m, rng = model(), philox(2)
    pose = m.pose.reconstruct(rng.normal(size=len(m.pose.variances)) * np.sqrt(m.pose.variances))
    points = rng.normal(size=(9, len(m.grid))) * 20
    back = inverse_pose(pose, m.center)
    moved = apply_pose(pose, m.center, points)
    np.testing.assert_allclose(moved @ back[:, :-1].T + back[:, -1], points, atol=1e-10)


def test_the_direct_flow_says_how_far_it_disagrees() -> None:
    source = PairSynthesizer(heart_model(), options=PairOptions(flow="direct"))
    geometry = source.geometry(1)
    fixed, moving = geometry.maps
    x = voxels(heart_model().grid)
    partner = x + geometry.flow.reshape(2, -1).T
    missed = np.linalg.norm(moving.at(partner) - fixed.at(x), axis=1)
    inside = ((partner >= 0) & (partner <= 63)).all(axis=1)
    expected = np.percentile(missed[inside], [50, 95, 100])
    np.testing.assert_allclose(geometry.info["disagreement"], expected, rtol=1e-3)
    assert geometry.info["residual"] == pytest.approx(expected[2], rel=1e-3)
    assert geometry.info["disagreement"][1] > 0.1
    composed = PairSynthesizer(heart_model()).geometry(1)
    assert "disagreement" not in composed.info
    assert composed.info["residual"] < 1e-3


# Why a draw is made anew -----------------------------------------------------------------------------


def test_contours_cross_no_more_than_in_training() -> None:
    model = wilder(heart_model(), 3.0)
    assert np.array_equal(
        model.crossings,
        np.maximum(
            np.max([count_crossings(x, model.objects) for x in hearts().landmarks], axis=0),
            count_crossings(model.reference, model.objects),
        ),
    )
    source = PairSynthesizer(model, options=PairOptions(max_attempts=50))
    pairs = [source.geometry(i) for i in range(25)]
    assert any("crossings" in pair.info["rejected"] for pair in pairs)
    for pair in pairs:
        assert len(pair.info["rejected"]) == pair.info["attempts"] - 1
        assert set(pair.info["rejected"]) <= {"frame", "crossings", "map", "folds", "flow"}
        for landmarks in pair.landmarks:
            assert (count_crossings(landmarks, model.objects) <= model.crossings).all()


def test_draws_that_no_map_can_render_are_shrunk() -> None:
    # Nothing is left of a shape that no single step of the coarsest lattice can reach.
    m = wilder(heart_model(), 4.0)
    coarse = SplineOptions(tolerance=0.01, max_levels=2, finest=1.0, max_steps=1, max_residual=0.3)
    source = PairSynthesizer(
        replace(m, options=replace(m.options, spline=coarse)), options=PairOptions(max_attempts=3, pose="none")
    )
    infos = [source.geometry(i).info for i in range(8)]
    shrunk = [info for info in infos if info["shrink"] < 1]
    assert shrunk
    for info in shrunk:
        assert info["attempts"] == 3
        assert len(info["rejected"]) == 3
        assert np.log2(info["shrink"]) % 1 == 0


def test_landmarks_that_are_not_finite_are_outside_the_frame() -> None:
    # Such as of a model file whose poses scale beyond all bounds.
    model = plane_model()
    variances = np.full_like(model.pose.variances, 1e300)
    huge = replace(model, pose=replace(model.pose, variances=variances))
    with np.errstate(all="ignore"):
        info = PairSynthesizer(huge, options=PairOptions(max_attempts=3)).geometry(0).info
    assert info["rejected"] == ["frame"] * 3
    assert info["shrink"] < 1e-3


def test_single_splines_on_request() -> None:
    # As the paper does: nothing is made anew, and info says what folds.
    source = PairSynthesizer(wilder(heart_model(), 3.0), options=PairOptions(allow_folds=True, flow="direct"))
    infos = [source.geometry(i).info for i in range(12)]
    assert max(info["folds"] for info in infos) > 0
    assert all(info["steps"].tolist() == [1, 1] for info in infos)
    assert all(set(info["rejected"]) <= {"frame"} for info in infos)
    composed = PairSynthesizer(wilder(heart_model(), 3.0), options=PairOptions(allow_folds=True))
    flows = [composed.geometry(i) for i in range(12)]
    assert all(np.isfinite(geometry.flow).all() for geometry in flows)
    for geometry in flows:
        folded = (modelaug.jacobian_determinant(geometry.flow) <= 0).sum()
        assert geometry.info["folds"] == folded


# Residual deformation --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_residual_deformation_changes_no_other_number(model: Callable[[], AppearanceModel]) -> None:
    plain = PairSynthesizer(model(), seed=3).draw(2)
    moved = PairSynthesizer(model(), seed=3, options=PairOptions(residual=RESIDUAL)).draw(2)
    assert plain.info["attempts"] == moved.info["attempts"] == 1
    for name in ("shape", "pose"):
        assert np.array_equal(plain.info[name], moved.info[name])
    assert not np.array_equal(plain.flow, moved.flow)
    shift = np.abs((moved.landmarks_fixed - plain.landmarks_fixed) * model().spacing)
    assert 0.1 < shift.max() <= RESIDUAL.amplitude + 2 * model().spacing.max()
    # Without amplitude it is not there.
    still = PairSynthesizer(model(), seed=3, options=PairOptions(residual=ResidualOptions(0.0, 8.0))).draw(2)
    np.testing.assert_allclose(still.flow, plain.flow, atol=2e-3)


def test_residual_deformation_is_independent_in_the_two_images() -> None:
    options = PairOptions(residual=RESIDUAL, pose="none")
    source = PairSynthesizer(wilder(plane_model(), 0.0), options=options)
    shifts = np.array(
        [[x - plane_model().reference for x in source.geometry(i).landmarks] for i in range(60)]
    )  # (pairs, 2, m, d)
    assert np.abs(np.corrcoef(shifts[:, 0, 0, 0], shifts[:, 1, 0, 0])[0, 1]) < 0.5
    assert np.abs(shifts.mean(axis=0)).max() < 0.5


# Poses -----------------------------------------------------------------------------------------------


def test_poses_are_limited() -> None:
    free = PairSynthesizer(plane_model(), seed=1)
    tight = PairSynthesizer(plane_model(), seed=1, options=PairOptions(pose_limit=0.5))
    deviations = np.sqrt(plane_model().pose.variances)
    cut = 0
    for index in range(10):
        a, b = free.geometry(index).info, tight.geometry(index).info
        assert (np.abs(b["pose"]) <= 0.5 * deviations + 1e-12).all()
        if a["attempts"] == b["attempts"] == 1:
            np.testing.assert_allclose(b["pose"], np.clip(a["pose"], -0.5 * deviations, 0.5 * deviations))
            cut += int((np.abs(a["pose"]) > 0.5 * deviations).sum())
    assert cut > 10


# Against a texture that is known everywhere ----------------------------------------------------------


@pytest.mark.parametrize("model", [plane_model, heart_model, volume_model])
def test_flow_against_an_analytic_texture(model: Callable[[], AppearanceModel]) -> None:
    # A band-limited texture of the mean frame, its values computed, not interpolated, in both images: what is left
    # between the warped moving image and the fixed one is one interpolation of the moving image and the flow's error.
    rng, d = philox(8), len(model().grid)
    waves = rng.normal(size=(5, d))
    waves *= (2 * np.pi / rng.uniform(16, 32, size=5) / np.linalg.norm(waves, axis=1))[:, None]
    phases = rng.uniform(0, 2 * np.pi, size=5)

    def texture(points: Array) -> Array:
        return np.sin(points @ waves.T + phases).sum(axis=1)

    source = PairSynthesizer(model())
    for index in range(3):
        geometry = source.geometry(index)
        x = voxels(model().grid)
        fixed, moving = (texture(chi.at(x)).reshape(model().grid) for chi in geometry.maps)
        target = np.indices(model().grid) + geometry.flow
        limit = np.reshape(model().grid, (-1, *(1 for _ in model().grid))) - 1
        inside = ((target >= 2) & (target <= limit - 2)).all(axis=0)
        before = np.abs(moving - fixed)[inside]
        errors = {k: np.abs(modelaug.warp(moving, geometry.flow, order=k) - fixed)[inside] for k in (1, 3)}
        # Linear interpolation is off by at most an eighth of the second derivatives, summed over the axes; the largest
        # may lie between voxels.
        second = sum(np.abs(np.diff(moving, 2, axis=a)).max() for a in range(d))
        assert errors[1].max() < 1.2 * second / 8 + 1e-3
        assert np.median(errors[3]) < 2e-3 * np.abs(fixed).max()
        assert errors[3].mean() < 0.1 * before.mean()


# Larger grids than the examples' ---------------------------------------------------------------------


def test_crowded_contours_at_full_size() -> None:
    cohort = modelaug.phantoms.heart(8, shape=(128, 128), seed=1)
    model = AppearanceModel.fit(cohort, spline=SplineOptions(tolerance=0.05))
    geometry = PairSynthesizer(model).geometry(0)
    landed = modelaug.warp_points(geometry.landmarks[0], geometry.flow)
    errors = np.linalg.norm(landed - geometry.landmarks[1], axis=1)
    assert np.median(errors) < 0.1
    assert errors.max() < 1
    assert geometry.info["landmark_error"] == pytest.approx(errors.max())


def test_one_voxel_axes() -> None:
    # A volume of a single plane: nothing moves across it.
    plane, landmarks = philox(1).normal(size=(5, 1, 30, 32)), philox(2).normal(size=(5, 12, 3))
    ring = np.stack([np.zeros(12), *(15 + 8 * f(np.arange(12) * np.pi / 6) for f in (np.cos, np.sin))], axis=1)
    landmarks = ring + landmarks * [0, 0.5, 0.5]
    shape = modelaug.ShapeOptions(levels=1, transform="translation")
    model = AppearanceModel.fit(Cohort(plane, landmarks), **FULL | {"shape": shape})
    options = PairOptions(residual=ResidualOptions(1.0, 10.0))
    geometry = PairSynthesizer(model, options=options).geometry(0)
    assert np.abs(geometry.flow[0]).max() < 1e-4
    assert np.abs(geometry.flow[1:]).max() > 0.1
    assert geometry.info["residual"] < 1e-3
