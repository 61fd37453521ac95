"""Displacement fields in files, and conversions between the conventions of different programs.

In this package a field is an array (d, *grid) of pull displacements in voxels on the fixed image's grid, components in
array-axis order: ``fixed(x) ~ moving(x + u(x))``. ``.flo`` files and ITK reverse the components, (x, y[, z]); ITK's are
in millimetres. All are pull displacements on the fixed grid.
"""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Field
from modelaug.data.geometry import Geometry
from modelaug.io.files.archives import write_archive, write_atomically
from modelaug.io.files.arrays import open_archive
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError, one_line, reading, refuse_if, refusing
from modelaug.io.formats.itk import ITK_READ_SUFFIXES, ITK_SUFFIXES, NIFTI_SUFFIXES, itk_image, write_itk
from modelaug.io.formats.nifti import DISPLACEMENT, LPS_TO_RAS
from modelaug.io.formats.volumes import read_header, read_values
from modelaug.transforms.fields import check_field

FIELD_FORMAT: Final = "modelaug displacement field"
_VERSION: Final = 1
_CONVENTION: Final = {
    "maps": "fixed(x) ~ moving(x + displacement(x))",
    "unit": "voxel",
    "components": "first axis, in array-axis order",
    "origin": "centre of the first voxel (x, y[, z]) in mm, LPS",
}

_LOG: Final = logging.getLogger("modelaug.io")
_UPRIGHT: Final = 1e-6
"""Determinant of a plane's directions in x and y below which ITK, which drops z, cannot open it."""

_FLO_MAGIC: Final = b"PIEH"  # 202021.25 as a little-endian float32
_FLO_UNKNOWN: Final = 1e9


def displacement_to_flo(displacement: npt.ArrayLike) -> Field:
    """Convert a field (2, h, w), components (row, column), to (h, w, 2), components (u to the right, v downwards)."""
    field = check_field("displacement", displacement)
    if field.ndim != 3:
        raise ValueError(f"displacement has shape {field.shape}; .flo holds fields of shape (2, h, w) only")
    return np.ascontiguousarray(np.moveaxis(field[::-1], 0, -1))


def displacement_from_flo(flo: npt.NDArray[np.floating[Any]]) -> Field:
    """Convert (h, w, 2), components (u to the right, v downwards), to a field (2, h, w), components (row, column)."""
    return np.ascontiguousarray(np.moveaxis(flo, -1, 0)[::-1], dtype=np.float32)


def write_flo(path: str | Path, displacement: npt.ArrayLike) -> None:
    """Write a field (2, h, w) as a Middlebury ``.flo`` file, atomically.

    Parameters
    ----------
    path
        The file.
    displacement : array_like, (2, h, w)
        Displacement in pixels, components in array-axis order.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from modelaug import io
    >>> flow = np.zeros((2, 3, 5))
    >>> flow[0], flow[1] = 1, 2  # a row down, two columns to the right
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "flow.flo")
    ...     io.write_flo(path, flow)
    ...     values = np.fromfile(path, "<f4", offset=12)
    ...     again = io.read_flo(path)
    >>> values[:4]  # in the file x comes first
    array([2., 1., 2., 1.], dtype=float32)
    >>> bool((again == flow).all())
    True
    """
    write_atomically(path, encode_flo(displacement))


def encode_flo(displacement: npt.ArrayLike) -> bytes:
    """Return the content of the file that `write_flo` writes."""
    interleaved = displacement_to_flo(displacement)
    h, w = interleaved.shape[:2]
    return _FLO_MAGIC + np.array([w, h], dtype="<i4").tobytes() + interleaved.astype("<f4").tobytes()


def field_of_volume(displacement: npt.NDArray[np.float32]) -> Field:
    """Convert a field (2, h, w) to that of a volume with a single plane, (3, 1, h, w), without displacement across."""
    return np.concatenate([np.zeros_like(displacement[:1]), displacement])[:, None]


