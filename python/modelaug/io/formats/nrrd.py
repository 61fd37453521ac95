"""Headers of NRRD: ``.nrrd``, which holds its voxels, and ``.nhdr``, which names a file of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError, reading, refuse_if
from modelaug.io.formats.headers import (
    PLAIN_NUMBER,
    Encoding,
    Header,
    add_field,
    axis_count,
    check_lengths,
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
    name: kind
    for kind, names in {
        "i1": ("signed char", "int8", "int8_t"),
        "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
        "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
        "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
        "i4": ("int", "signed int", "int32", "int32_t"),
        "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
        "i8": (
            *("longlong", "long long", "long long int", "signed long long", "signed long long int"),
            *("int64", "int64_t"),
        ),
        "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
        "f4": ("float",),
        "f8": ("double",),
    }.items()
    for name in names
}
_ENCODINGS: Final[dict[str, Encoding]] = {
    **{"raw": "raw", "gzip": "gzip", "gz": "gzip"},
    **{"text": "text", "txt": "text", "ascii": "text"},
}
_NAMES: Final = {
    name.replace(" ", ""): name
    for name in (
        *("data file", "line skip", "byte skip", "block size", "space units", "space origin", "space directions"),
        *("space dimension", "axis mins", "axis maxs", "sample units", "measurement frame"),
    )
}

# Signs that turn positions into LPS. Spaces of no known orientation are taken for LPS, as by ITK and Slicer.
_TO_LPS: Final = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
    "scanner-xyz": (1.0, 1.0, 1.0),
    "3d-right-handed": (1.0, 1.0, 1.0),
    "3d-left-handed": (1.0, 1.0, 1.0),
}
_IN_SPACE: Final = ("domain", "space", "time")
_UNKNOWN: Final = ("???", "none", "")
_OF_FIELDS: Final = ("vector", "2-vector", "3-vector", "list", *_UNKNOWN)

Lines = dict[str, str]


def read_nrrd_header(path: Path) -> Header:
    """Read the header of an NRRD file.

    Raises
    ------
    ModelFileError
        If the file is no NRRD file, or declares what cannot be honoured.
    """
    with reading(path, "NRRD"):
        return _header(path, *_lines(path))


def read_nrrd_notes(path: Path) -> Lines:
    """Read the key/value pairs that other programs note in an NRRD file; errors as in `read_nrrd_header`."""
    with reading(path, "NRRD"):
        return {name: value.encode("latin-1").decode("utf-8", "replace") for name, value in _lines(path)[1].items()}


def _lines(path: Path) -> tuple[Lines, Lines, int]:
    """Return the fields of a header, its notes (keys and values), and the byte at which it ends."""
    head = first_bytes(path)
    alien = not re.match(rb"NRRD000[1-5]\s*?\n", head)
    refuse_if(alien, f"{path} does not begin as NRRD does; pass another file")
    detached = suffix(path) == ".nhdr"
    blank = re.search(rb"\n\r?\n", head)
    if blank is None and not detached:
        raise ModelFileError(f"{path} has no end of its header, an empty line; pass another file, or write it again")
    end = blank.end() if blank else len(head)
    fields: Lines = {}
    notes: Lines = {}
    for line in head[:end].decode("latin-1").split("\n")[1:]:
        line = line.rstrip()
        if not line or line.startswith("#"):
            continue
        field, note = line.partition(": "), line.partition(":=")
        if note[1] and (not field[1] or len(note[0]) < len(field[0])):
            name, value, kept = note[0].strip(), note[2].strip(), notes
        else:
            name, separator, value = line.partition(":")
            name, value, kept = name.strip().lower(), value.strip(), fields
            name = _NAMES.get(name.replace(" ", ""), name)
            refuse_if(not separator, f"{path} has {line[:40]!r} in its header, which says nothing; write it again")
        add_field(path, kept, name, value)
    return fields, notes, end


def _header(path: Path, fields: Lines, notes: Lines, end: int) -> Header:
    require(path, fields, "dimension", "sizes", "type", "encoding")
    count = axis_count(path, fields, "dimension", 16)
    lengths = integers(path, "sizes", fields["sizes"], count)
    check_lengths(path, lengths)
    kinds = fields.get("kinds", " ".join(["???"] * count)).lower().split()
    refuse_if(len(kinds) != count, f"{path} has {len(kinds)} kinds for {count} axes; write it again")
    alien = next((each for each in kinds if each == "complex" or "masked" in each), "")
    refuse_if(alien != "", f"{path} has values of the kind {alien!r}, which is not read; save them as numbers")
    directions = _directions(path, fields, count)
    of_values = [
        k
        for k in range(count)
        if (directions is not None and directions[k] is None) or kinds[k] not in (*_IN_SPACE, *_UNKNOWN)
    ]
    refuse_if(len(of_values) > 1, f"{path} has {len(of_values)} axes that are none of space; pass a plane or a volume")
    in_space = [k for k in range(count) if k not in of_values]
    grid = checked_grid(path, tuple(lengths[k] for k in in_space)[::-1])
    components = lengths[of_values[0]] if of_values else None
    kind = kinds[of_values[0]] if of_values else ""
    name = fields["encoding"]
    refuse_if(name.lower() not in _ENCODINGS, f"{path} is encoded as {name[:20]!r}; save it as raw or gzip")
    encoding = _ENCODINGS[name.lower()]
    dtype = value_type(path, " ".join(fields["type"].lower().split()), _TYPES, _is_big_endian(path, fields, encoding))
    geometry, mm = _geometry(path, fields, in_space, directions)
    stored = math.prod(lengths) * dtype.itemsize
    data, start, skip = _data(path, fields, end, stored, encoding)
    return Header(
        path,
        grid,
        dtype,
        geometry,
        components=components,
        components_axis=count - 1 - of_values[0] if of_values else 0,
        data=data,
        start=start,
        skip=skip,
        encoding=encoding,
        kind="labels" if any(re.fullmatch(r"Segment\d+_\w+", name) for name in notes) else None,
        field_error=_field_error(fields, notes, kind, mm),
        oriented=directions is not None,
    )


def _field_error(fields: Lines, notes: Lines, kind: str, mm: float) -> str:
    """Return why the values are no displacements, by their kind, their space and the notes; empty if they may be."""
    if kind not in _OF_FIELDS:
        return f"holds values of the kind {kind!r}, which are no displacements"
    space = fields.get("space", "lps").lower()
    if _TO_LPS[space] != (1.0, 1.0, 1.0):
        return f"has vectors in {space}, while displacement fields of ITK and Slicer are in left-posterior-superior"
    frame = fields.get("measurement frame")
    if frame is not None:
        numbers = [float(each) for each in re.findall(PLAIN_NUMBER.pattern.replace("(", "(?:"), frame, re.ASCII)]
        d = math.isqrt(len(numbers))
        if not (d and len(numbers) == d * d and np.array_equal(np.reshape(numbers, (d, d)), np.eye(d))):
            return f"has vectors in a frame of their own (measurement frame is {frame[:80]!r})"
    described = {name: fields[name] for name in ("content", "sample units") if name in fields}
    return field_error(notes | described, unit_of_space=mm)


def _is_big_endian(path: Path, fields: Lines, encoding: Encoding) -> bool:
    order = fields.get("endian", "").lower()
    refuse_if(order not in ("little", "big", ""), f"{path} has endian {order[:20]!r}; write it again")
    known = order or encoding == "text" or _TYPES.get(" ".join(fields["type"].lower().split()), "").endswith("1")
    refuse_if(not known, f"{path} does not say in which order its bytes are (endian); write it again")
    return order == "big"


def _vector(path: Path, name: str, text: str, d: int) -> tuple[float, ...]:
    """Parse a vector that is written as (1,2,3)."""
    valid = re.fullmatch(r"\([^()]*\)", text) is not None
    refuse_if(not valid, f"{path} has {text[:40]!r} in {name}, not a vector (x,y,z); write it again")
    return floats(path, name, " ".join(text[1:-1].split(",")), d)


def _directions(path: Path, fields: Lines, count: int) -> list[tuple[float, ...] | None] | None:
    """Return each axis' step in space, None for an axis that is none of space; None if the header has no steps."""
    if "space directions" not in fields:
        return None
    # Blanks inside vectors are allowed.
    words = re.findall(r"\([^()]*\)|[^\s()]+", fields["space directions"])
    refuse_if(len(words) != count, f"{path} has {len(words)} space directions for {count} axes; write it again")
    d = _space_dimension(path, fields)
    return [None if word.lower() == "none" else _vector(path, "space directions", word, d) for word in words]


