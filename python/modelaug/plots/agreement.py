"""Plots of the agreement of two images: checkerboard and difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from modelaug import _checks
from modelaug.plots.figures import new_axes, show_pixels

Image = npt.NDArray[np.floating[Any]]


def scaled_channel(image: Image) -> Image:
    """Scale an image (h, w), or the first channel of one (c, h, w), to [0, 1] by its 0.5 and 99.5 percentiles."""
    channel = image if image.ndim == 2 else image[0]
    low, high = np.percentile(channel, (0.5, 99.5))
    return np.asarray(np.clip((channel - low) / (high - low if high > low else 1.0), 0, 1))


def checkerboard(fixed: npt.ArrayLike, moving: npt.ArrayLike, *, tiles: int = 8) -> npt.NDArray[np.float32]:
    """Return a checkerboard of two images, each scaled to its own range, with the fixed image in the upper left corner.

    Parameters
    ----------
    fixed, moving : array_like, (h, w) or (c, h, w)
        Of the same size; only the first channel is used.
    tiles
        Squares along the longer side, at most one per pixel.

    Returns
    -------
    ndarray, (h, w), float32
        Between 0 and 1.
    """
    first, second = (scaled_channel(image) for image in _two_images(fixed, moving))
    side = max(1, round(max(first.shape) / _checks.integer("tiles", tiles, minimum=1)))
    rows, columns = np.indices(first.shape) // side
    return np.where((rows + columns) % 2 == 0, first, second).astype(np.float32)


def plot_checkerboard(fixed: npt.ArrayLike, moving: npt.ArrayLike, *, tiles: int = 8, ax: Axes | None = None) -> Axes:
    """Plot a checkerboard of two images: where they agree, contours continue across its edges.

    Parameters
    ----------
    fixed, moving, tiles
        As in `checkerboard`; to see a registration, pass the moving image warped.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
    """
    squares = checkerboard(fixed, moving, tiles=tiles)
    return show_pixels(ax or new_axes(), squares, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def difference_limit(fixed: npt.ArrayLike, moving: npt.ArrayLike) -> float:
    """Return the 99.5 percentile of the absolute difference of two images; 1 if it is 0."""
    first, second = _two_images(fixed, moving)
    return float(np.percentile(np.abs(_difference(first, second)), 99.5)) or 1.0


def plot_image_difference(
    fixed: npt.ArrayLike, moving: npt.ArrayLike, *, limit: float | None = None, ax: Axes | None = None
) -> Axes:
    """Plot fixed minus moving: grey where they agree, white where the fixed image is brighter, black where darker.

    Parameters
    ----------
    fixed, moving : array_like, (h, w) or (c, h, w)
        Of the same size; only the first channel is used. To see a registration, pass the moving image warped.
    limit
        Difference shown as white; by default `difference_limit`. Pass the same value to compare two plots.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
    """
    first, second = _two_images(fixed, moving)
    scale = difference_limit(first, second) if limit is None else _checks.number("limit", limit, above=0.0)
    style: dict[str, Any] = {"cmap": "gray", "vmin": -scale, "vmax": scale, "interpolation": "nearest"}
    return show_pixels(ax or new_axes(), _difference(first, second), **style)


def _difference(first: Image, second: Image) -> Image:
    a, b = (image if image.ndim == 2 else image[0] for image in (first, second))
    return np.asarray(a - b)


def _two_images(fixed: npt.ArrayLike, moving: npt.ArrayLike) -> tuple[Image, Image]:
    first, second = (
        _checks.finite(name, x, ndim=(2, 3), dtype=np.float32) for name, x in (("fixed", fixed), ("moving", moving))
    )
    if first.shape[-2:] != second.shape[-2:]:
        raise ValueError(f"moving is {second.shape[-2:]} but fixed is {first.shape[-2:]}; pass images of the same size")
    return first, second
