"""Orientation of arrays: the permutations and flips of axes that bring scans to one orientation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry

_CLEAR: Final = 30.0
"""Largest angle in degrees between axes that count as the same; patients never lie quite alike."""


@dataclass(frozen=True)
class Turn:
    """A permutation and flips of axes that bring an array to the orientation of another one.

    Attributes
    ----------
    axes
        The axes of the array that become axes 0, 1, ... of the result.
    reversed
        Axes of the result that are then reversed.
    degrees
        Angle that remains between the two; None where one is an oblique mirror image of the other.
    """

    axes: tuple[int, ...]
    reversed: tuple[int, ...]
    degrees: float | None

    @property
    def clear(self) -> bool:
        """Whether the axes are those of the other array in another order or sense, up to a small angle."""
        return self.degrees is not None and self.degrees <= _CLEAR

    @property
    def identity(self) -> bool:
        """Whether nothing changes."""
        return not self.reversed and self.axes == tuple(sorted(self.axes))

    def description(self) -> str:
        """Describe the turn in a message."""
        if self.degrees is None:
            return "as its mirror image, askew"
        order = "" if self.axes == tuple(sorted(self.axes)) else f"axes in the order {', '.join(map(str, self.axes))}"
        flips = f"axis {' and '.join(map(str, self.reversed))} reversed" if self.reversed else ""
        return ", ".join(filter(None, (order, flips)))

    def inverse(self) -> Turn:
        """Return the inverse turn."""
        axes = tuple(int(axis) for axis in np.argsort(self.axes))
        return Turn(axes, tuple(self.axes[axis] for axis in self.reversed), self.degrees)

    def of_plane(self) -> Turn:
        """Return the turn of the planes across the first axis of a volume, which must keep that axis."""
        return Turn(tuple(axis - 1 for axis in self.axes[1:]), tuple(axis - 1 for axis in self.reversed), self.degrees)

    def array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn an array (..., *grid)."""
        channels = array.ndim - len(self.axes)
        order = (*range(channels), *(channels + axis for axis in self.axes))
        return np.ascontiguousarray(np.flip(array.transpose(order), tuple(channels + axis for axis in self.reversed)))

    def points(self, points: npt.NDArray[np.float64], grid: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return the positions (m, d) of voxels (m, d) of a grid after the turn."""
        moved = points[:, self.axes].copy()
        for axis in self.reversed:
            moved[:, axis] = grid[self.axes[axis]] - 1 - moved[:, axis]
        return moved

    def geometry(self, geometry: Geometry, grid: tuple[int, ...]) -> Geometry:
        """Return the geometry of the turned array, in which every voxel keeps its position in space."""
        d = len(self.axes)
        first, signs = np.zeros((1, d)), np.ones(d)
        for axis in self.reversed:
            first[0, self.axes[axis]] = grid[self.axes[axis]] - 1
            signs[axis] = -1
        # Directions are in index order, the reverse of the array's.
        columns = [d - 1 - self.axes[d - 1 - j] for j in range(d)]
        direction = geometry.direction[:, columns] * signs[::-1]
        return Geometry(geometry.spacing[list(self.axes)], geometry.to_space(first)[0], direction)


def turn_onto(geometry: Geometry, other: Geometry, grid: tuple[int, ...]) -> Turn:
    """Return the turn that brings an array as near to the orientation of another one as whole axes can.

    Parameters
    ----------
    geometry, other
        The geometries of the array and of the other one, with the same number of dimensions.
    grid
        Shape of the array. An axis with a single voxel has no sense of direction.
    """
    d = len(grid)
    relative = other.direction.T @ geometry.direction
    single = next((k for k, length in enumerate(grid) if length == 1), None)
    if single is not None and np.linalg.det(relative) < 0:
        relative = relative.copy()
        relative[:, d - 1 - single] *= -1
    handed = np.sign(np.linalg.det(relative))
    best, nearest = -np.inf, np.eye(d)
    for order in itertools.permutations(range(d)):
        permuted = np.eye(d)[:, order]
        for signs in itertools.product((1.0, -1.0), repeat=d):
            candidate = permuted * np.array(signs)
            likeness = float((candidate * relative).sum())
            if np.sign(np.linalg.det(candidate)) == handed and likeness > best + 1e-9:
                best, nearest = likeness, candidate
    cosine = best / 2 if d == 2 else (best - 1) / 2
    degrees = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    # Row i of `nearest` gives the index axis, and its sense, that becomes index axis i.
    sources = [int(np.argmax(np.abs(nearest[d - 1 - axis]))) for axis in range(d)]
    axes = tuple(d - 1 - source for source in sources)
    flipped = tuple(axis for axis in range(d) if nearest[d - 1 - axis, sources[axis]] < 0 and grid[axes[axis]] > 1)
    return Turn(axes, flipped, None if handed < 0 and degrees > _CLEAR else degrees)
