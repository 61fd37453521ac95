"""Pairs drawn from real hearts, where the cohorts are at hand."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy import ndimage

import modelaug
from modelaug import AppearanceModel, Cohort, PairOptions, PairSynthesizer
from tests.cohorts import real_cohort
from tests.examples import dice

HEARTS = ["acdc32.npz", "sunnybrook37.npz"]


@functools.cache
def model_of(name: str) -> AppearanceModel:
    return AppearanceModel.fit(Cohort.load(real_cohort(name)))


@pytest.mark.parametrize("name", HEARTS)
def test_geometry_is_true(name: str) -> None:
    source = PairSynthesizer(model_of(name), seed=5)
    errors = []
    for index in range(12):
        geometry = source.geometry(index)
        for field in (geometry.flow, *geometry.displacements):
            assert (modelaug.jacobian_determinant(field) > 0).all()
        assert geometry.info["residual"] < 1e-3
        assert geometry.info["shrink"] == 1
        landed = modelaug.warp_points(geometry.landmarks[0], geometry.flow)
        errors.append(np.linalg.norm(landed - geometry.landmarks[1], axis=1))
    assert np.median(errors) < 0.1
    assert np.max(errors) < 1


@pytest.mark.parametrize(("name", "expected"), [("acdc32.npz", 0.975), ("sunnybrook37.npz", 0.955)])
def test_images_and_labels_agree(name: str, expected: float) -> None:
    # Labels are pulled by the nearest of their pixels, which costs a quarter of a pixel along the contour: thin walls
    # lose more of their Dice to it than blood pools do. No label comes from farther away.
    source = PairSynthesizer(model_of(name), seed=5, options=PairOptions(texture="shared"))
    overlaps = []
    for index in range(12):
        pair = source.draw(index)
        assert pair.labels_fixed is not None
        assert pair.labels_moving is not None
        objects, contrast = pair.weight > 0.99, np.ptp(model_of(name).intensities)
        after = np.abs(modelaug.warp(pair.moving, pair.flow) - pair.fixed)[:, objects].mean() / contrast
        assert after < 0.01
        assert after < 0.15 * np.abs(pair.moving - pair.fixed)[:, objects].mean() / contrast
        seen = modelaug.warp(np.ones(pair.weight.shape, np.uint8), pair.flow, order=0, border="constant") > 0
        pulled = modelaug.warp(pair.labels_moving, pair.flow, order=0)
        for label in np.unique(pair.labels_fixed):
            truth = (pair.labels_fixed == label) & seen
            around = ndimage.maximum_filter((pair.labels_moving == label).astype(np.uint8), 3)
            strayed = truth & (modelaug.warp(around, pair.flow, order=0) == 0)
            assert strayed.sum() <= 1e-3 * truth.sum()
            if label > 0 and truth.sum() > 200:
                overlaps.append(dice(truth, (pulled == label) & seen))
    assert np.mean(overlaps) > expected
    assert min(overlaps) > 0.85
