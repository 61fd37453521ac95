"""Stacks of DICOM: files written with pydicom against the numbers put in; what is no stack is refused by name."""

from __future__ import annotations

import locale
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug import ModelFileError
from modelaug.io import read_image
from modelaug.io.formats.dicom import dicom_files, is_dicom, read_dicom
from modelaug.io.images import read_labels, read_voxels
from tests.examples import one_line, philox, rotation
from tests.io.dicoms import AXIAL, at, item, numbers, shared, write_dicom

pytest.importorskip("SimpleITK")
pytest.importorskip("pydicom")


def refused(path: Path, *words: str, read: Callable[..., Any] = read_image) -> None:
    with pytest.raises(ModelFileError) as caught:
        read(path)
    one_line(caught.value)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes(128) + b"DICM", True),
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(200), True),  # without a preamble, explicit
        (b"\x08\x00\x00\x00\x04\x00\x00\x00" + bytes(200), True),  # and implicit
        (b"", False),
        (bytes(128) + b"DIC", False),
        (b"name,row,column\n" * 20, False),
        (b"\x08\x00" * 100, False),
        (bytes(400), False),
    ],
)
def test_dicom_is_known_by_its_first_bytes(tmp_path: Path, content: bytes, expected: bool) -> None:
    (tmp_path / "IM0001").write_bytes(content)
    assert is_dicom(tmp_path / "IM0001") is expected
    assert dicom_files(tmp_path) == ([tmp_path / "IM0001"] if expected else [])


def test_folders_list_their_dicom(tmp_path: Path) -> None:
    assert not is_dicom(tmp_path)
    assert not is_dicom(tmp_path / "none")
    assert dicom_files(tmp_path / "none") == []
    (tmp_path / "folder.dcm").mkdir()
    for name in ("b.ima", "DICOMDIR", ".c", "IM1"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    (tmp_path / "a.DCM").write_bytes(b"damaged")
    (tmp_path / "notes.txt").write_bytes(b"notes")
    assert [path.name for path in dicom_files(tmp_path)] == ["IM1", "a.DCM", "b.ima"]


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6), frames=st.booleans())
def test_every_voxel_lies_where_its_slice_says(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, frames: bool
) -> None:
    rng = philox(seed)
    path = tmp_path_factory.mktemp("stack")
    turn = rotation(rng, 3)[:, :2].T
    normal = np.cross(*turn) * rng.choice([-1, 1])  # files may be counted either way
    start, step, sizes = rng.uniform(-300, 300, 3), rng.uniform(0.1, 10), rng.uniform(0.1, 4, 2)
    stored = rng.integers(-2000, 2000, size=(count, 3, 4), dtype=np.int16)
    lines = [(float(f"{rng.uniform(0.01, 3):.6g}"), float(f"{rng.uniform(-2000, 2000):.6g}")) for _ in range(count)]
    lines = [(1, 0)] * count if rng.random() < 0.2 else lines
    where = [[float(f"{x:.10g}") for x in start + k * step * normal] for k in range(count)]
    orientation = [float(f"{x:.10f}") for x in turn.ravel()]
    spacing = [float(f"{x:.8g}") for x in sizes]
    order = rng.permutation(count)
    if frames:
        each = [
            at(
                where[k],
                PixelValueTransformationSequence={"RescaleSlope": lines[k][0], "RescaleIntercept": lines[k][1]},
            )
            for k in order
        ]
        write_dicom(
            path / "a.dcm",
            stored[order],
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
            PixelSpacing=None,
            SharedFunctionalGroupsSequence=shared(orientation, spacing),
            PerFrameFunctionalGroupsSequence=each,
        )
    else:
        for number, k in enumerate(order):
            write_dicom(
                path / f"{number}",
                stored[k],
                ImagePositionPatient=where[k],
                ImageOrientationPatient=orientation,
                PixelSpacing=spacing,
                RescaleSlope=lines[k][0],
                RescaleIntercept=lines[k][1],
            )
    image, geometry = read_voxels(path)
    shutil.rmtree(path)
    assert geometry is not None
    assert image.dtype.kind == "f"
    assert image.shape == stored.shape
    for k in range(count):
        for i, j in ((0, 0), (2, 0), (1, 3)):
            expected = where[k] + turn[0] * sizes[1] * j + turn[1] * sizes[0] * i
            voxel = geometry.to_voxels(expected[None])[0]
            np.testing.assert_allclose(voxel[1:], [i, j], atol=1e-5)
            plane = round(float(voxel[0]))
            np.testing.assert_allclose(voxel[0], plane, atol=1e-5)
            assert image[plane, i, j] == pytest.approx(lines[k][0] * stored[k, i, j] + lines[k][1], rel=1e-12, abs=1e-9)


