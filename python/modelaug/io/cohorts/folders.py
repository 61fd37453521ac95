"""Writing of cohorts as folders of files that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.data.cohort import Cohort
from modelaug.data.geometry import Geometry
from modelaug.io.cohorts.descriptions import DESCRIPTION_NAME, CohortDescription, encode_description, write_description
from modelaug.io.cohorts.scans import is_history
from modelaug.io.files.locks import LOCK, hold_folder
from modelaug.io.files.provenance import write_json
from modelaug.io.files.writing import TEMPORARY, remove_leftovers
from modelaug.io.images import write_image
from modelaug.io.landmarks import write_landmarks

FOLDER_FORMATS: Final = (".nii.gz", ".nii", ".nrrd", ".mha", ".png")
"""Formats of the images and labels in a folder."""

_HISTORY: Final = "history.json"
_PARTS: Final = ("images", "labels", "landmarks")


def write_cohort_folder(folder: str | Path, cohort: Cohort, *, images: str = ".nii.gz") -> Path:
    """Write a cohort as a folder of images, labels and landmarks, with a ``cohort.toml`` from which it is read again.

    Until all is written, the ``cohort.toml`` says so, and the folder is not read as a cohort.

    Parameters
    ----------
    folder
        Created if missing; must be empty, or left unfinished by the same call.
    cohort
        A cohort whose subjects' names are valid names of files.
    images
        ``".nii.gz"``, ``".nii"``, ``".nrrd"`` or ``".mha"``: float32, exact; ``".png"``: only where all intensities
        and labels are integers from 0 to 255.

    Returns
    -------
    Path
        The ``cohort.toml``.

    Raises
    ------
    ValueError
        If the folder is not empty, the format not known, or the cohort does not suit it.
    OSError
        If a file cannot be written, with its name; BlockingIOError if another run writes into the folder, and
        FolderLostError if it is removed meanwhile.
    """
    root = Path(folder)
    _check(cohort, images)
    history = {name: steps for name, steps in cohort.preparation.items() if is_history(steps) and name in cohort.names}
    description = CohortDescription(
        root,
        images=f"images/{{name}}{images}",
        labels=None if cohort.labels is None else f"labels/{{name}}{images}",
        landmarks="landmarks/{name}.csv",
        subjects=cohort.names,
        # NIfTI keeps single precision, pictures nothing.
        voxel_size=tuple(cohort.spacing.tolist()),
        objects=cohort.objects,
        history=_HISTORY if history else None,
    )
    _check_place(root, description)
    with hold_folder(root):
        _check_place(root, description)  # again, now that no other run can write
        remove_leftovers(root, {DESCRIPTION_NAME, _HISTORY}.__contains__)
        for each in _PARTS:
            remove_leftovers(root / each, lambda _: True)
        write_description(description, finished=False)
        _write_subjects(root, cohort, images)
        if history:
            write_json(root / _HISTORY, history)
        return write_description(description)


def _write_subjects(root: Path, cohort: Cohort, images: str) -> None:
    placed = Geometry(cohort.spacing)
    for i, name in enumerate(cohort.names):
        channels: npt.NDArray[Any] = cohort.images[i].astype(np.uint8) if images == ".png" else cohort.images[i]
        pixels = channels[0] if len(channels) == 1 else channels
        write_image(root / "images" / f"{name}{images}", pixels, geometry=placed)
        write_landmarks(root / "landmarks" / f"{name}.csv", cohort.landmarks[i])
        if cohort.labels is not None:
            labels = cohort.labels[i].astype(np.uint8) if images == ".png" else cohort.labels[i]
            write_image(root / "labels" / f"{name}{images}", labels, geometry=placed)


def _check_place(root: Path, description: CohortDescription) -> None:
    """Raise ValueError unless a folder is empty, or was left unfinished by a killed run of the same call."""
    if not root.exists():
        return
    there = {each.name for each in root.iterdir()} - {LOCK} if root.is_dir() else {""}
    if DESCRIPTION_NAME in there:
        unfinished = (root / DESCRIPTION_NAME).read_bytes() == encode_description(description, finished=False)
        there = there - {DESCRIPTION_NAME, _HISTORY, *_PARTS} if unfinished else there
    if not all(name.startswith(f".{DESCRIPTION_NAME}.") and name.endswith(TEMPORARY) for name in there):
        raise ValueError(f"{root} is there and not empty; pass another folder, or remove it")


def _check(cohort: Cohort, images: str) -> None:
    """Raise ValueError if a cohort cannot be written in a format."""
    if images not in FOLDER_FORMATS:
        raise ValueError(f"images is {images!r}; pass one of {', '.join(FOLDER_FORMATS)}")
    for name in cohort.names:
        if name != Path(name).name or name[0] in ". " or any(each in '\\:*?"<>|' or ord(each) < 32 for each in name):
            raise ValueError(f"subject {name!r} has a name that is none for a file; rename it")
    if len(cohort.grid) == 3 and 1 in cohort.grid:
        raise ValueError(f"cohort has the grid {cohort.grid}, which is read as a plane; make it one")
    if images == ".png":
        _check_for_pictures("images", cohort.images, channels=cohort.images.shape[1])
        if cohort.labels is not None:
            _check_for_pictures("labels", cohort.labels, channels=1)


def _check_for_pictures(name: str, values: npt.NDArray[Any], *, channels: int) -> None:
    if values.ndim - (name == "images") != 3 or channels not in (1, 3):
        raise ValueError(f"{name} has shape {values.shape}; pictures are planes with 1 or 3 channels, pass '.nii.gz'")
    if values.min() < 0 or values.max() > 255 or (values != np.rint(values)).any():
        raise ValueError(f"{name} holds others than the integers from 0 to 255; pass '.nii.gz' instead of '.png'")
