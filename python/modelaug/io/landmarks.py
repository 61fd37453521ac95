"""Landmarks in files, in formats of this package and of other programs.

In this package landmarks are in voxels and array-axis order, (row, column) or (plane, row, column), and (0, 0) is the
centre of the first voxel. 3D Slicer keeps millimetres in space, so its files need the geometry of their image.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.data.geometry import Geometry
from modelaug.io.files.archives import write_atomically, write_npy
from modelaug.io.files.arrays import read_npy
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError, parse_json, read_text, reading, refuse_if
from modelaug.io.formats.nifti import LPS_TO_RAS
from modelaug.io.tables import Table, looks_numeric, read_lines, read_rows, rows_of, to_numbers, write_rows

PHYSICAL_SUFFIXES: Final = (".mrk.json", ".fcsv")
"""Formats of positions in space, in mm."""

LANDMARK_SUFFIXES: Final = (".csv", *PHYSICAL_SUFFIXES, ".pts", ".npy")
"""All formats of landmarks."""

_SCHEMA: Final = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/"
    "Resources/Schema/markups-schema-v1.0.3.json#"
)
_FCSV_COLUMNS: Final = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_STATE: Final = "positionStatus"
_FCSV_SYSTEMS: Final = {"0": "RAS", "1": "LPS", "RAS": "RAS", "LPS": "LPS"}
_FLAT: Final = 0.01
"""Millimetres by which the third coordinates of landmarks in a plane may differ."""

_NAMES: Final = (
    *("name", "label", "landmark", "names", "labels", "landmarks", "point", "points"),
    *("landmark name", "landmark label", "point name", "point label"),
)
"""Titles of columns that hold names, whatever their cells."""
_NUMBERS: Final = ("id", "landmark id", "point id", "")
"""Titles of columns that hold names, possibly mere numbers, where no other column does."""
_REMARKS: Final = ("remark", "remarks", "comment", "comments", "note", "notes", "description", "desc")

_COLUMNS: Final = (("plane", "row", "column"), ("row", "column"), ("z", "y", "x"), ("y", "x"))
_ALIASES: Final = {"col": "column", "slice": "plane"}
_THIRD: Final = ("plane", "z", "depth")

_UNSET: Final = ("undefined", "missing", "0", "3")
"""States of a markup's point without a position, and their numbers in ``.fcsv``."""

Points = npt.NDArray[np.float64]
Names = tuple[str, ...] | None
"""None where a file has no names."""


def read_landmarks(path: str | Path, *, geometry: Geometry | None = None) -> Points:
    """Read landmarks, (m, d) float64, in voxels and array-axis order; see `read_named_landmarks`."""
    return read_named_landmarks(path, geometry=geometry)[0]


def read_named_landmarks(path: str | Path, *, geometry: Geometry | None = None) -> tuple[Points, tuple[str, ...]]:
    """Read landmarks and their names.

    Parameters
    ----------
    path
        ``.csv``: voxels, one landmark a line. A first line may name the columns, in any order and case, others being
        ignored: ``row`` and ``column`` (or ``col``), in 3D also ``plane`` (or ``slice``); or ``x`` and ``y``, in 3D
        also ``z``, which are voxels as well, counted from 0: x is the column, y the row. Names are in ``name``,
        ``label``, ``landmark``, ``point`` or the like; or in the first column with text, unless all its cells are equal
        or, after the coordinates, two are; or in ``id`` or a column without a title. Without a line of titles the
        columns are (row, column) or (plane, row, column), after the name if the first one is no number. Columns end
        with a comma, semicolon or tab; numbers may have decimal commas unless columns end with commas. UTF-8, or UTF-16
        with a byte order mark.
        ``.mrk.json``: a markup of Slicer 5 (fiducials, curve) in mm, LPS or RAS, and ``.fcsv``: fiducials of Slicer 4.
        ``.pts``: with a head ``version: 1``, ``n_points: m`` and braces, x and y are pixels counted from 1, as menpo
        takes them; lines of numbers alone are x, y[, z], counted from 0, after a line with their count or without.
        ``.npy``: an array (m, d) in voxels and array-axis order.
    geometry
        Geometry of the image; needed for positions in mm. If it is of a plane, their third coordinates must be the
        same, to 0.01 mm, and are dropped.

    Returns
    -------
    points : ndarray, (m, d), float64
        In voxels, components in array-axis order.
    names : tuple of str
        The landmarks' names; their numbers from 0 on where the file has none.

    Raises
    ------
    ModelFileError
        If the file is missing or holds no landmarks, or a markup has points without a position.
    ValueError
        If the format is not known, or `geometry` is missing or does not suit the file.
    """
    points, names = read_landmark_file(path, geometry=geometry)
    return points, numbered(len(points)) if names is None else names


