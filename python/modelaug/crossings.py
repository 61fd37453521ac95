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
    return list(itertools.combinations_with_replacement(_contours(objects, d), 2))


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
    contours = _contours(objects, landmarks.shape[1])
    if not contours:
        return np.zeros(0, dtype=np.int64)
    starts, ends = (
        np.concatenate([ends_of(np.array(o.indices), o.kind) for o in contours]) for ends_of in (_starts, _ends)
    )
    a, b = landmarks[starts], landmarks[ends]
    # On which side of the line through each segment (row) each landmark (column) lies: twice the signed areas of the
    # triangles they make.
    along, across = b - a, landmarks[:, None] - a
    side = (along[:, 0] * across[..., 1] - along[:, 1] * across[..., 0]).T
    separated = side[:, starts] * side[:, ends] < 0
    first = np.cumsum([0, *(len(_starts(np.array(o.indices), o.kind)) for o in contours[:-1])])
    crossed = (separated & separated.T).astype(np.int64)
    counts = np.add.reduceat(np.add.reduceat(crossed, first, axis=0), first, axis=1)
    within = np.diag(counts) // 2  # each crossing of a contour with itself was seen from both of its segments
    pairs = itertools.combinations_with_replacement(range(len(contours)), 2)
    return np.array([within[i] if i == j else counts[i, j] for i, j in pairs], dtype=np.int64)


def _contours(objects: Sequence[LandmarkObject], d: int) -> list[LandmarkObject]:
    return [o for o in objects if o.kind != "points" and len(o.indices) > 1] if d == 2 else []


def _starts(indices: npt.NDArray[np.int64], kind: str) -> npt.NDArray[np.int64]:
    return indices if kind == "closed" else indices[:-1]


def _ends(indices: npt.NDArray[np.int64], kind: str) -> npt.NDArray[np.int64]:
    return np.roll(indices, -1) if kind == "closed" else indices[1:]
