"""Values of DICOM: bits, signs, colours, slopes and compressions against the numbers put in."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from modelaug.io import read_image
from modelaug.io.images import read_labels, read_voxels
from tests.io.dicoms import compressed, item, numbers, write_dicom
from tests.io.test_dicom import levels, refused, series

pytest.importorskip("SimpleITK")
pydicom = pytest.importorskip("pydicom")
codecs = pytest.importorskip("imagecodecs")

JPEG, JPEG_12, JPEG_LOSSLESS = (f"1.2.840.10008.1.2.4.{k}" for k in (50, 51, 70))
JPEG_LS, NEARLY_JPEG_LS, JPEG_2000, PERHAPS_JPEG_2000 = (f"1.2.840.10008.1.2.4.{k}" for k in (80, 81, 90, 91))
RUN_LENGTHS, BIG_ENDIAN, IMPLICIT = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"


def values(path: Path) -> npt.NDArray[Any]:
    array = read_voxels(path)[0]
    assert array.shape[-3] == 1
    return np.squeeze(array, axis=-3)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", IMPLICIT])
def test_integers_are_as_stored(tmp_path: Path, kind: str, syntax: str) -> None:
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    stored = np.array([[low, low + 1, 0], [1, high - 1, high]], dtype=kind)
    read = values(write_dicom(tmp_path / "a.dcm", stored, syntax=syntax))
    np.testing.assert_array_equal(read, stored)
    assert read.dtype == kind
    labels, _ = read_labels(tmp_path / "a.dcm")
    np.testing.assert_array_equal(labels[0], stored)
    assert labels.dtype == kind


def test_bytes_of_other_machines(tmp_path: Path) -> None:
    for kind in ("i2", "u4"):
        stored = numbers(4, 5, kind=kind)
        swapped = stored.astype(f">{kind}").tobytes()
        path = write_dicom(tmp_path / "a.dcm", stored, syntax=BIG_ENDIAN, data=swapped)
        np.testing.assert_array_equal(values(path), stored)
        assert values(path).dtype.isnative


@pytest.mark.parametrize("high", [11, 13, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_beside_the_values_are_taken_off(tmp_path: Path, high: int, signed: bool) -> None:
    """As of overlays, which older files keep there."""
    wanted = numbers(6, 7, kind="i2", low=-2048 if signed else 0, high=2048 if signed else 4096)
    noise = numbers(7, 6, kind="u2", high=2**16).reshape(6, 7)
    low = high - 11
    field = np.uint16(0xFFF << low)
    stored = ((wanted.astype(np.uint16) & 0xFFF) << low) | (noise & ~field)
    path = write_dicom(
        tmp_path / "a.dcm", stored.astype(np.uint16), BitsStored=12, HighBit=high, PixelRepresentation=int(signed)
    )
    np.testing.assert_array_equal(values(path), wanted)


def test_single_bits(tmp_path: Path) -> None:
    mask = numbers(2, 6, 7, kind="u1", high=2)
    packed = np.packbits(mask.ravel(), bitorder="little").tobytes()
    path = write_dicom(
        tmp_path / "a.dcm", mask, data=packed, BitsAllocated=1, BitsStored=1, HighBit=0, SpacingBetweenSlices=3
    )
    np.testing.assert_array_equal(read_labels(path)[0], mask)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_floating_point(tmp_path: Path, kind: str) -> None:
    stored = (numbers(6, 7) / 7).astype(kind)
    keyword = "FloatPixelData" if kind == "f4" else "DoubleFloatPixelData"
    nothing = {"PixelData": None, "BitsStored": None, "HighBit": None, "PixelRepresentation": None}
    path = write_dicom(tmp_path / "a.dcm", stored, **nothing, **{keyword: stored.tobytes()})
    np.testing.assert_array_equal(values(path), stored)
    assert values(path).dtype == kind
    path = write_dicom(
        tmp_path / "a.dcm", stored, **nothing, **{keyword: stored.tobytes()}, RescaleSlope=3, RescaleIntercept=1
    )
    np.testing.assert_array_equal(values(path), stored.astype(np.float64) * 3 + 1)
    stored[0, 0] = np.nan
    refused(write_dicom(path, stored, **nothing, **{keyword: stored.tobytes()}), "nan")


def test_colours(tmp_path: Path) -> None:
    colours = numbers(6, 7, 3, kind="u1", high=256)
    declared: dict[str, Any] = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}
    for planar, laid in ((0, colours), (1, np.moveaxis(colours, -1, 0))):
        path = write_dicom(
            tmp_path / "a.dcm", colours[..., 0], data=laid.tobytes(), PlanarConfiguration=planar, **declared
        )
        np.testing.assert_array_equal(values(path), np.moveaxis(colours, -1, 0))
        refused(path, "in colour", read=read_labels)
    grey = np.repeat(colours[..., :1], 3, axis=-1)
    path = write_dicom(tmp_path / "a.dcm", grey[..., 0], data=grey.tobytes(), PlanarConfiguration=0, **declared)
    np.testing.assert_array_equal(values(path), grey[..., 0])
    deep = numbers(6, 7, 3, high=2**16)
    path = write_dicom(tmp_path / "a.dcm", deep[..., 0], data=deep.tobytes(), PlanarConfiguration=0, **declared)
    np.testing.assert_array_equal(values(path), np.moveaxis(deep, -1, 0))


def test_luminance_and_chrominance_become_colours(tmp_path: Path) -> None:
    # Of full red, green, blue, grey: as part 3 of the standard, C.7.6.3.1.2, defines them.
    stored = np.array([[[76, 85, 255], [150, 44, 21], [29, 255, 107], [99, 128, 128]]], dtype=np.uint8)
    expected = np.array([[254, 0, 0], [0, 255, 1], [0, 0, 254], [99, 99, 99]])
    path = write_dicom(
        tmp_path / "a.dcm",
        stored[..., 0],
        data=stored.tobytes(),
        PhotometricInterpretation="YBR_FULL",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
    )
    np.testing.assert_allclose(values(path)[:, 0].T, expected, atol=1)


def palette(*, first: int = 0) -> dict[str, Any]:
    tables = np.array([[0, 60, 7, 5], [1, 0, 200, 5], [2, 0, 3, 250]], dtype=np.uint16) * 257
    colours = dict(zip(("Red", "Green", "Blue"), tables, strict=True))
    found: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, table in colours.items():
        found[f"{name}PaletteColorLookupTableDescriptor"] = [4, first, 16]
        found[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    return found


def test_palettes_are_colours_of_images_and_numbers_of_labels(tmp_path: Path) -> None:
    stored = np.array([[3, 2, 1], [0, 1, 9]], dtype=np.uint8)
    path = write_dicom(tmp_path / "a.dcm", stored, **palette())
    shown = np.array([[0, 60, 7, 5], [1, 0, 200, 5], [2, 0, 3, 250]])[:, np.minimum(stored, 3)] * 257
    np.testing.assert_array_equal(values(path), shown)
    np.testing.assert_array_equal(read_labels(path)[0][0], stored)
    refused(write_dicom(path, stored, PhotometricInterpretation="PALETTE COLOR"), "Palette")


def test_inverted_display_and_padding_change_no_values(tmp_path: Path) -> None:
    stored = numbers(4, 5)
    for declared in ({"PhotometricInterpretation": "MONOCHROME1"}, {"PixelPaddingValue": int(stored[0, 0])}):
        path = write_dicom(tmp_path / "a.dcm", stored, **declared)
        np.testing.assert_array_equal(values(path), stored)
        encoded = compressed(tmp_path / "b.dcm", [codecs.jpegls_encode(stored)], stored, JPEG_LS, **declared)
        np.testing.assert_array_equal(values(encoded), stored)


@pytest.mark.parametrize("sop", ["1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"])
def test_slopes_are_those_of_each_slice(tmp_path: Path, sop: str) -> None:
    lines = [(0.0123, -7.5), (2.5, 0), (1, 1000)]
    slopes, intercepts = map(list, zip(*lines, strict=True))
    stored = series(tmp_path, levels(0, 3, 6), RescaleSlope=slopes, RescaleIntercept=intercepts, SOPClassUID=sop)
    image = read_voxels(tmp_path)[0]
    np.testing.assert_array_equal(image, [s * plane + b for plane, (s, b) in zip(stored, lines, strict=True)])
    for k, (slope, intercept) in enumerate(lines):
        np.testing.assert_array_equal(values(tmp_path / f"s{k}.dcm"), slope * stored[k] + intercept)
    refused(tmp_path, "no integers", read=read_labels)


def test_whole_slopes_leave_labels(tmp_path: Path) -> None:
    stored = series(tmp_path, levels(0, 3), RescaleSlope=2, RescaleIntercept=-3)
    labels = read_labels(tmp_path)[0]
    np.testing.assert_array_equal(labels, 2 * stored.astype(int) - 3)
    assert labels.dtype == np.int64


def test_what_else_scales_values(tmp_path: Path) -> None:
    stored, path = numbers(4, 5), tmp_path / "a.dcm"
    line = item(RealWorldValueSlope=0.5, RealWorldValueIntercept=-1.0)
    other = item(RealWorldValueSlope=0.25, RealWorldValueIntercept=-1.0)
    write_dicom(path, stored, RealWorldValueMappingSequence=[line])
    np.testing.assert_array_equal(values(path), 0.5 * stored - 1)
    # Where there is a slope of the modality, it is the one.
    write_dicom(path, stored, RealWorldValueMappingSequence=[line], RescaleSlope=3, RescaleIntercept=0)
    np.testing.assert_array_equal(values(path), 3.0 * stored)
    write_dicom(path, stored, SegmentationType="FRACTIONAL", MaximumFractionalValue=250)
    np.testing.assert_allclose(values(path), stored / 250)
    for declared, word in (
        ({"RealWorldValueMappingSequence": [line, other]}, "RealWorldValueMappingSequence"),
        ({"RealWorldValueMappingSequence": [item()]}, "RealWorldValueMappingSequence"),
        ({"ModalityLUTSequence": [item()]}, "ModalityLUTSequence"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "by 0"),
        ({"RescaleSlope": 2}, "RescaleIntercept"),
        ({"RescaleIntercept": 2}, "RescaleSlope"),
        ({"RescaleSlope": "nan", "RescaleIntercept": 2}, "RescaleSlope"),
    ):
        refused(write_dicom(path, stored, **declared), word)


LOSSLESS: dict[str, tuple[str, Callable[[npt.NDArray[Any]], bytes]]] = {
    "jpeg": (JPEG_LOSSLESS, lambda pixels: codecs.ljpeg_encode(pixels)),
    "jpeg-ls": (JPEG_LS, lambda pixels: codecs.jpegls_encode(pixels)),
    "jpeg 2000": (JPEG_2000, lambda pixels: codecs.jpeg2k_encode(pixels, level=0, codecformat="j2k")),
}


@pytest.mark.parametrize("codec", LOSSLESS)
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_lossless_compressions(tmp_path: Path, codec: str, kind: str) -> None:
    syntax, encode = LOSSLESS[codec]
    stored = numbers(2, 16, 17, kind=kind, high=256 if kind == "u1" else 2**16)
    path = compressed(tmp_path / "a.dcm", [encode(plane) for plane in stored], stored, syntax, SpacingBetweenSlices=-3)
    read = read_labels(path)[0]
    np.testing.assert_array_equal(read, stored[::-1])
    assert read.dtype == kind
    path = compressed(tmp_path / "a.dcm", [encode(stored[0])], stored[0], syntax, RescaleSlope=0.5, RescaleIntercept=-3)
    np.testing.assert_array_equal(values(path), 0.5 * stored[0] - 3)
    data = path.read_bytes()
    for kept in (len(data) // 2, len(data) - 200):
        path.write_bytes(data[:kept])
        refused(path)


@pytest.mark.parametrize("codec", LOSSLESS)
def test_compressed_integers_with_a_sign(tmp_path: Path, codec: str) -> None:
    """Codecs have unsigned ones; the header says that the highest of 12 bits is the sign."""
    syntax, encode = LOSSLESS[codec]
    wanted = numbers(16, 17, kind="i2", low=-2048, high=2048)
    stored = wanted.view(np.uint16) & 0xFFF
    path = compressed(tmp_path / "a.dcm", [encode(stored)], wanted, syntax, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(values(path), wanted)


def test_compressed_colours(tmp_path: Path) -> None:
    colours = numbers(16, 17, 3, kind="u1", high=256)
    declared: dict[str, Any] = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    path = compressed(tmp_path / "a.dcm", [codecs.jpegls_encode(colours)], colours[..., 0], JPEG_LS, **declared)
    np.testing.assert_array_equal(values(path), np.moveaxis(colours, -1, 0))
    mixed = {**declared, "PhotometricInterpretation": "YBR_RCT"}
    coded = codecs.jpeg2k_encode(colours, level=0, codecformat="j2k", mct=True)
    path = compressed(tmp_path / "a.dcm", [coded], colours[..., 0], JPEG_2000, **mixed)
    np.testing.assert_array_equal(values(path), np.moveaxis(colours, -1, 0))


@pytest.mark.parametrize(("kind", "colour"), [("u1", False), ("u2", False), ("i2", False), ("u1", True), ("u2", True)])
def test_run_lengths(tmp_path: Path, kind: str, colour: bool) -> None:
    stored = numbers(16, 17, *((3,) if colour else ()), kind=kind, high=100)
    declared: dict[str, Any] = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    path = write_dicom(
        tmp_path / "a.dcm",
        stored[..., 0] if colour else stored,
        data=stored.tobytes(),
        **(declared if colour else {}),
    )
    dataset = pydicom.dcmread(path)
    dataset.compress(RUN_LENGTHS, encoding_plugin="pydicom")
    dataset.save_as(path)
    np.testing.assert_array_equal(values(path), np.moveaxis(stored, -1, 0) if colour else stored)


def test_lossy_compressions_are_images_but_no_labels(tmp_path: Path) -> None:
    y, x = np.mgrid[:32, :32]
    smooth = (4 * x + 3 * y).astype(np.uint8)
    for syntax, coded, declared in (
        (JPEG, codecs.jpeg8_encode(smooth, level=95), {}),
        (NEARLY_JPEG_LS, codecs.jpegls_encode(smooth, level=2), {}),
        (PERHAPS_JPEG_2000, codecs.jpeg2k_encode(smooth, level=60, codecformat="j2k"), {}),
        (JPEG_2000, codecs.jpeg2k_encode(smooth, level=0, codecformat="j2k"), {"LossyImageCompression": "01"}),
    ):
        path = compressed(tmp_path / "a.dcm", [coded], smooth, syntax, **declared)
        np.testing.assert_allclose(values(path), smooth, atol=8)
        refused(path, "compression changes values", read=read_labels)
    coded = codecs.jpeg2k_encode(smooth, level=0, codecformat="j2k")
    path = compressed(tmp_path / "a.dcm", [coded], smooth, PERHAPS_JPEG_2000, LossyImageCompression="00")
    np.testing.assert_array_equal(read_labels(path)[0][0], smooth)


def test_lossy_colours(tmp_path: Path) -> None:
    y, x = np.mgrid[:32, :32]
    colours = np.stack([4 * x, 4 * y, 128 + x - y], axis=-1).astype(np.uint8)
    path = compressed(
        tmp_path / "a.dcm",
        [codecs.jpeg8_encode(colours, level=98, subsampling="444")],
        colours[..., 0],
        JPEG,
        PhotometricInterpretation="YBR_FULL",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
    )
    np.testing.assert_allclose(values(path), np.moveaxis(colours, -1, 0), atol=8)


def test_bombs_are_refused(tmp_path: Path) -> None:
    """Sizes are compared with the file's, and with those that compressed pixels say of themselves."""
    small, path = numbers(16, 16, kind="u1", high=256), tmp_path / "a.dcm"
    for _, (syntax, encode) in LOSSLESS.items():
        compressed(path, [encode(np.zeros((600, 500), np.uint8))], small, syntax)
        refused(path, "(16, 16)", "(600, 500)")
        compressed(path, [encode(small)], small, syntax, Rows=65535, Columns=65535)
        refused(path, "promises")
        compressed(path, [encode(small)], small, syntax, NumberOfFrames=2**31 - 1)
        refused(path, "promises")
        compressed(path, [encode(small)], small, syntax, NumberOfFrames=3, SpacingBetweenSlices=1)
        refused(path)
    header = struct.pack("<16I", 1, 64, *[0] * 14)
    compressed(path, [header + b"\x81\x00" * 5000], small, RUN_LENGTHS, Rows=65535, Columns=65535)
    refused(path, "promises")
    path = write_dicom(path, small)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.ICCProfile = bytes(10_000_000)
    dataset.save_as(path)
    assert path.stat().st_size < 100_000
    refused(path, "deflated")


