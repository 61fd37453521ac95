"""``modelaug convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from modelaug import Cohort, io
from modelaug.cli._console import out
from modelaug.io.archives import read_archive
from modelaug.io.folders import write_cohort
from modelaug.io.geometry import ITK_SUFFIXES, Geometry, itk_geometry, read_itk, suffix
from modelaug.io.landmarks import LANDMARK_SUFFIXES, PHYSICAL_SUFFIXES

__all__ = ["convert"]

_FIELD_SUFFIXES = (".npz", ".flo", *ITK_SUFFIXES)


def convert(
    source: Annotated[
        Path,
        typer.Argument(help="A folder, cohort.toml or cohort; landmarks; or a displacement field.", show_default=False),
    ],
    target: Annotated[
        Path,
        typer.Option("--out", "-o", help="What to write; its ending says in which format.", show_default=False),
    ],
    geometry_of: Annotated[
        Path | None,
        typer.Option(
            "--geometry-of",
            help="Image on whose voxels landmarks or the field are; needed where a format is in mm and the other not.",
            metavar="IMAGE",
            show_default=False,
        ),
    ] = None,
    moving_geometry_of: Annotated[
        Path | None,
        typer.Option(help="Image into which the field points.", metavar="IMAGE", show_default="that of --geometry-of"),
    ] = None,
    images: Annotated[
        str,
        typer.Option(help="Format of the images in a folder: .nii.gz, .nii, .nrrd, .mha or .png.", metavar="SUFFIX"),
    ] = ".nii.gz",
) -> None:
    """Convert cohorts, landmarks and displacement fields from one format to another.

    A folder of images and landmarks, or what a cohort.toml describes, becomes a cohort, .npz, and a cohort a folder.
    Landmarks are .csv, .npy and .pts in voxels, .mrk.json and .fcsv in mm. Fields are .npz and .flo in voxels, .nii,
    .nii.gz, .mha and .nrrd in mm.
    """
    fixed = None if geometry_of is None else _geometry(geometry_of)
    moving = None if moving_geometry_of is None else _geometry(moving_geometry_of)
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
    elif suffix(source) == ".npz" and "landmarks" in read_archive(source):
        _refuse_geometry(source, fixed, moving)
        if ending in _FIELD_SUFFIXES:
            raise ValueError(f"{source} is a cohort already; use the name of a folder for it, not {target}")
        description = write_cohort(target, Cohort.load(source), images=images)
        out.print(f"{description}: says what is in its folder")
    elif ending in _FIELD_SUFFIXES:
        _convert_field(source, target, fixed, moving)
    else:
        raise ValueError(
            f"{target} ends in no known format; use .npz or, for landmarks, {', '.join(LANDMARK_SUFFIXES)}, or, for "
            f"fields, {', '.join(_FIELD_SUFFIXES)}"
        )


def _geometry(path: Path) -> Geometry:
    """Return where the voxels of an image lie, whose format must say it."""
    geometry = itk_geometry(read_itk(path)) if suffix(path) in ITK_SUFFIXES else io.read_image(path)[1]
    if geometry is None:
        raise ValueError(f"{path} does not say where its voxels lie; pass an image in {', '.join(ITK_SUFFIXES)}")
    return geometry


def _refuse_geometry(source: Path, fixed: Geometry | None, moving: Geometry | None) -> None:
    if fixed is not None or moving is not None:
        option = "--geometry-of" if fixed is not None else "--moving-geometry-of"
        raise ValueError(f"{option} says nothing about {source}; leave it out")


def _convert_landmarks(source: Path, target: Path, geometry: Geometry | None) -> None:
    physical = [each for each in (source, target) if suffix(each) in PHYSICAL_SUFFIXES]
    if len(physical) == 1 and geometry is None:
        raise ValueError(f"{physical[0]} is in mm and the other file in voxels; pass their image by --geometry-of")
    # From mm to mm it does not matter where the voxels are.
    placed = geometry or (Geometry(np.ones(3)) if physical else None)
    points, names = io.read_named_landmarks(source, geometry=placed)
    io.write_landmarks(target, points, names=names, geometry=placed)
    out.print(f"{target}: {len(points)} landmarks")


def _convert_field(source: Path, target: Path, fixed: Geometry | None, moving: Geometry | None) -> None:
    if suffix(source) in ITK_SUFFIXES:
        _refuse_geometry(source, fixed, None)  # which says itself where its voxels lie
    displacement, geometry = io.read_field(source, moving=moving)
    if geometry is None and fixed is None and suffix(target) in ITK_SUFFIXES:
        raise ValueError(f"{target} is in mm but {source} in pixels; pass the fixed image by --geometry-of")
    io.write_field(target, displacement, geometry=fixed or geometry, moving=moving)
    out.print(f"{target}: displacement of {' x '.join(map(str, displacement.shape[1:]))} voxels")
