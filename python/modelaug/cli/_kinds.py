"""The kinds of files and folders that the package writes, as ``info``, ``show`` and ``explore`` tell them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal
from zipfile import is_zipfile

from modelaug.io.files.arrays import ArchiveKind, open_archive
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError
from modelaug.io.formats.itk import ITK_READ_SUFFIXES
from modelaug.io.shards.manifests import MANIFEST, has_manifest

Kind = ArchiveKind | Literal["pairs", "training"]

CURVES: Final = "metrics.csv"
"""Losses of a training, written while it runs."""

CARD: Final = "net.json"
"""Description of a trained network."""


def detect_kind(path: Path) -> Kind:
    """Detect the kind of a file or folder from its name, its files or the names of its arrays; nothing is unpacked.

    Raises
    ------
    ModelFileError
        If it does not exist, cannot be read, or is of no known kind.
    """
    if not path.exists():
        raise ModelFileError(f"{path} does not exist; check the path")
    if has_manifest(path):
        return "pairs"
    if (path / CARD).exists() or (path / CURVES).exists() or path.suffix == ".safetensors":
        return "training"
    if path.is_dir():
        raise ModelFileError(
            f"{path} holds neither pairs ({MANIFEST}) nor a training ({CURVES}) nor a network ({CARD}); of scans, pass "
            "the cohort that `modelaug convert` makes of them"
        )
    if suffix(path) in (".flo", *ITK_READ_SUFFIXES):
        return "field"
    if suffix(path) != ".npz" and not is_zipfile(path):
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