def numbered(m: int) -> tuple[str, ...]:
    """Return names for landmarks without any: their numbers from 0."""
    return tuple(map(str, range(m)))


def read_landmark_file(path: str | Path, *, geometry: Geometry | None = None) -> tuple[Points, Names]:
    """Read landmarks and their names as `read_named_landmarks` does, but None where the file has no names."""
    ending = _ending(path)
    if ending in PHYSICAL_SUFFIXES:
        if geometry is None:
            raise ValueError(f"geometry is None, but {path} holds positions in mm; pass the geometry of its image")
        positions, names = _read_markups(path) if ending == ".mrk.json" else _read_fcsv(path)
        return _voxels(path, positions, geometry), names
    if ending == ".csv":
        return _from_table(path, read_rows(path, _is_of_landmarks))
    if ending == ".pts":
        return _read_pts(path)
    array = read_npy(path)
    refuse_if(array.dtype.kind not in "fiu", f"{path} has dtype {array.dtype}; write real numbers")
    return _array(path, array), None


def write_landmarks(
    path: str | Path,
    points: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    geometry: Geometry | None = None,
) -> None:
    """Write landmarks, under a temporary name until they are complete, in the format that the ending names.

    Parameters
    ----------
    path
        As in `read_named_landmarks`. A ``.csv`` has the columns ``name``, ``row``, ``column`` and, in 3D, ``plane``
        after the name; ``.mrk.json`` and ``.fcsv`` are in LPS; ``.pts`` is with its head, counted from 1.
    points : array_like, (m, d)
        In voxels, components in array-axis order.
    names
        The landmarks' names; their numbers from 0 on by default. ``.pts`` and ``.npy`` do not keep them.
    geometry
        Geometry of the image; needed for positions in mm. Landmarks in a plane get a third coordinate 0.
    """
    array = _checks.finite("points", points, ndim=2, dtype=np.float64)
    if array.shape[1] not in (2, 3):
        raise ValueError(f"points has shape {array.shape}; pass 2 or 3 coordinates each")
    called = _checked_names(names, len(array))
    ending = _ending(path)
    if ending == ".npy":
        write_npy(path, array)
        return
    if ending in PHYSICAL_SUFFIXES:
        if geometry is None:
            raise ValueError(f"geometry is None, but {path} is to hold positions in mm; pass the image's geometry")
        if len(geometry.spacing) != array.shape[1]:
            raise ValueError(
                f"geometry has {len(geometry.spacing)} dimensions but points {array.shape[1]}; pass the image's own"
            )
        positions = np.zeros((len(array), 3))
        positions[:, : array.shape[1]] = geometry.to_space(array)
        text = _markups(positions, called) if ending == ".mrk.json" else _fcsv(positions, called)
    else:
        text = _csv(array, called) if ending == ".csv" else _pts(array)
    write_atomically(path, text.encode())


def _checked_names(names: Sequence[str] | None, m: int) -> tuple[str, ...]:
    if names is None:
        return numbered(m)
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names is {names!r}; pass one string per landmark")
    if len(names) != m:
        raise ValueError(f"names holds {len(names)} names for {m} landmarks; pass one each")
    for name in names:
        if not name or any(ord(each) < 32 for each in name):
            raise ValueError(f"names holds {name!r}; pass names of one line that are not empty")
    return tuple(names)


