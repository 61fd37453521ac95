"""Checks of the images and masks that every registration takes."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Image
from modelaug.transforms.fields import check_field

_MOST_COLOURS: Final = 4
_FLAT: Final = 3
"""Ratio of width to planes beyond which a volume may as well be a plane with channels."""
_LARGEST: Final = 1e15
_FAR: Final = 2.0**10
"""Offset, in multiples of an image's range, beyond which float32 resolves fewer than about 10,000 intensities."""


def number_of_axes(
    image: npt.ArrayLike, *, ndim: int | None, spacing: npt.ArrayLike | None = None, mask: npt.ArrayLike | None = None
) -> int:
    """Return the number of axes of an image's grid: `ndim`, or that of the spacing or of the mask.

    Without them, three axes are a plane with channels if the first has at most 4 entries, and a volume otherwise. A
    volume that is more than 3 times as wide as it has planes is ambiguous and refused.

    Raises
    ------
    TypeError, ValueError
        If `ndim` is not 2 or 3, spacing or mask have other dimensions, or the image is ambiguous.
    """
    if ndim is not None:
        return _checks.integer("ndim", ndim, minimum=2, maximum=3)
    if spacing is not None and np.size(spacing) > 1:
        d = np.size(spacing)
        return len(_checks.spacing("spacing", spacing, d if d in (2, 3) else 3))
    if mask is not None:
        return _checks.finite("mask", mask, ndim=(2, 3), dtype=np.float32).ndim
    shape = np.shape(image)
    if len(shape) != 3:
        return 3 if len(shape) > 3 else 2
    first, *others = shape
    if first <= _MOST_COLOURS:
        return 2
    if _FLAT * first < min(others):
        raise ValueError(
            f"fixed has shape {shape}, a plane with {first} channels or a volume of {first} planes; pass ndim=2 or 3"
        )
    return 3


def image_channels(name: str, image: npt.ArrayLike, d: int) -> Image:
    """Return an image (*grid) or (c, *grid) on a grid of d axes as channels (c, *grid); refuse a constant one.

    A channel whose offset is so large that float32 would round its contrast away is shifted to 0.
    """
    exact = isinstance(image, np.ndarray) and np.can_cast(image.dtype, np.float32)
    array = _checks.finite(name, image, ndim=(d, d + 1), dtype=np.float32 if exact else np.float64)
    channels = array[None] if array.ndim == d else array
    if not exact:
        axes = tuple(range(1, d + 1))
        low, high = (limit(axis=axes, keepdims=True) for limit in (channels.min, channels.max))
        with np.errstate(over="ignore"):
            far = np.maximum(-low, high) > _FAR * (high - low)
        channels = channels - np.where(far & (high > low), low, 0)
    flat = channels.reshape(len(channels), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    if (low == high).all():
        raise ValueError(f"{name} is constant ({channels.flat[0]:g}); pass an image with contrast")
    largest = float(max(-low.min(), high.max()))
    if largest > _LARGEST:  # squares would overflow
        raise ValueError(
            f"{name} holds intensities up to {largest:g}; divide them, so that they are below {_LARGEST:g}"
        )
    return np.asarray(channels, np.float32)


def gradients(image: Image) -> Image:
    """Return the derivatives (d, c, *grid) of an image (c, *grid); 0 along an axis with a single voxel."""
    axes = range(1, image.ndim)
    return np.stack([np.gradient(image, axis=k) if image.shape[k] > 1 else np.zeros_like(image) for k in axes])


def mask_weights(name: str, mask: npt.ArrayLike, grid: tuple[int, ...]) -> Image:
    """Return a mask as float32 weights (*grid) from 0 to 1."""
    weights = _checks.finite(name, mask, ndim=(2, 3), dtype=np.float32)
    if weights.shape != grid:
        raise ValueError(f"{name} has shape {weights.shape}; pass weights from 0 to 1 on the image's grid {grid}")
    if weights.min() < 0 or weights.max() > 1:
        raise ValueError(f"{name} holds {weights.min():g} to {weights.max():g}; pass weights from 0 to 1")
    return weights


def images_on_one_grid(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    mask: npt.ArrayLike | None,
    initial: npt.ArrayLike | None,
    ndim: int | None,
) -> tuple[Image, Image, Image | None, Image | None]:
    """Return two images (c, *grid), a mask (*grid) and a displacement (d, *grid), checked to share one grid."""
    start = None if initial is None else check_field("initial", initial)
    d = number_of_axes(fixed, ndim=ndim if start is None or ndim is not None else len(start), mask=mask)
    target, source = image_channels("fixed", fixed, d), image_channels("moving", moving, d)
    if target.shape != source.shape:
        raise ValueError(
            f"moving has shape {np.shape(moving)} and fixed {np.shape(fixed)}; resample them to one grid, same channels"
        )
    grid = target.shape[1:]
    if start is not None and start.shape[1:] != grid:
        raise ValueError(f"initial has shape {start.shape}; pass a displacement on the images' grid {grid}")
    return target, source, None if mask is None else mask_weights("mask", mask, grid), start
