"""Headers of NIfTI, versions 1 and 2, in a single file."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy  # whose submodules are imported when they are used: spatial takes long

from modelaug.data.geometry import Geometry, in_plane
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import reading, refuse_if
from modelaug.io.formats.headers import (
    Header,
    ValueKind,
    Vectors,
    check_lengths,
    checked_grid,
    first_bytes,
    geometry_of,
    value_type,
)

DISPLACEMENT: Final = 1006
"""NIfTI's code for the intent of displacement vectors."""

VECTOR: Final = 1007

LPS_TO_RAS: Final = np.array([-1.0, -1.0, 1.0])
"""Signs that turn LPS into RAS, and back."""

_TYPES: Final = {
    **{"256": "i1", "4": "i2", "8": "i4", "1024": "i8", "16": "f4", "64": "f8"},
    **{"2": "u1", "512": "u2", "768": "u4", "1280": "u8"},
}
_COLOURS: Final = {128: 3, 2304: 4}  # values of 8 bits per voxel
_MM_PER_UNIT: Final = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
_LABELS: Final = (1002, 1003)  # the latter of structures with a name
_STATISTICS: Final = range(2, 25)
_COLOUR_VECTORS: Final = (2003, 2004)

# Meaning of intent_p1 where intent_name is NREG_TRANS, as NiftyReg writes it.
_NIFTYREG: Final = (
    *("positions", "displacements", "control points of a spline", "velocities", "velocities"),
    *("velocities at control points", "control points of a spline"),
)

_FSL: Final = {
    2006: "an FSL fnirt displacement field",
    2016: "cubic spline coefficients of FSL topup",
    2017: "quadratic spline coefficients of FSL topup",
    2018: "an FSL topup field",
}

_SPM: Final = re.compile(r"(forward |inverse |backward )?deformation( field)?( \(.*\))?", re.IGNORECASE)
_OTHER_FIELDS: Final = re.compile(r"velocity|flow field|jacobian|momentum|control ?point|coefficient", re.IGNORECASE)

_SAME: Final = 0.5
"""Voxels by which the corners of a grid may lie apart in qform and sform."""

_SAME_SIZE: Final = 0.01
"""Relative difference that the voxel sizes of pixdim and sform may have."""

Steps = npt.NDArray[np.float64]
Affine = tuple[Steps, Steps]
"""An affine map from voxels to RAS, x first: its matrix, whose columns are steps along the file's axes, and origin."""


def read_nifti_header(path: Path) -> Header:
    """Read the header of a NIfTI file.

    A single plane is a volume if it holds vectors of three components, else a plane.

    Raises
    ------
    ModelFileError
        If the file is no NIfTI file, or declares what cannot be honoured.
    """
    with reading(path, "NIfTI", "copy it again"):
        return _header(path)


def _raw_header(path: Path) -> tuple[Any, bool, int]:
    """Return the fields of a header, whether the file is big-endian, and the header's length in bytes."""
    import nibabel

    if suffix(path) == ".nii.gz":
        with gzip.open(path) as file:
            head = file.read(540)
    else:
        head = first_bytes(path, 540)
    orders = {size.to_bytes(4, order): (size, order) for size in (348, 540) for order in ("little", "big")}
    alien = len(head) < 348 or head[:4] not in orders
    refuse_if(alien, f"{path} does not begin as NIfTI does; pass another file")
    size, order = orders[head[:4]]
    refuse_if(len(head) < size, f"{path} holds {len(head)} of {size} bytes of its header; copy it again")
    kind: Any = nibabel.Nifti1Header if size == 348 else nibabel.Nifti2Header
    raw = kind(head[:size], "<" if order == "little" else ">", check=False).structarr
    magic = bytes(raw["magic"].item())
    split = magic[:3] in (b"ni1", b"ni2")
    refuse_if(split, f"{path} has its voxels in another file, .img; save it as one file, .nii")
    unmarked = magic[:3] != (b"n+1" if size == 348 else b"n+2")
    refuse_if(unmarked, f"{path} has no mark of NIfTI, 'n+1', such as files of Analyze; save it as NIfTI")
    return raw, order == "big", size