def _voxels(path: str | Path, positions: Points, geometry: Geometry) -> Points:
    """Convert positions in mm to voxels of an image, which may be a plane."""
    if len(geometry.spacing) == 3:
        return geometry.to_voxels(positions)
    low, high = positions[:, 2].min(), positions[:, 2].max()
    if high - low > _FLAT:
        raise ValueError(
            f"{path} has third coordinates from {low:g} to {high:g} mm but geometry is that of a plane; pass the "
            "geometry of the volume in which the landmarks were set"
        )
    return geometry.to_voxels(positions[:, :2])


def _array(path: str | Path, rows: npt.ArrayLike) -> Points:
    """Return the coordinates in a file, (m, 2) or (m, 3)."""
    counts = sorted({len(row) for row in rows if isinstance(row, list)}) if isinstance(rows, list) else []
    if len(counts) > 1:
        raise ModelFileError(
            f"{path} holds no landmarks (one has {counts[0]} numbers, another {counts[-1]}); write 2 or 3 numbers each"
        )
    try:
        points = _checks.finite("coordinates", np.array(rows, dtype=np.float64), ndim=2, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path} holds no landmarks ({error}); write 2 or 3 numbers each") from None
    d = points.shape[1]
    refuse_if(d not in (2, 3), f"{path} has {d} coordinate(s) per landmark; write 2 or 3")
    return points


def _completed(names: Sequence[str]) -> Names:
    """Replace empty names by the landmarks' numbers; return None where all are empty."""
    return tuple(name or str(i) for i, name in enumerate(names)) if any(map(str.strip, names)) else None


def _titles(table: Table) -> list[str]:
    """Return the cells of the first line as normalized titles of columns."""
    words = (" ".join(cell.lower().replace("_", " ").split()) for cell in table.rows[0])
    return [_ALIASES.get(title, title) for title in words]


def _columns(table: Table) -> tuple[str, ...] | None:
    """Return the titles of the coordinates' columns, if the first line has them."""
    return next((columns for columns in _COLUMNS if set(columns) <= set(_titles(table))), None)


def _is_of_landmarks(table: Table) -> bool:
    """Return whether the first line of a table holds titles or a landmark."""
    if not table.rows:
        return False
    first = table.rows[0]
    coordinates = first if table.is_number(first[0]) else first[1:]
    return _columns(table) is not None or (len(coordinates) in (2, 3) and all(map(table.is_number, coordinates)))


def holds_landmarks(path: str | Path) -> bool:
    """Return whether a table, ``.csv``, holds the landmarks of a single subject."""
    try:
        table = read_rows(path, _is_of_landmarks)
        _from_table(path, table)
    except ModelFileError:
        return False
    return "subject" not in _titles(table)


def _from_table(path: str | Path, table: Table) -> tuple[Points, Names]:
    """Return the landmarks in the rows of a table."""
    rows = table.rows
    refuse_if(not rows, f"{path} is empty; write one landmark a line")
    titles, wanted = _titles(table), _columns(table)
    if wanted is not None:
        twice = next((each for each in wanted if titles.count(each) > 1), None)
        refuse_if(twice is not None, f"{path} has the column {twice!r} twice; remove one")
        third = next((each for each in _THIRD if each in titles), None)
        if len(wanted) == 2 and third is not None and not {"x", "y", "z"} <= set(titles):
            mixed = ", ".join(rows[0][titles.index(each)].strip() for each in (*wanted, third))
            raise ModelFileError(
                f"{path} holds no landmarks, for its columns {mixed} are not of one set; name them plane, row, column "
                "or x, y, z"
            )
        axes = [titles.index(each) for each in wanted]
        named = _name_column(table, axes)
        rows = rows[1:]
    else:
        unnamed = f"{path} has the columns {rows[0]}; name them name, row, column (in 3D plane, row, column)"
        refuse_if(not looks_numeric(rows[0][-1]), unnamed)
        named = None if looks_numeric(rows[0][0]) else 0
        axes = list(range(0 if named is None else 1, len(rows[0])))
    for row in rows:
        if len(row) != len(titles):
            raise ModelFileError(f"{path} has a line {row} with {len(row)} of {len(titles)} columns; complete it")
    points = _array(path, to_numbers(path, table, ([row[k] for k in axes] for row in rows)))
    return points, None if named is None else _completed([row[named] for row in rows])


