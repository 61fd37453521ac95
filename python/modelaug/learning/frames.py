"""Resampling between an image's grid and the grid that a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug._arrays import Field, Image
from modelaug.data.geometry import Geometry
from modelaug.data.resampling import first_voxel, resize_field, resize_image, smoothed
from modelaug.learning.network import SeenImages
from modelaug.transforms.warping import warp


@dataclass(frozen=True, eq=False)
class Frame:
    """The network's grid over an image, with the same centre and parallel axes.

    Attributes
    ----------
    own : tuple of int
        Shape of the image's grid.
    grid : tuple of int
        Shape of the network's grid.
    ratio : ndarray, (d,)
        Voxels of the image per voxel of the network, along each axis.
    """

    own: tuple[int, ...]
    grid: tuple[int, ...]
    ratio: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, own: tuple[int, ...], seen: SeenImages | None, grid: tuple[int, ...] | None, geometry: Geometry | None
    ) -> Frame:
        """Return the frame for an image.

        Parameters
        ----------
        own
            Shape of the image's grid.
        seen
            The images of the network's training, if known.
        grid
            Requested shape; by default the training's, or the image's own.
        geometry
            Of the image. With it, and the spacing of the network's training, the frame has that spacing; otherwise it
            has the image's extent.
        """
        shape = grid or (own if seen is None else seen.grid)
        ratio: npt.NDArray[np.float64] = np.array(own, np.float64) / np.array(shape)
        if geometry is not None and seen is not None and seen.spacing is not None:
            # A requested grid has the extent of the training's.
            spacing = np.array(seen.spacing) * np.array(seen.grid) / np.array(shape)
            found = spacing / geometry.spacing
            # Files keep spacings in single precision.
            ratio = np.where(np.isclose(found, ratio, rtol=1e-4), ratio, found)
        return cls(own, tuple(shape), ratio)

    @property
    def _same_extent(self) -> bool:
        return np.array_equal(self.ratio, np.array(self.own, np.float64) / np.array(self.grid))

    @property
    def _start(self) -> npt.NDArray[np.float64]:
        """The position (d,) of the frame's first voxel in voxels of the image."""
        return first_voxel(self.own, self.grid, self.ratio)

    def see(self, image: Image) -> Image:
        """Resample an image (c, *own) to the network's grid, (c, *grid), padded with its smallest values.

        Along axes with larger voxels the image is smoothed first, as in `modelaug.data.resample`.
        """
        if self._same_extent:
            return resize_image(image, self.grid)
        return pulled(image, self._offsets(self.grid, self._start, self.ratio), self.ratio)

    def bring_back(self, displacement: Field) -> Field:
        """Resample a displacement (d, *grid) to the image's grid and voxels, (d, *own); its border continues."""
        if self._same_extent:
            return resize_field(displacement, self.own)
        offsets = self._offsets(self.own, -self._start / self.ratio, 1 / self.ratio)
        scale = self.ratio.reshape(-1, *(1 for _ in self.own))
        return np.asarray(warp(displacement, offsets, threads=1) * scale, np.float32)

    def _offsets(
        self, grid: tuple[int, ...], start: npt.NDArray[np.float64], step: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return ``start + step * x - x`` for the voxels x of a grid, (d, *grid)."""
        index = np.indices(grid, np.float64)
        each = (-1, *(1 for _ in grid))
        return start.reshape(each) + (step - 1).reshape(each) * index


def pulled(
    image: Image, displacement: npt.NDArray[Any], ratio: npt.NDArray[np.float64] | None, threads: int = 1
) -> Image:
    """Pull channels (c, *own) by a displacement (d, *grid), padded with their smallest values: (c, *grid).

    They are smoothed first against aliasing by steps of `ratio` voxels along each axis, unless it is None.
    """
    source = image if ratio is None else smoothed(image, ratio)
    return np.stack(
        [warp(each, displacement, border="constant", fill=float(each.min()), threads=threads) for each in source]
    )


def overlay(
    grid: Sequence[int], fixed: Geometry, shape: Sequence[int], moving: Geometry, *, check: bool = True
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the displacement from fixed voxels to the moving voxels at the same positions in space.

    Parameters
    ----------
    grid
        Shape of the fixed image.
    fixed, moving
        Geometries of the two images.
    shape
        Shape of the moving image.
    check
        Refuse images that do not overlap.

    Returns
    -------
    displacement : ndarray, (d, *grid), float64
        From the fixed voxel to the moving one.
    steps : ndarray, (d,)
        Voxels of the moving image, along each of its axes, per voxel of the fixed one.
    """
    index = np.indices(tuple(grid), np.float64)
    points = index.reshape(len(grid), -1).T
    found = moving.to_voxels(fixed.to_space(points))
    inside = ((found >= -0.5) & (found <= np.array(shape) - 0.5)).all(axis=1)
    if check and not inside.any():
        raise ValueError(
            "moving does not overlap fixed in space; register them affinely first, or check origins and directions"
        )
    corners = moving.to_voxels(fixed.to_space(np.vstack([np.zeros(len(grid)), np.eye(len(grid))])))
    steps = np.abs(corners[1:] - corners[0]).max(axis=0)
    return np.asarray(found.T.reshape(index.shape) - index), steps
