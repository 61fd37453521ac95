"""Numbers of crossings of contours, with themselves and with each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from modelaug import _core
from modelaug._arrays import Array, Indices
from modelaug.data.cohort import LandmarkObject


def contour_pairs(objects: Sequence[LandmarkObject], d: int) -> list[tuple[LandmarkObject, LandmarkObject]]:
    """Return all pairs of contours in the plane, each with itself included; none in space, where no curves cross."""
    return list(itertools.combinations_with_replacement(_contours(objects, d), 2))


def count_crossings(landmarks: Array, objects: Sequence[LandmarkObject]) -> npt.NDArray[np.int64]:
    """Count the crossings of the contours through landmarks.

    Parameters
    ----------
    landmarks : ndarray, (m, d)
    objects
        Groups of the landmarks.

    Returns
    -------
    ndarray, (pairs,), int64
        In the order of `contour_pairs`; contours that only touch do not count.
    """
    if landmarks.shape[1] != 2:
        return np.zeros(0, dtype=np.int64)
    starts, ends, contours, pairs = _segments(tuple(objects))
    if len(starts) == 0:
        return np.zeros(0, dtype=np.int64)
    counts = _core.count_crossings(np.ascontiguousarray(landmarks, dtype=np.float64), starts, ends, contours)
    return counts.ravel()[pairs]


@lru_cache(maxsize=16)
def _segments(objects: tuple[LandmarkObject, ...]) -> tuple[Indices, Indices, Indices, Indices]:
    """Return start, end and contour of each segment, and the index of each pair of contours in a matrix of all."""
    starts, ends, numbers = [], [], []
    for number, contour in enumerate(_contours(objects, 2)):
        indices = np.array(contour.indices, dtype=np.int64)
        starts.append(indices if contour.kind == "closed" else indices[:-1])
        ends.append(np.roll(indices, -1) if contour.kind == "closed" else indices[1:])
        numbers.append(np.full(len(starts[-1]), number, dtype=np.int64))
    none = [np.zeros(0, dtype=np.int64)]
    pairs = np.flatnonzero(np.triu(np.ones((len(numbers), len(numbers)))))
    return np.concatenate(starts or none), np.concatenate(ends or none), np.concatenate(numbers or none), pairs


def _contours(objects: Sequence[LandmarkObject], d: int) -> list[LandmarkObject]:
    """Return the objects that are contours in the plane."""
    return [o for o in objects if o.kind != "points" and len(o.indices) > 1] if d == 2 else []
