"""Registration of images by a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from modelaug import _checks
from modelaug.fields import compose, invert
from modelaug.learning.network import RegistrationNetwork, network_input
from modelaug.resizing import resize_field, resize_image
from modelaug.warping import warp

__all__ = ["estimate_flow", "network_input", "register"]


def register(
    network: RegistrationNetwork,
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    grid: Sequence[int] | None = None,
    passes: int = 1,
    symmetric: bool = False,
) -> npt.NDArray[np.float32]:
    """Estimate the displacement that pulls a moving image onto a fixed one.

    Intensities are scaled as in training (`scale_intensity`). By default the images are neither resampled nor padded,
    whatever their size: from their first row and column on, each pixel of the output covers a square of 4 x 4 of
    theirs, as in training.

    Parameters
    ----------
    network
        Runs where its weights are, in evaluation mode, and is left as it was.
    fixed, moving : array_like, (h, w) or (c, h, w)
        Images of the same shape, any size and intensity range. Grey images are repeated for a network that takes
        colour.
    grid
        Rows and columns at which the network sees the images: those it was trained at, if the images have others; the
        displacement is brought back to their own grid. By default it sees them as they are.
    passes
        How often the network is applied: every time after the first to the moving image warped by what was found so
        far, the displacements being composed.
    symmetric
        Register both ways in every pass and take the mean of the displacement and of the inverse of its counterpart.

    Returns
    -------
    ndarray, (2, h, w), float32
        Pull displacement in pixels on the fixed grid, components in array-axis order: ``fixed(x) ~ moving(x + u(x))``.

    Raises
    ------
    TypeError, ValueError
        If an image holds no finite numbers or is constant, if shapes or channels do not fit, or an option is out of
        range.
    """
    count = _checks.integer("passes", passes, minimum=1)
    d = network.ndim
    images = []
    for name, image in (("fixed", fixed), ("moving", moving)):
        array = _checks.finite(name, image, ndim=(d, d + 1), dtype=np.float32)
        channels = array if array.ndim == d + 1 else array[None]
        flat = channels.reshape(len(channels), -1)
        if (flat.min(axis=1) == flat.max(axis=1)).all():
            raise ValueError(f"{name} is constant ({channels.flat[0]:g}); pass an image with contrast")
        images.append(channels)
    if images[0].shape != images[1].shape:
        raise ValueError(
            f"moving has shape {np.shape(moving)} and fixed {np.shape(fixed)}; resample them to one grid, same channels"
        )
    own = images[0].shape[1:]
    if grid is not None:
        images = [resize_image(image, _checks.grid_shape("grid", grid, axes=d)) for image in images]
    field = _estimate(network, images[0], images[1], symmetric)
    for _ in range(count - 1):
        warped = warp(images[1], field, threads=1)
        field = compose(field, _estimate(network, images[0], warped, symmetric), threads=1)
    return resize_field(field, own)


def _estimate(
    network: RegistrationNetwork, fixed: npt.NDArray[np.float32], moving: npt.NDArray[np.float32], symmetric: bool
) -> npt.NDArray[np.float32]:
    """Estimate the displacement (2, h, w) of images (c, h, w), the mean of both ways if `symmetric`."""
    there, back = (np.stack(pair) for pair in ((fixed, moving), (moving, fixed)))
    count = 2 if symmetric else 1
    batch = (torch.from_numpy(images[:count]) for images in (there, back))
    flows: npt.NDArray[np.float32] = estimate_flow(network, *batch).cpu().numpy()
    if not symmetric:
        return np.asarray(flows[0])
    return np.asarray((flows[0] + invert(flows[1], threads=1)) / 2, np.float32)


def estimate_flow(network: RegistrationNetwork, fixed: Tensor, moving: Tensor) -> Tensor:
    """Estimate displacements for a batch of image pairs, without gradients.

    Parameters
    ----------
    network
        Runs where its weights are, in evaluation mode, and is left as it was.
    fixed, moving : Tensor, (b, c, h, w)
        Intensities on any scale, on any device.

    Returns
    -------
    Tensor, (b, 2, h, w), float32
        Pull displacement in pixels on the fixed grid, components in array-axis order, on the network's device.

    Raises
    ------
    ValueError
        If the shapes or the number of channels do not fit.
    """
    weight = next(network.parameters())
    grid = fixed.shape[2:]
    with torch.no_grad(), _evaluating(network):
        images = network_input(fixed.to(weight.device), moving.to(weight.device), network)
        output = network.displacements(*(image.to(weight.dtype) for image in images))[0]
        return network.full_resolution(output.float(), grid).contiguous()


@contextmanager
def _evaluating(network: torch.nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
