"""Stored pixels of DICOM, decoded exactly, before slope and intercept."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.io.files.reading import ModelFileError, reading, refuse_if
from modelaug.io.formats.dicom_planes import PIXEL_KEYWORDS, Plane, read_dicom_header, transfer_syntax

_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_PALETTE: Final = "PALETTE COLOR"
_COLOUR: Final = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_FLOATS: Final = ("FloatPixelData", "DoubleFloatPixelData")
_OFFSETS: Final = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_THROUGH_PYDICOM: Final = ("1.2.840.10008.1.2.5",)  # run lengths, of which GDCM confuses the bytes of deep colours
# JPEG of 8 bits, of 12, lossless (two); JPEG-LS; JPEG 2000.
_THROUGH_GDCM: Final = tuple(f"1.2.840.10008.1.2.4.{each}" for each in (50, 51, 57, 70, 80, 81, 90, 91))
_END: Final = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000
_LOSSY: Final = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
_PERHAPS_LOSSY: Final = "1.2.840.10008.1.2.4.91"


def is_lossy(header: Any) -> bool:
    """Return whether compression has, or may have, changed values."""
    declared, syntax = header.get("LossyImageCompression"), transfer_syntax(header)
    return declared == "01" or syntax in _LOSSY or (syntax == _PERHAPS_LOSSY and declared != "00")


def stored_pixels(planes: Sequence[Plane], *, palette: bool) -> Iterator[npt.NDArray[Any]]:
    """Yield the stored pixels of planes, (row, column) or, in colour, (row, column, 3), one after the other.

    Bits outside of BitsStored are removed; colours are red, green and blue. With `palette`, the indices of a palette
    become its colours.

    Raises
    ------
    ModelFileError
        If pixels are missing, damaged, or of a kind that cannot be returned exactly.
    """
    path: Path | None = None
    header: Any = None
    for plane in planes:
        if plane.path != path:
            path = plane.path
            header = read_dicom_header(path, (*PIXEL_KEYWORDS, "PixelData", *_FLOATS, *_OFFSETS))
            kind = _photometric(path, header)
        with reading(plane.path, "an image", "copy it again"):
            pixels = _decoded(header, plane.frame)
            if pixels.dtype.kind != "f" and header.BitsAllocated > 1:
                pixels = _without_unused_bits(pixels, header)
            if kind == _PALETTE and palette:
                pixels = _coloured(pixels, header)
        yield pixels


def _photometric(path: Path, header: Any) -> str:
    """Return the photometric interpretation of a file whose pixels can be returned exactly."""
    with reading(path, "DICOM", "copy it again"):
        kind, samples = str(header.get("PhotometricInterpretation")), int(header.get("SamplesPerPixel") or 1)
        given = (header.get(each) for each in ("BitsAllocated", "BitsStored", "HighBit"))
        bits, stored, high = (None if each is None else int(each) for each in given)
        floats = any(each in header for each in _FLOATS)
        syntax, data = transfer_syntax(header), header.get("PixelData")
        frame = int(header.Rows) * int(header.Columns) * samples * (bits or 0) / 8
        excess = 0 if data is None else len(data) / frame - int(header.get("NumberOfFrames") or 1) if frame else 0
    if samples != (3 if kind in _COLOUR else 1) or kind not in (*_GREY, _PALETTE, *_COLOUR):
        raise ModelFileError(
            f"{path} has PhotometricInterpretation {kind} and SamplesPerPixel {samples}, which is not read; save it in "
            "grey or RGB"
        )
    refuse_if(not floats and data is None, f"{path} holds no pixels; copy it again")
    if syntax.is_compressed and (syntax not in (*_THROUGH_GDCM, *_THROUGH_PYDICOM) or floats):
        raise ModelFileError(f"{path} is compressed as {syntax.name}, which is not read; save it uncompressed")
    if syntax.is_compressed and bits not in (8, 16, 32):
        raise ModelFileError(f"{path} has {bits} compressed bits per sample, which is not read; save it uncompressed")
    more = not syntax.is_compressed and excess >= 1
    refuse_if(more, f"{path} holds more pixels than NumberOfFrames says; write it again")
    if floats:
        return kind
    if bits is None or stored is None or high is None or not 0 < stored <= high + 1 <= bits:
        raise ModelFileError(
            f"{path} stores {stored} bits up to bit {high} in {bits}, which cannot be; correct BitsStored and HighBit"
        )
    if (samples > 1 and stored != bits) or (syntax.is_compressed and high != stored - 1):
        raise ModelFileError(
            f"{path} stores {stored} of {bits} bits up to bit {high}, which is not read; save it again"
        )
    return kind


def _decoded(header: Any, frame: int) -> npt.NDArray[Any]:
    """Return the pixels of a frame as pydicom or GDCM decode them."""
    from pydicom import encaps, pixels

    decoders: Any = pixels
    count, syntax = int(header.get("NumberOfFrames") or 1), transfer_syntax(header)
    if syntax not in _THROUGH_GDCM:
        header.file_meta.TransferSyntaxUID = syntax
        plugin = "pydicom" if syntax.is_compressed else ""
        exact = {"allow_excess_frames": False, "correct_unused_bits": False}
        return np.asarray(decoders.pixel_array(header, index=frame, decoding_plugin=plugin, **exact))
    offsets = tuple(header.get(each) for each in _OFFSETS)
    extended: Any = None if None in offsets else offsets
    coded = encaps.get_frame(header.PixelData, frame, number_of_frames=count, extended_offsets=extended)
    size = (int(header.Rows), int(header.Columns))
    if bytes(coded).rstrip(b"\0\xff")[-2:] != _END:
        raise ValueError("its compressed pixels are cut off")
    if (found := _coded_size(coded)) != size:
        raise ValueError(f"the header says {size} pixels, what is compressed {found or 'nothing'}")
    return _through_gdcm(header, coded)


def _coloured(numbers: npt.NDArray[Any], header: Any) -> npt.NDArray[Any]:
    """Return the colours of a palette's indices."""
    from pydicom import pixels

    decoders: Any = pixels
    return np.asarray(decoders.apply_color_lut(numbers, header))