def series(folder: Path, positions: list[Any], **declared: Any) -> npt.NDArray[np.uint16]:
    """Write a slice for each position; what is declared may be a list of what each slice says."""
    stored = numbers(len(positions), 4, 5)
    for k, position in enumerate(positions):
        own = {key: value[k] if isinstance(value, list) else value for key, value in declared.items()}
        write_dicom(folder / f"s{k}.dcm", stored[k], ImagePositionPatient=position, InstanceNumber=k + 1, **own)
    return stored


def levels(*heights: float) -> list[Any]:
    return [[10, 20, height] for height in heights]


def test_regular_series_are_as_simpleitk_reads_them(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    for name, orientation in {
        "axial": AXIAL,
        "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
        "oblique": (0.6, 0.8, 0.0, 0.0, 0.0, 1.0),
    }.items():
        normal = np.cross(orientation[:3], orientation[3:])
        series(
            tmp_path / name,
            [list(np.round([1, 2, 3] + 2.5 * k * normal, 6)) for k in (3, 0, 2, 1)],
            ImageOrientationPatient=tuple(orientation),
            RescaleSlope=2,
            RescaleIntercept=-1000,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
        )
        image, geometry = read_voxels(tmp_path / name)
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / name))
        expected = sitk.ReadImage(files)
        np.testing.assert_array_equal(image, sitk.GetArrayFromImage(expected))
        assert geometry is not None
        np.testing.assert_allclose(geometry.spacing, expected.GetSpacing()[::-1])
        np.testing.assert_allclose(geometry.origin, expected.GetOrigin())
        np.testing.assert_allclose(geometry.direction.ravel(), expected.GetDirection(), atol=1e-9)
        assert image.dtype == np.float32  # which has all of these integers


def test_positions_may_be_rounded(tmp_path: Path) -> None:
    stored = series(tmp_path, levels(*(round(0.625 * k, 2) for k in range(9))))
    image, geometry = read_image(tmp_path)
    np.testing.assert_array_equal(image, stored)
    assert geometry is not None
    assert geometry.spacing[0] == pytest.approx(0.625, abs=0.002)
    shutil.rmtree(tmp_path)
    cosines = tuple(round(x, 4) for x in (np.cos(0.3), np.sin(0.3), 0, -np.sin(0.3), np.cos(0.3), 0))
    series(tmp_path, levels(0, 3, 6), ImageOrientationPatient=cosines, PixelSpacing=["0.7812\\0.7812"] * 3)
    geometry = read_image(tmp_path)[1]
    assert geometry is not None
    np.testing.assert_allclose(geometry.direction[:2, 0], [np.cos(0.3), np.sin(0.3)], atol=1e-4)