def field_of_plane(displacement: npt.NDArray[np.float32]) -> Field:
    """Return the field (2, h, w) within the plane of a single-plane volume (3, 1, h, w); other fields as they are."""
    return displacement[1:, 0] if len(displacement) == 3 and displacement.shape[1] == 1 else displacement


def read_flo(path: str | Path) -> Field:
    """Read a Middlebury ``.flo`` file.

    Returns
    -------
    ndarray, (2, h, w), float32
        Displacement in pixels, components in array-axis order; NaN where it is unknown.

    Raises
    ------
    ModelFileError
        If the file is missing, is no ``.flo``, or has another length than its header declares.
    """
    with reading(path, ".flo", "copy it again") as place, open(place, "rb") as file:
        head, size = file.read(12), place.stat().st_size
        if head[:4] != _FLO_MAGIC or len(head) < 12:
            raise ModelFileError(
                f"{path} is no .flo file (it does not begin with 'PIEH' and a size); pass another file"
            )
        w, h = (int(length) for length in np.frombuffer(head, dtype="<i4", offset=4))
        if w < 1 or h < 1 or size != 12 + 8 * w * h:
            raise ModelFileError(f"{path} has {size} bytes, which is no field of {w} x {h} pixels; copy it again")
        flo = np.frombuffer(file.read(), dtype="<f4").reshape(h, w, 2)
    with np.errstate(invalid="ignore"):
        known = (np.abs(flo) <= _FLO_UNKNOWN).all(axis=-1, keepdims=True)
    return displacement_from_flo(np.where(known, flo, np.nan))


def displacement_to_itk(
    displacement: npt.ArrayLike, geometry: Geometry | None = None, *, moving: Geometry | None = None
) -> npt.NDArray[np.float64]:
    """Convert a field to the vectors of an ITK displacement field: millimetres in space, components (x, y[, z]) last.

    Voxel i of the fixed image lies at p(i) = origin + direction @ (spacing * i), in (x, y[, z]) order. The vector there
    is q(i + u(i)) - p(i), with q the same for the moving image; where both have one geometry, that is direction @
    (spacing * u(i)). ``SimpleITK.GetImageFromArray`` with ``isVector=True`` makes an image of the result, which needs
    the spacing, origin and direction of the fixed one; resampling the moving image by it gives what `warp` does.

    Parameters
    ----------
    displacement : array_like, (d, *grid)
        Displacement in voxels, components in array-axis order.
    geometry
        Geometry of the fixed image; by default 1 mm per voxel and origin 0.
    moving
        Geometry of the moving image; by default the fixed image's.

    Returns
    -------
    ndarray, (*grid, d), float64
    """
    field = check_field("displacement", displacement)
    fixed, target = _geometries(len(field), geometry, moving)
    index = np.indices(field.shape[1:])[::-1].astype(np.float64)
    vectors = _positions(target, index + field[::-1]) - _positions(fixed, index)
    return np.ascontiguousarray(np.moveaxis(vectors, 0, -1))


def displacement_from_itk(
    vectors: npt.ArrayLike, geometry: Geometry | None = None, *, moving: Geometry | None = None
) -> Field:
    """Convert the vectors of an ITK displacement field to a field; the inverse of `displacement_to_itk`.

    Parameters
    ----------
    vectors : array_like, (*grid, d)
        Displacement in mm, components (x, y[, z]), as from ``SimpleITK.GetArrayFromImage``.
    geometry, moving
        As in `displacement_to_itk`.

    Returns
    -------
    ndarray, (d, *grid), float32
        Displacement in voxels, components in array-axis order.
    """
    array = _checks.finite("vectors", vectors, ndim=(3, 4), dtype=np.float64)
    d = array.ndim - 1
    if array.shape[-1] != d:
        raise ValueError(f"vectors has shape {array.shape}; pass (*grid, {d}): {d} components last for {d} axes")
    fixed, target = _geometries(d, geometry, moving)
    index = np.indices(array.shape[:-1])[::-1].astype(np.float64)
    offsets = _positions(fixed, index) + np.moveaxis(array, -1, 0) - target.origin.reshape(-1, *(1,) * d)
    inverse = np.linalg.inv(target.matrix)
    with np.errstate(over="ignore"):
        field = np.ascontiguousarray((np.einsum("ij,j...->i...", inverse, offsets) - index)[::-1], dtype=np.float32)
    if not np.isfinite(field).all():
        raise ValueError("vectors lead farther than single precision reaches; pass a displacement in mm")
    return field


