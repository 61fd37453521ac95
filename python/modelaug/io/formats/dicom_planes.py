"""Planes of DICOM files as their headers describe them: geometry, and the meaning of the stored values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.io.files.reading import ModelFileError, check_file, one_line, reading, refuse_if
from modelaug.io.formats.headers import first_bytes

_Vector = npt.NDArray[np.float64]

_COLOURS: Final = ("Red", "Green", "Blue")

PIXEL_KEYWORDS: Final = (
    *("SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "LossyImageCompression"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in _COLOURS),
    *(f"{colour}PaletteColorLookupTableData" for colour in _COLOURS),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in _COLOURS),
)
"""Elements that decoding pixels needs, besides the pixels."""

_OF_FILE: Final = (
    *("SeriesInstanceUID", "SeriesDescription", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("DetectorInformationSequence", "FrameIncrementPointer", "FrameTime", "FrameTimeVector"),
    *("GridFrameOffsetVector", "SliceVector", "SegmentationType", "MaximumFractionalValue"),
)

ALIKE: Final = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "FrameOfReferenceUID"),
    *("EchoNumbers", "EchoTime", "EffectiveEchoTime", "TemporalPositionIdentifier", "TemporalPositionIndex"),
    *("NominalPercentageOfCardiacPhase", "StackID", "ReferencedSegmentNumber", "DiffusionBValue"),
    *("RescaleType", "Units"),
)
"""Elements that all planes of a stack have in common, where they have them."""

REASONS: Final = (
    *(*ALIKE, "ImageType", "TriggerTime", "NominalCardiacTriggerDelayTime", "InversionTime", "AcquisitionNumber"),
    *("ContentTime", "InstanceNumber"),
)
"""Elements that may tell planes at one position apart, most telling first."""

_OF_PLANE: Final = (
    *(*REASONS, "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("NominalScannedPixelSpacing", "PixelAspectRatio", "SpacingBetweenSlices", "SliceThickness"),
    *("NominalInterval", "CardiacNumberOfImages", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "RealWorldValueMappingSequence", "DoseGridScaling"),
)

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_FARTHEST: Final = 1e6  # mm
_ORTHONORMAL: Final = 1e-3  # tolerance of direction cosines with three decimals
_MAGIC: Final = b"DICM"
_FIRST_GROUP: Final = b"\x08\x00"
_MOST_PACKED: Final = 2000  # bytes that a compressed one may become
_SMALL: Final = 2**26  # bytes of pixels that may be compressed better


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of pixels: a file, or one of its frames.

    Parameters
    ----------
    path
        The file.
    frame
        Number of the frame, from 0.
    name
        Its name in messages.
    position : ndarray, (3,), or None
        Centre of its first pixel in mm, LPS; None where the file has no position.
    axes : ndarray, (2, 3), or None
        Direction cosines of increasing column, then of increasing row; orthonormal.
    spacing : ndarray, (2,), or None
        Millimetres from row to row and from column to column.
    thickness
        Millimetres from plane to plane, used where there is only one.
    slope, intercept
        Factor of the stored values, and the term added after it; 1 and 0 by default.
    declared
        Other elements of its header, see `ALIKE` and `REASONS`.
    """

    path: Path
    frame: int
    name: str
    position: _Vector | None
    axes: _Vector | None
    spacing: _Vector | None
    thickness: float
    slope: float
    intercept: float
    declared: Mapping[str, Any]


def is_dicom(path: str | Path) -> bool:
    """Return whether a file begins as DICOM does, whatever its name; False where there is no file.

    It has ``DICM`` after 128 bytes or, if it is older, starts with the first element.
    """
    try:
        head = first_bytes(path, 132) if Path(path).is_file() else b""
    except (OSError, ValueError):
        return False
    if head[128:] == _MAGIC:
        return True
    length = int.from_bytes(head[4:8], "little")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return head[:2] == _FIRST_GROUP and len(head) == 132 and (explicit or 0 < length <= 64)