@pytest.mark.parametrize(
    ("positions", "declared", "words"),
    [
        (levels(0, 3, 6, 12, 15), {}, ["s2.dcm", "s3.dcm", "6 mm", "elsewhere 3 mm"]),
        (levels(15, 0, 12, 3, 6, 18), {}, ["s4.dcm", "s2.dcm"]),
        (levels(0, 3, 6.1), {}, ["no regular stack"]),
        (levels(0, 1, 2, 3, 4.05, 5.1, 6.15, 7.15, 8.15), {}, ["no regular stack"]),
        (levels(0, 3, 3, 6), {}, ["s2.dcm lies at the same place as s1.dcm"]),
        (levels(5, 5), {}, ["s1.dcm", "same place"]),
        (levels(0, 0, 3, 3), {"TriggerTime": [0, 40, 0, 40]}, ["s1.dcm", "TriggerTime 0.0 and 40.0"]),
        (levels(0, 0, 3, 3), {"AcquisitionNumber": [1, 2, 1, 2]}, ["s1.dcm", "AcquisitionNumber"]),
        (levels(0, 0, 3, 3), {"EchoTime": [2.3, 4.6, 2.3, 4.6]}, ["s1.dcm", "EchoTime 4.6"]),
        (levels(0, 3, 6, 9), {"EchoNumbers": [1, 2, 1, 2]}, ["s1.dcm", "EchoNumbers 2"]),
        (levels(0, 3, 6), {"TemporalPositionIdentifier": [1, 1, 2]}, ["s2.dcm", "TemporalPositionIdentifier"]),
        (levels(0, 3, 6), {"FrameOfReferenceUID": ["1.2", "1.2", "1.3"]}, ["s2.dcm", "FrameOfReferenceUID"]),
        (levels(0, 3, 6), {"RescaleType": ["HU", "HU", "US"]}, ["s2.dcm", "RescaleType"]),
        ([[0, 1.5 * k, 3 * k] for k in range(4)], {}, ["s3.dcm", "4.5 mm beside s0.dcm", "gantry"]),
        ([[0, 0.005 * 3 * k, 3 * k] for k in range(9)], {}, ["s8.dcm", "gantry"]),
        ([[0, 0, 0], [0, 5, 3], [0, 0, 6]], {}, ["s1.dcm"]),
        (levels(0, 3, 6), {"ImageOrientationPatient": [AXIAL, AXIAL, (0, 1, 0, 0, 0, -1)]}, ["s2.dcm"]),
        (levels(0, 3, 6), {"ImageOrientationPatient": [AXIAL, AXIAL, (1, 0, 0, 0, -1, 0)]}, ["s2.dcm"]),
        (levels(0, 3), {"PixelSpacing": [(2, 0.5), (0.5, 2)]}, ["s1.dcm", "PixelSpacing"]),
        (levels(0, 3), {"PixelSpacing": [(2, 0.5), None]}, ["s1.dcm has no PixelSpacing"]),
        ([[0, 0, 0], None], {}, ["s1.dcm has no ImagePositionPatient"]),
        ([None, None], {"ImageOrientationPatient": [None, None]}, ["s0.dcm has no ImagePositionPatient"]),
        (levels(0, 3), {"SeriesInstanceUID": ["1.2.3", "1.2.4"], "SeriesDescription": ["scout", "heart"]},
         ["holds 2 series of DICOM", "scout: s0.dcm", "heart: s1.dcm"]),
        (levels(0, 3), {"Rows": [4, 2], "PixelData": [bytes(40), bytes(20)]}, ["s1.dcm", "Rows 2"]),
        (levels(0, 3), {"PhotometricInterpretation": ["MONOCHROME1", "MONOCHROME2"]}, ["s1.dcm", "MONOCHROME2"]),
        (levels(0, 3), {"BitsAllocated": [16, 32], "PixelData": [bytes(40), bytes(80)]}, ["s1.dcm"]),
        (levels(0, 3, 6), {"TriggerTime": [20, 25, 350], "NominalInterval": 900, "CardiacNumberOfImages": 25},
         ["s2.dcm", "phase of the heart"]),
    ],
)  # fmt: skip
def test_what_is_no_stack_is_refused(
    tmp_path: Path, positions: list[Any], declared: dict[str, Any], words: list[str]
) -> None:
    series(tmp_path, positions, **declared)
    refused(tmp_path, *words)
    refused(tmp_path, *words, read=read_labels)


def test_slices_of_one_phase_may_be_triggered_a_little_apart(tmp_path: Path) -> None:
    stored = series(
        tmp_path, levels(0, 8, 16), TriggerTime=[300, 322, 290], NominalInterval=900, CardiacNumberOfImages=25
    )
    np.testing.assert_array_equal(read_image(tmp_path)[0], stored)


