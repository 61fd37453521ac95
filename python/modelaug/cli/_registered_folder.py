"""Registration of all pairs of a table into a folder, where an interrupted run continues."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from modelaug._checks import choice
from modelaug.cli._console import out, progress
from modelaug.cli._moved import FIELD_SUFFIXES
from modelaug.cli._pairs_file import FILE_COLUMNS, PairRow, read_pairs
from modelaug.cli._registration import Outcome, Settings, load_network, read_images, run_job
from modelaug.cli._scores import mean_score
from modelaug.io.files.archives import write_atomically
from modelaug.io.files.locks import hold_folder
from modelaug.io.files.provenance import SOURCE, claim_folder, file_digest
from modelaug.io.files.reading import ModelFileError, read_text, refusing
from modelaug.io.files.writing import remove_leftovers
from modelaug.io.tables import write_rows

if TYPE_CHECKING:
    import torch

RESULTS: Final = "results.csv"

_FIGURES: Final = (
    *("mean_displacement", "largest_displacement", "dice_before", "dice", "hd95_before", "hd95"),
    *("folded_percent", "seconds"),
)
_COLUMNS: Final = ("name", *FILE_COLUMNS, "contents", "displacement", "unit", *_FIGURES)
_HEADERS: Final = (".mhd", ".nhdr", ".hdr", ".img")  # their voxels are in another file of the same stem

Results = dict[str, dict[str, str]]
"""The line of every finished pair in ``results.csv``, by its name."""


def _finished_pairs(rows: Sequence[PairRow], folder: Path) -> Results:
    """Return the results of an earlier run, without pairs whose files are not all there.

    Raises
    ------
    ValueError
        If a pair of the same name has other files, or files of other contents.
    """
    before = _read_results(folder / RESULTS)
    for row in rows:
        line = before.get(row.name)
        if line is None:
            continue
        for column in FILE_COLUMNS:
            if line[column] != row.given.get(column, ""):
                raise ValueError(
                    f"{row.where} has {row.given.get(column, 'nothing')} as {column}, but {folder / RESULTS} has "
                    f"{line[column] or 'nothing'} for {row.name!r}; give the row another name, or pass another folder"
                )
        if not all(path.exists() for path in row.job.outputs):
            del before[row.name]
        elif line["contents"] != _contents(row):
            raise ValueError(
                f"{row.where} has files of other contents than {folder / RESULTS} notes for {row.name!r}; give the row "
                "another name, or pass another folder"
            )
    return before


def register_table(
    table: Path,
    folder: Path,
    network: Path,
    settings: Settings,
    ending: str | None,
    device: torch.device,
    threads: int | None,
) -> None:
    """Register the pairs of a table that an earlier run has not finished, note each in ``results.csv``, print means.

    Parameters
    ----------
    table
        See `read_pairs`.
    folder
        For the results; locked meanwhile.
    network
        Folder or file of the network.
    settings
        Options of the registration.
    ending
        Format of the displacements, see `read_pairs`.
    device
        Of the network.
    threads
        Threads of the kernels; None means all cores.

    Raises
    ------
    ModelFileError, ValueError
        If the folder holds other results, or the images of a row, which is named, cannot be registered.
    BlockingIOError, FolderLostError
        If another run works in the folder, or it is removed meanwhile.
    """
    from modelaug.learning.storage import weights_file

    if ending is not None:
        choice("--format", ending, FIELD_SUFFIXES)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; with --pairs, pass a folder for the results")
    rows = read_pairs(table, folder, ending)
    settings.check_mask(any(row.job.mask is not None for row in rows))
    net = load_network(network, settings.grid, device)
    if net.ndim == 3 and ending == ".flo":
        raise ValueError("--format is '.flo', which holds fields in the plane only; pass .nii.gz or .npz")
    digest = file_digest(weights_file(network))
    source = {"of": "register", "network_sha256": digest, **settings.as_json(), "format": ending}
    results: Results = {}

    def describe_progress() -> str:
        there = sum(row.name in results and all(path.exists() for path in row.job.outputs) for row in rows)
        return f"{there} of {len(rows)} pairs are in it"

    with hold_folder(folder, contents=describe_progress):
        written = {RESULTS, SOURCE, *(path.name for row in rows for path in row.job.outputs)}
        remove_leftovers(folder, written.__contains__)
        claim_folder(folder, source)
        finished = _finished_pairs(rows, folder)
        results |= finished
        with progress("registering") as report:
            for done, row in enumerate(rows):
                report(done, len(rows))
                if row.name in results:
                    continue
                try:
                    outcome = run_job(row.job, read_images(row.job), net, settings, threads)
                except (ModelFileError, TypeError, ValueError) as error:
                    raise ValueError(f"{row.where}: {error}") from error
                results[row.name] = _line(row, outcome)
                lines = [[line[column] for column in _COLUMNS] for line in results.values()]
                write_atomically(folder / RESULTS, write_rows([_COLUMNS, *lines]).encode())
            report(len(rows), len(rows))
    again = sum(row.name in finished for row in rows)
    out.print(f"{folder / RESULTS}: {len(rows)} pairs" + (f", {again} of them registered before" if again else ""))
    _print_means([results[row.name] for row in rows])


def _line(row: PairRow, outcome: Outcome) -> dict[str, str]:
    """Return a pair's line of the results; undefined figures are empty."""
    figures = dict.fromkeys(_FIGURES, math.nan) | {
        "mean_displacement": outcome.mean,
        "largest_displacement": outcome.largest,
        "folded_percent": outcome.folded,
        "seconds": outcome.seconds,
    }
    if outcome.scores is not None:
        figures["dice_before"], figures["dice"] = map(mean_score, outcome.scores.dice)
        figures["hd95_before"], figures["hd95"] = map(mean_score, outcome.scores.distance)
    files = {column: row.given.get(column, "") for column in FILE_COLUMNS}
    known = {"name": row.name, **files, "contents": _contents(row), "displacement": row.job.out.name}
    texts = {name: f"{value:.6g}" if math.isfinite(value) else "" for name, value in figures.items()}
    return {**known, "unit": outcome.unit, **texts}


