"""Augmentation of pairs on the device they are trained on: one rule for geometry, and changes of intensity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from modelaug import _checks
from modelaug._random import generator
from modelaug.learning.intensity import GREY_MEAN

__all__ = ["AffineRanges", "AugmentOptions", "draw_maps", "transform_pairs", "vary_intensity"]

_MAP_STREAM: Final = 0xA06  # of random numbers; no source of pairs uses it
_INTENSITY_STREAM: Final = 0xA07
_NOISE_STREAM: Final = 0xA08  # and one more for the moving image
_SLACK: Final = 1e-3
"""In pixels: how far beyond the outermost pixels' centres a point still counts as inside, for rounding."""

Matrices = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AffineRanges:
    """How far an image is moved at most, each number drawn uniformly from minus to plus its range.

    Parameters
    ----------
    translation
        As a share of the image's size, along each axis.
    rotation
        In degrees, in the plane of the pixels.
    zoom
        Natural logarithm of the magnification.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong type or is out of range.
    """

    translation: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("translation", 1.0), ("rotation", 180.0), ("zoom", 2.0)):
            value = _checks.number(name, getattr(self, name), minimum=0.0, maximum=most)
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class AugmentOptions:
    """How pairs are varied before a network sees them, after FlowNet, for grey medical images.

    FlowNet (Dosovitskiy et al., ICCV 2015, sec. 4.3) moves both images alike, and the second a little more: by up to
    20 % of the width, 17 degrees, zooms of 0.9 to 2.0; noise has a standard deviation of up to 0.04, contrast is
    changed by -0.8 to 0.4, gamma lies in 0.7 to 1.5, brightness is N(0, 0.2), all on the scale from 0 to 1; colours are
    multiplied by 0.5 to 2. The defaults are moderate: a scanner's images are posed and scaled alike already. Where all
    ranges are 0 nothing is changed at all.

    Parameters
    ----------
    common
        Movement of both images.
    relative
        Movement of the second image relative to the first on top of that, in the frame of what the network sees.
    flips
        Probability of a mirror image along each axis, row and column. 0 by default: anatomy is not symmetric.
    gamma, contrast
        Standard deviation of the log of an image's exponent, and of its contrast about the middle of its range.
    brightness
        Standard deviation of what is added to an image, as a share of its range.
    shared
        Share of the variance of gamma, contrast and brightness that is common to both images.
    noise
        Largest standard deviation of white noise, as a share of the range, each image's drawn uniformly from 0 on.
    seed
        Of all these numbers.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong type or is out of range.
    """

    common: AffineRanges = AffineRanges(translation=0.05, rotation=10.0, zoom=0.1)
    relative: AffineRanges = AffineRanges(translation=0.01, rotation=1.0, zoom=0.02)
    flips: tuple[float, float] = (0.0, 0.0)
    gamma: float = 0.2
    contrast: float = 0.1
    brightness: float = 0.1
    shared: float = 0.5
    noise: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("common", "relative"):
            if not isinstance(getattr(self, name), AffineRanges):
                raise TypeError(f"{name} is {getattr(self, name)!r}; pass AffineRanges(...)")
        flips = tuple(_checks.number("flips", p, minimum=0.0, maximum=1.0) for p in self.flips)
        if len(flips) != 2:
            raise ValueError(f"flips is {self.flips}; pass a probability for rows and one for columns")
        object.__setattr__(self, "flips", flips)
        for name in ("gamma", "contrast", "brightness", "shared", "noise"):
            object.__setattr__(self, name, _checks.number(name, getattr(self, name), minimum=0.0, maximum=1.0))
        _checks.integer("seed", self.seed, minimum=0)

    @property
    def moves(self) -> bool:
        """Whether images are moved at all."""
        return self.common != AffineRanges() or self.relative != AffineRanges() or any(self.flips)


def draw_maps(options: AugmentOptions, indices: Sequence[int], grid: tuple[int, int]) -> tuple[Matrices, Matrices]:
    """Draw the maps by which pairs are moved.

    Parameters
    ----------
    options
        How far.
    indices
        Of the pairs; each pair's maps are a pure function of the options, its index and the grid.
    grid
        Rows and columns of the images.

    Returns
    -------
    tuple of ndarray, (b, 2, 3), float64
        Pull maps of the first and of the second images, as of `transform_pairs`: ``g2 = g1 r`` with the relative
        movement r, whose pixels are those that the network sees.
    """
    first, second = np.empty((2, len(indices), 2, 3))
    for k, index in enumerate(indices):
        rng = generator(options.seed, index, stream=_MAP_STREAM)
        common, relative = rng.uniform(-1, 1, size=(2, 4))
        mirror = np.where(rng.random(2) < options.flips, -1.0, 1.0)
        move = _affine(options.common, common, grid)
        move[:, :2] *= mirror
        first[k], second[k] = move, _after(move, _affine(options.relative, relative, grid))
    return first, second


