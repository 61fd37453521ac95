"""``modelaug apply``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
from typer import Argument, Option

from modelaug import io, warp
from modelaug._arrays import Field
from modelaug.cli._console import out, output_file
from modelaug.cli._moved import (
    IMAGE_OUTPUTS,
    LABEL_OUTPUTS,
    check_image_fits,
    check_labels_fit,
    warp_labels,
    write_points,
    write_warped_image,
)
from modelaug.cli._options import Threads
from modelaug.cli._pictures import Pair, Picture, as_picture, leads_inside, led_into, move_points, points_of
from modelaug.data.geometry import Geometry, in_plane
from modelaug.io.fields import field_of_plane
from modelaug.io.files.paths import suffix
from modelaug.io.formats.itk import ITK_READ_SUFFIXES, ITK_SUFFIXES
from modelaug.io.images import read_in_space, read_labels, read_placed
from modelaug.io.landmarks import LANDMARK_SUFFIXES, PHYSICAL_SUFFIXES


def apply(
    displacement: Annotated[Path, Argument(help="Displacement of `modelaug register` or another program.")],
    target: Annotated[Path, Option("--out", "-o", help="What to write.")],
    image: Annotated[Path | None, Option(help="Image to warp onto the fixed one, its border continued.")] = None,
    labels: Annotated[
        Path | None, Option(help="Label map to warp onto the fixed image, by the nearest voxel; beyond it is 0.")
    ] = None,
    points: Annotated[Path | None, Option(help="Points of the fixed image to lead to the moving one.")] = None,
    order: Annotated[
        int | None, Option(help="Of an image's interpolation: 1, linear, or 3, cubic.", metavar="1|3", show_default="1")
    ] = None,
    moving_geometry_of: Annotated[
        Path | None,
        Option(
            help="Of points: the moving image; needed if either they or the displacement, but not both, are in mm.",
            metavar="IMAGE",
        ),
    ] = None,
    threads: Threads = None,
) -> None:
    """Move an image, a label map or points by a displacement, as register does with its own.

    Displacements are .npz and .flo in voxels, and .nii, .nii.gz, .mha and .nrrd in mm, for which the moving image's
    file says where its voxels lie. Images and labels go from the moving image to the fixed one, points the other way.
    """
    given = {"--image": image, "--labels": labels, "--points": points}
    chosen = [path for path in given.values() if path is not None]
    if len(chosen) != 1:
        raise ValueError(f"{len(chosen)} of {', '.join(given)} are given; pass one of them")
    if order is not None and (image is None or order not in (1, 3)):
        raise ValueError(f"--order is {order}; pass 1 or 3, with --image only")
    if moving_geometry_of is not None and points is None:
        raise ValueError("--moving-geometry-of is given without --points; images say themselves where they lie")
    output_file(target, *(LANDMARK_SUFFIXES if points else IMAGE_OUTPUTS if image else LABEL_OUTPUTS))
    if target.resolve() in (displacement.resolve(), chosen[0].resolve()):
        raise ValueError(f"{target} is to hold the result but is to be read, too; use another name")
    if points is not None:
        _apply_to_points(displacement, points, target, moving_geometry_of)
        return
    if suffix(displacement) == ".flo" and suffix(target) in ITK_SUFFIXES:
        raise ValueError(f"{target} says where voxels lie but {displacement} does not; use a name that ends in .npy")
    field = _Field(displacement, *io.read_field(displacement))
    if image is not None:
        field, moving = _fit(field, image, *read_in_space(image))
        check_image_fits(target, moving.image)
        warped = warp(moving.image, field.displacement, order=cast(Literal[1, 3], order or 1), threads=threads)
        write_warped_image(target, warped, moving.image, field.geometry)
    elif labels is not None:
        array, geometry = read_labels(labels)
        field, moving = _fit(field, labels, array, geometry)
        if moving.image.ndim > moving.ndim:
            raise ValueError(f"{labels} has shape {array.shape}; pass labels without channels")
        check_labels_fit(target, moving.image)
        warped_labels = warp_labels(moving.image, field.displacement, threads)
        io.write_image(target, warped_labels, geometry=field.geometry)
    out.print(f"{target}: {chosen[0]}, moved by {displacement}")


@dataclass(frozen=True, eq=False)
class _Field:
    """A displacement as read from its file.

    Attributes
    ----------
    path
        The file.
    displacement : ndarray, (d, *grid), float32
        In voxels; of a file in mm, as if the moving image's voxels were where the fixed image's are.
    geometry
        Where the fixed image's voxels lie; None if the file does not say.
    """

    path: Path
    displacement: Field
    geometry: Geometry | None

    @property
    def in_mm(self) -> bool:
        """Whether it leads to places in space, wherever the moving image's voxels are."""
        return suffix(self.path) in ITK_READ_SUFFIXES

    @property
    def single_plane(self) -> bool:
        """Whether it belongs to a volume of one plane."""
        return len(self.displacement) == 3 and self.displacement.shape[1] == 1

    @property
    def fixed(self) -> Picture:
        """The fixed image, with a component of the displacement in place of its unknown intensities."""
        return Picture(self.path, self.displacement[0], len(self.displacement), self.geometry)

    def into(self, pair: Pair) -> _Field:
        """Return it in voxels of the moving image of a pair."""
        if not self.in_mm or self.geometry is None:
            return self
        return replace(self, displacement=led_into(self.displacement, self.geometry, pair.moving_geometry))


