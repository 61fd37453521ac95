"""Headers of MetaImage: ``.mha``, which holds its voxels, and ``.mhd``, which names a file of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np

from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError, reading, refuse_if
from modelaug.io.formats.headers import (
    Encoding,
    Header,
    add_field,
    axis_count,
    checked_grid,
    field_error,
    first_bytes,
    floats,
    geometry_of,
    integer,
    integers,
    mm_per_unit,
    require,
    value_type,
    voxel_file,
)

_TYPES: Final = {
    **{"MET_CHAR": "i1", "MET_SHORT": "i2", "MET_INT": "i4", "MET_LONG": "i4", "MET_LONG_LONG": "i8"},
    **{"MET_UCHAR": "u1", "MET_USHORT": "u2", "MET_UINT": "u4", "MET_ULONG": "u4", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
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
"""Older names of a field, by the name in use."""

_IDENTITY: Final = ("RAI", "RA")
"""Names of axes in LPS, which ITK calls after the side from which an axis comes."""


def read_metaimage_header(path: Path) -> Header:
    """Read the header of a MetaImage file.

    Raises
    ------
    ModelFileError
        If the file is no MetaImage file, or declares what cannot be honoured.
    """
    with reading(path, "MetaImage"):
        return _header(path, *_lines(path))


def _lines(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header up to ElementDataFile, the last one, and the byte at which it ends."""
    head = first_bytes(path)
    fields: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in fields:
        over = end >= len(head)
        refuse_if(over, f"{path} has no 'ElementDataFile' in its header; pass another file, or write it again")
        stop = head.find(b"\n", end)
        line = head[end : stop if stop >= 0 else len(head)].decode("latin-1").strip()
        end = stop + 1 if stop >= 0 else len(head)
        if not line:
            continue
        name, separator, value = line.partition("=" if "=" in line else ":")
        name = name.strip()
        valid = separator and name.isprintable()
        refuse_if(not valid, f"{path} has {line[:40]!r} in its header, which says nothing; write it again")
        add_field(path, fields, name, value.strip())
    return fields, end


def _header(path: Path, fields: dict[str, str], end: int) -> Header:
    kind = fields.get("ObjectType", "Image")
    refuse_if(kind != "Image", f"{path} holds an object of type {kind[:40]!r}; pass an image")
    require(path, fields, "NDims", "DimSize", "ElementType")
    d = axis_count(path, fields, "NDims", 10)
    grid = checked_grid(path, integers(path, "DimSize", fields["DimSize"], d)[::-1])
    channels = integer(path, fields, "ElementNumberOfChannels", "1")
    refuse_if(not 1 <= channels <= 65535, f"{path} says that it has {channels} channels; write it again")

    def numbers(name: str, default: str, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array(floats(path, name, _value(path, fields, name, default), count))

    spacing = numbers("ElementSpacing", " ".join("1" * d), d)
    matrix = numbers("TransformMatrix", " ".join(map(str, np.eye(d, dtype=int).ravel())), d * d).reshape(d, d)
    turned = bool(_value(path, fields, "TransformMatrix", ""))
    orientation = fields.get("AnatomicalOrientation", "?")
    known = turned or orientation.upper() in (*_IDENTITY, "?", "??", "???")
    refuse_if(not known, f"{path} has axes {orientation[:20]!r} but no TransformMatrix; write it again")
    skew = bool(np.abs(matrix @ matrix.T - np.eye(d)).max() > 1e-4)
    refuse_if(skew, f"{path} has a TransformMatrix that is no rotation; resample the image to a straight grid")
    mm = mm_per_unit(path, fields.get("DistanceUnits", "mm"))
    # Negative steps would turn an axis that the matrix turns already.
    geometry = geometry_of(path, matrix.T * np.maximum(spacing, 0) * mm, numbers("Offset", " ".join("0" * d), d) * mm)

    dtype = value_type(path, fields["ElementType"], _TYPES, _flag(path, fields, "BinaryDataByteOrderMSB"))
    count = math.prod((*grid, channels)) * dtype.itemsize
    encoding: Encoding = "zlib" if _flag(path, fields, "CompressedData") else "raw"
    if not _flag(path, fields, "BinaryData", True):
        encoding = "text"
    data, start = _data(path, fields, end, count if encoding == "raw" else None)
    (slope,) = numbers("ElementToIntensityFunctionSlope", "1", 1)
    (intercept,) = numbers("ElementToIntensityFunctionOffset", "0", 1)
    formal = {*_KNOWN, *_SAME, *(each for group in _SAME.values() for each in group)}
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
        field_error=field_error({name: fields[name] for name in fields if name not in formal}, unit_of_space=mm),
        oriented=turned or orientation.upper() in _IDENTITY,
    )


def _value(path: Path, fields: dict[str, str], name: str, default: str) -> str:
    """Return the value of a field, whichever of its names is used."""
    found = [fields[each] for each in (name, *_SAME.get(name, ())) if each in fields]
    # A voxel may be smaller than the step to the next one: then both are given, and the step counts.
    if len(set(found)) > 1 and name != "ElementSpacing":
        raise ModelFileError(f"{path} says two different things as {name} and {_SAME[name][0]}; write it again")
    return found[0] if found else default


def _flag(path: Path, fields: dict[str, str], name: str, default: bool = False) -> bool:
    value = _value(path, fields, name, str(default)).lower()
    known = value in ("true", "false", "1", "0", "t", "f")
    refuse_if(not known, f"{path} has {name} = {value[:20]!r}, neither True nor False; write it again")
    return value in ("true", "1", "t")


def _data(path: Path, fields: dict[str, str], end: int, length: int | None) -> tuple[Path | None, int]:
    """Return the file of the voxels, if it is another one, and their first byte."""
    name = fields["ElementDataFile"]
    local = name.upper() == "LOCAL"
    if not local and suffix(path) == ".mha":
        raise ModelFileError(
            f"{path} takes its voxels from {name[:80]!r}; an .mha holds them itself (LOCAL), save it as .mha again"
        )
    skipped = integer(path, fields, "HeaderSize", "0")
    data = None if local else voxel_file(path, name)
    if skipped == -1 and length is not None:
        return data, -length
    unread = skipped < 0 or (local and skipped > 0)
    refuse_if(unread, f"{path} has HeaderSize = {skipped}, which is not read here; write it again")
    return data, end if local else skipped