def _name_column(table: Table, axes: Sequence[int]) -> int | None:
    """Return the column of a table with titles that holds the landmarks' names, by its title or its cells."""
    titles = _titles(table)
    cells = {k: [row[k].strip() for row in table.rows[1:] if k < len(row)] for k in range(len(titles)) if k not in axes}
    texts = [k for k in cells if any(not table.is_number(each) and any(map(str.isalnum, each)) for each in cells[k])]
    # Under other titles, equal cells may be the observer, or grades; before the coordinates, names given twice.
    distinct = {k: len(set(cells[k])) for k in texts}
    names = [k for k in texts if distinct[k] == len(cells[k]) or (distinct[k] > 1 and k < min(axes))]
    likely = [titles.index(each) for each in _NAMES if each in titles]
    likely += [k for k in texts if titles[k] in _NUMBERS or (titles[k] not in _REMARKS and k in names)]
    likely += [titles.index(each) for each in _NUMBERS if each in titles]
    return next(iter(likely), None)


def _csv(points: Points, names: Sequence[str]) -> str:
    titles = ("name", "row", "column") if points.shape[1] == 2 else ("name", "plane", "row", "column")
    return write_rows(
        [titles, *([name, *map(repr, point)] for name, point in zip(names, points.tolist(), strict=True))]
    )


def _read_markups(path: str | Path) -> tuple[Points, Names]:
    """Read the control points of a markup, (m, 3) in LPS, in Slicer's schema of markups 1.0."""
    text = read_text(path, "a markup of Slicer")
    with reading(path, "a markup of Slicer", "save it again"):
        markups = parse_json(text)["markups"]
        refuse_if(len(markups) != 1, f"{path} holds {len(markups)} markups; save each in a file of its own")
        markup = markups[0]
        system, units = markup.get("coordinateSystem", "LPS"), markup.get("coordinateUnits", "mm")
        controls = markup["controlPoints"]
        labels = [str(each.get("label") or "") for each in controls]
        positions = [each["position"] for each in controls]
        empty = [each is None or (isinstance(each, list) and None in each) for each in positions]
        # A point in any other state, such as one being placed, has a position.
        unset = [each.get("positionStatus") in _UNSET or empty[i] for i, each in enumerate(controls)]
    names = _completed(labels)
    _check_set(path, names, unset)
    unread = f"{path} is in the coordinate system {system!r}; save it in LPS or RAS"
    refuse_if(system not in ("LPS", "RAS"), unread)
    _check_unit(path, units[0] if isinstance(units, list) and units else units)
    points = _array(path, positions)
    flat = points.shape[1] != 3
    refuse_if(flat, f"{path} has 2 coordinates per landmark; positions in space are 3 numbers")
    return points * LPS_TO_RAS if system == "RAS" else points, names


def _check_set(path: str | Path, names: Names, unset: Sequence[bool]) -> None:
    """Raise ModelFileError if a point has no position."""
    if any(unset):
        called = numbered(len(unset)) if names is None else names
        missing = ", ".join(repr(name) for name, is_unset in zip(called, unset, strict=True) if is_unset)
        raise ModelFileError(f"{path} has no position for {missing}; set or delete these points")


def _check_unit(path: str | Path, unit: Any) -> None:
    refuse_if(unit != "mm", f"{path} has the unit {unit!r}; save it in mm")


