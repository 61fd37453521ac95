"""How images are stored: which array axis runs where in the patient, and scans brought to one orientation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry

_CLEAR: Final = 30.0
"""Degrees by which axes may differ from others and still be the same ones; patients never lie quite alike."""


@dataclass(frozen=True)
class Turn:
    """How an array is to be stored to lie as another one.

    Attributes
    ----------
    axes
        Which of its axes becomes axis 0, 1, ... of the result.
    reversed
        Which axes of the result are then reversed.
    degrees
        Angle that is left between the two; None where one is a mirror image of the other, by no whole axes.
    """

    axes: tuple[int, ...]
    reversed: tuple[int, ...]
    degrees: float | None

    @property
    def clear(self) -> bool:
        """Whether the axes are those of the other array, turned, and nothing in between."""
        return self.degrees is not None and self.degrees <= _CLEAR

    @property
    def identity(self) -> bool:
        """Whether nothing changes."""
        return not self.reversed and self.axes == tuple(sorted(self.axes))

    def told(self) -> str:
        """Return what is done, for a message."""
        if self.degrees is None:
            return "as its mirror image, askew"
        order = "" if self.axes == tuple(sorted(self.axes)) else f"axes in the order {', '.join(map(str, self.axes))}"
        flips = f"axis {' and '.join(map(str, self.reversed))} reversed" if self.reversed else ""
        return ", ".join(filter(None, (order, flips)))

    def inverse(self) -> Turn:
        """Return the turn that takes the result back."""
        axes = tuple(int(axis) for axis in np.argsort(self.axes))
        return Turn(axes, tuple(self.axes[axis] for axis in self.reversed), self.degrees)

    def of_plane(self) -> Turn:
        """Return the turn of a plane, if this is of a volume whose first axis stays."""
        return Turn(tuple(axis - 1 for axis in self.axes[1:]), tuple(axis - 1 for axis in self.reversed), self.degrees)

    def array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an array (..., *grid) turned."""
        channels = array.ndim - len(self.axes)
        order = (*range(channels), *(channels + axis for axis in self.axes))
        return np.ascontiguousarray(np.flip(array.transpose(order), tuple(channels + axis for axis in self.reversed)))

    def points(self, points: npt.NDArray[np.float64], grid: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return where voxels (m, d) of a grid come to lie."""
        moved = points[:, self.axes].copy()
        for axis in self.reversed:
            moved[:, axis] = grid[self.axes[axis]] - 1 - moved[:, axis]
        return moved

    def geometry(self, geometry: Geometry, grid: tuple[int, ...]) -> Geometry:
        """Return where the voxels of the turned array lie: each where it was."""
        d = len(self.axes)
        first = np.zeros(d)
        signs = np.ones(d)
        for axis in self.reversed:
            first[self.axes[axis]] = grid[self.axes[axis]] - 1
            signs[axis] = -1
        # Directions are in index order, that of the axes backwards.
        columns = [d - 1 - self.axes[d - 1 - j] for j in range(d)]
        return Geometry(
            geometry.spacing[list(self.axes)],
            geometry.to_space(first[None])[0],
            geometry.direction[:, columns] * signs[::-1],
        )


def turn_onto(geometry: Geometry, other: Geometry, grid: tuple[int, ...]) -> Turn:
    """Return how an array is to be stored so that its axes run as those of another one, as nearly as whole axes can.

    Parameters
    ----------
    geometry, other
        Where the voxels of the two lie, of as many dimensions.
    grid
        Shape of the array. An axis with a single voxel runs either way.
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
    # Row i of `nearest` says which index axis, and in which sense, becomes index axis i.
    sources = [int(np.argmax(np.abs(nearest[d - 1 - axis]))) for axis in range(d)]
    axes = tuple(d - 1 - source for source in sources)
    flipped = tuple(axis for axis in range(d) if nearest[d - 1 - axis, sources[axis]] < 0 and grid[axes[axis]] > 1)
    return Turn(axes, flipped, None if handed < 0 and degrees > _CLEAR else degrees)
