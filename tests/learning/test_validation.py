"""The validation error is a mean over all held-out voxels by their weight, however they fall into batches."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch

from modelaug.learning import FlowNetS, estimate_flow, read_card, train
from modelaug.synthesis import Pair, stack_pairs
from modelaug.synthesis.pairs import HELD_OUT
from tests.learning.runs import SHORT, WIDTH
from tests.learning.toys import Translations


class Weighted(Translations):
    """The same with weights that differ from pair to pair, and movements that are the larger the less they weigh."""

    def draw(self, index: int) -> Pair:
        pair = super().draw(index)
        rng = np.random.Generator(np.random.Philox(index % 97))
        share = 10.0 ** -(index % 3)
        weight = (share * rng.random(self.grid)).astype(np.float32)
        return dataclasses.replace(pair, weight=weight, flow=pair.flow + np.float32(5 * (index % 3)))


def test_voxels_count_by_their_weight(tmp_path: Path) -> None:
    source = Weighted((32, 32))
    options = dataclasses.replace(SHORT, steps=1, learning_rate=1e-12, weight_decay=0, validation_pairs=5)
    network = FlowNetS(width=WIDTH)
    train(source, network=network, options=options, out=tmp_path, threads=1)
    pair = stack_pairs([source.draw(i) for i in range(HELD_OUT - 5, HELD_OUT)])
    found = estimate_flow(network, *(torch.from_numpy(each) for each in (pair.fixed, pair.moving))).numpy()
    metrics = read_card(tmp_path)["metrics"]
    for estimate, name in ((found, "validation_epe"), (0 * found, "validation_epe_of_zero_flow")):
        error = np.linalg.norm(estimate - pair.flow, axis=1)
        expected = (pair.weight * error).sum() / pair.weight.sum()
        assert metrics[name] == pytest.approx(expected, rel=1e-4)
        # Batches of two pairs: as many numbers as if they counted alike.
        alike = np.mean(
            [(w * e).sum() / w.sum() for w, e in ((pair.weight[k : k + 2], error[k : k + 2]) for k in (0, 2, 4))]
        )
        assert abs(alike - expected) > 0.1 * expected
