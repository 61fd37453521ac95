"""The phantoms' drawing tools against what they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelaug.datasets.phantoms._blobs import _harmonics
from modelaug.datasets.phantoms._drawing import (
    ANGLES,
    Canvas,
    Frame,
    RadialCurve,
    bounded_normal,
    bump,
    coverage,
    fourier_noise,
    rician,
    subject_rng,
)
from modelaug.transforms.directions import sphere_directions


def test_pixel_centres_and_edges() -> None:
    frame = Frame((4, 8), 16.0)
    np.testing.assert_allclose(frame.axes[0], [2, 6, 10, 14])
    np.testing.assert_allclose(frame.pixels(np.array([[2.0, 1.0], [0.0, 16.0]])), [[0, 0], [-0.5, 7.5]])


def test_coverage_keeps_the_area_of_a_disc() -> None:
    frame = Frame((64, 64), 64.0)
    disc = RadialCurve(np.array([31.3, 32.6]), np.full(len(ANGLES), 17.4))
    covered = coverage(disc.level(frame.mesh()), frame.softness)
    assert covered.sum() == pytest.approx(math.pi * 17.4**2, rel=2e-3)


def test_noise_has_unit_variance_and_ignores_the_grid() -> None:
    coarse, fine = (Frame((n, n), 200.0).noise(subject_rng(3, 0), 5.0) for n in (100, 300))
    assert coarse.std() == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(fine[1::3, 1::3], coarse, rtol=0, atol=1e-12)


def test_fourier_noise_is_periodic_with_unit_variance() -> None:
    draws = np.array([fourier_noise(subject_rng(0, i), 2, 6, 0.7) for i in range(400)])
    assert draws.var() == pytest.approx(1, abs=0.1)
    steps = np.abs(np.diff(draws, axis=1, append=draws[:, :1]))
    assert steps[:, -1].max() <= steps[:, :-1].max()


def test_bounded_normal_stays_within_its_limit() -> None:
    rng = subject_rng(0, 0)
    draws = np.array([bounded_normal(rng, 2.0, 1.5) for _ in range(4000)])
    assert np.abs(draws).max() < 3.0
    assert abs(draws.mean()) < 0.1


def test_bump_has_its_width() -> None:
    heights = bump(1.0, 0.8)
    assert heights.max() == pytest.approx(1, abs=1e-4)
    assert np.interp([0.6, 1.4], ANGLES, heights) == pytest.approx([0.5, 0.5], abs=1e-3)


def test_radial_curve_wraps_around() -> None:
    curve = RadialCurve(np.zeros(2), 10 + np.cos(3 * ANGLES))
    angles = np.array([-7.0, -1e-9, 0.0, 2 * math.pi - 1e-9, 9.5])
    np.testing.assert_allclose(curve.at(angles), 10 + np.cos(3 * angles), atol=1e-4)
    points = curve.points(angles)
    np.testing.assert_allclose(curve.level([points[:, 0], points[:, 1]]), 0, atol=1e-9)


def test_ellipse_paints_its_area_only_where_it_lies() -> None:
    frame = Frame((80, 80), 80.0)
    canvas = Canvas(frame, frame.mesh(), 0.0)
    canvas.ellipse((30.0, 50.0), (12.0, 6.0), 0.5, 1.0)
    assert canvas.image.sum() == pytest.approx(math.pi * 72, rel=0.02)
    rows, columns = frame.mesh()
    assert (canvas.image * rows).sum() / canvas.image.sum() == pytest.approx(30, abs=0.05)
    assert (canvas.image * columns).sum() / canvas.image.sum() == pytest.approx(50, abs=0.05)
    canvas.ellipse((-200.0, 50.0), (12.0, 6.0), 0.0, 1.0)  # outside the image: nothing to paint
    assert canvas.image.max() <= 1


def test_rician_noise_lifts_the_background() -> None:
    noisy = rician(subject_rng(1, 0), np.zeros((200, 200)), 3.0)
    assert noisy.mean() == pytest.approx(3 * math.sqrt(math.pi / 2), rel=0.02)


def test_harmonics_are_orthonormal_on_the_sphere() -> None:
    directions = sphere_directions(4000)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    values = np.array(list(_harmonics(*directions.T)))
    np.testing.assert_allclose(values @ values.T / 4000, np.eye(15), atol=5e-3)


@pytest.mark.parametrize("softness", [0.7, 1.0, 2.5])
def test_coverage_is_the_part_of_a_pixel_inside(softness: float) -> None:
    """Of pixels as wide as an edge is soft, counted by a thousand points in each."""
    levels = np.linspace(-3, 3, 61)
    points = levels[:, None] + softness * ((np.arange(1000) + 0.5) / 1000 - 0.5)
    np.testing.assert_allclose(coverage(levels, softness), (points < 0).mean(axis=1), atol=2e-3)
