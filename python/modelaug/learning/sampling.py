"""Differentiable warping, composition and upsampling of batches in torch, like `modelaug.warp`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def voxel_grid(grid: Sequence[int], like: Tensor) -> Tensor:
    """Return the coordinates of a grid's voxels, (1, d, *grid), of the type and on the device of `like`."""
    axes = [torch.arange(n, device=like.device, dtype=like.dtype) for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample_at(images: Tensor, points: Tensor) -> Tensor:
    """Interpolate images linearly at points; beyond the outermost voxels' centres the border is continued.

    Parameters
    ----------
    images : Tensor, (b, c, *grid)
        2D or 3D.
    points : Tensor, (b, d, *out_grid)
        Voxels, components in array-axis order.

    Returns
    -------
    Tensor, (b, c, *out_grid)
        Float32 even if either argument is less precise.
    """
    grid = images.shape[2:]
    # grid_sample wants (x, y[, z]), where -1 and 1 are the outer edges of the first and last voxel.
    scaled = torch.stack([(points[:, k] * 2 + 1) / grid[k] - 1 for k in reversed(range(len(grid)))], dim=-1)
    sampled: Tensor = grid_sample(images.to(scaled.dtype), scaled, padding_mode="border", align_corners=False)
    return sampled


def warp_images(images: Tensor, displacement: Tensor) -> Tensor:
    """Pull images through displacements, ``out(x) = image(x + u(x))``, see `sample_at`.

    Parameters
    ----------
    images : Tensor, (b, c, *grid)
        2D or 3D.
    displacement : Tensor, (b, d, *grid)
        In voxels, components in array-axis order.

    Returns
    -------
    Tensor, (b, c, *grid)
    """
    field = displacement.float()
    return sample_at(images, voxel_grid(field.shape[2:], field) + field)


def compose_fields(u: Tensor, v: Tensor) -> Tensor:
    """Return ``w(x) = v(x) + u(x + v(x))``: to warp by u and then by v is to warp once by w.

    Parameters
    ----------
    u, v : Tensor, (b, d, *grid)
        Displacements in voxels, components in array-axis order.

    Returns
    -------
    Tensor, (b, d, *grid), float32
    """
    return v.float() + warp_images(u.float(), v)


def integrate(velocity: Tensor, squarings: int) -> Tensor:
    """Return the exponential of a stationary velocity field as a displacement, by scaling and squaring.

    Parameters
    ----------
    velocity : Tensor, (b, d, *grid)
        In voxels per unit of time.
    squarings
        Number of squarings, from the displacement of the time ``2^-squarings``.

    Returns
    -------
    Tensor, (b, d, *grid), float32
    """
    displacement = velocity.float() * 0.5**squarings
    for _ in range(squarings):
        displacement = compose_fields(displacement, displacement)
    return displacement


def upsample(values: Tensor, factor: int, grid: Sequence[int]) -> Tensor:
    """Interpolate values of cells linearly at the voxels, or smaller cells, that they consist of.

    Parameters
    ----------
    values : Tensor, (b, c, *cells)
        2D or 3D.
    factor
        Side of a cell. Edges of cells and voxels coincide, from the first on, not their centres.
    grid
        Shape to return; at most `factor` times the shape of the cells.

    Returns
    -------
    Tensor, (b, c, *grid)
        Linear between the cells' centres.
    """
    if factor == 1:
        return values
    mode = _MODES[values.ndim - 2]
    fine: Tensor = interpolate(values, scale_factor=factor, mode=mode, align_corners=False)
    return window(fine, [0] * len(grid), grid)


def window(values: Tensor, start: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return the part (..., *shape) of values (..., *grid) from a first voxel on, as a view."""
    part: tuple[Any, ...] = (..., *(slice(s, s + n) for s, n in zip(start, shape, strict=True)))
    return values[part]