def _affine(ranges: AffineRanges, numbers: Matrices, grid: tuple[int, int]) -> Matrices:
    """Return the pull map (2, 3) that numbers between -1 and 1 stand for."""
    shift, (angle, zoom) = numbers[:2] * ranges.translation * grid, numbers[2:] * (ranges.rotation, ranges.zoom)
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn = np.array([[cosine, -sine], [sine, cosine]]) * np.exp(-zoom)
    return np.column_stack([turn, shift])


def _after(outer: Matrices, inner: Matrices) -> Matrices:
    """Return the map x -> outer(inner(x))."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def transform_pairs(
    image1: Tensor, image2: Tensor, flow: Tensor, weight: Tensor, map1: npt.ArrayLike, map2: npt.ArrayLike
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""Pull both images of pairs by maps of their own; the flow becomes what it is between the results.

    With pull maps g1 and g2, ``image1'(x) = image1(g1(x))`` and ``image2'(x) = image2(g2(x))``, so

    .. math:: w'(x) = g_2^{-1}(g_1(x) + w(g_1(x))) - x .

    Flips, rotations, zooms and translations of either image or both are cases of it. Between pixels images, flow and
    weight are interpolated linearly; beyond the border images are continued by their outermost pixels.

    Parameters
    ----------
    image1, image2 : Tensor, (b, c, h, w)
        Fixed and moving images.
    flow : Tensor, (b, 2, h, w)
        Pull displacement in pixels, components in array-axis order.
    weight : Tensor, (b, h, w)
        Confidence in the flow.
    map1, map2 : array_like, (b, 2, 3)
        The maps in array-axis order about the centre c of the image, ``g(x) = c + map[:, :2] (x - c) + map[:, 2]``,
        in pixels.

    Returns
    -------
    tuple of Tensor
        Images, flow and weight, shaped as given. The weight is pulled by g1 and 0 where a point comes from outside the
        first image, or its partner from outside the second, or where its partner is no longer in the frame.

    Raises
    ------
    ValueError
        If shapes do not fit, or a map has no inverse.
    """
    first, second = _checked_maps("map1", map1, len(image1)), _checked_maps("map2", map2, len(image1))
    b, _, h, w = image1.shape
    if image2.shape != image1.shape or flow.shape != (b, 2, h, w) or weight.shape != (b, h, w):
        raise ValueError(
            f"image1 is {tuple(image1.shape)}, image2 {tuple(image2.shape)}, flow {tuple(flow.shape)}, weight "
            f"{tuple(weight.shape)}; pass (b, c, h, w) twice, (b, 2, h, w) and (b, h, w)"
        )
    inverse = np.linalg.inv(second[:, :, :2])
    # In these terms nothing cancels: w'(x) = (M2^-1 M1 - 1)(x - c) + M2^-1 (t1 - t2) + M2^-1 w(g1(x)).
    shift = inverse @ (first[:, :, 2:] - second[:, :, 2:])
    drift = np.concatenate([inverse @ first[:, :, :2] - np.eye(2), shift], axis=2)
    x = torch.meshgrid(*(torch.arange(n, device=flow.device) - (n - 1) / 2 for n in (h, w)), indexing="ij")
    source1 = _apply(first, x)
    pulled = _sample(torch.cat([image1, flow, weight[:, None]], dim=1), source1)
    image, moved, share = pulled[:, :-3], pulled[:, -3:-1], pulled[:, -1]
    turned = _apply(np.concatenate([inverse, np.zeros((b, 2, 1))], axis=2), (moved[:, 0], moved[:, 1]))
    new_flow = _apply(drift, x) + turned
    partner = torch.stack(x) + new_flow
    inside = _inside(source1) & _inside(source1 + moved) & _inside(partner)
    return image.contiguous(), _sample(image2, _apply(second, x)), new_flow, torch.where(inside, share, 0)


