"""``modelaug convert``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Argument, Option

from modelaug import Cohort, io
from modelaug._arrays import Field
from modelaug.cli._console import grid_text, out
from modelaug.cli._kinds import detect_kind
from modelaug.cli._moved import FIELD_SUFFIXES
from modelaug.data.geometry import Geometry, in_plane
from modelaug.io.cohorts.folders import write_cohort_folder
from modelaug.io.files.paths import suffix
from modelaug.io.formats.itk import ITK_READ_SUFFIXES, ITK_SUFFIXES
from modelaug.io.formats.volumes import read_header
from modelaug.io.images import read_placed
from modelaug.io.landmarks import LANDMARK_SUFFIXES, PHYSICAL_SUFFIXES


def convert(
    source: Annotated[Path, Argument(help="A folder, cohort.toml or cohort; landmarks; or a displacement field.")],
    target: Annotated[Path, Option("--out", "-o", help="What to write; its ending says in which format.")],
    geometry_of: Annotated[
        Path | None,
        Option(
            "--geometry-of",
            help="Image on whose voxels landmarks or the field are; needed where a format is in mm and the other not.",
            metavar="IMAGE",
        ),
    ] = None,
    moving_geometry_of: Annotated[
        Path | None,
        Option(help="Image into which the field points.", metavar="IMAGE", show_default="that of --geometry-of"),
    ] = None,
    images: Annotated[
        str, Option(help="Format of the images in a folder: .nii.gz, .nii, .nrrd, .mha or .png.", metavar="SUFFIX")
    ] = ".nii.gz",
) -> None:
    """Convert cohorts, landmarks and displacement fields from one format to another.

    A folder of images and landmarks, or what a cohort.toml describes, becomes a cohort, .npz, and a cohort a folder.
    Landmarks are .csv, .npy and .pts in voxels, .mrk.json and .fcsv in mm. Fields are .npz and .flo in voxels, .nii,
    .nii.gz, .mha and .nrrd in mm.
    """
    fixed, moving = _place(geometry_of), _place(moving_geometry_of)
    ending = suffix(target)
    if source.is_dir() or suffix(source) == ".toml":
        _refuse_geometry(source, fixed, moving)
        if ending != ".npz":
            raise ValueError(f"{target} is to hold the cohort of {source}; use a name that ends in .npz")
        cohort = Cohort.load(source)
        cohort.save(target)
        out.print(f"{target}: {cohort!r}")
    elif ending in LANDMARK_SUFFIXES:
        _refuse_geometry(source, None, moving)
        _convert_landmarks(source, target, fixed)
    elif suffix(source) == ".npz" and detect_kind(source) == "cohort":
        _refuse_geometry(source, fixed, moving)
        if ending in FIELD_SUFFIXES:
            raise ValueError(f"{source} is a cohort already; use the name of a folder for it, not {target}")
        description = write_cohort_folder(target, Cohort.load(source), images=images)
        out.print(f"{description}: says what is in its folder")
    elif ending in FIELD_SUFFIXES:
        _convert_field(source, target, fixed, moving)
    else:
        raise ValueError(
            f"{target} ends in no known format; use .npz or, for landmarks, {', '.join(LANDMARK_SUFFIXES)}, or, for "
            f"fields, {', '.join(FIELD_SUFFIXES)}"
        )


@dataclass(frozen=True)
class _Place:
    """Geometry and shape of an image."""

    path: Path
    geometry: Geometry
    grid: tuple[int, ...]

    @property
    def across(self) -> int | None:
        """The axis across a volume of a single plane; None for planes and other volumes."""
        return self.grid.index(1) if len(self.grid) == 3 and self.grid.count(1) == 1 else None


def _place(path: Path | None) -> _Place | None:
    """Read the geometry and shape of an image, whose format must have a geometry."""
    if path is None:
        return None
    if suffix(path) in ITK_READ_SUFFIXES:
        header = read_header(path)
        return _Place(path, header.geometry, header.grid)
    image, geometry = read_placed(path)
    return _Place(path, geometry, image.shape[-len(geometry.spacing) :])


def _refuse_geometry(source: Path, fixed: _Place | None, moving: _Place | None) -> None:
    if fixed is not None or moving is not None:
        option = "--geometry-of" if fixed is not None else "--moving-geometry-of"
        raise ValueError(f"{option} says nothing about {source}; leave it out")


def _convert_landmarks(source: Path, target: Path, place: _Place | None) -> None:
    """Convert a file of landmarks, in voxels or in mm, to another format."""
    physical = [each for each in (source, target) if suffix(each) in PHYSICAL_SUFFIXES]
    if len(physical) == 1 and place is None:
        raise ValueError(f"{physical[0]} is in mm and the other file in voxels; pass their image by --geometry-of")
    # From mm to mm the voxels do not matter.
    geometry = place.geometry if place is not None else Geometry(np.ones(3)) if physical else None
    points, names = io.read_named_landmarks(source, geometry=geometry)
    if place is not None and target in physical and len(place.grid) != points.shape[1]:
        if place.across is None or points.shape[1] != 2:
            raise ValueError(
                f"{source} has landmarks with {points.shape[1]} coordinates but {place.path} has "
                f"{grid_text(place.grid)} voxels; pass the image that they are in"
            )
        points = np.insert(points, place.across, 0.0, axis=1)
    elif place is not None and suffix(target) == ".pts" and place.across is not None and points.shape[1] == 3:
        away = float(np.abs(points[:, place.across]).max())
        if away > 0.5:
            raise ValueError(f"{source} has a landmark {away:.3g} planes away from {place.path}; pass its own image")
        points = np.delete(points, place.across, axis=1)
    io.write_landmarks(target, points, names=names, geometry=geometry)
    out.print(f"{target}: {len(points)} landmarks")


def _convert_field(source: Path, target: Path, fixed: _Place | None, moving: _Place | None) -> None:
    """Convert a file of a displacement field, in voxels or in mm, to another format."""
    if suffix(source) in ITK_READ_SUFFIXES:
        _refuse_geometry(source, fixed, None)  # the file has its own
    displacement, geometry = io.read_field(source, moving=None if moving is None else moving.geometry)
    in_mm = suffix(target) in ITK_SUFFIXES
    if geometry is None and fixed is None and in_mm:
        raise ValueError(f"{target} is in mm but {source} in pixels; pass the fixed image by --geometry-of")
    if fixed is not None:
        displacement, geometry = _on_image(source, displacement, fixed, in_volume=in_mm)
    if suffix(target) == ".flo" and displacement.shape[1:].count(1) == 1 and len(displacement) == 3:
        displacement, geometry, moving = _within_plane(source, displacement), None, None
    if in_mm and moving is not None and len(moving.grid) != len(displacement):
        raise ValueError(
            f"{moving.path} has {grid_text(moving.grid)} voxels but the field of {source} {len(displacement)} "
            "components; pass the moving image that belongs to it"
        )
    io.write_field(target, displacement, geometry=geometry, moving=None if moving is None else moving.geometry)
    out.print(f"{target}: displacement of {grid_text(displacement.shape[1:])} voxels")


def _on_image(source: Path, field: Field, fixed: _Place, *, in_volume: bool) -> tuple[Field, Geometry]:
    """Return a field on its fixed image, and the image's geometry.

    A field in a plane becomes that of a volume of one plane; across the first axis only if `in_volume`.
    """
    grid, across = field.shape[1:], fixed.across
    if fixed.grid == grid:
        return field, fixed.geometry
    if across is None or tuple(np.delete(fixed.grid, across)) != grid:
        raise ValueError(
            f"{fixed.path} has {grid_text(fixed.grid)} voxels but the field of {source} {grid_text(grid)}; pass the "
            "fixed image that it was made for"
        )
    if across == 0 and not in_volume:
        return field, in_plane(fixed.geometry)
    raised = np.zeros((3, *fixed.grid), dtype=np.float32)
    raised[[k for k in range(3) if k != across]] = np.expand_dims(field, 1 + across)
    return raised, fixed.geometry


def _within_plane(source: Path, field: Field) -> Field:
    """Return the field in a plane of a field (3, *grid) of a volume of one plane, which must not leave the plane."""
    across = field.shape[1:].index(1)
    away = float(np.abs(field[across]).max())
    if away > 1e-3:
        raise ValueError(f"{source} leaves its plane by up to {away:.3g} voxels, which .flo cannot hold; use .npz")
    return np.ascontiguousarray(np.squeeze(np.delete(field, across, axis=0), axis=1 + across))
