"""Landmarks from label maps: on phantoms and real data, under motions of the label map, and what is refused."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("contourpy")

from modelaug import Cohort, phantoms
from modelaug.correspondence import (
    Center,
    Contact,
    ContourOptions,
    Extreme,
    Given,
    Midline,
    ObjectRecipe,
    Ray,
    Recipe,
    brains,
    generic_recipe,
    hearts,
    landmarks_from_labels,
)
from modelaug.correspondence.contours import structure_contour
from tests.cohorts import real_cohort
from tests.correspondence.test_contours import ONES, ellipse
from tests.examples import one_line


@functools.cache
def phantom_hearts() -> Cohort:
    return phantoms.heart(5, shape=(96, 96), seed=1)


def small_heart(centre: tuple[float, float] = (20, 26), turn: float = 0.0) -> npt.NDArray[np.uint8]:
    """Return a label map (40, 48) with a ring (2) around a cavity (3) and a neighbour (1) on its left."""
    rows, columns = centre
    offset = 11 * np.array([np.sin(turn), -np.cos(turn)])
    labels = ellipse((40, 48), (rows + offset[0], columns + offset[1]), (8, 8), turn)
    labels[ellipse((40, 48), centre, (10, 10)) > 0] = 2
    labels[ellipse((40, 48), centre, (6, 6)) > 0] = 3
    return labels


def errors(cohort: Cohort, landmarks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the distances (n, m) in pixels."""
    distances: npt.NDArray[np.float64] = np.linalg.norm(landmarks - cohort.landmarks, axis=2)
    return distances


def test_hearts_of_phantoms_are_found() -> None:
    cohort = phantom_hearts()
    found = landmarks_from_labels(cohort.labels, hearts(), spacing=cohort.spacing, names=cohort.names)
    assert found.objects == cohort.objects
    assert found.anchors.tolist() == [0, 27, 40, 61, 72, 83]
    assert found.landmarks.dtype == np.float64
    assert found.subjects.tolist() == list(range(5))
    assert found.warnings == ()
    # The truth's insertions are sharp points, which neither pixels nor smoothing keep: half of a pixel of 2.7 mm.
    distances = errors(cohort, found.landmarks)
    assert distances.mean() < 0.7
    assert distances.max() < 2.5


def test_brains_of_phantoms_are_found() -> None:
    cohort = phantoms.brain(3, shape=(96, 96), seed=2)
    pairs = tuple((k, k + 1) for k in range(2, 12, 2))
    outline = ObjectRecipe("outline", (), (Midline(pairs), Midline(pairs, (1.0, 0.0))), (30, 30))
    inner = ObjectRecipe("inner", (), tuple(Center((k,)) for k in range(2, 12)), kind="points")
    found = landmarks_from_labels(cohort.labels, Recipe((outline, inner)), spacing=cohort.spacing)
    truth = cohort.landmarks[:, :60]
    distances = np.linalg.norm(found.landmarks[:, :60] - truth, axis=2)
    # Quarters of the truth start at poles at right angles, halves of the recipe at the midline.
    assert distances[:, [0, 30]].mean() < 1.0
    assert distances.mean() < 1.5
    centres = cohort.landmarks[:, 60:].reshape(3, 10, 4, 2).mean(axis=2)
    assert np.linalg.norm(found.landmarks[:, 60:] - centres, axis=2).max() < 1.0
    assert found.objects[1].kind == "points"
    assert found.anchors.tolist() == [0, 30, *range(60, 70)]


@pytest.mark.parametrize(("name", "make", "bound"), [("acdc32.npz", hearts, 0.3), ("lpba40.npz", brains, 0.6)])
def test_real_landmarks_are_reproduced(name: str, make: Any, bound: float) -> None:
    cohort = Cohort.load(real_cohort(name)).subset(range(0, 32, 6))
    found = landmarks_from_labels(cohort.labels, make(), spacing=cohort.spacing, names=cohort.names)
    assert found.objects == cohort.objects
    assert found.warnings == ()
    distances = errors(cohort, found.landmarks)
    for each in found.objects:
        assert distances[:, list(each.indices)].mean() < bound


