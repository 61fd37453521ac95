"""Images with the axes of a registration, and their labels, masks and points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import io
from modelaug._arrays import Field, Image, Labels
from modelaug.cli._console import err
from modelaug.data.geometry import Geometry, in_plane, voxels_apart
from modelaug.data.orientation import turn_onto
from modelaug.io.fields import displacement_from_itk, displacement_to_itk, field_of_volume
from modelaug.io.files.paths import suffix
from modelaug.io.formats.pictures import PICTURE_SUFFIXES
from modelaug.io.images import read_in_space, read_labels
from modelaug.io.landmarks import PHYSICAL_SUFFIXES
from modelaug.transforms.warping import warp_points

_KINDS: Final = {2: "a plane", 3: "a volume"}
_PARALLEL: Final = 1e-5  # deviation from 1 of the cosine of the angle between parallel planes
_SAME: Final = 1e-3  # distance in voxels of places that count as the same

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Picture:
    """An image with the axes of a network or a displacement.

    Attributes
    ----------
    path
        Its file.
    image : ndarray, (*grid) or (c, *grid)
        The intensities, or labels.
    ndim
        Number of axes of the grid, 2 or 3.
    geometry
        Where its voxels lie; None if the file does not say.
    volume
        Where the voxels of a volume lie of which the image is the single plane; else None.
    """

    path: Path
    image: npt.NDArray[Any]
    ndim: int
    geometry: Geometry | None
    volume: Geometry | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return self.image.shape[-self.ndim :]

    @property
    def place(self) -> Geometry | None:
        """Where the voxels lie according to the file, in space also for a volume of a single plane."""
        return self.volume or self.geometry


def as_picture(path: Path, image: npt.NDArray[Any], geometry: Geometry | None, ndim: int, *, wanted_by: str) -> Picture:
    """Return an image with `ndim` axes; a volume of a single plane becomes a plane for 2.

    Parameters
    ----------
    path, image, geometry
        The file, and what `modelaug.io.read_image` or `read_labels` returned for it.
    ndim
        2 or 3.
    wanted_by
        The network or displacement that takes it, for messages.

    Raises
    ------
    ValueError
        If the image has other axes.
    """
    volume = None
    if ndim == 2 and geometry is not None and len(geometry.spacing) == 3:
        if image.shape[-3] == 1:
            image, volume, geometry = np.squeeze(image, axis=-3), geometry, in_plane(geometry)
        elif 1 in image.shape[-2:]:
            raise ValueError(
                f"{path} is a single plane across array axis {1 if image.shape[-2] == 1 else 2}, but {wanted_by} takes "
                "those across axis 0; store it with the axis of one voxel as the last of the file"
            )
    if geometry is not None and len(geometry.spacing) != ndim:
        raise ValueError(
            f"{path} is {_KINDS[len(geometry.spacing)]} but {wanted_by} takes {_KINDS[ndim]}; pass one of as many axes"
        )
    if image.ndim not in (ndim, ndim + 1):
        raise ValueError(
            f"{path} has shape {image.shape} but {wanted_by} takes {_KINDS[ndim]}; pass {ndim} axes, or channels and "
            f"{ndim} axes"
        )
    return Picture(path, image, ndim, geometry, volume)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images with the same number of axes.

    Attributes
    ----------
    fixed, moving
        The images.
    geometry
        Where the fixed image's voxels lie, by the moving image if its own file does not say; None if neither says.
    moving_geometry
        Where the moving image's voxels lie in the same coordinates; None, if one of the files does not say: where the
        fixed image's do.
    """

    fixed: Picture
    moving: Picture
    geometry: Geometry | None
    moving_geometry: Geometry | None

    @classmethod
    def of(cls, fixed: Picture, moving: Picture) -> Pair:
        """Return the pair of two images.

        Raises
        ------
        ValueError
            If they have different sizes and it is not known where they lie.
        """
        known = fixed.geometry is not None and moving.geometry is not None
        if not known and fixed.grid != moving.grid:
            raise ValueError(
                f"{moving.path} has shape {moving.grid} and {fixed.path} {fixed.grid}; resample them to one grid, or "
                "pass files that say where their voxels lie, such as .nii.gz"
            )
        return cls(fixed, moving, fixed.geometry or moving.geometry, _common_geometry(fixed, moving))

    def report_assumption(self) -> None:
        """Print a message if one file does not say where its voxels lie and the other places them elsewhere.

        By default voxels are 1 mm apart, from the origin on.
        """
        known, other = (self.moving, self.fixed) if self.fixed.geometry is None else (self.fixed, self.moving)
        if known.geometry is None or other.geometry is not None:
            return
        if voxels_apart(known.grid, known.geometry, Geometry(np.ones(known.ndim))) >= _SAME:
            err.print(
                f"{other.path} does not say where its voxels lie; they are taken to lie where those of {known.path} do"
            )

    @property
    def as_volume(self) -> bool:
        """Whether the results are volumes of a single plane, as the images are."""
        return self.fixed.volume is not None and (self.moving.geometry is None or self.moving.volume is not None)

    @property
    def written(self) -> Geometry | None:
        """Where the voxels of results on the fixed image's grid lie."""
        return self.fixed.volume if self.as_volume else self.geometry

    @property
    def unit(self) -> str:
        """``"mm"``, or ``"px"`` where no file says how large the voxels are."""
        return "px" if self.geometry is None else "mm"

    @property
    def spacing(self) -> npt.NDArray[np.float64]:
        """Spacing of the fixed image in `unit`, (d,)."""
        return np.ones(self.fixed.ndim) if self.geometry is None else self.geometry.spacing

    def in_place(self) -> Field:
        """Return the displacement (d, *grid) in voxels between the same places in space."""
        still = np.zeros((self.fixed.ndim, *self.fixed.grid), np.float32)
        return still if self.geometry is None else led_into(still, self.geometry, self.moving_geometry)

    def in_fixed_voxels(self, displacement: Field) -> Field:
        """Return a displacement's vectors in space, (d, *grid), in voxels of the fixed image."""
        if self.geometry is None or self.moving_geometry is None:
            return displacement
        vectors = displacement_to_itk(displacement, self.geometry, moving=self.moving_geometry)
        return displacement_from_itk(vectors, self.geometry)


