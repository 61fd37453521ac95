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
from modelaug.io.files.reading import ModelFileError, reading
from modelaug.io.formats.headers import Header, ValueKind, Vectors, beginning, elements, placed, sizes

DISPLACEMENT: Final = 1006
"""NIfTI's code for the intent of displacement vectors."""

VECTOR: Final = 1007

LPS_TO_RAS: Final = np.array([-1.0, -1.0, 1.0])

_TYPES: Final = {
    "2": "u1",
    "4": "i2",
    "8": "i4",
    "16": "f4",
    "64": "f8",
    "256": "i1",
    "512": "u2",
    "768": "u4",
    "1024": "i8",
    "1280": "u8",
}
_COLOURS: Final = {128: 3, 2304: 4}  # of 8 bits, one voxel's after the other
_MM_PER_UNIT: Final = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
_LABELS: Final = (1002, 1003)  # and of structures with a name
_STATISTICS: Final = range(2, 25)
_COLOUR_VECTORS: Final = (2003, 2004)

# What intent_p1 means where intent_name is NREG_TRANS, as NiftyReg writes it.
_NIFTYREG: Final = (
    "positions",
    "displacements",
    "control points of a spline",
    "velocities",
    "velocities",
    "velocities at control points",
    "control points of a spline",
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
"""How many voxels a grid's corner may lie apart in two descriptions of one place."""

_SAME_SIZE: Final = 0.01
"""By how much the two sizes of a voxel that a header holds may differ, relatively."""

Steps = npt.NDArray[np.float64]
Affine = tuple[Steps, Steps]
"""What steps along the file's axes are in space, as columns, and where the first voxel lies: in RAS, x first."""


def read_nifti_header(path: Path) -> Header:
    """Return what a NIfTI file says about its image.

    Vectors of three components in a single plane are in a volume, others in a plane.

    Raises
    ------
    ModelFileError
        If the file is no NIfTI file, or says what cannot be honoured.
    """
    with reading(path, "NIfTI", "copy it again"):
        return _header(path)


def _beginning(path: Path) -> tuple[Any, bool, int]:
    """Return the entries of a header, whether they and the voxels are big-endian, and how many bytes it has."""
    import nibabel

    if suffix(path) == ".nii.gz":
        with gzip.open(path) as file:
            head = file.read(540)
    else:
        head = beginning(path, 540)
    orders = {size.to_bytes(4, order): (size, order) for size in (348, 540) for order in ("little", "big")}
    if len(head) < 348 or head[:4] not in orders:
        raise ModelFileError(f"{path} does not begin as NIfTI does; pass another file")
    size, order = orders[head[:4]]
    if len(head) < size:
        raise ModelFileError(f"{path} holds {len(head)} of {size} bytes of its header; copy it again")
    kind: Any = nibabel.Nifti1Header if size == 348 else nibabel.Nifti2Header
    says = kind(head[:size], "<" if order == "little" else ">", check=False).structarr
    magic = bytes(says["magic"].item())
    if magic[:3] in (b"ni1", b"ni2"):
        raise ModelFileError(f"{path} has its voxels in another file, .img; save it as one file, .nii")
    if magic[:3] != (b"n+1" if size == 348 else b"n+2"):
        raise ModelFileError(f"{path} has no mark of NIfTI, 'n+1', such as files of Analyze; save it as NIfTI")
    return says, order == "big", size


def _header(path: Path) -> Header:
    says, big, size = _beginning(path)
    code = int(says["intent_code"])
    lengths, components = _shape(path, says, code)
    number = int(says["datatype"])
    colours = _COLOURS.get(number)
    if colours and components:
        raise ModelFileError(f"{path} has vectors of colours; save it as numbers")
    dtype = np.dtype(np.uint8) if colours else elements(path, str(number), _TYPES, big)
    bits = 8 * dtype.itemsize * (colours or 1)
    if int(says["bitpix"]) not in (0, bits):
        raise ModelFileError(f"{path} has {int(says['bitpix'])} bits per voxel but a type of {bits}; write it again")
    start = float(says["vox_offset"])
    if not (math.isfinite(start) and start == int(start) and start >= size + 4):
        raise ModelFileError(f"{path} says that its voxels begin at byte {start:g}; correct vox_offset")
    slope, intercept = _scaling(path, says)
    grid = sizes(path, lengths[::-1])
    space = _place(path, says, lengths)
    vectors, no_field = _meaning(says, code, components)
    if not no_field and int(says["xyzt_units"]) & 7 not in (0, 2):
        no_field = "gives lengths in another unit than mm, so that those of its vectors are not clear"
    if components == len(grid) == 2 and not no_field and abs(space.direction[2, 2]) < 1 - 1e-5:
        no_field = "is not in the plane of x and y, so that two components say nothing about it"
    compressed = suffix(path) == ".nii.gz"
    return Header(
        path,
        grid,
        dtype,
        space if len(grid) == 3 else in_plane(space),
        components=colours or components,
        components_axis=len(grid) if colours else 0,
        start=0 if compressed else int(start),
        skip=int(start) if compressed else 0,
        encoding="gzip" if compressed else "raw",
        slope=slope,
        intercept=intercept,
        kind=_kind(code),
        vectors=vectors,
        no_field=no_field,
        oriented=int(says["qform_code"]) > 0 or int(says["sform_code"]) > 0,
    )


def _shape(path: Path, says: Any, code: int) -> tuple[tuple[int, ...], int | None]:
    """Return the lengths of the two or three axes of space, x first, and how many components follow them."""
    count = int(says["dim"][0])
    if not 1 <= count <= 7:
        raise ModelFileError(f"{path} says that it has {count} axes; write it again")
    lengths = tuple(int(each) for each in says["dim"][1 : 1 + count])
    if min(lengths) < 1:
        raise ModelFileError(f"{path} says that it has {' x '.join(map(str, lengths))} voxels; write it again")
    components = None
    carries = code in (DISPLACEMENT, VECTOR, *_COLOUR_VECTORS) or _positions(says)
    if count >= 5 and carries and lengths[3] == 1 and set(lengths[5:]) <= {1}:
        components, lengths = lengths[4], lengths[:3]
    while len(lengths) > 3 and lengths[-1] == 1:
        lengths = lengths[:-1]
    if len(lengths) > 3:
        name = f"; {_intent(code)}" if code else ""
        shape = " x ".join(map(str, lengths))
        raise ModelFileError(
            f"{path} has {len(lengths)} axes ({shape}{name}), so it is not a volume but, say, several frames; save "
            "the one that you mean as a file of its own"
        )
    if components is not None and components != 3 and lengths[2] == 1:
        lengths = lengths[:2]
    return lengths, components


def _scaling(path: Path, says: Any) -> tuple[float, float]:
    slope, intercept = float(says["scl_slope"]), float(says["scl_inter"])
    if slope == 0:
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ModelFileError(f"{path} says that its values are scaled by {slope} and {intercept}; correct its header")
    return slope, intercept


def _intent(code: int) -> str:
    """Return the name of an intent, as a part of a sentence."""
    import nibabel

    codes: Any = nibabel.nifti1.intent_codes
    name = "unknown"
    if code in _FSL or code in codes.label:
        name = _FSL.get(code) or codes.label[code]
    return f"its intent is {code}, {name}"


def _kind(code: int) -> ValueKind | None:
    if code in _LABELS:
        return "labels"
    if code in _STATISTICS:
        return "statistics"
    return {DISPLACEMENT: "displacement", VECTOR: "vectors"}.get(code)  # type: ignore[return-value]


def _text(says: Any, name: str) -> str:
    return str(bytes(says[name].item()).split(b"\0")[0].decode("latin-1")).strip()


def _positions(says: Any) -> bool:
    """Return whether SPM wrote positions, to which it gives the intent of vectors or none."""
    return int(says["intent_code"]) in (0, VECTOR) and _SPM.fullmatch(_text(says, "descrip")) is not None


def _meaning(says: Any, code: int, components: int | None) -> tuple[Vectors, str]:
    """Return what vectors mean, and why these are no displacement, or nothing."""
    vectors: Vectors = "displacement in RAS" if code == DISPLACEMENT else "displacement in LPS"
    if components is None:
        return vectors, f"has a single number per voxel ({_intent(code)})" if code else ""
    description, name, number = _text(says, "descrip"), _text(says, "intent_name"), float(says["intent_p1"])
    if name == "NREG_TRANS":
        what = _NIFTYREG[int(number)] if number in range(len(_NIFTYREG)) else f"transformations of kind {number:g}"
        if what not in ("positions", "displacements"):
            return vectors, f"holds {what} of NiftyReg, which are no displacements; use reg_transform -disp"
        return "positions in RAS" if what == "positions" else "displacement in RAS", ""
    if _positions(says):
        return "positions in RAS", ""
    if code not in (DISPLACEMENT, VECTOR):
        return vectors, f"is no displacement field ({_intent(code)})"
    other = _OTHER_FIELDS.search(f"{description} {name}")
    if other:
        return vectors, f"holds something other than displacements ({other[0]!r} in its description)"
    return vectors, ""


def _place(path: Path, says: Any, lengths: tuple[int, ...]) -> Geometry:
    """Return where a volume's voxels lie, in LPS; of a plane, it is given a third axis."""
    unit = int(says["xyzt_units"]) & 7
    if unit not in _MM_PER_UNIT:
        raise ModelFileError(f"{path} has lengths in an unknown unit, {unit}; save it in mm")
    scale, grid = _MM_PER_UNIT[unit], (*lengths, 1)[:3]
    steps = np.asarray(says["pixdim"][1:4], dtype=np.float64)
    thin = np.array(grid) == 1
    if not (np.isfinite(steps) | thin).all() or (steps < 0).any():
        raise ModelFileError(f"{path} says that its voxels measure {steps.tolist()} (pixdim); correct its header")
    steps = np.where(thin & ~(steps > 0), 1 / scale, steps)
    forms = {}
    if int(says["qform_code"]) > 0:
        forms["qform"] = _qform(path, says, steps)
    if int(says["sform_code"]) > 0:
        forms["sform"] = _sform(path, says, thin, 1 / scale)
    if not forms:
        # Without either there is no orientation; ITK and Slicer take the file's axes for those of space.
        return placed(path, np.diag(steps) * scale, np.zeros(3))
    chosen, origin = _agreed(path, says, forms, grid, steps)
    return placed(path, chosen * LPS_TO_RAS[:, None] * scale, origin * LPS_TO_RAS * scale)


def _qform(path: Path, says: Any, steps: Steps) -> Affine:
    turn = np.array([float(says[f"quatern_{each}"]) for each in "bcd"])
    origin = np.array([float(says[f"qoffset_{each}"]) for each in "xyz"])
    length = float(turn @ turn)
    if not (np.isfinite(origin).all() and length <= 1.001):
        raise ModelFileError(f"{path} has a qform that is no rotation; correct its header")
    axes = scipy.spatial.transform.Rotation.from_quat([*turn, math.sqrt(max(0.0, 1 - length))]).as_matrix()
    axes[:, 2] *= -1 if float(says["pixdim"][0]) < 0 else 1
    return axes * steps, origin


def _sform(path: Path, says: Any, thin: npt.NDArray[np.bool_], thickness: float) -> Affine:
    rows = np.array([says[f"srow_{each}"] for each in "xyz"], dtype=np.float64)
    if not np.isfinite(rows).all():
        raise ModelFileError(f"{path} has an sform that is not finite; correct its header")
    steps = rows[:, :3]
    if thin[2] and not steps[:, 2].any():  # a plane without thickness
        normal = np.cross(steps[:, 0], steps[:, 1])
        size = float(np.linalg.norm(normal))
        steps = np.column_stack([steps[:, :2], thickness * normal / (size if size > 0 else 1.0)])
    return steps, rows[:, 3]


def _agreed(path: Path, says: Any, forms: dict[str, Affine], grid: tuple[int, ...], said: Steps) -> Affine:
    """Return which of qform and sform counts: the latter, unless the two contradict each other.

    Where the sizes of voxels in pixdim, `said`, are slightly other ones than in the sform, they count, as for ITK.
    """
    if "sform" not in forms:
        return forms["qform"]
    steps, origin = forms["sform"]
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(steps, axis=0)
    if not ((lengths > 0) & np.isfinite(lengths)).all():
        raise ModelFileError(f"{path} has an sform with an axis of no or endless length; correct its header")
    directions = steps / lengths
    if (np.abs(lengths - said) <= _SAME_SIZE * said).all():
        steps = directions * said
    square = np.abs(directions.T @ directions - np.eye(3)).max() <= 1e-4
    if "qform" in forms and (said > 0).all():
        apart = _apart(grid, forms["qform"], (steps, origin))
        if apart <= _SAME and not square:
            return forms["qform"]
        mirrored = np.linalg.det(forms["qform"][0]) * np.linalg.det(steps) < 0
        if mirrored or (apart > _SAME and int(says["qform_code"]) == int(says["sform_code"])):
            what = "mirrored against each other" if mirrored else f"up to {apart:.3g} voxels apart"
            raise ModelFileError(
                f"{path} says twice where it lies: its qform and sform are {what}; remove the wrong one"
            )
    if not square:
        raise ModelFileError(
            f"{path} has axes that are not perpendicular to each other; resample it to a grid that is not sheared"
        )
    return steps, origin


def _apart(grid: tuple[int, ...], one: Affine, other: Affine) -> float:
    """Return how far a grid's voxels, x first, lie apart at most, in voxels of the first."""
    corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(grid)[:, None] - 1)
    gap = (one[0] - other[0]) @ corners + (one[1] - other[1])[:, None]
    return float(np.abs(np.linalg.solve(one[0], gap)).max())