@settings(max_examples=10)
@given(
    shift=st.tuples(st.integers(-4, 4), st.integers(-3, 8)),
    turn=st.floats(-0.4, 0.4),
    quarter=st.integers(0, 3),
)
def test_hearts_move_with_the_label_map(shift: tuple[int, int], turn: float, quarter: int) -> None:
    labels = small_heart(turn=turn)
    recipe = hearts()
    whole = landmarks_from_labels(labels[None], recipe).landmarks[0]
    moved = landmarks_from_labels(np.roll(labels, shift, axis=(0, 1))[None], recipe).landmarks[0]
    np.testing.assert_allclose(moved, whole + shift, atol=1e-6)
    turned = landmarks_from_labels(np.rot90(labels, quarter)[None], recipe).landmarks[0]
    expected = whole
    for k in range(quarter):
        columns = (48, 40)[k % 2]
        expected = np.stack([columns - 1 - expected[:, 1], expected[:, 0]], axis=1)
    np.testing.assert_allclose(turned, expected, atol=1e-6)


@settings(max_examples=10)
@given(turn=st.floats(-0.4, 0.4), axis=st.integers(0, 1))
def test_flip_reverses_what_has_no_handedness(turn: float, axis: int) -> None:
    rays = (Ray(towards=(1,)), Ray(180, towards=(1,)))
    back = (Ray(towards=(2,)), Ray(180, towards=(2,)))
    recipe = Recipe((ObjectRecipe("ring", (2, 3), rays, (7, 7)), ObjectRecipe("side", (1,), back, (5, 5))))
    labels = small_heart(turn=turn)
    found = landmarks_from_labels(labels[None], recipe).landmarks[0]
    flipped = landmarks_from_labels(np.flip(labels, axis)[None], recipe).landmarks[0]
    mirrored = found.copy()
    mirrored[:, axis] = labels.shape[axis] - 1 - mirrored[:, axis]
    for start, count in ((0, 14), (14, 10)):
        backwards = mirrored[start + (-np.arange(count) % count)]
        np.testing.assert_allclose(flipped[start : start + count], backwards, atol=1e-6)


def test_flip_exchanges_the_ends_of_a_contact() -> None:
    labels = small_heart(turn=0.2)
    ends = (Contact((1,), "end"), Contact((1,), "start"))
    there = landmarks_from_labels(labels[None], Recipe((ObjectRecipe("it", (2, 3), ends, (9, 5)),))).landmarks[0]
    back = landmarks_from_labels(labels[None, ::-1], Recipe((ObjectRecipe("it", (2, 3), ends[::-1], (5, 9)),)))
    mirrored = there * [-1, 1] + [39, 0]
    # The other end comes first, and the way round is the other one.
    expected = mirrored[(-np.arange(14)) % 14]
    np.testing.assert_allclose(back.landmarks[0], expected, atol=1e-6)


@settings(max_examples=15)
@given(
    radii=st.tuples(st.floats(8, 15), st.floats(8, 15)),
    counts=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    spacing=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)),
)
def test_landmarks_stand_at_equal_arc_length(
    radii: tuple[float, float], counts: tuple[int, int], spacing: tuple[float, float]
) -> None:
    labels = ellipse((40, 48), (20, 23), radii)
    recipe = Recipe((ObjectRecipe("it", (1,), (Ray(20), Ray(160)), counts),))
    found = landmarks_from_labels(labels[None], recipe, spacing=spacing)
    # Oracle: walk along the contour in tiny steps, and count the length between landmarks.
    contour, _ = structure_contour(labels, (1,), np.array(spacing), ContourOptions())
    fine = contour.at(np.linspace(0, contour.length, 40000, endpoint=False))
    at = [int(np.argmin(np.linalg.norm(fine - p, axis=1))) for p in found.landmarks[0] * spacing]
    steps = np.mod(np.diff([*at, at[0]]), 40000) / 40000 * contour.length
    for part in (steps[: counts[0]], steps[counts[0] :]):
        np.testing.assert_allclose(part, part.mean(), atol=1e-3 * contour.length)
    assert steps.sum() == pytest.approx(contour.length)