def _checked_maps(name: str, value: npt.ArrayLike, count: int) -> Matrices:
    maps: Matrices = _checks.finite(name, value, ndim=3, dtype=np.float64)
    if maps.shape != (count, 2, 3):
        raise ValueError(f"{name} has shape {maps.shape}; pass ({count}, 2, 3), a map per pair")
    determinants = np.linalg.det(maps[:, :, :2])
    if (np.abs(determinants) < 1e-6).any():
        k = int(np.abs(determinants).argmin())
        raise ValueError(f"{name}[{k}] has determinant {determinants[k]:.2g}; pass maps with an inverse")
    return maps


def _apply(maps: Matrices, x: Sequence[Tensor]) -> Tensor:
    """Return maps (b, 2, 3) at points whose coordinates are given one by one, (h, w) or (b, h, w): (b, 2, h, w)."""
    # No matrix product: under mixed precision it would be computed in few bits.
    m = torch.from_numpy(maps).to(x[0].device, x[0].dtype)[..., None, None]
    return torch.stack([m[:, i, 0] * x[0] + m[:, i, 1] * x[1] + m[:, i, 2] for i in range(2)], dim=1)


def _inside(points: Tensor) -> Tensor:
    """Return where points (b, 2, h, w) about the centre lie within the image: (b, h, w)."""
    h, w = points.shape[-2:]
    return (points[:, 0].abs() <= (h - 1) / 2 + _SLACK) & (points[:, 1].abs() <= (w - 1) / 2 + _SLACK)


def _sample(images: Tensor, points: Tensor) -> Tensor:
    """Interpolate (b, c, h, w) at points (b, 2, h, w) about the centre, in array-axis order."""
    h, w = images.shape[-2:]
    # grid_sample wants (column, row), 1 at the image's edge, half a pixel beyond the last centre.
    scaled = torch.stack([points[:, 1] * (2 / w), points[:, 0] * (2 / h)], dim=-1)
    sampled: Tensor = grid_sample(images, scaled, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled


def vary_intensity(
    image1: Tensor, image2: Tensor, options: AugmentOptions, indices: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Change the intensities of the images of pairs: gamma, contrast, brightness, noise, in this order.

    Parameters
    ----------
    image1, image2 : Tensor, (b, c, h, w)
        Intensities as `scale_intensity` leaves them; before it, a change of contrast or brightness would have no
        effect.
    options
        How much.
    indices
        Of the pairs; what becomes of a pair is a pure function of the options, its index and its images.

    Returns
    -------
    tuple of Tensor, (b, c, h, w)

    Raises
    ------
    ValueError
        If there are not as many indices as pairs.
    """
    if not len(image1) == len(image2) == len(indices):
        raise ValueError(
            f"indices holds {len(indices)} numbers for {len(image1)} and {len(image2)} images; pass as many"
        )
    numbers = np.stack([_intensities(options, index) for index in indices])  # (b, image, 4)
    results = []
    for i, image in enumerate((image1, image2)):
        x = image
        gamma, contrast, brightness, noise = (
            torch.from_numpy(column).to(x.device, x.dtype)[:, None, None, None] for column in numbers[:, i].T.copy()
        )
        if options.gamma > 0:
            grey = x + GREY_MEAN
            x = grey.sign() * grey.abs() ** gamma - GREY_MEAN
        if options.contrast > 0:
            middle = 0.5 - GREY_MEAN
            x = middle + contrast * (x - middle)
        if options.brightness > 0:
            x = x + brightness
        if options.noise > 0:
            streams = (generator(options.seed, index, stream=_NOISE_STREAM + i) for index in indices)
            grain = np.stack([rng.standard_normal(x.shape[1:], dtype=np.float32) for rng in streams])
            x = x + noise * torch.from_numpy(grain).to(x.device, x.dtype)
        results.append(x)
    return results[0], results[1]


def _intensities(options: AugmentOptions, index: int) -> Matrices:
    """Draw gamma, contrast, brightness and noise of both images, (2, 4)."""
    rng = generator(options.seed, index, stream=_INTENSITY_STREAM)
    common, own = rng.standard_normal(3), rng.standard_normal((2, 3))
    spread = (options.gamma, options.contrast, options.brightness)
    numbers = (np.sqrt(options.shared) * common + np.sqrt(1 - options.shared) * own) * spread
    numbers[:, :2] = np.exp(numbers[:, :2])
    return np.column_stack([numbers, options.noise * rng.random(2)])
