"""FlowNetS: the published layers, any image size, weights from an explicit seed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from modelaug.learning import FlowNetS, from_flownet, initialize, multiscale_epe, to_flownet

CONVOLUTIONS = {  # name: (inputs, outputs, kernel)
    "conv1": (6, 64, 7),
    "conv2": (64, 128, 5),
    "conv3": (128, 256, 5),
    "conv3_1": (256, 256, 3),
    "conv4": (256, 512, 3),
    "conv4_1": (512, 512, 3),
    "conv5": (512, 512, 3),
    "conv5_1": (512, 512, 3),
    "conv6": (512, 1024, 3),
    "conv6_1": (1024, 1024, 3),
}
DECODER = {
    "deconv5.0.weight": (1024, 512, 4, 4),
    "deconv4.0.weight": (1026, 256, 4, 4),
    "deconv3.0.weight": (770, 128, 4, 4),
    "deconv2.0.weight": (386, 64, 4, 4),
    "predict_flow6.weight": (2, 1024, 3, 3),
    "predict_flow5.weight": (2, 1026, 3, 3),
    "predict_flow4.weight": (2, 770, 3, 3),
    "predict_flow3.weight": (2, 386, 3, 3),
    "predict_flow2.weight": (2, 194, 3, 3),
    "upsampled_flow6_to_5.weight": (2, 2, 4, 4),
    "upsampled_flow5_to_4.weight": (2, 2, 4, 4),
    "upsampled_flow4_to_3.weight": (2, 2, 4, 4),
    "upsampled_flow3_to_2.weight": (2, 2, 4, 4),
}


def test_published_keys_shapes_and_count() -> None:
    expected: dict[str, tuple[int, ...]] = dict(DECODER)
    for name, (inputs, outputs, kernel) in CONVOLUTIONS.items():
        expected |= {f"{name}.0.weight": (outputs, inputs, kernel, kernel), f"{name}.0.bias": (outputs,)}
    network = FlowNetS(image_channels=3)
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected
    assert sum(p.numel() for p in network.parameters()) == 38_675_536


def test_published_keys_shapes_and_count_with_batch_norm() -> None:
    expected: dict[str, tuple[int, ...]] = dict(DECODER)
    for name, (inputs, outputs, kernel) in CONVOLUTIONS.items():
        expected[f"{name}.0.weight"] = (outputs, inputs, kernel, kernel)
        expected |= {f"{name}.1.{part}": (outputs,) for part in ("weight", "bias", "running_mean", "running_var")}
        expected[f"{name}.1.num_batches_tracked"] = ()
    network = FlowNetS(image_channels=3, batch_norm=True)
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected
    assert sum(p.numel() for p in network.parameters()) == 38_680_336


@given(h=st.integers(1, 150), w=st.integers(1, 150), channels=st.sampled_from([1, 3]))
def test_any_size(h: int, w: int, channels: int) -> None:
    network = FlowNetS(width=0.03, image_channels=channels)
    images = torch.ones(2, 2 * channels, h, w)
    with torch.no_grad():
        outputs = network(images)
        finest = network.eval()(images)
    sides = [4, 8, 16, 32, 64]
    assert [tuple(o.shape) for o in outputs] == [(2, 2, math.ceil(h / s), math.ceil(w / s)) for s in sides]
    torch.testing.assert_close(finest, outputs[0], rtol=0, atol=0)


def test_every_weight_learns() -> None:
    network = FlowNetS(width=0.0625, batch_norm=True)
    generator = torch.Generator().manual_seed(0)
    images, flow = torch.randn(2, 2, 64, 64, generator=generator), torch.randn(2, 2, 64, 64, generator=generator)
    multiscale_epe(network(images), flow).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_weights_come_from_the_seed_alone() -> None:
    before = torch.get_rng_state()
    networks = [FlowNetS(width=0.1, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (torch.cat([p.flatten() for p in n.parameters()]) for n in networks)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    initialize(networks[0], 1)
    assert torch.equal(torch.cat([p.flatten() for p in networks[0].parameters()]), other)


def test_kaiming_deviation() -> None:
    network = FlowNetS(width=0.5)
    layer = network.conv4[0]
    assert isinstance(layer, torch.nn.Conv2d)
    deviation = math.sqrt(2 / (1 + 0.1**2) / (9 * layer.in_channels))
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(layer.weight.mean().item()) < 0.01 * deviation
    assert layer.bias is not None
    assert not layer.bias.any()


def test_one_place_for_axes_and_units() -> None:
    displacement = torch.stack([torch.full((3, 4), 40.0), torch.full((3, 4), -10.0)])  # 40 rows down, 10 columns left
    output = to_flownet(displacement)
    assert output[:, 0, 0].tolist() == [-0.5, 2.0]
    assert torch.equal(from_flownet(output), displacement)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image_channels": 0}, ValueError, "image_channels is 0; pass an integer between 1 and 64"),
        ({"image_channels": 1.0}, TypeError, "image_channels is 1.0; pass an integer"),
        ({"width": 0}, ValueError, "width is 0; pass a finite number greater than 0 and at most 4"),
        ({"width": 1e9}, ValueError, "width is 1000000000.0; pass"),
        ({"seed": -1}, ValueError, "seed is -1; pass an integer between 0 and"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FlowNetS(**arguments)  # type: ignore[arg-type]
