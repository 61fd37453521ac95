"""Where the voxels of a grid lie in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of a grid lie: ``position = origin + direction @ (spacing * index)``, all in (x, y[, z]) order.

    Parameters
    ----------
    spacing : array_like, (d,)
        Millimetres per voxel, in array-axis order: of the last axis, x, last.
    origin : array_like, (d,), optional
        Position (x, y[, z]) of the first voxel's centre in mm, LPS: x to the patient's left, y to the back, z to the
        head. 0 by default.
    direction : array_like, (d, d), optional
        Column j is the direction in space of ITK's index axis j, which is array axis d - 1 - j. The identity by
        default.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong shape or values that are not finite, or the directions are not orthonormal.
    """

    spacing: npt.NDArray[np.float64]
    origin: npt.NDArray[np.float64]
    direction: npt.NDArray[np.float64]

    def __init__(
        self, spacing: npt.ArrayLike, origin: npt.ArrayLike | None = None, direction: npt.ArrayLike | None = None
    ) -> None:
        lengths = _checks.finite("spacing", spacing, ndim=1, dtype=np.float64)
        d = len(lengths)
        start = np.zeros(d) if origin is None else _checks.finite("origin", origin, ndim=1, dtype=np.float64)
        if start.shape != (d,):
            raise ValueError(f"origin has shape {start.shape}; pass {d} numbers (x, y[, z]) in mm")
        object.__setattr__(self, "spacing", _checks.spacing("spacing", lengths, d))
        object.__setattr__(self, "origin", start)
        object.__setattr__(self, "direction", _direction_matrix(direction, d))

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """What a step along each of ITK's index axes (x, y[, z]) is in space, as columns in mm."""
        return self.direction * self.spacing[::-1]

    def moved(self, voxels: npt.NDArray[Any], spacing: npt.ArrayLike | None = None) -> Geometry:
        """Return the geometry of a grid with the same axes that begins elsewhere.

        Parameters
        ----------
        voxels : ndarray, (d,)
            Where its first voxel lies in this one, in array-axis order.
        spacing : array_like, (d,), optional
            Of the new grid; the same by default.
        """
        offset = self.direction @ (self.spacing * voxels)[::-1]
        return Geometry(self.spacing if spacing is None else spacing, self.origin + offset, self.direction)

    def to_space(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return where voxels (m, d), in array-axis order, lie in space, (m, d) in (x, y[, z]) order and mm."""
        return np.asarray(self.origin + np.asarray(points, dtype=np.float64)[:, ::-1] @ self.matrix.T)

    def to_voxels(self, positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the voxels at positions in space; the inverse of `to_space`."""
        offsets = np.asarray(positions, dtype=np.float64) - self.origin
        return np.ascontiguousarray(np.linalg.solve(self.matrix, offsets.T).T[:, ::-1])


def voxels_apart(grid: Sequence[int], one: Geometry, other: Geometry) -> float:
    """Return how far a grid's voxels lie apart in two geometries of its axes, at most, in voxels of the other."""
    corners = np.indices((2,) * len(grid)).reshape(len(grid), -1).T * (np.array(grid) - 1)
    return float(np.abs(other.to_voxels(one.to_space(corners)) - corners).max())


def _direction_matrix(direction: npt.ArrayLike | None, d: int) -> npt.NDArray[np.float64]:
    """Return `direction` as an orthonormal matrix (d, d); None means the identity."""
    if direction is None:
        return np.eye(d)
    matrix = _checks.finite("direction", direction, ndim=2, dtype=np.float64)
    # Files keep directions in single precision.
    if matrix.shape != (d, d) or np.abs(matrix.T @ matrix - np.eye(d)).max() > 1e-4:
        raise ValueError(f"direction is {matrix.tolist()}; pass a {d} x {d} matrix with orthonormal columns")
    return matrix


def is_single_plane(image: npt.NDArray[Any], geometry: Geometry | None) -> bool:
    """Return whether an image is a volume of a single plane, without channels."""
    return geometry is not None and len(geometry.spacing) == 3 and image.ndim == 3 and image.shape[0] == 1


def in_plane(geometry: Geometry) -> Geometry:
    """Return where the pixels of a volume's plane across its first array axis lie; of a plane, where its own do.

    Where the plane is that of x and y in space, they are kept; otherwise it has coordinates of its own, from 0 on.
    """
    if len(geometry.spacing) == 2:
        return geometry
    axial = abs(geometry.direction[2, 2]) > 1 - 1e-5
    return Geometry(
        geometry.spacing[1:],
        geometry.origin[:2] if axial else None,
        geometry.direction[:2, :2] if axial else None,
    )
