"""PairSynthesizer: agreement, purity, what happens at the frame, and bad input; fidelity is in test_fidelity."""

from __future__ import annotations

import functools
import multiprocessing
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import modelaug
from modelaug import AppearanceModel, Cohort, Pair, PairOptions, PairSynthesizer, TextureOptions
from modelaug._random import generator
from modelaug.models.alignment import apply_pose
from modelaug.models.texture import texture_engine
from modelaug.synthesis import stack_pairs
from tests.examples import (
    MODELS,
    basis_model,
    dice,
    digest,
    directions,
    fields_model,
    heart_model,
    philox,
    plane,
    plane_model,
    same_pairs,
    volume_model,
    wilder,
)


@functools.cache
def _crowded() -> AppearanceModel:
    """Return a model whose landmarks come close to the border of the frame, so that many draws leave it."""
    rng = philox(1)
    centres = 23.5 + rng.uniform(-1, 1, size=(6, 1, 2))
    landmarks = centres + rng.uniform(20.5, 22.4, size=(6, 12, 1)) * directions(2, 12)
    return wilder(AppearanceModel.fit(Cohort(rng.normal(size=(6, 48, 48)), landmarks, spacing=(1.0, 1.5))), 8.0)


@pytest.mark.parametrize("model", MODELS)
def test_a_pair_is_what_it_says(model: Callable[[], AppearanceModel]) -> None:
    m = model()
    d, k = len(m.grid), len(m.reference)
    pair = PairSynthesizer(m).draw(0)
    expected = {
        "fixed": (np.float32, (m.channels, *m.grid)),
        "moving": (np.float32, (m.channels, *m.grid)),
        "flow": (np.float32, (d, *m.grid)),
        "weight": (np.float32, m.grid),
        "landmarks_fixed": (np.float64, (k, d)),
        "landmarks_moving": (np.float64, (k, d)),
        "labels_fixed": (np.uint8, m.grid),
        "labels_moving": (np.uint8, m.grid),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(pair, name)
        assert array.dtype == dtype, name
        assert array.shape == shape, name
        assert np.isfinite(array).all(), name
    for image in (pair.fixed, pair.moving):
        for channel, (low, high), beyond in zip(image, m.intensities, m.background, strict=True):
            rounding = 1e-6 * (high - low)
            assert channel.min() >= min(low, beyond) - rounding
            assert channel.max() <= max(high, beyond) + rounding
    for name, part in (("shape", m.shape), ("pose", m.pose)):
        assert pair.info[name].shape == (2, len(part.variances))
    assert pair.info["folds"] == (modelaug.jacobian_determinant(pair.flow) <= 0).sum()
    assert not np.array_equal(pair.fixed, pair.moving)


# Agreement -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "count"), [(plane_model, 15), (fields_model, 15), (basis_model, 15), (volume_model, 4), (heart_model, 15)]
)
def test_agreement_of_images_and_labels(model: Callable[[], AppearanceModel], count: int) -> None:
    # With equal textures the warped moving image is the fixed one, up to three interpolations and the direct flow's
    # error between landmarks: a few per cent of the contrast, where the images themselves differ several times as much.
    source = PairSynthesizer(model(), options=PairOptions(texture="shared"))
    warped_errors, errors = [], []
    for index in range(count):
        pair = source.draw(index)
        assert pair.labels_fixed is not None
        assert pair.labels_moving is not None
        inside, contrast = pair.weight > 0.99, np.ptp(pair.fixed)
        assert inside.sum() > 0.01 * inside.size
        warped = modelaug.warp(pair.moving, pair.flow)
        warped_errors.append(np.abs(warped - pair.fixed)[:, inside].mean() / contrast)
        errors.append(np.abs(pair.moving - pair.fixed)[:, inside].mean() / contrast)
        assert warped_errors[-1] < 0.06
        labels = modelaug.warp(pair.labels_moving, pair.flow, order=0)
        for label in np.unique(pair.labels_fixed)[1:]:
            after = dice(labels == label, pair.labels_fixed == label)
            assert after > 0.7
            assert after > dice(pair.labels_moving == label, pair.labels_fixed == label) - 0.02
    assert np.mean(warped_errors) < 0.2 * np.mean(errors)


@pytest.mark.parametrize("flow", ["composed", "direct"])
@pytest.mark.parametrize("model", MODELS)
def test_agreement_of_landmarks(model: Callable[[], AppearanceModel], flow: Any) -> None:
    source = PairSynthesizer(model(), options=PairOptions(flow=flow))
    for index in range(10):
        pair = source.draw(index)
        landed = modelaug.warp_points(pair.landmarks_fixed, pair.flow)
        errors = np.linalg.norm(landed - pair.landmarks_moving, axis=1)
        assert errors.max() == pytest.approx(pair.info["landmark_error"])
        assert errors.max() <= model().spline.max_residual
        # What linear interpolation between voxels adds.
        assert np.median(errors) <= 0.15
        assert np.linalg.norm(pair.landmarks_fixed - pair.landmarks_moving, axis=1).max() > 0.5
        upper = np.array(model().grid) - 1
        for landmarks in (pair.landmarks_fixed, pair.landmarks_moving):
            assert ((landmarks >= 0) & (landmarks <= upper)).all()


