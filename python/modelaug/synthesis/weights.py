"""How far to trust a flow: 1 inside the objects, falling smoothly to 0 away from their landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy

from modelaug._arrays import Array, Mask
from modelaug.data.cohort import Cohort, LandmarkObject
from modelaug.transforms.polylines import Polyline, inside_polygon


def landmark_spacing(landmarks: Array, spacing: Array) -> float:
    """Return the mean distance of a landmark to its nearest neighbour, in mm."""
    if len(landmarks) < 2:
        raise ValueError(f"landmarks holds {len(landmarks)} landmark; pass at least 2")
    distances, _ = scipy.spatial.KDTree(landmarks * spacing).query(landmarks * spacing, k=2)
    return float(distances[:, 1].mean())


def weight_map(
    landmarks: Array, objects: Sequence[LandmarkObject], grid: tuple[int, ...], spacing: Array, width: float
) -> npt.NDArray[np.float32]:
    """Return 1 inside the objects and (1 + cos(pi distance / width)) / 2 up to `width` away from them, 0 beyond.

    The inside of a closed contour in the plane is its polygon; that of an object without order, and of any object in
    space, the convex hull of its landmarks; an open contour has none.

    Parameters
    ----------
    landmarks : ndarray, (m, d)
        Voxels.
    objects
        Groups of the landmarks.
    grid
        Shape of the map.
    spacing : ndarray, (d,)
        Millimetres per voxel.
    width
        Where the weight reaches 0, in mm.

    Returns
    -------
    ndarray, (*grid), float32
    """
    mask = np.zeros(grid, dtype=bool)
    for landmark_object in objects:
        points = landmarks[list(landmark_object.indices)]
        closed = landmark_object.kind == "closed" and len(grid) == 2
        if landmark_object.kind != "open":
            mask |= inside_polygon(points, grid) if closed else _inside_hull(points, grid)
        if closed or landmark_object.kind == "open":
            points = Polyline(points, closed).subdivided(0.5)
        mask[tuple(np.clip(np.rint(points).astype(int), 0, np.array(grid) - 1).T)] = True
    distance: Array = scipy.ndimage.distance_transform_edt(~mask, sampling=spacing)
    return (0.5 + 0.5 * np.cos(np.pi * np.minimum(distance / width, 1.0))).astype(np.float32)


def _inside_hull(points: Array, grid: tuple[int, ...]) -> Mask:
    """Return the voxels within the convex hull of points; none if they span no volume."""
    inside = np.zeros(grid, dtype=bool)
    try:
        hull = scipy.spatial.Delaunay(points)
    except (scipy.spatial.QhullError, ValueError):
        return inside
    low = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 1, grid)
    axes: list[Any] = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    inside[box] = hull.find_simplex(voxels.reshape(-1, len(grid))).reshape(voxels.shape[:-1]) >= 0
    return inside


class SubjectWeights:
    """The weight map of every subject around its own landmarks, made when it is asked for first.

    Raises
    ------
    ValueError
        If `unit` is ``"spacing"`` and the subjects have a single landmark.
    """

    def __init__(self, cohort: Cohort, width: float, unit: Literal["spacing", "mm"]) -> None:
        self._cohort = cohort
        self._widths = [
            width * landmark_spacing(landmarks, cohort.spacing) if unit == "spacing" else width
            for landmarks in cohort.landmarks
        ]
        self._maps: dict[int, npt.NDArray[np.float32]] = {}

    def of(self, subject: int) -> npt.NDArray[np.float32]:
        """Return the weight map (*grid) of a subject."""
        made = self._maps.get(subject)
        if made is None:  # two threads that both make it make the same
            cohort = self._cohort
            landmarks, width = cohort.landmarks[subject], self._widths[subject]
            made = weight_map(landmarks, cohort.objects, cohort.grid, cohort.spacing, width)
            self._maps[subject] = made
        return made
