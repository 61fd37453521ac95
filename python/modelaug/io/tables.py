"""Tables as spreadsheets and other programs write them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelaug.io.files.reading import ModelFileError, read_bytes, reading

_LONGEST: Final = 2**26
"""Bytes of a table of points; more is none."""

# The comma last: it may be the decimal sign of the others.
_DELIMITERS: Final = (";", "\t", ",")
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*|\s*[+-]?(nan|inf(inity)?)\s*", re.I)

Rows = list[list[str]]


@dataclass(frozen=True)
class Table:
    """The cells of a table.

    Attributes
    ----------
    rows
        Of the lines that are not empty, all of one length unless the file's are not.
    delimiter
        What the cells end with.
    """

    rows: Rows
    delimiter: str

    def is_number(self, cell: str) -> bool:
        """Return whether a cell is a number in this table; with a decimal comma where that ends no cell."""
        return looks_numeric(cell) and not (self.delimiter == "," and "," in cell)


def looks_numeric(cell: str) -> bool:
    """Return whether a cell is a number, with a decimal point or comma."""
    return _NUMBER.fullmatch(cell) is not None


def read_lines(path: str | Path) -> str:
    r"""Return the text of a file with ``\n`` after each line, in UTF-8 or, with its mark, UTF-16.

    Raises
    ------
    ModelFileError
        If there is no such file, or it is no such text.
    """
    data = read_bytes(path, "a table of points", most=_LONGEST)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        remedy = "as 'CSV UTF-8'" if Path(path).suffix.lower() == ".csv" else "in UTF-8"
        raise ModelFileError(
            f"{path} is no text in {'UTF-16' if wide else 'UTF-8'} ({error.reason}); save it {remedy}"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def rows_of(path: str | Path, text: str, delimiter: str = ",") -> Rows:
    """Return the cells of each line that is not empty."""
    with reading(path, "a table"):
        return [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(map(str.strip, row))
        ]


def read_rows(path: str | Path, suits: Callable[[Table], bool]) -> Table:
    """Read a table whose cells end with commas, semicolons or tabs.

    Parameters
    ----------
    path
        Lines that start with ``#`` may come first, and a line ``sep=;`` as spreadsheets write it. Delimiters at the end
        of all lines are left out.
    suits
        Whether a table is what is looked for; tried with each delimiter.

    Returns
    -------
    Table
        With the first delimiter that suits; with the first that is in the first line if none does.

    Raises
    ------
    ModelFileError
        If there is no such file, or it is no table.
    """
    text = read_lines(path)
    while text.startswith("#"):
        text = text.partition("\n")[2]
    said = re.match(r"\s*\"?sep=(.)\"?[^\n]*(\n|$)", text, re.I)
    if said is not None:
        return Table(_even(rows_of(path, text[said.end() :], said[1])), said[1])
    failed: ModelFileError | None = None
    for delimiter in _DELIMITERS:
        try:
            table = Table(_even(rows_of(path, text, delimiter)), delimiter)
        except ModelFileError as error:  # a quotation that ends nowhere with this one
            failed = error
            continue
        if suits(table):
            return table
    if failed is not None:
        raise failed
    first = text.lstrip().partition("\n")[0]
    likely = next((each for each in _DELIMITERS if each in first), ",")
    return Table(_even(rows_of(path, text, likely)), likely)


def _even(rows: Rows) -> Rows:
    """Return rows without the empty cells that follow the last column with something in it."""
    width = max((k + 1 for row in rows for k, cell in enumerate(row) if cell.strip()), default=0)
    return [row[:width] for row in rows]


def to_numbers(path: str | Path, table: Table, rows: Iterable[Sequence[str]]) -> list[list[float]]:
    """Return cells as numbers.

    Raises
    ------
    ModelFileError
        If one is none, or decimal commas and points are mixed: then one of them may part thousands.
    """
    kept = [list(row) for row in rows]
    signs: dict[str, str] = {}
    for cell in (cell for row in kept for cell in row):
        if not table.is_number(cell):
            remedy = "write one with a point" if looks_numeric(cell) else "write one"
            raise ModelFileError(f"{path} has {cell!r} where a number should be; {remedy}")
        signs |= {sign: cell for sign in ".," if sign in cell}
    if len(signs) > 1:
        raise ModelFileError(
            f"{path} has {signs['.']!r} and {signs[',']!r}, points and commas in numbers; write all with points"
        )
    return [[float(cell.replace(",", ".")) for cell in row] for row in kept]


def write_rows(rows: Iterable[Sequence[str]]) -> str:
    """Return a table with commas."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
