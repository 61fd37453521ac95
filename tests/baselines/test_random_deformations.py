"""Random deformations of real images: agreement of images, labels and landmarks, brightness, and the border."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import modelaug
from modelaug import Cohort
from modelaug.baselines import RandomDeformations, RandomOptions
from tests.baselines.sources import odd, same_bits, small_volume
from tests.examples import dice, hearts, plane

STILL = RandomOptions(sd=0.0)
PLAIN = {"brightness": 0.0, "offset": 0.0}


@pytest.mark.parametrize(("cohort", "count"), [(plane, 10), (hearts, 10), (small_volume, 3)])
def test_agreement_of_images_and_labels(cohort: object, count: int) -> None:
    source = RandomDeformations(cohort(), options=RandomOptions(**PLAIN))  # type: ignore[operator, arg-type]
    before, after = [], []
    for index in range(count):
        pair = source.draw(index)
        assert pair.labels_fixed is not None
        assert pair.labels_moving is not None
        seen, contrast = pair.weight > 0.5, np.ptp(pair.fixed)
        assert seen.sum() > 0.01 * seen.size
        after.append(np.abs(modelaug.warp(pair.moving, pair.flow) - pair.fixed)[:, seen].mean() / contrast)
        before.append(np.abs(pair.moving - pair.fixed)[:, seen].mean() / contrast)
        assert after[-1] < 0.05
        labels = modelaug.warp(pair.labels_moving, pair.flow, order=0)
        for label in np.unique(pair.labels_fixed[seen])[1:]:
            assert dice((labels == label) & seen, (pair.labels_fixed == label) & seen) > 0.7
        assert modelaug.jacobian_determinant(pair.flow).min() > 0
        assert pair.info["residual"] <= 0.01
    assert np.mean(after) < 0.35 * np.mean(before)


@pytest.mark.parametrize("cohort", [plane, small_volume])
def test_landmarks_move_along(cohort: object) -> None:
    # The examples' edges lie at the landmarks: there the first channel is half-way.
    made: Cohort = cohort()  # type: ignore[operator]
    source = RandomDeformations(made, options=RandomOptions(**PLAIN))  # type: ignore[arg-type]
    shown, elsewhere = [], []
    for index in range(6):
        pair = source.draw(index)
        upper = np.array(made.grid) - 1
        for image, points in ((pair.fixed, pair.landmarks_fixed), (pair.moving, pair.landmarks_moving)):
            inside = ((points >= 0) & (points <= upper)).all(axis=1)
            assert inside.mean() > 0.8
            shown.append(ndimage.map_coordinates(image[0], points[inside].T, order=1))
            elsewhere.append(ndimage.map_coordinates(image[0], made.landmarks[pair.info["subject"]].T, order=1))
        inside = ((pair.landmarks_fixed >= 0) & (pair.landmarks_fixed <= upper)).all(axis=1)
        landed = modelaug.warp_points(pair.landmarks_fixed, pair.flow)
        np.testing.assert_allclose(landed[inside], pair.landmarks_moving[inside], atol=0.15)
    errors = [np.abs(np.concatenate(values) - 50).mean() for values in (shown, elsewhere)]
    assert errors[0] < 6
    assert errors[0] < 0.4 * errors[1]


def test_all_subjects_are_drawn() -> None:
    source = RandomDeformations(odd())
    drawn = [source.draw(i).info["subject"] for i in range(200)]
    counts = np.bincount(drawn, minlength=4)
    assert len(counts) == 4
    assert counts.min() > 25


def test_the_default_deviation_is_that_of_the_paper_on_its_grid() -> None:
    cohort = modelaug.phantoms.heart(2, shape=(64, 64))
    same_bits(
        RandomDeformations(cohort).draw(3), RandomDeformations(cohort, options=RandomOptions(sd=64 * 10 / 256)).draw(3)
    )


def test_without_deformation_only_brightness_changes() -> None:
    pair = RandomDeformations(plane(), options=STILL).draw(0)
    image = plane().images[pair.info["subject"]]
    np.testing.assert_allclose(pair.flow, 0.0, atol=1e-3)
    np.testing.assert_allclose(pair.landmarks_fixed, plane().landmarks[pair.info["subject"]], atol=1e-3)
    assert not np.allclose(pair.fixed, image, atol=1.0)
    assert not np.allclose(pair.fixed, pair.moving, atol=1.0)
    plain = RandomDeformations(plane(), options=RandomOptions(sd=0.0, **PLAIN)).draw(0)  # type: ignore[arg-type]
    np.testing.assert_allclose(plain.fixed, image, atol=1e-3)
    np.testing.assert_array_equal(plain.fixed, plain.moving)
    np.testing.assert_array_equal(plain.flow, pair.flow)


def test_brightness_is_a_factor_on_what_is_above_the_darkest() -> None:
    """One smooth factor for all channels, whose ranges differ, on intensities less the channel's smallest."""
    source = RandomDeformations(plane(), options=RandomOptions(sd=0.0, brightness=0.3, offset=0.0))
    low = plane().images.min(axis=(0, 2, 3))[:, None, None]
    assert low[1] > 5
    for index in range(3):
        pair = source.draw(index)
        above = plane().images[pair.info["subject"]] - low
        bright = (above > 1).all(axis=0)
        for image in (pair.fixed, pair.moving):
            factors = ((image - low) / np.maximum(above, 1e-3))[:, bright]
            np.testing.assert_allclose(factors[0], factors[1], rtol=2e-3)
            assert factors.min() > 0
            assert np.ptp(factors) > 0.1


