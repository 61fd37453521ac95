"""Textured shapes that move over a moving background: pairs to learn motion from before anything anatomical."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core
from modelaug._random import generator
from modelaug.baselines.outlines import Outline, draw_outline
from modelaug.baselines.patterns import PatternLibrary
from modelaug.synthesis.acquisition import UNIT_RANGE, Acquisition, AcquisitionOptions
from modelaug.synthesis.batching import BatchedSource, Layout, pair_layout
from modelaug.synthesis.pairs import Pair
from modelaug.warping import pull_nearest

__all__ = ["Motion", "MovingShapes", "MovingShapesOptions"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice]

_SMALLEST_PATTERN: Final = 256  # pixels
_LEAST_CONTRAST: Final = 0.25  # between the darkest and the brightest of a texture

# Of random numbers; the scene has the one without a number.
_LANDMARK_STREAM: Final = 1
_ACQUISITION_STREAM: Final = 2  # and 3 for the moving image


@dataclass(frozen=True)
class Motion:
    """The distribution of an affine motion about a center.

    Each of its numbers is ``sign(z) |z|^power`` for a standard normal z, divided by the standard deviation of that,
    cut off at `limit`, and multiplied with what is given here: the larger the power, the more small and the fewer, but
    larger, large motions.

    Parameters
    ----------
    translation
        Standard deviation of the displacement of the center along each axis, as a share of the image's size, the square
        root of its number of pixels.
    rotation
        Standard deviation of the angle, in degrees.
    zoom
        Standard deviation of the log of the factor on lengths.
    stretch
        Standard deviation of the log of the factor along a random direction; lengths across it are divided by it.
    power
        The exponent, 1 for normal numbers.
    limit
        Largest number, in standard deviations. With it, zoom and stretch stay below a factor of exp(2).
    """

    translation: float = 0.04
    rotation: float = 4.0
    zoom: float = 0.04
    stretch: float = 0.02
    power: float = 2.0
    limit: float = 4.0

    def __post_init__(self) -> None:
        # As plain numbers, which a manifest can hold.
        for name, maximum in (("translation", 10.0), ("rotation", 360.0), ("zoom", 1.0), ("stretch", 1.0)):
            number = _checks.number(name, getattr(self, name), minimum=0.0, maximum=maximum)
            object.__setattr__(self, name, number)
        object.__setattr__(self, "power", _checks.number("power", self.power, minimum=1.0, maximum=8.0))
        object.__setattr__(self, "limit", _checks.number("limit", self.limit, above=0.0, maximum=100.0))
        if (self.zoom + self.stretch) * self.limit > 2.0:
            raise ValueError(
                f"zoom and stretch are {self.zoom:g} and {self.stretch:g}, with limit {self.limit:g} factors beyond "
                "exp(2); pass smaller ones"
            )

    def draw(self, rng: np.random.Generator, center: Array, size: float) -> Array:
        """Return an affine map (2, 3) of pixels for an image of `size`."""
        normals = rng.standard_normal(5)
        direction = rng.uniform(0.0, math.pi)
        deviation = math.sqrt(2**self.power * math.gamma(self.power + 0.5) / math.sqrt(math.pi))
        numbers = np.sign(normals) * np.abs(normals) ** self.power / deviation
        down, right, angle, zoom, stretch = np.clip(numbers, -self.limit, self.limit).tolist()
        strain = self.stretch * stretch
        # exp(strain) along the direction and exp(-strain) across it; the very identity without any.
        mirror = _turn(2 * direction) @ np.diag([1.0, -1.0])
        stretched = math.cosh(strain) * np.eye(2) + math.sinh(strain) * mirror
        linear = math.exp(self.zoom * zoom) * _turn(math.radians(self.rotation * angle)) @ stretched
        moved = center + self.translation * size * np.array([down, right])
        return _join(linear, moved - linear @ center)


@dataclass(frozen=True)
class MovingShapesOptions:
    """What there is in the images, and how it moves.

    Parameters
    ----------
    channels
        Channels of the images; a texture is the same in all, its brightness and contrast are not.
    shapes
        Least and largest number of shapes in front of the background.
    size
        Least and largest radius of a shape, as a share of the image's size, the square root of its number of pixels.
    holes
        Share of the shapes that have a hole.
    background
        How the background moves, about the middle of the image.
    foreground
        How each shape moves, about its own middle, before it moves along with the background.
    patterns
        Number of textures to choose from; each use has a place, direction, scale, brightness and contrast of its own.
    occluded
        Voxels of the fixed image whose surface something else hides in the moving one: ``"kept"``, they count like all
        others, as for FlyingChairs; ``"masked"``, their weight is 0.
    landmarks
        Number of landmarks, pixels at random that are seen in both images.
    acquisition
        Gamma, contrast, bias field and noise of each image, on the scale from 0 to 1; None leaves them out.
    """

    channels: int = 1
    shapes: tuple[int, int] = (4, 10)
    size: tuple[float, float] = (0.06, 0.22)
    holes: float = 0.25
    background: Motion = Motion()
    foreground: Motion = Motion(translation=0.06, rotation=8.0, zoom=0.06, stretch=0.04)
    patterns: int = 32
    occluded: Literal["kept", "masked"] = "kept"
    landmarks: int = 32
    acquisition: AcquisitionOptions | None = field(
        default_factory=lambda: AcquisitionOptions(gamma=0.1, contrast=0.1, bias=0.1, noise=0.02)
    )

    def __post_init__(self) -> None:
        # As plain numbers, which a manifest can hold.
        for name, maximum in (("channels", 1000), ("patterns", 1000), ("landmarks", 100_000)):
            object.__setattr__(self, name, _checks.integer(name, getattr(self, name), minimum=1, maximum=maximum))
        for name in ("shapes", "size"):
            if not isinstance(getattr(self, name), (tuple, list)) or len(getattr(self, name)) != 2:
                raise TypeError(f"{name} is {getattr(self, name)!r}; pass the least and the largest")
        shapes = tuple(_checks.integer("shapes", n, minimum=0, maximum=255) for n in self.shapes)
        size = tuple(_checks.number("size", s, above=0.0, maximum=1.0) for s in self.size)
        for name, values in (("shapes", shapes), ("size", size)):
            if values[0] > values[1]:
                raise ValueError(f"{name} is {values!r}; pass the least before the largest")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "holes", _checks.number("holes", self.holes, minimum=0.0, maximum=1.0))
        for name in ("background", "foreground"):
            if not isinstance(getattr(self, name), Motion):
                raise TypeError(f"{name} is {getattr(self, name)!r}; pass Motion(...)")
        _checks.choice("occluded", self.occluded, ("kept", "masked"))
        if self.acquisition is not None and not isinstance(self.acquisition, AcquisitionOptions):
            raise TypeError(f"acquisition is {self.acquisition!r}; pass AcquisitionOptions(...) or None")


@dataclass(frozen=True, eq=False)
class _Surface:
    """A piece of texture that moves.

    Attributes
    ----------
    motion : ndarray, (2, 3)
        From the pixels of the fixed image to those of the moving one.
    pattern : int
    texture : ndarray, (2, 3)
        From the pixels of the fixed image to those of the pattern.
    tones : ndarray, (c, 2), float32
        What the pattern's 0 and 1 are in each channel.
    outline : Outline or None
        What of it there is; None means all, as of the background.
    center : ndarray, (2,)
        The outline's origin in the fixed image.
    """

    motion: Array
    pattern: int
    texture: Array
    tones: Image
    outline: Outline | None
    center: Array


class MovingShapes(BatchedSource):
    """Pairs of images of shapes that move over a background; pair i is a pure function of (grid, seed, options, i).

    In the manner of the FlyingChairs of Dosovitskiy, Fischer, Ilg and others, *FlowNet: learning optical flow with
    convolutional networks* (ICCV 2015), with generated textures and outlines in place of photographs and chairs.
    Textures and outlines are functions of the plane, evaluated where the pixels of either image come from; an edge is
    as wide as a pixel. The flow is that of the surface that is seen in the fixed image, exactly, and therefore jumps
    where one surface ends in front of another.

    Parameters
    ----------
    grid
        Shape (rows, columns) of the images.
    seed
        Non-negative integer.
    options
        What there is and how it moves; defaults if None.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or the grid has three axes.
    """

    def __init__(self, grid: Sequence[int], *, seed: int = 0, options: MovingShapesOptions | None = None) -> None:
        self.grid = _checks.grid_shape("grid", grid, axes=2)
        self.seed = _checks.integer("seed", seed, minimum=0)
        self.options = _checks.options(options, MovingShapesOptions)
        self._size = math.sqrt(math.prod(self.grid))
        self._patterns = PatternLibrary(self.options.patterns, max(_SMALLEST_PATTERN, *self.grid), self.seed)
        acquisition = self.options.acquisition
        self._acquire = None if acquisition is None else Acquisition(acquisition, self.grid, np.ones(2), UNIT_RANGE)

    def layout(self) -> Layout:
        """Return shape and type of every array of a pair, by its name in `Pair`."""
        options = self.options
        return pair_layout(self.grid, channels=options.channels, landmarks=options.landmarks, labels=np.dtype(np.uint8))

    def draw(self, index: int) -> Pair:
        """Return pair `index`; its labels are 0 for the background and 1, 2, ... for the shapes, the farthest first.

        The weight is 1 where the partner is inside the moving image. ``info`` holds ``motions``, the affine maps
        (shapes + 1, 2, 3) from the pixels of the fixed to those of the moving image, by label; ``outside``, pixels
        whose partner is outside the moving image; and ``occluded``, others that something hides there.

        Raises
        ------
        TypeError, ValueError
            If `index` is not an integer from 0 to 2^64 - 1.
        """
        return super().draw(index)

    def _fill(self, index: int, out: Pair) -> dict[str, Any]:
        """Draw pair `index` into arrays; return its info."""
        labels_fixed, labels_moving = out.labels_fixed, out.labels_moving
        assert labels_fixed is not None
        assert labels_moving is not None
        surfaces = self._scene(generator(self.seed, index))
        still = np.eye(2, 3)
        for number, surface in enumerate(surfaces):
            box, seen = self._paint(surface, still, number, out.fixed, labels_fixed)
            self._paint(surface, surface.motion, number, out.moving, labels_moving)
            for k in range(2):
                _write_affine(surface.motion[k] - still[k], box, out.flow[k], seen)
        if self._acquire is not None:
            for i, image in enumerate((out.fixed, out.moving)):
                image[:] = self._acquire(image, generator(self.seed, index, stream=_ACQUISITION_STREAM + i))

        inside, outside = _core.find_inside(out.flow, 1)
        there = np.empty_like(labels_fixed)
        pull_nearest(labels_moving, out.flow, there)
        seen = inside & (there == labels_fixed)
        out.weight[:] = seen if self.options.occluded == "masked" else inside
        out.landmarks_fixed[:] = self._landmarks(seen, generator(self.seed, index, stream=_LANDMARK_STREAM))
        rows, columns = out.landmarks_fixed.astype(int).T
        motions = np.stack([surface.motion for surface in surfaces])
        moves = motions[labels_fixed[rows, columns]]
        out.landmarks_moving[:] = np.einsum("mij,mj->mi", moves[:, :, :2], out.landmarks_fixed) + moves[:, :, 2]
        return {"motions": motions, "outside": outside, "occluded": int(inside.sum() - seen.sum())}

    def _scene(self, rng: np.random.Generator) -> list[_Surface]:
        """Return all surfaces, the farthest first."""
        options, size, extent = self.options, self._size, np.array(self.grid) - 1.0
        count = int(rng.integers(options.shapes[0], options.shapes[1] + 1))
        ground = options.background.draw(rng, extent / 2, size)
        surfaces = [self._surface(rng, ground, None, extent / 2)]
        low, high = np.log(options.size)
        for _ in range(count):
            center = rng.uniform(0.0, 1.0, size=2) * extent
            outline = draw_outline(rng, size * math.exp(rng.uniform(low, high)), options.holes)
            motion = _compose(ground, options.foreground.draw(rng, center, size))
            surfaces.append(self._surface(rng, motion, outline, center))
        return surfaces

    def _surface(self, rng: np.random.Generator, motion: Array, outline: Outline | None, center: Array) -> _Surface:
        pattern = int(rng.integers(len(self._patterns)))
        linear = rng.uniform(0.7, 1.2) * _turn(rng.uniform(0.0, 2 * math.pi))
        offset = rng.uniform(0.0, self._patterns.size, size=2)
        dark = rng.uniform(0.0, 1.0 - _LEAST_CONTRAST, size=self.options.channels)
        bright = rng.uniform(dark + _LEAST_CONTRAST, 1.0)
        tones = np.stack([dark, bright], axis=1)
        flipped = rng.random(self.options.channels) < 0.5
        tones[flipped] = tones[flipped, ::-1]
        return _Surface(motion, pattern, _join(linear, offset), tones.astype(np.float32), outline, center)

    def _paint(
        self, surface: _Surface, motion: Array, number: int, image: Image, labels: Labels
    ) -> tuple[Box, Mask | None]:
        """Paint a surface over an image (c, *grid) to whose pixels `motion` takes those of the fixed image.

        Return the box that was looked at, and where in it most of a pixel shows the surface; None means everywhere.
        """
        back = _inverse(motion)
        if surface.outline is None:
            box = (slice(0, self.grid[0]), slice(0, self.grid[1]))
            self._patterns.at(surface.pattern, _compose(surface.texture, back), box, image[0])
            for channel, (first, second) in reversed(list(zip(image, surface.tones, strict=True))):
                np.multiply(image[0], second - first, out=channel)
                channel += first
            labels[:] = number
            return box, None
        box = self._box(surface.outline, surface.center, motion)
        if any(side.start >= side.stop for side in box):
            return box, None
        local = _join(back[:, :2], back[:, 2] - surface.center)
        rows, columns = _affine(local[0], box), _affine(local[1], box)
        # In pixels of this image.
        scale = math.sqrt(back[0, 0] * back[1, 1] - back[0, 1] * back[1, 0])
        coverage = surface.outline.level(rows, columns)
        coverage *= np.float32(-1 / scale)
        coverage += np.float32(0.5)
        np.clip(coverage, 0.0, 1.0, out=coverage)
        texture = np.empty_like(coverage)
        self._patterns.at(surface.pattern, _compose(surface.texture, back), box, texture)
        for channel, (first, second) in zip(image, surface.tones, strict=True):
            piece = channel[box]
            piece += coverage * (first + (second - first) * texture - piece)
        seen = coverage >= 0.5
        labels[box][seen] = number
        return box, seen

    def _box(self, outline: Outline, center: Array, motion: Array) -> Box:
        """Return the part of the image that a shape may cover, perhaps none."""
        middle = (motion[:, :2] @ center + motion[:, 2]).tolist()
        sides = []
        for k, length in enumerate(self.grid):
            # The farthest that a disc comes along an axis.
            reach = outline.reach * math.hypot(motion[k, 0], motion[k, 1]) + 1.0
            low, high = math.floor(middle[k] - reach), math.ceil(middle[k] + reach) + 1
            sides.append(slice(min(max(low, 0), length), min(max(high, 0), length)))
        return sides[0], sides[1]

    def _landmarks(self, seen: Mask, rng: np.random.Generator) -> Array:
        """Return pixels (m, 2) at random that are seen in both images; if there are none, any."""
        count = self.options.landmarks
        candidates = np.flatnonzero(seen)
        if len(candidates) == 0:
            candidates = np.arange(seen.size)
        chosen = rng.choice(candidates, size=count, replace=len(candidates) < count)
        return np.stack(np.unravel_index(chosen, self.grid), axis=1).astype(np.float64)


def _turn(angle: float) -> Array:
    """Return the rotation by an angle in radians."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _join(linear: Array, offset: Array) -> Array:
    """Return the affine map (2, 3) of a matrix (2, 2) and an offset (2,)."""
    affine = np.empty((2, 3))
    affine[:, :2], affine[:, 2] = linear, offset
    return affine


def _compose(outer: Array, inner: Array) -> Array:
    """Return the affine map (2, 3) that applies `inner` first."""
    return _join(outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2])


def _inverse(affine: Array) -> Array:
    (a, b, _), (c, d, _) = affine.tolist()
    linear = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return _join(linear, -linear @ affine[:, 2])


def _affine(row: Array, box: Box) -> Image:
    """Return ``row @ (r, c, 1)`` for the pixels (r, c) of a box."""
    down, across = (np.arange(side.start, side.stop) for side in box)
    first, second = row[0] * down + row[2], row[1] * across
    # What the two have in common may be far beyond what they add up to.
    shift = second[0]
    first += shift
    second -= shift
    return np.asarray(first.astype(np.float32)[:, None] + second.astype(np.float32))


def _write_affine(row: Array, box: Box, out: Image, where: Mask | None) -> None:
    """Write ``row @ (r, c, 1)`` to the pixels of a box, to all or to those where it is wanted."""
    if where is None:
        out[box] = _affine(row, box)
    else:
        np.copyto(out[box], _affine(row, box), where=where)
