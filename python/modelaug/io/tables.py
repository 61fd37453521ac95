"""Tables in text, as spreadsheets and other programs write them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from modelaug.io.files.reading import ModelFileError, read_bytes, reading

_LONGEST: Final = 2**26
"""Bytes that a table of points may have."""

# The comma last: it may be the decimal sign of the others.
_DELIMITERS: Final = (";", "\t", ",")
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*|\s*[+-]?(nan|inf(inity)?)\s*", re.I)

Rows = list[list[str]]


class Table(NamedTuple):
    """The cells of a table.

    Attributes
    ----------
    rows
        Cells of each line that is not empty, equally many unless the file's lines differ.
    delimiter
        The character between cells.
    """

    rows: Rows
    delimiter: str

    def is_number(self, cell: str) -> bool:
        """Return whether a cell is a number, with a decimal comma unless commas are the delimiters."""
        return looks_numeric(cell) and not (self.delimiter == "," and "," in cell)


def looks_numeric(cell: str) -> bool:
    """Return whether a cell is a number, with a decimal point or comma."""
    return _NUMBER.fullmatch(cell) is not None


def read_lines(path: str | Path) -> str:
    r"""Read a text with ``\n`` after each line, in UTF-8 or, with a byte order mark, UTF-16.

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
    """Split a text into the cells of each line that is not empty."""
    with reading(path, "a table"):
        return [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(map(str.strip, row))
        ]


def read_rows(path: str | Path, suits: Callable[[Table], bool]) -> Table:
    """Read a table whose cells end with commas, semicolons or tabs.

    Parameters
    ----------
    path
        Lines that start with ``#`` may come first, and a line ``sep=;`` as spreadsheets write it. Empty columns at the
        end are left out.
    suits
        Returns whether a table is a wanted one; called with each delimiter.

    Returns
    -------
    Table
        Split at the first delimiter that suits; if none does, at the first that occurs in the first line.

    Raises
    ------
    ModelFileError
        If there is no such file, or it is no table.
    """
    text = read_lines(path)
    while text.startswith("#"):
        text = text.partition("\n")[2]
    declared = re.match(r"\s*\"?sep=(.)\"?[^\n]*(\n|$)", text, re.I)
    if declared is not None:
        return Table(_trimmed(rows_of(path, text[declared.end() :], declared[1])), declared[1])
    failed: ModelFileError | None = None
    for delimiter in _DELIMITERS:
        try:
            table = Table(_trimmed(rows_of(path, text, delimiter)), delimiter)
        except ModelFileError as error:  # a quotation that does not end with this delimiter
            failed = error
            continue
        if suits(table):
            return table
    if failed is not None:
        raise failed
    first = text.lstrip().partition("\n")[0]
    likely = next((each for each in _DELIMITERS if each in first), ",")
    return Table(_trimmed(rows_of(path, text, likely)), likely)


def _trimmed(rows: Rows) -> Rows:
    """Remove the empty columns at the end."""
    width = max((k + 1 for row in rows for k, cell in enumerate(row) if cell.strip()), default=0)
    return [row[:width] for row in rows]


def to_numbers(path: str | Path, table: Table, rows: Iterable[Sequence[str]]) -> list[list[float]]:
    """Parse cells as numbers.

    Raises
    ------
    ModelFileError
        If a cell is no number, or numbers have both commas and points, since either may separate thousands.
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
    """Return the text of a table with commas between cells."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
