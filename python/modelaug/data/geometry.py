"""The geometry of images: spacing, origin and direction cosines of a grid in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks


@dataclass(frozen=True, eq=False)
class Geometry:
    """Positions of a grid's voxels, ``origin + direction @ (spacing * index)``, all in (x, y[, z]) order.

    Parameters
    ----------
    spacing : array_like, (d,)
        Millimetres per voxel, in array-axis order, so that of x comes last.
    origin : array_like, (d,), optional
        Position (x, y[, z]) of the first voxel's centre in mm, LPS: x to the patient's left, y to the back, z to the
        head. 0 by default.
    direction : array_like, (d, d), optional
        Direction cosines: column j is the direction of ITK's index axis j, which is array axis d - 1 - j. The identity
        by default.

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
        """Matrix (d, d) from indices to offsets in mm, both in (x, y[, z]) order."""
        return self.direction * self.spacing[::-1]

    def moved(self, voxels: npt.NDArray[Any], spacing: npt.ArrayLike | None = None) -> Geometry:
        """Return the geometry of a grid with the same axes and another first voxel.

        Parameters
        ----------
        voxels : ndarray, (d,)
            Position of the new first voxel, in voxels of this grid and array-axis order.
        spacing : array_like, (d,), optional
            Spacing of the new grid; the same by default.
        """
        offset = self.direction @ (self.spacing * voxels)[::-1]
        return Geometry(self.spacing if spacing is None else spacing, self.origin + offset, self.direction)

    def to_space(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Convert voxels (m, d), in array-axis order, to positions (m, d) in (x, y[, z]) order and mm."""
        return np.asarray(self.origin + np.asarray(points, dtype=np.float64)[:, ::-1] @ self.matrix.T)

    def to_voxels(self, positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Convert positions in space to voxels; the inverse of `to_space`."""
        offsets = np.asarray(positions, dtype=np.float64) - self.origin
        return np.ascontiguousarray(np.linalg.solve(self.matrix, offsets.T).T[:, ::-1])


def voxels_apart(grid: Sequence[int], one: Geometry, other: Geometry) -> float:
    """Return the largest distance along an axis between a grid's voxels in two geometries, in voxels of `other`."""
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


def in_plane(geometry: Geometry) -> Geometry:
    """Return the geometry of the planes across a volume's first array axis, or of a plane itself.

    Axial planes keep x and y in space; others have coordinates of their own, from 0 on.
    """
    if len(geometry.spacing) == 2:
        return geometry
    axial = abs(geometry.direction[2, 2]) > 1 - 1e-5
    placed = (geometry.origin[:2], geometry.direction[:2, :2]) if axial else ()
    return Geometry(geometry.spacing[1:], *placed)
