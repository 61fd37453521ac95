"""Registration of images by a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from modelaug import _checks
from modelaug._arrays import Field, Image
from modelaug.data.geometry import Geometry, voxels_apart
from modelaug.learning.frames import Frame, overlay, pulled
from modelaug.learning.network import RegistrationNetwork, network_input
from modelaug.registration._images import image_channels
from modelaug.registration.refinement import refine as refine_displacement
from modelaug.registration.variational import VariationalOptions
from modelaug.transforms.fields import check_field, compose, invert
from modelaug.transforms.warping import warp


def register(
    network: RegistrationNetwork,
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    grid: Sequence[int] | None = None,
    passes: int = 1,
    symmetric: bool = False,
    refine: VariationalOptions | bool | None = None,
    mask: npt.ArrayLike | None = None,
    geometry: Geometry | None = None,
    moving_geometry: Geometry | None = None,
    initial: npt.ArrayLike | None = None,
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Estimate the displacement that pulls a moving image onto a fixed one, by a network.

    Both images are resampled to the grid of the network's training, and to its spacing if known; the displacement is
    resampled to the fixed image's own grid. Intensities are scaled as in training (`scale_intensity`).

    Parameters
    ----------
    network
        Runs on the device of its weights, in evaluation mode, and is left as it was.
    fixed, moving : array_like, (*grid) or (c, *grid)
        Images in 2D or 3D, as the network takes them, of any size and intensity range. Grey images are repeated for a
        network that takes colour. Without geometries they have the same shape.
    grid
        Shape at which the network sees the images; by default the grid of its training, or if that is unknown the
        images' own.
    passes
        Number of applications of the network, each after the first to the moving image warped by the current
        displacement; the displacements are composed.
    symmetric
        Register both ways in every pass and return the mean of the displacement and the inverse of its counterpart.
    refine
        Refine the displacement by `modelaug.registration.refine`, with these options; its own if True.
    mask : array_like, (*grid), optional
        Weights from 0 to 1 on the fixed grid for `refine`.
    geometry, moving_geometry
        Of the two images; the moving image's is the fixed one's by default. With them the network's voxels have the
        spacing of its training, and the two images may have different grids.
    initial : array_like, (d, *grid), optional
        Initial displacement, such as from `modelaug.registration.register_affine`; by default the images' positions in
        space.
    threads
        Threads outside the network; None means all cores. The result does not depend on it.

    Returns
    -------
    ndarray, (d, *grid), float32
        Pull displacement in voxels on the fixed grid, components in array-axis order: ``fixed(x) ~ moving(x + u(x))``,
        where x is a voxel of the fixed image and x + u(x) one of the moving image, also if their grids differ.
        `modelaug.warp` and `modelaug.io.write_field` take it as it is.

    Raises
    ------
    TypeError, ValueError
        If an image holds no finite numbers or is constant, if shapes, channels or geometries do not fit, or an option
        is out of range.
    """
    if not isinstance(network, RegistrationNetwork):
        raise TypeError(f"network is {type(network).__name__}; pass a RegistrationNetwork, e.g. load_network(path)")
    if not isinstance(symmetric, (bool, np.bool_)):
        raise TypeError(f"symmetric is {symmetric!r}; pass True or False")
    if mask is not None and not refine:
        raise ValueError("mask is given without refine, which alone asks for it; pass refine=True, or no mask")
    count, threads = _checks.integer("passes", passes, minimum=1), _checks.thread_count(threads)
    d = network.ndim
    target, source = (image_channels(name, each, d) for name, each in (("fixed", fixed), ("moving", moving)))
    own = target.shape[1:]
    shape = None if grid is None else _checks.grid_shape("grid", grid, axes=d)
    start = _start(target, source, geometry, moving_geometry, initial)
    if start is not None:
        source = _shown(source, *start, threads)
    frame = Frame.of(own, network.seen, shape, geometry)
    network.check_grid(frame.grid)
    images = frame.see(target), frame.see(source)
    field = _estimate(network, *images, symmetric, threads)
    for _ in range(count - 1):
        warped = warp(images[1], field, threads=threads)
        field = compose(field, _estimate(network, images[0], warped, symmetric, threads), threads=threads)
    field = frame.bring_back(field)
    if refine:
        options = None if refine is True else refine
        field = refine_displacement(target, source, field, options=options, mask=mask, threads=threads)
    return field if start is None else _after(start[0], field, threads)


