"""Images in files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.io.archives import read_archive, write_atomically
from modelaug.io.geometry import ITK_SUFFIXES, Geometry, in_plane, itk_geometry, itk_image, read_itk, suffix, write_itk
from modelaug.io.reading import ModelFileError

__all__ = ["IMAGE_SUFFIXES", "PICTURE_SUFFIXES", "read_image", "read_labels", "read_voxels", "write_image"]

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
"""Formats of 8 bits per channel that do not say where their pixels lie."""

_TIFF_SUFFIXES: Final = (".tif", ".tiff")
_DICOM_SUFFIX: Final = ".dcm"

IMAGE_SUFFIXES: Final = (".npy", *PICTURE_SUFFIXES, *_TIFF_SUFFIXES, _DICOM_SUFFIX, *ITK_SUFFIXES)
"""Formats of one image a file that can be read."""


def read_image(path: str | Path) -> tuple[npt.NDArray[np.float32], Geometry | None]:
    """Read an image.

    Parameters
    ----------
    path
        ``.npy``, or ``.npz`` with a single array or one named ``image``; ``.png``, ``.jpg`` or ``.tif``, through
        Pillow; or, with its geometry, ``.nii``, ``.nii.gz``, ``.mha``, ``.nrrd`` or ``.dcm``, through SimpleITK, as are
        the pages of a ``.tif`` with several, which are planes 1 mm apart. A ``.dcm`` of one slice is a plane; a folder
        with one series of DICOM, whatever its files are called, is a volume.

    Returns
    -------
    image : ndarray, (*grid) or (c, *grid), float32
        Channels come first. Colour pictures whose channels are all equal are returned as grey, transparency is dropped.
        Arrays in ``.npy`` and ``.npz`` keep their shape.
    geometry : Geometry or None
        Where the voxels lie; None where the format does not say.

    Raises
    ------
    ModelFileError
        If the file is missing, cannot be read, or holds no finite real numbers.
    ValueError
        If the format is not known.
    """
    array, geometry = read_voxels(path)
    if (suffix(path) == _DICOM_SUFFIX or Path(path).is_dir()) and geometry is not None and array.shape[-3] == 1:
        array, geometry = np.squeeze(array, axis=-3), in_plane(geometry)
    try:
        return _checks.finite("image", array, ndim=(2, 3, 4), dtype=np.float32), geometry
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{path} holds no image: {error}") from error


def read_labels(path: str | Path) -> tuple[npt.NDArray[np.integer[Any]], Geometry | None]:
    """Read a label map.

    Parameters
    ----------
    path
        As of `read_image`, but no ``.jpg``, whose compression changes values. Pictures with a palette give the numbers
        of its colours.

    Returns
    -------
    labels : ndarray of integers, (*grid)
        Of the file's type; int64 where that is no integer, but all values are.
    geometry : Geometry or None
        Where the voxels lie; None where the format does not say. One slice of DICOM is a volume.

    Raises
    ------
    ModelFileError
        If the file is missing, cannot be read, or holds other values than integers.
    ValueError
        If the format is not known.
    """
    if suffix(path) in (".jpg", ".jpeg"):
        raise ValueError(f"{path} is to hold labels, but JPEG changes values; save them as .png or .nii.gz")
    array, geometry = read_voxels(path, palette=False)
    if array.dtype.kind == "f" and (np.abs(array) < 2**53).all() and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise ModelFileError(f"{path} holds no labels: values are no integers; save them without interpolation")
    kind = np.dtype(np.uint8) if array.dtype.kind == "b" else array.dtype.newbyteorder("=")
    return np.ascontiguousarray(array, dtype=kind), geometry


def read_voxels(path: str | Path, *, palette: bool = True) -> tuple[npt.NDArray[Any], Geometry | None]:
    """Read an image of any type as it is; `palette` says whether colours or their numbers are wanted of pictures."""
    ending = suffix(path)
    if Path(path).is_dir():
        return _read_series(path)
    if ending in (".npy", ".npz"):
        return _read_array(path) if ending == ".npy" else _only_array(path), None
    if ending in _TIFF_SUFFIXES:
        return _read_tiff(path, palette)
    if ending in PICTURE_SUFFIXES:
        return _read_picture(path, palette), None
    if ending in (_DICOM_SUFFIX, *ITK_SUFFIXES):
        return _read_through_itk(path)
    raise _unknown_format(path)


def write_image(
    path: str | Path,
    image: npt.ArrayLike,
    *,
    geometry: Geometry | None = None,
    window: tuple[float, float] | None = None,
) -> None:
    """Write an image, under a temporary name until it is complete; the ending says in which format.

    Parameters
    ----------
    path
        ``.npy``: the array as it is; ``.png`` or ``.jpg``: 8 bits; ``.nii``, ``.nii.gz``, ``.mha`` or ``.nrrd``: as it
        is, with its geometry. Pictures need Pillow, the latter formats SimpleITK.
    image : array_like, (*grid) or (c, *grid)
        Pictures take (h, w), (1, h, w) or (3, h, w). For formats with geometry its dimension tells channels from
        planes.
    geometry
        Where the voxels lie. By default every axis is one of space, 1 mm per voxel.
    window
        The intensities that become black and white in a picture, the image's minimum and maximum by default. Images of
        type uint8 are written as they are unless it is given.

    Raises
    ------
    TypeError, ValueError
        If the image does not suit the format, or the format is not known.
    """
    ending = suffix(path)
    array = np.asarray(image)
    _checks.finite("image", array, ndim=(2, 3, 4), dtype=np.float64)
    if ending == ".npy":
        write_atomically(path, lambda file: np.save(file, array, allow_pickle=False))
    elif ending in PICTURE_SUFFIXES:
        _write_picture(path, _as_picture(array, window), "PNG" if ending == ".png" else "JPEG")
    elif ending in ITK_SUFFIXES:
        placed = geometry or Geometry(np.ones(array.ndim))
        channels = array.ndim - len(placed.spacing)
        if channels not in (0, 1):
            raise ValueError(
                f"image has shape {array.shape} but geometry {len(placed.spacing)} dimensions; pass fitting ones"
            )
        stored = array.astype(np.uint8) if array.dtype == np.bool_ else array
        stored = np.moveaxis(stored, 0, -1) if channels else stored
        write_itk(path, itk_image(np.ascontiguousarray(stored), placed, vector=bool(channels)))
    else:
        raise _unknown_format(path)


def _as_picture(array: npt.NDArray[Any], window: tuple[float, float] | None) -> npt.NDArray[np.uint8]:
    """Return an image as (c, h, w) with 8 bits."""
    channels = array[None] if array.ndim == 2 else array
    if channels.ndim != 3 or len(channels) not in (1, 3):
        raise ValueError(f"image has shape {array.shape}; pictures take (h, w), (1, h, w) or (3, h, w)")
    if window is None and channels.dtype == np.uint8:
        return channels
    low, high = window or (float(channels.min()), float(channels.max()))
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"window is {window}; pass two finite intensities, the lower one first")
    scaled = (channels.astype(np.float64) - low) / (high - low if high > low else 1.0)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def _read_array(path: str | Path) -> npt.NDArray[Any]:
    try:
        # Mapped, a header that promises more than the file holds is refused before anything is allocated.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist; check the path") from None
    except (OSError, ValueError, EOFError, SyntaxError, OverflowError) as error:
        raise ModelFileError(f"{path} cannot be read as .npy ({error}); write it again") from error


def _only_array(path: str | Path) -> npt.NDArray[Any]:
    arrays = read_archive(path)
    if "image" in arrays:
        return arrays["image"]
    if len(arrays) != 1:
        raise ModelFileError(
            f"{path} holds the arrays {sorted(arrays)}; pass one with a single array or one named 'image'"
        )
    return next(iter(arrays.values()))


def _read_picture(path: str | Path, palette: bool) -> npt.NDArray[Any]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.mode == "P" and not palette:
                return np.asarray(picture)
            grey = picture.mode in ("1", "L", "LA") or picture.mode.startswith(("I", "F"))
            kept = picture if picture.mode[0] in "IF" else picture.convert("L" if grey else "RGB")
            array = np.asarray(kept)
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist; check the path") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ModelFileError(f"{path} cannot be read as a picture ({error}); write it again") from error
    if array.ndim == 2:
        return array
    channels = np.moveaxis(array, -1, 0)
    return channels[0] if (channels == channels[0]).all() else channels


def _read_tiff(path: str | Path, palette: bool) -> tuple[npt.NDArray[Any], Geometry | None]:
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.filterwarnings("error", "Corrupt EXIF")  # of a truncated directory
            pages = getattr(picture, "n_frames", 1)
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist; check the path") from None
    except (OSError, ValueError, SyntaxError, KeyError, EOFError, UserWarning, Image.DecompressionBombError) as error:
        raise ModelFileError(f"{path} cannot be read as TIFF ({error}); copy it again") from error
    if pages == 1:
        return _read_picture(path, palette), None
    array, geometry = _read_through_itk(path)
    return array, Geometry(np.ones(len(geometry.spacing)))  # ITK's are made up of the printing resolution


def _write_picture(path: str | Path, channels: npt.NDArray[np.uint8], kind: str) -> None:
    from PIL import Image

    pixels = channels[0] if len(channels) == 1 else np.moveaxis(channels, 0, -1)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    write_atomically(path, lambda file: picture.save(file, format=kind))


def _read_series(folder: str | Path) -> tuple[npt.NDArray[Any], Geometry]:
    import SimpleITK as sitk

    reader: Any = sitk.ImageSeriesReader
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise ModelFileError(f"{folder} holds {len(series)} series of DICOM; pass a folder with one")
    try:
        # In the order of their positions.
        return _as_array(sitk.ReadImage(reader.GetGDCMSeriesFileNames(str(folder), series[0])))
    except RuntimeError as error:
        raise ModelFileError(f"{folder} cannot be read as DICOM ({str(error).split('ERROR: ')[-1]})") from error


def _read_through_itk(path: str | Path) -> tuple[npt.NDArray[Any], Geometry]:
    return _as_array(read_itk(path))


def _as_array(image: Any) -> tuple[npt.NDArray[Any], Geometry]:
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    return np.moveaxis(array, -1, 0) if array.ndim > image.GetDimension() else array, itk_geometry(image)


def _unknown_format(path: str | Path) -> ValueError:
    known = (".npz", *IMAGE_SUFFIXES)
    return ValueError(f"{path} ends in no known format of images; use {', '.join(known)}")