def _space_dimension(path: Path, fields: Lines) -> int:
    if "space" in fields:
        space = fields["space"].lower()
        unread = f"{path} lies in the space {space[:40]!r}; save it in left-posterior-superior"
        refuse_if(space not in _TO_LPS, unread)
        return 3
    return integer(path, fields, "space dimension")


def _geometry(
    path: Path, fields: Lines, in_space: Sequence[int], directions: Sequence[tuple[float, ...] | None] | None
) -> tuple[Geometry, float]:
    """Return the geometry of the voxels, and the millimetres per unit of the file."""
    d = len(in_space)
    ends = "axis mins" in fields or "axis maxs" in fields
    refuse_if(ends, f"{path} places its axes by their ends (axis mins, axis maxs); save a space origin")
    if directions is None:
        mm, steps = _axis_steps(path, fields, in_space)
        return geometry_of(path, np.diag(steps), np.zeros(d)), mm
    refuse_if("spacings" in fields, f"{path} has both spacings and space directions; write it again")
    size = _space_dimension(path, fields)
    refuse_if(size != d, f"{path} has {d} axes in a space of {size} dimensions; save it as a volume or a plane")
    scales = {mm_per_unit(path, each) for each in _units(fields.get("space units", ""))} or {1.0}
    refuse_if(len(scales) > 1, f"{path} has axes in different units; save it in mm")
    signs = np.array(_TO_LPS[fields.get("space", "lps").lower()][:d])
    origin = np.zeros(d)
    if "space origin" in fields:
        origin = np.array(_vector(path, "space origin", fields["space origin"], d))
    columns = np.column_stack([np.array(directions[k]) for k in in_space])
    mm = scales.pop()
    return geometry_of(path, signs[:, None] * columns * mm, signs * origin * mm), mm


