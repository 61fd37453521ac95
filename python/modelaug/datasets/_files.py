"""Shared steps of the readers of public data sets: subjects, volumes, label maps, slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry
from modelaug.data.preparation import PreparationOptions, prepare, slice_at_fraction
from modelaug.data.scans import Scan
from modelaug.io.files.reading import ModelFileError
from modelaug.io.images import read_image, read_voxels


def root_folder(folder: str | Path) -> Path:
    """Return the root folder of a data set as a path.

    Raises
    ------
    ModelFileError
        If there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ModelFileError(f"{folder} is no folder; pass the one into which the data set was unpacked")
    return root


def choose_subjects(subjects: Sequence[str] | None, available: Iterable[str], missing: str) -> list[str]:
    """Return the names of the subjects to read: the given ones in their order, or all available ones, sorted.

    Parameters
    ----------
    subjects
        Argument of the reader.
    available
        Names of the subjects in the folder.
    missing
        Message if the folder has none.

    Raises
    ------
    ModelFileError
        If no subject is available.
    TypeError, ValueError
        If a name is not available, or given twice.
    """
    there = sorted(available)
    if not there:
        raise ModelFileError(missing)
    if subjects is None:
        return there
    if isinstance(subjects, str) or not all(isinstance(each, str) for each in subjects):
        raise TypeError(f"subjects is {subjects!r}; pass a list of names such as [{there[0]!r}]")
    names = list(subjects)
    for each in names:
        if each not in there:
            raise ValueError(f"subjects names {each!r}, which is not there; the {len(there)} from {there[0]!r} on are")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"subjects is {names}; pass at least one name, and each once")
    return names


def read_volume(path: Path, *, labels: bool = False) -> tuple[npt.NDArray[Any], Geometry]:
    """Read a volume (planes, rows, columns), float32 unless it holds labels, with its geometry.

    Raises
    ------
    ModelFileError
        If the file is missing, broken, or holds anything but a volume.
    """
    image, geometry = read_voxels(path, labels=True) if labels else read_image(path)
    if geometry is None or image.ndim != 3 or len(geometry.spacing) != 3:
        raise ModelFileError(f"{path} holds an array of shape {image.shape}, not a volume; copy it again")
    return image, geometry


def as_labels(values: npt.NDArray[Any], path: Path, image: Path, grid: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Return voxel values read from `path` as the label map of `image`.

    Raises
    ------
    ModelFileError
        If a value is no label, or the shape is not the image's.
    """
    if values.shape != grid:
        raise ModelFileError(
            f"{path} has shape {values.shape} but {image.name} {grid}; copy both again, they belong together"
        )
    with np.errstate(invalid="ignore"):  # values beyond int32 are refused below
        labels: npt.NDArray[np.int32] = np.rint(values).astype(np.int32)
    if (labels != values).any() or labels.min() < 0:
        raise ModelFileError(f"{path} holds values that are no labels; copy it again")
    return labels


def prepare_slice(scan: Scan, index: int | None, options: PreparationOptions) -> Scan:
    """Prepare a slice across a volume's first axis by options that choose none themselves; the volume for None."""
    if index is None:
        return prepare(scan, options)
    if (options.slice_axis, options.slice_at, options.slice_label) != (None, None, None):
        raise ValueError("options chooses a slice but so does slice; pass slice=None, or no slice in options")
    return prepare(scan, replace(options, slice_axis=0, slice_at=index))


def slice_with(scan: Scan, label: int, fraction: float) -> int:
    """Return the index, along the first axis, of the slice at a fraction of the slices that contain a label.

    Raises
    ------
    TypeError, ValueError
        If the fraction is not between 0 and 1, or no slice has the label.
    """
    assert scan.labels is not None
    present = np.flatnonzero((scan.labels == label).any(axis=(1, 2)))
    if not present.size:
        raise ValueError(f"label {label} is nowhere in subject {scan.name!r}; leave the subject out")
    return int(present[slice_at_fraction("slice", fraction, len(present))])