def _header(path: Path) -> Header:
    raw, big_endian, size = _raw_header(path)
    code = int(raw["intent_code"])
    lengths, components = _shape(path, raw, code)
    number = int(raw["datatype"])
    colours = _COLOURS.get(number)
    refuse_if(bool(colours and components), f"{path} has vectors of colours; save it as numbers")
    dtype = np.dtype(np.uint8) if colours else value_type(path, str(number), _TYPES, big_endian)
    bits, stored = 8 * dtype.itemsize * (colours or 1), int(raw["bitpix"])
    refuse_if(stored not in (0, bits), f"{path} has {stored} bits per voxel but a type of {bits}; write it again")
    start = float(raw["vox_offset"])
    valid = math.isfinite(start) and start == int(start) and start >= size + 4
    refuse_if(not valid, f"{path} says that its voxels begin at byte {start:g}; correct vox_offset")
    slope, intercept = _scaling(path, raw)
    grid = checked_grid(path, lengths[::-1])
    geometry = _geometry(path, raw, lengths)
    vectors, field_error = _meaning(raw, code, components)
    if not field_error and int(raw["xyzt_units"]) & 7 not in (0, 2):
        field_error = "gives lengths in another unit than mm, so that those of its vectors are not clear"
    if components == len(grid) == 2 and not field_error and abs(geometry.direction[2, 2]) < 1 - 1e-5:
        field_error = "is not in the plane of x and y, so that two components say nothing about it"
    compressed = suffix(path) == ".nii.gz"
    return Header(
        path,
        grid,
        dtype,
        geometry if len(grid) == 3 else in_plane(geometry),
        components=colours or components,
        components_axis=len(grid) if colours else 0,
        start=0 if compressed else int(start),
        skip=int(start) if compressed else 0,
        encoding="gzip" if compressed else "raw",
        slope=slope,
        intercept=intercept,
        kind=_kind(code),
        vectors=vectors,
        field_error=field_error,
        oriented=int(raw["qform_code"]) > 0 or int(raw["sform_code"]) > 0,
    )


def _shape(path: Path, raw: Any, code: int) -> tuple[tuple[int, ...], int | None]:
    """Return the lengths of the two or three axes of space, x first, and the number of components after them."""
    count = int(raw["dim"][0])
    refuse_if(not 1 <= count <= 7, f"{path} says that it has {count} axes; write it again")
    lengths = tuple(int(each) for each in raw["dim"][1 : 1 + count])
    check_lengths(path, lengths)
    components = None
    has_vectors = code in (DISPLACEMENT, VECTOR, *_COLOUR_VECTORS) or _holds_positions(raw)
    if count >= 5 and has_vectors and lengths[3] == 1 and set(lengths[5:]) <= {1}:
        components, lengths = lengths[4], lengths[:3]
    while len(lengths) > 3 and lengths[-1] == 1:
        lengths = lengths[:-1]
    if len(lengths) > 3:
        checked_grid(path, lengths, f"; {_intent(code)}" if code else "")
    if components is not None and components != 3 and lengths[2] == 1:
        lengths = lengths[:2]
    return lengths, components


def _scaling(path: Path, raw: Any) -> tuple[float, float]:
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0:
        return 1.0, 0.0
    valid = math.isfinite(slope) and math.isfinite(intercept)
    refuse_if(not valid, f"{path} says that its values are scaled by {slope} and {intercept}; correct its header")
    return slope, intercept


def _intent(code: int) -> str:
    """Return the name of an intent, as a part of a sentence."""
    import nibabel

    labels: Any = nibabel.nifti1.intent_codes.label
    name = _FSL.get(code) or labels.get(code, "unknown")
    return f"its intent is {code}, {name}"


def _kind(code: int) -> ValueKind | None:
    if code in _LABELS:
        return "labels"
    if code in _STATISTICS:
        return "statistics"
    return {DISPLACEMENT: "displacement", VECTOR: "vectors"}.get(code)  # type: ignore[return-value]


def _text(raw: Any, name: str) -> str:
    return str(bytes(raw[name].item()).split(b"\0")[0].decode("latin-1")).strip()


def _holds_positions(raw: Any) -> bool:
    """Return whether the vectors are positions by SPM, which gives them the intent of vectors or none."""
    return int(raw["intent_code"]) in (0, VECTOR) and _SPM.fullmatch(_text(raw, "descrip")) is not None


def _meaning(raw: Any, code: int, components: int | None) -> tuple[Vectors, str]:
    """Return the meaning of the vectors, and why they are no displacements; empty if they may be."""
    vectors: Vectors = "displacement in RAS" if code == DISPLACEMENT else "displacement in LPS"
    if components is None:
        return vectors, f"has a single number per voxel ({_intent(code)})" if code else ""
    description, name, number = _text(raw, "descrip"), _text(raw, "intent_name"), float(raw["intent_p1"])
    if name == "NREG_TRANS":
        content = _NIFTYREG[int(number)] if number in range(len(_NIFTYREG)) else f"transformations of kind {number:g}"
        if content not in ("positions", "displacements"):
            return vectors, f"holds {content} of NiftyReg, which are no displacements; use reg_transform -disp"
        return "positions in RAS" if content == "positions" else "displacement in RAS", ""
    if _holds_positions(raw):
        return "positions in RAS", ""
    if code not in (DISPLACEMENT, VECTOR):
        return vectors, f"is no displacement field ({_intent(code)})"
    other = _OTHER_FIELDS.search(f"{description} {name}")
    if other:
        return vectors, f"holds something other than displacements ({other[0]!r} in its description)"
    return vectors, ""


