"""Weight maps, the confidence in a flow: 1 inside the objects, falling smoothly to 0 away from their landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy

from modelaug._arrays import Array, Image, Mask
from modelaug.data.cohort import Cohort, LandmarkObject
from modelaug.transforms.polylines import Polyline, inside_polygon


def landmark_spacing(landmarks: Array, spacing: Array) -> float:
    """Return the mean distance in mm between a landmark and its nearest neighbour."""
    if len(landmarks) < 2:
        raise ValueError(f"landmarks holds {len(landmarks)} landmark; pass at least 2")
    distances, _ = scipy.spatial.KDTree(landmarks * spacing).query(landmarks * spacing, k=2)
    return float(distances[:, 1].mean())


def weight_map(
    landmarks: Array, objects: Sequence[LandmarkObject], grid: tuple[int, ...], spacing: Array, width: float
) -> Image:
    """Return the weight map: 1 inside the objects, (1 + cos(pi r / width)) / 2 at a distance r < width, 0 beyond.

    The inside of a closed contour in the plane is its polygon, of an object without order and of any object in space
    the convex hull of its landmarks; an open contour has no inside.

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
        Distance in mm at which the weight reaches 0.

    Returns
    -------
    ndarray, (*grid), float32
    """
    mask = np.zeros(grid, dtype=bool)
    for o in objects:
        points = landmarks[list(o.indices)]
        closed = o.kind == "closed" and len(grid) == 2
        if o.kind != "open":
            mask |= inside_polygon(points, grid) if closed else _inside_hull(points, grid)
        if closed or o.kind == "open":
            points = Polyline(points, closed).subdivided(0.5)
        mask[tuple(np.clip(np.rint(points).astype(int), 0, np.array(grid) - 1).T)] = True
    distance: Array = scipy.ndimage.distance_transform_edt(~mask, sampling=spacing)
    return (0.5 + 0.5 * np.cos(np.pi * np.minimum(distance / width, 1.0))).astype(np.float32)


def _inside_hull(points: Array, grid: tuple[int, ...]) -> Mask:
    """Return the mask of voxels within the convex hull of points; none if they span no volume."""
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
    """Weight maps of a cohort's subjects around their own landmarks, computed on first use.

    Raises
    ------
    ValueError
        If `unit` is ``"spacing"`` and the subjects have a single landmark.
    """

    def __init__(self, cohort: Cohort, width: float, unit: Literal["spacing", "mm"]) -> None:
        self._cohort = cohort
        units = [landmark_spacing(x, cohort.spacing) if unit == "spacing" else 1.0 for x in cohort.landmarks]
        self._widths = [width * each for each in units]
        self._maps: dict[int, Image] = {}

    def of(self, subject: int) -> Image:
        """Return the weight map (*grid) of a subject."""
        if subject not in self._maps:  # two threads that compute it compute the same
            cohort, width = self._cohort, self._widths[subject]
            landmarks, objects = cohort.landmarks[subject], cohort.objects
            self._maps[subject] = weight_map(landmarks, objects, cohort.grid, cohort.spacing, width)
        return self._maps[subject]
