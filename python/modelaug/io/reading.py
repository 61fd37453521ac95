"""Reading a user's file: what it must be, and what the failure of a parser means. Decided here, for all readers."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["ModelFileError", "check_file", "one_line", "read_bytes", "read_json", "read_text", "reading"]

_LONGEST_TEXT: Final = 2**28
"""Bytes of a table, a description or a note; more is no such file."""


class ModelFileError(Exception):
    """A file cannot be read as what it should be: missing, truncated, of another kind or version, or hostile."""


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line that is never empty."""
    return " ".join(str(error).split()) or type(error).__name__


def check_file(path: str | Path) -> Path:
    """Return the path of a file that may be opened, without opening it.

    Raises
    ------
    ModelFileError
        If there is none, or it is a folder, a device or a pipe, which may have no end.
    """
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: of a null character
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{path} cannot be read ({reason}); check the path") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise ModelFileError(f"{path} is {kind}; pass a file")
    return Path(path)


@contextmanager
def reading(path: str | Path, what: str, remedy: str = "write it again") -> Iterator[Path]:
    """Check that a file may be opened, and let what a parser raises about its content become one kind of error.

    Parameters
    ----------
    path
        The file.
    what
        As what it is read: "TOML", "a picture".
    remedy
        What the user can do.

    Raises
    ------
    ModelFileError
        If there is no such file, or anything is raised inside: damage makes parsers raise nearly everything, such as
        RecursionError, OverflowError or tokenize.TokenError. A missing optional dependency is none of the file's.
    """
    place = check_file(path)
    try:
        yield place
    except (ModelFileError, ImportError):
        raise
    except MemoryError as error:
        raise ModelFileError(f"{path} cannot be read as {what} (it does not fit into memory)") from error
    except Exception as error:
        raise ModelFileError(f"{path} cannot be read as {what} ({one_line(error)}); {remedy}") from error


def read_bytes(path: str | Path, what: str = "a file", *, most: int | None = None) -> bytes:
    """Return a file's bytes, at most so many.

    Raises
    ------
    ModelFileError
        If there is no such file, it cannot be read, or it has more.
    """
    with reading(path, what, "check the path") as place:
        size = place.stat().st_size
        if most is not None and size > most:
            raise ModelFileError(f"{path} has {size} bytes, too many to be {what}; pass another file")
        return place.read_bytes()


def read_text(path: str | Path, what: str = "text") -> str:
    """Return a file's text in UTF-8, without a byte order mark; errors as of `read_bytes`."""
    data = read_bytes(path, what, most=_LONGEST_TEXT)
    with reading(path, what, "save it in UTF-8"):
        return data.decode("utf-8-sig")


def read_json(path: str | Path, remedy: str = "correct it") -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    ModelFileError
        If there is no such file, or it is no JSON.
    """
    text = read_text(path, "JSON")
    with reading(path, "JSON", remedy):
        return json.loads(text)
