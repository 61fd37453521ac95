"""Rules of all readers for a user's files: what can be opened, and how failures of parsers become errors."""

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
"""Bytes that a table, a description or a note may have."""

_DEEPEST: Final = 64
"""Levels of nested lists and tables."""

_LONGEST_TOML: Final = 2**20
"""Bytes that a description or a recipe, written by people, may have; its parser is slow."""

_DEEP_KEY: Final = re.compile(r"(?<![\w\"'-])(?:[\w\"'-]+[ \t]*\.[ \t]*){64}")
"""A dotted key of 64 parts or more, whose parsing takes time quadratic in its length."""


_LONGEST_MESSAGE: Final = 1000
"""Characters of a message; longer ones, which quote a file, lose their middle."""


class ModelFileError(Exception):
    """A file cannot be read: it is missing, truncated, of another kind or version, or hostile.

    Its message is one line of limited length, whatever it quotes from the file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(legible(message))


def legible(message: str) -> str:
    """Shorten a message to one printable line, whatever it quotes from a file."""
    # Blanks for ends of lines and for characters that are not printable, such as escapes of terminals.
    text = "".join(each if each.isprintable() else " " for each in message)
    half = _LONGEST_MESSAGE // 2
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:half]} ... {text[-half:]}"


def one_line(error: BaseException) -> str:
    """Return the message of an exception in one line that is never empty."""
    return " ".join(str(error).split()) or type(error).__name__


def refuse_if(wrong: bool, message: str) -> None:
    """Raise ModelFileError with a message if something is wrong with a file."""
    if wrong:
        raise ModelFileError(message)


def check_file(path: str | Path) -> Path:
    """Return the path of a regular file, without opening it.

    Raises
    ------
    ModelFileError
        If there is none, or it is a folder, a device or a pipe, which may have no end.
    """
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{path} cannot be read ({reason}); check the path") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise ModelFileError(f"{path} cannot be read: it is {kind}; pass a file")
    return Path(path)


@contextmanager
def refusing(path: str | Path, what: str, remedy: str) -> Iterator[None]:
    """Turn any exception about a file's content into a ModelFileError of one line.

    Parameters
    ----------
    path
        The file.
    what
        The fault: "is no valid manifest".
    remedy
        What the user can do.

    Raises
    ------
    ModelFileError
        If anything but ImportError is raised inside: damage makes parsers raise nearly everything, such as
        RecursionError, OverflowError or tokenize.TokenError.
    """
    try:
        yield
    except (ModelFileError, ImportError):
        raise
    except MemoryError as error:
        raise ModelFileError(f"{path} {what} (it does not fit into memory)") from error
    except Exception as error:
        # The message of a dictionary's KeyError is the key alone.
        reason = f"it lacks {one_line(error)}" if type(error) is KeyError else one_line(error)
        raise ModelFileError(f"{path} {what} ({reason}); {remedy}") from error


@contextmanager
def reading(path: str | Path, what: str, remedy: str = "write it again") -> Iterator[Path]:
    """Check that a file can be opened, and turn exceptions about its content into ModelFileError, see `refusing`.

    Parameters
    ----------
    path
        The file.
    what
        The format in which it is read: "TOML", "a picture".
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
    """Read a file's bytes.

    Raises
    ------
    ModelFileError
        If there is no such file, it cannot be read, or it has more than `most` bytes.
    """
    with reading(path, what, "check the path") as place:
        size = place.stat().st_size
        long = most is not None and size > most
        refuse_if(long, f"{path} has {size} bytes, too many to be {what}; pass another file")
        return place.read_bytes()


def read_text(path: str | Path, what: str = "text") -> str:
    """Read a text in UTF-8, without its byte order mark; errors as in `read_bytes`."""
    data = read_bytes(path, what, most=_LONGEST_TEXT)
    with reading(path, what, "save it in UTF-8"):
        return data.decode("utf-8-sig")


def read_json(path: str | Path, remedy: str = "correct it") -> Any:
    """Read a JSON file.

    Raises
    ------
    ModelFileError
        If there is no such file, or it is no JSON.
    """
    text = read_text(path, "JSON")
    with reading(path, "JSON", remedy):
        return parse_json(text)


def parse_json(text: str) -> Any:
    """Parse a text as JSON, and limit its nesting, so that code which walks through it recursively is safe.

    Raises
    ------
    ValueError
        If it is no JSON, or nested too deep.
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
    """Read a TOML file; errors as in `read_json`."""
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
    """Read a JSON file of this package; arguments and errors as in `read_json` and `check_format`."""
    return check_format(path, read_json(path, "check the path"), format=format, version=version, otherwise=otherwise)


def check_format(path: str | Path, values: Any, *, format: str, version: int, otherwise: str = "") -> dict[str, Any]:
    """Check that JSON values are those of a file of this package, of a format and version, and return them.

    Parameters
    ----------
    path
        The file.
    values
        Its values.
    format, version
        The required values of ``format`` and ``version``.
    otherwise
        Fault and remedy of a file of another format, in place of the default.

    Raises
    ------
    ModelFileError
        If the values are no object, or of another format or version.
    """
    if not isinstance(values, dict) or values.get("format") != format:
        raise ModelFileError(f"{path} {otherwise or f'is not of the format {format!r}; pass another folder'}")
    found = values.get("version")
    remedy = "write it again" if isinstance(found, int) and found < version else "update modelaug"
    wrong = type(found) is not int or found != version
    refuse_if(wrong, f"{path} has format version {found!r}, not {version}; {remedy}")
    return values
