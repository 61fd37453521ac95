"""Normalization of intensities for a network, the same in training and in registration."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

GREY_MEAN: Final = 0.431
"""Mean grey value of the images FlowNet was published with, on the scale from 0 to 1."""

_TAIL: Final = 0.01
_LIMITS: Final = (-0.5, 1.5)


def scale_intensity(images: Tensor, *, ndim: int = 2) -> Tensor:
    """Map the bulk of each image's intensities to [0, 1] and subtract FlowNet's mean grey value.

    The 1st and 99th percentiles of each image and channel become 0 and 1, so that units, windowing and a few outliers
    do not matter; values beyond are clipped at half a range. If less than 1 % of the voxels differ from the rest, the
    extremes replace the percentiles. A constant channel becomes 0.

    Parameters
    ----------
    images : Tensor, (..., *grid)
        Intensities on any scale, finite.
    ndim
        Axes of the grid.

    Returns
    -------
    Tensor, (..., *grid), float32
        Between -0.931 and 1.069.
    """
    images = images.float()
    values = images.flatten(-ndim)
    # topk finds these order statistics several times faster than a sort or torch.quantile.
    count = 1 + int(_TAIL * values.shape[-1])
    low = values.topk(count, dim=-1, largest=False, sorted=False).values.amax(-1)
    high = values.topk(count, dim=-1, largest=True, sorted=False).values.amin(-1)
    degenerate = high <= low
    each = (..., *(None,) * ndim)
    low = torch.where(degenerate, values.amin(-1), low)[each]
    high = torch.where(degenerate, values.amax(-1), high)[each]
    spread = high - low
    scaled = ((images - low) / torch.where(spread > 0, spread, 1)).clamp(*_LIMITS) - GREY_MEAN
    return torch.where(spread > 0, scaled, 0)