def _contents(row: PairRow) -> str:
    """Return a hash of all files that a pair is read from."""
    total = hashlib.sha256()
    for path in row.job.inputs:
        if path.is_dir():
            files = sorted(each for each in path.rglob("*") if each.is_file())
        elif path.suffix.lower() in _HEADERS:
            files = sorted(each for each in path.parent.iterdir() if each.stem == path.stem and each.is_file())
        else:
            files = [path]
        for file in files:
            total.update(file_digest(file).encode())
    return total.hexdigest()[:32]


def _read_results(path: Path) -> Results:
    if not path.exists():
        return {}
    text = read_text(path, "a table")
    with refusing(path, "cannot be read", "remove it to register all pairs again"):
        lines = list(csv.DictReader(io.StringIO(text, newline="")))
    if any(set(line) != set(_COLUMNS) or None in line.values() for line in lines):
        raise ModelFileError(f"{path} has other columns than those of this command; pass another folder")
    for line in lines:
        for column in _FIGURES:
            if line[column] and not _is_number(line[column]):
                raise ModelFileError(
                    f"{path} has {line[column]!r} as {column} of {line['name']!r}; remove that line to register the "
                    "pair again"
                )
    return {line["name"]: line for line in lines}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _print_means(lines: Sequence[Mapping[str, str]]) -> None:
    """Print the means of the figures over the pairs for which they are defined."""
    values = {column: [float(line[column]) for line in lines if line[column]] for column in _FIGURES}
    mean = {column: float(np.mean(each)) if each else math.nan for column, each in values.items()}
    units = {line["unit"] for line in lines}
    parts = []
    if math.isfinite(mean["dice"]):
        parts.append(f"Dice {mean['dice_before']:.3f} before and {mean['dice']:.3f} after")
    if len(units) == 1 and math.isfinite(mean["hd95"]):
        parts.append(f"HD95 {mean['hd95_before']:.2f} and {mean['hd95']:.2f} {units.pop()}")
    parts += [f"{mean['folded_percent']:.3g} % folded", f"{mean['seconds']:.2f} s a pair"]
    out.print("on average " + ", ".join(parts))
