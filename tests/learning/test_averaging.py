"""The moving average of the weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from modelaug.learning import end_point_error, estimate_flow, load_network, read_card
from modelaug.synthesis.pairs import HELD_OUT
from tests.learning.runs import SHORT, check_same, run
from tests.learning.toys import Interrupted, Translations

AVERAGED = dataclasses.replace(SHORT, steps=5, validate_every=1, validation_pairs=1, keep="last", ema=0.25)


def test_the_moving_average_is_what_a_loop_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after: list[list[torch.Tensor]] = []
    step = torch.optim.Adam.step

    def spy(optimizer: torch.optim.Adam, closure: Any = None) -> Any:
        result = step(optimizer, closure)
        after.append([p.detach().cpu().clone() for group in optimizer.param_groups for p in group["params"]])
        return result

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    network = run(Translations(), tmp_path, AVERAGED)
    assert len(after) == 5
    average = [p.double() for p in after[0]]
    for t, parameters in enumerate(after[1:], start=1):
        decay = min(0.25, (1 + t) / (10 + t))
        average = [decay * a + (1 - decay) * p.double() for a, p in zip(average, parameters, strict=True)]
    names = [n for n, _ in network.named_parameters()]
    ordered = [n for n in names if not n.endswith("bias")] + [n for n in names if n.endswith("bias")]
    for kept in (network, load_network(tmp_path)):
        for name, expected in zip(ordered, average, strict=True):
            torch.testing.assert_close(kept.get_parameter(name).detach().double(), expected, rtol=1e-5, atol=1e-7)
    plain = run(Translations(), tmp_path / "plain", dataclasses.replace(AVERAGED, ema=None))
    torch.testing.assert_close(plain.conv1[0].weight.detach(), after[-1][0])  # training itself is not changed


def test_averaged_weights_are_those_validated(tmp_path: Path) -> None:
    run(Translations(), tmp_path, dataclasses.replace(AVERAGED, ema=0.9))
    pair = Translations().draw(HELD_OUT - 1)
    fixed, moving, flow = (torch.from_numpy(array)[None] for array in (pair.fixed, pair.moving, pair.flow))
    error = end_point_error(estimate_flow(load_network(tmp_path), fixed, moving), flow)
    assert error.item() == pytest.approx(read_card(tmp_path)["metrics"]["validation_epe"], rel=1e-4)


def test_resuming_with_average_cosine_and_warmup_is_exact(tmp_path: Path) -> None:
    options = dataclasses.replace(SHORT, schedule="cosine", warmup=3, ema=0.9)

    def fail() -> None:
        raise OSError("the disk is gone")

    whole = tmp_path / "whole", run(Translations(), tmp_path / "whole", options)
    with pytest.raises(OSError, match="the disk is gone"):
        run(Interrupted(20, fail), tmp_path / "parts", options)
    check_same(tmp_path / "parts", run(Translations(), tmp_path / "parts", options), whole)