def test_a_folder_with_other_files(tmp_path: Path) -> None:
    stored = series(tmp_path, levels(0, 3, 6))
    for name, content in {
        "notes.txt": b"text",
        "README": b"text",
        ".hidden.dcm": b"no",
        "DICOMDIR": bytes(128) + b"DICM" + bytes(90),
        "thumb.png": b"\0",
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "more").mkdir()
    np.testing.assert_array_equal(read_image(tmp_path)[0], stored)
    whole = (tmp_path / "s1.dcm").read_bytes()
    for content in (b"", b"hello", whole[:100], whole[:300], whole[:-3]):
        (tmp_path / "s1.dcm").write_bytes(content)
        refused(tmp_path, "s1.dcm")


def test_slices_without_an_ending(tmp_path: Path) -> None:
    stored = series(tmp_path, levels(0, 3, 6))
    for k in range(3):
        (tmp_path / f"s{k}.dcm").rename(tmp_path / f"IM000{k}")
    np.testing.assert_array_equal(read_image(tmp_path)[0], stored)
    np.testing.assert_array_equal(read_image(tmp_path / "IM0001")[0], stored[1])
    whole = (tmp_path / "IM0002").read_bytes()
    (tmp_path / "VERSION").write_text("text")
    for content in (b"", whole[:100], b"\0" * 500):
        (tmp_path / "IM0002").write_bytes(content)
        refused(tmp_path, "IM0002 is no DICOM, though others beside it are")
    with pytest.raises(ValueError, match="no known format"):
        read_image(tmp_path / "VERSION")


def frames(path: Path, each: list[Any], *, common: dict[str, Any] | None = None, **declared: Any) -> npt.NDArray[Any]:
    stored = numbers(len(each), 4, 5)
    write_dicom(
        path,
        stored,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        SharedFunctionalGroupsSequence=shared(**(common or {})),
        PerFrameFunctionalGroupsSequence=each,
        **declared,
    )
    return stored


def test_frames_are_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        stored = frames(path, [at([10, 20, 30 + 4 * z]) for z in order])
        image, geometry = read_voxels(path)
        np.testing.assert_array_equal(image, stored[np.argsort(order)])
        assert image.dtype == np.uint16
        assert geometry is not None
        np.testing.assert_array_equal(geometry.spacing, [4, 2, 0.5])
        np.testing.assert_array_equal(geometry.origin, [10, 20, 30])