def _coded_size(coded: bytes) -> tuple[int, int] | None:
    """Return rows and columns of JPEG, JPEG-LS or JPEG 2000, which decoders follow whatever the header says."""
    if coded[:4] == b"\xff\x4f\xff\x51":
        right, bottom, left, top = struct.unpack(">4I", coded[8:24])
        return bottom - top, right - left
    at = 2
    while coded[:2] == b"\xff\xd8" and at + 9 <= len(coded) and coded[at] == 0xFF:
        marker, length = struct.unpack(">BH", coded[at + 1 : at + 4])
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack(">HH", coded[at + 5 : at + 9])
            return rows, columns
        at += 2 + length
    return None


def _through_gdcm(header: Any, coded: bytes) -> npt.NDArray[Any]:
    """Decode a frame by GDCM, from a temporary file without the elements that GDCM would apply to its values."""
    import SimpleITK as sitk
    from pydicom import Dataset, dataset, encaps, uid

    alone = Dataset()
    alone.SOPClassUID, alone.SOPInstanceUID = _SECONDARY_CAPTURE, uid.generate_uid()
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"):
        setattr(alone, keyword, header.get(keyword))
    alone.PixelRepresentation = header.get("PixelRepresentation") or 0
    colour = header.SamplesPerPixel == 3
    alone.PhotometricInterpretation = header.PhotometricInterpretation if colour else "MONOCHROME2"
    if colour:
        alone.PlanarConfiguration = header.get("PlanarConfiguration") or 0
    alone.PixelData = encaps.encapsulate([coded])
    alone["PixelData"].VR = "OB"
    alone.file_meta = dataset.FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = transfer_syntax(header)
    with tempfile.TemporaryDirectory(prefix="modelaug-") as folder:
        temporary = Path(folder) / "frame.dcm"
        alone.save_as(temporary, enforce_file_format=True)
        reader: Any = sitk.ImageFileReader()  # type: ignore[no-untyped-call]
        reader.SetImageIO("GDCMImageIO")  # others would be asked first, and complain
        reader.SetFileName(str(temporary))
        try:
            array: npt.NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise ValueError(f"its {transfer_syntax(header).name} cannot be decoded") from error
    signed = "i" if alone.PixelRepresentation else "u"
    wanted = (1, header.Rows, header.Columns, *((3,) if colour else ()))
    if array.shape != wanted or array.dtype.itemsize * 8 != header.BitsAllocated or array.dtype.kind not in "iu":
        raise ValueError(f"decoding gave {array.dtype} {array.shape[1:]}, not {header.BitsAllocated} bits {wanted[1:]}")
    return np.asarray(array[0].view(f"{signed}{array.dtype.itemsize}"))


def _without_unused_bits(pixels: npt.NDArray[Any], header: Any) -> npt.NDArray[Any]:
    """Return pixels without the bits outside of BitsStored, and with their sign."""
    bits = 8 * pixels.dtype.itemsize
    if header.BitsStored == bits:
        return pixels
    return np.asarray((pixels << (bits - 1 - header.HighBit)) >> (bits - header.BitsStored))
