"""Public weights of FlowNet-S: variants of their files, units of their flow, channels of their images.

Weights published for FlowNet-S were trained on natural colour images, values from 0 to 1 less the mean of each colour
(0.411, 0.432 and 0.450 from blue to red; some projects subtract each pair's own mean instead). Differences here:

- Grey images are equivalent to three equal colours, for weights in RGB and BGR alike, and `load_flownet` sums the three
  channels into one, which is exact. For colour images the order matters; most weights expect RGB, those converted from
  Caffe BGR.
- `scale_intensity` maps the bulk of each image's intensities to 0 to 1 and subtracts 0.431, the mean of the three
  means. The colours' own means differ by at most 0.02, a constant that fine-tuning compensates.
- The displacement is `FLOW_UNIT` times the output at every scale, whatever unit (``div_flow``) the weights were trained
  for.

These weights know no medical images: `train` starts from them. Their licences are those of their authors.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor

from modelaug import _checks
from modelaug.io.files.reading import ModelFileError, one_line, reading
from modelaug.learning.flownet import CHANNELS, FLOW_UNIT, FlowNetS
from modelaug.learning.network import adapt_channels
from modelaug.learning.storage import read_torch

_LOG = logging.getLogger("modelaug.learning")

_ENCODER: Final = {f"conv{level}": channels for level, channels in enumerate(CHANNELS, start=1)}
"""Channels of the published encoder, which determine a file's width."""

_ANCHOR: Final = "predict_flow6.weight"
_COLOURS: Final = 3


def load_flownet(path: str | Path, *, image_channels: int = 1) -> FlowNetS:
    """Read public weights of FlowNet-S.

    Reads the names of FlowNetPytorch, NVIDIA's flownet2-pytorch and ptlflow: with or without batch normalisation, with
    or without biases in the decoder, a dictionary with ``state_dict`` and perhaps ``div_flow``, or the weights alone,
    their names perhaps after a prefix such as ``module.``; by ``torch.save`` in its old and new format, or as
    ``.safetensors``. Networks of reduced width are recognised by their shapes. The variant is logged to
    ``logging.getLogger("modelaug.learning")``.

    If ``div_flow``, the pixels per unit of output that the weights were trained for, is not 20, they are rescaled to
    it. The input is an image from `scale_intensity`; see the module's notes.

    Parameters
    ----------
    path
        A file ``.safetensors``, or a file by ``torch.save`` with any other name. `load_network` reads files that
        `save_network` or training wrote.
    image_channels
        Channels of each image for the network, see `adapt_channels`.

    Returns
    -------
    FlowNetS
        float32 on the CPU, in evaluation mode.

    Raises
    ------
    ModelFileError
        If the file is missing, truncated, of another kind or another network, or holds values that are not finite.
        Nothing but tensors and plain values is unpickled.
    ValueError
        If the file's network cannot take so many channels.
    """
    channels = _checks.integer("image_channels", image_channels, minimum=1, maximum=64)
    state, div_flow = _read(Path(path))
    try:
        tensors, prefix = _bare_names(state)
        _check_tensors(tensors)
        network = _network_of(tensors)
        unit = _unit(div_flow)
    except ValueError as error:
        raise ModelFileError(f"{path} {error}") from None
    found = network.image_channels
    if found not in (1, _COLOURS, channels):
        raise ModelFileError(
            f"{path} takes {2 * found} channels, which is not a pair of grey or colour images (a refining stage of "
            f"FlowNet2, perhaps); pass other weights, or image_channels={found}"
        )
    network.load_state_dict(tensors)
    _rescale_output(network, unit / FLOW_UNIT)
    broken = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ModelFileError(f"{path} holds values that are not finite in {broken[0]}; pass other weights")
    _LOG.info(
        "%s: FlowNetS %s, width %g, %d channels per image%s%s%s",
        path,
        _variant(network.batch_norm, network.decoder_bias),
        network.width,
        found,
        "" if found == channels else f" adapted to {channels}",
        "" if unit == FLOW_UNIT else f", weights rescaled from units of {unit:g} pixels to {FLOW_UNIT:g}",
        f", names without {prefix!r}" if prefix else "",
    )
    return (network if found == channels else adapt_channels(network, channels)).eval()


