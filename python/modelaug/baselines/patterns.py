"""Random textures that repeat themselves, to paint moving shapes with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _core
from modelaug._random import generator

__all__ = ["PatternLibrary"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

_STREAM: Final = 2**32  # of random numbers; no pair uses it
_SOFTNESS: Final = 0.7  # pixels; standard deviation of a blur of all patterns


class PatternLibrary:
    """Periodic grey images between 0 and 1, and the functions of the plane that they stand for.

    In turn multi-octave noise, distorted gratings, cells of random grey, and soft blobs. Between its pixels a pattern
    is bilinear. That is its definition: what two images show of it differs by no error of interpolation.

    Parameters
    ----------
    count
        Number of patterns.
    size
        Period in pixels along both axes.
    seed
        Non-negative integer; pattern k is a pure function of (seed, size, k).
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.size = size
        kinds: tuple[Callable[[int, np.random.Generator], Array], ...] = (_noise, _grating, _cells, _blobs)
        self.images = np.empty((count, size, size), dtype=np.float32)
        for k in range(count):
            rng = generator(seed, k, stream=_STREAM)
            drawn = scipy.ndimage.gaussian_filter(kinds[k % len(kinds)](size, rng), _SOFTNESS, mode="wrap")
            low, high = np.percentile(drawn, [1.0, 99.0])
            self.images[k] = np.clip((drawn - low) / max(high - low, 1e-9), 0.0, 1.0)

    def __len__(self) -> int:
        return len(self.images)

    def at(self, number: int, affine: Array, box: tuple[slice, slice], out: Image) -> None:
        """Sample a pattern at ``affine @ (row, column, 1)`` for the pixels of a box, into `out` of the box's shape."""
        displacement = np.empty((2, *out.shape), dtype=np.float32)
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
            # Near 0 by now, as single precision wants it.
            np.add(rows.astype(np.float32)[:, None], columns.astype(np.float32), out=displacement[k])
        piece = self.images[number][seen[0]].take(seen[1], axis=1)
        _core.warp(piece[None, None], displacement[None], False, False, 0.0, 1, out[None, None])


def _spectrum(size: int) -> Array:
    """Return the frequencies' lengths in cycles per pixel, as of rfft2."""
    return np.asarray(np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]))


def _filtered(size: int, rng: np.random.Generator, response: Array) -> Array:
    """Return white noise filtered periodically, of mean 0 and variance 1."""
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * response, s=(size, size))
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-9))


def _noise(size: int, rng: np.random.Generator) -> Array:
    """Return noise whose octaves fall by a random power."""
    frequency = np.maximum(_spectrum(size), 1 / size)
    return _filtered(size, rng, frequency ** -rng.uniform(0.6, 1.5) * np.exp(-((frequency / 0.3) ** 2)))


def _smooth(size: int, rng: np.random.Generator, wavelength: float) -> Array:
    """Return smooth noise with details of about `wavelength` pixels."""
    return _filtered(size, rng, np.exp(-((_spectrum(size) * wavelength) ** 2)))


def _grating(size: int, rng: np.random.Generator) -> Array:
    """Return a sum of one to three waves, bent by smooth noise."""
    axis = np.arange(size) * (2 * math.pi / size)
    total = np.zeros((size, size))
    for _ in range(int(rng.integers(1, 4))):
        cycles, direction = size / rng.uniform(6.0, 32.0), rng.uniform(0.0, math.pi)
        down, right = round(cycles * math.sin(direction)), round(cycles * math.cos(direction))
        bend = rng.uniform(0.0, 2.0) * _smooth(size, rng, 32.0)
        total += rng.uniform(0.3, 1.0) * np.cos(down * axis[:, None] + right * axis[None] + bend)
    return total + rng.uniform(0.0, 0.5) * _noise(size, rng)


def _cells(size: int, rng: np.random.Generator) -> Array:
    """Return a mosaic of the cells around random points, each of one grey, with a little noise."""
    across = rng.uniform(8.0, 28.0)
    points = rng.uniform(0.0, size, size=(max(2, round((size / across) ** 2)), 2))
    pixels = np.indices((size, size)).reshape(2, -1).T
    _, nearest = scipy.spatial.KDTree(points, boxsize=size).query(pixels)
    mosaic: Array = rng.random(len(points))[nearest].reshape(size, size)
    return mosaic + rng.uniform(0.0, 0.1) * _noise(size, rng)


def _blobs(size: int, rng: np.random.Generator) -> Array:
    """Return soft blobs of one grey on another, with a little noise."""
    wavelength, level = rng.uniform(8.0, 24.0), rng.uniform(-0.5, 1.0)
    edges = np.tanh(rng.uniform(2.0, 6.0) * (_smooth(size, rng, wavelength) - level))
    return edges + rng.uniform(0.0, 0.5) * _noise(size, rng)
