"""Options of training: schedules, checks, and which runs are the same."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from modelaug.learning import (
    FlowNetS,
    LossOptions,
    PyramidNetwork,
    RealOptions,
    TrainOptions,
    recommended_options,
)
from tests.learning.runs import SHORT, Untouchable, run


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps is 0; pass an integer at least 1"),
        ({"steps": 2.5}, TypeError, "steps is 2.5; pass an integer"),
        ({"steps": 2**40}, ValueError, "steps is 1099511627776; pass fewer"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate is 0.0; pass a finite number greater than 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate is nan"),
        ({"weight_decay": -1}, ValueError, "weight_decay is -1"),
        ({"halvings": (0.5, 1.5)}, ValueError, "halvings is 1.5; pass a finite number at least 0 and at most 1"),
        ({"gradient_clip": 0}, ValueError, "gradient_clip is 0"),
        ({"loss": 3}, TypeError, r"loss is 3; pass LossOptions\(...\)"),
        ({"real": {"pairs": 2}}, TypeError, r"real is {'pairs': 2}; pass RealOptions\(...\)"),
        ({"precision": "16"}, ValueError, "precision is '16'; pass one of '32', 'bf16-mixed', '16-mixed'"),
        ({"schedule": "linear"}, ValueError, "schedule is 'linear'; pass one of 'halvings', 'cosine'"),
        ({"warmup": -1}, ValueError, "warmup is -1; pass an integer between 0 and 9"),
        ({"warmup": 10}, ValueError, "warmup is 10; pass an integer between 0 and 9"),
        ({"ema": 1.5}, ValueError, "ema is 1.5"),
        ({"ema": "yes"}, TypeError, "ema is 'yes'; pass a number"),
        ({"keep": "all"}, ValueError, "keep is 'all'; pass one of 'best', 'last'"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"validation_pairs": 0}, ValueError, "validation_pairs is 0"),
        ({"log_every": 0}, ValueError, "log_every is 0"),
    ],
)
def test_bad_options(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TrainOptions(**{"steps": 10, **arguments})


def test_published_schedule() -> None:
    options = TrainOptions(steps=300)
    rates = [options.rate(step) for step in range(300)]
    assert rates == [1e-4] * 100 + [5e-5] * 50 + [2.5e-5] * 50 + [1.25e-5] * 100


def test_cosine_schedule_and_warmup() -> None:
    rates = [TrainOptions(steps=100, schedule="cosine", learning_rate=2.0).rate(step) for step in range(101)]
    assert rates[0] == 2.0
    assert rates[50] == pytest.approx(1.0)
    assert rates[25] + rates[75] == pytest.approx(2.0)
    assert rates[100] == 0
    assert all(a > b for a, b in itertools.pairwise(rates))
    for schedule in ("cosine", "halvings"):
        options = TrainOptions(steps=100, schedule=schedule, learning_rate=2.0, halvings=(0.5,), warmup=9)
        assert [options.rate(step) for step in range(10)] == pytest.approx(np.arange(1, 11) / 5)
        assert options.rate(99) == pytest.approx(1.0 if schedule == "halvings" else 1 + np.cos(np.pi * 90 / 91))


def test_runs_noted_before_an_option_existed_are_recognized(tmp_path: Path, whole: tuple[Path, FlowNetS]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    card = json.loads((folder / "net.json").read_text())
    for name in ("schedule", "warmup", "ema"):
        del card["options"][name]
    del card["architecture"]["decoder_bias"]
    (folder / "net.json").write_text(json.dumps(card))
    run(Untouchable(), folder)
    with pytest.raises(ValueError, match=r"holds a run with ema None, not 0\.9; pass another folder"):
        run(Untouchable(), folder, dataclasses.replace(SHORT, ema=0.9))
    del card["options"]["steps"]
    (folder / "net.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"holds a run with steps 'unknown', not 16"):
        run(Untouchable(), folder)


def test_what_is_recommended_gives_way_to_what_is_asked_for_and_leaves_the_rest_to_the_network() -> None:
    options = recommended_options(3000)
    assert (options.steps, options.learning_rate, options.schedule, options.warmup) == (3000, None, "cosine", 200)
    assert recommended_options(5).warmup == 0
    asked = recommended_options(3000, schedule="halvings", ema=None, warmup=7, learning_rate=1.0)
    assert asked == TrainOptions(3000, learning_rate=1.0, schedule="halvings", ema=None, warmup=7)
    with pytest.raises(TypeError, match=r"steps is 2\.5"):
        recommended_options(2.5)  # type: ignore[arg-type]


def test_what_options_leave_open_is_the_networks_own() -> None:
    narrow, published, pyramid = FlowNetS(width=0.1), FlowNetS(), PyramidNetwork(3)
    options = recommended_options(10)
    assert [options.of(each).learning_rate for each in (narrow, published, pyramid)] == [2e-3, 1e-4, 1e-3]
    assert options.of(narrow).loss == LossOptions(scale_weights=(0.005, 0.01, 0.02, 0.08, 0.32), normalize=False)
    assert options.of(pyramid).loss == LossOptions(scale_weights=(0.25,) * 4, normalize=True)
    asked = TrainOptions(10, learning_rate=0.5, loss=LossOptions(scale_weights=(1, 2, 3, 4), normalize=False, folds=1))
    assert asked.of(pyramid) == asked
    with pytest.raises(ValueError, match=r"scale_weights is \(1\.0, 2\.0, 3\.0, 4\.0\); pass 5 numbers"):
        asked.of(narrow)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (LossOptions, {"scale_weights": (0, 0)}, r"scale_weights is \(0, 0\); pass numbers, not all 0"),
        (LossOptions, {"scale_weights": (1, -1)}, "scale_weights is -1"),
        (LossOptions, {"overlap": -0.5}, r"overlap is -0\.5"),
        (LossOptions, {"folds": float("inf")}, "folds is inf"),
        (RealOptions, {"pairs": 0}, "pairs is 0; pass an integer at least 1"),
        (RealOptions, {"similarity": "mutual"}, "similarity is 'mutual'; pass one of 'correlation', 'squares'"),
        (RealOptions, {"radius": 0}, "radius is 0"),
        (RealOptions, {"smoothness": -1}, "smoothness is -1"),
    ],
)
def test_bad_options_of_losses(kind: type, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)