def _read(path: Path) -> tuple[Mapping[Any, Any], Any]:
    """Return the named tensors of a file, unchecked, and its ``div_flow``."""
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder; pass the file of weights, or use load_network")
    with reading(path, "weights", "check the file"), path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise ModelFileError(f"{path} is a pointer of Git LFS, not the weights; run git lfs pull")
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise ModelFileError(f"{path} is a web page, not the weights; download the file itself")
    try:
        return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except Exception as error:  # damage makes the parsers raise nearly anything
        remedy = "save its state_dict alone" if "unpickled" in str(error) else "download or save it again"
        raise ModelFileError(f"{path} cannot be read as weights: {one_line(error)[:300]}; {remedy}") from None


def _read_safetensors(path: Path) -> tuple[Mapping[Any, Any], Any]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {}).get("div_flow")  # noqa: SIM118


def _read_torch(path: Path) -> tuple[Mapping[Any, Any], Any]:
    content = read_torch(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not named tensors")
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        raise ValueError(f"its state_dict is a {type(state).__name__}, not named tensors")
    options = content.get("hyper_parameters")
    noted = options.get("div_flow") if isinstance(options, Mapping) else None
    return state, content.get("div_flow", noted)


def _bare_names(state: Mapping[Any, Any]) -> tuple[dict[str, Any], str]:
    """Remove the prefix of wrappers from the names of all tensors; return them and the prefix."""
    alien = [name for name in state if not isinstance(name, str)]
    if alien:
        raise ValueError(f"holds the key {alien[0]!r}, which is no name; pass the weights of FlowNetS")
    prefixes = sorted(name.removesuffix(_ANCHOR) for name in state if name.endswith(_ANCHOR))
    if not prefixes:
        some = f"but {next(iter(state))!r}" if state else "and nothing else"
        raise ValueError(f"holds no {_ANCHOR} {some}; pass the weights of FlowNetS, named as in FlowNetPytorch")
    if len(prefixes) > 1:
        raise ValueError(f"holds several networks ({', '.join(map(repr, prefixes))}); pass the weights of one FlowNetS")
    prefix = prefixes[0]
    alien = [name for name in state if not name.startswith(prefix)]
    if alien:
        raise ValueError(f"holds {alien[0]} beside {prefix}{_ANCHOR}; pass the weights of FlowNetS alone")
    return {name.removeprefix(prefix): value for name, value in state.items()}, prefix


def _check_tensors(tensors: dict[str, Any]) -> None:
    """Check that all are plain, complete tensors of floats; convert them to float32 in place."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"holds {name}, which is a {type(tensor).__name__}; pass the weights of FlowNetS alone")
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise ValueError(f"holds {name} in no plain form (sparse, quantised or empty); pass plain float weights")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size() or 0 in tensor.shape:
            raise ValueError(f"holds {name} with fewer values than its shape {tuple(tensor.shape)}; download it again")
        if name.endswith("num_batches_tracked"):
            continue
        if not tensor.is_floating_point():
            raise ValueError(f"holds {name} of {tensor.dtype}; pass float weights")
        tensors[name] = tensor.detach().float()
        if name.endswith("running_var") and (tensors[name] < 0).any():
            raise ValueError(f"holds negative variances in {name}; pass other weights")


def _network_of(tensors: dict[str, Tensor]) -> FlowNetS:
    """Make the network of these names and shapes; add counters of batches, which old files lack, as 0."""
    batch_norm = any(re.fullmatch(r"conv\w+\.1\.\w+", name) for name in tensors)
    bias = any(re.fullmatch(r"(deconv\d\.0|predict_flow\d)\.bias", name) for name in tensors)
    variant = _variant(batch_norm, bias)
    with torch.device("meta"):
        names = FlowNetS(width=0.01, batch_norm=batch_norm, decoder_bias=bias).state_dict()
    alien = [name for name in tensors if name not in names]
    if alien:
        raise ValueError(f"holds {alien[0]}, which is no part of FlowNetS {variant}; pass the weights of FlowNetS")
    for name in names:
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, torch.tensor(0))
        if name not in tensors:
            statistics = name.endswith(("running_mean", "running_var"))
            remedy = "save the whole state_dict, not the parameters alone" if statistics else "pass complete weights"
            raise ValueError(f"lacks {name} of FlowNetS {variant}; {remedy}")
    for name in _ENCODER:
        shape = tuple(tensors[f"{name}.0.weight"].shape)
        if len(shape) != 4:
            raise ValueError(f"holds {name}.0.weight of shape {shape}, not that of a convolution; pass other weights")
    inputs = tensors["conv1.0.weight"].shape[1]
    if inputs % 2 or inputs > 128:
        raise ValueError(f"takes {inputs} channels, which are not those of two images; pass the weights of FlowNetS")
    width = _width({name: len(tensors[f"{name}.0.weight"]) for name in _ENCODER})
    with torch.device("meta"):  # without memory: some layers may promise more than the others hold
        network = FlowNetS(image_channels=inputs // 2, width=width, batch_norm=batch_norm, decoder_bias=bias)
    for name, wanted in network.state_dict().items():
        given = tensors[name].shape
        if given != wanted.shape:
            raise ValueError(
                f"holds {name} of shape {tuple(given)}, not {tuple(wanted.shape)} as in FlowNetS {variant}, width "
                f"{width:g}; pass complete weights of one network"
            )
    return network.to_empty(device="cpu")


def _variant(batch_norm: bool, decoder_bias: bool) -> str:
    norm, biases = ("with" if each else "without" for each in (batch_norm, decoder_bias))
    return f"{norm} batch norm and {biases} decoder biases"


def _width(channels: Mapping[str, int]) -> float:
    """Return the roundest factor on the published channels that rounds to the given ones."""
    # The factors that round to a count are an interval; for the count 1 it reaches down to 0.
    low = max((count - 0.5) / _ENCODER[name] if count > 1 else 0.0 for name, count in channels.items())
    high = min((count + 0.5) / _ENCODER[name] for name, count in channels.items())
    high = min(high, 4.0 + 1e-9)
    if low >= high:
        counts = ", ".join(map(str, channels.values()))
        raise ValueError(
            f"has layers of {counts} channels, not {{64, 128, 256, 512, 512, 1024}} times one width up to 4"
        )
    candidates = (round((low + high) / 2, digits) for digits in range(17))
    return next(width for width in candidates if low < width < high)


def _unit(div_flow: Any) -> float:
    """Return the pixels per unit of output that a file states in any form, or the published 20."""
    if div_flow is None:
        return FLOW_UNIT
    try:
        if isinstance(div_flow, str):
            div_flow = float(div_flow)
        elif isinstance(div_flow, Tensor):
            div_flow = div_flow.item()
        return _checks.number("div_flow", div_flow, minimum=1e-4, maximum=1e4)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"says that div_flow is {str(div_flow)[:60]!r}; set a number between 0.0001 and 10000"
        ) from None


@torch.no_grad()
def _rescale_output(network: FlowNetS, factor: float) -> None:
    """Multiply the flow that a network predicts at every scale by a factor, and change nothing else.

    The flow of a scale is also an input of the next finer one, through a linear upsampling without bias; dividing its
    weights by the factor keeps all features.
    """
    for name, parameter in network.named_parameters():
        if name.startswith("predict_flow"):
            parameter.mul_(factor)
        elif name.startswith("upsampled_flow"):
            parameter.div_(factor)
