"""The parts of a file's name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_DOUBLE_SUFFIXES: Final = (".nii.gz", ".mrk.json")


def suffix(path: str | Path) -> str:
    """Return a path's ending in lower case, ``".nii.gz"`` and ``".mrk.json"`` as one."""
    name = Path(path).name.lower()
    return next((each for each in _DOUBLE_SUFFIXES if name.endswith(each)), Path(name).suffix)


def stem(path: str | Path) -> str:
    """Return a path's name without its folder and its ending, see `suffix`."""
    return Path(path).name[: -len(suffix(path)) or None]