# Localized shapes are rough within voxels of 2.5 mm, between which their images are interpolated.
@pytest.mark.parametrize(("model", "worst"), [(plane_model, 12), (volume_model, 18)])
def test_agreement_of_landmarks_with_their_own_image(model: Callable[[], AppearanceModel], worst: float) -> None:
    # The examples' edges lie at the landmarks: there the label changes, and the intensity is half-way.
    still = TextureOptions(engine="basis", levels=1)
    mean = replace(
        model(),
        texture=replace(model().texture, variances=0 * model().texture.variances),
        options=replace(model().options, texture=still),
    )
    for index in range(5):
        pair = PairSynthesizer(mean).draw(index)
        for image, landmarks in ((pair.fixed, pair.landmarks_fixed), (pair.moving, pair.landmarks_moving)):
            found = ndimage.map_coordinates(image[0].astype(np.float64), landmarks.T, order=1, mode="nearest")
            assert np.abs(found - 50).max() < worst
            assert np.abs(found - 50).mean() < 8


def test_labels_leave_the_frame_with_the_image() -> None:
    # Where an image shows background because its template ends, no label of the template may be continued.
    cohort = plane()
    labelled = Cohort(cohort.images, cohort.landmarks, labels=np.full((12, *cohort.grid), 3), spacing=cohort.spacing)
    source = PairSynthesizer(replace(AppearanceModel.fit(labelled), background=np.full(2, -1000, np.float32)))
    beyond = 0
    for index in range(10):
        pair = source.draw(index)
        for image, labels in ((pair.fixed, pair.labels_fixed), (pair.moving, pair.labels_moving)):
            assert labels is not None
            outside = image[0] == -1000
            beyond += int(outside.sum())
            assert not (labels[outside] == 3).any()
    assert beyond > 100


# Purity ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_purity_in_batches(model: Callable[[], AppearanceModel], threads: int) -> None:
    source = PairSynthesizer(model(), seed=11)
    alone = {i: source.draw(i) for i in (0, 3, 9, 4)}
    for indices in ([9, 3, 0, 4], [3], [4, 4, 0]):
        batch = source.batch(indices, threads=threads)
        same_pairs(batch, stack_pairs([alone[i] for i in indices]))
        assert batch.fixed.shape == (len(indices), *alone[0].fixed.shape)
    same_pairs(source.draw(3), alone[3])


@pytest.mark.parametrize("model", MODELS)
def test_purity_after_save_load_and_pickling(tmp_path: Path, model: Callable[[], AppearanceModel]) -> None:
    source = PairSynthesizer(model(), seed=4)
    model().save(tmp_path / "model.npz")
    for other in (
        PairSynthesizer(AppearanceModel.load(tmp_path / "model.npz"), seed=4),
        pickle.loads(pickle.dumps(source)),
    ):
        same_pairs(other.draw(7), source.draw(7))


