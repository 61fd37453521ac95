"""What the readers of public data sets share: which subjects, which slice, images and labels of one grid."""

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
    """Return the folder that a user named.

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
    """Return the names of subjects to read: the given ones in their order, or all that there are, sorted.

    Parameters
    ----------
    subjects
        What the user passed.
    available
        Names of those that are there.
    missing
        What to say if there are none at all.

    Raises
    ------
    ModelFileError
        If there are none.
    TypeError, ValueError
        If a name is not among them, or given twice.
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
    """Return a volume (planes, rows, columns) as it is stored, float32 unless it is to hold labels, and where it lies.

    Raises
    ------
    ModelFileError
        If the file is missing, broken, or holds anything but a volume.
    """
    image, geometry = read_voxels(path, labels=True) if labels else read_image(path)
    if geometry is None or image.ndim != 3 or len(geometry.spacing) != 3:
        raise ModelFileError(f"{path} holds an array of shape {image.shape}, not a volume; copy it again")
    return image, geometry


def read_labels(path: Path, image: Path, grid: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Return the label map of an image whose grid is known.

    Raises
    ------
    ModelFileError
        If the file is missing, broken, holds fractions, or has another shape.
    """
    return as_labels(read_volume(path, labels=True)[0], path, image, grid)


def as_labels(values: npt.NDArray[Any], path: Path, image: Path, grid: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Return what was read from `path` as labels of `image`; see `read_labels`."""
    if values.shape != grid:
        raise ModelFileError(
            f"{path} has shape {values.shape} but {image.name} {grid}; copy both again, they belong together"
        )
    with np.errstate(invalid="ignore"):  # of what int32 does not hold, and the next line refuses
        labels: npt.NDArray[np.int32] = np.rint(values).astype(np.int32)
    if (labels != values).any() or labels.min() < 0:
        raise ModelFileError(f"{path} holds values that are no labels; copy it again")
    return labels


def prepare_slice(scan: Scan, index: int, options: PreparationOptions) -> Scan:
    """Return a slice across a volume's first axis, then prepared by options that choose none themselves."""
    if (options.slice_axis, options.slice_at, options.slice_label) != (None, None, None):
        raise ValueError("options chooses a slice but so does slice; pass slice=None, or no slice in options")
    return prepare(scan, replace(options, slice_axis=0, slice_at=index))


def slice_with(scan: Scan, label: int, fraction: float) -> int:
    """Return the slice, across the first axis, that lies at a fraction of those that have a label.

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
