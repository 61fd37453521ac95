"""What a file of this package holds."""

from __future__ import annotations

from pathlib import Path

from modelaug.io.files.arrays import ArchiveKind, open_archive


def archive_kind(path: Path) -> tuple[ArchiveKind | None, list[str]]:
    """Return what an ``.npz`` holds, None if it is nothing known, and the names of its arrays; none is unpacked.

    Raises
    ------
    ModelFileError
        If the file cannot be read.
    """
    with open_archive(path) as archive:
        return archive.kind, sorted(archive.headers)