def test_purity_in_another_process(tmp_path: Path) -> None:
    for model in MODELS:
        model().save(tmp_path / f"{model.__name__}.npz")
    code = f"""
import modelaug
from tests.examples import digest
for name in {[model.__name__ for model in MODELS]!r}:
    source = modelaug.PairSynthesizer(modelaug.AppearanceModel.load({str(tmp_path)!r} + f"/{{name}}.npz"), seed=4)
    source.batch(range(3), threads=2)
    print(digest(source.draw(7)))
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [digest(PairSynthesizer(model(), seed=4).draw(7)) for model in MODELS]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_purity_after_a_fork() -> None:
    source = PairSynthesizer(heart_model(), seed=4)
    modelaug.warp(np.zeros((200, 200), np.float32), np.zeros((2, 200, 200), np.float32), threads=2)
    expected = digest(source.batch([7, 8], threads=2))
    with warnings.catch_warnings():
        # Newer Pythons warn of forks in processes with threads, which is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply_async(_digest_of_batch, (source,)).get(timeout=60) == expected


def _digest_of_batch(source: PairSynthesizer) -> str:
    return digest(source.batch([7, 8], threads=2))


@pytest.mark.parametrize("model", MODELS)
def test_purity_of_the_random_numbers_with_respect_to_options(model: Callable[[], AppearanceModel]) -> None:
    # Switching an option off changes nothing about what the others draw.
    base = PairSynthesizer(model(), seed=2).draw(5)
    for options in (PairOptions(texture="shared"), PairOptions(pose="none"), PairOptions(weight_width=1.0)):
        other = PairSynthesizer(model(), seed=2, options=options).draw(5)
        assert other.info["attempts"] == base.info["attempts"] == 1
        assert np.array_equal(other.info["shape"], base.info["shape"])
        if options.pose == "cohort":
            assert np.array_equal(other.info["pose"], base.info["pose"])
            assert np.array_equal(other.fixed, base.fixed)
            assert np.array_equal(other.moving, base.moving) == (options.texture == "independent")
    # Without variance of pose about no pose at all, switching poses off changes nothing about the images either.
    upright = replace(
        model(), pose=replace(model().pose, mean=0 * model().pose.mean, variances=0 * model().pose.variances)
    )
    drawn = [PairSynthesizer(upright, seed=2, options=PairOptions(pose=pose)).draw(5) for pose in ("cohort", "none")]
    np.testing.assert_allclose(drawn[0].moving, drawn[1].moving, atol=1e-3 * np.ptp(drawn[0].moving))


@pytest.mark.parametrize("model", MODELS)
def test_textures_follow_shape_and_pose_in_the_stream_of_random_numbers(model: Callable[[], AppearanceModel]) -> None:
    # What a release drew, the next one draws: the order of the numbers is part of what a seed means.
    m = model()
    pair = PairSynthesizer(wilder(m, 0.0), seed=6, options=PairOptions(pose="none")).draw(9)
    rng = generator(6, 9, 0)
    for part in (m.shape, m.pose):
        rng.standard_normal((2, len(part.variances)))
    engine = texture_engine(m)
    for image in (pair.fixed, pair.moving):
        expected = engine.render(engine.numbers(rng))
        np.testing.assert_allclose(image, expected, atol=1e-3 * np.ptp(expected))


def test_seeds_and_indices_differ() -> None:
    drawn = {
        digest(PairSynthesizer(plane_model(), seed=s).draw(i)) for s in (0, 1, 2**70) for i in (0, 1, 2**32, 2**64 - 1)
    }
    assert len(drawn) == 12


def test_no_global_random_numbers_are_used() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    AppearanceModel.fit(plane())
    PairSynthesizer(plane_model()).batch(range(4), threads=2)
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_equal(after, before)


# Replay ----------------------------------------------------------------------------------------------


def _replays(model: AppearanceModel, pair: Pair) -> None:
    """Check that the landmarks are where the coefficients in `info` put them, but for the shift it tells of."""
    for image, landmarks in enumerate((pair.landmarks_fixed, pair.landmarks_moving)):
        points = model.shape.reconstruct(pair.info["shape"][image]).reshape(model.reference.shape)
        pose = model.pose.reconstruct(pair.info["pose"][image])
        replayed = apply_pose(pose, model.center, points * model.spacing) / model.spacing
        shifts = np.linalg.norm(replayed - landmarks, axis=1)
        assert shifts.max() <= pair.info["landmark_shift"] + 1e-8
        assert np.median(shifts) < 0.1
        # The map itself misses them by at most max_residual in the mean frame, which a pose may magnify a little.
        assert pair.info["landmark_shift"] < 2 * model.spline.max_residual


@pytest.mark.parametrize("model", MODELS)
def test_the_coefficients_in_info_replay_the_landmarks(model: Callable[[], AppearanceModel]) -> None:
    for index in range(3):
        _replays(model(), PairSynthesizer(model()).draw(index))


# Weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_weight_is_one_inside_and_falls_outside(model: Callable[[], AppearanceModel]) -> None:
    wide, narrow = (PairSynthesizer(model(), options=PairOptions(weight_width=w)) for w in (4.0, 0.5))
    for index in range(3):
        pair = wide.draw(index)
        assert pair.weight.min() == 0
        assert pair.weight.max() <= 1
        assert pair.labels_fixed is not None
        objects = pair.labels_fixed > 0
        target = np.indices(model().grid) + pair.flow
        limit = np.reshape(model().grid, (-1, *(1 for _ in model().grid))) - 1
        seen = ((target >= -1e-3) & (target <= limit + 1e-3)).all(axis=0)
        # Voxels that straddle a contour are interpolated.
        assert pair.weight[objects & seen].min() > 0.8
        assert (pair.weight[objects & seen] > 0.98).mean() > 0.9
        assert not pair.weight[~seen].any()
        assert narrow.draw(index).weight.sum() < pair.weight.sum()


# The frame -------------------------------------------------------------------------------------------


def test_draws_that_leave_the_frame_are_made_anew() -> None:
    source = PairSynthesizer(_crowded(), options=PairOptions(max_attempts=50))
    pairs = [source.draw(i) for i in range(60)]
    attempts = [pair.info["attempts"] for pair in pairs]
    assert min(attempts) == 1
    assert max(attempts) > 1
    assert all(pair.info["shrink"] == 1 for pair in pairs)
    for pair in pairs:
        for landmarks in (pair.landmarks_fixed, pair.landmarks_moving):
            assert ((landmarks >= 0) & (landmarks <= 47)).all()
        _replays(_crowded(), pair)
    again = attempts.index(max(attempts))
    same_pairs(source.batch([0, again], threads=2), stack_pairs([pairs[0], pairs[again]]))


def test_after_the_last_attempt_a_draw_is_shrunk() -> None:
    once = PairSynthesizer(_crowded(), options=PairOptions(max_attempts=1))
    pairs = [once.draw(i) for i in range(60)]
    shrunk = [pair for pair in pairs if pair.info["shrink"] < 1]
    assert 0 < len(shrunk) < len(pairs)
    for pair in pairs:
        assert pair.info["attempts"] == 1
        assert np.log2(pair.info["shrink"]) % 1 == 0
        for landmarks in (pair.landmarks_fixed, pair.landmarks_moving):
            assert ((landmarks >= 0) & (landmarks <= 47)).all()
        _replays(_crowded(), pair)
    # A draw that stays inside at once is the same however many attempts are allowed.
    many = PairSynthesizer(_crowded(), options=PairOptions(max_attempts=50))
    inside = next(i for i, pair in enumerate(pairs) if pair.info["shrink"] == 1)
    same_pairs(many.draw(inside), pairs[inside])


def test_coefficients_of_a_shrunk_draw_replay_it_whatever_the_mean_pose() -> None:
    # One subject lies across the others, so that the mean rotation parameter is far from 0.
    rng = philox(9)
    ring, count = directions(2, 10) * np.array([15.0, 19.0]), 7
    angles = np.array([2.0, *rng.uniform(-0.1, 0.1, size=count - 1)])
    landmarks = []
    for angle in angles:
        c, s = np.cos(angle), np.sin(angle)
        landmarks.append(23.5 + (ring + rng.normal(size=ring.shape)) @ np.array([[c, s], [-s, c]]))
    model = wilder(AppearanceModel.fit(Cohort(rng.normal(size=(count, 48, 48)), landmarks)), 20.0)
    assert np.abs(model.pose.mean).max() > 0.02
    source = PairSynthesizer(model, options=PairOptions(max_attempts=1))
    shrunk = [pair for pair in map(source.draw, range(100)) if pair.info["shrink"] < 1]
    assert shrunk
    for pair in shrunk:
        _replays(model, pair)


def test_a_reference_on_the_border_still_gives_pairs() -> None:
    square = np.array([[0.0, 0.0], [0.0, 30.0], [30.0, 30.0], [30.0, 0.0], [12.0, 13.0]])
    landmarks = np.repeat(square[None], 4, axis=0)
    landmarks[:, 4] += philox(3).uniform(-4, 4, size=(4, 2))
    images = philox(4).normal(size=(4, 31, 31))
    model = AppearanceModel.fit(Cohort(images, landmarks), shape=modelaug.ShapeOptions(transform="none"))
    pair = PairSynthesizer(wilder(model, 1e6), options=PairOptions(max_attempts=2)).draw(0)
    assert pair.info["attempts"] == 2
    assert pair.info["shrink"] < 0.1
    assert ((pair.landmarks_fixed >= 0) & (pair.landmarks_fixed <= 30)).all()


# Textures and weights --------------------------------------------------------------------------------


def test_textures_are_shared_as_often_as_asked() -> None:
    still = wilder(plane_model(), 0.0)
    for probability in (0.0, 0.3, 1.0):
        options = PairOptions(texture="mixed", shared_probability=probability, pose="none")
        source = PairSynthesizer(still, seed=5, options=options)
        shared = []
        for index in range(150 if probability == 0.3 else 5):
            pair = source.draw(index)
            # On the mean shape in the mean pose, images with one texture are equal.
            assert np.allclose(pair.fixed, pair.moving, atol=1e-3 * np.ptp(pair.fixed)) == pair.info["shared"]
            shared.append(pair.info["shared"])
        assert abs(np.mean(shared) - probability) <= 0.12


def test_weights_end_where_the_width_says() -> None:
    model = wilder(plane_model(), 0.0)
    pair = PairSynthesizer(model, options=PairOptions(pose="none", weight_width=6.0, weight_unit="mm")).draw(0)
    assert pair.labels_fixed is not None
    away = ndimage.distance_transform_edt(pair.weight < 0.999, sampling=model.spacing)
    # Pixels are up to 2 mm wide.
    assert (pair.weight[away > 8.0] == 0).all()
    assert (pair.weight[away < 4.0] > 0).all()
    middle = pair.weight[(away > 2.5) & (away < 3.5)]
    assert 0.2 < middle.mean() < 0.8
