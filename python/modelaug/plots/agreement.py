"""Do two images agree? As a checkerboard of both, and as their difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from modelaug import _checks
from modelaug.plots.figures import frame_axes, new_axes

Image = npt.NDArray[np.floating[Any]]


def scaled_channel(image: Image) -> Image:
    """Return an image (h, w), or the first channel of one (c, h, w), between 0 and 1.

    All but the darkest and brightest half percent lie between.
    """
    channel = image if image.ndim == 2 else image[0]
    low, high = np.percentile(channel, (0.5, 99.5))
    return np.asarray(np.clip((channel - low) / (high - low if high > low else 1.0), 0, 1))


def checkerboard(fixed: npt.ArrayLike, moving: npt.ArrayLike, *, tiles: int = 8) -> npt.NDArray[np.float32]:
    """Return squares of two images in turn, each scaled to its own range, the fixed one's in the upper left corner.

    Parameters
    ----------
    fixed, moving : array_like, (h, w) or (c, h, w)
        Of the same size; the first channel counts.
    tiles
        Squares along the longer side; as many as there are pixels at most.

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
    """Show squares of two images in turn: where the images agree, contours go on across the edges.

    Parameters
    ----------
    fixed, moving, tiles
        As of `checkerboard`; to see a registration, pass the moving image warped.
    ax
        Where to draw; new axes if None.

    Returns
    -------
    Axes
    """
    squares = checkerboard(fixed, moving, tiles=tiles)
    axes = ax or new_axes()
    axes.imshow(squares, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    frame_axes(axes, squares.shape)
    return axes


def difference_limit(fixed: npt.ArrayLike, moving: npt.ArrayLike) -> float:
    """Return the size that all but half a percent of the differences of two images do not exceed; 1 if it is 0."""
    first, second = _two_images(fixed, moving)
    return float(np.percentile(np.abs(_difference(first, second)), 99.5)) or 1.0


def plot_image_difference(
    fixed: npt.ArrayLike, moving: npt.ArrayLike, *, limit: float | None = None, ax: Axes | None = None
) -> Axes:
    """Show fixed minus moving: grey where they agree, white where the fixed image is brighter, black where darker.

    Parameters
    ----------
    fixed, moving : array_like, (h, w) or (c, h, w)
        Of the same size; the first channel counts. To see a registration, pass the moving image warped.
    limit
        Difference that becomes white; by default `difference_limit`. Pass the same to compare two pictures.
    ax
        Where to draw; new axes if None.

    Returns
    -------
    Axes
    """
    first, second = _two_images(fixed, moving)
    scale = difference_limit(first, second) if limit is None else _checks.number("limit", limit, above=0.0)
    difference = _difference(first, second)
    axes = ax or new_axes()
    axes.imshow(difference, cmap="gray", vmin=-scale, vmax=scale, interpolation="nearest")
    frame_axes(axes, difference.shape)
    return axes


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
