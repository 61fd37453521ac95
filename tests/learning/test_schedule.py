"""Steps are those of a loop by hand, each with its own rate; and real pairs do not move as the source's do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch

from modelaug import phantoms
from modelaug.data.resampling import resize_cohort
from modelaug.learning import (
    AugmentOptions,
    FlowNetS,
    PyramidNetwork,
    RealOptions,
    TrainOptions,
    multiscale_epe,
    scale_intensity,
    train,
)
from modelaug.learning import augmentation as moving
from modelaug.synthesis import stack_pairs
from tests.learning.runs import ONE, WIDTH, run
from tests.learning.toys import Translations


@pytest.mark.skipif(torch.cuda.is_available(), reason="sums are in no fixed order")
@pytest.mark.parametrize("schedule", [{"halvings": (0.2, 0.4)}, {"schedule": "cosine", "warmup": 2}])
def test_every_step_has_its_own_rate(schedule: dict[str, Any], tmp_path: Path) -> None:
    options = dataclasses.replace(ONE, steps=6, learning_rate=3e-3, **schedule)
    if "halvings" in schedule:
        rates = [3e-3, 3e-3, 1.5e-3, 7.5e-4, 7.5e-4, 7.5e-4]
    else:
        rates = [1e-3, 2e-3, 3e-3, *(3e-3 * (1 + np.cos(np.pi * k / 4)) / 2 for k in (1, 2, 3))]
    source = Translations((32, 32))
    found = run(source, tmp_path, options)
    network = FlowNetS(width=WIDTH).train()
    optimizer = torch.optim.Adam(network.parameters())
    for step, rate in enumerate(rates):
        pair = stack_pairs([source.draw(2 * step), source.draw(2 * step + 1)])
        fixed, moved, flow = map(torch.from_numpy, (pair.fixed, pair.moving, pair.flow))
        outputs = network(torch.cat([scale_intensity(fixed), scale_intensity(moved)], dim=1))
        loss = multiscale_epe(outputs, flow, scale_weights=(4, 2, 1, 1, 1), normalize=True)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for (name, expected), tensor in zip(network.state_dict().items(), found.state_dict().values(), strict=True):
        # Adam's steps are about as long as the rate, whatever the gradient; rounding turns a few that are about 0.
        away = (tensor - expected).abs()
        assert away.median() < 1e-4, name
        assert (away < 5e-4).float().mean() > 0.9, name


def test_real_pairs_move_otherwise_than_the_pairs_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelaug.learning import _loop, real

    drawn: dict[str, list[np.ndarray]] = {"source": [], "real": []}
    for module, name in ((_loop, "source"), (real, "real")):

        def watching(options: AugmentOptions, indices: Any, grid: Any, name: str = name) -> Any:
            maps = moving.draw_maps(options, indices, grid)
            drawn[name] += [each.ravel() for side in maps for each in side]
            return maps

        monkeypatch.setattr(module, "draw_maps", watching)
    hearts = resize_cohort(phantoms.heart(3, shape=(48, 48)), (32, 32))
    options = TrainOptions(
        2,
        batch_size=2,
        learning_rate=1e-3,
        augment=AugmentOptions(seed=4),
        real=RealOptions(pairs=2),
        validation_pairs=1,
    )
    network = PyramidNetwork(2, width=0.25, levels=2)
    train(Translations((32, 32)), network=network, options=options, out=tmp_path, real=hearts, threads=1)
    assert len(drawn["source"]) == len(drawn["real"]) == 8
    every = np.array([*drawn["source"], *drawn["real"]])
    assert len(np.unique(every.round(9), axis=0)) == 16
