"""A network's files: weights in ``net.safetensors``, and metadata, its card, in ``net.json``."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load, save

from modelaug import _checks
from modelaug.io.files.archives import write_atomically
from modelaug.io.files.reading import ModelFileError, one_line, read_own_json, reading, refusing
from modelaug.learning.network import RegistrationNetwork, SeenImages, architecture_of, known_network

_FORMAT: Final = "modelaug network"
_VERSION: Final = 1
_OTHERWISE: Final = "is not the card of a network; pass the folder or weights that training wrote"
_WEIGHTS: Final = "net.safetensors"
_FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save_network(network: RegistrationNetwork, path: str | Path, card: Mapping[str, Any] | None = None) -> Path:
    """Write a network's weights and card, each under a temporary name until it is complete.

    Parameters
    ----------
    network
        The network, on any device.
    path
        A folder, which gets ``net.safetensors`` and ``net.json``; or a name that ends in ``.safetensors``, which gets a
        ``.json`` of the same stem next to it.
    card
        More metadata for the card, e.g. options and metrics; must be JSON. The architecture is always noted.

    Returns
    -------
    Path
        The file of weights.
    """
    if not isinstance(network, RegistrationNetwork):
        raise TypeError(f"network is {type(network).__name__}; pass a RegistrationNetwork")
    weights = weights_file(path)
    text = _card_text(network, card or {})  # before any file is written, as this may fail
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(weights, save(tensors))
    _write_text(weights, text)
    return weights


def write_card(network: RegistrationNetwork, path: str | Path, card: Mapping[str, Any]) -> None:
    """Write the card of a network whose weights are at `path` already; arguments as in `save_network`."""
    _write_text(weights_file(path), _card_text(network, card))


def _card_text(network: RegistrationNetwork, card: Mapping[str, Any]) -> str:
    header = {"format": _FORMAT, "version": _VERSION, "architecture": architecture_of(network)}
    if network.seen is not None:
        header["images"] = dataclasses.asdict(network.seen)
    return json.dumps({**header, **card, **header}, indent=2, allow_nan=False) + "\n"


def _write_text(weights: Path, text: str) -> None:
    write_atomically(weights.with_suffix(".json"), text.encode())


def read_card(path: str | Path) -> dict[str, Any]:
    """Read a network's card.

    Parameters
    ----------
    path
        As in `save_network`.

    Raises
    ------
    ModelFileError
        If the card is missing, is not the card of a network, or was written by a newer version.
    """
    weights = weights_file(path)
    file = weights.with_suffix(".json")
    if not (file.exists() or weights.exists()):
        place = weights.parent if weights.name == _WEIGHTS else weights
        raise ModelFileError(
            f"{place} holds no network ({file.name} is missing); pass the folder or the weights that training wrote"
        )
    if not file.exists():
        raise ModelFileError(f"{file} does not exist; keep the card beside the weights, or check the path")
    card = read_own_json(file, format=_FORMAT, version=_VERSION, otherwise=_OTHERWISE)
    if not isinstance(card.get("architecture"), dict):
        raise ModelFileError(f"{file} {_OTHERWISE}")
    return card


def load_network(path: str | Path) -> RegistrationNetwork:
    """Read a network that `save_network` or training wrote.

    Parameters
    ----------
    path
        The folder, or the ``.safetensors`` file with its ``.json`` next to it.

    Returns
    -------
    RegistrationNetwork
        On the CPU, in evaluation mode; its ``seen`` has the grid of its training, if the card does.

    Raises
    ------
    ModelFileError
        If a file is missing, truncated, of another kind, or does not fit the architecture on its card. Nothing is
        unpickled.
    """
    weights = weights_file(path)
    card = read_card(weights)
    architecture = dict(card["architecture"])
    describes = "describes no known network"
    with refusing(weights.with_suffix(".json"), describes, "copy it again, or update modelaug"), torch.device("meta"):
        # Without memory, as the card may state more than the weights hold.
        network = known_network(architecture.pop("name", None))(**architecture)
        if card.get("images") is not None:
            seen = SeenImages(**card["images"])
            network.check_grid(seen.grid)
            network.seen = seen
    with reading(weights, "safetensors", "copy it again"):
        tensors = load(weights.read_bytes())
    misfit = _misfit(network.state_dict(), tensors)
    if misfit:
        raise ModelFileError(f"{weights} does not fit its card: {misfit}; pass weights and card of one network")
    network.to_empty(device="cpu")
    network.load_state_dict(tensors)
    # After the conversion, as double precision may overflow.
    broken = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ModelFileError(f"{weights} holds values that are not finite in {broken[0]}; train again")
    return network.eval()


def read_torch(path: str | Path) -> Any:
    """Read a file by ``torch.save`` that holds tensors and plain values; nothing else is unpickled.

    Raises
    ------
    ValueError
        If it holds anything else, is compressed, or is damaged; with the reason in one line.
    """
    with open(path, "rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:  # torch compresses nothing, and decompresses without bounds
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ValueError("it is a packed archive")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats; their content is checked
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything for damaged files
        raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Return the reason of an error in one line, without torch's advice to unpickle the file."""
    text = one_line(error)
    alien = re.search(r"Unsupported (?:global|class|type)\w*:? (?:GLOBAL )?(\S+)", text)
    if alien:
        return f"it asks for {alien[1]}, and only tensors and plain values are unpickled"
    text = text.split("WeightsUnpickler error: ")[-1].split(" Check the documentation")[0]
    return re.split(r"(?<=\w)\. ", text)[0].rstrip(".")[:200]


def _misfit(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str:
    """Describe the first tensor that is missing, superfluous, or of the wrong shape; empty if there is none."""
    for name in (*wanted, *given):
        if name not in given:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} is not part of the architecture"
        if wanted[name].is_floating_point() and given[name].dtype not in _FLOATS:
            return f"{name} is of type {str(given[name].dtype).removeprefix('torch.')}, not of floating point"
        if wanted[name].shape != given[name].shape:
            return f"{name} has shape {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
    return ""


def weights_file(path: str | Path) -> Path:
    """Return the file of weights for a path as in `save_network`."""
    path = _checks.path("path", path)
    return path if path.suffix == ".safetensors" else path / _WEIGHTS
