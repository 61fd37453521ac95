"""What a file of this package holds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from modelaug.io.arrays import open_archive

__all__ = ["archive_kind"]


def archive_kind(path: Path) -> tuple[Literal["cohort", "field", "model"] | None, list[str]]:
    """Return what an ``.npz`` holds, None if it is nothing known, and the names of its arrays; none is unpacked.

    Raises
    ------
    ModelFileError
        If the file cannot be read.
    """
    with open_archive(path) as archive:
        names = set(archive.headers)
    if {"images", "landmarks"} <= names:
        return "cohort", sorted(names)
    if "displacement" in names:
        return "field", sorted(names)
    return "model" if "header" in names else None, sorted(names)
