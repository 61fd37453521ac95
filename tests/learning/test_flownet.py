"""FlowNetS: the published layers, any image size, weights from an explicit seed."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from modelaug.learning import FlowNetS, estimate_flow, from_flownet, initialize, multiscale_epe, to_flownet

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

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


@pytest.mark.parametrize("batch_norm", [False, True])
def test_decoder_biases(batch_norm: bool) -> None:
    plain = FlowNetS(width=0.125, batch_norm=batch_norm)
    network = FlowNetS(width=0.125, batch_norm=batch_norm, decoder_bias=True)
    assert plain.architecture == {**network.architecture, "decoder_bias": False}
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    added = {f"deconv{k}.0.bias": (c,) for k, c in {5: 64, 4: 32, 3: 16, 2: 8}.items()}
    added |= {f"predict_flow{k}.bias": (2,) for k in (6, 5, 4, 3, 2)}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in plain.state_dict().items()} | added
    assert not any(network.state_dict()[name].any() for name in added)
    before = plain.architecture
    del before["decoder_bias"]  # as noted before there was one
    assert FlowNetS(**before).architecture == plain.architecture  # type: ignore[arg-type]


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


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 70), (53, 1), (2, 3), (63, 65), (70, 53)])
def test_any_size_gives_a_displacement(h: int, w: int, batch_norm: bool) -> None:
    network = FlowNetS(width=0.03, batch_norm=batch_norm, decoder_bias=True)
    fixed, moving = torch.rand(2, 2, 1, h, w, generator=torch.Generator().manual_seed(0))
    flow = estimate_flow(network, fixed, moving)
    assert flow.shape == (2, 2, h, w)
    assert torch.isfinite(flow).all()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_weight_learns(batch_norm: bool) -> None:
    network = FlowNetS(width=0.0625, batch_norm=batch_norm, decoder_bias=True)
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


def example(h: int = 64, w: int = 64) -> tuple[FlowNetS, torch.Tensor, torch.Tensor]:
    """Return a network, what it takes of a pair, and a flow."""
    generator = torch.Generator().manual_seed(0)
    images, flow = (torch.randn(2, 2, h, w, generator=generator) for _ in range(2))
    return FlowNetS(width=0.0625, decoder_bias=True), images, 20 * flow


def gradients(network: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    parts = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([part.flatten() for part in parts])


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    return (actual.float() - expected).abs().max().item() <= tolerance * expected.abs().max().item()


@pytest.mark.parametrize(("h", "w"), [(64, 64), (53, 70)])
def test_any_memory_layout(h: int, w: int) -> None:
    network, images, flow = example(h, w)
    expected = network(images)
    slopes = gradients(network, multiscale_epe(expected, flow))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for layout in (torch.channels_last, torch.contiguous_format):
        outputs = network(images.to(memory_format=layout))
        assert all(close(o, e, 1e-5) for o, e in zip(outputs, expected, strict=True))
        assert close(gradients(network, multiscale_epe(outputs, flow)), slopes, 1e-4)
    assert close(network(images[..., :50].transpose(2, 3))[0], network(images[..., :50].mT.contiguous())[0], 1e-6)


@pytest.mark.parametrize(
    ("device", "dtype", "tolerance"),
    [
        ("cpu", torch.bfloat16, 0.05),
        pytest.param("cuda", torch.float16, 0.01, marks=NEEDS_CUDA),
        pytest.param("cuda", torch.bfloat16, 0.05, marks=NEEDS_CUDA),
    ],
)
def test_autocast(device: str, dtype: torch.dtype, tolerance: float) -> None:
    network, images, flow = example(64, 53)
    network, images, flow = network.to(device), images.to(device), flow.to(device)
    expected = network(images)
    slopes = gradients(network, multiscale_epe(expected, flow))
    displacement = estimate_flow(network, images[:, :1], images[:, 1:])
    with torch.autocast(device, dtype):
        outputs = network(images)
        loss = multiscale_epe(outputs, flow)
        rounded = estimate_flow(network, images[:, :1], images[:, 1:])
    assert {o.dtype for o in outputs} == {dtype}
    assert loss.dtype == rounded.dtype == torch.float32
    assert all(close(o, e, tolerance) for o, e in zip(outputs, expected, strict=True))
    assert close(rounded, displacement, tolerance)
    assert torch.nn.functional.cosine_similarity(gradients(network, loss), slopes, dim=0) > 0.99


@pytest.mark.filterwarnings("ignore")  # of torch.compile's own parts
def test_compiled_as_one_graph() -> None:
    """All of torch.compile but the generation of code, which takes long."""
    network, images, flow = example()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    expected, outputs = network(images), compiled(images)
    assert all(close(o, e, 1e-5) for o, e in zip(outputs, expected, strict=True))
    slopes = gradients(network, multiscale_epe(expected, flow))
    assert close(gradients(network, multiscale_epe(outputs, flow)), slopes, 1e-4)


def test_compiled_networks_are_networks() -> None:
    network = FlowNetS(width=0.01)
    _, images, _ = example()
    expected = estimate_flow(copy.deepcopy(network), images[:, :1], images[:, 1:])
    compiled = torch.compile(network, fullgraph=True, dynamic=False)
    assert close(estimate_flow(compiled, images[:, :1], images[:, 1:]), expected, 1e-5)
    assert compiled.training
    assert network.training


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_compiled() -> None:
    try:
        torch.compile(torch.nn.functional.silu)(torch.ones(9))
    except Exception as error:  # whatever is wrong with the compiler, it is not the network
        pytest.skip(f"needs a C++ compiler that works: {type(error).__name__}")
    network = FlowNetS(width=0.01).eval()
    _, images, _ = example()
    compiled = torch.compile(network, fullgraph=True, dynamic=False)
    with torch.no_grad():
        assert close(compiled(images), network(images), 1e-5)


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
