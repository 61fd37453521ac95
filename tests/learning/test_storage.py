"""Files of networks: round trips, and everything else refused."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelaug import AppearanceModel, ModelFileError

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file, save_file

from modelaug.learning import FlowNetS, load_flownet, load_network, read_card, save_network
from modelaug.learning.storage import read_torch
from tests.examples import one_line
from tests.learning.toys import Hostile
from tests.memory import peak_memory


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_network(FlowNetS(width=0.03, seed=5), tmp_path)
    return tmp_path


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ["", "brains.safetensors"])
def test_round_trip(tmp_path: Path, batch_norm: bool, name: str) -> None:
    network = FlowNetS(width=0.05, image_channels=2, batch_norm=batch_norm, seed=3)
    network(torch.ones(2, 4, 64, 64))  # moves the running means of the batch normalisation
    path = save_network(network, tmp_path / name, {"metrics": {"validation_epe": 1.5}})
    assert path == tmp_path / (name or "net.safetensors")
    loaded = load_network(tmp_path / name)
    assert not loaded.training
    assert loaded.architecture == network.architecture
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
    assert load_network(path).architecture == network.architecture
    card = read_card(tmp_path / name)
    assert card["metrics"] == {"validation_epe": 1.5}
    assert card["architecture"] == {"name": "FlowNetS", **network.architecture}
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_any_memory_layout(tmp_path: Path) -> None:
    network = FlowNetS(width=0.05).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_network(network, tmp_path)
    assert torch.equal(load_network(tmp_path).conv2[0].weight, network.conv2[0].weight)


def edit_card(folder: Path, **changes: object) -> None:
    file = folder / "net.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "net.safetensors")
    change(tensors)
    save_file(tensors, folder / "net.safetensors")


def edit_images(folder: Path, **images: object) -> None:
    edit_card(folder, images={"spacing": None, **images})


def turn(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    tensors["conv4.0.bias"] = tensors["conv4.0.bias"].to(dtype)
    return tensors["conv4.0.bias"]


ARCHITECTURE = {"name": "FlowNetS", "image_channels": 1, "width": 0.03, "batch_norm": False}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "net.json").unlink(), "net.json does not exist; keep the card beside the weights"),
        (lambda f: (f / "net.json").write_text("{"), "net.json cannot be read as JSON"),
        (lambda f: (f / "net.json").write_text("[" * 200_000), "net.json cannot be read as JSON"),
        (lambda f: edit_images(f, grid=[1e400, 8]), "describes no known network"),
        (lambda f: edit_images(f, grid=[16, 16, 16]), "describes no known network"),
        (lambda f: edit_images(f, grid=[10**12, 16]), "describes no known network"),
        (lambda f: edit_images(f, grid=[16, 16], spacing=[1e-9, 1]), "describes no known network"),
        (lambda f: edit_weights(f, lambda t: turn(t, torch.int64)), "conv4.0.bias is of type int64, not of floating"),
        (lambda f: edit_weights(f, lambda t: turn(t, torch.float8_e4m3fn)), "is of type float8_e4m3fn, not of"),
        (lambda f: edit_weights(f, lambda t: turn(t, torch.float64).fill_(1e300)), "not finite in conv4.0.bias"),
        (lambda f: (f / "net.json").write_bytes(b"\xff\xfe\x00"), "net.json cannot be read as JSON"),
        (lambda f: (f / "net.json").write_text("[]"), "net.json is not the card of a network"),
        (lambda f: edit_card(f, format="other"), "net.json is not the card of a network"),
        (lambda f: edit_card(f, architecture=3), "net.json is not the card of a network"),
        (lambda f: edit_card(f, version=2), "net.json has format version 2, not 1; update modelaug"),
        (lambda f: edit_card(f, architecture={**ARCHITECTURE, "name": "RAFT"}), "describes no known network"),
        (lambda f: edit_card(f, architecture={**ARCHITECTURE, "width": 1e12}), "describes no known network"),
        (lambda f: edit_card(f, architecture={**ARCHITECTURE, "depth": 3}), "describes no known network"),
        (lambda f: edit_card(f, architecture={**ARCHITECTURE, "width": 0.1}), "does not fit its card: conv1.0.weight"),
        (lambda f: edit_card(f, architecture={**ARCHITECTURE, "batch_norm": True}), "conv1.1.weight is missing"),
        (lambda f: (f / "net.safetensors").unlink(), "net.safetensors does not exist"),
        (lambda f: (f / "net.safetensors").write_bytes(b""), "cannot be read as safetensors"),
        (lambda f: edit_weights(f, lambda t: t.pop("conv3.0.bias")), "conv3.0.bias is missing"),
        (lambda f: edit_weights(f, lambda t: t.update(extra=torch.ones(2))), "extra is not part of the architecture"),
        (lambda f: edit_weights(f, lambda t: t["conv4.0.bias"].fill_(torch.nan)), "not finite in conv4.0.bias"),
    ],
)
def test_damaged_files_are_refused(saved: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(saved)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_network(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_truncated_weights_are_refused(saved: Path, share: float) -> None:
    file = saved / "net.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelFileError, match="cannot be read as safetensors"):
        load_network(saved)


def test_what_cannot_be_noted_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_network(FlowNetS(width=0.03), tmp_path / "net", {"a": {1}})
    assert not (tmp_path / "net").exists()
    with pytest.raises(TypeError, match="network is NoneType; pass a RegistrationNetwork"):
        save_network(None, tmp_path / "net")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [5, None, ["net"], b"net"])
def test_what_is_no_path_is_named(path: Any) -> None:
    with pytest.raises(TypeError, match=r"path is .*; pass the path of a file or folder") as caught:
        load_network(path)
    one_line(caught.value)
    with pytest.raises(TypeError, match=r"path is .*; pass the path of a file or folder"):
        AppearanceModel.load(path)


def test_nothing_is_unpickled(saved: Path) -> None:
    trace = saved / "trace"
    pickle.loads(pickle.dumps(Hostile(trace)))
    assert trace.exists()  # so the file below would be dangerous
    trace.unlink()
    (saved / "net.safetensors").write_bytes(pickle.dumps(Hostile(trace)))
    with pytest.raises(ModelFileError, match="cannot be read as safetensors"):
        load_network(saved)
    torch.save({"conv1.0.weight": Hostile(trace)}, saved / "net.safetensors")
    with pytest.raises(ModelFileError, match="cannot be read as safetensors"):
        load_network(saved)
    assert not trace.exists()


WIDE = [
    {"name": "FlowNetS", "width": 4.0, "image_channels": 64},
    {"name": "PyramidNetwork", "ndim": 3, "width": 8.0, "levels": 5, "radius": 8},
]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the memory that Linux tells")
@pytest.mark.parametrize("architecture", WIDE, ids=lambda each: each["name"])
def test_a_card_that_asks_for_gigabytes_gets_none(saved: Path, architecture: dict[str, object]) -> None:
    edit_card(saved, architecture=architecture)
    before = peak_memory(reset=True)
    with pytest.raises(ModelFileError, match="does not fit its card"):
        load_network(saved)
    assert peak_memory() - before < 100 << 20


@pytest.mark.parametrize(
    "architecture", [{"name": []}, {"name": {}}, {"name": 3}, {"name": "PyramidNetwork", "ndim": 10**30}]
)
def test_cards_of_no_network_are_refused(saved: Path, architecture: dict[str, object]) -> None:
    edit_card(saved, architecture=architecture)
    with pytest.raises(ModelFileError, match="describes no known network") as caught:
        load_network(saved)
    assert "\n" not in str(caught.value)


def test_packed_archives_of_torch_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1 << 22)}, tmp_path / "plain.pth")
    assert read_torch(tmp_path / "plain.pth")["a"].shape == (1 << 22,)
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert (tmp_path / "packed.pth").stat().st_size < 1 << 18
    with pytest.raises(ValueError, match="packed archive"):
        read_torch(tmp_path / "packed.pth")
    with pytest.raises(ModelFileError, match=r"packed\.pth cannot be read as weights: it is a packed archive"):
        load_flownet(tmp_path / "packed.pth")
