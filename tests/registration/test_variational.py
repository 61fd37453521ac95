"""Variational registration: known deformations are found, nothing folds, masks and starts are respected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from modelaug import Cohort, compose, jacobian_determinant, warp
from modelaug.evaluation import score_registration
from modelaug.registration import (
    VariationalOptions,
    choose_options,
    region_of_interest,
    register_variational,
    variational,
)
from modelaug.registration.variational import _exponential, _smoother
from tests.examples import hearts, one_line, philox, plane, volume

REGULARIZERS = ("diffusion", "curvature", "gaussian")


def picture(grid: tuple[int, ...], seed: int = 0, smooth: float = 2.0) -> np.ndarray:
    image = ndimage.gaussian_filter(philox(seed).normal(size=grid), smooth, mode="nearest")
    return (image / image.std()).astype(np.float32)


def smooth_field(grid: tuple[int, ...], reach: float, seed: int = 0) -> np.ndarray:
    """Return a displacement that vanishes at the border, `reach` voxels long at most."""
    rng = philox(seed)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=grid), min(grid) / 6, mode="constant") for _ in grid])
    edge = np.ones(grid)
    for k, n in enumerate(grid):
        profile = np.sin(np.pi * (np.arange(n) + 0.5) / n)
        edge = edge * profile.reshape([-1 if axis == k else 1 for axis in range(len(grid))])
    return (field * edge / np.abs(field * edge).max() * reach).astype(np.float32)


@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("force", ["active", "passive", "symmetric"])
def test_a_known_deformation_is_found(regularizer: Any, force: Any) -> None:
    grid = (48, 61)
    truth = smooth_field(grid, 4.0)
    moving = picture(grid)
    fixed = warp(moving, truth, order=3)
    options = VariationalOptions(force=force, regularizer=regularizer, alpha=1.0, iterations=120, match="range")
    found = register_variational(fixed, moving, options=options)
    inside = np.s_[:, 6:-6, 6:-6]
    error = np.linalg.norm(found - truth, axis=0)[inside[1:]].mean()
    assert error < 0.35 * np.linalg.norm(truth, axis=0)[inside[1:]].mean()
    assert jacobian_determinant(found).min() > 0


def test_volumes_and_channels() -> None:
    grid = (20, 24, 18)
    truth = smooth_field(grid, 2.0)
    moving = np.stack([picture(grid), picture(grid, 1)])
    fixed = np.stack([warp(channel, truth, order=3) for channel in moving])
    found = register_variational(fixed, moving, options=VariationalOptions(alpha=0.5, iterations=80))
    assert found.shape == (3, *grid)
    assert np.linalg.norm(found - truth, axis=0).mean() < 0.5 * np.linalg.norm(truth, axis=0).mean()
    assert jacobian_determinant(found).min() > 0


@given(seed=st.integers(0, 99), alpha=st.floats(0.1, 5.0), regularizer=st.sampled_from(REGULARIZERS))
@settings(max_examples=15)
def test_nothing_folds_and_threads_do_not_matter(seed: int, alpha: float, regularizer: Any) -> None:
    fixed, moving = picture((33, 40), seed, 1.0), picture((33, 40), seed + 1, 1.0)
    options = VariationalOptions(regularizer=regularizer, alpha=alpha, iterations=25)
    found = register_variational(fixed, moving, options=options, threads=1)
    # The exponential of a velocity that is linear between voxels may fold by what is linear between voxels.
    assert (jacobian_determinant(found) <= 0).mean() < 0.002
    np.testing.assert_array_equal(found, register_variational(fixed, moving, options=options, threads=2))


def test_equal_images_stay_where_they_are() -> None:
    image = picture((40, 31))
    assert not register_variational(image, image).any()
    assert not register_variational(image, 3 * image + 7).any()


def test_intensities_on_other_scales_do_not_matter() -> None:
    fixed, moving = picture((40, 31)), picture((40, 31), 1)
    for match in ("range", "histogram"):
        options = VariationalOptions(match=match)  # type: ignore[arg-type]
        first = register_variational(fixed, moving, options=options)
        np.testing.assert_allclose(register_variational(100 * fixed - 3, moving, options=options), first, atol=1e-3)


def test_histograms_match_what_a_curve_has_changed() -> None:
    grid = (48, 48)
    truth = smooth_field(grid, 3.0)
    moving = picture(grid)
    fixed = np.exp(warp(moving, truth, order=3))
    errors = {}
    for match in ("range", "histogram"):
        found = register_variational(fixed, moving, options=VariationalOptions(match=match))  # type: ignore[arg-type]
        errors[match] = np.linalg.norm(found - truth, axis=0).mean()
    assert errors["histogram"] < 0.8 * errors["range"]


def test_nothing_pushes_outside_the_mask() -> None:
    fixed, moving = picture((40, 60)), picture((40, 60), 1)
    assert not register_variational(fixed, moving, mask=np.zeros((40, 60))).any()
    mask = np.zeros((40, 60))
    mask[:, :20] = 1
    found = register_variational(fixed, moving, mask=mask, options=VariationalOptions(alpha=0.3, levels=1))
    assert np.abs(found[:, :, :20]).mean() > 10 * np.abs(found[:, :, 40:]).mean()


def test_the_start_is_part_of_the_result() -> None:
    grid = (48, 48)
    moving = picture(grid)
    start = np.stack([np.full(grid, 5.0), np.full(grid, -3.0)]).astype(np.float32)
    rest = smooth_field(grid, 2.0)
    truth = compose(start, rest)
    fixed = warp(moving, truth, order=3)
    found = register_variational(fixed, moving, initial=start)
    inside = np.s_[:, 8:-8, 8:-8]
    assert np.abs(found - truth)[inside].mean() < 0.4
    options = VariationalOptions(iterations=1, tolerance=0.0)
    same = warp(moving, start)
    np.testing.assert_allclose(
        register_variational(same, moving, initial=start, options=options)[inside], start[inside]
    )


def test_what_is_found_comes_before_the_start() -> None:
    """``moving(start(found(x)))`` for a start that turns and scales, against scipy's interpolation."""
    grid = (48, 53)
    x = np.indices(grid) - (np.array(grid).reshape(2, 1, 1) - 1) / 2
    turn = 1.15 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    start = np.einsum("ij,j...->i...", turn, x) - x + np.array([1.0, -2.0]).reshape(2, 1, 1)
    moving = picture(grid, 3)
    fixed = warp(moving, compose(start, smooth_field(grid, 4.0)), order=3)
    options = VariationalOptions(iterations=40)
    total = register_variational(fixed, moving, initial=start, options=options)
    # What it finds of the image that the start has pulled.
    found = register_variational(fixed, warp(moving, start), options=options)
    at = np.indices(grid) + found
    after = np.stack([ndimage.map_coordinates(u, at, order=1, mode="nearest") for u in start])
    np.testing.assert_allclose(total, found + after, atol=1e-3)
    at = np.indices(grid) + start
    before = start + np.stack([ndimage.map_coordinates(u, at, order=1, mode="nearest") for u in found])
    assert np.abs(total - before)[:, 8:-8, 8:-8].max() > 0.5


