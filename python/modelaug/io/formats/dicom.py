"""Images in DICOM: a file, or a folder with one series. Whatever headers declare is honoured or refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry
from modelaug.io.files.reading import ModelFileError, reading, refuse_if
from modelaug.io.formats.dicom_pixels import is_lossy, stored_pixels
from modelaug.io.formats.dicom_planes import Plane, detector_spacing, is_dicom, planes_of, read_dicom_header
from modelaug.io.formats.dicom_stacks import stacked

DICOM_SUFFIX: Final = ".dcm"

_DIRECTORY: Final = "DICOMDIR"
_EXACT: Final = 2**24  # up to which single precision holds all integers


def dicom_files(folder: str | Path) -> list[Path]:
    """Return the files of a folder that are DICOM by their ending or their first bytes, in the order of their names.

    Hidden files, folders and ``DICOMDIR``, the table of contents of a disc, are left out.
    """
    return [path for path in _files(folder) if path.suffix.lower() == DICOM_SUFFIX or is_dicom(path)]


def _files(folder: str | Path) -> list[Path]:
    if not Path(folder).is_dir():
        return []
    seen = (path for path in Path(folder).iterdir() if path.name[0] != "." and path.name.upper() != _DIRECTORY)
    return sorted(path for path in seen if path.is_file())


def read_dicom(path: str | Path, *, labels: bool = False) -> tuple[npt.NDArray[Any], Geometry]:
    """Read an image in DICOM: a file, or a folder with one series.

    Parameters
    ----------
    path
        A file of a plane or of several frames, or a folder with one series.
    labels
        Whether values are labels, not intensities: those of palettes are the numbers of their colours; images in
        colour, or with a compression that changes values, are refused.

    Returns
    -------
    voxels : ndarray, (plane, row, column) or, in colour, (3, plane, row, column)
        Stored values times slope plus intercept, both of their own plane; inverted display (MONOCHROME1) and padding
        change nothing. A file without slope and intercept keeps its type; other values and those of folders are
        floating point, float32 where that holds them exactly. Colour whose channels are all equal is grey.
    geometry : Geometry
        In three dimensions, by the positions in the planes' headers.

    Warns
    -----
    UserWarning
        If a single plane has no pixel spacing in the patient.

    Raises
    ------
    ModelFileError
        If a file is missing or damaged, the planes are not one regular stack, or a header declares what cannot be
        honoured; the message names the file.
    """
    place = Path(path)
    folder = place.is_dir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about breaches of the standard; all that is used is checked here
        planes = _of_folder(place, labels) if folder else _planes(place, read_dicom_header(place), labels)
        ordered, geometry = stacked(planes, place)
        voxels = _voxels(ordered, floating=folder, labels=labels)
    if len(planes) == 1 and planes[0].spacing is None:
        geometry = _with_detector_spacing(planes[0], geometry)
    return voxels, geometry


def _planes(path: Path, header: Any, labels: bool) -> list[Plane]:
    """Return the planes of a file, which may not be lossy or in colour if it holds labels."""
    with reading(path, "DICOM", "copy it again"):
        lossy, colour = labels and is_lossy(header), labels and header.get("SamplesPerPixel", 1) != 1
        refuse_if(lossy, f"{path} is to hold labels, but its compression changes values; save them without")
        refuse_if(colour, f"{path} is to hold labels, but is in colour; save one number for each pixel")
        return planes_of(path, header, path.name)


def is_oriented(path: str | Path) -> bool:
    """Return whether a file of DICOM, or the first one in a folder, gives the orientation of its axes."""
    file = dicom_files(Path(path))[0] if Path(path).is_dir() else Path(path)
    with reading(file, "DICOM", "copy it again"):
        return planes_of(file, read_dicom_header(file), file.name)[0].axes is not None


def _of_folder(folder: Path, labels: bool) -> list[Plane]:
    files = dicom_files(folder)
    _check_others(folder, files)
    headers = {path: read_dicom_header(path) for path in files}
    series: dict[str, Path] = {}
    for path, header in headers.items():
        series.setdefault(str(header.get("SeriesInstanceUID")), path)
    if len(series) != 1:
        called = [
            f"{headers[path].get('SeriesDescription') or 'without a name'}: {path.name}" for path in series.values()
        ]
        listed = f" ({', '.join(called[:3])}{', ...' if len(called) > 3 else ''})" if called else ""
        raise ModelFileError(f"{folder} holds {len(series)} series of DICOM{listed}; pass a folder with one")
    return [plane for path, header in headers.items() for plane in _planes(path, header, labels)]


def _check_others(folder: Path, files: Sequence[Path]) -> None:
    """Refuse a folder in which a file is named like the slices but is no DICOM: it may be damaged."""
    kinds = {_ending(path) for path in files}
    for path in sorted(set(_files(folder)) - set(files)):
        with open(path, "rb") as file:
            head = file.read(256)
        if _ending(path) in kinds and (not head or b"\0" in head):
            raise ModelFileError(f"{path} is no DICOM, though others beside it are; copy it again, or take it away")


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    return "" if ending[1:].isdigit() else ending


def _with_detector_spacing(plane: Plane, geometry: Geometry) -> Geometry:
    """Return the geometry of a single plane with the pixel spacing at its detector, and warn."""
    lengths, source = detector_spacing(plane)
    size = f"{source} is taken, which is that at the detector" if source else "1 mm is assumed"
    warnings.warn(f"{plane.path} has no PixelSpacing; {size}: say voxel_size in cohort.toml", stacklevel=4)
    return Geometry([geometry.spacing[0], *lengths], geometry.origin, geometry.direction)


def _voxels(planes: Sequence[Plane], *, floating: bool, labels: bool) -> npt.NDArray[Any]:
    """Return the stacked values of planes, each with its own slope and intercept."""
    voxels: npt.NDArray[Any] | None = None
    rescaled = any((plane.slope, plane.intercept) != (1, 0) for plane in planes)
    for k, pixels in enumerate(stored_pixels(planes, palette=not labels)):
        if voxels is None:
            stored = pixels.dtype
            kind = _value_type(planes, stored, rescaled) if floating or rescaled else stored.newbyteorder("=")
            voxels = np.empty((len(planes), *pixels.shape), kind)
        plane = planes[k]
        if pixels.shape != voxels.shape[1:] or pixels.dtype.itemsize != stored.itemsize:
            raise ModelFileError(f"{plane.path} has pixels of another kind than {planes[0].name}; save them alike")
        if not rescaled:
            voxels[k] = pixels
            continue
        np.multiply(pixels, np.float64(plane.slope), out=voxels[k], casting="same_kind")
        voxels[k] += plane.intercept
    assert voxels is not None
    if voxels.ndim == 3:
        return voxels
    channels = np.moveaxis(voxels, -1, 0)
    return channels[0] if (channels == channels[0]).all() else channels


def _value_type(planes: Iterable[Plane], stored: np.dtype[Any], rescaled: bool) -> np.dtype[Any]:
    """Return the type that holds stored values times slope plus intercept."""
    if stored.kind == "f" and not rescaled:
        return stored.newbyteorder("=")
    largest = 2 ** (8 * stored.itemsize)
    whole = all(float(each).is_integer() for plane in planes for each in (plane.slope, plane.intercept))
    reached = max(abs(plane.slope) * largest + abs(plane.intercept) for plane in planes)
    return np.dtype(np.float32 if whole and stored.kind != "f" and reached <= _EXACT else np.float64)