def _markups(positions: Points, names: Sequence[str]) -> str:
    controls = [
        {"id": str(i + 1), "label": name, "position": position, "positionStatus": "defined"}
        for i, (name, position) in enumerate(zip(names, positions.tolist(), strict=True))
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": controls}
    return json.dumps({"@schema": _SCHEMA, "markups": [markup]}, indent=2) + "\n"


def _read_fcsv(path: str | Path) -> tuple[Points, Names]:
    """Read fiducials of Slicer 4, (m, 3) in LPS; RAS by default, as its first versions wrote."""
    lines = read_lines(path).split("\n")
    entries = [line[1:].partition("=") for line in lines if line.startswith("#") and "=" in line]
    head = {name.strip().lower(): value.strip() for name, _, value in entries}
    system = head.get("coordinatesystem", "RAS")
    unread = f"{path} is in the coordinate system {system!r}; save it in LPS or RAS"
    refuse_if(system not in _FCSV_SYSTEMS, unread)
    _check_unit(path, head.get("coordinateunits", "mm"))
    titles = [title.strip() for title in head.get("columns", _FCSV_COLUMNS).split(",")]
    complete = {"x", "y", "z"} <= set(titles)
    refuse_if(not complete, f"{path} has the columns {titles}; fiducials of Slicer have x, y and z among them")
    rows = rows_of(path, "\n".join(line for line in lines if not line.startswith("#")))
    axes = [titles.index(each) for each in "xyz"]
    label = titles.index("label") if "label" in titles else None
    if not rows or min(map(len, rows)) <= max(*axes, -1 if label is None else label):
        raise ModelFileError(f"{path} has no landmarks or lines that are too short for {titles}; save it again")
    names = None if label is None else _completed([row[label] for row in rows])
    # Slicer 5 writes the state of a point into an untitled last column.
    state = titles.index(_STATE) if _STATE in titles else len(titles) if titles == _FCSV_COLUMNS.split(",") else None
    if state is not None:
        _check_set(path, names, [len(row) > state and row[state].strip() in _UNSET for row in rows])
    points = _array(path, to_numbers(path, Table(rows, ","), ([row[k] for k in axes] for row in rows)))
    return points * LPS_TO_RAS if _FCSV_SYSTEMS[system] == "RAS" else points, names


def _fcsv(positions: Points, names: Sequence[str]) -> str:
    head = ["# Markups fiducial file version = 4.11", "# CoordinateSystem = LPS", f"# columns = {_FCSV_COLUMNS}"]
    rows = [
        [f"vtkMRMLMarkupsFiducialNode_{i}", *map(repr, position), *"0001110", name, "", ""]
        for i, (name, position) in enumerate(zip(names, positions.tolist(), strict=True))
    ]
    return "\n".join(head) + "\n" + write_rows(rows)


def _read_pts(path: str | Path) -> tuple[Points, Names]:
    """Read points (x, y[, z]), counted from 1 after a head as menpo writes it, else from 0."""
    lines = [line.split() for line in read_lines(path).split("\n") if line.strip()]
    first = 0.0
    promised = None
    if ["{"] in lines:
        opening = lines.index(["{"])
        head = {words[0].rstrip(":").lower(): words[-1] for words in lines[:opening]}
        refuse_if(["}"] not in lines, f"{path} ends before the closing brace; copy it again")
        closing = lines.index(["}"])
        more = closing != len(lines) - 1
        refuse_if(more, f"{path} goes on after the closing brace; save each set of points in a file of its own")
        lines, first, promised = lines[opening + 1 : closing], 1.0, head.get("n_points")
    elif lines and len(lines[0]) == 1 and lines[0][0].isdecimal() and all(len(line) > 1 for line in lines[1:]):
        lines, promised = lines[1:], str(int(lines[0][0]))
    wrong = promised is not None and promised != str(len(lines))
    refuse_if(wrong, f"{path} has {len(lines)} of {promised} landmarks; complete it, or correct the number")
    points = _array(path, to_numbers(path, Table(lines, ","), lines))
    return np.ascontiguousarray(points[:, ::-1] - first), None


def _pts(points: Points) -> str:
    lines = [" ".join(map(repr, point[::-1])) for point in (points + 1.0).tolist()]
    return "\n".join(["version: 1", f"n_points: {len(points)}", "{", *lines, "}"]) + "\n"


def _ending(path: str | Path) -> str:
    """Return a path's ending if it is that of a format of landmarks."""
    ending = suffix(path)
    if ending not in LANDMARK_SUFFIXES:
        raise ValueError(f"{path} ends in no known format of landmarks; use {', '.join(LANDMARK_SUFFIXES)}")
    return ending