def _pair(field: _Field, path: Path, array: npt.NDArray[Any], geometry: Geometry | None) -> tuple[_Field, Pair]:
    """Return a displacement and the pair of its fixed image and a moving image, with the same number of axes."""
    if field.single_plane and (geometry is None or len(geometry.spacing) == 2):
        plane = None if field.geometry is None else in_plane(field.geometry)
        field = replace(field, displacement=field_of_plane(field.displacement), geometry=plane)
    moving = as_picture(path, array, geometry, len(field.displacement), wanted_by=str(field.path))
    return field, Pair.of(field.fixed, moving)


def _fit(field: _Field, path: Path, array: npt.NDArray[Any], geometry: Geometry | None) -> tuple[_Field, Picture]:
    """Return a displacement in voxels of a moving image, and the image with the same number of axes."""
    field, pair = _pair(field, path, array, geometry)
    if field.in_mm:
        pair.report_assumption()
    field = field.into(pair)
    if not leads_inside(field.displacement, pair.moving.grid).any():
        raise ValueError(f"{field.path} leads nowhere into {path}; pass the moving image that it was made for")
    return field, pair.moving


def _apply_to_points(path: Path, points: Path, target: Path, moving: Path | None) -> None:
    """Move points of the fixed image to the moving one, from file to file."""
    field = _Field(path, *io.read_field(path))
    physical = suffix(target) in PHYSICAL_SUFFIXES
    if moving is None and physical != field.in_mm:
        units = ("mm", "voxels") if physical else ("voxels", "mm")
        raise ValueError(
            f"{target} is in {units[0]} but {path} in {units[1]}; pass the moving image by --moving-geometry-of"
        )
    fixed = field.fixed
    if field.single_plane and field.geometry is not None:
        fixed = Picture(path, field.displacement[0, 0], 2, in_plane(field.geometry), field.geometry)
    array, names = points_of(points, fixed)
    flat = array.shape[1] < len(field.displacement)
    if flat:
        array = np.column_stack([np.zeros(len(array)), array])
    place = field.geometry
    if moving is not None:
        _, pair = _pair(field, moving, *read_placed(moving))
        field, place = field.into(pair), pair.moving.place
    moved = move_points(array, field.displacement)
    write_points(target, moved[:, 1:] if flat and not physical else moved, names, place)
    out.print(f"{target}: {len(moved)} points of {points}, moved by {path}")
