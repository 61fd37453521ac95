"""Losses of displacements in 2D and 3D, by the true flow, or by the images and labels that they align."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d, pad

from modelaug.learning.sampling import window

_TINY = 1e-6


def multiscale_error(
    displacements: Sequence[Tensor],
    flow: Tensor,
    weight: Tensor | None = None,
    *,
    scales: Sequence[int],
    scale_weights: Sequence[float],
    normalize: bool = True,
    average: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""Return the weighted end-point error of displacements, summed over several scales.

    The flow and the weight map are averaged over the area of each of a scale's cells, squares or cubes of voxels that
    are cut off at the image's far borders, and the loss is

    .. math:: \sum_s \frac{a_s}{b} \sum_x w_s(x) \, \lVert u_s(x) - f_s(x) \rVert_2

    with a_s the scale's weight and b the number of images. Its gradient is 0 where the error is.

    Parameters
    ----------
    displacements : sequence of Tensor, (b, d, *cells)
        In voxels of the images, components in array-axis order, as in `RegistrationNetwork.displacements`.
    flow : Tensor, (b, d, *grid)
        True displacement in voxels, components in array-axis order.
    weight : Tensor, (b, *grid), optional
        Confidence in the flow; 1 everywhere by default.
    scales
        Side in voxels of the cells of each displacement.
    scale_weights
        a_s, one per scale.
    normalize
        Divide the inner sum by the sum of the weights :math:`\sum_x w_s(x)` over the batch instead of by b.
    average
        Function of this batch's sum of the weights that returns the divisor of `normalize`: in distributed training,
        the mean over the processes, so that the mean of their losses is the loss of the whole batch.

    Returns
    -------
    Tensor, scalar float32
    """
    if not len(scale_weights) == len(displacements) == len(scales):
        raise ValueError(
            f"scale_weights holds {len(scale_weights)} numbers for {len(displacements)} outputs; pass as many"
        )
    _check_flow(flow, weight)
    target = flow.float()
    confidence = torch.ones_like(target[:, :1]) if weight is None else weight.float()[:, None]
    loss = target.new_zeros(())
    for level, (side, factor, output) in enumerate(zip(scales, scale_weights, displacements, strict=True)):
        expected = average_cells(target, side)
        if output.shape != expected.shape:
            raise ValueError(
                f"outputs[{level}] has shape {tuple(output.shape)}, not {tuple(expected.shape)}; pass what the network "
                f"makes of images of the size of flow, {tuple(flow.shape)}, finest first"
            )
        # vector_norm's gradient at 0 is 0, unlike that of the square root of a sum of squares.
        error = torch.linalg.vector_norm(output.float() - expected, dim=1, keepdim=True)
        share = average_cells(confidence, side)
        loss = loss + factor * (share * error).sum() / (_mass(share, average) if normalize else len(output))
    return loss


def _mass(share: Tensor, average: Callable[[Tensor], Tensor] | None) -> Tensor:
    mass = share.sum()
    return (mass if average is None else average(mass)).clamp_min(torch.finfo(share.dtype).tiny)


def average_cells(values: Tensor, side: int) -> Tensor:
    """Average over cells of `side` voxels from the first row and column on, the cells of networks' outputs.

    Parameters
    ----------
    values : Tensor, (b, c, *grid)
        2D or 3D, any size; cells at the far borders average over fewer voxels.
    side
        Side of a cell in voxels.

    Returns
    -------
    Tensor, (b, c, *cells)
        ``ceil(n / side)`` cells along an axis of n voxels.
    """
    pool = avg_pool2d if values.ndim == 4 else avg_pool3d
    # In space a pooling kernel must not be larger than the image.
    cells: Tensor = pool(values, [min(side, n) for n in values.shape[2:]], stride=side, ceil_mode=True)
    return cells