def _start(
    fixed: Image,
    moving: Image,
    geometry: Geometry | None,
    moving_geometry: Geometry | None,
    initial: npt.ArrayLike | None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64] | None] | None:
    """Return the initial displacement, if any, and the moving voxels per fixed one along each axis, if known."""
    own, d = fixed.shape[1:], fixed.ndim - 1
    _check_geometries(geometry, moving_geometry, d)
    if len(fixed) != len(moving):
        raise ValueError(f"moving has {len(moving)} channels and fixed {len(fixed)}; pass images of the same channels")
    if initial is None and (moving_geometry is None or _coincide(fixed, moving, geometry, moving_geometry)):
        if fixed.shape != moving.shape:
            raise ValueError(
                f"moving has shape {moving.shape[1:]} and fixed {own}; resample them to one grid, or pass geometries"
            )
        return None
    steps, displacement = None, np.zeros(0)
    if geometry is not None and moving_geometry is not None:
        displacement, steps = overlay(own, geometry, moving.shape[1:], moving_geometry, check=initial is None)
    if initial is not None:
        displacement = check_field("initial", initial).astype(np.float64)
        if displacement.shape[1:] != own:
            raise ValueError(f"initial has shape {displacement.shape}; pass a displacement on the fixed grid {own}")
    return displacement, steps


def _check_geometries(geometry: Geometry | None, moving_geometry: Geometry | None, d: int) -> None:
    for name, each in (("geometry", geometry), ("moving_geometry", moving_geometry)):
        if each is not None and len(_checks.instance(name, each, Geometry, "a Geometry, or None").spacing) != d:
            raise ValueError(f"{name} has {len(each.spacing)} axes and the images {d}; pass that of the image's grid")
    if moving_geometry is not None and geometry is None:
        raise ValueError("moving_geometry is given without geometry; pass both")


def _coincide(fixed: Image, moving: Image, geometry: Geometry | None, moving_geometry: Geometry | None) -> bool:
    """Return whether both images lie on one grid in space, up to the precision of files."""
    if geometry is None or moving_geometry is None or fixed.shape != moving.shape:
        return False
    return voxels_apart(fixed.shape[1:], geometry, moving_geometry) < 1e-3


def _shown(image: Image, displacement: npt.NDArray[Any], steps: npt.NDArray[np.float64] | None, threads: int) -> Image:
    """Pull an image to the fixed grid, smoothed first along axes where the fixed voxels are larger."""
    shown = pulled(image, displacement, steps, threads)
    flat = shown.reshape(len(shown), -1)
    if (flat.min(axis=1) == flat.max(axis=1)).all():
        raise ValueError(
            "moving shows nothing where fixed lies; register them affinely first, or check their origins and directions"
        )
    return shown


def _after(first: npt.NDArray[Any], second: Field, threads: int) -> Field:
    """Return the composition ``second(x) + first(x + second(x))``, with `first` extrapolated linearly."""
    margin = int(np.ceil(np.abs(second).max())) + 1
    extended = np.pad(first, [(0, 0), *[(margin, margin)] * (first.ndim - 1)], mode="reflect", reflect_type="odd")
    return np.asarray(second + warp(extended, second + np.float32(margin), threads=threads), np.float32)


def _estimate(network: RegistrationNetwork, fixed: Image, moving: Image, symmetric: bool, threads: int) -> Field:
    """Estimate the displacement (d, *grid) of images (c, *grid), the mean of both ways if `symmetric`."""
    batch = [torch.from_numpy(image[None]) for image in (fixed, moving)]
    ways: list[Field] = [u[0].cpu().numpy() for u in _infer(network, *batch, both_ways=symmetric)]
    if not symmetric:
        return ways[0]
    there, back = ways
    return np.asarray((there + invert(back, threads=threads)) / 2, np.float32)


def estimate_flow(network: RegistrationNetwork, fixed: Tensor, moving: Tensor) -> Tensor:
    """Estimate displacements for a batch of image pairs, without gradients.

    Parameters
    ----------
    network
        Runs on the device of its weights, in evaluation mode, and is left as it was.
    fixed, moving : Tensor, (b, c, *grid)
        Intensities on any scale, on any device.

    Returns
    -------
    Tensor, (b, d, *grid), float32
        Pull displacement in voxels on the fixed grid, components in array-axis order, on the network's device.
    """
    for name, each in (("fixed", fixed), ("moving", moving)):
        if not torch.isfinite(each).all():
            raise ValueError(f"{name} holds values that are not finite; remove or replace them")
    return _infer(network, fixed, moving)[0]


def _infer(
    network: RegistrationNetwork, fixed: Tensor, moving: Tensor, *, both_ways: bool = False
) -> tuple[Tensor, ...]:
    """Return the displacements at all voxels, without gradients, in evaluation mode; the network is left as it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            weight = next(network.parameters())
            images = network_input(fixed.to(weight.device), moving.to(weight.device), network)
            images = images[0].to(weight.dtype), images[1].to(weight.dtype)
            finest = network.both_ways(*images) if both_ways else network.displacements(*images)[:1]
            return tuple(network.full_resolution(u.float(), fixed.shape[2:]).contiguous() for u in finest)
    finally:
        for module, training in modes:
            module.training = training
