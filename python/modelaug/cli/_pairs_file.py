"""The table of image pairs to register in one run, ``pairs.csv``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelaug.cli._registration import Job
from modelaug.io.files.paths import stem, suffix
from modelaug.io.files.reading import ModelFileError, read_text, refusing
from modelaug.io.images import IMAGE_SUFFIXES
from modelaug.io.landmarks import LANDMARK_SUFFIXES

_LONGEST: Final = 1000  # characters of a path

FILE_COLUMNS: Final = ("fixed", "moving", "labels_fixed", "labels_moving", "points_fixed", "mask")
"""Columns that name files, the first two in every table."""

_UNPLACED: Final = (".npy", ".npz", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Formats of images that do not say where their voxels lie."""

_FORBIDDEN: Final = '/\\:*?"<>|'


@dataclass(frozen=True)
class PairRow:
    """One line of the table.

    Attributes
    ----------
    where
        The line in words, for messages.
    name
        Name of the pair and of its results.
    given
        The files as in the table, by column; empty cells are left out.
    job
        The registration.
    """

    where: str
    name: str
    given: Mapping[str, str]
    job: Job


def read_pairs(path: Path, folder: Path, ending: str | None) -> list[PairRow]:
    """Read a table of pairs, and check all that can be checked before images are read.

    Parameters
    ----------
    path
        A table with commas, semicolons or tabs, and the columns ``fixed``, ``moving`` and perhaps ``labels_fixed``,
        ``labels_moving``, ``points_fixed``, ``mask`` and ``name``. Files are relative to its folder.
    folder
        For the results.
    ending
        Format of the displacements; None: ``.nii.gz``, and ``.npz`` for images that do not say where their voxels lie.

    Returns
    -------
    list of PairRow

    Raises
    ------
    ModelFileError
        If the table cannot be read, lacks a column or has an unknown one.
    ValueError
        If a line is wrong; the message says which and how to mend it.
    """
    titles, lines = _cells(path)
    rows = []
    for number, cells in lines:
        where = f"row {number} of {path}"
        if len(cells) != len(titles):
            raise ValueError(f"{where} has {len(cells)} of {len(titles)} columns; complete it")
        values = dict(zip(titles, (cell.strip() for cell in cells), strict=True))
        given = {title: values[title] for title in FILE_COLUMNS if values.get(title)}
        rows.append(_row(where, values.get("name") or None, given, path.parent, folder, ending))
    _check_results(rows, folder)
    return rows


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the titles of the columns, and the numbers and cells of all other lines that are not empty."""
    text = read_text(path, "a table")
    with refusing(path, "cannot be read as a table", "save it as .csv in UTF-8"):
        first = text.partition("\n")[0]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    odd = next((n for n, cells in lines if any(len(c) > _LONGEST or not c.strip().isprintable() for c in cells)), None)
    if odd is not None:
        raise ModelFileError(f"{path} has a cell in line {odd} that is no name of one line; correct it")
    titles = [cell.strip().lower() for cell in lines[0][1]] if lines else []
    known = (*FILE_COLUMNS, "name")
    unknown = next((title for title in titles if title not in known or titles.count(title) > 1), None)
    if not {"fixed", "moving"} <= set(titles) or unknown is not None:
        raise ModelFileError(
            f"{path} has the columns {', '.join(titles) or 'of an empty file'}; name them in the first line, each "
            f"once: fixed, moving and, if need be, {', '.join(known[2:])}"
        )
    if len(lines) < 2:
        raise ModelFileError(f"{path} lists no pair; write one a line below the columns")
    return titles, lines[1:]


def _row(
    where: str, name: str | None, given: Mapping[str, str], base: Path, folder: Path, ending: str | None
) -> PairRow:
    files = {title: base / value for title, value in given.items()}
    for title in FILE_COLUMNS[:2]:
        if title not in files:
            raise ValueError(f"{where} has no {title} image; name its file")
    for title, file in files.items():
        known = LANDMARK_SUFFIXES if title == "points_fixed" else (".npz", *IMAGE_SUFFIXES)
        if not os.path.exists(file):  # also for names that no file can have
            raise ValueError(f"{where} names {file} as {title}, which does not exist; paths are relative to {base}/")
        if suffix(file) not in known and not (file.is_dir() and title != "points_fixed"):
            raise ValueError(f"{where} names {file} as {title}, of no known format; use {', '.join(known)}")
    if "labels_fixed" in files and "labels_moving" not in files:
        raise ValueError(f"{where} has labels_fixed but nothing to compare them with; name labels_moving, too")
    name = name or f"{stem(files['moving'])}_to_{stem(files['fixed'])}"
    if name[0] in ". " or any(each in _FORBIDDEN or ord(each) < 32 for each in name):
        raise ValueError(f"{where} has the name {name!r}, which is none for a file; use letters, digits, - and _")
    out = folder / f"{name}{ending or ('.npz' if suffix(files['fixed']) in _UNPLACED else '.nii.gz')}"
    extras = (files.get(title) for title in ("labels_moving", "labels_fixed", "points_fixed", "mask"))
    job = Job(files["fixed"], files["moving"], out, *extras)
    return PairRow(where, name, given, job)


def _check_results(rows: list[PairRow], folder: Path) -> None:
    """Raise ValueError if two rows would write the same file, or a row would write a file that is read."""
    read = {file.resolve() for row in rows for file in row.job.inputs}
    taken: dict[str, str] = {}
    for row in rows:
        for path in row.job.outputs:
            if path.resolve() in read:
                raise ValueError(f"{row.where} would write over {path}, which is to be read; pass another folder")
            # Some file systems ignore the case of names.
            name = path.name.casefold()
            if name in taken:
                raise ValueError(
                    f"{row.where} would write {path}, as {taken[name]} would; give each a name of its own in a column "
                    "'name'"
                )
            taken[name] = row.where