def test_the_exponential_is_the_limit_of_small_steps() -> None:
    velocity = smooth_field((40, 40), 3.0)
    steps = np.zeros_like(velocity)
    for _ in range(256):
        steps = compose(velocity / 256, steps)
    np.testing.assert_allclose(_exponential(velocity, 1), steps, atol=0.05)
    there, back = _exponential(velocity, 1), _exponential(-velocity, 1)
    assert np.abs(compose(there, back)).mean() < 0.02


@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("grid", [(7, 10), (1, 9), (4, 5, 6)])
def test_smoothing_solves_its_equation(regularizer: Any, grid: tuple[int, ...]) -> None:
    velocity = philox(0).normal(size=(len(grid), *grid)).astype(np.float32)
    options = VariationalOptions(regularizer=regularizer, alpha=0.7, step=0.5)
    found = _smoother(grid, options)(velocity.copy()).astype(np.float64)

    def laplacian(field: np.ndarray) -> np.ndarray:
        total = np.zeros_like(field)
        for axis in range(1, field.ndim):
            padded = np.concatenate(
                [field.take([0], axis), field, field.take([-1], axis)], axis
            )  # reflection about the edge of the border voxels
            total += np.diff(padded, 2, axis=axis)
        return total

    if regularizer == "gaussian":
        # Heat flow for half the variance of time: its generator is the Laplacian.
        steps = 4000
        result = velocity.astype(np.float64)
        for _ in range(steps):
            result = result + 0.7 / 2 / steps * laplacian(result)
        np.testing.assert_allclose(found, result, atol=1e-3)
    else:
        operator = laplacian(found) if regularizer == "diffusion" else -laplacian(laplacian(found))
        np.testing.assert_allclose(found - 0.5 * 0.7 * operator, velocity, atol=1e-4)


