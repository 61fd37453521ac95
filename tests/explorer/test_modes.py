"""Pairs of chosen modes: the mean, and what the sliders say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modelaug import AcquisitionOptions, PairOptions, ResidualOptions, jacobian_determinant, warp
from modelaug.explorer import ModePairs
from tests.examples import heart_model, one_line, plane_model, same_pairs, volume_model

MEAN = PairOptions(pose="none")


def test_without_modes_both_images_are_the_mean() -> None:
    model = plane_model()
    pair = ModePairs(model, options=MEAN).draw()
    mean = model.texture.mean.reshape(pair.fixed.shape)
    np.testing.assert_allclose(pair.fixed, mean, atol=1e-3)
    np.testing.assert_array_equal(pair.fixed, pair.moving)
    np.testing.assert_allclose(pair.flow, 0, atol=1e-4)
    np.testing.assert_allclose(pair.landmarks_moving, model.reference, atol=1e-6)
    np.testing.assert_array_equal(pair.labels_moving, model.labels)


@pytest.mark.parametrize("model", [plane_model, heart_model, volume_model])
def test_landmarks_are_the_mean_plus_the_modes(model) -> None:  # type: ignore[no-untyped-def]
    shape = model().shape
    pair = ModePairs(model(), options=MEAN).draw(shape=(1.5,))
    assert pair.info["shrink"] == 1
    expected = shape.mean + 1.5 * np.sqrt(shape.variances[0]) * shape.basis[:, 0]
    np.testing.assert_allclose(pair.landmarks_moving.ravel(), expected, atol=model().spline.max_residual)
    np.testing.assert_allclose(pair.landmarks_fixed, model().reference, atol=1e-6)


def test_textures_are_the_mean_plus_the_modes_within_the_range() -> None:
    model = plane_model()
    source = ModePairs(model, options=MEAN)
    part = model.texture
    for deviations in (1.2, -2.0, 50.0):
        pair = source.draw(texture=(0.0, deviations))
        wanted = part.mean + deviations * np.sqrt(part.variances[1]) * part.basis[:, 1]
        low, high = (limits[:, None, None] for limits in model.intensities.T)
        clipped = np.clip(wanted.reshape(pair.moving.shape), low, high)
        np.testing.assert_allclose(pair.moving, clipped, atol=1e-2)
        np.testing.assert_array_equal(pair.fixed, source.draw().fixed)


def test_shared_texture_makes_images_that_agree() -> None:
    model = heart_model()
    pair = ModePairs(model, options=PairOptions(texture="shared")).draw((1.0, -1.0), (2.0,))
    other = ModePairs(model).draw((1.0, -1.0), (2.0,))
    np.testing.assert_array_equal(pair.moving, other.moving)
    np.testing.assert_array_equal(pair.flow, other.flow)
    inside = pair.weight > 0.5
    contrast = float(np.ptp(model.intensities))
    errors = [np.abs(warp(each.moving, each.flow)[0] - each.fixed[0])[inside].mean() for each in (pair, other)]
    assert errors[0] < min(0.05 * contrast, 0.7 * errors[1])  # what linear interpolation blurs at 64 x 64 is left


def test_shapes_that_cannot_be_rendered_are_taken_back_towards_the_mean() -> None:
    source = ModePairs(heart_model())
    pair = source.draw(shape=(40.0,))
    assert 0 <= pair.info["shrink"] < 1
    assert pair.info["attempts"] > 1
    assert (jacobian_determinant(pair.flow) > 0).all()
    same = source.draw(shape=(40.0 * pair.info["shrink"],))
    np.testing.assert_allclose(same.landmarks_moving, pair.landmarks_moving, atol=1e-9)


def test_nothing_is_random() -> None:
    options = PairOptions(flow="direct", residual=ResidualOptions(1.0, 20.0), acquisition=AcquisitionOptions(noise=0.1))
    plain = replace(options, residual=None, acquisition=None)
    pairs = [ModePairs(heart_model(), options=each).draw((0.5,), (-1.0,)) for each in (options, options, plain)]
    same_pairs(pairs[0], pairs[1])
    same_pairs(pairs[0], pairs[2])
    assert "disagreement" in pairs[0].info


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="model is int") as caught:
        ModePairs(3)  # type: ignore[arg-type]
    one_line(caught.value)
    source = ModePairs(plane_model())
    with pytest.raises(ValueError, match=r"shape\[1\] is nan"):
        source.draw(shape=(0.0, float("nan")))
    with pytest.raises(ValueError, match="texture has 1000 numbers"):
        source.draw(texture=[0.0] * 1000)
