"""Public weights: every dialect against a network written from the published table, and everything else refused."""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelaug import ModelFileError

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file
from torch import Tensor

from modelaug.learning import FlowNetS, adapt_channels, load_flownet, load_network, register, save_network
from modelaug.learning.pretrained import _width
from tests.learning.toys import Hostile
from tests.reference.flownet import SHARE, State, published, reference


def all_scales(network: FlowNetS, images: Tensor) -> tuple[Tensor, ...]:
    """Evaluate a network in evaluation mode, but for its giving all scales."""
    network.eval().training = True  # of the network itself, not of its layers
    with torch.no_grad():
        flows = network(images)
    assert isinstance(flows, tuple)
    return flows


def noise(channels: int, seed: int = 0) -> Tensor:
    return torch.rand(2, channels, 64, 128, generator=torch.Generator().manual_seed(seed)) - 0.431


def save_bare(state: State, path: Path) -> Path:
    torch.save(state, path / "w.pth")
    return path / "w.pth"


def save_published(state: State, path: Path) -> Path:
    torch.save(
        {"arch": "flownets", "epoch": 3, "state_dict": state, "best_EPE": 1.9, "div_flow": 20}, path / "w.pth.tar"
    )
    return path / "w.pth.tar"


def save_old(state: State, path: Path) -> Path:
    state = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": state, "best_EPE": 1.9}, path / "w.tar", _use_new_zipfile_serialization=False)
    return path / "w.tar"


def save_lightning(state: State, path: Path) -> Path:
    state = {f"model._orig_mod.{name}": tensor for name, tensor in state.items()}
    content = {"state_dict": state, "hyper_parameters": {"div_flow": 20.0}, "pytorch-lightning_version": "2.4.0"}
    torch.save(content, path / "w.ckpt")
    return path / "w.ckpt"


def save_safetensors(state: State, path: Path) -> Path:
    save_file(state, path / "w.safetensors", {"div_flow": "20"})
    return path / "w.safetensors"