def _units(text: str) -> list[str]:
    return re.findall(r'"[^"]*"|\S+', text)


def _axis_steps(path: Path, fields: Lines, in_space: Sequence[int]) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the millimetres per unit and the spacing in mm, where each axis has a unit and a spacing of its own."""
    count = integer(path, fields, "dimension")
    words = fields.get("spacings", " ".join("1" * count)).split()
    units = _units(fields.get("units", " ".join(["mm"] * count)))
    incomplete = not len(words) == len(units) == count
    refuse_if(incomplete, f"{path} has not one spacing and one unit for each of its {count} axes; write it again")
    steps = floats(path, "spacings", " ".join(words[k] for k in in_space))
    refuse_if(min(steps) <= 0, f"{path} has spacings {' '.join(words)[:80]}, not all above 0; correct its header")
    scales = [mm_per_unit(path, units[k]) for k in in_space]
    return max(scales, key=lambda each: abs(math.log(each))), np.array(steps) * scales


def _data(path: Path, fields: Lines, end: int, stored: int, encoding: Encoding) -> tuple[Path | None, int, int]:
    """Return the file of the voxels, if it is another one, their first byte, and the bytes to skip after decoding."""
    data = None
    if "data file" in fields:
        if suffix(path) == ".nrrd":
            raise ModelFileError(
                f"{path} takes its voxels from {fields['data file'][:80]!r}; an .nrrd holds them itself, save it again"
            )
        data, end = voxel_file(path, fields["data file"]), 0
    lines, skip = integer(path, fields, "line skip", "0"), integer(path, fields, "byte skip", "0")
    if not 0 <= lines <= 2**16 or skip < -1 or (skip and encoding == "text") or (skip == -1 and encoding != "raw"):
        raise ModelFileError(f"{path} has line skip {lines} and byte skip {skip}, which is not read; write it again")
    if skip == -1:
        return data, -stored, 0
    with open(data or path, "rb") as file:
        file.seek(end)
        for _ in range(lines):
            short = file.readline(2**20).endswith(b"\n")
            refuse_if(not short, f"{data or path} has no {lines} short lines to skip; write it again")
        return data, file.tell(), skip