def _geometries(d: int, geometry: Geometry | None, moving: Geometry | None) -> tuple[Geometry, Geometry]:
    fixed = geometry or Geometry(np.ones(d))
    target = moving or fixed
    for name, each in (("geometry", fixed), ("moving", target)):
        if len(each.spacing) != d:
            raise ValueError(f"{name} has {len(each.spacing)} dimensions but the field {d}; pass a fitting one")
    return fixed, target


def _positions(geometry: Geometry, index: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convert voxel indices to positions in mm, both (d, *grid) in (x, y[, z]) order."""
    origin = geometry.origin.reshape(-1, *(1,) * (index.ndim - 1))
    return np.asarray(np.einsum("ij,j...->i...", geometry.matrix, index) + origin)


def write_field(
    path: str | Path,
    displacement: npt.ArrayLike,
    *,
    geometry: Geometry | None = None,
    moving: Geometry | None = None,
) -> None:
    """Write a field to a file, atomically, in the format that its ending names.

    Parameters
    ----------
    path
        ``.npz``: the array as it is, with a header in JSON that names the convention; ``.flo``: Middlebury, 2D only;
        ``.nii``, ``.nii.gz``, ``.mha`` or ``.nrrd``: ITK displacement field, float32, for ANTs, Slicer, SimpleITK. In
        NIfTI that has five axes, (x, y, z, 1, 3), with the intent of a displacement, 1006, and in RAS, which ITK
        undoes from 5.4 on; in the plane (x, y, 1, 1, 2), as vectors, 1007, in LPS, because ITK garbles the other there.
    displacement : array_like, (d, *grid)
        Displacement in voxels, components in array-axis order.
    geometry
        Geometry of the fixed image; by default 1 mm per voxel and origin 0. ``.flo`` does not keep it.
    moving
        Geometry of the moving image; by default the fixed image's. Only ITK's formats depend on it.
    """
    field = check_field("displacement", displacement)
    fixed, target = _geometries(len(field), geometry, moving)
    ending = suffix(path)
    if ending == ".flo":
        write_flo(path, field)
    elif ending == ".npz":
        placement = {name: getattr(fixed, name).tolist() for name in ("spacing", "origin", "direction")}
        header = {"format": FIELD_FORMAT, "version": _VERSION, "convention": _CONVENTION, **placement}
        write_archive(path, {"header": np.array(json.dumps(header)), "displacement": field})
    elif ending in NIFTI_SUFFIXES and len(field) == 3:
        _write_nifti(path, displacement_to_itk(field, fixed, moving=target), fixed)
    elif ending in ITK_SUFFIXES:
        vectors = displacement_to_itk(field, fixed, moving=target)
        write_itk(path, itk_image(vectors.astype(np.float32), fixed, vector=True))
    else:
        raise _unknown_format(path)


def read_field(path: str | Path, *, moving: Geometry | None = None) -> tuple[Field, Geometry | None]:
    """Read a field that `write_field` or another program wrote.

    Parameters
    ----------
    path, moving
        As in `write_field`; also ``.mhd`` and ``.nhdr``. Positions, as NiftyReg and SPM write them, are converted.

    Returns
    -------
    displacement : ndarray, (d, *grid), float32
        Displacement in voxels, components in array-axis order.
    geometry : Geometry or None
        Geometry of the fixed image; None for ``.flo``, which has none.

    Raises
    ------
    ModelFileError
        If the file is missing, truncated or holds no displacement field, or declares its vectors to be something else
        than displacements from the fixed into the moving image. Of ``.flo``, if displacements are unknown.
    """
    ending = suffix(path)
    if ending == ".flo":
        field = read_flo(path)
        unknown = int(np.isnan(field[0]).sum())
        refuse_if(unknown > 0, f"{path} does not know the displacement of {unknown} pixel(s); fill them in")
        return field, None
    if ending == ".npz":
        return _read_archived(path)
    if ending not in ITK_READ_SUFFIXES:
        raise _unknown_format(path)
    vectors, geometry = _read_vectors(path)
    try:
        return displacement_from_itk(vectors, geometry, moving=moving), geometry
    except ValueError as error:
        raise ModelFileError(f"{path} is no valid displacement field ({one_line(error)})") from error


def _read_vectors(path: str | Path) -> tuple[npt.NDArray[np.float64], Geometry]:
    """Read vectors and convert them to those of an ITK displacement field, (*grid, d) in mm and LPS."""
    header = read_header(path)
    d, components = len(header.grid), header.components or 1
    refuse_if(bool(header.field_error), f"{path} {header.field_error}; pass a displacement field")
    wrong = f"{path} has {components} component(s) per voxel in {d} dimensions; pass a displacement field"
    refuse_if(components != d, wrong)
    stored = read_values(header)
    finite = bool(np.isfinite(stored).all())
    refuse_if(not finite, f"{path} holds vectors that are not finite; pass a field that is known everywhere")
    vectors = stored.astype(np.float64)
    if header.vectors != "displacement in LPS":
        vectors *= LPS_TO_RAS[:d]
    if header.vectors == "positions in RAS":
        index = np.indices(header.grid)[::-1].astype(np.float64)
        vectors -= np.moveaxis(_positions(header.geometry, index), 0, -1)
    return vectors, header.geometry


def _write_nifti(path: str | Path, vectors: npt.NDArray[np.float64], geometry: Geometry) -> None:
    """Write ITK's vectors (*grid, 3) with NIfTI's intent of displacements, which SimpleITK does not write."""
    import nibabel

    affine = np.eye(4)
    affine[:3] = np.column_stack([geometry.matrix, geometry.origin]) * LPS_TO_RAS[:, None]
    data = (vectors * LPS_TO_RAS).astype(np.float32).transpose(2, 1, 0, 3)[:, :, :, None]
    image: Any = nibabel.Nifti1Image(data, affine)  # type: ignore[no-untyped-call]
    image.header.set_intent(DISPLACEMENT)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    if vectors.shape[0] == 1 and abs(np.linalg.det(geometry.direction[:2, :2])) < _UPRIGHT:
        _LOG.warning("%s: ITK does not open NIfTI of a single plane that stands upright; write .mha for it", path)
    content = image.to_bytes()
    # Without the time of writing, the same field gives the same bytes.
    stored = gzip.compress(content, 6, mtime=0) if suffix(path) == ".nii.gz" else content
    write_atomically(path, stored)


def _read_archived(path: str | Path) -> tuple[Field, Geometry]:
    with open_archive(path) as archive, refusing(path, "is no valid displacement field", "write it again"):
        archive.require("header", "displacement")
        archive.know("header", "displacement")
        header = archive.read_header(format=FIELD_FORMAT, version=_VERSION, wanted="a displacement field")
        field = check_field("displacement", archive.read("displacement", text=True))  # text is refused as such
        geometry = Geometry(header["spacing"], header["origin"], header["direction"])
        _geometries(len(field), geometry, None)
        return field, geometry


def _unknown_format(path: str | Path) -> ValueError:
    return ValueError(f"{path} ends in no known format of fields; use .npz, .flo, {', '.join(ITK_SUFFIXES)}")
