"""Overlap of label maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelaug.evaluation import dice, jaccard, scored_labels
from tests.examples import one_line, philox

MAPS = hnp.array_shapes(min_dims=2, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.int16, shape, elements=st.integers(-2, 5))] * 2)
)


BOTH = pytest.mark.parametrize("measure", [jaccard, dice])


def by_sets(measure: Callable[..., Any], a: npt.NDArray[Any], b: npt.NDArray[Any], label: int) -> float:
    """Return the overlap by its definition: sets of voxels."""
    first, second = ({tuple(x) for x in np.argwhere(labels == label).tolist()} for labels in (a, b))
    if not first | second:
        return np.nan
    both = len(first & second)
    return both / len(first | second) if measure is jaccard else 2 * both / (len(first) + len(second))


@BOTH
@given(maps=MAPS, ids=st.permutations(range(-3, 7)))
def test_is_what_sets_say(
    measure: Callable[..., Any], maps: tuple[npt.NDArray[Any], npt.NDArray[Any]], ids: list[int]
) -> None:
    found = measure(*maps, ids)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [by_sets(measure, *maps, label) for label in ids])
    np.testing.assert_array_equal(found, measure(*maps[::-1], ids))


@BOTH
@given(maps=MAPS)
def test_by_default_all_structures_count_but_the_background(
    measure: Callable[..., Any], maps: tuple[npt.NDArray[Any], npt.NDArray[Any]]
) -> None:
    ids = sorted(set(np.unique(maps).tolist()) - {0})
    np.testing.assert_array_equal(measure(*maps), [by_sets(measure, *maps, label) for label in ids])


@given(MAPS)
def test_one_overlap_follows_from_the_other(maps: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> None:
    index = jaccard(*maps)
    np.testing.assert_allclose(dice(*maps), 2 * index / (1 + index), rtol=1e-15)


def test_absent_in_one_is_0_and_absent_in_both_is_to_be_skipped() -> None:
    a, b = np.array([[1, 1, 2]]), np.array([[1, 0, 0]])
    np.testing.assert_array_equal(jaccard(a, b, [1, 2, 3]), [0.5, 0, np.nan])
    np.testing.assert_array_equal(dice(a, b, [1, 2, 3]), [2 / 3, 0, np.nan])
    for measure in (jaccard, dice):
        assert measure(a, b, []).shape == (0,)
        assert measure(np.zeros((3, 4), int), np.zeros((3, 4), int)).shape == (0,)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "int64", "uint64"])
def test_the_whole_range_of_each_type(dtype: str) -> None:
    info = np.iinfo(dtype)
    values = np.array([info.min, info.max, info.max - 1], dtype)
    a = values[[[0, 1, 2], [0, 1, 2]]]
    b = values[[[0, 1, 1], [0, 0, 2]]]
    np.testing.assert_allclose(jaccard(a, b, values), [2 / 3, 1 / 3, 1 / 2])
    np.testing.assert_allclose(dice(a, b, values), [4 / 5, 1 / 2, 2 / 3])
    near = values[1:][[[0, 1], [1, 1]]]
    np.testing.assert_array_equal(jaccard(near, near), [1, 1])


def test_masks_are_label_maps_of_one_structure() -> None:
    a, b = philox(0).random((2, 5, 7)) < 0.5
    assert jaccard(a, b)[0] == (a & b).sum() / (a | b).sum()
    assert dice(a, b)[0] == 2 * (a & b).sum() / (a.sum() + b.sum())


def test_scored_labels_are_in_nearly_all_images_and_not_tiny() -> None:
    labels = np.zeros((10, 8, 8), np.uint8)
    labels[:, :5, :4] = 1  # 20 voxels in all images
    labels[:9, 5:, :7] = 2  # 21 in 9 of 10
    labels[:8, :5, 4:] = 3  # 20 in 8 of 10
    labels[:, 7, 7] = 4  # tiny
    assert scored_labels(labels).tolist() == [1, 2]
    assert scored_labels(labels, share=0.8).tolist() == [1, 2, 3]
    assert scored_labels(labels, share=1.0).tolist() == [1]
    assert scored_labels(labels, voxels=21).tolist() == [2]
    assert scored_labels(labels, share=1.0, voxels=1).tolist() == [1, 4]
    assert scored_labels(labels, voxels=64).tolist() == []
    # 0.28 * 25 is more than 7 by rounding.
    assert scored_labels((np.arange(25) < 7)[:, None, None] * np.ones((4, 5), int), share=0.28).tolist() == [1]


def test_scored_labels_of_volumes() -> None:
    labels = np.zeros((3, 4, 5, 6), np.int32)
    labels[:, 1:3, 1:4] = 1000
    assert scored_labels(labels).tolist() == [1000]


@BOTH
def test_bad_arguments_are_refused(measure: Callable[..., Any]) -> None:
    good = np.ones((3, 4), int)
    for a, b, ids in (
        (good, np.ones((4, 3), int), None),
        (good[0], good[0], None),
        (good, good, [[1]]),
        (good, good, [1.5]),
        (np.ones((0, 4), int), np.ones((0, 4), int), None),
    ):
        with pytest.raises(ValueError, match="pass") as caught:
            measure(a, b, ids)
        one_line(caught.value)
    with pytest.raises(TypeError, match="labels_b has dtype float64; pass integers"):
        measure(good, np.ones((3, 4)))


def test_bad_arguments_of_scored_labels_are_refused() -> None:
    good = np.ones((3, 4), int)
    with pytest.raises(ValueError, match="labels has shape"):
        scored_labels(good)
    with pytest.raises(ValueError, match="share is 0"):
        scored_labels(good[None], share=0)
    with pytest.raises(ValueError, match="voxels is 0"):
        scored_labels(good[None], voxels=0)
