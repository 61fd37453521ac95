"""Whether spoiled correspondences are found, and sound ones left in peace."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelaug import Cohort, LandmarkObject, phantoms
from modelaug.correspondence import check_correspondence
from tests.examples import one_line, plane, rotation, volume


@functools.cache
def cohort() -> Cohort:
    return phantoms.heart(9, shape=(48, 48), seed=5)


def spoiled(change: Any, subject: int = 4) -> list[str]:
    landmarks = cohort().landmarks.copy()
    landmarks[subject] = change(landmarks[subject])
    return check_correspondence(landmarks, cohort().objects, names=cohort().names, spacing=cohort().spacing)


@pytest.mark.parametrize("make", [cohort, plane, volume])
def test_sound_cohorts_pass(make: Any) -> None:
    sound = make()
    assert check_correspondence(sound.landmarks, sound.objects, names=sound.names, spacing=sound.spacing) == []


def _reversed(shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.concatenate([shape[:40], shape[40:72][-np.arange(32) % 32], shape[72:]])


def _shifted(shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.concatenate([shape[:40], np.roll(shape[40:72], 8, axis=0), shape[72:]])


def _flipped(shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return shape * [1, -1] + [0, 47]


def _rotated(shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.stack([47 - shape[:, 1], shape[:, 0]], axis=1)


def _moved(shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    moved = shape.copy()
    moved[17] += [9, -9]
    return moved


def _scattered(shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.concatenate([shape[:40] * [1.5, 1], shape[40:]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_reversed, "lv_endocardium runs the other way round"),
        (_shifted, r"lv_endocardium fits the others far better if counted from its landmark [789]$"),
        (_flipped, r"is it mirrored\?"),
        (_rotated, "is turned by"),
        (_moved, r"landmark 17 \(lv_epicardium\) is far"),
        (_scattered, "times as far from the median"),
    ],
)
def test_spoiled_subject_is_named(change: Any, words: str) -> None:
    lines = spoiled(change)
    assert any(re.search(words, line) for line in lines), lines
    assert all(line.startswith("subject '004': ") for line in lines)
    assert all("\n" not in line for line in lines)


@settings(max_examples=8)
@given(subject=st.integers(0, 8), turn=st.integers(0, 8))
def test_pose_and_size_do_not_matter(subject: int, turn: int) -> None:
    """All subjects but one, or that one too, may be moved and scaled, and turned a little."""
    rng = np.random.Generator(np.random.Philox(turn))

    def change(shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return (shape * 1.7 - 20) @ rotation(rng, 2, 0.6).T

    assert spoiled(change, subject) == []


def test_contour_that_is_alone_and_counted_backwards_in_space() -> None:
    """In space no orientation exists, but backwards fits worse."""
    angles = 2 * np.pi * np.arange(16) / 16
    rng = np.random.Generator(np.random.Philox(0))
    ring = np.stack([20 * np.sin(angles), 14 * np.cos(angles), 5 * np.sin(2 * angles)], axis=1)
    ring = np.concatenate([ring, [[0, 0, 12], [3, 9, -4], [-9, 2, 3]]])
    shapes = 40 + ring + rng.normal(scale=0.5, size=(8, 19, 3))
    objects = [LandmarkObject("ring", tuple(range(16)), "closed"), LandmarkObject("rest", (16, 17, 18), "points")]
    assert check_correspondence(shapes, objects) == []
    shapes[3, :16] = shapes[3, :16][-np.arange(16) % 16]
    lines = check_correspondence(shapes, objects)
    assert lines
    assert all("'003'" in line for line in lines)


def test_few_subjects_are_not_compared() -> None:
    landmarks = cohort().landmarks[:3].copy()
    landmarks[0] = _reversed(landmarks[0])
    assert check_correspondence(landmarks, cohort().objects) == []


@pytest.mark.parametrize(
    ("landmarks", "names", "word"),
    [
        (np.zeros((5, 4)), None, "landmarks"),
        (np.ones((5, 104, 4)), None, "2 or 3"),
        (np.ones((5, 3, 2)), None, "landmark 3 of 3"),
        (np.full((5, 104, 2), np.nan), None, "not finite"),
        (np.ones((5, 104, 2)), ["a"], "names"),
        (np.ones((5, 104, 2)), None, "coincide"),
    ],
)
def test_arguments_are_checked(landmarks: Any, names: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        check_correspondence(landmarks, cohort().objects, names=names)
    one_line(caught.value)


def test_the_odd_one_out_is_named_whichever_way_the_others_run() -> None:
    """Contours of all but one run counter-clockwise; what is odd is to run clockwise."""
    objects = cohort().objects
    landmarks = cohort().landmarks.copy()
    mirrored = [_flipped(shape) for shape in landmarks]
    mirrored[6] = landmarks[6]
    found = check_correspondence(np.array(mirrored), objects, names=cohort().names)
    told = [line for line in found if "run the other way round" in line or "runs the other way round" in line]
    assert [line.partition(":")[0] for line in told] == [f"subject {cohort().names[6]!r}"]
