"""Reading and writing of cohorts and models without importing `modelaug.io`, which depends on them.

`modelaug.io` registers its functions when the package is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


_READERS: dict[type, Callable[[str | Path], Any]] = {}
_WRITERS: dict[type, Callable[[str | Path, Any], None]] = {}


def register(kind: type[T], *, read: Callable[[str | Path], T], write: Callable[[str | Path, T], None]) -> None:
    """Register the functions that read and write objects of a class."""
    _READERS[kind], _WRITERS[kind] = read, write


def load(kind: type[T], path: str | Path) -> T:
    """Read an object of a class from a file or folder."""
    loaded: T = _READERS[kind](path)
    return loaded


def save(path: str | Path, thing: object, kind: type) -> None:
    """Write an object of a class to a file."""
    _WRITERS[kind](path, thing)