@pytest.mark.parametrize("cohort", [plane(), hearts(), volume()], ids=["plane", "hearts", "volume"])
def test_the_region_of_interest_holds_all_landmarks(cohort: Cohort) -> None:
    margin = 4 * float(cohort.spacing.max())
    mask = region_of_interest(cohort, margin)
    assert mask.shape == cohort.grid
    assert mask.min() >= 0
    assert mask.max() == 1
    nearest = np.rint(cohort.landmarks).astype(int)
    assert mask[tuple(np.moveaxis(nearest, -1, 0))].min() > 0.5
    wider = region_of_interest(cohort, 2 * margin)
    assert (wider >= mask).all()
    assert wider.sum() > mask.sum()


def test_the_region_of_interest_falls_in_millimetres() -> None:
    """Brute force: distances in mm to the nearest voxel within the polygon, a triangle whose edges are known."""
    grid, spacing, margin = (21, 17), np.array([1.0, 2.5]), 9.0
    corners = np.array([[6.0, 5.0], [14.0, 5.0], [6.0, 10.0]])
    cohort = Cohort(philox(0).random((2, *grid)), np.stack([corners, corners[::-1]]), spacing=spacing)
    voxels = np.moveaxis(np.indices(grid), 0, -1)
    inside = (voxels[..., 0] >= 6) & (voxels[..., 1] >= 5)
    inside &= (voxels[..., 0] - 6) / 8 + (voxels[..., 1] - 5) / 5 <= 1 + 1e-9
    steps = (voxels[:, :, None] - voxels[inside]) * spacing
    distance = np.sqrt((steps**2).sum(axis=-1)).min(axis=-1)
    expected = 0.5 + 0.5 * np.cos(np.pi * np.minimum(distance / margin, 1))
    np.testing.assert_allclose(region_of_interest(cohort, margin), expected, atol=1e-5)


def test_levels_hand_on_velocities_in_their_own_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the coarsest level finds alone, in its voxels, is the same movement of the image on the finest grid."""
    grid, found = (47, 66), np.array([0.75, -1.5]).reshape(2, 1, 1)
    shapes = []

    def descend(images: Any, weight: Any, velocity: np.ndarray, options: Any, threads: int) -> np.ndarray:
        shapes.append(velocity.shape[1:])
        return velocity if len(shapes) > 1 else velocity + found.astype(np.float32)

    monkeypatch.setattr(variational, "_descend", descend)
    total = register_variational(picture(grid), picture(grid, 1), options=VariationalOptions(levels=3))
    assert shapes == [(12, 17), (24, 33), grid]
    expected = found[:, 0, 0] * np.array(grid) / np.array(shapes[0])
    np.testing.assert_allclose(total, np.broadcast_to(expected.reshape(2, 1, 1), total.shape), atol=1e-4)


def test_the_best_options_are_chosen() -> None:
    cohort = hearts()
    useless = VariationalOptions(alpha=1e6)
    good = VariationalOptions(alpha=1.0)

    def score(i: int, j: int, field: np.ndarray) -> float:
        return -score_registration(cohort, i, j, field)["contour_distance"]

    pairs = [(0, 1), (2, 3), (4, 0)]
    assert choose_options(cohort, [useless, good], pairs, score, threads=2) == good
    assert choose_options(cohort, [good, useless], pairs, score, threads=1) == good
    with pytest.raises(ValueError, match="candidates or pairs is empty"):
        choose_options(cohort, [], pairs, score)


IMAGE = np.arange(64.0).reshape(8, 8)


@pytest.mark.parametrize(
    "call",
    [
        lambda: register_variational(IMAGE, np.ones((8, 8))),
        lambda: register_variational(IMAGE, IMAGE[:7]),
        lambda: register_variational(IMAGE, np.full((8, 8), np.nan)),
        lambda: register_variational(IMAGE, IMAGE, mask=np.ones((7, 8))),
        lambda: register_variational(IMAGE, IMAGE, mask=np.full((8, 8), 2.0)),
        lambda: register_variational(IMAGE, IMAGE, initial=np.zeros((2, 7, 8))),
        lambda: VariationalOptions(alpha=0.0),
        lambda: VariationalOptions(levels=0),
        lambda: VariationalOptions(force="strong"),  # type: ignore[arg-type]
        lambda: VariationalOptions(regularizer="none"),  # type: ignore[arg-type]
        lambda: region_of_interest(plane(), 0.0),
    ],
)
def test_bad_input(call: Any) -> None:
    with pytest.raises(ValueError, match=r"pass|resample|remove") as caught:
        call()
    one_line(caught.value)
