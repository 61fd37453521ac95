"""Outlines: where they are 0, what sign they have, and how far they reach."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from modelaug.baselines.outlines import Outline, _Curve, _draw_curve, _draw_polygon, draw_outline
from tests.examples import inside_polygon
from tests.properties.strategies import generator, seeds

Array = npt.NDArray[np.float64]
radii = st.floats(0.5, 50.0)


def level(outline: Outline, points: Array) -> Array:
    rows, columns = points.T.astype(np.float32)
    return outline.level(rows[None], columns[None])[0].astype(np.float64)


def on_curve(curve: _Curve, count: int) -> Array:
    """Return points of a curve, computed from its definition."""
    angles = np.arange(count) * (2 * np.pi / count)
    orders = np.arange(1, len(curve.harmonics) + 1)
    waves = (curve.harmonics[:, None] * np.exp(1j * orders[:, None] * angles)).sum(axis=0).real
    stretched = curve.radius * (1 + waves) * np.stack([np.cos(angles), np.sin(angles)])
    return np.linalg.solve(curve.stretch, stretched).T


@given(seeds, radii)
def test_a_curve_is_where_its_definition_says(seed: int, radius: float) -> None:
    curve = _draw_curve(generator(seed), radius)
    points = on_curve(curve, 60)
    np.testing.assert_allclose(level(curve, points), 0.0, atol=1e-4 * radius)
    assert (level(curve, 0.9 * points) < 0).all()
    assert (level(curve, 1.1 * points) > 0).all()
    assert np.linalg.norm(points, axis=1).max() <= curve.reach * (1 + 1e-6)
    assert np.isclose(np.linalg.det(curve.stretch), 1.0)


@given(seeds, radii)
def test_a_polygon_is_inside_all_of_its_sides(seed: int, radius: float) -> None:
    polygon = _draw_polygon(generator(seed), radius)
    np.testing.assert_allclose(np.linalg.norm(polygon.normals, axis=1), 1.0)
    # Its corners are the crossings of two sides that no other cuts off.
    s = len(polygon.offsets)
    pairs = [(i, j) for i in range(s) for j in range(i) if abs(np.linalg.det(polygon.normals[[i, j]])) > 1e-9]
    crossings = np.array([np.linalg.solve(polygon.normals[[i, j]], polygon.offsets[[i, j]]) for i, j in pairs])
    corners = crossings[(crossings @ polygon.normals.T <= polygon.offsets + 1e-9 * radius).all(axis=1)]
    corners = corners[np.argsort(np.arctan2(corners[:, 0], corners[:, 1]))]
    assert len(corners) >= 3
    assert np.linalg.norm(corners, axis=1).max() <= polygon.reach * (1 + 1e-9)
    points = generator(seed + 1).uniform(-1.5, 1.5, size=(50, 2)) * radius
    found = level(polygon, points)
    clear = np.abs(found) > 1e-4 * radius
    assert np.array_equal((found < 0)[clear], inside_polygon(corners, points)[clear])


@given(seeds, radii, st.sampled_from([0.0, 0.5, 1.0]))
def test_nothing_inside_is_beyond_the_reach(seed: int, radius: float, holes: float) -> None:
    rng = generator(seed)
    outline = draw_outline(rng, radius, holes)
    directions = np.arange(72) * (2 * np.pi / 72)
    beyond = outline.reach * (1 + 1e-4) * np.stack([np.sin(directions), np.cos(directions)], axis=1)
    assert (level(outline, beyond) >= 0).all()
    middle = level(outline, np.zeros((1, 2)))[0]
    assert (middle < 0) == (type(outline).__name__ != "_Ring")
    if holes in (0.0, 1.0):
        assert (type(outline).__name__ == "_Ring") == (holes == 1.0)
    # Something of it is left, whatever the hole.
    points = rng.uniform(-1, 1, size=(3000, 2)) * outline.reach
    assert (level(outline, points) < 0).mean() > 0.03