def read_dicom_header(path: Path, keywords: Sequence[str] = (*PIXEL_KEYWORDS, *_OF_FILE, *_OF_PLANE)) -> Any:
    """Read these elements of a file into a ``pydicom.Dataset``, its pixels only if ``"PixelData"`` is among them.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, no DICOM, or deflated, whose unpacked size has no bound.
    """
    import pydicom

    check_file(path)
    refuse_if(not is_dicom(path), f"{path} is no DICOM, or damaged; copy it again")
    with reading(path, "DICOM", "copy it again"):
        bare = first_bytes(path, 132)[128:] != _MAGIC
        deflated = not bare and pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID") == _DEFLATED
        refuse_if(deflated, f"{path} is deflated; save it uncompressed")
        without = "PixelData" not in keywords
        header = pydicom.dcmread(path, force=bare, stop_before_pixels=without, specific_tags=list(keywords))
        _convert(path, header)
        return header


def _convert(path: Path, elements: Any) -> None:
    """Let pydicom convert all values now, which it does on access, and which may fail."""
    from pydicom.datadict import keyword_for_tag

    for tag in list(elements.keys()):
        try:
            element = elements[tag]
        except Exception as error:
            called = keyword_for_tag(tag) or tag
            raise ModelFileError(
                f"{path} has a {called} that cannot be read ({one_line(error)}); correct it"
            ) from error
        for item in element.value if element.VR == "SQ" else ():
            _convert(path, item)


def planes_of(path: Path, header: Any, name: str) -> list[Plane]:
    """Return the planes of a file, in the order of its frames; messages call the file `name`.

    Raises
    ------
    ModelFileError
        If what the header declares cannot be honoured.
    """
    empty = not header.get("Rows") or not header.get("Columns")
    refuse_if(empty, f"{path} holds no image; take it out of the folder, or copy it again")
    count = _count(path, header)
    _check_size(path, header, count)
    shared = _sequence(header, "SharedFunctionalGroupsSequence")[:1]
    frames = _sequence(header, "PerFrameFunctionalGroupsSequence")
    wrong = len(frames) not in (0, count)
    refuse_if(wrong, f"{path} has NumberOfFrames {count} but describes {len(frames)} frames; write it again")
    if count > 1 and not frames:
        return _frames_along_normal(path, header, count, name)
    named = [f"frame {k + 1} of {name}" if count > 1 else name for k in range(count)]
    return [_plane(path, header, k, named[k], _values(header, [*shared, *frames[k : k + 1]])) for k in range(count)]


def _count(path: Path, header: Any) -> int:
    """Return the number of frames."""
    given = header.get("NumberOfFrames")
    try:
        count = 1 if _absent(given) else int(given)
    except (TypeError, ValueError):
        count = 0
    refuse_if(count < 1, f"{path} has NumberOfFrames {given}; write it again")
    return count


def transfer_syntax(header: Any) -> Any:
    """Return the transfer syntax of a file, a ``pydicom.uid.UID``; that of old files is inferred."""
    from pydicom import uid

    declared = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if declared:
        return declared
    implicit, little = header.original_encoding
    explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if implicit else explicit


def _check_size(path: Path, header: Any, count: int) -> None:
    """Refuse a file that declares more pixels than it can hold, before memory is allocated for them."""
    with reading(path, "DICOM", "copy it again"):
        samples, bits = int(header.get("SamplesPerPixel") or 1), int(header.get("BitsAllocated") or 0)
        packed = transfer_syntax(header).is_compressed
        if str(header.get("PhotometricInterpretation")) == "YBR_FULL_422" and not packed:
            samples = 2
        promised = -(-int(header.Rows) * int(header.Columns) * samples * bits * count // 8)
        held = path.stat().st_size
    most = max(_SMALL, _MOST_PACKED * held) if packed else held
    refuse_if(promised > most, f"{path} promises {promised} bytes of pixels but is {held} bytes long; copy it again")


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, str | Sequence) and len(value) == 0)