def end_point_error(estimate: Tensor, flow: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean distance between estimated and true displacement in voxels.

    Parameters
    ----------
    estimate, flow : Tensor, (b, d, *grid)
        Displacements in voxels, components in the same order.
    weight : Tensor, (b, *grid), optional
        Weight of each voxel in the mean; 1 everywhere by default.

    Returns
    -------
    Tensor, scalar
        0 if the weight is 0 everywhere.
    """
    _check_flow(flow, weight)
    if estimate.shape != flow.shape:
        raise ValueError(f"estimate has shape {tuple(estimate.shape)}; pass that of flow, {tuple(flow.shape)}")
    error = torch.linalg.vector_norm(estimate - flow, dim=1)
    share = torch.ones_like(error) if weight is None else weight
    mean: Tensor = (share * error).sum() / share.sum().clamp_min(torch.finfo(share.dtype).tiny)
    return mean


def _check_flow(flow: Tensor, weight: Tensor | None) -> None:
    d = flow.ndim - 2
    if d not in (2, 3) or flow.shape[1] != d:
        raise ValueError(f"flow has shape {tuple(flow.shape)}; pass (b, d, *grid), e.g. (b, 2, h, w)")
    if weight is not None and weight.shape != (len(flow), *flow.shape[2:]):
        raise ValueError(f"weight has shape {tuple(weight.shape)} for flow {tuple(flow.shape)}; pass (b, *grid)")


def soft_dice(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 minus the mean soft Dice overlap of structures with memberships between 0 and 1.

    ``2 |A B| / (|A| + |B|)`` for each structure of each image, with sums over voxels; structures absent from both
    images of a pair do not count. Milletari, Navab, Ahmadi: V-Net (3DV 2016), with plain sums as denominator.

    Parameters
    ----------
    a, b : Tensor, (b, k, *grid)
        Memberships of k structures.

    Returns
    -------
    Tensor, scalar
        0 if there is no structure at all.
    """
    axes = tuple(range(2, a.ndim))
    both, either = (a * b).sum(axes), a.sum(axes) + b.sum(axes)
    present = either > _TINY
    overlap = torch.where(present, 2 * both / either.clamp_min(_TINY), 0)
    count = present.sum()
    return torch.where(count > 0, 1 - overlap.sum() / count.clamp_min(1), 0)


def mean_squares(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of images of one shape."""
    return (a - b).square().mean()


def local_correlation(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """Return 1 minus the mean squared correlation of images within windows around each voxel.

    Parameters
    ----------
    a, b : Tensor, (b, c, *grid)
        2D or 3D, any range of intensities; a window in which an image is constant counts as uncorrelated.
    radius
        Of the windows, squares or cubes of ``2 * radius + 1`` voxels that end at the image's border.

    Returns
    -------
    Tensor, scalar
        Between 0 and 1. Avants, Epstein, Grossman, Gee: Symmetric diffeomorphic image registration with
        cross-correlation (Medical Image Analysis 2008), sec. 2.3.
    """
    sums = _window_means(torch.cat([a, b, a * a, b * b, a * b], dim=1), radius)
    mean_a, mean_b, square_a, square_b, product = sums.chunk(5, dim=1)
    variance_a = (square_a - mean_a.square()).clamp_min(0)
    variance_b = (square_b - mean_b.square()).clamp_min(0)
    covariance = product - mean_a * mean_b
    # 1e-5 is far below the contrast of images scaled to 0 to 1, and far above rounding.
    return 1 - (covariance.square() / (variance_a * variance_b + 1e-5)).mean()


def _window_means(values: Tensor, radius: int) -> Tensor:
    """Return the means over windows clipped at the border, axis by axis."""
    d = values.ndim - 2
    pool = avg_pool2d if d == 2 else avg_pool3d
    width = 2 * radius + 1
    for axis, n in enumerate(values.shape[2:]):
        around = [0] * (2 * d)
        around[2 * (d - 1 - axis)] = around[2 * (d - 1 - axis) + 1] = radius
        means = pool(pad(values, around), [width if k == axis else 1 for k in range(d)], stride=1)
        at = torch.arange(n, device=values.device)
        inside = (at + radius).clamp_max(n - 1) - (at - radius).clamp_min(0) + 1
        share = (inside / width).to(values.dtype).reshape([n if k == axis else 1 for k in range(d)])
        values = means / share
    return values


def diffusion(displacement: Tensor) -> Tensor:
    """Return the mean squared gradient of a displacement, by differences of neighbouring voxels.

    Parameters
    ----------
    displacement : Tensor, (b, d, *grid)
        In voxels.

    Returns
    -------
    Tensor, scalar
        Sum over axes and components; an axis of one voxel has no gradient.
    """
    total = displacement.new_zeros(())
    for axis in range(2, displacement.ndim):
        if displacement.shape[axis] > 1:
            total = total + displacement.diff(dim=axis).square().sum(1).mean()
    return total


def fold_penalty(displacement: Tensor, least: float = 0.1) -> Tensor:
    """Return the mean over voxels of the shortfall of the Jacobian determinant of x + u(x) below a least value.

    Parameters
    ----------
    displacement : Tensor, (b, d, *grid)
        In voxels, components in array-axis order.
    least
        Smallest determinant without penalty.

    Returns
    -------
    Tensor, scalar
        Determinants are by forward differences, at all voxels that have a next neighbour along every axis; an axis of
        one voxel is left out.
    """
    grid = displacement.shape[2:]
    axes = [k for k, n in enumerate(grid) if n > 1]
    if not axes:
        return displacement.new_zeros(())
    inside = [n - 1 if n > 1 else n for n in grid]
    columns = [window(displacement.diff(dim=2 + k), [0] * len(grid), inside)[:, axes] for k in axes]
    matrix = torch.stack(columns, dim=-1).movedim(1, -2)  # (b, *inside, component, axis)
    determinant: Tensor = torch.linalg.det(matrix + torch.eye(len(axes), device=matrix.device, dtype=matrix.dtype))
    return (least - determinant).clamp_min(0).mean()
