"""Crossings of contours, by cases whose number is plain to see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug import AppearanceModel, Cohort, LandmarkObject
from modelaug.models.crossings import contour_pairs, count_crossings
from tests.examples import Array, directions, philox

SQUARE = np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 4.0], [4.0, 0.0]])
DIAMOND = np.array([[-1.0, 2.0], [2.0, 5.0], [5.0, 2.0], [2.0, -1.0]])


def contours(*kinds: str, size: int = 4) -> list[LandmarkObject]:
    return [
        LandmarkObject(str(i), tuple(range(i * size, (i + 1) * size)), kind)  # type: ignore[arg-type]
        for i, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("landmarks", "kinds", "expected"),
    [
        (SQUARE, ["closed"], [0]),
        (SQUARE[[0, 2, 1, 3]], ["closed"], [1]),
        (SQUARE[[0, 2, 1, 3]], ["open"], [1]),
        (SQUARE[[2, 1, 3, 0]], ["open"], [0]),
        (np.vstack([SQUARE, SQUARE + 10]), ["closed", "closed"], [0, 0, 0]),
        (np.vstack([SQUARE, SQUARE + 2]), ["closed", "closed"], [0, 2, 0]),
        (np.vstack([SQUARE, DIAMOND]), ["closed", "closed"], [0, 8, 0]),
        (np.vstack([SQUARE, DIAMOND]), ["closed", "open"], [0, 6, 0]),
        (np.vstack([SQUARE, DIAMOND]), ["closed", "points"], [0]),
        (np.vstack([SQUARE, SQUARE / 2 + 1]), ["closed", "closed"], [0, 0, 0]),
    ],
)
def test_crossings_are_counted(landmarks: Array, kinds: list[str], expected: list[int]) -> None:
    assert count_crossings(landmarks, contours(*kinds)).tolist() == expected


def test_pairs_are_those_of_contours_in_the_plane() -> None:
    objects = contours("closed", "points", "open")
    assert [(a.name, b.name) for a, b in contour_pairs(objects, 2)] == [("0", "0"), ("0", "2"), ("2", "2")]
    assert contour_pairs(objects, 3) == []
    assert count_crossings(philox(0).normal(size=(12, 3)), objects).shape == (0,)
    assert contour_pairs([LandmarkObject("single", (0,), "open")], 2) == []


@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_crossings_do_not_depend_on_pose_or_start(seed: int, size: int) -> None:
    rng = philox(seed)
    landmarks = rng.normal(size=(2 * size, 2))
    objects = contours("closed", "closed", size=size)
    expected = count_crossings(landmarks, objects)
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    posed = 3.0 * landmarks @ rotation.T + rng.normal(size=2)
    assert np.array_equal(count_crossings(posed, objects), expected)
    rolled = np.concatenate([np.roll(landmarks[:size], 2, axis=0), landmarks[size:][::-1]])
    assert np.array_equal(count_crossings(rolled, objects), expected)
    # Two closed curves cross an even number of times.
    assert expected[1] % 2 == 0


def test_nested_rings_do_not_cross() -> None:
    ring = directions(2, 20)
    both = np.concatenate([ring, 0.9 * ring])
    assert count_crossings(both, contours("closed", "closed", size=20)).tolist() == [0, 0, 0]


def test_a_model_allows_what_crosses_in_any_of_its_subjects() -> None:
    """Two rings that lie in each other, but in one subject, whose inner ring crosses the outer one twice."""
    ring, rng = directions(2, 12), philox(1)
    shapes = []
    for k in range(5):
        inner = (3.0 + rng.uniform(0, 1)) * ring + [5.0 if k == 2 else 0.0, 0.0]
        shapes.append(np.concatenate([(8.0 + rng.uniform(0, 1)) * ring, inner]) + 16)
    shapes[2][:12] = 7.2 * ring + 16
    model = AppearanceModel.fit(Cohort(rng.random((5, 33, 33)), shapes, objects=contours("closed", "closed", size=12)))
    assert model.crossings.tolist() == [0, 2, 0]
