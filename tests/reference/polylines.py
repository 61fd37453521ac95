"""Polylines and polygons: one segment after the other, and angles under which an outline is seen."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def segments(points: Array, closed: bool) -> list[tuple[Array, Array]]:
    """Return the ends of each segment."""
    return list(pairwise([*points, points[0]] if closed else points))


def point_at(points: Array, closed: bool, position: float) -> Array:
    """Return the point at an arc length, found by walking there."""
    for start, end in segments(points, closed):
        step = math.dist(start, end)
        if position < step:
            return np.asarray(start + position / step * (end - start))
        position -= step
    return np.asarray(points[0] if closed else points[-1])


def distance(point: Array, points: Array, closed: bool) -> float:
    """Return the distance of a point to a polyline: to the nearest vertex, or along a perpendicular of a segment."""
    found = [math.dist(point, vertex) for vertex in points]
    for start, end in segments(points, closed):
        if not (end - start).any():
            continue
        along = (end - start) / math.dist(start, end)
        ahead = (point - start) @ along
        if 0 < ahead < math.dist(start, end):
            found.append(math.dist(point, start + ahead * along))
    return min(found)


def area(polygon: Array) -> float:
    """Return the area of a polygon by the trapezia under its edges, negative if it runs from columns to rows."""
    return float(sum((c0 + c1) / 2 * (r1 - r0) for (r0, c0), (r1, c1) in segments(polygon, True)))


def windings(polygon: Array, points: Array) -> npt.NDArray[np.int64]:
    """Return how often a polygon winds around points (..., 2), by the sum of the angles it is seen under."""
    offsets = polygon - points[..., None, :]
    angles = np.unwrap(np.arctan2(offsets[..., 0], offsets[..., 1])[..., [*range(len(polygon)), 0]], axis=-1)
    return np.rint((angles[..., -1] - angles[..., 0]) / (2 * np.pi)).astype(np.int64)


def inside_polygon(polygon: Array, points: Array) -> npt.NDArray[np.bool_]:
    """Return which points (..., 2) a polygon winds around an odd number of times."""
    return np.asarray(windings(polygon, points) % 2 == 1)