def test_total_is_shared_by_mean_lengths() -> None:
    labels = np.stack([ellipse((40, 48), (20, 23), (r, r)) for r in (9, 12)])
    recipe = Recipe((ObjectRecipe("it", (1,), (Ray(0), Ray(90)), 20),))
    found = landmarks_from_labels(labels, recipe)
    # A quarter of the circle and three quarters.
    assert found.anchors.tolist() == [0, 5]
    assert found.landmarks.shape == (2, 20, 2)


def test_open_objects_hold_both_ends() -> None:
    labels = small_heart()
    septum = ObjectRecipe("septum", (2, 3), (Contact((1,), "start"), Contact((1,), "end")), (6,), kind="open")
    found = landmarks_from_labels(labels[None], Recipe((septum,)))
    assert found.objects[0].kind == "open"
    assert found.anchors.tolist() == [0, 6]
    assert found.landmarks.shape == (1, 7, 2)
    # The septum: the side of the ring that looks to the left, from below to above.
    assert (found.landmarks[0, :, 1] < 26).all()
    assert (np.diff(found.landmarks[0, :, 0]) < 0).all()


def test_points_of_the_user() -> None:
    labels = np.stack([ellipse((40, 48), (20, 23), (r, 10)) for r in (9, 12)])
    recipe = Recipe(
        (
            ObjectRecipe("edge", (1,), (Given("top"),), 8),
            ObjectRecipe("tip", (), (Given("tip"), Extreme((1, 0), (1,))), kind="points"),
        )
    )
    points = {"top": [[9, 23], [9, 23]], "tip": [[3.25, 4.5], [5, 6]]}
    found = landmarks_from_labels(labels, recipe, points=points)
    assert found.landmarks[0, 0] == pytest.approx((11, 23), abs=0.5)
    assert found.landmarks[1, 0] == pytest.approx((8, 23), abs=0.5)
    np.testing.assert_allclose(found.landmarks[:, 8], points["tip"])
    with pytest.raises(ValueError, match=r"'000': edge needs the point 'top'"):
        landmarks_from_labels(labels, recipe)
    with pytest.raises(ValueError, match=r"points\['top'\] has shape"):
        landmarks_from_labels(labels, recipe, points={"top": [[1, 2]], "tip": points["tip"]})


def _spoil_absent(labels: npt.NDArray[np.uint8]) -> None:
    labels[labels == 3] = 2


def _spoil_tiny(labels: npt.NDArray[np.uint8]) -> None:
    labels[labels == 3] = 2
    labels[20:22, 25:28] = 3


def _spoil_border(labels: npt.NDArray[np.uint8]) -> None:
    labels[18:22, :20] = 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_spoil_absent, "'b': lv_endocardium is absent"),
        (_spoil_tiny, "'b': lv_endocardium has 6 pixels"),
        (_spoil_border, "'b': rv_endocardium touches the image's border"),
    ],
)
def test_failures_name_subject_and_object_and_can_be_skipped(spoil: Any, message: str) -> None:
    labels = np.stack([small_heart(), small_heart(), small_heart((21, 27))])
    spoil(labels[1])
    with pytest.raises(ValueError, match=message) as caught:
        landmarks_from_labels(labels, hearts(), names=["a", "b", "c"])
    one_line(caught.value)
    found = landmarks_from_labels(labels, hearts(), names=["a", "b", "c"], skip=True)
    assert found.subjects.tolist() == [0, 2]
    assert message in found.warnings[0]
    rest = landmarks_from_labels(labels[[0, 2]], hearts())
    np.testing.assert_array_equal(found.landmarks, rest.landmarks)


def test_many_failures_are_one_line() -> None:
    labels = np.stack([small_heart()] * 6)
    labels[labels == 3] = 2
    for skip in (False, True):
        with pytest.raises(ValueError, match="and 3 more subjects") as caught:
            landmarks_from_labels(labels, hearts(), skip=skip)
        one_line(caught.value)


def test_pieces_are_warned_of() -> None:
    labels = np.stack([small_heart(), small_heart()])
    labels[1][30:37, 5:11] = 1
    found = landmarks_from_labels(labels, hearts())
    assert len(found.warnings) == 1
    assert "subject '001': rv_endocardium is in 2 pieces" in found.warnings[0]


