"""All pairs of a table registered into a folder; an interrupted run continues."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modelaug.cli._console import out, progress
from modelaug.cli._pairs_file import FILE_COLUMNS, PairRow
from modelaug.cli._registration import Outcome, Settings, carry_out, read_images
from modelaug.cli._scores import mean_score
from modelaug.io.files.archives import write_atomically
from modelaug.io.files.locks import hold_folder
from modelaug.io.files.provenance import SOURCE, claim_folder, file_digest
from modelaug.io.files.reading import ModelFileError, read_text, refusing
from modelaug.io.files.writing import remove_leftovers

if TYPE_CHECKING:
    from modelaug.learning import RegistrationNetwork

RESULTS: Final = "results.csv"

_FIGURES: Final = (
    "unit",
    "mean_displacement",
    "largest_displacement",
    "dice_before",
    "dice",
    "hd95_before",
    "hd95",
    "folded_percent",
    "seconds",
)
_COLUMNS: Final = ("name", *FILE_COLUMNS, "contents", "displacement", *_FIGURES)
_HEADERS: Final = (".mhd", ".nhdr", ".hdr", ".img")
"""Of files that keep the intensities in another one of the same stem."""

Results = dict[str, dict[str, str]]
"""The line of every finished pair by its name, as in ``results.csv``."""


def _finished_pairs(rows: Sequence[PairRow], folder: Path) -> Results:
    """Return the results of an earlier run of these pairs, of those whose files are all there.

    Raises
    ------
    ModelFileError
        If the table of results cannot be read.
    ValueError
        If it has a pair of the same name and other files, or files of other contents.
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
                f"{row.where} has files of other contents than {folder / RESULTS} tells of {row.name!r}; give the row "
                "another name, or pass another folder"
            )
    return before


def register_folder(
    rows: Sequence[PairRow],
    folder: Path,
    source: Mapping[str, Any],
    network: RegistrationNetwork,
    settings: Settings,
    threads: int | None,
) -> None:
    """Register all pairs that an earlier run has not finished, note each in ``results.csv``, and print means.

    Parameters
    ----------
    rows
        The pairs.
    folder
        Where the results go; no other run works there meanwhile.
    source
        What the results come from, but for the images.
    network, settings, threads
        As of `carry_out`.

    Raises
    ------
    ModelFileError, ValueError
        If the folder holds results of something else, or images of a pair cannot be registered; the message says in
        which row they are.
    BlockingIOError, FolderLostError
        If another run works in the folder, or it is removed meanwhile.
    """
    results: Results = {}

    def told() -> str:
        there = sum(row.name in results and all(path.exists() for path in row.job.outputs) for row in rows)
        return f"{there} of {len(rows)} pairs are in it"

    with hold_folder(folder, contents=told):
        written = {RESULTS, SOURCE, *(path.name for row in rows for path in row.job.outputs)}
        remove_leftovers(folder, written.__contains__)
        claim_folder(folder, source)
        finished = _finished_pairs(rows, folder)
        results |= finished
        with progress("registering") as report:
            for done, row in enumerate(rows):
                report(done, len(rows))
                if row.name not in results:
                    results[row.name] = _line(row, _outcome(row, network, settings, threads))
                    _write_results(folder / RESULTS, results)
            report(len(rows), len(rows))
    again = sum(row.name in finished for row in rows)
    out.print(f"{folder / RESULTS}: {len(rows)} pairs" + (f", {again} of them registered before" if again else ""))
    _print_means([results[row.name] for row in rows])


def _outcome(row: PairRow, network: RegistrationNetwork, settings: Settings, threads: int | None) -> Outcome:
    try:
        return carry_out(row.job, read_images(row.job), network, settings, threads)
    except (ModelFileError, TypeError, ValueError) as error:
        raise ValueError(f"{row.where}: {error}") from error


def _line(row: PairRow, outcome: Outcome) -> dict[str, str]:
    """Return a pair's line of the results; what is not defined is empty."""
    figures: dict[str, Any] = {
        "mean_displacement": outcome.mean,
        "largest_displacement": outcome.largest,
        "folded_percent": outcome.folded,
        "seconds": outcome.seconds,
    }
    if outcome.scores is not None:
        figures["dice_before"], figures["dice"] = map(mean_score, outcome.scores.dice)
        figures["hd95_before"], figures["hd95"] = map(mean_score, outcome.scores.distance)
    text = {name: f"{value:.6g}" for name, value in figures.items() if math.isfinite(value)}
    known = {
        "name": row.name,
        **row.given,
        "contents": _contents(row),
        "displacement": row.job.out.name,
        "unit": outcome.unit,
        **text,
    }
    return {column: known.get(column, "") for column in _COLUMNS}


def _contents(row: PairRow) -> str:
    """Return a hash of all files that a pair is made of."""
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
        for column in _FIGURES[1:]:
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


def _write_results(path: Path, results: Results) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(results.values())
    write_atomically(path, buffer.getvalue().encode())


def _print_means(lines: Sequence[Mapping[str, str]]) -> None:
    """Print the means over the pairs of what is known."""

    def mean(column: str) -> float:
        values = [float(line[column]) for line in lines if line[column]]
        return float(np.mean(values)) if values else math.nan

    units = {line["unit"] for line in lines}
    told = []
    if math.isfinite(mean("dice")):
        told.append(f"Dice {mean('dice_before'):.3f} before and {mean('dice'):.3f} after")
    if len(units) == 1 and math.isfinite(mean("hd95")):
        told.append(f"HD95 {mean('hd95_before'):.2f} and {mean('hd95'):.2f} {units.pop()}")
    told += [f"{mean('folded_percent'):.3g} % folded", f"{mean('seconds'):.2f} s a pair"]
    out.print("on average " + ", ".join(told))