def _geometry(path: Path, raw: Any, lengths: tuple[int, ...]) -> Geometry:
    """Return the geometry of a volume, in LPS; a plane gets a third axis."""
    unit = int(raw["xyzt_units"]) & 7
    refuse_if(unit not in _MM_PER_UNIT, f"{path} has lengths in an unknown unit, {unit}; save it in mm")
    scale, grid = _MM_PER_UNIT[unit], (*lengths, 1)[:3]
    steps = np.asarray(raw["pixdim"][1:4], dtype=np.float64)
    thin = np.array(grid) == 1
    invalid = not (np.isfinite(steps) | thin).all() or bool((steps < 0).any())
    refuse_if(invalid, f"{path} says that its voxels measure {steps.tolist()} (pixdim); correct its header")
    steps = np.where(thin & ~(steps > 0), 1 / scale, steps)
    forms = {}
    if int(raw["qform_code"]) > 0:
        forms["qform"] = _qform(path, raw, steps)
    if int(raw["sform_code"]) > 0:
        forms["sform"] = _sform(path, raw, thin, 1 / scale)
    if not forms:
        # Without either there is no orientation; ITK and Slicer take the file's axes for the axes of space.
        return geometry_of(path, np.diag(steps) * scale, np.zeros(3))
    chosen, origin = _affine(path, raw, forms, grid, steps)
    return geometry_of(path, chosen * LPS_TO_RAS[:, None] * scale, origin * LPS_TO_RAS * scale)


def _qform(path: Path, raw: Any, steps: Steps) -> Affine:
    """Return the affine map of the qform, a quaternion without its real part."""
    turn = np.array([float(raw[f"quatern_{each}"]) for each in "bcd"])
    origin = np.array([float(raw[f"qoffset_{each}"]) for each in "xyz"])
    length = float(turn @ turn)
    valid = np.isfinite(origin).all() and length <= 1.001
    refuse_if(not valid, f"{path} has a qform that is no rotation; correct its header")
    axes = scipy.spatial.transform.Rotation.from_quat([*turn, math.sqrt(max(0.0, 1 - length))]).as_matrix()
    axes[:, 2] *= -1 if float(raw["pixdim"][0]) < 0 else 1
    return axes * steps, origin


def _sform(path: Path, raw: Any, thin: npt.NDArray[np.bool_], thickness: float) -> Affine:
    """Return the affine map of the sform, a matrix; a plane without thickness gets the given one."""
    rows = np.array([raw[f"srow_{each}"] for each in "xyz"], dtype=np.float64)
    refuse_if(not np.isfinite(rows).all(), f"{path} has an sform that is not finite; correct its header")
    steps = rows[:, :3]
    if thin[2] and not steps[:, 2].any():
        normal = np.cross(steps[:, 0], steps[:, 1])
        size = float(np.linalg.norm(normal))
        steps = np.column_stack([steps[:, :2], thickness * normal / (size if size > 0 else 1.0)])
    return steps, rows[:, 3]


def _affine(path: Path, raw: Any, forms: dict[str, Affine], grid: tuple[int, ...], pixdim: Steps) -> Affine:
    """Return the sform or, without it or where it is sheared but agrees, the qform; refuse it if the two contradict.

    Where the voxel sizes in `pixdim` differ slightly from those of the sform, `pixdim` counts, as for ITK.
    """
    if "sform" not in forms:
        return forms["qform"]
    steps, origin = forms["sform"]
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(steps, axis=0)
    valid = ((lengths > 0) & np.isfinite(lengths)).all()
    refuse_if(not valid, f"{path} has an sform with an axis of no or endless length; correct its header")
    directions = steps / lengths
    if (np.abs(lengths - pixdim) <= _SAME_SIZE * pixdim).all():
        steps = directions * pixdim
    square = np.abs(directions.T @ directions - np.eye(3)).max() <= 1e-4
    if "qform" in forms and (pixdim > 0).all():
        apart = _greatest_distance(grid, forms["qform"], (steps, origin))
        if apart <= _SAME and not square:
            return forms["qform"]
        mirrored = np.linalg.det(forms["qform"][0]) * np.linalg.det(steps) < 0
        contradict = mirrored or (apart > _SAME and int(raw["qform_code"]) == int(raw["sform_code"]))
        how = "mirrored against each other" if mirrored else f"up to {apart:.3g} voxels apart"
        refuse_if(contradict, f"{path} says twice where it lies: its qform and sform are {how}; remove the wrong one")
    return steps, origin


def _greatest_distance(grid: tuple[int, ...], one: Affine, other: Affine) -> float:
    """Return the greatest distance of a grid's corners, x first, under two affine maps, in voxels of the first."""
    corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(grid)[:, None] - 1)
    gap = (one[0] - other[0]) @ corners + (one[1] - other[1])[:, None]
    return float(np.abs(np.linalg.solve(one[0], gap)).max())
