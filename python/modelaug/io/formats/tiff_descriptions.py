"""Metadata of ImageJ, OME and tifffile in a TIFF: order of the pages, sizes of voxels, calibration of values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from modelaug import _checks
from modelaug.io.files.reading import ModelFileError, refuse_if
from modelaug.io.formats.headers import UNITS

_MILLIMETRES: Final = {
    **UNITS,
    **dict.fromkeys(("nanometer", "nanometre"), UNITS["nm"]),
    **dict.fromkeys(("micrometer", "micrometre"), UNITS["um"]),
    **dict.fromkeys(("millimeter", "millimetre"), UNITS["mm"]),
    **dict.fromkeys(("centimeter", "centimetre"), UNITS["cm"]),
    **dict.fromkeys(("meter", "metre"), UNITS["m"]),
    **dict.fromkeys(("in", "inch", "inche"), 25.4),
}
"""Millimetres per unit of length, by symbols and by names in the singular."""
_NO_LENGTH: Final = ("", "pixel", "voxel", "px", "reference frame", "null", "none")

_PLANES: Final = "ZYXSQI"  # Q and I mean an unknown axis
_X_RESOLUTION: Final = 282
_Y_RESOLUTION: Final = 283


class Description(NamedTuple):
    """Metadata of a TIFF.

    Attributes
    ----------
    sizes
        Millimetres along (row, column) or (page, row, column), 1 along an axis without one; None if no axis has one.
    slope, intercept
        Factor of the values, and the term added after it; None without a calibration.
    """

    sizes: tuple[float, ...] | None = None
    slope: float | None = None
    intercept: float = 0.0


def read_tiff_description(path: str | Path, file: Any, pages: int) -> Description:
    """Return the metadata of the pages of full size in an open ``tifffile.TiffFile``.

    Raises
    ------
    ModelFileError
        If pages are channels or time points, or their number or order differs from the metadata; if lengths have an
        unknown unit, or values an unknown calibration.
    """
    if file.is_imagej:
        return _of_imagej(path, file, pages)
    if file.is_ome:
        return _of_ome(path, file, pages)
    for series in file.shaped_metadata or () if file.is_shaped else ():
        axes, shape = str(series.get("axes", "")), tuple(series.get("shape", ()))
        other = [axis for axis, length in zip(axes, shape, strict=False) if length != 1 and axis not in _PLANES]
        if other and len(axes) == len(shape):
            raise ModelFileError(f"{path} has pages along axis {other[0]!r}, which are no planes; save one of them")
    return Description()


def _of_imagej(path: str | Path, file: Any, pages: int) -> Description:
    said = file.imagej_metadata or {}
    counts = {"channels": said.get("channels", 1), "moments": said.get("frames", 1)}
    _check_pages(path, file, pages, counts, said.get("images", 1))
    unit = str(said.get("unit", ""))
    lengths = {"Z": said.get("spacing"), "Y": _per_pixel(file, _Y_RESOLUTION), "X": _per_pixel(file, _X_RESOLUTION)}
    units = {axis: str(said.get(f"{axis.lower()}unit", unit)) for axis in lengths}
    slope, intercept = None, 0.0
    if "cf" in said or "c0" in said:
        if int(said.get("cf", 0)) != 0:
            raise ModelFileError(f"{path} is calibrated by ImageJ's function {said['cf']}; save the calibrated values")
        slope, intercept = float(said.get("c1", 1.0)), float(said.get("c0", 0.0))
    return Description(_sizes(path, pages, lengths, units), slope, intercept)


def _of_ome(path: str | Path, file: Any, pages: int) -> Description:
    text = str(file.pages[0].description)
    head = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    found = _attributes(head[0] if head else "")
    counts = {"channels": found.get("SizeC", 1), "moments": found.get("SizeT", 1)}
    _check_pages(path, file, pages, counts, found.get("SizeZ", 1))
    for element in re.findall(r"<(?:\w+:)?TiffData\b[^>]*>", text):
        said = _attributes(element)
        if int(said.get("IFD", 0)) != int(said.get("FirstZ", 0)):
            raise ModelFileError(f"{path} notes that its planes are in another order than its pages; save it in order")
    lengths = {axis: found.get(f"PhysicalSize{axis}") for axis in "XYZ"}
    units = {axis: found.get(f"PhysicalSize{axis}Unit", "µm") for axis in "XYZ"}
    return Description(_sizes(path, pages, lengths, units))


def _attributes(element: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', element))


def _check_pages(path: str | Path, file: Any, pages: int, counts: Mapping[str, Any], promised: Any) -> None:
    samples = int(file.pages[0].samplesperpixel)
    for name, count in counts.items():
        if int(count) != 1 and not (name == "channels" and int(count) == samples):
            raise ModelFileError(f"{path} holds {count} {name} as pages, which are no planes; save one of them")
    other = int(promised) != pages
    refuse_if(other, f"{path} promises {promised} planes but has {pages} pages; save each plane as a page")


def _sizes(
    path: str | Path, pages: int, lengths: Mapping[str, Any], units: Mapping[str, str]
) -> tuple[float, ...] | None:
    """Return the sizes of voxels in mm; None if no axis has one."""
    axes = "YX" if pages == 1 else "ZYX"
    sizes = [None if lengths[axis] is None else _in_mm(path, lengths[axis], units[axis]) for axis in axes]
    if all(size is None for size in sizes):
        return None
    known = [1.0 if size is None else size for size in sizes]
    return tuple(_checks.spacing(f"size of a voxel in {path}", known, len(known)).tolist())


def _in_mm(path: str | Path, length: Any, unit: str) -> float | None:
    """Convert a length to mm; None where its unit is none of length."""
    word = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match[1], 16)), unit).strip()
    plain = word.lower()
    single = plain if plain in _MILLIMETRES else plain.removesuffix("s")
    if single in _NO_LENGTH:
        return None
    refuse_if(single not in _MILLIMETRES, f"{path} gives lengths in {word[:20]!r}; save it in mm")
    return float(length) * _MILLIMETRES[single]


def _per_pixel(file: Any, tag: int) -> float | None:
    """Return the size of ImageJ's pixels in its unit: the inverse of TIFF's resolution."""
    found = file.pages[0].tags.get(tag)
    if found is None:
        return None
    pixels, units = found.value
    return units / pixels if pixels else None
