"""Random outlines in 2D and 3D: smooth star-shaped ones and convex ones with corners, some with a hole."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import scipy

from modelaug._arrays import Array, Image
from modelaug.transforms.affine import random_rotation
from modelaug.transforms.directions import sphere_directions

_AXES: Final = 3  # of the waves of a body
_WAVES: Final = np.array([[0, 1, 0, 0, 0], [-1, 0, 2, 0, 0], [0, -3, 0, 4, 0], [1, 0, -8, 0, 8]], dtype=np.float64)
"""cos(k t), k = 1 to 4, as polynomials of cos(t), lowest power first: Chebyshev's."""

_DIRECTIONS: Final = 1000  # in which the extent of a body is sampled
_MARGIN: Final = 1.03  # factor on the sampled extent, for directions in between


class Outline(Protocol):
    """A closed curve or surface about the origin, in voxels."""

    @property
    def extent(self) -> _Ball | _Hull:
        """Return a convex set that contains the outline."""
        ...

    def level(self, points: Image) -> Image:
        """Return the approximate signed distance to the outline at points (d, *shape): negative inside, 0 on it."""
        ...


def draw_outline(rng: np.random.Generator, d: int, radius: float, holes: float) -> Outline:
    """Draw an outline of about `radius` voxels in d dimensions, with a hole with the probability `holes`."""
    smooth, hollow = rng.random() < 0.6, rng.random() < holes
    outline = _draw_star(rng, d, radius) if smooth else _draw_convex(rng, d, radius)
    if d == 3 and not hollow:
        return outline
    # In the plane the hole is always drawn, so that later numbers do not depend on it.
    hole = _draw_star(rng, d, rng.uniform(0.25, 0.45) * radius)
    return _Ring(outline, hole) if hollow else outline


@dataclass(frozen=True, eq=False)
class _Ball:
    """The ball of radius `reach` about the origin."""

    reach: float

    def span(self, linear: Array) -> tuple[Array, Array]:
        """Return the lowest and highest coordinates, (d,) each, of the set mapped by a matrix (d, d)."""
        reach = self.reach * np.sqrt((linear**2).sum(axis=1))
        return -reach, reach


@dataclass(frozen=True, eq=False)
class _Hull:
    """The convex hull of points (h, d)."""

    points: Array

    def span(self, linear: Array) -> tuple[Array, Array]:
        """Return the lowest and highest coordinates, (d,) each, of the set mapped by a matrix (d, d)."""
        moved = self.points @ linear.T
        return moved.min(axis=0), moved.max(axis=0)


@dataclass(frozen=True, eq=False)
class _Curve:
    """The curve r(t) = radius (1 + Re sum over k of c[k] exp(i k t)) in stretched coordinates of the plane.

    Attributes
    ----------
    radius : float
    harmonics : ndarray, (k,), complex64
        c[1], c[2], ...
    stretch : ndarray, (2, 2)
        Turns points into stretched coordinates.
    extent
    """

    radius: float
    harmonics: npt.NDArray[np.complex64]
    stretch: Array
    extent: _Ball | _Hull

    def level(self, points: Image) -> Image:
        directions = np.empty(points.shape[1:], dtype=np.complex64)
        directions.real, directions.imag = _linear(self.stretch, points)
        distance = np.abs(directions)
        directions /= np.maximum(distance, np.float32(1e-6))
        wave = np.full_like(directions, self.harmonics[-1])
        for harmonic in self.harmonics[-2::-1]:
            wave *= directions
            wave += harmonic
        wave *= directions
        level: Image = distance - np.float32(self.radius) * (1 + wave.real)
        return level


@dataclass(frozen=True, eq=False)
class _Body:
    """The surface r(n) = radius (1 + sum over j and k of c[j, k] (a_j . n)^k), n a direction in stretched coordinates.

    The polynomial of each a_j . n is a sum of cos(k t), with t the angle to the axis a_j, like the curve's harmonics.

    Attributes
    ----------
    radius : float
    axes : ndarray, (j, 3)
        Unit vectors a_j.
    waves : ndarray, (j, k)
        c[j, 0], c[j, 1], ...; all 0 for an ellipsoid.
    stretch : ndarray, (3, 3)
        Turns points into stretched coordinates.
    extent
    """

    radius: float
    axes: Array
    waves: Array
    stretch: Array
    extent: _Ball | _Hull

    def level(self, points: Image) -> Image:
        stretched = _linear(self.stretch, points)
        distance = np.sqrt(functools.reduce(np.add, [part * part for part in stretched]))
        radius = np.full_like(distance, self.radius)
        if self.waves.any():
            inverse = 1 / np.maximum(distance, np.float32(1e-6))
            for cosine, series in zip(_linear(self.axes, stretched), self.waves, strict=True):
                cosine *= inverse
                # Horner's rule in place; numpy's allocates at each step.
                wave = np.full_like(cosine, self.radius * series[-1])
                for coefficient in (self.radius * series[-2::-1]).astype(np.float32):
                    wave *= cosine
                    wave += coefficient
                radius += wave
        return np.asarray(distance - radius)


@dataclass(frozen=True, eq=False)
class _Convex:
    """A convex polygon or polyhedron: the points p with ``normals @ p <= offsets``.

    Attributes
    ----------
    normals : ndarray, (s, d)
        Unit vectors.
    offsets : ndarray, (s,)
    extent
    """

    normals: Array
    offsets: Array
    extent: _Ball | _Hull

    def level(self, points: Image) -> Image:
        level = np.full(points.shape[1:], -np.inf, dtype=np.float32)
        for height, offset in zip(_linear(self.normals, points), self.offsets.astype(np.float32), strict=True):
            height -= offset
            np.maximum(level, height, out=level)
        return level


