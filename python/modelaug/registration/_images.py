"""Checks of the images and masks that every registration takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.fields import check_field

__all__ = ["checked_contrast", "image_channels", "images_on_one_grid", "mask_weights", "number_of_axes"]

Image = npt.NDArray[np.float32]

_FEW = 4
_LARGEST = 1e15


def number_of_axes(image: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> int:
    """Return the number of axes of an image's grid, that of the mask if there is one.

    Without it, three axes are a volume unless the first is short.
    """
    if mask is not None:
        return _checks.finite("mask", mask, ndim=(2, 3), dtype=np.float32).ndim
    shape = np.shape(image)
    with_channels = len(shape) == 4 or (len(shape) == 3 and shape[0] <= _FEW)
    return min(max(len(shape) - with_channels, 2), 3)


def image_channels(name: str, image: npt.ArrayLike, d: int) -> Image:
    """Return an image (*grid) or (c, *grid) of d axes as channels (c, *grid), with contrast."""
    array = _checks.finite(name, image, ndim=(d, d + 1), dtype=np.float32)
    return checked_contrast(name, array[None] if array.ndim == d else array)


def checked_contrast(name: str, channels: Image) -> Image:
    """Return channels (c, *grid) of which one at least is not constant, and none so large that squares overflow."""
    flat = channels.reshape(len(channels), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    if (low == high).all():
        raise ValueError(f"{name} is constant ({channels.flat[0]:g}); pass an image with contrast")
    largest = float(max(-low.min(), high.max()))
    if largest > _LARGEST:
        raise ValueError(
            f"{name} holds intensities up to {largest:g}; divide them, so that they are below {_LARGEST:g}"
        )
    return channels


def mask_weights(name: str, mask: npt.ArrayLike, grid: tuple[int, ...]) -> Image:
    """Return a mask as weights (*grid) from 0 to 1."""
    weights = _checks.finite(name, mask, ndim=(2, 3), dtype=np.float32)
    if weights.shape != grid:
        raise ValueError(f"{name} has shape {weights.shape}; pass weights from 0 to 1 on the image's grid {grid}")
    if weights.min() < 0 or weights.max() > 1:
        raise ValueError(f"{name} holds {weights.min():g} to {weights.max():g}; pass weights from 0 to 1")
    return weights


def images_on_one_grid(
    fixed: npt.ArrayLike, moving: npt.ArrayLike, mask: npt.ArrayLike | None, initial: npt.ArrayLike | None
) -> tuple[Image, Image, Image | None, Image | None]:
    """Return two images (c, *grid), a mask (*grid) and a displacement (d, *grid), if they are on one grid."""
    start = None if initial is None else check_field("initial", initial)
    d = number_of_axes(fixed, mask) if start is None else len(start)
    target, source = image_channels("fixed", fixed, d), image_channels("moving", moving, d)
    if target.shape != source.shape:
        raise ValueError(
            f"moving has shape {np.shape(moving)} and fixed {np.shape(fixed)}; resample them to one grid, same channels"
        )
    grid = target.shape[1:]
    if start is not None and start.shape[1:] != grid:
        raise ValueError(f"initial has shape {start.shape}; pass a displacement on the images' grid {grid}")
    return target, source, None if mask is None else mask_weights("mask", mask, grid), start
