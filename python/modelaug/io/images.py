"""Reading and writing of images in all formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.data.geometry import Geometry, in_plane
from modelaug.io.files.archives import write_npy
from modelaug.io.files.arrays import open_archive, read_npy
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError
from modelaug.io.formats.dicom import DICOM_SUFFIX, read_dicom
from modelaug.io.formats.dicom_planes import is_dicom
from modelaug.io.formats.itk import ITK_READ_SUFFIXES, ITK_SUFFIXES, itk_image, write_itk
from modelaug.io.formats.pictures import JPEG_SUFFIXES, PICTURE_SUFFIXES, read_picture, write_picture
from modelaug.io.formats.tiff import TIFF_SUFFIXES, read_tiff
from modelaug.io.formats.volumes import read_volume

IMAGE_SUFFIXES: Final = (".npy", *PICTURE_SUFFIXES, *TIFF_SUFFIXES, DICOM_SUFFIX, *ITK_READ_SUFFIXES)
"""Readable formats of one image a file."""


def read_image(path: str | Path) -> tuple[npt.NDArray[np.float32], Geometry | None]:
    """Read an image.

    Parameters
    ----------
    path
        ``.npy``, or ``.npz`` with a single array or one named ``image``; ``.png`` or ``.jpg``, see `read_picture`;
        ``.tif``, whose pages are planes, see `read_tiff`; or, with its geometry, ``.nii``, ``.nii.gz``, ``.mha``,
        ``.mhd``, ``.nrrd``, ``.nhdr``, see `read_volume`, or DICOM, whatever its ending, see `read_dicom`. A slice of
        DICOM is a plane; a folder with one series is a volume.

    Returns
    -------
    image : ndarray, (*grid) or (c, *grid), float32
        Channels come first. Colour pictures whose channels are all equal are returned as grey, transparency is dropped,
        and pictures are turned as viewers show them. Arrays in ``.npy`` and ``.npz`` keep their shape.
    geometry : Geometry or None
        Spacing, origin and direction; None where the format has none.

    Raises
    ------
    ModelFileError
        If the file is missing, cannot be read, or holds no finite real numbers.
    """
    array, geometry = read_in_space(path)
    if geometry is not None and len(geometry.spacing) == 3 and array.shape[-3] == 1 and _may_be_dicom(path):
        array, geometry = np.squeeze(array, axis=-3), in_plane(geometry)
    return array, geometry


def read_in_space(path: str | Path, *, labels: bool | None = False) -> tuple[npt.NDArray[np.float32], Geometry | None]:
    """Read an image as `read_image` does, but a slice of DICOM as the volume of one plane, which keeps its place.

    With ``labels=None`` the file may also be a label map.
    """
    array, geometry = read_voxels(path, labels=labels)
    try:
        return _checks.finite("image", array, ndim=(2, 3, 4), dtype=np.float32), geometry
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{path} holds no image: {error}") from error


def read_placed(path: str | Path) -> tuple[npt.NDArray[np.float32], Geometry]:
    """Read an image as `read_in_space` does, and its geometry, which its format must have."""
    image, geometry = read_in_space(path)
    if geometry is None:
        raise ValueError(f"{path} does not say where its voxels lie; pass an image in {', '.join(ITK_SUFFIXES)}")
    return image, geometry


def read_labels(path: str | Path) -> tuple[npt.NDArray[np.integer[Any]], Geometry | None]:
    """Read a label map.

    Parameters
    ----------
    path
        As in `read_image`, but no ``.jpg``, whose compression changes values. Pictures with a palette give its indices.

    Returns
    -------
    labels : ndarray of integers, (*grid)
        In the file's type; int64 where that is floating point and all values are integers.
    geometry : Geometry or None
        Spacing, origin and direction; None where the format has none. One slice of DICOM is a volume.

    Raises
    ------
    ModelFileError
        If the file is missing, cannot be read, or holds other values than integers.
    """
    if suffix(path) in JPEG_SUFFIXES:
        raise ValueError(f"{path} is to hold labels, but JPEG changes values; save them as .png or .nii.gz")
    array, geometry = read_voxels(path, labels=True)
    if array.dtype.kind == "f" and (np.abs(array) < 2**53).all() and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise ModelFileError(f"{path} holds no labels: values are no integers; save them without interpolation")
    kind = np.dtype(np.uint8) if array.dtype.kind == "b" else array.dtype.newbyteorder("=")
    return np.ascontiguousarray(array, dtype=kind), geometry


def read_voxels(path: str | Path, *, labels: bool | None = False) -> tuple[npt.NDArray[Any], Geometry | None]:
    """Read an image in its own type; with `labels`, palettes give indices, not colours."""
    ending = suffix(path)
    if _may_be_dicom(path):
        return read_dicom(path, labels=bool(labels))
    if ending in (".npy", ".npz"):
        return read_npy(path) if ending == ".npy" else _only_array(path), None
    if ending in TIFF_SUFFIXES:
        return read_tiff(path, labels=bool(labels))
    if ending in PICTURE_SUFFIXES:
        return read_picture(path, labels=bool(labels)), None
    if ending in ITK_READ_SUFFIXES:
        return read_volume(path, labels=labels)
    raise _unknown_format(path)


def write_image(
    path: str | Path,
    image: npt.ArrayLike,
    *,
    geometry: Geometry | None = None,
    window: tuple[float, float] | None = None,
) -> None:
    """Write an image, under a temporary name until it is complete, in the format that its ending names.

    Parameters
    ----------
    path
        ``.npy``: the array as it is; ``.png`` or ``.jpg``: integers as they are, up to 65535 or 255, others scaled to
        8 bits; ``.nii``, ``.nii.gz``, ``.mha`` or ``.nrrd``: as it is, with its geometry. Pictures need Pillow, the
        latter formats SimpleITK.
    image : array_like, (*grid) or (c, *grid)
        Pictures take (h, w), (1, h, w) or (3, h, w). For formats with geometry its dimension tells channels from
        planes.
    geometry
        Spacing, origin and direction. By default every axis is one of space, 1 mm per voxel.
    window
        The intensities that become black and white in a picture; by default the minimum and maximum of an image in
        floating point, while integers are written as they are.

    Raises
    ------
    TypeError, ValueError
        If the image does not suit the format, or the format is not known.
    """
    ending = suffix(path)
    array = np.asarray(image)
    _checks.finite("image", array, ndim=(2, 3, 4), dtype=np.float64)
    if ending == ".npy":
        write_npy(path, array)
    elif ending in PICTURE_SUFFIXES:
        write_picture(path, array, window)
    elif ending in ITK_SUFFIXES:
        if geometry is None and array.ndim == 4:
            raise ValueError(f"image has shape {array.shape}; pass a geometry, which says how many axes are of space")
        placed = geometry or Geometry(np.ones(array.ndim))
        channels = array.ndim - len(placed.spacing)
        if channels not in (0, 1):
            raise ValueError(
                f"image has shape {array.shape} but geometry {len(placed.spacing)} dimensions; pass fitting ones"
            )
        stored = np.moveaxis(_storable(array), 0, -1) if channels else _storable(array)
        write_itk(path, itk_image(np.ascontiguousarray(stored), placed, vector=bool(channels)))
    else:
        raise _unknown_format(path)


def _only_array(path: str | Path) -> npt.NDArray[Any]:
    with open_archive(path) as archive:
        names = sorted(archive.headers)
        if "image" not in names and len(names) != 1:
            raise ModelFileError(f"{path} holds the arrays {names}; pass one with a single array or one named 'image'")
        return archive.read("image" if "image" in names else names[0])


def _may_be_dicom(path: str | Path) -> bool:
    """Return whether a path is read as DICOM: a folder, or a file by its ending or its first bytes."""
    ending = suffix(path)
    return ending == DICOM_SUFFIX or Path(path).is_dir() or (ending not in (".npz", *IMAGE_SUFFIXES) and is_dicom(path))


def _storable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array in a type of ITK that holds the same values."""
    others: dict[str, np.dtype[Any]] = {"?": np.dtype(np.uint8), "e": np.dtype(np.float32)}
    kind = others.get(array.dtype.char, array.dtype.newbyteorder("="))
    if kind.itemsize > 8:
        raise ValueError(f"image has dtype {array.dtype}; pass float64")
    return array.astype(kind, copy=False)


def _unknown_format(path: str | Path) -> ValueError:
    known = (".npz", *IMAGE_SUFFIXES)
    return ValueError(f"{path} ends in no known format of images; use {', '.join(known)}")
