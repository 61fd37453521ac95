"""Random periodic textures in 2D and 3D, for moving shapes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Final

import numpy as np
import scipy

from modelaug import _core
from modelaug._arrays import Array, Image
from modelaug._random import Stream, generator
from modelaug.transforms.affine import Box, on_box, random_direction

_SOFTNESS: Final = 0.7  # voxels; standard deviation of a blur of all patterns
_DETAIL: Final = {2: 1.0, 3: 0.6}  # share of a length of the plane; images of space have fewer voxels along an axis


class PatternLibrary:
    """Random periodic grey textures between 0 and 1, as functions of the plane or of space.

    Alternately multi-octave noise, distorted gratings, cells of random grey, and soft blobs. A pattern is defined as
    bilinear or trilinear between its voxels, so that two images of it differ by no error of interpolation.

    Parameters
    ----------
    count
        Number of patterns.
    size
        Period in voxels along all axes.
    seed
        Non-negative integer; pattern k is a pure function of (seed, size, d, k).
    d
        Number of axes, 2 or 3.

    Attributes
    ----------
    images : ndarray, (count, size, size) or (count, size, size, size), float32
    """

    def __init__(self, count: int, size: int, seed: int, d: int = 2) -> None:
        self.size = size
        # In space the first voxels are repeated after the last.
        self._padded = np.empty((count, *(size + d - 2,) * d), dtype=np.float32)
        self.images: Image = self._padded[(slice(None), *(slice(size),) * d)]
        kinds: tuple[Callable[[tuple[int, ...], np.random.Generator], Array], ...] = (_noise, _grating, _cells, _blobs)
        for k in range(count):
            rng = generator(seed, k, stream=Stream.PATTERN)
            drawn = scipy.ndimage.gaussian_filter(kinds[k % len(kinds)]((size,) * d, rng), _SOFTNESS, mode="wrap")
            low, high = np.percentile(drawn, [1.0, 99.0])
            image = np.clip((drawn - low) / max(high - low, 1e-9), 0.0, 1.0)
            self._padded[k] = np.pad(image, (0, d - 2), mode="wrap")

    def __len__(self) -> int:
        return len(self.images)

    def at(self, number: int, affine: Array, box: Box, out: Image) -> None:
        """Sample a pattern at ``affine @ (*x, 1)`` for the voxels x of a box, into `out` of the box's shape."""
        displacement = np.empty((len(box), *out.shape), dtype=np.float32)
        if len(box) == 2:
            piece = self._unroll(number, affine, box, displacement)
        else:
            piece = self._padded[number]
            self._fold(affine, box, displacement)
        _core.warp(piece[None, None], displacement[None], False, False, 0.0, 1, out[None, None])

    def _unroll(self, number: int, affine: Array, box: Box, out: Image) -> Image:
        """Return the part of the periodic plane that covers a box; write the displacement from box to part to `out`."""
        seen = []
        for k, (down, across, offset) in enumerate(affine.tolist()):
            ends = [[slope * at for at in (s.start, s.stop - 1)] for slope, s in zip((down, across), box, strict=True)]
            first = math.floor(min(ends[0]) + min(ends[1]) + offset)
            last = math.floor(max(ends[0]) + max(ends[1]) + offset) + 1
            seen.append(np.arange(first, last + 1) % self.size)
            rows = down * np.arange(box[0].start, box[0].stop) + (offset - first)
            columns = across * np.arange(box[1].start, box[1].stop)
            own = (rows, columns)[k]
            own -= np.arange(len(own))
            # Near 0 here, where single precision suffices.
            np.add(rows.astype(np.float32)[:, None], columns.astype(np.float32), out=out[k])
        piece: Image = self.images[number][seen[0]].take(seen[1], axis=1)
        return piece

    def _fold(self, affine: Array, box: Box, out: Image) -> None:
        """Write the displacement from the voxels of a box to the pattern, modulo its period, to `out`.

        Unrolling the pattern in space instead would fill several times the volume of a turned box.
        """
        periods = on_box(affine / self.size, box)
        np.floor(periods, out=periods)
        periods *= np.float32(self.size)
        own = affine - np.eye(*affine.shape)
        own[:, -1] += [part.start for part in box]
        on_box(own, box, out=out)
        out -= periods


def _spectrum(shape: tuple[int, ...]) -> Array:
    """Return the lengths of the frequency vectors of rfftn in cycles per voxel."""
    frequencies = [*map(np.fft.fftfreq, shape[:-1]), np.fft.rfftfreq(shape[-1])]
    return np.asarray(functools.reduce(np.hypot, np.ix_(*frequencies)))


def _filtered(shape: tuple[int, ...], rng: np.random.Generator, response: Array) -> Array:
    """Draw white noise filtered periodically, with mean 0 and variance 1."""
    axes = range(len(shape))
    field = np.fft.irfftn(np.fft.rfftn(rng.standard_normal(shape)) * response, s=shape, axes=axes)
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-9))


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw noise whose amplitude falls with a random power of the frequency."""
    frequency = np.maximum(_spectrum(shape), 1 / shape[0])
    # In space there are more waves of high frequency.
    power = rng.uniform(0.6, 1.5) + (len(shape) - 2) / 2
    return _filtered(shape, rng, frequency**-power * np.exp(-((frequency / 0.3) ** 2)))


def _smooth(shape: tuple[int, ...], rng: np.random.Generator, wavelength: float) -> Array:
    """Draw smooth noise with details of about `wavelength` voxels."""
    return _filtered(shape, rng, np.exp(-((_spectrum(shape) * wavelength) ** 2)))


def _grating(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw a sum of one to three plane waves, bent by smooth noise."""
    size, d = shape[0], len(shape)
    axis = np.arange(size) * (2 * math.pi / size)
    total = np.zeros(shape)
    for _ in range(int(rng.integers(1, 4))):
        cycles = size / (rng.uniform(6.0, 32.0) * _DETAIL[d])
        turns = np.round(cycles * random_direction(rng, d))
        bend = rng.uniform(0.0, 2.0) * _smooth(shape, rng, 32.0 * _DETAIL[d])
        phase = functools.reduce(np.add.outer, [number * axis for number in turns])
        total += rng.uniform(0.3, 1.0) * np.cos(phase + bend)
    return total + rng.uniform(0.0, 0.5) * _noise(shape, rng)


def _cells(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw the Voronoi cells of random points, each of one grey, with a little noise."""
    size, d = shape[0], len(shape)
    across = rng.uniform(8.0, 28.0) * _DETAIL[d]
    points = rng.uniform(0.0, size, size=(max(2, round((size / across) ** d)), d))
    voxels = np.indices(shape).reshape(d, -1).T
    _, nearest = scipy.spatial.KDTree(points, boxsize=size).query(voxels)
    mosaic: Array = rng.random(len(points))[nearest].reshape(shape)
    return mosaic + rng.uniform(0.0, 0.1) * _noise(shape, rng)


def _blobs(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw soft blobs of one grey on another, with a little noise."""
    wavelength, level = rng.uniform(8.0, 24.0) * _DETAIL[len(shape)], rng.uniform(-0.5, 1.0)
    edges = np.tanh(rng.uniform(2.0, 6.0) * (_smooth(shape, rng, wavelength) - level))
    return edges + rng.uniform(0.0, 0.5) * _noise(shape, rng)
