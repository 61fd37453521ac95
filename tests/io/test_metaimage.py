"""MetaImage, against headers that are written line by line, and against SimpleITK."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelaug import ModelFileError
from modelaug.io import Geometry, read_field, read_image
from modelaug.io.formats.volumes import read_volume
from modelaug.io.images import read_labels
from tests.examples import one_line, philox, rotation
from tests.io.files import ramp, refused

Array = npt.NDArray[Any]
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def lines(says: dict[str, object]) -> bytes:
    return "".join(f"{name} = {value}\n" for name, value in says.items()).encode("latin-1")


def save(path: Path, says: dict[str, object], data: bytes, *, without: str = "") -> Path:
    """Write an image of 5 x 4 values of two bytes, unless its lines say something else, and what follows."""
    standard = {"ObjectType": "Image", "NDims": 2, "DimSize": "5 4", "ElementType": "MET_SHORT"}
    kept = {**standard, **says}
    kept["ElementDataFile"] = kept.pop("ElementDataFile", "LOCAL")  # which must come last
    kept.pop(without, None)
    path.write_bytes(lines(kept) + data)
    return path


PLANE = ramp(4, 5).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_read(tmp_path: Path, name: str, big: bool, packed: bool) -> None:
    kind = np.dtype(TYPES[name]).newbyteorder(">" if big else "<")
    ends = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    values = ramp(3, 4, 5, dtype=kind.str)
    values[0, 0, 0], values[-1, -1, -1] = ends.min, ends.max
    says = {"NDims": 3, "DimSize": "5 4 3", "BinaryDataByteOrderMSB": big, "CompressedData": packed}
    data = zlib.compress(values.tobytes()) if packed else values.tobytes()
    read, _ = read_volume(save(tmp_path / "a.mha", {**says, "ElementType": name}, data))
    np.testing.assert_array_equal(read, values)
    assert read.dtype == np.dtype(TYPES[name])


@given(seed=st.integers(0, 999), d=st.sampled_from([2, 3]), synonyms=st.booleans())
@settings(max_examples=30, deadline=None)
def test_places_are_those_of_simpleitk(
    tmp_path_factory: pytest.TempPathFactory, seed: int, d: int, synonyms: bool
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    rng, shape = philox(seed), (3, 4, 5)[3 - d :]
    axes = rotation(rng, d) * (rng.choice([-1, 1], size=d) if seed % 2 else 1)
    placed = Geometry(rng.uniform(0.5, 3, size=d), rng.normal(scale=50, size=d), axes)
    words = ("Position", "Orientation", "ElementSize") if synonyms else ("Offset", "TransformMatrix", "ElementSpacing")
    # The file's matrix has a row for each of the file's axes.
    numbers = (placed.origin, placed.direction.T.ravel(), placed.spacing[::-1])
    says = {word: " ".join(f"{each:.17g}" for each in value) for word, value in zip(words, numbers, strict=True)}
    says |= {"NDims": d, "DimSize": " ".join(map(str, shape[::-1]))}
    path = save(tmp_path_factory.mktemp("a") / "a.mha", says, ramp(*shape).tobytes())
    _, where = read_image(path)
    assert where is not None
    theirs = sitk.ReadImage(str(path))
    for index in np.ndindex(shape):
        there = where.to_space(np.array([index]))[0]
        np.testing.assert_allclose(there, placed.to_space(np.array([index]))[0], atol=1e-9)
        np.testing.assert_allclose(there, theirs.TransformIndexToPhysicalPoint(index[::-1]), atol=1e-6)


def test_units_and_rescaling_are_honoured(tmp_path: Path) -> None:
    says = {"ElementSpacing": "2 3", "Offset": "5 7", "DistanceUnits": "cm"}
    where = read_volume(save(tmp_path / "a.mha", says, PLANE))[1]
    np.testing.assert_allclose(where.spacing, [30, 20])
    np.testing.assert_allclose(where.origin, [50, 70])
    where = read_volume(save(tmp_path / "a.mha", {**says, "DistanceUnits": "um"}, PLANE))[1]
    np.testing.assert_allclose(where.spacing, [3e-3, 2e-3])
    refused(save(tmp_path / "a.mha", {**says, "DistanceUnits": "inch"}, PLANE), "lengths in 'inch'")
    said = {"ElementToIntensityFunctionSlope": 0.5, "ElementToIntensityFunctionOffset": -1024}
    read = read_volume(save(tmp_path / "a.mha", said, PLANE))[0]
    np.testing.assert_array_equal(read, ramp(4, 5) * 0.5 - 1024)
    assert read.dtype == np.float64


def test_channels_come_first(tmp_path: Path) -> None:
    values = ramp(4, 5, 3)
    path = save(tmp_path / "a.mha", {"ElementNumberOfChannels": 3}, values.tobytes())
    np.testing.assert_array_equal(read_image(path)[0], np.moveaxis(values, -1, 0))
    with pytest.raises(ModelFileError, match="3 values per voxel"):
        read_labels(path)


def test_numbers_as_text(tmp_path: Path) -> None:
    text = b"\n".join(b" ".join(b"%d" % value for value in row) for row in ramp(4, 5))
    path = save(tmp_path / "a.mha", {"BinaryData": "False"}, text)
    np.testing.assert_array_equal(read_volume(path)[0], ramp(4, 5))
    refused(save(tmp_path / "a.mha", {"BinaryData": "False"}, text[:-3]), "19 of 20 numbers")
    refused(save(tmp_path / "a.mha", {"BinaryData": "False"}, text.replace(b"17", b"99999")), "beyond its type")
    refused(save(tmp_path / "a.mha", {"BinaryData": "False"}, text.replace(b"17", b"x")), "cannot be read")


@pytest.mark.parametrize("ending", ["raw", "zraw"])
def test_a_header_may_name_a_file_beside_it(tmp_path: Path, ending: str) -> None:
    packed = ending == "zraw"
    (tmp_path / f"a b.{ending}").write_bytes(zlib.compress(PLANE) if packed else PLANE)
    path = save(tmp_path / "a.mhd", {"CompressedData": packed, "ElementDataFile": f"a b.{ending}"}, b"")
    np.testing.assert_array_equal(read_image(path)[0], ramp(4, 5))
    path.write_bytes(path.read_bytes().rstrip())  # no line's end
    np.testing.assert_array_equal(read_image(path)[0], ramp(4, 5))
    (tmp_path / f"a b.{ending}").write_bytes(PLANE[:-1])
    refused(path, "cannot be read" if packed else r"a b\.raw, which a\.mhd names, holds 39 of 40 bytes")
    (tmp_path / f"a b.{ending}").unlink()
    refused(path, "lacks its voxels")


def test_bytes_before_the_voxels_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"head" + PLANE)
    for skip in (4, -1):
        path = save(tmp_path / "a.mhd", {"HeaderSize": skip, "ElementDataFile": "a.raw"}, b"")
        np.testing.assert_array_equal(read_image(path)[0], ramp(4, 5))
    refused(save(tmp_path / "a.mhd", {"HeaderSize": -2, "ElementDataFile": "a.raw"}, b""), "HeaderSize")
    refused(save(tmp_path / "a.mhd", {"HeaderSize": 10**9, "ElementDataFile": "a.raw"}, b""), "again")
    refused(save(tmp_path / "a.mha", {"HeaderSize": 4}, PLANE), "HeaderSize")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../a.raw",
        "sub/a.raw",
        "..",
        ".",
        "",
        "LIST",
        "LIST 2D",
        "a%02d.raw 1 3 1",
        "a*.raw",
        "http://example.org/a.raw",
        "C:\\a.raw",
        "| cat",
        "link.raw",
        "pipe",
        "folder",
        "none.raw",
        "a.mhd",
    ],
)
@pytest.mark.parametrize("ending", [".mha", ".mhd"])
def test_other_files_are_never_read(tmp_path: Path, ending: str, name: str) -> None:
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (inside / "folder").mkdir()
    for place in (tmp_path, inside / "sub"):
        (place / "a.raw").write_bytes(PLANE)
    (inside / "link.raw").symlink_to("../a.raw")
    os.mkfifo(inside / "pipe")
    refused(save(inside / f"a{ending}", {"ElementDataFile": name}, b""), "takes its voxels from|lacks its voxels")


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(PLANE)
    (tmp_path / "link.raw").symlink_to("a.raw")
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "a.mhd", {"ElementDataFile": "link.raw"}, b""))[0], ramp(4, 5)
    )


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"ObjectType": "Tube"}, "type 'Tube'"),
        ({"NDims": 99}, "99 axes"),
        ({"NDims": -1}, "-1 axes"),
        ({"NDims": 4, "DimSize": "5 2 1 2"}, "not a volume but, say, several frames"),
        ({"NDims": 1, "DimSize": "20"}, "1 axis"),
        ({"NDims": "two"}, "not whole numbers"),
        ({"NDims": "1_0"}, "not whole numbers"),
        ({"DimSize": "5"}, "1 numbers in DimSize, not 2"),
        ({"DimSize": "5 -4"}, "-4 x 5 voxels"),
        ({"DimSize": "5 0"}, "0 x 5 voxels"),
        ({"DimSize": "5 4.5"}, "not whole numbers"),
        ({"DimSize": "99999999999 99999999999"}, "holds 40 of"),
        ({"DimSize": f"5 {'9' * 5000}"}, "not whole numbers"),
        ({"ElementType": "MET_STRING"}, "type 'MET_STRING'"),
        ({"ElementType": "MET_UCHAR_ARRAY"}, "MET_UCHAR_ARRAY"),
        ({"ElementNumberOfChannels": 0}, "0 channels"),
        ({"ElementNumberOfChannels": 99999}, "99999 channels"),
        ({"ElementSpacing": "1e308 1e308"}, "voxels are"),
        ({"ElementSpacing": "1 0"}, "voxels are 1 x 0 mm"),
        ({"ElementSpacing": "1 -1"}, "voxels are"),
        ({"ElementSpacing": "1 nan"}, "not finite"),
        ({"ElementSpacing": "1 1e999"}, "not finite"),
        ({"Offset": "1 1e300"}, "begins at"),
        ({"Offset": "1 2", "Position": "1 3"}, "two different things"),
        ({"TransformMatrix": "1 0.1 0 1"}, "no rotation"),
        ({"TransformMatrix": "0 0 0 0"}, "no rotation"),
        ({"TransformMatrix": "1 0 0"}, "3 numbers"),
        ({"AnatomicalOrientation": "LA"}, "no TransformMatrix"),
        ({"CompressedData": "maybe"}, "neither True nor False"),
        ({"CompressedData": "True"}, "cannot be read"),
        ({"ElementToIntensityFunctionSlope": "nan"}, "not finite"),
        ({"a line\n NDims": "3"}, "says nothing"),
        ({"x\nNDims ": 3}, "says nothing"),
        ({"Comment = a\nComment": "b"}, "'Comment' twice"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_headers_that_cannot_be_honoured_are_refused(tmp_path: Path, says: dict[str, object], words: str) -> None:
    refused(save(tmp_path / "a.mha", says, PLANE), words)


@pytest.mark.parametrize("name", ["NDims", "DimSize", "ElementType", "ElementDataFile"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    refused(save(tmp_path / "a.mha", {}, PLANE if name != "ElementDataFile" else b"", without=name), f"no '{name}'")


def test_lengths_are_compared_with_what_is_promised(tmp_path: Path) -> None:
    refused(save(tmp_path / "a.mha", {}, PLANE[:-1]), "holds 39 of 40 bytes")
    refused(save(tmp_path / "a.mha", {}, PLANE + bytes(5000)), "more than the 40 bytes")
    packed = zlib.compress(PLANE + bytes(2**24))
    refused(save(tmp_path / "a.mha", {"CompressedData": "True"}, packed), "more than the 40 bytes")
    refused(save(tmp_path / "a.mha", {"CompressedData": "True"}, zlib.compress(PLANE)[:-5]), "too early")
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.mha", {}, PLANE + b"\n"))[0], ramp(4, 5))


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 3000, b"NDims" * 500_000, b"a = b\n" * 300_000, b"\xff\xfe = \x80\n" * 9]
)
def test_what_is_no_metaimage_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.mha").write_bytes(data)
    refused(tmp_path / "a.mha", "ElementDataFile|says nothing|twice")


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ({"TransformDirection": "ToParent"}, "TransformDirection"),
        ({"DisplacementDirection": "modelling"}, "modelling"),
        ({"Comment": "velocity field of a diffeomorphic registration"}, "velocity"),
        ({"VectorType": "absolute positions"}, "absolute"),
        ({"DisplacementUnits": "voxels"}, "voxels"),
        ({"DistanceUnits": "cm"}, "another unit"),
    ],
)
def test_vectors_that_say_they_are_something_else_are_refused(
    tmp_path: Path, note: dict[str, object], words: str
) -> None:
    vectors = np.ones((4, 5, 2), "<f4")
    says = {"ElementNumberOfChannels": 2, "ElementType": "MET_FLOAT"}
    with pytest.raises(ModelFileError, match=rf"a\.mha .*{words}") as caught:
        read_field(save(tmp_path / "a.mha", {**says, **note}, vectors.tobytes()))
    one_line(caught.value)
    assert read_image(tmp_path / "a.mha")[0].shape == (2, 4, 5)
    other = {"TransformDirection": "FromParent", "Comment": "made by elastix", "Modality": "MET_MOD_OTHER"}
    assert (read_field(save(tmp_path / "b.mha", {**says, **other}, vectors.tobytes()))[0] == 1).all()
