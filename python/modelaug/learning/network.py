"""The interface of registration networks for training, storage and registration."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from modelaug import _checks
from modelaug._checked import Checked
from modelaug.learning.intensity import scale_intensity
from modelaug.learning.sampling import upsample

if TYPE_CHECKING:
    from typing import Self

SLOPE: Final = 0.1
"""Slope of the leaky rectifiers of all networks, which scales their initial weights."""

_CONVOLUTIONS: Final = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_Module = TypeVar("_Module", bound=nn.Module)
_Network = TypeVar("_Network", bound="RegistrationNetwork")
_KNOWN: Final[dict[str, type[RegistrationNetwork]]] = {}


@dataclass(frozen=True)
class SeenImages(Checked):
    """Grid and spacing of the images that a network was trained on.

    Parameters
    ----------
    grid
        Shape of the images.
    spacing
        Millimetres per voxel along each axis, in array-axis order; None if unknown.
    """

    grid: Annotated[tuple[int, ...], _checks.grid_shape]
    spacing: Annotated[tuple[float, ...] | None, lambda name, value: value] = None  # checked below, where d is known

    def _check(self) -> None:
        if self.spacing is not None:
            lengths = _checks.spacing("spacing", self.spacing, len(self.grid))
            object.__setattr__(self, "spacing", tuple(lengths.tolist()))


class RegistrationNetwork(nn.Module, ABC):
    """A network that predicts the displacement between a fixed and a moving image.

    `load_network` finds a subclass by its name as soon as it is defined.

    Attributes
    ----------
    ndim
        Axes of the images, 2 or 3.
    image_channels
        Channels of each of the two images.
    unit
        Voxels per unit of displacement in the loss.
    scale_weights
        Default weights of the scales in the loss.
    normalize
        Whether the loss takes means over voxels rather than sums, by default.
    learning_rate
        Default rate for a few thousand steps from random weights.
    memory_format
        Of the weights in training on the CPU.
    seen
        Grid and spacing of the images it was trained on, if known.
    """

    ndim: int
    image_channels: int
    unit: float = 1.0
    scale_weights: tuple[float, ...]
    normalize: bool = True
    learning_rate: float = 1e-3
    memory_format: torch.memory_format = torch.contiguous_format
    seen: SeenImages | None = None

    name: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = cls.__name__
        _KNOWN[cls.__name__] = cls

    @classmethod
    @abstractmethod
    def for_images(cls, grid: Sequence[int], *, image_channels: int = 1, width: float | None = None) -> Self:
        """Return a new network for images of a shape.

        Parameters
        ----------
        grid
            Shape with two or three axes.
        image_channels
            Channels of each image.
        width
            Factor on the number of channels of the hidden layers; None means the recommended one.
        """

    @property
    def architecture(self) -> dict[str, Any]:
        """Arguments, as for JSON, that make a network of the same layers; by default all of the class but ``seed``."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if name != "seed"}

    @property
    @abstractmethod
    def scales(self) -> tuple[int, ...]:
        """Sides in voxels of the cells of `displacements`, the finest first."""

    @abstractmethod
    def displacements(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        """Predict the displacement that pulls moving images onto fixed ones, at several scales.

        Parameters
        ----------
        fixed, moving : Tensor, (b, image_channels, *grid)
            Intensities as `scale_intensity` leaves them.

        Returns
        -------
        tuple of Tensor, (b, ndim, *cells)
            In voxels of the images at every scale, components in array-axis order, the finest first; in evaluation mode
            perhaps only the finest. Cells are squares or cubes of voxels from the first row and column on, clipped at
            the far borders: ``ceil(n / scale)`` cells along an axis of n voxels.
        """

    @abstractmethod
    def initialize(self, seed: int) -> None:
        """Draw all weights again; the same seed gives the same weights. torch's global generator is not used."""

    def both_ways(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """Return the finest displacements from the fixed to the moving images, and back."""
        flows = self.displacements(torch.cat([fixed, moving]), torch.cat([moving, fixed]))[0]
        there, back = flows.chunk(2)
        return there, back

    def full_resolution(self, finest: Tensor, grid: Sequence[int]) -> Tensor:
        """Interpolate a displacement of the finest scale at every voxel of a grid, (b, ndim, *grid)."""
        return upsample(finest, self.scales[0], grid)

    def check_grid(self, grid: Sequence[int]) -> None:
        """Check that the network takes images of this shape, or raise ValueError with a remedy."""
        if len(grid) != self.ndim:
            raise ValueError(
                f"images have shape {tuple(grid)} and the network takes {self.ndim} axes; pass images in "
                f"{'the plane' if self.ndim == 2 else 'space'}, or a {len(grid)}D network"
            )

    def adapted(self, image_channels: int) -> Self:
        """Return the same network for images of another number of channels, see `adapt_channels`.

        By default the first convolution is adapted, which takes one image, or both stacked along the channels.
        """
        network = copy.deepcopy(self)
        convolution: Any = next(each for each in network.modules() if isinstance(each, _CONVOLUTIONS))
        images = convolution.in_channels // self.image_channels
        weight = _adapted_weight(convolution.weight, image_channels, images)
        convolution.weight = nn.Parameter(weight, requires_grad=convolution.weight.requires_grad)
        convolution.in_channels, network.image_channels = images * image_channels, image_channels
        return network


def adapt_channels(network: _Network, image_channels: int) -> _Network:
    """Return the same network for images of another number of channels.

    To one channel, the slices of the first convolution are summed over each image's channels: the new network treats a
    grey image as the old one treats the image repeated. From one channel to c, the slice is repeated and divided by c:
    the new network treats an image with c channels as the old one treats their mean. Both hold up to rounding.

    Parameters
    ----------
    network
        Not changed; the result has its device, type and mode.
    image_channels
        Channels of each of the two images.

    Raises
    ------
    TypeError, ValueError
        If the number is no number of channels, or if neither it nor the network's is 1.
    """
    return network.adapted(image_channels)


def known_network(name: str) -> type[RegistrationNetwork]:
    """Return the class of a network by its name; raise ValueError if there is none."""
    if name not in _KNOWN:
        raise ValueError(f"architecture is {name!r}; pass one of {', '.join(sorted(_KNOWN))}")
    return _KNOWN[name]


def architecture_of(network: RegistrationNetwork) -> dict[str, Any]:
    """Return the metadata of a network's architecture: its class's name and arguments."""
    return {"name": network.name, **network.architecture}


def initialize(network: nn.Module, seed: int) -> None:
    """Draw the weights of all convolutions, Kaiming normal for slope 0.1; set biases to 0, normalisation to identity.

    Parameters
    ----------
    network
        Changed in place.
    seed
        Non-negative; the same seed gives the same weights. torch's global generator is not used.
    """
    generator = torch.Generator().manual_seed(_checks.integer("seed", seed, minimum=0, maximum=2**63 - 1))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, _CONVOLUTIONS):
                # On the CPU, so that a seed gives the same weights on every device.
                weight = torch.empty(module.weight.shape)
                nn.init.kaiming_normal_(weight, a=SLOPE, generator=generator)
                module.weight.copy_(weight)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()


def uninitialized(kind: type[_Module], *args: Any, **options: Any) -> _Module:
    """Make a module without initial weights, without torch's global generator; on the meta device if set."""
    device = "meta" if torch.get_default_device().type == "meta" else "cpu"
    module: _Module = skip_init(kind, *args, device=device, **options)  # type: ignore[no-untyped-call]
    return module


def _adapted_weight(weight: Tensor, image_channels: int, images: int) -> Tensor:
    """Return the weight of a first convolution for images of another number of channels, as `adapt_channels` says.

    Parameters
    ----------
    weight : Tensor, (outputs, images * given, *kernel)
        Not changed.
    image_channels
        Of each image.
    images
        Number of images that are stacked along the channels.

    Returns
    -------
    Tensor, (outputs, images * image_channels, *kernel)
    """
    wanted = _checks.integer("image_channels", image_channels, minimum=1, maximum=64)
    given = weight.shape[1] // images
    if wanted == given:
        return weight.detach().clone()
    if 1 not in (given, wanted):
        raise ValueError(
            f"image_channels is {wanted} and the network takes {given}; pass 1 or {given}, or adapt it to 1 in between"
        )
    kernel = weight.shape[2:]
    slices = weight.detach().reshape(len(weight), images, given, *kernel).sum(2, keepdim=True) / wanted
    return slices.expand(-1, -1, wanted, *(-1 for _ in kernel)).flatten(1, 2).contiguous()


def network_input(
    fixed: Tensor,
    moving: Tensor,
    network: RegistrationNetwork,
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the input of a network: both images with scaled intensities, grey ones repeated to its channels.

    Parameters
    ----------
    fixed, moving : Tensor, (b, c, *grid)
        Intensities on any scale.
    network
        The network.
    change
        Function applied to both images after the scaling; none by default.

    Returns
    -------
    tuple of Tensor, (b, image_channels, *grid), float32
    """
    d, channels = network.ndim, network.image_channels
    if fixed.ndim != d + 2 or fixed.shape != moving.shape:
        raise ValueError(
            f"moving has shape {tuple(moving.shape)} and fixed {tuple(fixed.shape)}; pass both (b, c, *grid) with {d} "
            "axes of one grid"
        )
    if fixed.shape[1] not in (1, channels):
        raise ValueError(f"fixed has {fixed.shape[1]} channels but the network takes {channels}; pass grey images")
    scaled = scale_intensity(fixed, ndim=d), scale_intensity(moving, ndim=d)
    if change is not None:
        scaled = change(*scaled)
    first, second = (image.expand(-1, channels, *fixed.shape[2:]) for image in scaled)
    return first, second
