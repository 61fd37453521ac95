"""Batches are drawn into the caller's arrays: the same bits, and nothing copied."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from modelaug import Pair, PairOptions, PairSynthesizer
from modelaug.synthesis import BatchSource, InPlaceSource, PairInfo, PairSource
from modelaug.synthesis.pairs import check_source, draw_pairs, stack_infos
from tests.examples import heart_model, one_line, plane_model, same_pairs, volume_model

ARRAYS = [field.name for field in fields(Pair) if field.name != "info"]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("model", [heart_model, plane_model, volume_model])
@pytest.mark.parametrize("flow", ["composed", "direct"])
def test_a_batch_is_written_where_the_caller_says(model: Any, threads: int, flow: Any) -> None:
    source = PairSynthesizer(model(), seed=5, options=PairOptions(flow=flow))
    given = source.empty(3)
    drawn = source.batch([4, 0, 9], threads=threads, out=given)
    for name in ARRAYS:
        assert getattr(drawn, name) is getattr(given, name)
    same_pairs(drawn, source.batch([4, 0, 9], threads=2))
    again = source.batch([1, 2, 3], out=given)  # the same memory, used anew
    same_pairs(again, source.batch([1, 2, 3]))


def test_the_layout_is_that_of_a_pair() -> None:
    for model in (heart_model(), plane_model(), volume_model()):
        source = PairSynthesizer(model)
        pair = source.draw(0)
        found = {n: (getattr(pair, n).shape, getattr(pair, n).dtype) for n in ARRAYS if getattr(pair, n) is not None}
        assert source.layout() == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": None}, r"^out\.flow is None; pass an array \(2, 2, "),
        (
            {"fixed": np.zeros((3, 1, 4, 4), np.float32)},
            r"^out\.fixed is \(3, 1, 4, 4\) float32; pass an array \(2, 1, ",
        ),
        ({"weight": "float64"}, r"^out\.weight is .* float64; pass an array .* of float32"),
        ({"moving": "strided"}, r"^out\.moving is not contiguous and writeable; "),
        ({"landmarks_fixed": "read-only"}, r"^out\.landmarks_fixed is not contiguous and writeable; "),
    ],
)
def test_arrays_of_another_kind_are_refused(change: dict[str, Any], message: str) -> None:
    source = PairSynthesizer(heart_model())
    good = source.empty(2)
    ((name, value),) = change.items()
    array = getattr(good, name)
    if isinstance(value, str):
        value = {
            "float64": lambda: np.zeros_like(array, np.float64),  # what is in the array is not written yet
            "strided": lambda: np.repeat(array, 2, axis=-1)[..., ::2],
            "read-only": lambda: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
        }[value]()
    with pytest.raises(ValueError, match=message) as caught:
        source.batch([0, 1], out=replace(good, **{name: value}))
    one_line(caught.value)


def test_label_arrays_without_labels_are_refused() -> None:
    model = heart_model()
    source = PairSynthesizer(replace(model, labels=None))
    given = source.empty(1)
    assert given.labels_fixed is None
    labels = np.zeros((1, *model.grid), np.uint8)
    with pytest.raises(ValueError, match=r"^out\.labels_fixed is an array, but the model has no labels; ") as caught:
        source.batch([0], out=replace(given, labels_fixed=labels))
    one_line(caught.value)


@pytest.mark.parametrize("count", [0, -1, 2.0])
def test_empty_takes_a_positive_integer(count: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^count is "):
        PairSynthesizer(plane_model()).empty(count)


class Drawn:
    """A source that draws one pair after the other."""

    def __init__(self) -> None:
        self.pairs = PairSynthesizer(plane_model(), seed=3)

    def draw(self, index: int) -> Pair:
        return self.pairs.draw(index)


class Stacked(Drawn):
    """A source of batches that does not say how they are laid out."""

    def batch(self, indices: Any, threads: int | None = None) -> Pair:
        assert threads == 2
        return self.pairs.batch(indices)


def test_sources_are_what_they_can_do() -> None:
    kinds = (PairSource, BatchSource, InPlaceSource)
    assert [isinstance(Drawn(), kind) for kind in kinds] == [True, False, False]
    assert [isinstance(Stacked(), kind) for kind in kinds] == [True, True, False]
    assert [isinstance(Drawn().pairs, kind) for kind in kinds] == [True, True, True]
    expected = Drawn().pairs.batch([3, 1])
    for source in (Drawn(), Stacked(), Drawn().pairs):
        assert check_source(source) is source
        same_pairs(draw_pairs(source, [3, 1], 2), expected)
    with pytest.raises(TypeError, match=r"source is list, which has no draw\(index\); pass a source of pairs"):
        check_source([])


def test_info_of_a_batch_lists_that_of_each_pair() -> None:
    assert stack_infos([{"attempts": 1, "shrink": 0.5}, {"attempts": 2, "shrink": 1.0}]) == {
        "attempts": [1, 2],
        "shrink": [0.5, 1.0],
    }


@pytest.mark.parametrize("flow", ["composed", "direct"])
def test_info_is_what_is_documented(flow: Any) -> None:
    pair = PairSynthesizer(plane_model(), options=PairOptions(flow=flow)).draw(0)
    assert ("disagreement" in pair.info) == (flow == "direct")
    assert set(pair.info) <= set(PairInfo.__annotations__)
    assert all(f"{name} :" in (PairInfo.__doc__ or "").replace(", ", " : ") for name in PairInfo.__annotations__)


def test_a_source_may_forward_to_another() -> None:
    class Forwarding:
        def __getattr__(self, name: str) -> Any:
            return getattr(PairSynthesizer(heart_model(), seed=1), name)

    source = check_source(Forwarding())
    np.testing.assert_array_equal(source.draw(3).flow, PairSynthesizer(heart_model(), seed=1).draw(3).flow)
