"""Headers of MetaImage: ``.mha``, which holds its voxels, and ``.mhd``, which names a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError, reading
from modelaug.io.formats.headers import (
    Encoding,
    Header,
    beginning,
    beside,
    elements,
    floats,
    integers,
    lengths_in_mm,
    no_field,
    placed,
    sizes,
)

_TYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_KNOWN: Final = (
    *("ObjectType", "NDims", "DimSize", "BinaryData", "CompressedData", "CompressedDataSize", "CenterOfRotation"),
    *("AnatomicalOrientation", "ElementNumberOfChannels", "ElementType", "ElementDataFile", "HeaderSize", "Modality"),
    *("DistanceUnits", "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"),
)
_SAME: Final = {
    "BinaryDataByteOrderMSB": ("ElementByteOrderMSB",),
    "Offset": ("Position", "Origin"),
    "TransformMatrix": ("Orientation", "Rotation"),
    "ElementSpacing": ("ElementSize",),
}
"""Names of one thing, the one that counts first."""

_IDENTITY: Final = ("RAI", "RA")
"""ITK's name, by where an axis comes from, of axes in LPS."""


def read_metaimage_header(path: Path) -> Header:
    """Return what a MetaImage file says about its image.

    Raises
    ------
    ModelFileError
        If the file is no MetaImage file, or says what cannot be honoured.
    """
    with reading(path, "MetaImage"):
        says, end = _lines(path)
        return _header(path, says, end)


def _lines(path: Path) -> tuple[dict[str, str], int]:
    """Return what the lines of a header say, up to that which names the voxels, and where they end."""
    head = beginning(path)
    says: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in says:
        if end >= len(head):
            raise ModelFileError(f"{path} has no ElementDataFile in its header; pass another file, or write it again")
        stop = head.find(b"\n", end)
        line = head[end : stop if stop >= 0 else len(head)].decode("latin-1").strip()
        end = stop + 1 if stop >= 0 else len(head)
        if not line:
            continue
        name, separator, value = line.partition("=" if "=" in line else ":")
        name = name.strip()
        if not separator or not name.isprintable():
            raise ModelFileError(f"{path} has {line[:40]!r} in its header, which says nothing; write it again")
        if name in says:
            raise ModelFileError(f"{path} says {name[:40]!r} twice; write it again")
        says[name] = value.strip()
    return says, end


def _header(path: Path, says: dict[str, str], end: int) -> Header:
    if says.get("ObjectType", "Image") != "Image":
        raise ModelFileError(f"{path} holds an object of type {says['ObjectType'][:40]!r}; pass an image")
    missing = next((name for name in ("NDims", "DimSize", "ElementType") if name not in says), None)
    if missing:
        raise ModelFileError(f"{path} has no {missing} in its header; write it again")
    (d,) = integers(path, "NDims", says["NDims"], 1)
    if not 1 <= d <= 10:
        raise ModelFileError(f"{path} says that it has {d} axes; write it again")
    grid = sizes(path, integers(path, "DimSize", says["DimSize"], d)[::-1])
    (channels,) = integers(path, "ElementNumberOfChannels", says.get("ElementNumberOfChannels", "1"), 1)
    if not 1 <= channels <= 65535:
        raise ModelFileError(f"{path} says that it has {channels} channels; write it again")

    def numbers(name: str, standard: str, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array(floats(path, name, _said(path, says, name, standard), count))

    unit = says.get("DistanceUnits", "mm")
    spacing = numbers("ElementSpacing", " ".join("1" * d), d)
    matrix = numbers("TransformMatrix", " ".join(map(str, np.eye(d, dtype=int).ravel())), d * d).reshape(d, d)
    orientation = says.get("AnatomicalOrientation", "?")
    if not _said(path, says, "TransformMatrix", "") and not {orientation.upper()} & {*_IDENTITY, "?", "??", "???"}:
        raise ModelFileError(f"{path} has axes {orientation[:20]!r} but no TransformMatrix; write it again")
    if np.abs(matrix @ matrix.T - np.eye(d)).max() > 1e-4:
        raise ModelFileError(f"{path} has a TransformMatrix that is no rotation; resample the image to a straight grid")
    scale = lengths_in_mm(path, unit)
    # Negative steps would turn an axis that the matrix names already.
    geometry = placed(path, matrix.T * np.maximum(spacing, 0) * scale, numbers("Offset", " ".join("0" * d), d) * scale)

    dtype = elements(path, says["ElementType"], _TYPES, _flag(path, says, "BinaryDataByteOrderMSB"))
    count = int(np.prod((*grid, channels), dtype=object)) * dtype.itemsize
    encoding: Encoding = "zlib" if _flag(path, says, "CompressedData") else "raw"
    if not _flag(path, says, "BinaryData", True):
        encoding = "text"
    data, start = _data(path, says, end, count if encoding == "raw" else None)
    (slope,) = numbers("ElementToIntensityFunctionSlope", "1", 1)
    (intercept,) = numbers("ElementToIntensityFunctionOffset", "0", 1)
    known = {*_KNOWN, *_SAME, *(each for group in _SAME.values() for each in group)}
    return Header(
        path,
        grid,
        dtype,
        geometry,
        components=channels if channels > 1 else None,
        components_axis=d,
        data=data,
        start=start,
        encoding=encoding,
        slope=float(slope),
        intercept=float(intercept),
        no_field=no_field({name: value for name, value in says.items() if name not in known}, unit_of_space=scale),
        oriented=bool(_said(path, says, "TransformMatrix", "")) or orientation.upper() in _IDENTITY,
    )


def _said(path: Path, says: dict[str, str], name: str, standard: str) -> str:
    """Return what is said about one thing, whichever of its names is used."""
    found = [says[each] for each in (name, *_SAME.get(name, ())) if each in says]
    # A voxel may be smaller than the step to the next one: then both are given, and the step counts.
    if len(set(found)) > 1 and name != "ElementSpacing":
        raise ModelFileError(f"{path} says two different things as {name} and {_SAME[name][0]}; write it again")
    return found[0] if found else standard


def _flag(path: Path, says: dict[str, str], name: str, standard: bool = False) -> bool:
    value = _said(path, says, name, str(standard)).lower()
    if value not in ("true", "false", "1", "0", "t", "f"):
        raise ModelFileError(f"{path} has {name} = {value[:20]!r}, neither True nor False; write it again")
    return value in ("true", "1", "t")


def _data(path: Path, says: dict[str, str], end: int, length: int | None) -> tuple[Path | None, int]:
    """Return the file of the voxels, if it is another one, and at which byte they begin."""
    name = says["ElementDataFile"]
    local = name.upper() == "LOCAL"
    if not local and suffix(path) == ".mha":
        raise ModelFileError(
            f"{path} takes its voxels from {name[:80]!r}; an .mha holds them itself (LOCAL), save it as .mha again"
        )
    (skipped,) = integers(path, "HeaderSize", says.get("HeaderSize", "0"), 1)
    if skipped == -1 and length is not None:
        return (None if local else beside(path, name)), -length
    if skipped < 0 or (local and skipped):
        raise ModelFileError(f"{path} has HeaderSize = {skipped}, which is not read here; write it again")
    return (None, end) if local else (beside(path, name), skipped)
