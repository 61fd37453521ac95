"""Affine maps of the plane and of space: what the algebra says, and what the maps do to points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug.transforms import affine
from tests.properties.strategies import generator, grids, seeds

Array = npt.NDArray[np.float64]
dimensions = st.sampled_from([2, 3])


def draw_map(rng: np.random.Generator, d: int) -> Array:
    """Return a map that is close to a rotation and no reflection."""
    linear = np.linalg.qr(rng.normal(size=(d, d)))[0] + rng.uniform(-0.1, 0.1, size=(d, d))
    linear *= np.reshape([np.sign(np.linalg.det(linear))] + [1.0] * (d - 1), (d, 1))
    return affine.join(rng.uniform(0.5, 2.0) * linear, rng.normal(size=d) * 50)


def apply(mapping: Array, points: Array) -> Array:
    return np.array([mapping @ [*point, 1.0] for point in points])


@given(seeds, dimensions)
def test_maps_are_composed_and_inverted(seed: int, d: int) -> None:
    rng = generator(seed)
    outer, inner, points = draw_map(rng, d), draw_map(rng, d), rng.normal(size=(5, d)) * 50
    np.testing.assert_allclose(apply(affine.compose_affine(outer, inner), points), apply(outer, apply(inner, points)))
    np.testing.assert_allclose(apply(affine.inverse(outer), apply(outer, points)), points, atol=1e-9)
    assert affine.length_factor(outer) ** d == pytest.approx(np.linalg.det(outer[:, :d]))


@given(seeds, grids(), st.integers(1, 4), st.floats(0.0, 1e4))
def test_maps_are_evaluated_at_voxels(seed: int, grid: tuple[int, ...], count: int, far: float) -> None:
    rng = generator(seed)
    d = len(grid)
    corner = rng.integers(0, 100, size=d)
    box = tuple(slice(int(c), int(c) + n) for c, n in zip(corner, grid, strict=True))
    rows = rng.normal(size=(count, d + 1))
    # All terms may be far beyond what they add up to.
    rows[:, :d] += far * rng.normal(size=(count, d)) * (np.array(grid) == 1)
    rows[:, d] -= rows[:, :d] @ corner
    voxels = np.indices(grid) + corner.reshape(-1, *(1 for _ in grid))
    expected = np.tensordot(rows[:, :d], voxels, axes=1) + rows[:, d].reshape(-1, *(1 for _ in grid))
    found = affine.on_box(rows, box)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    out = np.empty_like(found)
    assert affine.on_box(rows, box, out=out) is out
    np.testing.assert_array_equal(out, found)


@given(seeds, dimensions)
def test_rotations_keep_lengths_and_sides(seed: int, d: int) -> None:
    rng = generator(seed)
    angle = rng.uniform(-3, 3)
    direction = affine.random_direction(rng, d)
    assert np.linalg.norm(direction) == pytest.approx(1.0)
    about = affine.rotation_matrix(angle, None if d == 2 else direction)
    for turn in (about, affine.random_rotation(rng, d)):
        np.testing.assert_allclose(turn @ turn.T, np.eye(d), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1.0)
    assert np.trace(about) == pytest.approx(2 * np.cos(angle) + d - 2)
    if d == 3:
        np.testing.assert_allclose(about @ direction, direction, atol=1e-12)
    np.testing.assert_array_equal(affine.rotation_matrix(0.0, None if d == 2 else direction), np.eye(d))


@pytest.mark.parametrize("d", [2, 3])
def test_all_directions_are_equally_likely(d: int) -> None:
    rng = generator(0)
    turned = np.array([affine.random_rotation(rng, d)[:, 0] for _ in range(4000)])
    drawn = np.array([affine.random_direction(rng, d) for _ in range(4000)])
    for vectors in (turned, drawn):
        np.testing.assert_allclose(vectors.T @ vectors / len(vectors), np.eye(d) / d, atol=0.03)
    np.testing.assert_allclose(turned.mean(axis=0), 0.0, atol=0.05)


@pytest.mark.parametrize(("volume", "d", "expected"), [(49.0, 2, 7.0), (343.0, 3, 7.0), (1.0, 3, 1.0)])
def test_sides_of_squares_and_cubes(volume: float, d: int, expected: float) -> None:
    assert affine.side(volume, d) == pytest.approx(expected)
