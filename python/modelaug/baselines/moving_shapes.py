"""Textured shapes that move over a moving background: pairs for pretraining, without anatomy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Final, Literal, cast

import numpy as np

from modelaug import _checks, _core
from modelaug._arrays import Array, Image, Labels, Mask
from modelaug._checked import Checked, Limits, Share
from modelaug._random import Stream, generator
from modelaug.baselines.motion import Motion
from modelaug.baselines.outlines import Outline, draw_outline
from modelaug.baselines.patterns import PatternLibrary
from modelaug.synthesis.acquisition import UNIT_RANGE, Acquisition, AcquisitionOptions
from modelaug.synthesis.batching import BatchedSource, pair_layout
from modelaug.synthesis.pairs import Layout, Pair, PairInfo
from modelaug.transforms.affine import Box, compose_affine, inverse, join, length_factor, on_box, random_rotation, side
from modelaug.transforms.warping import pull_nearest

_DEFAULTS: Final[dict[int, dict[str, Any]]] = {
    2: {"shapes": (4, 10), "size": (0.06, 0.22), "patterns": 32},
    3: {"shapes": (10, 24), "size": (0.08, 0.28), "patterns": 16},
}
_SMALLEST_PATTERN: Final = 256  # pixels of the plane
_VOLUME_PATTERN: Final = 64  # voxels; patterns as large as the images would be slow to make and to read
_LEAST_CONTRAST: Final = 0.25  # between the darkest and the brightest of a texture


def _interval(name: str, values: Any, check: Callable[..., float], **limits: float) -> tuple[float, ...]:
    """Check an interval: two numbers within the limits of `check`, the first no larger than the second."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise TypeError(f"{name} is {values!r}; pass the least and the largest")
    numbers = tuple(check(name, value, **limits) for value in values)
    if numbers[0] > numbers[1]:
        raise ValueError(f"{name} is {numbers!r}; pass the least before the largest")
    return numbers


@dataclass(frozen=True)
class MovingShapesOptions(Checked):
    """Content of the images, and its motions.

    Sizes and motions are in voxels along all axes; spacing is not modelled.

    Parameters
    ----------
    channels
        Channels of the images; a texture is the same in all, its brightness and contrast are not.
    shapes
        Least and largest number of shapes in front of the background. None means (4, 10) in the plane, (10, 24) in
        space, where a shape fills a smaller share of the image.
    size
        Least and largest radius of a shape, as a share of the image's size, the d-th root of its number of voxels. None
        means (0.06, 0.22) in the plane, (0.08, 0.28) in space.
    holes
        Share of the shapes that have a hole; in space, a cavity.
    background
        Motion of the background, about the middle of the image.
    foreground
        Motion of each shape, about its own middle, before the background's motion.
    patterns
        Number of textures; each use has a position, direction, scale, brightness and contrast of its own. None means
        32 in the plane, 16 in space.
    occluded
        Voxels of the fixed image whose surface is occluded in the moving one: ``"kept"``, they count like all others,
        as in FlyingChairs; ``"masked"``, their weight is 0.
    landmarks
        Number of landmarks, random voxels that are visible in both images.
    acquisition
        Gamma, contrast, bias field and noise of each image, on the scale from 0 to 1; None leaves them out.
    """

    channels: Annotated[int, Limits(1, 1000)] = 1
    shapes: Annotated[tuple[int, int], partial(_interval, check=_checks.integer, minimum=0, maximum=255)] | None = None
    size: Annotated[tuple[float, float], partial(_interval, check=_checks.number, above=0.0, maximum=1.0)] | None = None
    holes: Share = 0.25
    background: Motion = Motion()
    foreground: Motion = Motion(translation=0.06, rotation=8.0, zoom=0.06, stretch=0.04)
    patterns: Annotated[int, Limits(1, 1000)] | None = None
    occluded: Literal["kept", "masked"] = "kept"
    landmarks: Annotated[int, Limits(1, 100_000)] = 32
    acquisition: AcquisitionOptions | None = AcquisitionOptions(gamma=0.1, contrast=0.1, bias=0.1, noise=0.02)

    def for_axes(self, d: int) -> MovingShapesOptions:
        """Return the options with the defaults for the plane, d = 2, or for space, d = 3, in place of None."""
        missing = {name: value for name, value in _DEFAULTS[d].items() if getattr(self, name) is None}
        return replace(self, **missing)


