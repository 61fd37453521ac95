"""What a file of this package holds."""

from __future__ import annotations

from pathlib import Path
from zipfile import is_zipfile

from modelaug.io.files.arrays import ArchiveKind, open_archive
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError
from modelaug.io.formats.itk import ITK_READ_SUFFIXES


def kind_of_file(path: Path) -> ArchiveKind:
    """Return what a file of this package is, by its ending or by the names of its arrays; none is unpacked.

    Raises
    ------
    ModelFileError
        If it cannot be read, or is nothing that this package writes or reads.
    """
    if suffix(path) in (".flo", *ITK_READ_SUFFIXES):
        return "field"
    if suffix(path) != ".npz" and path.is_file() and not is_zipfile(path):
        raise ModelFileError(
            f"{path} cannot be read as a file of this package; pass a cohort or model, .npz, a displacement field, or "
            "a folder of pairs or of a training"
        )
    with open_archive(path) as archive:
        if archive.kind is None:
            raise ModelFileError(
                f"{path} holds the arrays {sorted(archive.headers)}, which is nothing known, neither a model nor a "
                "cohort nor a displacement field; pass another file"
            )
        return archive.kind
