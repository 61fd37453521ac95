"""Random outlines in the plane: smooth star-shaped curves and convex polygons, some with a hole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Outline", "draw_outline"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]


class Outline(Protocol):
    """A closed outline about the origin.

    Attributes
    ----------
    reach : float
        No point inside is farther from the origin.
    """

    @property
    def reach(self) -> float:
        """Return the radius of a disc that holds everything inside."""
        ...

    def level(self, rows: Image, columns: Image) -> Image:
        """Return about the distance to the outline at points, negative inside; exactly 0 on it."""
        ...


def draw_outline(rng: np.random.Generator, radius: float, holes: float) -> Outline:
    """Draw an outline of about `radius`, with a hole with the probability `holes`."""
    smooth, hollow = rng.random() < 0.6, rng.random() < holes
    outline: Outline = _draw_curve(rng, radius) if smooth else _draw_polygon(rng, radius)
    hole = _draw_curve(rng, rng.uniform(0.25, 0.45) * radius)
    return _Ring(outline, hole) if hollow else outline


@dataclass(frozen=True, eq=False)
class _Curve:
    """r(t) = radius (1 + Re sum over k of c[k] exp(i k t)) about the origin of stretched coordinates.

    Attributes
    ----------
    radius : float
    harmonics : ndarray, (k,), complex64
        c[1], c[2], ...
    stretch : ndarray, (2, 2)
        Turns points into stretched coordinates.
    reach : float
    """

    radius: float
    harmonics: npt.NDArray[np.complex64]
    stretch: Array
    reach: float

    def level(self, rows: Image, columns: Image) -> Image:
        (a, b), (c, d) = self.stretch.astype(np.float32)
        points = np.empty(rows.shape, dtype=np.complex64)
        points.real = a * rows + b * columns
        points.imag = c * rows + d * columns
        distance = np.abs(points)
        points /= np.maximum(distance, np.float32(1e-6))
        wave = np.full_like(points, self.harmonics[-1])
        for harmonic in self.harmonics[-2::-1]:
            wave *= points
            wave += harmonic
        wave *= points
        level: Image = distance - np.float32(self.radius) * (1 + wave.real)
        return level


@dataclass(frozen=True, eq=False)
class _Polygon:
    """The points p with ``normals @ p <= offsets``.

    Attributes
    ----------
    normals : ndarray, (s, 2)
        Unit vectors.
    offsets : ndarray, (s,)
    reach : float
    """

    normals: Array
    offsets: Array
    reach: float

    def level(self, rows: Image, columns: Image) -> Image:
        sides = np.column_stack([self.normals, self.offsets]).astype(np.float32)
        level = np.full(rows.shape, -np.inf, dtype=np.float32)
        for down, right, offset in sides:
            np.maximum(level, down * rows + right * columns - offset, out=level)
        return level


@dataclass(frozen=True, eq=False)
class _Ring:
    """What is inside one outline but not inside another."""

    outer: Outline
    hole: Outline

    @property
    def reach(self) -> float:
        return self.outer.reach

    def level(self, rows: Image, columns: Image) -> Image:
        return np.maximum(self.outer.level(rows, columns), -self.hole.level(rows, columns))


def _draw_stretch(rng: np.random.Generator) -> tuple[Array, float]:
    """Return a random stretch of determinant 1 along a random direction, and the largest factor of its inverse."""
    factor, angle = rng.uniform(-0.5, 0.5), rng.uniform(0.0, math.pi)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.exp([[factor], [-factor]]) * turn, math.exp(abs(factor))


def _draw_curve(rng: np.random.Generator, radius: float) -> _Curve:
    """Return an ellipse, or a curve of up to six harmonics that stays away from the origin."""
    orders = np.arange(1, 7)
    drawn = (rng.standard_normal(6) + 1j * rng.standard_normal(6)) / orders
    total = rng.uniform(0.0, 0.6) if rng.random() < 0.75 else 0.0
    harmonics = total * drawn / np.abs(drawn).sum()
    stretch, longest = _draw_stretch(rng)
    return _Curve(radius, harmonics.astype(np.complex64), stretch, radius * (1 + total) * longest)


def _draw_polygon(rng: np.random.Generator, radius: float) -> _Polygon:
    """Return a convex polygon with three to seven sides."""
    sides = int(rng.integers(3, 8))
    jitter = 0.05 if sides == 3 else 0.15
    angles = (np.arange(sides) + rng.uniform(-jitter, jitter, size=sides)) * (2 * math.pi / sides)
    normals = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    offsets = radius * rng.uniform(0.6, 1.0, size=sides)
    # In some direction between two normals lies the farthest corner.
    gap = float(np.diff(angles, append=angles[0] + 2 * math.pi).max())
    stretch, longest = _draw_stretch(rng)
    reach = float(offsets.max()) / math.cos(gap / 2) * longest
    normals = normals @ stretch
    lengths = np.sqrt((normals**2).sum(axis=1))
    return _Polygon(normals / lengths[:, None], offsets / lengths, reach)
