"""Polylines and polygons: arc length, resampling to equal arcs, nearest points, area, and pixels inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug._arrays import Array

_BLOCK: Final = 1 << 14  # distances at a time, so that they stay in the cache


@dataclass(frozen=True, eq=False)
class Polyline:
    """A polyline in any number of dimensions; positions on it are arc lengths from its first vertex.

    Attributes
    ----------
    points : ndarray, (p, d), float64
        Vertices in order, in a unit that is the same along all axes. They may coincide; there is at least one.
    closed : bool
        Whether the last vertex is joined to the first.
    """

    points: Array
    closed: bool = False

    @cached_property
    def vertices(self) -> Array:
        """Return the ends of all segments in order, (s + 1, d); a closed line ends with its first vertex again."""
        return np.concatenate([self.points, self.points[:1]]) if self.closed else self.points

    @cached_property
    def steps(self) -> Array:
        """Return the lengths of the segments, (s,)."""
        return np.asarray(np.linalg.norm(np.diff(self.vertices, axis=0), axis=1))

    @cached_property
    def stops(self) -> Array:
        """Return the arc length at each of `vertices`, (s + 1,)."""
        return np.concatenate([[0.0], np.cumsum(self.steps)])

    @property
    def length(self) -> float:
        """Return the arc length of the whole line."""
        return float(self.stops[-1])

    def at(self, positions: npt.ArrayLike) -> Array:
        """Return the points (..., d) at arc lengths (...); a closed line is periodic, an open one stops at its ends."""
        wanted = np.asarray(positions, dtype=np.float64)
        if self.closed and self.length > 0:
            wanted = np.mod(wanted, self.length)
        return np.stack([np.interp(wanted, self.stops, coordinate) for coordinate in self.vertices.T], axis=-1)

    def equal_arcs(self, count: int, start: float = 0.0, end: float | None = None) -> Array:
        """Return `count` points (count, d) at equal arcs from `start` to `end`, without the end itself.

        The end is by default that of the line. On a closed line the points pass the first vertex if `end` is not beyond
        `start`, and go round once where both are equal.
        """
        whole = (self.length if end is None else end) - start
        if self.closed and self.length > 0:
            whole = whole % self.length or self.length
        return self.at(start + whole * np.arange(count) / count)

    def subdivided(self, largest: float) -> Array:
        """Return points on the line (p, d), with all vertices, whose steps along any axis are at most `largest`."""
        along = np.diff(self.vertices, axis=0)
        counts = 1 + (np.abs(along).max(axis=1) / largest).astype(np.intp)
        segment = np.repeat(np.arange(len(along)), counts)
        share = (np.arange(len(segment)) - (np.cumsum(counts) - counts)[segment]) / counts[segment]
        return np.concatenate([self.vertices[segment] + share[:, None] * along[segment], self.vertices[-1:]])

    def nearest(self, points: npt.ArrayLike) -> tuple[Array, Array]:
        """Return the positions (...) of the nearest points on the line to points (..., d), and their distances."""
        if len(self.steps) == 0:
            return Polyline(self.points, closed=True).nearest(points)  # a segment of length 0
        wanted = np.asarray(points, dtype=np.float64)
        flat = wanted.reshape(-1, wanted.shape[-1])
        rows = max(1, _BLOCK // len(self.steps))
        parts = [self._nearest(flat[i : i + rows]) for i in range(0, max(1, len(flat)), rows)]
        positions, distances = (np.concatenate(each).reshape(wanted.shape[:-1]) for each in zip(*parts, strict=True))
        return positions, distances

    def _nearest(self, points: Array) -> tuple[Array, Array]:
        starts, along = self.vertices[:-1], np.diff(self.vertices, axis=0)
        squares = (along**2).sum(axis=1)
        # The nearest point of a segment of length 0 is its start: the share is 0 / 1.
        directions = along / np.where(squares > 0, squares, 1)[:, None]
        # Coordinate by coordinate, each a matrix (p, s): NumPy is slow along a last axis of 2 or 3.
        offsets = [points[:, k, None] - starts[:, k] for k in range(points.shape[1])]
        share = offsets[0] * directions[:, 0]
        for offset, direction in zip(offsets[1:], directions.T[1:], strict=True):
            share += offset * direction
        np.clip(share, 0, 1, out=share)
        total = np.zeros_like(share)
        for offset, extent in zip(offsets, along.T, strict=True):
            offset -= share * extent
            offset *= offset
            total += offset
        segment, row = total.argmin(axis=1), np.arange(len(points))
        return self.stops[segment] + share[row, segment] * self.steps[segment], np.sqrt(total[row, segment])


def polygon_area(polygon: Array) -> float:
    """Return the area of a polygon (p, 2), negative if it runs counter-clockwise on a screen where rows point down."""
    rows, columns = polygon.T
    return 0.5 * float(np.sum(columns * np.roll(rows, -1) - np.roll(columns, -1) * rows))


def inside_polygon(polygon: Array, grid: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return which pixels of a grid (rows, columns) have their centre inside a polygon (p, 2), by the even-odd rule.

    Along a row, every edge that crosses it switches between outside and inside. Centres on the outline are inside at
    the polygon's top and left only, so that adjacent polygons share none.
    """
    start, end = polygon, np.roll(polygon, -1, axis=0)
    rows = np.arange(grid[0])[:, None]
    row, edge = np.nonzero((start[:, 0] <= rows) != (end[:, 0] <= rows))
    (r0, c0), (r1, c1) = start[edge].T, end[edge].T
    column = np.clip(np.ceil(c0 + (row - r0) * (c1 - c0) / (r1 - r0)), 0, grid[1]).astype(np.intp)
    turns = np.zeros((grid[0], grid[1] + 1), np.intp)
    np.add.at(turns, (row, column), 1)
    return np.asarray(turns.cumsum(axis=1)[:, :-1] % 2 == 1)
