"""Augmentation of pairs on the device of the training: affine maps and changes of intensity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from modelaug import _checks
from modelaug._checked import Checked, Limits, Share, WholeNumber
from modelaug._random import Stream, generator
from modelaug.learning.intensity import GREY_MEAN
from modelaug.learning.sampling import sample_at
from modelaug.transforms.affine import compose_affine

_SLACK: Final = 1e-3
"""Tolerance in pixels, for rounding, of the test whether a point is inside the outermost pixels' centres."""

Matrices = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AffineRanges(Checked):
    """Ranges of a random affine map; each parameter is drawn uniformly from minus to plus its range.

    Parameters
    ----------
    translation
        As a share of the image's size, along each axis.
    rotation
        In degrees; in space about a random axis, with voxels taken for cubes.
    zoom
        Natural logarithm of the magnification.
    """

    translation: Share = 0.0
    rotation: Annotated[float, Limits(0.0, 180.0)] = 0.0
    zoom: Annotated[float, Limits(0.0, 2.0)] = 0.0


def _probabilities(name: str, value: Any) -> tuple[float, ...] | float:
    several = isinstance(value, (tuple, list))
    found = tuple(_checks.number(name, p, minimum=0.0, maximum=1.0) for p in (value if several else (value,)))
    if len(found) not in (1, 2, 3):
        raise ValueError(f"{name} is {value}; pass a probability for each axis, or one for all")
    return found if several else found[0]


@dataclass(frozen=True)
class AugmentOptions(Checked):
    """Options of the augmentation of pairs, after FlowNet, for grey medical images.

    FlowNet (Dosovitskiy et al., ICCV 2015, sec. 4.3) moves both images alike, and the second a little more: by up to
    20 % of the width, 17 degrees, zooms of 0.9 to 2.0; noise has a standard deviation of up to 0.04, contrast is
    changed by -0.8 to 0.4, gamma lies in 0.7 to 1.5, brightness is N(0, 0.2), all on the scale from 0 to 1; colours are
    multiplied by 0.5 to 2. The defaults are moderate, as a scanner's images have similar poses and scales. Ranges of 0
    change nothing.

    Parameters
    ----------
    common
        Movement of both images.
    relative
        Additional movement of the second image, in voxels of the images that the network sees.
    flips
        Probability of a mirror image along each axis, or one for all. 0 by default: anatomy is not symmetric.
    gamma, contrast
        Standard deviation of the log of an image's exponent, and of its contrast about the middle of its range.
    brightness
        Standard deviation of the offset of an image, as a share of its range.
    shared
        Share of the variance of gamma, contrast and brightness that is common to both images.
    noise
        Largest standard deviation of white noise, as a share of the range; drawn uniformly from 0 on for each image.
    seed
        Seed of the augmentation.
    """

    common: AffineRanges = AffineRanges(translation=0.05, rotation=10.0, zoom=0.1)
    relative: AffineRanges = AffineRanges(translation=0.01, rotation=1.0, zoom=0.02)
    flips: Annotated[tuple[float, ...] | float, _probabilities] = 0.0
    gamma: Share = 0.2
    contrast: Share = 0.1
    brightness: Share = 0.1
    shared: Share = 0.5
    noise: Share = 0.02
    seed: WholeNumber = 0

    @property
    def moves(self) -> bool:
        """Whether the options move images."""
        return self.common != AffineRanges() or self.relative != AffineRanges() or bool(np.any(self.flips))


def draw_maps(options: AugmentOptions, indices: Sequence[int], grid: Sequence[int]) -> tuple[Matrices, Matrices]:
    """Draw the affine maps that move pairs.

    Parameters
    ----------
    options
        Ranges of the maps.
    indices
        Of the pairs; a pair's maps are a pure function of the options, its index and the grid.
    grid
        Shape of the images, in the plane or in space.

    Returns
    -------
    tuple of ndarray, (b, d, d + 1), float64
        Pull maps of the first and second images, as in `transform_pairs`: ``g2 = g1 r`` with the relative movement r.
    """
    d = len(grid)
    flips = np.atleast_1d(np.asarray(options.flips))
    if len(flips) not in (1, d):
        raise ValueError(f"flips is {options.flips} for images of shape {tuple(grid)}; pass one probability or {d}")
    first, second = np.empty((2, len(indices), d, d + 1))
    for k, index in enumerate(indices):
        rng = generator(options.seed, index, stream=Stream.AUGMENTED_MAPS)
        common, relative = rng.uniform(-1, 1, size=(2, d + 2))
        mirror = np.where(rng.random(d) < flips, -1.0, 1.0)
        axes = rng.standard_normal((2, 3)) if d == 3 else np.zeros((2, 3))
        move = _affine(options.common, common, grid, axes[0])
        move[:, :d] *= mirror
        first[k], second[k] = move, compose_affine(move, _affine(options.relative, relative, grid, axes[1]))
    return first, second