def led_into(displacement: Field, geometry: Geometry, moving: Geometry | None) -> Field:
    """Convert a displacement between voxels of the fixed image to one that leads to voxels of the moving image.

    Parameters
    ----------
    displacement : ndarray, (d, *grid)
        Between voxels of the fixed image's grid.
    geometry, moving
        Where the voxels of the two images lie; without `moving` in the same places.

    Returns
    -------
    ndarray, (d, *grid), float32
        It leads to the same places in space.
    """
    if moving is None:
        return displacement
    return displacement_from_itk(displacement_to_itk(displacement, geometry), geometry, moving=moving)


def leads_inside(displacement: Field, grid: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return the voxels whose displacement leads into an image of a shape, to within half a voxel; bool, (*own)."""
    inside = np.ones(displacement.shape[1:], bool)
    for k, length in enumerate(grid):
        index = np.arange(inside.shape[k]).reshape(-1, *(1,) * (inside.ndim - 1 - k))
        reached = displacement[k] + index
        inside &= (reached >= -0.5) & (reached <= length - 0.5)
    return inside


def _common_geometry(fixed: Picture, moving: Picture) -> Geometry | None:
    """Return the moving image's geometry in the coordinates of the fixed image; None if it is not known."""
    if fixed.geometry is None or moving.geometry is None:
        return None
    if moving.volume is None:
        return moving.geometry
    if fixed.volume is not None:
        rotation = fixed.volume.direction.T @ moving.volume.direction
        offset = fixed.volume.direction.T @ (moving.volume.origin - fixed.volume.origin)
        if abs(rotation[2, 2]) > 1 - _PARALLEL:
            axes = fixed.geometry.direction
            origin = fixed.geometry.origin + axes @ offset[:2]
            return Geometry(moving.geometry.spacing, origin, axes @ _nearest_orthogonal(rotation[:2, :2]))
    elif abs(moving.volume.direction[2, 2]) > 1 - _PARALLEL:
        return moving.geometry
    # Planes that are not parallel, such as those of two patients, have no common coordinates: their first pixels
    # coincide once both are stored in the same order.
    if fixed.volume is not None:
        alike = turn_onto(moving.volume, fixed.volume, (1, *moving.grid))
        if alike.clear and alike.axes[0] == 0:
            plane = alike.of_plane()
            grid = tuple(moving.grid[axis] for axis in plane.axes)
            spacing = moving.geometry.spacing[list(plane.axes)]
            there = Geometry(spacing, fixed.geometry.origin, fixed.geometry.direction)
            return plane.inverse().geometry(there, grid)
    return Geometry(moving.geometry.spacing, fixed.geometry.origin, fixed.geometry.direction)


def _nearest_orthogonal(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the orthogonal matrix nearest to a matrix."""
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)


def labels_of(path: Path, picture: Picture) -> Labels:
    """Read the label map of an image, (*grid).

    Raises
    ------
    ModelFileError
        If the file cannot be read or holds no labels.
    """
    return _on_grid(path, *read_labels(path), picture)


def mask_of(path: Path, picture: Picture) -> Image:
    """Read weights from 0 to 1 on an image's grid, (*grid) float32; pictures are scaled to that.

    Raises
    ------
    ValueError
        If the mask has another size, lies elsewhere in space, or has values out of the range.
    """
    mask: Image = _on_grid(path, *read_in_space(path, labels=None), picture)
    low, high = float(mask.min()), float(mask.max())
    if suffix(path) in PICTURE_SUFFIXES and high > 0:
        return mask / np.float32(high)
    if low < 0 or high > 1 or high == 0:
        raise ValueError(f"{path} has values from {low:g} to {high:g}; pass weights from 0 to 1 that are not all 0")
    return mask


def _on_grid(path: Path, array: npt.NDArray[Any], geometry: Geometry | None, picture: Picture) -> npt.NDArray[Any]:
    """Return an array on an image's grid, or raise ValueError if it has another size or place."""
    raw = array.shape
    if picture.ndim == 2 and geometry is not None and len(geometry.spacing) == 3 and array.shape[:-2] == (1,):
        array = array[0]
    if array.shape != picture.grid:
        raise ValueError(f"{path} has shape {array.shape} but {picture.path} {picture.grid}; pass one on its grid")
    place = picture.place
    if place is not None and geometry is not None and len(place.spacing) == len(geometry.spacing):
        away = voxels_apart(raw, place, geometry)
        if away > 0.5:
            raise ValueError(
                f"{path} lies up to {away:.3g} voxels from where {picture.path} lies; save it with the image's "
                "spacing, origin and directions"
            )
    return array


def points_of(path: Path, picture: Picture) -> tuple[Points, tuple[str, ...]]:
    """Read points in voxels of an image, (m, d), or (m, 3) of a volume's single plane, and their names.

    Raises
    ------
    ModelFileError
        If the file cannot be read or holds no points.
    ValueError
        If it does not suit the image.
    """
    if suffix(path) in PHYSICAL_SUFFIXES and picture.place is None:
        raise ValueError(
            f"{path} is in mm, but {picture.path} does not say where its voxels lie; pass points in voxels, .csv"
        )
    points, names = io.read_named_landmarks(path, geometry=picture.place)
    if points.shape[1] != picture.ndim and not (points.shape[1] == 3 and picture.volume is not None):
        raise ValueError(
            f"{path} has {points.shape[1]} coordinates per point but {picture.path} is {_KINDS[picture.ndim]}; pass "
            "points of this image"
        )
    if points.shape[1] > picture.ndim and np.abs(points[:, 0]).max() > 0.5:
        worst = int(np.abs(points[:, 0]).argmax())
        raise ValueError(
            f"{path} has the point {names[worst]!r} {abs(points[worst, 0]):.3g} planes away from {picture.path}; pass "
            "points of this image"
        )
    return points, names


def move_points(points: Points, displacement: Field) -> Points:
    """Move points (m, d) by a displacement; by a displacement in a plane, points in space stay in their plane."""
    flat = len(displacement) < points.shape[1]
    return warp_points(points, field_of_volume(displacement) if flat else displacement)
