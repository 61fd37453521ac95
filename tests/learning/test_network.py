"""A third, trivial network goes through training, files and registration: nothing knows an architecture by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from modelaug import io
from modelaug.learning import (
    LossOptions,
    RegistrationNetwork,
    SeenImages,
    TrainOptions,
    adapt_channels,
    load_network,
    read_card,
    recommended_options,
    register,
    save_network,
    train,
)
from modelaug.learning.network import known_network
from modelaug.synthesis import Pair
from tests.learning.toys import Translations

COARSE = 8


class OneShift(RegistrationNetwork):
    """Displaces everything by what it has learned, whatever it sees: two scales of cells of 8 and 16 voxels."""

    scales = (COARSE, 2 * COARSE)
    scale_weights = (1.0, 0.5)
    learning_rate = 0.25
    unit = 2.0

    def __init__(self, ndim: int = 2, *, image_channels: int = 1) -> None:
        super().__init__()
        self.ndim, self.image_channels = ndim, image_channels
        self.shift = nn.Parameter(torch.zeros(ndim))

    @classmethod
    def for_images(cls, grid: Sequence[int], *, image_channels: int = 1, width: float | None = None) -> OneShift:
        return cls(len(grid), image_channels=image_channels)

    @property
    def architecture(self) -> dict[str, Any]:
        return {"ndim": self.ndim, "image_channels": self.image_channels}

    def displacements(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        assert fixed.shape == moving.shape
        assert fixed.shape[1] == self.image_channels
        each = self.shift.reshape(1, -1, *(1 for _ in fixed.shape[2:]))
        return tuple(each.expand(len(fixed), -1, *(-(-n // side) for n in fixed.shape[2:])) for side in self.scales)

    def initialize(self, seed: int) -> None:
        with torch.no_grad():
            self.shift.copy_(torch.randn(self.ndim, generator=torch.Generator().manual_seed(seed)))

    def adapted(self, image_channels: int) -> OneShift:
        return OneShift(self.ndim, image_channels=image_channels)


class OneTranslation:
    """Noise that is always translated alike, in the plane or in space."""

    def __init__(self, shift: tuple[int, ...], spacing: tuple[float, ...] | None = None) -> None:
        self.shift, self.spacing = shift, spacing
        self.grid = (20, 24, 16)[: len(shift)]

    def draw(self, index: int) -> Pair:
        moving = np.random.Generator(np.random.Philox(key=3, counter=[0, 0, 0, index])).random((1, *self.grid))
        d = len(self.shift)
        flow = np.broadcast_to(np.reshape(self.shift, (d, *[1] * d)), (d, *self.grid))
        return Pair(
            fixed=np.roll(moving, [-s for s in self.shift], range(1, d + 1)).astype(np.float32),
            moving=moving.astype(np.float32),
            flow=flow.astype(np.float32),
            weight=np.ones(self.grid, np.float32),
            landmarks_fixed=np.zeros((1, d)),
            landmarks_moving=np.zeros((1, d)),
        )


@pytest.mark.parametrize("shift", [(2, -3), (1, -2, 3)])
def test_the_whole_way(shift: tuple[int, ...], tmp_path: Path) -> None:
    d = len(shift)
    source = OneTranslation(shift, spacing=(0.5, 1.5, 2.0)[:d])
    network = OneShift(d)
    options = recommended_options(60, batch_size=2, seed=1, validation_pairs=2, validate_every=30, ema=None)
    train(source, network=network, options=options, out=tmp_path, threads=1, progress=False)
    assert network.shift.tolist() == pytest.approx(shift, abs=0.3)
    card = read_card(tmp_path)
    assert card["architecture"] == {"name": "OneShift", "ndim": d, "image_channels": 1}
    assert card["options"]["learning_rate"] == 0.25
    assert card["options"]["loss"]["scale_weights"] == [1.0, 0.5]
    again = load_network(tmp_path)
    assert isinstance(again, OneShift)
    assert again.seen == SeenImages(source.grid, source.spacing)
    pair = source.draw(99)
    # Twice the voxels: the network sees the training grid, and its voxels are twice as long.
    fixed, moving = (image[0].repeat(2, axis=0).repeat(2, axis=1) for image in (pair.fixed, pair.moving))
    u = register(again, fixed, moving)
    assert u.shape == (d, *fixed.shape)
    expected = np.array(shift) * ([2, 2, 1][:d])
    assert u.reshape(d, -1).mean(axis=1).tolist() == pytest.approx(expected, abs=0.6)
    geometry = io.Geometry(np.array(source.spacing) / 2)
    u = register(again, fixed, moving, geometry=geometry)
    assert u.reshape(d, -1).mean(axis=1).tolist() == pytest.approx(2 * np.array(shift), abs=0.6)


def test_the_loss_is_in_the_networks_unit(tmp_path: Path) -> None:
    network = OneShift()
    options = TrainOptions(1, batch_size=2, learning_rate=1e-9, validation_pairs=1, log_every=1)
    train(OneTranslation((3, -4)), network=network, options=options, out=tmp_path, threads=1, progress=False)
    log = (tmp_path / "metrics.csv").read_text().splitlines()
    row = dict(zip(log[0].split(","), log[1].split(","), strict=True))
    assert float(row["loss"]) == pytest.approx((1.0 + 0.5) * 5 / 2, abs=1e-5)  # |(3, -4)| = 5, in units of 2
    assert float(row["epe"]) == pytest.approx(5, abs=1e-5)


def test_known_by_name() -> None:
    assert known_network("OneShift") is OneShift
    with pytest.raises(
        ValueError, match=r"architecture is 'Nothing'; pass one of .*FlowNetS, .*OneShift, PyramidNetwork"
    ):
        known_network("Nothing")
    assert adapt_channels(OneShift(), 3).image_channels == 3


def test_scales_and_weights_have_to_agree(tmp_path: Path) -> None:
    options = TrainOptions(1, loss=LossOptions(scale_weights=(1, 2, 3)))
    with pytest.raises(ValueError, match=r"scale_weights is \(1.0, 2.0, 3.0\); pass 2 numbers"):
        train(Translations(), network=OneShift(), options=options, out=tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_images_of_another_dimension_are_refused_before_anything_is_learned(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images have shape \(20, 24\) and the network takes 3 axes"):
        train(OneTranslation((1, 1)), network=OneShift(3), options=TrainOptions(1), out=tmp_path, threads=1)


def test_a_card_without_images_is_read(tmp_path: Path) -> None:
    save_network(OneShift(), tmp_path)
    assert load_network(tmp_path).seen is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": (3, 0)}, "grid"),
        ({"grid": (8, 8), "spacing": (1.0, 1.0, 1.0)}, "spacing"),
        ({"grid": (8, 8), "spacing": (1.0, -1.0)}, "spacing"),
    ],
)
def test_bad_notes_of_images(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeenImages(**arguments)


@pytest.mark.parametrize("spacing", [np.array([1.0, 2.0]), (1, 2), [1.0, np.float32(2)]])
def test_spacing_of_seen_images_is_any_sequence(spacing: Any) -> None:
    assert SeenImages((6, 5), spacing).spacing == (1.0, 2.0)
    assert SeenImages((6, 5), 1.5).spacing == (1.5, 1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^spacing\[0\] is nan"):
        SeenImages((6, 5), (np.nan, 1.0))