def _sequence(header: Any, keyword: str) -> list[Any]:
    return list(header.get(keyword) or [])


def _values(header: Any, groups: Iterable[Any]) -> dict[str, Any]:
    """Return the elements of a plane: the frame's own, else those that all frames share, else the file's."""
    items = [header]
    for group in groups:
        items.append(group)
        items += [element.value[0] for element in group if element.VR == "SQ" and element.value]
    found: dict[str, Any] = {}
    for item in items:
        for keyword in _OF_PLANE:
            if keyword in item and not _absent(value := item.get(keyword)):
                found[keyword] = value
    return found


def _plane(path: Path, header: Any, frame: int, name: str, values: Mapping[str, Any]) -> Plane:
    slope, intercept = _rescaling(path, header, values)
    position, axes = _numbers(path, values, "ImagePositionPatient", 3), _axes(path, values)
    if (position is None) != (axes is None):
        lacking = "ImagePositionPatient" if position is None else "ImageOrientationPatient"
        raise ModelFileError(f"{path} has no {lacking}, so that it lies nowhere; add it")
    if position is not None and np.abs(position).max() > _FARTHEST:
        raise ModelFileError(f"{path} has ImagePositionPatient {position.tolist()}, which is no place; correct it")
    between = _number(path, values, "SpacingBetweenSlices") or _number(path, values, "SliceThickness") or 1.0
    pixels = _spacing(path, values, "PixelSpacing")
    return Plane(path, frame, name, position, axes, pixels, abs(between), slope, intercept, values)


def _numbers(path: Path, values: Any, keyword: str, count: int) -> _Vector | None:
    """Return the finite numbers of an element of a mapping or a dataset; None where it is absent."""
    given = values.get(keyword)
    if _absent(given):
        return None
    try:
        array = np.array([float(each) for each in ([given] if count == 1 else given)])
    except (TypeError, ValueError):
        array = np.array([])
    if array.shape != (count,) or not np.isfinite(array).all():
        wanted = "a finite number" if count == 1 else f"{count} finite numbers"
        shown = str(given).replace("'", "")
        raise ModelFileError(f"{path} has {keyword} {shown}, not {wanted}; correct it")
    return array


def _number(path: Path, values: Any, keyword: str) -> float | None:
    found = _numbers(path, values, keyword, 1)
    return None if found is None else float(found[0])


def _axes(path: Path, values: Mapping[str, Any]) -> _Vector | None:
    """Return the orthonormal directions nearest to the rounded direction cosines of a plane."""
    keyword = "ImageOrientationPatient"
    cosines = _numbers(path, values, keyword, 6)
    if cosines is None:
        return None
    axes = cosines.reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > _ORTHONORMAL:
        raise ModelFileError(f"{path} has {keyword} {cosines.tolist()}, not two orthonormal directions; correct it")
    u, _, v = np.linalg.svd(axes, full_matrices=False)
    return np.asarray(u @ v)


def _spacing(path: Path, values: Mapping[str, Any], keyword: str) -> _Vector | None:
    lengths = _numbers(path, values, keyword, 2)
    if lengths is not None and not ((lengths >= 1 / _FARTHEST) & (lengths <= _FARTHEST)).all():
        raise ModelFileError(f"{path} has {keyword} {lengths.tolist()}, which is no size of pixels in mm; correct it")
    return lengths


def detector_spacing(plane: Plane) -> tuple[_Vector, str]:
    """Return the pixel spacing at the detector, for planes without one in the patient, and its keyword."""
    for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        lengths = _spacing(plane.path, plane.declared, keyword)
        if lengths is not None:
            return lengths, keyword
    ratio = _spacing(plane.path, plane.declared, "PixelAspectRatio")
    return (np.ones(2) if ratio is None else np.array([ratio[0] / ratio[1], 1.0])), ""


