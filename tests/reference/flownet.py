"""FlowNet-S from the table of its layers: weights with the published names, and what a network of them computes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]

CONVOLUTIONS = {  # name: (inputs, outputs, kernel, stride)
    "conv1": (6, 64, 7, 2),
    "conv2": (64, 128, 5, 2),
    "conv3": (128, 256, 5, 2),
    "conv3_1": (256, 256, 3, 1),
    "conv4": (256, 512, 3, 2),
    "conv4_1": (512, 512, 3, 1),
    "conv5": (512, 512, 3, 2),
    "conv5_1": (512, 512, 3, 1),
    "conv6": (512, 1024, 3, 2),
    "conv6_1": (1024, 1024, 3, 1),
}
SEEN = {6: 1024, 5: 1024, 4: 768, 3: 384, 2: 192}  # channels of features that the decoder sees at a scale, without flow
UPSAMPLED = {5: 512, 4: 256, 3: 128, 2: 64}
SHARE = 32  # the tests' networks have a 32nd of the published channels


def published(*, batch_norm: bool = False, bias: bool = False, seed: int = 0, colours: int = 3) -> State:
    """Draw weights with the published names, and the published shapes but for the width."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def draw(name: str, shape: tuple[int, ...], inputs: int) -> None:
        state[name] = torch.randn(shape, generator=generator) * (2 / inputs) ** 0.5

    for name, (inputs, outputs, kernel, _) in CONVOLUTIONS.items():
        a, b = 2 * colours if name == "conv1" else inputs // SHARE, outputs // SHARE
        draw(f"{name}.0.weight", (b, a, kernel, kernel), a * kernel**2)
        if batch_norm:
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"{name}.1.{part}"] = 0.5 + torch.rand(b, generator=generator)
            state[f"{name}.1.num_batches_tracked"] = torch.tensor(1000)
        else:
            draw(f"{name}.0.bias", (b,), 20)
    for scale, features in SEEN.items():
        inputs = features // SHARE + (0 if scale == 6 else 2)
        draw(f"predict_flow{scale}.weight", (2, inputs, 3, 3), 9 * inputs)
        if bias:
            draw(f"predict_flow{scale}.bias", (2,), 2)
        if scale > 2:
            outputs = UPSAMPLED[scale - 1] // SHARE
            draw(f"deconv{scale - 1}.0.weight", (inputs, outputs, 4, 4), 4 * inputs)
            if bias:
                draw(f"deconv{scale - 1}.0.bias", (outputs,), 2)
            draw(f"upsampled_flow{scale}_to_{scale - 1}.weight", (2, 2, 4, 4), 8)
    return state


def reference(state: State, images: Tensor) -> list[Tensor]:
    """Compute (flow2, ..., flow6) from the weights alone, in double precision; sides must be multiples of 64."""
    weights = {name: tensor.double() for name, tensor in state.items()}
    x, skips = images.double(), {}
    for name, (_, _, kernel, stride) in CONVOLUTIONS.items():
        bias = weights.get(f"{name}.0.bias")
        x = functional.conv2d(x, weights[f"{name}.0.weight"], bias, stride=stride, padding=kernel // 2)
        if f"{name}.1.weight" in weights:
            scale, shift, mean, variance = (
                weights[f"{name}.1.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
            )
            x = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
        x = torch.where(x > 0, x, 0.1 * x)
        skips[int(name[4])] = x
    flows = []
    for level in (6, 5, 4, 3, 2):
        bias = weights.get(f"predict_flow{level}.bias")
        flow = functional.conv2d(x, weights[f"predict_flow{level}.weight"], bias, padding=1)
        flows.insert(0, flow)
        if level > 2:
            name = f"deconv{level - 1}.0"
            up = functional.conv_transpose2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), 2, 1)
            up = torch.where(up > 0, up, 0.1 * up)
            coarse = functional.conv_transpose2d(
                flow, weights[f"upsampled_flow{level}_to_{level - 1}.weight"], None, 2, 1
            )
            x = torch.cat((skips[level - 1], up, coarse), dim=1)
    return flows
