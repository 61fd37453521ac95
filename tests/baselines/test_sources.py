"""What all of these sources promise: pairs of one layout, the same bits however they are asked for, clear refusals."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pytest

from modelaug import Pair
from modelaug.baselines import (
    LabelShapes,
    LabelShapesOptions,
    Motion,
    MovingShapes,
    MovingShapesOptions,
    RandomDeformations,
    RandomOptions,
)
from modelaug.synthesis import BatchedSource, InPlaceSource, PairInfo, stack_pairs
from tests.baselines.sources import SOURCES, same_bits, unlabelled
from tests.examples import one_line, plane

Source = Callable[[], BatchedSource]
ARRAYS = [field.name for field in fields(Pair) if field.name != "info"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_pair_is_what_the_layout_says(source: Source) -> None:
    made = source()
    pair = made.draw(0)
    found = {n: (getattr(pair, n).shape, getattr(pair, n).dtype) for n in ARRAYS if getattr(pair, n) is not None}
    assert made.layout() == found
    assert all(np.isfinite(getattr(pair, name)).all() for name in found)
    assert pair.weight.min() >= 0
    assert 0 < pair.weight.max() <= 1
    assert not np.array_equal(pair.fixed, pair.moving)
    assert np.abs(pair.flow).max() > 0.1
    assert set(pair.info) <= set(PairInfo.__annotations__)
    assert isinstance(made, InPlaceSource)


@pytest.mark.parametrize("source", SOURCES)
def test_purity(source: Source) -> None:
    made = source()
    indices = [7, 0, 2**40, 7]
    alone = stack_pairs([made.draw(i) for i in indices])
    same_bits(source().batch(indices[::-1], threads=1), stack_pairs([made.draw(i) for i in indices[::-1]]))
    same_bits(made.batch(indices, threads=1), alone)
    same_bits(made.batch(indices, threads=3), alone)
    given = made.empty(4)
    written = made.batch(indices, threads=2, out=given)
    assert written.flow is given.flow
    same_bits(written, alone)
    same_bits(pickle.loads(pickle.dumps(made)).batch(indices), alone)
    same_bits(made.draw(7), made.draw(7))


@pytest.mark.parametrize("source", SOURCES)
def test_pairs_differ_by_index_and_seed(source: Source) -> None:
    made = source()
    flows = [made.draw(i).flow for i in range(3)]
    assert not np.array_equal(flows[0], flows[1])
    assert not np.array_equal(flows[1], flows[2])
    arguments = made.cohort if hasattr(made, "cohort") else made.grid  # type: ignore[attr-defined]
    other = type(made)(arguments, seed=99, options=made.options)  # type: ignore[attr-defined, call-arg]
    assert not np.array_equal(other.draw(0).flow, flows[0])


@pytest.mark.parametrize("source", [SOURCES[0], SOURCES[3], SOURCES[5]])
@pytest.mark.parametrize(
    ("index", "kind"), [(-1, ValueError), (2**64, ValueError), (0.0, TypeError), (True, TypeError)]
)
def test_bad_indices_are_refused(source: Source, index: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^index is ") as caught:
        source().draw(index)
    one_line(caught.value)


def test_label_arrays_without_labels_are_refused() -> None:
    source = RandomDeformations(unlabelled())
    given = RandomDeformations(plane()).empty(1)
    with pytest.raises(ValueError, match=r"^out\.labels_fixed is an array, but the cohort has no labels; "):
        source.batch([0], out=given)


@pytest.mark.parametrize("options", [RandomOptions(), LabelShapesOptions(), MovingShapesOptions()])
def test_options_can_be_noted_in_a_manifest(options: Any) -> None:
    noted = json.loads(json.dumps(asdict(options)))
    assert noted.keys() == asdict(options).keys()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (RandomOptions, {"points": 1}),
        (RandomOptions, {"points": 3.0}),
        (RandomOptions, {"sd": -1}),
        (RandomOptions, {"sd": float("nan")}),
        (RandomOptions, {"brightness": "0.1"}),
        (RandomOptions, {"offset": 11}),
        (RandomOptions, {"brightness_points": 0}),
        (RandomOptions, {"border": "mirror"}),
        (RandomOptions, {"weight_width": 0}),
        (RandomOptions, {"weight_unit": "px"}),
        (RandomOptions, {"max_attempts": 0}),
        (LabelShapesOptions, {"regions": -1}),
        (LabelShapesOptions, {"points": 3}),
        (LabelShapesOptions, {"points": ()}),
        (LabelShapesOptions, {"points": (3, 1)}),
        (LabelShapesOptions, {"strain": -0.1}),
        (LabelShapesOptions, {"contrast": "same"}),
        (LabelShapesOptions, {"variation": -1}),
        (LabelShapesOptions, {"blur": float("inf")}),
        (LabelShapesOptions, {"acquisition": 0.1}),
        (LabelShapesOptions, {"weight_width": 0.0}),
        (LabelShapesOptions, {"weight_unit": "px"}),
        (LabelShapesOptions, {"max_attempts": 1.5}),
        (MovingShapesOptions, {"channels": 0}),
        (MovingShapesOptions, {"shapes": 3}),
        (MovingShapesOptions, {"shapes": (5, 3)}),
        (MovingShapesOptions, {"shapes": (0, 256)}),
        (MovingShapesOptions, {"size": (0.0, 0.1)}),
        (MovingShapesOptions, {"size": (0.2, 0.1)}),
        (MovingShapesOptions, {"holes": 1.5}),
        (MovingShapesOptions, {"background": 0.1}),
        (MovingShapesOptions, {"foreground": None}),
        (MovingShapesOptions, {"patterns": 0}),
        (MovingShapesOptions, {"occluded": "hidden"}),
        (MovingShapesOptions, {"landmarks": 0}),
        (MovingShapesOptions, {"acquisition": "none"}),
        (Motion, {"translation": -0.1}),
        (Motion, {"rotation": 361}),
        (Motion, {"zoom": 0.6}),
        (Motion, {"stretch": None}),
        (Motion, {"power": 0.5}),
        (Motion, {"limit": 0}),
    ],
)
def test_bad_options_are_refused_in_one_line(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        kind(**options)
    assert one_line(caught.value).startswith(next(iter(options)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomDeformations("cohort.npz"), "cohort is str; "),  # type: ignore[arg-type]
        (lambda: RandomDeformations(plane(), options={}), "options is {}; "),  # type: ignore[arg-type]
        (lambda: RandomDeformations(plane(), seed=-1), "seed is -1; "),
        (lambda: LabelShapes(None), "cohort is NoneType; "),  # type: ignore[arg-type]
        (lambda: LabelShapes(unlabelled()), "cohort has no labels; "),
        (lambda: LabelShapes(plane(), options=RandomOptions()), "options is RandomOptions"),  # type: ignore[arg-type]
        (lambda: MovingShapes(40), "grid is 40; "),  # type: ignore[arg-type]
        (lambda: MovingShapes((4, 4, 4, 4)), r"grid is \(4, 4, 4, 4\); "),
        (lambda: MovingShapes((4, 0)), r"grid is \(4, 0\); "),
        (lambda: MovingShapes((9, 9), options=3), "options is 3; "),  # type: ignore[arg-type]
        (lambda: MovingShapes((9, 9), seed=0.5), "seed is 0.5; "),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_refused_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{message}") as caught:
        make()
    one_line(caught.value)
