"""Reading a user's file: what it must be, and what the failure of a parser means. Decided here, for all readers."""

from __future__ import annotations

import json
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_LONGEST_TEXT: Final = 2**28
"""Bytes of a table, a description or a note; more is no such file."""

_DEEPEST: Final = 64
"""Levels of lists and tables within each other."""

_LONGEST_TOML: Final = 2**20
"""Bytes of a description or a recipe, which people write; its reader is slow."""

_DEEP_KEY: Final = re.compile(r"(?<![\w\"'-])(?:[\w\"'-]+[ \t]*\.[ \t]*){64}")
"""A key within a key within a key, for which the reader needs the square of its length."""


_LONGEST_MESSAGE: Final = 1000
"""Characters; of what is longer, the middle is left out, since files decide what is told of them."""


class ModelFileError(Exception):
    """A file cannot be read as what it should be: missing, truncated, of another kind or version, or hostile.

    Its message is one line of some length at most, whatever of the file is in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(legible(message))


def legible(message: str) -> str:
    """Return a message in one line of some length at most, whatever of a file is in it."""
    # Blanks for whatever ends a line or is none of print, such as the escapes of terminals.
    text = "".join(each if each.isprintable() else " " for each in message)
    half = _LONGEST_MESSAGE // 2
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:half]} ... {text[-half:]}"


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line that is never empty."""
    return " ".join(str(error).split()) or type(error).__name__


def refuse_if(wrong: bool, message: str) -> None:
    """Raise ModelFileError with a message if something is wrong with a file."""
    if wrong:
        raise ModelFileError(message)


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
        raise ModelFileError(f"{path} cannot be read: it is {kind}; pass a file")
    return Path(path)


@contextmanager
def refusing(path: str | Path, what: str, remedy: str) -> Iterator[None]:
    """Let whatever is raised about a file's content become one kind of error, in one line.

    Parameters
    ----------
    path
        The file.
    what
        What is wrong with it: "is no valid manifest".
    remedy
        What the user can do.

    Raises
    ------
    ModelFileError
        If anything is raised inside: damage makes parsers raise nearly everything, such as RecursionError,
        OverflowError or tokenize.TokenError. A missing optional dependency is none of the file's.
    """
    try:
        yield
    except (ModelFileError, ImportError):
        raise
    except MemoryError as error:
        raise ModelFileError(f"{path} {what} (it does not fit into memory)") from error
    except Exception as error:
        # That of a dictionary is the key alone.
        reason = f"it lacks {one_line(error)}" if type(error) is KeyError else one_line(error)
        raise ModelFileError(f"{path} {what} ({reason}); {remedy}") from error


@contextmanager
def reading(path: str | Path, what: str, remedy: str = "write it again") -> Iterator[Path]:
    """Check that a file may be opened, and refuse it if anything is raised about its content, see `refusing`.

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
        If there is no such file, or anything is raised inside.
    """
    place = check_file(path)
    with refusing(path, f"cannot be read as {what}", remedy):
        yield place


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
        return parse_json(text)


def parse_json(text: str) -> Any:
    """Return what a text holds as JSON, which no reader of it can stumble over.

    Raises
    ------
    ValueError
        If it is no JSON, or holds lists within lists within lists, and so on, which only damage or malice makes.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {_DEEPEST} deep") from None
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(_DEEPEST):
        level = [each for one in level for each in (one.values() if isinstance(one, dict) else one)]
        level = [each for each in level if isinstance(each, (dict, list))]
        if not level:
            return value
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def read_toml(path: str | Path, remedy: str = "correct it") -> dict[str, Any]:
    """Return what a TOML file holds; errors as of `read_json`."""
    data = read_bytes(path, "TOML", most=_LONGEST_TOML)
    if sys.version_info >= (3, 11):
        import tomllib as parser
    else:
        import tomli as parser
    with reading(path, "TOML", remedy):
        text = data.decode("utf-8-sig")
        if _DEEP_KEY.search(text):
            raise ValueError("a key has more than 64 parts")
        return dict(parser.loads(text))


def read_own_json(path: str | Path, *, format: str, version: int, otherwise: str = "") -> dict[str, Any]:
    """Return what a JSON file of this package holds; arguments and errors as of `read_json` and `check_format`."""
    return check_format(path, read_json(path, "check the path"), format=format, version=version, otherwise=otherwise)


def check_format(path: str | Path, values: Any, *, format: str, version: int, otherwise: str = "") -> dict[str, Any]:
    """Return `values` if they are those of a file of this package, of a format and version.

    Parameters
    ----------
    path
        The file.
    values
        What it holds as JSON.
    format, version
        What ``format`` and ``version`` must be in it.
    otherwise
        What is wrong with a file of another format, and the remedy, if something better than the format can be told.

    Raises
    ------
    ModelFileError
        If they are no object, or say something else.
    """
    if not isinstance(values, dict) or values.get("format") != format:
        raise ModelFileError(f"{path} {otherwise or f'is not of the format {format!r}; pass another folder'}")
    found = values.get("version")
    if type(found) is not int or found != version:
        remedy = "write it again" if isinstance(found, int) and found < version else "update modelaug"
        raise ModelFileError(f"{path} has format version {found!r}, not {version}; {remedy}")
    return values