@pytest.mark.parametrize(("brightness", "offset"), [(0.3, 0.0), (0.0, 0.2)])
def test_brightness_has_the_deviation_asked_for(brightness: float, offset: float) -> None:
    # The pixel in the middle is a node of a lattice of three.
    options = RandomOptions(sd=0.0, brightness=brightness, offset=offset, brightness_points=3)
    source = RandomDeformations(odd(), options=options)
    low, high = odd().images.min(), odd().images.max()
    changes = []
    for index in range(250):
        pair = source.draw(index)
        real = odd().images[pair.info["subject"], 0, 16, 13]
        pixels = np.array([pair.fixed[0, 16, 13], pair.moving[0, 16, 13]])
        changes.append(np.log((pixels - low) / (real - low)) if brightness else (pixels - real) / (high - low))
    drawn = np.array(changes)
    np.testing.assert_allclose(drawn.std(axis=0), brightness or offset, rtol=0.15)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.2  # each image has a brightness of its own


def test_beyond_the_border() -> None:
    images = np.arange(2 * 30 * 24, dtype=np.float32).reshape(2, 30, 24) + 5
    landmarks = np.array([[[8, 8], [8, 16], [20, 8], [20, 16]]] * 2, dtype=np.float64)
    cohort = Cohort(images, landmarks, labels=np.ones((2, 30, 24), np.int16))
    common = {"sd": 2.0, "weight_width": 100.0, **PLAIN}
    constant = RandomDeformations(cohort, options=RandomOptions(border="constant", **common)).draw(1)  # type: ignore[arg-type]
    edge = RandomDeformations(cohort, options=RandomOptions(border="edge", **common)).draw(1)  # type: ignore[arg-type]
    assert constant.labels_fixed is not None
    assert edge.labels_fixed is not None
    beyond = constant.labels_fixed == 0
    assert 0.01 < beyond.mean() < 0.5
    assert (edge.labels_fixed == 1).all()
    deep = ndimage.binary_erosion(beyond, iterations=1)
    assert (constant.fixed[0][deep] == 5).all()
    assert (edge.fixed[0][deep] >= images[edge.info["subject"]].min()).all()
    for pair in (constant, edge):
        assert not pair.weight[deep].any()
    np.testing.assert_array_equal(constant.flow, edge.flow)
