"""Outlines of the plane and of space: where they are 0, what sign they have, and how far they reach."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from modelaug.baselines.outlines import (
    _WAVES,
    Outline,
    _Body,
    _Convex,
    _Curve,
    _draw_body,
    _draw_convex,
    _draw_curve,
    draw_outline,
)
from tests.examples import directions
from tests.properties.strategies import generator, seeds

Array = npt.NDArray[np.float64]
radii = st.floats(0.5, 50.0)
dimensions = st.sampled_from([2, 3])


def level(outline: Outline, points: Array) -> Array:
    """Return the level at points (m, d)."""
    return outline.level(points.T.astype(np.float32)[:, None])[0].astype(np.float64)


def on_curve(curve: _Curve, count: int) -> Array:
    """Return points of a curve, computed from its definition."""
    angles = np.arange(count) * (2 * np.pi / count)
    orders = np.arange(1, len(curve.harmonics) + 1)
    waves = (curve.harmonics[:, None] * np.exp(1j * orders[:, None] * angles)).sum(axis=0).real
    stretched = curve.radius * (1 + waves) * np.stack([np.cos(angles), np.sin(angles)])
    return np.linalg.solve(curve.stretch, stretched).T


def on_body(body: _Body, count: int) -> Array:
    """Return points of a body's surface, computed from its definition."""
    points = []
    for direction in directions(3, count):
        cosines = body.axes @ direction
        wave = sum(
            c * cosine**k for cosine, series in zip(cosines, body.waves, strict=True) for k, c in enumerate(series)
        )
        points.append(np.linalg.solve(body.stretch, body.radius * (1 + wave) * direction))
    return np.array(points)


def corners_of(convex: _Convex) -> Array:
    """Return the crossings of two sides, or of three faces, that no other cuts off."""
    d = convex.normals.shape[1]
    found = []
    for chosen in map(list, itertools.combinations(range(len(convex.offsets)), d)):
        if abs(np.linalg.det(convex.normals[chosen])) > 1e-9:
            point = np.linalg.solve(convex.normals[chosen], convex.offsets[chosen])
            if (convex.normals @ point <= convex.offsets + 1e-9 * convex.offsets.max()).all():
                found.append(point)
    return np.array(found)


def within(outline: Outline, points: Array, linear: Array) -> bool:
    """Return whether what a matrix makes of points is in the span that the outline says."""
    low, high = outline.extent.span(linear)
    slack = 1e-6 * (high - low)
    moved = points @ linear.T
    return bool((moved >= low - slack).all() and (moved <= high + slack).all())


@given(seeds, radii, dimensions)
def test_a_star_is_where_its_definition_says(seed: int, radius: float, d: int) -> None:
    rng = generator(seed)
    star: _Curve | _Body
    if d == 2:
        star = _draw_curve(rng, radius)
        points = on_curve(star, 60)
    else:
        star = _draw_body(rng, radius)
        points = on_body(star, 300)
    np.testing.assert_allclose(level(star, points), 0.0, atol=1e-4 * radius)
    assert (level(star, 0.9 * points) < 0).all()
    assert (level(star, 1.1 * points) > 0).all()
    assert within(star, points, np.eye(d))
    assert within(star, points, rng.normal(size=(d, d)))
    assert np.isclose(np.linalg.det(star.stretch), 1.0)


def test_waves_of_bodies_are_those_of_the_plane() -> None:
    angles = np.linspace(0.0, np.pi, 50)
    for order, series in enumerate(_WAVES, start=1):
        np.testing.assert_allclose(np.polynomial.polynomial.polyval(np.cos(angles), series), np.cos(order * angles))


@given(seeds, radii, dimensions)
def test_a_convex_outline_is_inside_all_of_its_sides(seed: int, radius: float, d: int) -> None:
    rng = generator(seed)
    convex = _draw_convex(rng, d, radius)
    np.testing.assert_allclose(np.linalg.norm(convex.normals, axis=1), 1.0)
    corners = corners_of(convex)
    assert len(corners) >= d + 1
    assert within(convex, corners, np.eye(d))
    assert within(convex, corners, rng.normal(size=(d, d)))
    points = generator(seed + 1).uniform(-1.5, 1.5, size=(50, d)) * radius
    found = level(convex, points)
    clear = np.abs(found) > 1e-4 * radius
    inside = Delaunay(corners / radius).find_simplex(points / radius) >= 0
    assert np.array_equal((found < 0)[clear], inside[clear])


@given(seeds, radii)
def test_the_span_of_a_polyhedron_is_that_of_its_corners(seed: int, radius: float) -> None:
    rng = generator(seed)
    convex, linear = _draw_convex(rng, 3, radius), rng.normal(size=(3, 3))
    low, high = convex.extent.span(linear)
    moved = corners_of(convex) @ linear.T
    np.testing.assert_allclose(low, moved.min(axis=0), rtol=1e-6, atol=1e-6 * radius)
    np.testing.assert_allclose(high, moved.max(axis=0), rtol=1e-6, atol=1e-6 * radius)


@given(seeds, radii, dimensions, st.sampled_from([0.0, 0.5, 1.0]))
def test_nothing_inside_is_beyond_the_extent(seed: int, radius: float, d: int, holes: float) -> None:
    rng = generator(seed)
    outline = draw_outline(rng, d, radius, holes)
    low, high = outline.extent.span(np.eye(d))
    assert (np.maximum(-low, high) < 10 * radius).all()
    points = rng.uniform(-1.3, 1.3, size=(4000, d)) * np.maximum(-low, high)
    inside = points[level(outline, points) < 0]
    assert within(outline, inside, np.eye(d))
    assert within(outline, inside, rng.normal(size=(d, d)))
    middle = level(outline, np.zeros((1, d)))[0]
    assert (middle < 0) == (type(outline).__name__ != "_Ring")
    if holes in (0.0, 1.0):
        assert (type(outline).__name__ == "_Ring") == (holes == 1.0)
    # Something of it is left, whatever the hole.
    assert len(inside) > 0.03 * len(points) / 2 ** (d - 2)


@pytest.mark.parametrize("d", [2, 3])
def test_there_are_shapes_of_all_kinds(d: int) -> None:
    drawn = [draw_outline(generator(seed), d, 10.0, 0.25) for seed in range(400)]
    kinds = [type(outline).__name__ for outline in drawn]
    assert 0.15 < kinds.count("_Ring") / 400 < 0.35
    assert 0.35 < kinds.count("_Curve" if d == 2 else "_Body") / 400 < 0.55
    sides = {len(outline.offsets) for outline in drawn if isinstance(outline, _Convex)}
    assert sides == set(range(3, 8) if d == 2 else range(6, 13))
    # On both sides of the size asked for.
    grid = np.stack(np.meshgrid(*[np.linspace(-40, 40, 41)] * d, indexing="ij")).astype(np.float32)
    volumes = np.array([(outline.level(grid) < 0).sum() * 2.0**d for outline in drawn])
    ball = np.pi * 10**2 if d == 2 else 4 / 3 * np.pi * 10**3
    assert 0.7 < np.median(volumes) / ball < 1.5