def _rescaling(path: Path, header: Any, values: Mapping[str, Any]) -> tuple[float, float]:
    """Return slope and intercept: of the modality or, where it has none, of real-world values."""
    curved = "ModalityLUTSequence" in values
    refuse_if(curved, f"{path} has a ModalityLUTSequence, which is not applied; save it with rescaled values")
    slope, intercept = (_number(path, values, f"Rescale{each}") for each in ("Slope", "Intercept"))
    if (slope is None) != (intercept is None):
        lacking, given = ("Slope", "Intercept") if slope is None else ("Intercept", "Slope")
        raise ModelFileError(f"{path} has a Rescale{given} but no Rescale{lacking}; add it")
    if slope is None and "DoseGridScaling" in values:
        slope = _number(path, values, "DoseGridScaling")
    elif slope is None and header.get("SegmentationType") == "FRACTIONAL":
        slope = 1 / (_number(path, header, "MaximumFractionalValue") or math.inf)
    elif slope is None and "RealWorldValueMappingSequence" in values:
        slope, intercept = _real_world(path, list(values["RealWorldValueMappingSequence"]))
    refuse_if(slope == 0, f"{path} multiplies all its values by 0; correct its RescaleSlope or its like")
    return 1.0 if slope is None else slope, intercept or 0.0


def _real_world(path: Path, items: list[Any]) -> tuple[float, float]:
    """Return slope and intercept of the one linear mapping to real-world values."""
    names = ("RealWorldValueSlope", "RealWorldValueIntercept")
    found = {tuple(_number(path, item, name) for name in names) for item in items}
    slope, intercept = found.pop() if len(found) == 1 else (None, None)
    if slope is None or intercept is None:
        raise ModelFileError(f"{path} has a RealWorldValueMappingSequence without one line; save it with real values")
    return slope, intercept


def _frames_along_normal(path: Path, header: Any, count: int, name: str) -> list[Plane]:
    """Return the frames of a file that gives the first one's position and the others' distances from it."""
    from pydicom.datadict import keyword_for_tag

    pointer = header.get("FrameIncrementPointer")
    pointers = [] if _absent(pointer) else [pointer] if np.ndim(pointer) == 0 else list(pointer)
    over = [keyword_for_tag(each) or str(each) for each in pointers]
    over += [each for each in ("FrameTime", "FrameTimeVector") if each in header and each not in over]
    if set(over) - {"SliceVector", "GridFrameOffsetVector"}:
        raise ModelFileError(f"{path} has {count} frames over {' and '.join(over)}; save one volume of them as .nii.gz")
    values = _values(header, _sequence(header, "DetectorInformationSequence")[:1])
    plane = _plane(path, header, 0, name, values)
    if plane.position is None or plane.axes is None:
        raise ModelFileError(f"{path} has {count} frames but does not say where they lie; save them as .nii.gz")
    normal = np.cross(*plane.axes)
    offsets = _numbers(path, header, "GridFrameOffsetVector", count)
    numbers = _numbers(path, header, "SliceVector", count)
    between = _number(path, values, "SpacingBetweenSlices")
    if offsets is not None and offsets[0] != 0:  # z itself, of axial planes
        if abs(normal[2]) < 1 - _ORTHONORMAL or abs(offsets[0] - plane.position[2]) > 1e-3:
            raise ModelFileError(f"{path} has a GridFrameOffsetVector from {offsets[0]:g} on; correct it to start at 0")
        steps = (offsets - offsets[0])[:, None] * [0.0, 0.0, 1.0]
    elif offsets is not None:
        steps = offsets[:, None] * normal
    elif between:
        steps = between * (np.arange(count) if numbers is None else numbers - 1)[:, None] * normal
    else:
        raise ModelFileError(f"{path} has {count} frames but does not say how far apart; save them as .nii.gz")
    return [
        replace(plane, frame=k, name=f"frame {k + 1} of {name}", position=plane.position + steps[k])
        for k in range(count)
    ]