@pytest.mark.parametrize(
    "declared",
    [
        {"PhotometricInterpretation": "HSV", "SamplesPerPixel": 3},
        {"PhotometricInterpretation": "YBR_PARTIAL_422", "SamplesPerPixel": 3},
        {"PhotometricInterpretation": "RGB"},
        {"PhotometricInterpretation": None},
        {"SamplesPerPixel": 2},
        {"SamplesPerPixel": 4},
        {"BitsStored": 17},
        {"BitsStored": 0},
        {"BitsStored": None},
        {"HighBit": 16},
        {"HighBit": 8, "BitsStored": 12},
        {"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11},
        {"BitsAllocated": 0},
        {"BitsAllocated": None},
        {"PixelRepresentation": None},
        {"PixelData": None},
        {"PixelData": b""},
        {"PixelData": bytes(38)},
        {"PixelData": bytes(80)},
        {"PixelData": bytes(120)},
        {"FloatPixelData": bytes(80)},
    ],
)
def test_pixels_that_cannot_be_are_refused(tmp_path: Path, declared: dict[str, Any]) -> None:
    refused(write_dicom(tmp_path / "a.dcm", numbers(4, 5), **declared))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.92"])
def test_other_compressions_are_refused(tmp_path: Path, syntax: str) -> None:
    refused(compressed(tmp_path / "a.dcm", [b"coded"], numbers(4, 5), syntax), "compressed as")


def test_compressed_pixels_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    """Of which decoders make up the rest."""
    stored, path = numbers(16, 16, kind="u1", high=256), tmp_path / "a.dcm"
    coded = {JPEG: codecs.jpeg8_encode(stored), **{syntax: encode(stored) for syntax, encode in LOSSLESS.values()}}
    for syntax, whole in coded.items():
        for kept in (len(whole) - 2, len(whole) - 30, len(whole) // 2):
            refused(compressed(path, [whole[:kept]], stored, syntax))


def test_damaged_compressions_are_refused(tmp_path: Path) -> None:
    stored, path = numbers(16, 16), tmp_path / "a.dcm"
    for syntax in (JPEG, JPEG_12, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, RUN_LENGTHS):
        for coded in (b"\0\0", b"coded!", bytes(500), b"\xff\xd8\xff" + b"\xff" * 99, b"\xff\x4f\xff\x51"):
            refused(compressed(path, [coded], stored, syntax), "a.dcm")


def test_images_of_folders_are_floating_point(tmp_path: Path) -> None:
    stored = series(tmp_path, levels(0, 3))
    assert read_voxels(tmp_path)[0].dtype == np.float32
    assert read_image(tmp_path / "s0.dcm")[0].dtype == np.float32
    assert read_voxels(tmp_path / "s0.dcm")[0].dtype == stored.dtype
    labels = read_labels(tmp_path)[0]
    np.testing.assert_array_equal(labels, stored)
    assert labels.dtype == np.int64


def test_large_integers_stay_exact(tmp_path: Path) -> None:
    stored = np.array([[2**24 + 1, 2**31 - 1]], dtype=np.uint32)
    for k in range(2):
        write_dicom(tmp_path / f"{k}", stored, ImagePositionPatient=[0, 0, k], RescaleSlope=2, RescaleIntercept=1)
    np.testing.assert_array_equal(read_labels(tmp_path)[0], [2 * stored.astype(np.int64) + 1] * 2)
