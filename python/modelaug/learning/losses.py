"""End-point errors: the training loss at five scales, and the error in pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from modelaug.learning.flownet import to_flownet

__all__ = ["FINEST", "SCALE_WEIGHTS", "average_cells", "end_point_error", "multiscale_epe"]

SCALE_WEIGHTS: Final = (0.005, 0.01, 0.02, 0.08, 0.32)
"""Published weights of the scales 1/4 to 1/64."""

FINEST: Final = 4
"""Side in pixels of a cell of the finest scale; each coarser one doubles it."""


def multiscale_epe(
    outputs: Sequence[Tensor],
    flow: Tensor,
    weight: Tensor | None = None,
    *,
    scale_weights: Sequence[float] = SCALE_WEIGHTS,
    normalize: bool = False,
    average: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""Return the weighted end-point error of a network's outputs, summed over its scales.

    The flow and the weight map are averaged over the area of each of an output's pixels, a square of 4, 8, ..., 64
    pixels cut off at the image's lower and right borders, and the loss is

    .. math:: \sum_s \frac{a_s}{b} \sum_x w_s(x) \, \lVert o_s(x) - f_s(x) \rVert_2

    with a_s the scale's weight and b the number of images, in the network's units of 20 pixels, as in the published
    training of FlowNet. Its gradient is 0 where the error is.

    Parameters
    ----------
    outputs : sequence of Tensor, (b, 2, h_s, w_s)
        (flow2, ..., flow6) in the network's convention, finest first.
    flow : Tensor, (b, 2, h, w)
        True displacement in pixels, components in array-axis order.
    weight : Tensor, (b, h, w), optional
        Confidence in the flow; 1 everywhere by default.
    scale_weights
        a_s, as many as outputs.
    normalize
        Divide the inner sum by the sum of the weights :math:`\sum_x w_s(x)` over the batch instead of by b. The
        published sums run over four times as many pixels at each finer scale: on images of 256 x 256 the default
        weights act on them like 4 : 2 : 1 : 1 : 1 on means, so pass ``scale_weights=(4, 2, 1, 1, 1)`` to keep the
        balance.
    average
        Given this batch's sum of the weights by which `normalize` divides, returns what to divide by instead: where
        processes train together, the mean over them, so that the mean of their losses is that of one batch.

    Returns
    -------
    Tensor, scalar float32

    Raises
    ------
    ValueError
        If shapes or the number of scale weights do not fit.
    """
    if len(scale_weights) != len(outputs):
        raise ValueError(f"scale_weights holds {len(scale_weights)} numbers for {len(outputs)} outputs; pass as many")
    _check_flow(flow, weight)
    target = to_flownet(flow.float())
    confidence = torch.ones_like(target[:, :1]) if weight is None else weight.float()[:, None]
    loss = target.new_zeros(())
    for level, (factor, output) in enumerate(zip(scale_weights, outputs, strict=True)):
        expected = average_cells(target, FINEST << level)
        if output.shape != expected.shape:
            raise ValueError(
                f"outputs[{level}] has shape {tuple(output.shape)}, not {tuple(expected.shape)}; pass what the network "
                f"makes of images of the size of flow, {tuple(flow.shape)}, finest first"
            )
        # vector_norm's gradient at 0 is 0, unlike that of the square root of a sum of squares.
        error = torch.linalg.vector_norm(output.float() - expected, dim=1, keepdim=True)
        share = average_cells(confidence, FINEST << level)
        loss = loss + factor * (share * error).sum() / (_mass(share, average) if normalize else len(output))
    return loss


def _mass(share: Tensor, average: Callable[[Tensor], Tensor] | None) -> Tensor:
    mass = share.sum()
    return (mass if average is None else average(mass)).clamp_min(torch.finfo(share.dtype).tiny)


def average_cells(values: Tensor, side: int) -> Tensor:
    """Average over square cells of `side` pixels from the first row and column on, as the network's outputs lie.

    Parameters
    ----------
    values : Tensor, (b, c, h, w)
        Any h and w; the cells at the far borders average the pixels they have.
    side
        Side of a cell in pixels.

    Returns
    -------
    Tensor, (b, c, ceil(h / side), ceil(w / side))
    """
    cells: Tensor = avg_pool2d(values, side, ceil_mode=True)
    return cells


def end_point_error(estimate: Tensor, flow: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean distance between estimated and true displacement in pixels.

    Parameters
    ----------
    estimate, flow : Tensor, (b, 2, h, w)
        Displacements in pixels, components in the same order.
    weight : Tensor, (b, h, w), optional
        Weight of each pixel in the mean; 1 everywhere by default.

    Returns
    -------
    Tensor, scalar
        0 if the weight is 0 everywhere.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    _check_flow(flow, weight)
    if estimate.shape != flow.shape:
        raise ValueError(f"estimate has shape {tuple(estimate.shape)}; pass that of flow, {tuple(flow.shape)}")
    error = torch.linalg.vector_norm(estimate - flow, dim=1)
    share = torch.ones_like(error) if weight is None else weight
    mean: Tensor = (share * error).sum() / share.sum().clamp_min(torch.finfo(share.dtype).tiny)
    return mean


def _check_flow(flow: Tensor, weight: Tensor | None) -> None:
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise ValueError(f"flow has shape {tuple(flow.shape)}; pass (b, 2, h, w)")
    if weight is not None and weight.shape != (len(flow), *flow.shape[2:]):
        raise ValueError(f"weight has shape {tuple(weight.shape)} for flow {tuple(flow.shape)}; pass (b, h, w)")