def _affine(ranges: AffineRanges, numbers: Matrices, grid: Sequence[int], axis: Matrices) -> Matrices:
    """Return the pull map (d, d + 1) of parameters between -1 and 1 and, in space, an axis of rotation."""
    d = len(grid)
    shift, (angle, zoom) = numbers[:d] * ranges.translation * grid, numbers[d:] * (ranges.rotation, ranges.zoom)
    radians = np.deg2rad(angle)
    if d == 2:
        turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    else:
        # A volume of one plane has one axis of rotation, or none.
        flat = [k for k, n in enumerate(grid) if n == 1]
        about = axis / np.linalg.norm(axis) if not flat else np.eye(3)[flat[0]] * (len(flat) == 1)
        turn = Rotation.from_rotvec(radians * about).as_matrix()
    return np.column_stack([turn * np.exp(-zoom), shift])


def transform_pairs(
    image1: Tensor, image2: Tensor, flow: Tensor, weight: Tensor, map1: npt.ArrayLike, map2: npt.ArrayLike
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""Pull both images of pairs by maps of their own; return them with the flow between them.

    With pull maps g1 and g2, ``image1'(x) = image1(g1(x))`` and ``image2'(x) = image2(g2(x))``, so

    .. math:: w'(x) = g_2^{-1}(g_1(x) + w(g_1(x))) - x .

    Flips, rotations, zooms and translations of either image or both are such maps. Between voxels images, flow and
    weight are interpolated linearly; beyond the border images are continued by their outermost voxels.

    Parameters
    ----------
    image1, image2 : Tensor, (b, c, *grid)
        Fixed and moving images, 2D or 3D.
    flow : Tensor, (b, d, *grid)
        Pull displacement in voxels, components in array-axis order.
    weight : Tensor, (b, *grid)
        Confidence in the flow.
    map1, map2 : array_like, (b, d, d + 1)
        The maps in array-axis order about the centre c of the image, ``g(x) = c + map[:, :d] (x - c) + map[:, d]``,
        in voxels.

    Returns
    -------
    tuple of Tensor
        Images, flow and weight, shaped as given. The weight is pulled by g1, and 0 where a point comes from outside the
        first image, or its partner from outside the second, or where its partner is outside the transformed image.

    Raises
    ------
    ValueError
        If shapes do not fit, or a map has no inverse.
    """
    b, _, *grid = image1.shape
    d = len(grid)
    first, second = _checked_maps("map1", map1, b, d), _checked_maps("map2", map2, b, d)
    if image2.shape != image1.shape or flow.shape != (b, d, *grid) or weight.shape != (b, *grid):
        raise ValueError(
            f"image1 is {tuple(image1.shape)}, image2 {tuple(image2.shape)}, flow {tuple(flow.shape)}, weight "
            f"{tuple(weight.shape)}; pass (b, c, *grid) twice, (b, d, *grid) and (b, *grid)"
        )
    inverse = np.linalg.inv(second[:, :, :d])
    # Without cancellation: w'(x) = (M2^-1 M1 - 1)(x - c) + M2^-1 (t1 - t2) + M2^-1 w(g1(x)).
    shift = inverse @ (first[:, :, d:] - second[:, :, d:])
    drift = np.concatenate([inverse @ first[:, :, :d] - np.eye(d), shift], axis=2)
    x = _about_centre(grid, flow)
    source1 = _apply(first, x)
    pulled = _sample(torch.cat([image1, flow, weight[:, None]], dim=1), source1)
    image, moved, share = pulled[:, : -d - 1], pulled[:, -d - 1 : -1], pulled[:, -1]
    turned = _apply(np.concatenate([inverse, np.zeros((b, d, 1))], axis=2), moved.unbind(1))
    new_flow = _apply(drift, x) + turned
    partner = torch.stack(x) + new_flow
    inside = _inside(source1) & _inside(source1 + moved) & _inside(partner)
    return image.contiguous(), _sample(image2, _apply(second, x)), new_flow, torch.where(inside, share, 0)


def pull_by_maps(values: Tensor, maps: npt.ArrayLike, displacement: Tensor | None = None) -> Tensor:
    """Pull images or one-hot maps by affine maps and displacements: ``out(x) = values(g(x + u(x)))``.

    Parameters
    ----------
    values : Tensor, (b, c, *grid)
    maps : array_like, (b, d, d + 1)
        g, as in `transform_pairs`.
    displacement : Tensor, (b, d, *grid), optional
        u in voxels; 0 by default.

    Returns
    -------
    Tensor, (b, c, *grid)
    """
    grid = values.shape[2:]
    checked = _checked_maps("maps", maps, len(values), len(grid))
    x: Sequence[Tensor] = _about_centre(grid, values)
    if displacement is not None:
        x = [at + u for at, u in zip(x, displacement.unbind(1), strict=True)]
    return _sample(values, _apply(checked, x))


def _checked_maps(name: str, value: npt.ArrayLike, count: int, d: int) -> Matrices:
    maps: Matrices = _checks.finite(name, value, ndim=3, dtype=np.float64)
    if maps.shape != (count, d, d + 1):
        raise ValueError(f"{name} has shape {maps.shape}; pass ({count}, {d}, {d + 1}), a map per pair")
    determinants = np.linalg.det(maps[:, :, :d])
    if (np.abs(determinants) < 1e-6).any():
        k = int(np.abs(determinants).argmin())
        raise ValueError(f"{name}[{k}] has determinant {determinants[k]:.2g}; pass maps with an inverse")
    return maps


def _about_centre(grid: Sequence[int], like: Tensor) -> tuple[Tensor, ...]:
    """Return the coordinates of the voxels about the centre of the grid, one tensor (*grid) per axis."""
    return torch.meshgrid(*(torch.arange(n, device=like.device) - (n - 1) / 2 for n in grid), indexing="ij")


def _apply(maps: Matrices, x: Sequence[Tensor]) -> Tensor:
    """Apply maps (b, d, d + 1) to points with one tensor of coordinates per axis, (*grid) or (b, *grid)."""
    # No matrix product, which mixed precision would compute in few bits.
    d = len(x)
    m = torch.from_numpy(maps).to(x[0].device, x[0].dtype)[(..., *(None,) * d)]
    rows = [sum((m[:, i, k] * x[k] for k in range(1, d)), m[:, i, 0] * x[0]) + m[:, i, d] for i in range(d)]
    return torch.stack(rows, dim=1)


def _inside(points: Tensor) -> Tensor:
    """Return whether points (b, d, *grid) about the centre lie within the image: (b, *grid)."""
    inside = [p.abs() <= (n - 1) / 2 + _SLACK for p, n in zip(points.unbind(1), points.shape[2:], strict=True)]
    return torch.stack(inside).all(0)


def _sample(images: Tensor, points: Tensor) -> Tensor:
    """Interpolate (b, c, *grid) at points (b, d, *grid) about the centre, in array-axis order."""
    grid = images.shape[2:]
    centre = torch.tensor([(n - 1) / 2 for n in grid], device=points.device, dtype=points.dtype)
    return sample_at(images, points + centre.reshape(1, -1, *(1 for _ in grid)))


def vary_intensity(
    image1: Tensor, image2: Tensor, options: AugmentOptions, indices: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Change the intensities of the images of pairs: gamma, contrast, brightness, noise, in this order.

    Parameters
    ----------
    image1, image2 : Tensor, (b, c, *grid)
        Intensities as `scale_intensity` leaves them; before it, a change of contrast or brightness would have no
        effect.
    options
        Sizes of the changes.
    indices
        Of the pairs; the changes are a pure function of the options, the index and the images.

    Returns
    -------
    tuple of Tensor, (b, c, *grid)
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
            torch.from_numpy(column).to(x.device, x.dtype).reshape(-1, *(1 for _ in x.shape[1:]))
            for column in numbers[:, i].T.copy()
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
            streams = (generator(options.seed, index, stream=Stream.AUGMENTED_NOISE + i) for index in indices)
            grain = np.stack([rng.standard_normal(x.shape[1:], dtype=np.float32) for rng in streams])
            x = x + noise * torch.from_numpy(grain).to(x.device, x.dtype)
        results.append(x)
    return results[0], results[1]


def _intensities(options: AugmentOptions, index: int) -> Matrices:
    """Draw gamma, contrast, brightness and noise of both images, (2, 4)."""
    rng = generator(options.seed, index, stream=Stream.AUGMENTED_INTENSITIES)
    common, own = rng.standard_normal(3), rng.standard_normal((2, 3))
    spread = (options.gamma, options.contrast, options.brightness)
    numbers = (np.sqrt(options.shared) * common + np.sqrt(1 - options.shared) * own) * spread
    numbers[:, :2] = np.exp(numbers[:, :2])
    return np.column_stack([numbers, options.noise * rng.random(2)])