@dataclass(frozen=True, eq=False)
class _Ring:
    """The inside of one outline without the inside of another."""

    outer: Outline
    hole: Outline

    @property
    def extent(self) -> _Ball | _Hull:
        return self.outer.extent

    def level(self, points: Image) -> Image:
        return np.maximum(self.outer.level(points), -self.hole.level(points))


def _linear(matrix: Array, points: Image | Sequence[Image]) -> list[Image]:
    """Return the product of a matrix (k, d) and points (d, *shape), one array for each row."""
    return [
        functools.reduce(np.add, [factor * part for factor, part in zip(row, points, strict=True)])
        for row in matrix.astype(np.float32)
    ]


def _draw_stretch(rng: np.random.Generator, d: int) -> tuple[Array, float]:
    """Draw a stretch (d, d) of determinant 1 along random directions; return it and the norm of its inverse."""
    drawn = rng.uniform(-0.5, 0.5, size=d - 1)
    logs = np.append(drawn, -drawn.sum())
    turn = random_rotation(rng, d, largest=math.pi)
    return np.exp(logs)[:, None] * turn, math.exp(-logs.min())


def _draw_star(rng: np.random.Generator, d: int, radius: float) -> Outline:
    """Draw a smooth outline: an ellipse or ellipsoid, perhaps with waves that stay away from the origin."""
    return _draw_curve(rng, radius) if d == 2 else _draw_body(rng, radius)


def _draw_curve(rng: np.random.Generator, radius: float) -> _Curve:
    """Draw an ellipse, or a curve of up to six harmonics."""
    orders = np.arange(1, 7)
    drawn = (rng.standard_normal(6) + 1j * rng.standard_normal(6)) / orders
    total = rng.uniform(0.0, 0.6) if rng.random() < 0.75 else 0.0
    harmonics = total * drawn / np.abs(drawn).sum()
    stretch, longest = _draw_stretch(rng, 2)
    return _Curve(radius, harmonics.astype(np.complex64), stretch, _Ball(radius * (1 + total) * longest))


def _draw_body(rng: np.random.Generator, radius: float) -> _Body:
    """Draw an ellipsoid, or a body whose radius has waves of up to the fourth order."""
    axes = rng.standard_normal((_AXES, 3))
    axes /= np.sqrt((axes**2).sum(axis=1, keepdims=True))
    waves = rng.standard_normal((_AXES, len(_WAVES))) / np.sqrt(np.arange(1, len(_WAVES) + 1)) @ _WAVES
    total = rng.uniform(0.1, 0.6) if rng.random() < 0.75 else 0.0
    stretch, _ = _draw_stretch(rng, 3)
    directions = sphere_directions(_DIRECTIONS)
    heights = np.polynomial.polynomial.polyval(axes @ directions.T, waves.T[:, :, None], tensor=False).sum(axis=0)
    factor = total / np.abs(heights).max()
    surface = radius * (1 + factor * heights)[:, None] * directions
    hull = _Hull(_MARGIN * np.linalg.solve(stretch, surface.T).T)
    return _Body(radius, axes, factor * waves, stretch, hull)


def _draw_convex(rng: np.random.Generator, d: int, radius: float) -> _Convex:
    """Draw a convex polygon with three to seven sides, or a polyhedron with up to twelve faces."""
    normals, gap = _draw_sides(rng) if d == 2 else (_draw_faces(rng), 0.0)
    offsets = radius * rng.uniform(0.6, 1.0, size=len(normals))
    stretch, longest = _draw_stretch(rng, d)
    # The farthest corner lies between two normals.
    reach = float(offsets.max()) / math.cos(gap / 2) * longest
    normals = normals @ stretch
    lengths = np.sqrt((normals**2).sum(axis=1))
    normals, offsets = normals / lengths[:, None], offsets / lengths
    if d == 2:
        return _Convex(normals, offsets, _Ball(reach))
    sides = np.column_stack([normals, -offsets])
    return _Convex(normals, offsets, _Hull(scipy.spatial.HalfspaceIntersection(sides, np.zeros(d)).intersections))


def _draw_sides(rng: np.random.Generator) -> tuple[Array, float]:
    """Draw the normals (s, 2) of a polygon's sides, in order; return them and the largest angle between neighbours."""
    sides = int(rng.integers(3, 8))
    jitter = 0.05 if sides == 3 else 0.15
    angles = (np.arange(sides) + rng.uniform(-jitter, jitter, size=sides)) * (2 * math.pi / sides)
    gap = float(np.diff(angles, append=angles[0] + 2 * math.pi).max())
    return np.stack([np.sin(angles), np.cos(angles)], axis=1), gap


def _draw_faces(rng: np.random.Generator) -> Array:
    """Draw the normals (s, 3) of a polyhedron's six to twelve faces, spread over the sphere."""
    regular = sphere_directions(int(rng.integers(6, 13)))
    # Turned by less than 7 degrees, so that some normal is within 70 degrees of any direction and no corner is far.
    normals = regular + rng.uniform(-0.07, 0.07, size=regular.shape)
    return np.asarray(normals / np.sqrt((normals**2).sum(axis=1, keepdims=True)))