WRITERS = [save_bare, save_published, save_old, save_lightning, save_safetensors]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("write", WRITERS)
def test_every_dialect(
    tmp_path: Path, write: Callable[[State, Path], Path], batch_norm: bool, bias: bool, caplog: pytest.LogCaptureFixture
) -> None:
    state, images = published(batch_norm=batch_norm, bias=bias), noise(6)
    with caplog.at_level(logging.INFO, "modelaug.learning"):
        network = load_flownet(write(state, tmp_path), image_channels=3)
    assert not network.training
    assert network.architecture == {
        "image_channels": 3,
        "width": pytest.approx(1 / SHARE, rel=0.02),
        "batch_norm": batch_norm,
        "decoder_bias": bias,
    }
    assert list(network.state_dict()) != []
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    for flow, expected in zip(all_scales(network, images), reference(state, images), strict=True):
        torch.testing.assert_close(flow.double(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    (record,) = caplog.records
    words = ("without", "with")
    assert f"FlowNetS {words[batch_norm]} batch norm and {words[bias]} decoder biases, width" in record.message
    assert "3 channels per image" in record.message


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("div_flow", [10, 1.0, 73.3, "5", torch.tensor(2.0), None])
def test_unit_of_the_flow(tmp_path: Path, div_flow: Any, bias: bool) -> None:
    state, images = published(bias=bias), noise(6)
    torch.save({"state_dict": state, **({} if div_flow is None else {"div_flow": div_flow})}, tmp_path / "w")
    factor = 1.0 if div_flow is None else float(div_flow) / 20
    for flow, expected in zip(
        all_scales(load_flownet(tmp_path / "w", image_channels=3), images), reference(state, images), strict=True
    ):
        expected = factor * expected
        torch.testing.assert_close(flow.double(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_unit_is_found_wherever_it_is_noted(tmp_path: Path) -> None:
    state = published()
    torch.save({"state_dict": state, "hyper_parameters": {"div_flow": 40.0}}, tmp_path / "w.ckpt")
    save_file(state, tmp_path / "w.safetensors", {"div_flow": "40"})
    for name in ("w.ckpt", "w.safetensors"):
        weight = load_flownet(tmp_path / name).predict_flow4.weight
        assert torch.equal(weight, 2 * state["predict_flow4.weight"])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_grey_images_are_three_equal_colours(tmp_path: Path, batch_norm: bool) -> None:
    state, images = published(batch_norm=batch_norm), noise(2)
    network = load_flownet(save_bare(state, tmp_path))
    assert network.image_channels == 1
    assert network.conv1[0].weight.shape == (2, 2, 7, 7)
    repeated = images.repeat_interleave(3, dim=1)  # fixed, fixed, fixed, moving, moving, moving
    for flow, expected in zip(all_scales(network, images), reference(state, repeated), strict=True):
        torch.testing.assert_close(flow.double(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@given(channels=st.integers(1, 6), seed=st.integers(0, 9))
@settings(max_examples=10)
def test_adapted_from_one_channel_and_back(channels: int, seed: int) -> None:
    grey = FlowNetS(width=0.03, seed=seed)
    grey.conv3.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in grey.state_dict().items()}
    wide = adapt_channels(grey, channels)
    assert wide.architecture == {**grey.architecture, "image_channels": channels}
    images = noise(2 * channels, seed)
    mean = torch.stack([image.mean(dim=1) for image in images.chunk(2, dim=1)], dim=1)
    for flow, expected in zip(all_scales(wide, images), all_scales(grey, mean), strict=True):
        torch.testing.assert_close(flow, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    back = adapt_channels(wide, 1)
    torch.testing.assert_close(back.conv1[0].weight, grey.conv1[0].weight, rtol=1e-5, atol=1e-7)
    assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in grey.parameters()]
    with torch.no_grad():
        for parameter in (*wide.parameters(), *back.parameters()):
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in grey.state_dict().items())


def test_adapting_keeps_mode_and_type() -> None:
    network = FlowNetS(width=0.03).double()
    assert adapt_channels(network, 3).training
    adapted = adapt_channels(network.eval(), 3)
    assert not adapted.training
    assert adapted.conv1[0].weight.dtype == torch.float64
    assert torch.isfinite(adapted(torch.rand(1, 6, 9, 9).double())).all()


@pytest.mark.parametrize(
    ("channels", "error", "message"),
    [
        (2, ValueError, "image_channels is 2 and the network takes 3; pass 1 or 3"),
        (0, ValueError, "image_channels is 0; pass an integer between 1 and 64"),
        (1.0, TypeError, "image_channels is 1.0; pass an integer"),
    ],
)
def test_channels_that_cannot_be(tmp_path: Path, channels: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        adapt_channels(FlowNetS(width=0.03, image_channels=3), channels)
    with pytest.raises(error, match=message):
        load_flownet(save_bare(published(), tmp_path), image_channels=channels)


@given(width=st.floats(1e-4, 4.0))
def test_any_width_is_told_from_the_channels(width: float) -> None:
    def counts(factor: float) -> list[int]:
        return [max(1, round(c * factor)) for c in (64, 128, 256, 512, 512, 1024)]

    names = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6")
    found = _width(dict(zip(names, counts(width), strict=True)))
    assert 0 < found <= 4
    assert counts(found) == counts(width)
    assert len(f"{found!r}") <= len(f"{width!r}") or abs(found - width) < 1e-3


@pytest.mark.parametrize("width", [0.001, 0.03, 0.0625, 0.1])
@pytest.mark.parametrize("channels", [1, 5])
def test_our_own_weights(tmp_path: Path, width: float, channels: int) -> None:
    network = FlowNetS(width=width, image_channels=channels, decoder_bias=True)
    file = save_network(network, tmp_path)
    loaded = load_flownet(file, image_channels=channels)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in network.state_dict().items())
    assert loaded.architecture == {**network.architecture, "width": loaded.width}
    assert load_network(file).architecture == network.architecture


def test_round_widths() -> None:
    for width in (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 4.0):
        channels = [round(c * width) for c in (64, 128, 256, 512, 512, 1024)]
        assert _width(dict(zip(("conv1", "conv2", "conv3", "conv4", "conv5", "conv6"), channels, strict=True))) == width


def test_goes_on_like_any_network(tmp_path: Path) -> None:
    network = load_flownet(save_published(published(bias=True), tmp_path))
    assert all(p.requires_grad for p in network.parameters())
    save_network(network, tmp_path / "net")
    image = np.random.default_rng(0).normal(size=(40, 28))
    flow = register(load_network(tmp_path / "net"), image, image[::-1])
    assert flow.shape == (2, 40, 28)
    assert np.array_equal(flow, register(network, image, image[::-1]))


def test_other_float_types_and_old_counters(tmp_path: Path) -> None:
    state = published(batch_norm=True)
    halves = {name: tensor.half() for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    network = load_flownet(save_bare(halves, tmp_path), image_channels=3)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network.conv4[0].weight, halves["conv4.0.weight"].float())
    assert network.conv4[1].num_batches_tracked == 0


def without(pattern: str) -> Callable[[State], object]:
    def change(state: State) -> None:
        for name in [name for name in state if pattern in name]:
            del state[name]

    return change


def with_(name: str, tensor: Any) -> Callable[[State], object]:
    return lambda state: state.update({name: tensor})


@pytest.mark.parametrize(
    ("batch_norm", "damage", "message"),
    [
        (False, without("conv3_1.0.bias"), "lacks conv3_1.0.bias of FlowNetS without batch norm and without decoder b"),
        (False, without("predict_flow6"), "holds no predict_flow6.weight but 'conv1.0.weight'; pass the weights of"),
        (False, dict.clear, "holds no predict_flow6.weight and nothing else"),
        (
            True,
            without("running_var"),
            r"lacks conv1.1.running_var of FlowNetS with batch norm .* save the whole state",
        ),
        (True, without("conv2.1."), "lacks conv2.1.weight of FlowNetS with batch norm"),
        (
            True,
            with_("conv2.0.bias", torch.ones(4)),
            "holds conv2.0.bias, which is no part of FlowNetS with batch norm",
        ),
        (False, with_("conv_redir.0.weight", torch.ones(2)), "holds conv_redir.0.weight, which is no part of FlowNetS"),
        (False, with_("upsampled_flow6_to_5.bias", torch.ones(2)), "holds upsampled_flow6_to_5.bias, which is no part"),
        (False, with_("deconv5.0.bias", torch.ones(16)), "lacks deconv4.0.bias of FlowNetS .* with decoder biases"),
        (
            False,
            with_("a.predict_flow6.weight", torch.ones(2)),
            "holds several networks \\('', 'a.'\\); pass the weights",
        ),
        (
            False,
            with_("conv4.0.weight", torch.ones(16, 9, 3, 3)),
            r"conv4.0.weight of shape \(16, 9, 3, 3\), not \(16, 8",
        ),
        (False, with_("conv4.0.weight", torch.ones(20, 8, 3, 3)), "has layers of 2, 4, 8, 20, 16, 32 channels, not"),
        (False, with_("conv4.0.weight", torch.ones(3)), r"conv4.0.weight of shape \(3,\), not that of a convolution"),
        (False, with_("conv1.0.weight", torch.ones(2, 5, 7, 7)), "takes 5 channels, which are not those of two images"),
        (False, with_("conv1.0.weight", torch.ones(2, 12, 7, 7)), "takes 12 channels, which is not a pair of grey or"),
        (False, with_("conv5.0.weight", torch.ones(1).expand(512, 512, 9999, 9999)), "fewer values than its shape"),
        (False, with_("conv5.0.weight", torch.ones(0, 512, 3, 3)), "fewer values than its shape"),
        (False, with_("conv5.0.weight", torch.ones(2, 2).to_sparse()), "holds conv5.0.weight in no plain form"),
        (False, with_("conv5.0.weight", torch.empty(2, 2, device="meta")), "holds conv5.0.weight in no plain form"),
        (False, with_("conv5.0.weight", torch.ones(2, dtype=torch.int8)), "holds conv5.0.weight of torch.int8; pass"),
        (False, with_("epoch", 3), "holds epoch, which is a int; pass"),
        (False, lambda s: s.update({7: torch.ones(1)}), "holds the key 7, which is no name"),
        (False, lambda s: s["deconv3.0.weight"][0, 0, 0].fill_(torch.nan), "not finite in deconv3.0.weight"),
        (False, with_("conv5.0.bias", torch.full((16,), 1e300, dtype=torch.float64)), "not finite in conv5.0.bias"),
        (True, lambda s: s["conv2.1.running_var"][2:].neg_(), "holds negative variances in conv2.1.running_var"),
    ],
)
def test_wrong_contents_are_refused(
    tmp_path: Path, batch_norm: bool, damage: Callable[[State], object], message: str
) -> None:
    state = published(batch_norm=batch_norm)
    damage(state)
    file = save_bare(state, tmp_path)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_flownet(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_stray_tensor_beside_prefixed_ones(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in published().items()}
    file = save_bare({**state, "conv1.0.bias": torch.ones(2)}, tmp_path)
    with pytest.raises(ModelFileError, match=r"holds conv1.0.bias beside module.predict_flow6.weight; pass"):
        load_flownet(file)


@pytest.mark.parametrize("div_flow", [0, -20, "twenty", float("nan"), 1e30, True, [20], torch.ones(2)])
def test_absurd_units_are_refused(tmp_path: Path, div_flow: object) -> None:
    torch.save({"state_dict": published(), "div_flow": div_flow}, tmp_path / "w")
    with pytest.raises(ModelFileError, match=r"says that div_flow is .*; set a number between 0.0001 and 10000"):
        load_flownet(tmp_path / "w")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as weights"),
        (b"weights", "cannot be read as weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "is a pointer of Git LFS.*; run git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not the weights; download the file itself"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_flownet(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"absent.pth does not exist; check the path"):
        load_flownet(tmp_path / "absent.pth")
    with pytest.raises(ModelFileError, match="is a folder; pass the file of weights, or use load_network"):
        load_flownet(tmp_path)
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    with pytest.raises(ModelFileError, match="cannot be read as weights"):
        load_flownet(tmp_path / "w.npz")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelFileError, match="it holds a list, not named tensors"):
        load_flownet(tmp_path / "list.pth")
    torch.save({"state_dict": 3}, tmp_path / "w.pth")
    with pytest.raises(ModelFileError, match="its state_dict is a int, not named tensors"):
        load_flownet(tmp_path / "w.pth")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("write", [save_published, save_old, save_safetensors])
def test_truncated_files_are_refused(tmp_path: Path, write: Callable[[State, Path], Path], share: float) -> None:
    file = write(published(), tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelFileError, match="cannot be read as weights") as caught:
        load_flownet(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [-1, -(2**31), 10**6, 2**31 - 1])
def test_absurd_sizes_are_refused(tmp_path: Path, size: int) -> None:
    """Both the number of values in a tensor's storage and its shape are changed where they are noted."""
    state = published()
    state["conv3.0.bias"] = torch.ones(201)
    with zipfile.ZipFile(save_bare(state, tmp_path)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    noted = b"K\xc9"  # pickled 201
    changed = b"J" + size.to_bytes(4, "little", signed=True)
    for places in (1, 2):
        with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
            for name, data in members.items():
                if name.endswith("data.pkl"):
                    assert data.count(noted) == 2
                    data = data.replace(noted, changed, places)
                archive.writestr(name, data)
        with pytest.raises(ModelFileError, match="cannot be read as weights"):
            load_flownet(tmp_path / "w.pth")


def test_nothing_else_is_unpickled(tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "w.pth"
    hostile = Hostile(trace)
    pickle.loads(pickle.dumps(hostile))
    assert trace.exists()  # so the files below would be dangerous
    trace.unlink()
    files = [pickle.dumps(hostile, protocol) for protocol in (0, 2, 4)]
    for content in (hostile, {"state_dict": published(), "args": hostile}, {**published(), "a": hostile}):
        for new in (False, True):
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=new)
            files.append(buffer.getvalue())
    for name in ("w.pth", "w.safetensors"):
        for data in files:
            (tmp_path / name).write_bytes(data)
            with pytest.raises(ModelFileError, match="cannot be read as weights") as caught:
                load_flownet(tmp_path / name)
            assert "\n" not in str(caught.value)
    torch.save(FlowNetS(width=0.01), file)  # the network itself, not its weights
    with pytest.raises(ModelFileError, match=r"it asks for modelaug.learning.flownet.FlowNetS, and only tensors"):
        load_flownet(file)
    assert not trace.exists()
