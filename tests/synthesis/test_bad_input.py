"""Bad indices, options and models are refused in one line; what is odd but right is taken."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import AcquisitionOptions, PairOptions, PairSynthesizer
from modelaug.synthesis import stack_pairs
from tests.examples import one_line, plane_model, same_pairs


@pytest.mark.parametrize(
    ("index", "kind"), [(-1, ValueError), (2**64, ValueError), (0.0, TypeError), (True, TypeError), (None, TypeError)]
)
def test_bad_indices_are_refused(index: Any, kind: type[Exception]) -> None:
    source = PairSynthesizer(plane_model())
    for call in (source.draw, lambda i: source.batch([0, i], threads=2)):
        with pytest.raises(kind, match=r"^index is ") as caught:
            call(index)
        one_line(caught.value)


@pytest.mark.parametrize("index", [np.int64(3), np.uint8(3)])
def test_numpy_integers_are_indices(index: Any) -> None:
    source = PairSynthesizer(plane_model())
    same_pairs(source.draw(index), source.draw(3))
    same_pairs(source.batch(np.array([3, 4])), source.batch(range(3, 5)))  # type: ignore[arg-type]


@pytest.mark.parametrize("indices", [None, 3, iter([1, 2])])
def test_a_batch_of_no_sequence_is_refused(indices: Any) -> None:
    with pytest.raises(TypeError, match=r"^indices is ") as caught:
        PairSynthesizer(plane_model()).batch(indices)
    one_line(caught.value)


def test_pairs_of_different_kinds_are_not_stacked() -> None:
    pair = PairSynthesizer(plane_model()).draw(0)
    for other in (replace(pair, labels_fixed=None), replace(pair, info=pair.info | {"more": 1})):
        for pairs in ([pair, other], [other, pair]):
            with pytest.raises(ValueError, match=r"^pairs\[1\] and pairs\[0\] do not both have ") as caught:
                stack_pairs(pairs)
            one_line(caught.value)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^indices is empty; "):
        PairSynthesizer(plane_model()).batch([])


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_bad_threads_are_refused(threads: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^threads is "):
        PairSynthesizer(plane_model()).batch([0], threads=threads)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "1"])
def test_bad_seeds_are_refused(seed: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^seed is "):
        PairSynthesizer(plane_model(), seed=seed)


@pytest.mark.parametrize(
    "options",
    [
        {"flow": "sideways"},
        {"texture": "none"},
        {"pose": "mean"},
        {"weight_width": 0},
        {"weight_width": float("inf")},
        {"max_attempts": 0},
        {"max_attempts": 1.5},
        {"shared_probability": 1.01},
        {"pose_limit": -1},
        {"pose_limit": "none"},
        {"weight_unit": "px"},
        {"residual": {"amplitude": 1, "spacing": 10}},
        {"acquisition": AcquisitionOptions},
        {"allow_folds": 1},
    ],
)
def test_bad_options_are_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        PairOptions(**options)
    assert one_line(caught.value).startswith(next(iter(options)))


def test_options_of_numpy_numbers_are_those_of_plain_ones() -> None:
    options = PairOptions(
        shared_probability=np.float32(0.5),  # type: ignore[arg-type]
        pose_limit=np.float32(2),  # type: ignore[arg-type]
        weight_width=np.int64(3),  # type: ignore[arg-type]
        max_attempts=np.int64(5),  # type: ignore[arg-type]
    )
    assert json.loads(json.dumps(asdict(options))) == asdict(
        PairOptions(shared_probability=0.5, pose_limit=2, weight_width=3, max_attempts=5)
    )


def test_bad_models_and_options_are_refused() -> None:
    for options in ({}, {"flow": "direct"}, "direct"):
        with pytest.raises(TypeError, match=r"^options is ") as caught:
            PairSynthesizer(plane_model(), options=options)  # type: ignore[arg-type]
        one_line(caught.value)
    with pytest.raises(TypeError, match=r"^model is str; ") as caught:
        PairSynthesizer("model.npz")  # type: ignore[arg-type]
    one_line(caught.value)


def test_pairs_are_stacked() -> None:
    source = PairSynthesizer(plane_model())
    pairs = [source.draw(i) for i in range(3)]
    stacked = stack_pairs(pairs)
    assert np.array_equal(stacked.flow, np.stack([p.flow for p in pairs]))
    assert stacked.info["attempts"] == [p.info["attempts"] for p in pairs]
    bare: list[npt.NDArray[Any] | None] = [replace(p, labels_fixed=None).labels_fixed for p in pairs]
    assert bare == [None] * 3
    assert stack_pairs([replace(p, labels_fixed=None) for p in pairs]).labels_fixed is None