@dataclass(frozen=True, eq=False)
class _Surface:
    """A textured surface that moves.

    Attributes
    ----------
    motion : ndarray, (d, d + 1)
        From the voxels of the fixed image to those of the moving one.
    pattern : int
    texture : ndarray, (d, d + 1)
        From the voxels of the fixed image to those of the pattern.
    tones : ndarray, (c, 2), float32
        Intensities of the pattern's 0 and 1 in each channel.
    outline : Outline or None
        The surface's outline; None for the background, which has none.
    center : ndarray, (d,)
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

    After the FlyingChairs of Dosovitskiy, Fischer, Ilg and others, *FlowNet: learning optical flow with convolutional
    networks* (ICCV 2015), with generated textures and outlines instead of photographs and chairs, and in 3D as in 2D.
    Textures and outlines are continuous functions, evaluated at the origins of either image's voxels; an edge is as
    wide as a voxel. The flow is exactly that of the surface visible in the fixed image, and therefore discontinuous
    where one surface ends in front of another.

    Voxels are cubes, also where slices are thick. A volume of one slice is drawn as a plane, without motion out of it.

    Parameters
    ----------
    grid
        Shape (rows, columns) or (planes, rows, columns) of the images.
    seed
        Non-negative integer.
    options
        Content and motions; defaults if None. The attribute `options` has numbers in place of None.
    """

    def __init__(self, grid: Sequence[int], *, seed: int = 0, options: MovingShapesOptions | None = None) -> None:
        self.grid = _checks.grid_shape("grid", grid)
        self.seed = _checks.integer("seed", seed, minimum=0)
        self.options: MovingShapesOptions = _checks.options(options, MovingShapesOptions)
        d = len(self.grid)
        self._slice: tuple[int, MovingShapes] | None = None
        if d == 3 and 1 in self.grid:
            thin = self.grid.index(1)
            plane = MovingShapes(self.grid[:thin] + self.grid[thin + 1 :], seed=seed, options=self.options)
            self._slice, self.options = (thin, plane), plane.options
            return
        self.options = self.options.for_axes(d)
        self._size = side(math.prod(self.grid), d)
        period = max(_SMALLEST_PATTERN, *self.grid) if d == 2 else _VOLUME_PATTERN
        self._patterns = PatternLibrary(cast("int", self.options.patterns), period, self.seed, d)
        acquisition = self.options.acquisition
        self._acquire = None if acquisition is None else Acquisition(acquisition, self.grid, np.ones(d), UNIT_RANGE)

    def layout(self) -> Layout:
        """Return shape and type of every array of a pair, by its name in `Pair`."""
        options = self.options
        return pair_layout(self.grid, channels=options.channels, landmarks=options.landmarks, labels=np.dtype(np.uint8))

    def draw(self, index: int) -> Pair:
        """Return pair `index`; its labels are 0 for the background and 1, 2, ... for the shapes, the farthest first.

        The weight is 1 where the partner is inside the moving image. ``info`` holds ``motions``, ``outside``
        and ``occluded``, see `PairInfo`.
        """
        return super().draw(index)

    def _fill(self, index: int, out: Pair) -> PairInfo:
        """Draw pair `index` into arrays; return its info."""
        if self._slice is not None:
            thin, plane = self._slice
            return _fill_slice(plane.draw(index), thin, out)
        labels_fixed, labels_moving = cast("tuple[Labels, Labels]", (out.labels_fixed, out.labels_moving))
        surfaces = self._scene(generator(self.seed, index))
        d = len(self.grid)
        still = np.eye(d, d + 1)
        for number, surface in enumerate(surfaces):
            box, seen = self._paint(surface, still, number, out.fixed, labels_fixed)
            self._paint(surface, surface.motion, number, out.moving, labels_moving)
            flow = on_box(surface.motion - still, box)
            np.copyto(out.flow[(slice(None), *box)], flow, where=True if seen is None else seen)
        if self._acquire is not None:
            for i, image in enumerate((out.fixed, out.moving)):
                image[:] = self._acquire(image, generator(self.seed, index, stream=Stream.SHAPE_ACQUISITION + i))

        inside, outside = _core.find_inside(out.flow, 1)
        there = np.empty_like(labels_fixed)
        pull_nearest(labels_moving, out.flow, there)
        seen = inside & (there == labels_fixed)
        out.weight[:] = seen if self.options.occluded == "masked" else inside
        out.landmarks_fixed[:] = self._landmarks(seen, generator(self.seed, index, stream=Stream.SHAPE_LANDMARKS))
        motions = np.stack([surface.motion for surface in surfaces])
        moves = motions[labels_fixed[tuple(out.landmarks_fixed.astype(int).T)]]
        out.landmarks_moving[:] = np.einsum("mij,mj->mi", moves[:, :, :d], out.landmarks_fixed) + moves[:, :, d]
        return {"motions": motions, "outside": outside, "occluded": int(inside.sum() - seen.sum())}

    def _scene(self, rng: np.random.Generator) -> list[_Surface]:
        """Draw all surfaces, the farthest first."""
        options, size, extent = self.options, self._size, np.array(self.grid) - 1.0
        least, most = cast("tuple[int, int]", options.shapes)
        count = int(rng.integers(least, most + 1))
        ground = options.background.draw(rng, extent / 2, size)
        surfaces = [self._surface(rng, ground, None, extent / 2)]
        low, high = np.log(cast("tuple[float, float]", options.size))
        for _ in range(count):
            center = rng.uniform(0.0, 1.0, size=len(extent)) * extent
            outline = draw_outline(rng, len(extent), size * math.exp(rng.uniform(low, high)), options.holes)
            motion = compose_affine(ground, options.foreground.draw(rng, center, size))
            surfaces.append(self._surface(rng, motion, outline, center))
        return surfaces

    def _surface(self, rng: np.random.Generator, motion: Array, outline: Outline | None, center: Array) -> _Surface:
        d = len(center)
        pattern = int(rng.integers(len(self._patterns)))
        linear = rng.uniform(0.7, 1.2) * random_rotation(rng, d)
        offset = rng.uniform(0.0, self._patterns.size, size=d)
        dark = rng.uniform(0.0, 1.0 - _LEAST_CONTRAST, size=self.options.channels)
        bright = rng.uniform(dark + _LEAST_CONTRAST, 1.0)
        tones = np.stack([dark, bright], axis=1)
        flipped = rng.random(self.options.channels) < 0.5
        tones[flipped] = tones[flipped, ::-1]
        return _Surface(motion, pattern, join(linear, offset), tones.astype(np.float32), outline, center)

    def _paint(
        self, surface: _Surface, motion: Array, number: int, image: Image, labels: Labels
    ) -> tuple[Box, Mask | None]:
        """Paint a surface over an image (c, *grid); `motion` maps voxels of the fixed image to voxels of this one.

        Return the bounding box of the surface, and the mask of the voxels in it that are mostly covered, or None for
        all of them.
        """
        back = inverse(motion)
        if surface.outline is None:
            box: Box = tuple(slice(0, length) for length in self.grid)
            self._patterns.at(surface.pattern, compose_affine(surface.texture, back), box, image[0])
            for channel, (first, second) in reversed(list(zip(image, surface.tones, strict=True))):
                np.multiply(image[0], second - first, out=channel)
                channel += first
            labels[:] = number
            return box, None
        box = self._box(surface.outline, surface.center, motion)
        if any(part.start >= part.stop for part in box):
            return box, None
        # Distances in voxels of this image.
        coverage = surface.outline.level(on_box(join(back[:, :-1], back[:, -1] - surface.center), box))
        coverage *= np.float32(-1 / length_factor(back))
        coverage += np.float32(0.5)
        np.clip(coverage, 0.0, 1.0, out=coverage)
        texture = np.empty_like(coverage)
        self._patterns.at(surface.pattern, compose_affine(surface.texture, back), box, texture)
        for channel, (first, second) in zip(image, surface.tones, strict=True):
            piece = channel[box]
            piece += coverage * (first + (second - first) * texture - piece)
        seen = coverage >= 0.5
        labels[box][seen] = number
        return box, seen

    def _box(self, outline: Outline, center: Array, motion: Array) -> Box:
        """Return the part of the image, perhaps empty, that a shape may cover."""
        middle = motion[:, :-1] @ center + motion[:, -1]
        low, high = outline.extent.span(motion[:, :-1])
        # Edges extend half a voxel beyond the outline.
        first = np.clip(np.floor(middle + low - 1.0), 0, self.grid).astype(int).tolist()
        last = np.clip(np.ceil(middle + high + 1.0) + 1, 0, self.grid).astype(int).tolist()
        return tuple(map(slice, first, last))

    def _landmarks(self, seen: Mask, rng: np.random.Generator) -> Array:
        """Draw voxels (m, d) that are visible in both images, or any if there are none."""
        count = self.options.landmarks
        candidates = np.flatnonzero(seen)
        if len(candidates) == 0:
            candidates = np.arange(seen.size)
        chosen = rng.choice(candidates, size=count, replace=len(candidates) < count)
        return np.stack(np.unravel_index(chosen, self.grid), axis=1).astype(np.float64)


def _fill_slice(pair: Pair, thin: int, out: Pair) -> PairInfo:
    """Copy a pair of planes into arrays of volumes that are one voxel thick along axis `thin`; return its info."""
    rest = [k for k in range(3) if k != thin]
    for name in ("fixed", "moving", "weight", "labels_fixed", "labels_moving"):
        whole = getattr(out, name)
        whole[:] = getattr(pair, name).reshape(whole.shape)
    out.flow[thin] = 0.0
    out.flow[rest] = pair.flow.reshape(2, *out.weight.shape)
    for points, flat in ((out.landmarks_fixed, pair.landmarks_fixed), (out.landmarks_moving, pair.landmarks_moving)):
        points[:, thin] = 0.0
        points[:, rest] = flat
    motions = np.tile(np.eye(3, 4), (len(pair.info["motions"]), 1, 1))
    motions[np.ix_(range(len(motions)), rest, [*rest, 3])] = pair.info["motions"]
    return {**pair.info, "motions": motions}