@pytest.mark.parametrize(
    ("each", "words"),
    [
        ([at([0, 0, z], FrameContentSequence={"TemporalPositionIndex": t}) for t, z in ((1, 0), (1, 3), (2, 6))],
         ["frame 3", "TemporalPositionIndex 2"]),
        ([at([0, 0, z], MREchoSequence={"EffectiveEchoTime": e}) for e, z in ((2.3, 0), (4.6, 0), (2.3, 3))],
         ["frame 2", "EffectiveEchoTime 4.6"]),
        ([at([0, 0, z], FrameContentSequence={"StackID": s}) for s, z in (("1", 0), ("1", 3), ("2", 6))],
         ["frame 3", "StackID 2"]),
        ([at([0, 0, z]) for z in (0, 3, 9)], ["frame 2", "frame 3", "6 mm"]),
        ([at([0, 0, 0])] * 2, ["frame 2", "same place"]),
        ([at([0, z, z]) for z in (0, 3)], ["frame 2", "beside"]),
        ([item(), item()], ["ImagePositionPatient"]),
        ([at([0, 0, z], SegmentIdentificationSequence={"ReferencedSegmentNumber": z + 1}) for z in (0, 1)],
         ["frame 2", "ReferencedSegmentNumber 2"]),
        ([at([0, 0, 0]), at([0, 0, 3], PlaneOrientationSequence={"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]})],
         ["frame 2", "ImageOrientationPatient"]),
    ],
)  # fmt: skip
def test_frames_that_are_no_stack_are_refused(tmp_path: Path, each: list[Any], words: list[str]) -> None:
    frames(tmp_path / "a.dcm", each)
    refused(tmp_path / "a.dcm", *words)


def test_frames_and_their_descriptions_must_fit(tmp_path: Path) -> None:
    frames(tmp_path / "a.dcm", [at([0, 0, z]) for z in (0, 3)], NumberOfFrames=1)
    refused(tmp_path / "a.dcm", "describes 2 frames")


def test_frames_with_one_position(tmp_path: Path) -> None:
    """Doses say how far frames are from the first, nuclear medicine how far apart."""
    path, stored = tmp_path / "a.dcm", numbers(3, 4, 5)
    write_dicom(path, stored, GridFrameOffsetVector=[0, -4, -8], FrameIncrementPointer=0x3004000C, DoseGridScaling=0.25)
    image, geometry = read_voxels(path)
    np.testing.assert_array_equal(image, 0.25 * stored[::-1])
    assert geometry is not None
    np.testing.assert_array_equal(geometry.origin, [10, 20, 22])
    write_dicom(path, stored, GridFrameOffsetVector=[30, 33, 36])  # z itself
    np.testing.assert_array_equal(read_voxels(path)[1].origin, [10, 20, 30])  # type: ignore[union-attr]
    place = item(ImagePositionPatient=[1, 2, 3], ImageOrientationPatient=[0, 1, 0, 0, 0, 1])
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    write_dicom(
        path,
        stored,
        SpacingBetweenSlices=-5,
        SliceVector=[2, 1, 3],
        FrameIncrementPointer=0x00540080,
        DetectorInformationSequence=[place],
        **nowhere,
    )
    image, geometry = read_voxels(path)
    np.testing.assert_array_equal(image, stored[[2, 0, 1]])
    assert geometry is not None
    np.testing.assert_array_equal(geometry.spacing, [5, 2, 0.5])
    np.testing.assert_array_equal(geometry.to_space([[2, 0, 0]])[0], [1, 2, 3])
    for wrong, word in (
        ({"FrameIncrementPointer": 0x00181063, "FrameTime": 30, "SpacingBetweenSlices": 3}, "FrameTime"),
        ({"FrameTime": 30, "SpacingBetweenSlices": 3}, "FrameTime"),
        ({"FrameIncrementPointer": [0x00540080, 0x00540070], "SpacingBetweenSlices": 3}, "TimeSlotVector"),
        ({}, "how far apart"),
        ({"SpacingBetweenSlices": 3, **nowhere}, "where they lie"),
        ({"GridFrameOffsetVector": [0, 3]}, "GridFrameOffsetVector"),
        ({"GridFrameOffsetVector": [5, 8, 11]}, "GridFrameOffsetVector"),
        ({"GridFrameOffsetVector": [0, 3, 3]}, "same place"),
        ({"SpacingBetweenSlices": 3, "SliceVector": [1, 2, 2]}, "same place"),
        ({"SpacingBetweenSlices": 3, "PixelSpacing": None}, "PixelSpacing"),
    ):
        write_dicom(path, stored, **wrong)
        refused(path, word)


@pytest.mark.parametrize("modality", ["", "MR", "CT"])
def test_volumes_of_simpleitk(tmp_path: Path, modality: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    stored = numbers(3, 4, 5)
    image = sitk.GetImageFromArray(stored)
    image.SetSpacing([0.5, 2.0, 3.0])
    image.SetOrigin([1.0, 2.0, 3.0])
    image.SetDirection([0, 0, 1, 1, 0, 0, 0, 1, 0])
    if modality:
        image.SetMetaData("0008|0060", modality)
    sitk.WriteImage(image, str(tmp_path / "a.dcm"))
    read, geometry = read_voxels(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read, stored)
    assert read.dtype == stored.dtype
    assert geometry is not None
    np.testing.assert_array_equal(geometry.spacing, [3, 2, 0.5])
    np.testing.assert_array_equal(geometry.origin, [1, 2, 3])
    np.testing.assert_array_equal(geometry.direction, [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(read_labels(tmp_path / "a.dcm")[0], stored)


def test_planes_that_say_no_size(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    for declared, spacing, word in (
        ({}, [1, 1], "1 mm is assumed"),
        ({"PixelAspectRatio": [2, 1]}, [2, 1], "1 mm is assumed"),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, [0.1, 0.2], "ImagerPixelSpacing is taken, which is that at the detector"),
    ):
        write_dicom(path, numbers(4, 5), PixelSpacing=None, **declared)
        with pytest.warns(UserWarning, match=f"a.dcm has no PixelSpacing; {word}") as caught:
            geometry = read_image(path)[1]
        assert geometry is not None
        np.testing.assert_array_equal(geometry.spacing, spacing)
        assert len(caught) == 1
        assert "\n" not in str(caught[0].message)
    write_dicom(
        path, numbers(4, 5), ImagerPixelSpacing=[0.1, 0.2], ImagePositionPatient=None, ImageOrientationPatient=None
    )
    geometry = read_image(path)[1]
    assert geometry is not None
    np.testing.assert_array_equal(geometry.spacing, [2, 0.5])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", [0, 1]),
        ("PixelSpacing", [-1, 1]),
        ("PixelSpacing", ["nan", 1]),
        ("PixelSpacing", [1]),
        ("PixelSpacing", [1, 2, 3]),
        ("PixelSpacing", ["1e-9", 1]),
        ("ImagePositionPatient", [0, 0]),
        ("ImagePositionPatient", ["inf", 0, 0]),
        ("ImagePositionPatient", ["1e300", 0, 0]),
        ("ImagePositionPatient", ""),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [2, 0, 0, 0, 1, 0]),
        ("ImageOrientationPatient", [0] * 6),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1]),
        ("ImageOrientationPatient", ["nan", 0, 0, 0, 1, 0]),
        ("ImageOrientationPatient", ""),
        ("NumberOfFrames", 0),
        ("NumberOfFrames", -1),
        ("NumberOfFrames", 2_000_000_000),
        ("Rows", 0),
        ("Rows", 65535),
        ("Columns", None),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path: Path, keyword: str, value: Any) -> None:
    write_dicom(tmp_path / "a.dcm", numbers(4, 5), **{keyword: value})
    refused(tmp_path / "a.dcm", *([keyword] if keyword not in ("Rows", "Columns", "NumberOfFrames") else []))


@pytest.mark.parametrize("wrong", [b"a bc", b"1,57", b"\xff\xff\xff\xff", b"1\\\\5", b"None"])
@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagePositionPatient", "RescaleSlope"])
def test_what_is_no_number_is_refused(tmp_path: Path, keyword: str, wrong: bytes) -> None:
    values = {"PixelSpacing": ["1.25", "2"], "ImagePositionPatient": ["1.25", "0", "0"], "RescaleSlope": "1.25"}
    path = write_dicom(
        tmp_path / "a.dcm", numbers(4, 5), **{"RescaleIntercept": "0", "RescaleSlope": "1", keyword: values[keyword]}
    )
    data = path.read_bytes()
    assert data.count(b"1.25") == 1
    path.write_bytes(data.replace(b"1.25", wrong))
    refused(path, keyword)


def test_any_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", numbers(4, 5))
    data = path.read_bytes()
    for length in range(0, len(data) - 1, 7):
        path.write_bytes(data[:length])
        refused(path)
    with pytest.raises(ModelFileError, match="does not exist"):
        read_image(tmp_path / "none.dcm")
    for content in (b"hello" * 90, bytes(128) + b"DICM" + b"\xff" * 400):
        path.write_bytes(content)
        refused(path)


def test_reading_leaves_the_locale_and_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = locale.setlocale(locale.LC_ALL)
    series(tmp_path, levels(0, 3, 6), PatientName="a^^^^^^^^b", StudyDate="no date")
    read_dicom(tmp_path)
    assert locale.setlocale(locale.LC_ALL) == before
    assert capfd.readouterr() == ("", "")
