"""Fidelity: pairs have the means and covariances of the model's shapes, poses and textures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modelaug import AppearanceModel, Pair, PairOptions, PairSynthesizer, procrustes
from modelaug.models.texture import FieldsEngine, texture_engine
from tests.examples import (
    MODELS,
    Array,
    basis_model,
    fields_model,
    heart_model,
    philox,
    plane,
    plane_model,
    volume_model,
    wilder,
)


def _close_moments(drawn: Array, mean: Array, covariance: Array) -> None:
    """Compare moments of independent normal rows (count, k) with the truth, within 5 standard errors."""
    count, variance = len(drawn), np.diag(covariance)
    assert (np.abs(drawn.mean(axis=0) - mean) <= 5 * np.sqrt(variance / count) + 1e-9).all()
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / count)
    assert (np.abs(np.cov(drawn.T) - covariance) <= 5 * error + 1e-9).all()


@functools.cache
def _many(pose: Any) -> tuple[list[Pair], int]:
    source = PairSynthesizer(plane_model(), seed=8, options=PairOptions(pose=pose))
    pairs = [source.draw(i) for i in range(600)]
    return pairs, sum(pair.info["attempts"] > 1 for pair in pairs)


def test_fidelity_of_shapes() -> None:
    pairs, again = _many("none")
    assert again == 0
    cohort = plane()
    shapes = procrustes(cohort.landmarks * cohort.spacing).shapes / cohort.spacing
    truth = np.cov(shapes.reshape(len(cohort), -1).T)
    fixed, moving = (np.array([getattr(p, f"landmarks_{x}").ravel() for p in pairs]) for x in ("fixed", "moving"))
    for drawn in (fixed, moving):
        _close_moments(drawn, shapes.mean(axis=0).ravel(), truth)
    # The two images of a pair are independent.
    cross = np.corrcoef(fixed[:, 0], moving[:, 0])[0, 1]
    assert abs(cross) < 5 / np.sqrt(len(pairs))


def test_fidelity_of_poses() -> None:
    pairs, again = _many("cohort")
    assert again < 0.02 * len(pairs)
    cohort = plane()
    poses = procrustes(cohort.landmarks * cohort.spacing).poses
    for image in range(2):
        drawn = plane_model().pose.reconstruct(np.array([p.info["pose"][image] for p in pairs]))
        _close_moments(drawn, poses.mean(axis=0), np.cov(poses.T))
    assert abs(np.corrcoef([p.info["pose"][:, 0] for p in pairs], rowvar=False)[0, 1]) < 5 / np.sqrt(len(pairs))


@pytest.mark.parametrize("model", [fields_model, volume_model, heart_model])
def test_fidelity_of_localized_shapes(model: Callable[[], AppearanceModel]) -> None:
    # A hundredth of the variance, so that no draw is rejected, which would take away the largest deformations; and maps
    # that are as exact as such small deformations need.
    tame = wilder(model(), 0.01)
    exact = replace(tame.options.spline, tolerance=1e-3, finest=0.5)
    tame = replace(tame, options=replace(tame.options, spline=exact))
    source = PairSynthesizer(tame, seed=8, options=PairOptions(pose="none"))
    pairs = [source.draw(i) for i in range(150)]
    assert all(pair.info["attempts"] == 1 for pair in pairs)
    part = tame.shape
    covariance = (part.basis * part.variances) @ part.basis.T
    drawn = np.array([getattr(p, f"landmarks_{x}").ravel() for x in ("fixed", "moving") for p in pairs])
    _close_moments(drawn, part.mean, covariance)
    _close_moments(part.coefficients(drawn), np.zeros(len(part.variances)), np.diag(part.variances))


@pytest.mark.parametrize("example", [plane_model, fields_model, basis_model])
def test_fidelity_of_textures(example: Callable[[], AppearanceModel]) -> None:
    # On the mean shape and without limits to their range, images have the covariance that the engine claims.
    model = example()
    unlimited = np.array([[-1e6, 1e6]] * model.channels, np.float32)
    source = PairSynthesizer(
        replace(wilder(model, 0.0), intensities=unlimited), seed=8, options=PairOptions(pose="none")
    )
    chosen = philox(5).choice(len(model.texture.mean), size=40, replace=False)
    pairs = [source.draw(i) for i in range(400)]
    basis = model.texture.basis[chosen].astype(np.float64)
    covariance = (basis * model.texture.variances) @ basis.T
    drawing = texture_engine(model)
    if isinstance(drawing, FieldsEngine):
        pixels = chosen % np.prod(model.grid)
        covariance *= drawing.lattice.covariance()[np.ix_(pixels, pixels)]
    fixed, moving = (np.array([getattr(p, x).ravel()[chosen] for p in pairs], np.float64) for x in ("fixed", "moving"))
    for drawn in (fixed, moving):
        _close_moments(drawn, model.texture.mean[chosen].astype(np.float64), covariance)
    # The two images of a pair are independent, unless their textures are shared.
    cross = [np.corrcoef(fixed[:, i], moving[:, i])[0, 1] for i in range(40)]
    assert np.abs(cross).max() < 5 / np.sqrt(len(pairs))
    shared = PairSynthesizer(source.model, seed=8, options=PairOptions(pose="none", texture="shared")).draw(3)
    np.testing.assert_allclose(shared.fixed, shared.moving, atol=1e-3 * np.ptp(shared.fixed))


@pytest.mark.parametrize("model", MODELS)
def test_a_mean_shape_is_drawn_where_it_is(model: Callable[[], AppearanceModel]) -> None:
    pair = PairSynthesizer(wilder(model(), 0.0), options=PairOptions(pose="none")).draw(1)
    assert np.abs(pair.flow).max() < 1e-4
    np.testing.assert_allclose(pair.landmarks_fixed, model().reference, atol=1e-9)
