"""How often contours cross: themselves and each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelaug.cohort import LandmarkObject

__all__ = ["contour_pairs", "count_crossings"]

Array = npt.NDArray[np.float64]


def contour_pairs(objects: Sequence[LandmarkObject], d: int) -> list[tuple[LandmarkObject, LandmarkObject]]:
    """Return all pairs of contours in the plane, each with itself included; none in space, where curves pass by."""
    contours = [o for o in objects if o.kind != "points" and len(o.indices) > 1] if d == 2 else []
    return list(itertools.combinations_with_replacement(contours, 2))


def count_crossings(landmarks: Array, objects: Sequence[LandmarkObject]) -> npt.NDArray[np.int64]:
    """Return how often the contours through the landmarks cross.

    Parameters
    ----------
    landmarks : ndarray, (m, d)
    objects
        Groups of the landmarks.

    Returns
    -------
    ndarray, (pairs,), int64
        In the order of `contour_pairs`. Contours that touch without crossing do not count.
    """
    d = landmarks.shape[1]
    return np.array([_between(landmarks, *pair) for pair in contour_pairs(objects, d)], dtype=np.int64)


def _between(landmarks: Array, a: LandmarkObject, b: LandmarkObject) -> int:
    (start, end), (other_start, other_end) = (_segments(landmarks, each) for each in (a, b))
    one = _side(start[:, None], end[:, None], other_start[None]) * _side(start[:, None], end[:, None], other_end[None])
    two = _side(other_start[None], other_end[None], start[:, None]) * _side(
        other_start[None], other_end[None], end[:, None]
    )
    crossings = int(((one < 0) & (two < 0)).sum())
    return crossings // 2 if a is b else crossings


def _segments(landmarks: Array, contour: LandmarkObject) -> tuple[Array, Array]:
    points = landmarks[list(contour.indices)]
    return (points, np.roll(points, -1, axis=0)) if contour.kind == "closed" else (points[:-1], points[1:])


def _side(a: Array, b: Array, p: Array) -> Array:
    """Return twice the signed area of the triangles a, b, p: on which side of a line a point lies."""
    area: Array = (b[..., 0] - a[..., 0]) * (p[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (p[..., 0] - a[..., 0])
    return area