def test_anchors_in_the_wrong_order_or_place() -> None:
    labels = ellipse((40, 48), (20, 23), (10, 10))[None]
    for angles, message in (((0, 240, 120), "another order"), ((0, 90, 0), "same place"), ((30, 30), "same place")):
        recipe = Recipe((ObjectRecipe("it", (1,), tuple(map(Ray, angles)), 12),))
        with pytest.raises(ValueError, match=message):
            landmarks_from_labels(labels, recipe)


def test_landmarks_outside_the_image() -> None:
    recipe = Recipe((ObjectRecipe("it", (), (Given("a"),), kind="points"),))
    with pytest.raises(ValueError, match="'000' gets landmarks outside"):
        landmarks_from_labels(ellipse((20, 20), (10, 10), (5, 5))[None], recipe, points={"a": [[-1, 3]]})


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"labels": np.ones((1, 9, 9))}, TypeError, "labels"),
        ({"labels": np.ones((9, 9), int)}, ValueError, "labels"),
        ({"labels": np.ones((1, 9, 9, 9), int)}, ValueError, "2D"),
        ({"recipe": "hearts"}, TypeError, "recipe"),
        ({"spacing": (1, 2, 3)}, ValueError, "spacing"),
        ({"names": ["a", "b"]}, ValueError, "names"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name) as caught:
        landmarks_from_labels(**({"labels": small_heart()[None], "recipe": hearts()} | arguments))
    one_line(caught.value)


def test_generic_recipe_makes_a_cohort_of_any_labels() -> None:
    cohort = phantom_hearts()
    recipe, remarks = generic_recipe(cohort.labels, spacing=cohort.spacing)
    assert remarks == []
    found = landmarks_from_labels(cohort.labels, recipe, spacing=cohort.spacing)
    made = Cohort(cohort.images, found.landmarks, labels=cohort.labels, objects=found.objects, spacing=cohort.spacing)
    assert [each.name for each in made.objects] == ["label_1", "label_2", "label_3"]
    assert 100 < made.landmarks.shape[1] < 140
    assert found.warnings == ()
    # The outlines are those of the structures.
    for each, values in zip(made.objects, ((1,), (2,), (3,)), strict=True):
        for i in range(len(made)):
            contour, _ = structure_contour(cohort.labels[i], values, cohort.spacing, ContourOptions())
            points = made.landmarks[i, list(each.indices)] * cohort.spacing
            assert max(np.linalg.norm(contour.at(contour.nearest(p)[0]) - p) for p in points) < 1.7 * cohort.spacing[0]


def test_generic_recipe_turns_with_the_label_map_where_it_can() -> None:
    labels = np.stack([small_heart(turn=t) for t in (-0.2, 0.1, 0.3)])
    recipe, _ = generic_recipe(labels)
    turned, _ = generic_recipe(np.rot90(labels, axes=(1, 2)))
    assert recipe == turned
    first = landmarks_from_labels(labels, recipe).landmarks
    second = landmarks_from_labels(np.rot90(labels, axes=(1, 2)), recipe).landmarks
    np.testing.assert_allclose(second, np.stack([47 - first[..., 1], first[..., 0]], axis=-1), atol=1e-6)


def test_generic_recipe_leaves_out_what_is_not_in_all() -> None:
    labels = np.stack([small_heart(), small_heart()])
    labels[1][labels[1] == 3] = 2
    recipe, remarks = generic_recipe(labels)
    assert [each.name for each in recipe.objects] == ["label_1", "label_2"]
    assert remarks == [
        "label 3 is left out: in label map 1 it is absent; correct the label map, or leave the structure or the "
        "subject out"
    ]
    alone, _ = generic_recipe(ellipse((30, 30), (14, 14), (9, 9))[None])
    assert alone.objects[0].anchors == (Ray(0.0), Ray(180.0))
    with pytest.raises(ValueError, match="labels hold no structure"):
        generic_recipe(np.zeros((2, 9, 9), int))
    with pytest.raises(ValueError, match="border"):
        generic_recipe(np.ones((2, 9, 9), int))


def test_unit_spacing_is_the_default() -> None:
    labels = small_heart()[None]
    first = landmarks_from_labels(labels, hearts())
    second = landmarks_from_labels(labels, hearts(), spacing=ONES)
    np.testing.assert_array_equal(first.landmarks, second.landmarks)
