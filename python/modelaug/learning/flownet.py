"""FlowNet-S: a convolutional network that predicts the displacement between two images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from modelaug import _checks
from modelaug.learning.losses import multiscale_error
from modelaug.learning.network import SLOPE, RegistrationNetwork, initialize, uninitialized

if TYPE_CHECKING:
    from typing import Self

FLOW_UNIT: Final = 20.0
"""Full-resolution pixels per unit of the network's output, the same at every scale."""

SCALE_WEIGHTS: Final = (0.005, 0.01, 0.02, 0.08, 0.32)
"""Published weights of the scales 1/4 to 1/64."""

CHANNELS: Final = (64, 128, 256, 512, 512, 1024)
"""Published channels of the encoder's six levels."""

_DECODER: Final = (512, 256, 128, 64)
_SCALES: Final = (4, 8, 16, 32, 64)


def to_flownet(flow: Tensor) -> Tensor:
    """Convert displacements to the network's convention.

    Parameters
    ----------
    flow : Tensor, (..., 2, h, w)
        Pull displacement in full-resolution pixels, components in array-axis order (row, column).

    Returns
    -------
    Tensor, (..., 2, h, w)
        Components (x, y) = (column to the right, row downwards) in units of 20 pixels.
    """
    return flow.flip(-3) / FLOW_UNIT


def from_flownet(output: Tensor) -> Tensor:
    """Convert outputs of the network, at any scale, to displacements; the inverse of `to_flownet`.

    Parameters
    ----------
    output : Tensor, (..., 2, h, w)
        Components (x, y) = (column to the right, row downwards) in units of 20 full-resolution pixels.

    Returns
    -------
    Tensor, (..., 2, h, w)
        Pull displacement in full-resolution pixels, components in array-axis order (row, column).

    Examples
    --------
    >>> import torch
    >>> from modelaug.learning import from_flownet, to_flownet
    >>> flow = torch.tensor([1.0, 2.0]).reshape(2, 1, 1)  # a row down, two columns to the right
    >>> to_flownet(flow).flatten()
    tensor([0.1000, 0.0500])
    >>> from_flownet(to_flownet(flow)).flatten()
    tensor([1., 2.])
    """
    return output.flip(-3) * FLOW_UNIT


