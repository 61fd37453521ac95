"""How cohorts and models are read and written, without importing `modelaug.io`, which itself builds on them.

`modelaug.io` registers its functions when the package is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Functions(NamedTuple):
    read: Callable[[str | Path], Any]
    write: Callable[[str | Path, Any], None]


_REGISTERED: dict[type, _Functions] = {}


def register(kind: type[T], *, read: Callable[[str | Path], T], write: Callable[[str | Path, T], None]) -> None:
    """Let `load` and `save` of a class use these functions."""
    _REGISTERED[kind] = _Functions(read, write)


def load(kind: type[T], path: str | Path) -> T:
    """Read an object of a class from a file or folder."""
    loaded: T = _REGISTERED[kind].read(path)
    return loaded


def save(path: str | Path, thing: object, kind: type) -> None:
    """Write an object of a class to a file."""
    _REGISTERED[kind].write(path, thing)
