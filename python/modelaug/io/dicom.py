"""Which files are DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["dicom_files", "is_dicom"]

_SUFFIX: Final = ".dcm"
_DIRECTORY: Final = "DICOMDIR"
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00")


def is_dicom(path: str | Path) -> bool:
    """Return whether a file's first bytes are those of DICOM, whatever its name; False where there is no file.

    It has ``DICM`` after 128 bytes or, in older ones, starts with the first element.
    """
    try:
        if not Path(path).is_file():
            return False
        with open(path, "rb") as file:
            head = file.read(132)
    except (OSError, ValueError):
        return False
    if head[128:] == b"DICM":
        return True
    length = int.from_bytes(head[4:8], "little")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return head[:2] in _FIRST_GROUPS and len(head) == 132 and (explicit or 0 < length <= 64)


def dicom_files(folder: str | Path) -> list[Path]:
    """Return the files of a folder that are DICOM by their ending or their first bytes, in the order of their names.

    Hidden ones, folders and ``DICOMDIR``, the table of contents of a disc, are left out.
    """
    if not Path(folder).is_dir():
        return []
    return sorted(
        path
        for path in Path(folder).iterdir()
        if path.name[0] != "." and path.name.upper() != _DIRECTORY and path.is_file()
        if path.suffix.lower() == _SUFFIX or is_dicom(path)
    )