def multiscale_epe(
    outputs: Sequence[Tensor],
    flow: Tensor,
    weight: Tensor | None = None,
    *,
    scale_weights: Sequence[float] = SCALE_WEIGHTS,
    normalize: bool = False,
    average: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return FlowNet's training loss: `multiscale_error` of its five outputs, in its units of 20 pixels.

    Parameters
    ----------
    outputs : sequence of Tensor, (b, 2, h_s, w_s)
        (flow2, ..., flow6) in the network's convention, finest first.
    flow : Tensor, (b, 2, h, w)
        True displacement in pixels, components in array-axis order.
    weight : Tensor, (b, h, w), optional
        Confidence in the flow; 1 everywhere by default.
    scale_weights
        One number per output.
    normalize
        Divide by the sum of the weights instead of by the number of images. The published sums run over four times as
        many pixels at each finer scale: on images of 256 x 256 the default weights act on them like 4 : 2 : 1 : 1 : 1
        on means, so pass ``scale_weights=(4, 2, 1, 1, 1)`` to keep the balance.
    average
        As in `multiscale_error`.

    Returns
    -------
    Tensor, scalar float32
    """
    found = [from_flownet(each.float()) for each in outputs]
    scales = _SCALES[: len(found)]
    options: dict[str, Any] = {"scale_weights": scale_weights, "normalize": normalize, "average": average}
    return multiscale_error(found, flow, weight, scales=scales, **options) / FLOW_UNIT


class FlowNetS(RegistrationNetwork):
    """FlowNet-S, the "simple" network of Dosovitskiy et al., FlowNet (ICCV 2015), fig. 2.

    An encoder of ten convolutions over both images stacked, and a decoder that predicts the displacement at five scales
    from 1/64 to 1/4 of the resolution. Modules are named as in the published PyTorch weights, so that their keys and
    shapes agree.

    Parameters
    ----------
    image_channels
        Channels of each of the two images.
    width
        Factor on the number of channels of every hidden layer; 1 is the published network. At most 4.
    batch_norm
        Normalise over the batch after every convolution of the encoder, which then has no bias.
    decoder_bias
        Give the deconvolutions and the flow predictions biases, as in NVIDIA's and other variants; the upsampling of
        the flow never has any.
    seed
        Seed of the initial weights, see `initialize`.

    Examples
    --------
    >>> import torch
    >>> from modelaug.learning import FlowNetS, from_flownet
    >>> network = FlowNetS(width=0.125, seed=0)
    >>> images = torch.zeros(2, 2, 64, 96)  # 2 pairs: fixed and moving image as channels
    >>> [tuple(flow.shape[2:]) for flow in network.train()(images)]  # the scales of the loss
    [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    >>> with torch.no_grad():
    ...     flow = from_flownet(network.eval()(images))
    >>> flow.shape
    torch.Size([2, 2, 16, 24])
    >>> sum(p.numel() for p in FlowNetS(image_channels=3).parameters())
    38675536
    """

    ndim = 2
    unit = FLOW_UNIT
    scales = _SCALES
    scale_weights = SCALE_WEIGHTS
    normalize = False
    memory_format = torch.channels_last

    def __init__(
        self,
        *,
        image_channels: int = 1,
        width: float = 1.0,
        batch_norm: bool = False,
        decoder_bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.image_channels = _checks.integer("image_channels", image_channels, minimum=1, maximum=64)
        self.width = _checks.number("width", width, above=0.0, maximum=4.0)
        self.batch_norm = bool(batch_norm)
        self.decoder_bias = bias = bool(decoder_bias)
        # The order of the layers is that in which a seed draws their weights.
        encoder = [2 * self.image_channels, *self._channels(CHANNELS)]
        for level, inputs in enumerate(encoder[:-1], start=1):
            outputs, kernel = encoder[level], {1: 7, 2: 5, 3: 5}.get(level, 3)
            self.add_module(f"conv{level}", self._convolution(inputs, outputs, kernel=kernel, stride=2))
            if level > 2:
                self.add_module(f"conv{level}_1", self._convolution(outputs, outputs))
        decoder = dict(zip((5, 4, 3, 2), self._channels(_DECODER), strict=True))
        # The inputs of a level: features of the encoder, upsampled features, and the upsampled flow.
        joined = {6: encoder[6], **{level: encoder[level] + channels + 2 for level, channels in decoder.items()}}
        for level, channels in decoder.items():
            self.add_module(f"deconv{level}", _deconvolution(joined[level + 1], channels, bias=bias))
        for level, inputs in joined.items():
            self.add_module(f"predict_flow{level}", _flow_prediction(inputs, bias=bias))
        for level in decoder:
            self.add_module(f"upsampled_flow{level + 1}_to_{level}", _doubling(2, 2, bias=False))

        self.initialize(seed)

    @classmethod
    def for_images(cls, grid: Sequence[int], *, image_channels: int = 1, width: float | None = None) -> Self:
        """Return a new network, a quarter as wide as the published one by default; see `RegistrationNetwork`."""
        if len(grid) != 2:
            raise ValueError(f"images have shape {tuple(grid)} and FlowNetS is for the plane; use PyramidNetwork")
        return cls(image_channels=image_channels, width=0.25 if width is None else width)

    def _convolution(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
        convolution = uninitialized(
            nn.Conv2d, inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=not self.batch_norm
        )
        normalization = [nn.BatchNorm2d(outputs)] if self.batch_norm else []
        return nn.Sequential(convolution, *normalization, nn.LeakyReLU(SLOPE, inplace=True))

    def _channels(self, published: Sequence[int]) -> list[int]:
        """Return the channels of hidden layers by the network's width."""
        return [max(1, round(channels * self.width)) for channels in published]

    @property
    def learning_rate(self) -> float:  # type: ignore[override]
        """2e-3 up to half the published width, best of 1e-3, 2e-3 and 4e-3 at a quarter; the published 1e-4 beyond."""
        return 2e-3 if self.width <= 0.5 else 1e-4

    def initialize(self, seed: int) -> None:
        """Draw all weights again; see `initialize`."""
        initialize(self, seed)

    def displacements(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        """Predict displacements in pixels at all scales, in evaluation mode only at the finest."""
        outputs = self(torch.cat([fixed, moving], dim=1))
        return tuple(from_flownet(each.float()) for each in (outputs if self.training else (outputs,)))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Predict the displacement from the fixed to the moving image.

        Parameters
        ----------
        images : Tensor, (b, 2 * image_channels, h, w)
            Fixed and moving images stacked along the channels, intensities as `scale_intensity` leaves them. Any h and
            w; at multiples of 64 the cells of every scale are exact squares of pixels.

        Returns
        -------
        tuple of Tensor or Tensor
            In training mode (flow2, ..., flow6), where flow k is (b, 2, ~h / 2^k, ~w / 2^k); in evaluation mode flow2.
            In the network's convention, see `from_flownet`.
        """
        x, features = images, {}
        for level in range(1, 7):
            x = getattr(self, f"conv{level}")(x)
            if level > 2:
                x = getattr(self, f"conv{level}_1")(x)
            if level > 1:
                features[level] = x
        flows: list[Tensor] = []
        for level in (6, 5, 4, 3, 2):
            if flows:
                upsampled = getattr(self, f"upsampled_flow{level + 1}_to_{level}")(flows[0])
                x = _join(features[level], getattr(self, f"deconv{level}")(x), upsampled)
            flows.insert(0, getattr(self, f"predict_flow{level}")(x))
        return tuple(flows) if self.training else flows[0]


def _doubling(inputs: int, outputs: int, *, bias: bool) -> nn.ConvTranspose2d:
    return uninitialized(nn.ConvTranspose2d, inputs, outputs, 4, stride=2, padding=1, bias=bias)


def _deconvolution(inputs: int, outputs: int, *, bias: bool) -> nn.Sequential:
    return nn.Sequential(_doubling(inputs, outputs, bias=bias), nn.LeakyReLU(SLOPE, inplace=True))


def _flow_prediction(inputs: int, *, bias: bool) -> nn.Conv2d:
    return uninitialized(nn.Conv2d, inputs, 2, 3, padding=1, bias=bias)


def _join(skip: Tensor, features: Tensor, flow: Tensor) -> Tensor:
    """Concatenate along the channels, cropped to the encoder's features, as doubling exceeds an odd size by one."""
    h, w = skip.shape[-2:]
    return torch.cat((skip, features[..., :h, :w], flow[..., :h, :w]), dim=1)
