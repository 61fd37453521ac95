"""Short training runs, and when two of them are the same."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from modelaug.learning import FlowNetS, LossOptions, TrainOptions, multiscale_epe, read_card, scale_intensity, train
from modelaug.synthesis import Pair, stack_pairs
from tests.learning.toys import Translations

WIDTH = 0.03
SHORT = TrainOptions(
    steps=16, batch_size=2, learning_rate=1e-3, validation_pairs=3, validate_every=6, checkpoint_every=4, log_every=3
)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def run(source: Any, out: Path, options: TrainOptions = SHORT, **arguments: Any) -> FlowNetS:
    network = FlowNetS(width=WIDTH)
    train(source, network=network, options=options, out=out, threads=1, **arguments)
    return network


class Untouchable:
    """Fails if anything is drawn from it."""

    def draw(self, index: int) -> Pair:
        raise AssertionError("drawn from")


def check_same(folder: Path, network: FlowNetS, whole: tuple[Path, FlowNetS]) -> None:
    """Check that two runs left the same to the bit; or about the same on a GPU, where sums are in no fixed order."""
    expected_folder, expected = whole
    for name, tensor in expected.state_dict().items():
        if torch.cuda.is_available():
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=0.01, atol=1e-4)
        else:
            assert torch.equal(network.state_dict()[name], tensor), name
    if torch.cuda.is_available():
        return
    assert (folder / "net.safetensors").read_bytes() == (expected_folder / "net.safetensors").read_bytes()
    assert read_card(folder)["metrics"] == read_card(expected_folder)["metrics"]
    untimed = [[{**row, "seconds_per_step": ""} for row in rows(f)] for f in (folder, expected_folder)]
    assert untimed[0] == untimed[1]


ONE = TrainOptions(
    steps=1,
    batch_size=2,
    validation_pairs=1,
    weight_decay=0,
    loss=LossOptions(scale_weights=(4, 2, 1, 1, 1), normalize=True),
)


def first_loss(source: Translations) -> float:
    pair = stack_pairs([source.draw(0), source.draw(1)])
    fixed, moving, flow = map(torch.from_numpy, (pair.fixed, pair.moving, pair.flow))
    outputs = FlowNetS(width=WIDTH)(torch.cat([scale_intensity(fixed), scale_intensity(moving)], dim=1))
    return multiscale_epe(outputs, flow, scale_weights=(4, 2, 1, 1, 1), normalize=True).item()
