"""NRRD, against headers that are written line by line, and against SimpleITK."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelaug import ModelFileError
from modelaug.io import Geometry, displacement_to_itk, read_field, read_image
from modelaug.io.formats.volumes import read_volume
from modelaug.io.images import read_labels
from tests.examples import one_line, philox, rotation
from tests.io.files import ramp, refused

Array = npt.NDArray[Any]
TYPES = {
    "signed char": "i1",
    "uint8": "u1",
    "short": "i2",
    "unsigned short int": "u2",
    "int": "i4",
    "uint32_t": "u4",
    "long long": "i8",
    "ulonglong": "u8",
    "float": "f4",
    "double": "f8",
}


def save(path: Path, says: dict[str, object], data: bytes, *, magic: bytes = b"NRRD0005\n") -> Path:
    """Write an image of 5 x 4 values of two bytes, unless its fields say something else (None: not at all)."""
    standard = {"type": "int16", "dimension": 2, "sizes": "5 4", "endian": "little", "encoding": "raw"}
    kept = {name: value for name, value in {**standard, **says}.items() if value is not None}
    written = "".join(f"{name}{'' if name.endswith('=') else ':'} {value}\n" for name, value in kept.items())
    path.write_bytes(magic + b"# a comment\n" + written.encode("latin-1") + b"\n" + data)
    return path


def vector(numbers: Array) -> str:
    return f"({','.join(f'{each:.17g}' for each in numbers)})"


def placing(placed: Geometry, space: str | None, signs: Array) -> dict[str, object]:
    """Return the fields that say where an image lies, in a space whose axes are those of LPS but for signs."""
    said: dict[str, object] = {"space": space} if space else {"space dimension": len(placed.spacing)}
    said["space directions"] = " ".join(vector(signs * column) for column in placed.matrix.T)
    return {**said, "space origin": vector(signs * placed.origin)}


PLANE = ramp(4, 5).tobytes()


@pytest.mark.parametrize("encoding", ["raw", "gzip", "GZ"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_read(tmp_path: Path, name: str, big: bool, encoding: str) -> None:
    kind = np.dtype(TYPES[name]).newbyteorder(">" if big else "<")
    ends = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    values = ramp(3, 4, 5, dtype=kind.str)
    values[0, 0, 0], values[-1, -1, -1] = ends.min, ends.max
    says = {"type": name, "dimension": 3, "sizes": "5 4 3", "endian": "big" if big else "little", "encoding": encoding}
    data = values.tobytes() if encoding == "raw" else gzip.compress(values.tobytes())
    read, _ = read_volume(save(tmp_path / "a.nrrd", says, data))
    np.testing.assert_array_equal(read, values)
    assert read.dtype == np.dtype(TYPES[name])


SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "LPS": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "LAS": (1, -1, 1),
    "scanner-xyz": (1, 1, 1),
}


@given(seed=st.integers(0, 999), space=st.sampled_from([None, *SPACES]), d=st.sampled_from([2, 3]))
@settings(max_examples=50, deadline=None)
def test_places_in_any_space(tmp_path_factory: pytest.TempPathFactory, seed: int, space: str | None, d: int) -> None:
    space, rng = space if d == 3 else None, philox(seed)
    shape = (3, 4, 5)[3 - d :]
    axes = rotation(rng, d) * (rng.choice([-1, 1], size=d) if seed % 2 else 1)
    placed = Geometry(rng.uniform(0.5, 3, size=d), rng.normal(scale=50, size=d), axes)
    signs = np.array(SPACES.get(space or "LPS", (1, 1, 1))[:d], dtype=np.float64)
    says = {"dimension": d, "sizes": " ".join(map(str, shape[::-1])), **placing(placed, space, signs)}
    path = save(tmp_path_factory.mktemp("a") / "a.nrrd", says, ramp(*shape).tobytes())
    read, where = read_image(path)
    np.testing.assert_array_equal(read, ramp(*shape))
    assert where is not None
    index = rng.uniform(0, 4, size=(6, d))
    np.testing.assert_allclose(where.to_space(index), placed.to_space(index), atol=1e-9)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["vector", "RGB-color", "list", "3-vector", "point"])
def test_an_axis_of_values_may_be_anywhere(tmp_path: Path, place: int, kind: str) -> None:
    values = ramp(2, 4, 5, 3)  # which come last, and so first in the file
    sizes, kinds, directions = [5, 4, 2], ["domain"] * 3, ["(1,0,0)", "(0,2,0)", "(0,0,3)"]
    sizes.insert(place, 3)
    kinds.insert(place, kind)
    directions.insert(place, "none")
    says = {
        "dimension": 4,
        "sizes": " ".join(map(str, sizes)),
        "kinds": " ".join(kinds),
        "space": "LPS",
        "space directions": " ".join(directions),
    }
    stored = np.moveaxis(values, -1, 3 - place)
    path = save(tmp_path / "a.nrrd", says, np.ascontiguousarray(stored).tobytes())
    for without in ((), ("kinds",)):
        read, where = read_image(save(path, says | dict.fromkeys(without), np.ascontiguousarray(stored).tobytes()))
        np.testing.assert_array_equal(read, np.moveaxis(values, -1, 0))
        assert where is not None
        np.testing.assert_array_equal(where.spacing, [3, 2, 1])
        if not without:
            sitk = pytest.importorskip("SimpleITK")
            theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            np.testing.assert_array_equal(np.moveaxis(read, 0, -1), theirs)
    with pytest.raises(ModelFileError, match="3 values per voxel"):
        read_labels(path)


def test_units_are_honoured(tmp_path: Path) -> None:
    says = {"spacings": "2 3"}
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.nrrd", says, PLANE))[1].spacing, [3, 2])
    says = {"spacings": "2 3", "units": '"um" "cm"'}
    np.testing.assert_allclose(read_volume(save(tmp_path / "a.nrrd", says, PLANE))[1].spacing, [30, 2e-3])
    placed = Geometry([3.0, 2.0], [5, 7])
    says = {**placing(placed, None, np.ones(2)), "space units": '"cm" "cm"'}
    where = read_volume(save(tmp_path / "a.nrrd", says, PLANE))[1]
    np.testing.assert_allclose(where.spacing, [30, 20])
    np.testing.assert_allclose(where.origin, [50, 70])
    for units, words in (('"cm" "mm"', "different units"), ('"feet" "feet"', "lengths in")):
        refused(save(tmp_path / "a.nrrd", {**says, "space units": units}, PLANE), words)


def test_numbers_as_text(tmp_path: Path) -> None:
    text = b"\n".join(b" ".join(b"%d" % value for value in row) for row in ramp(4, 5))
    for encoding in ("ascii", "text", "txt"):
        path = save(tmp_path / "a.nrrd", {"encoding": encoding, "endian": None}, text)
        np.testing.assert_array_equal(read_volume(path)[0], ramp(4, 5))


def test_a_header_may_name_a_file_beside_it(tmp_path: Path) -> None:
    for encoding, name in (("raw", "a b.raw"), ("gzip", "a.raw.gz")):
        (tmp_path / name).write_bytes(gzip.compress(PLANE) if encoding == "gzip" else PLANE)
        for field in ("data file", "datafile"):
            path = save(tmp_path / "a.nhdr", {"encoding": encoding, field: name}, b"")
            np.testing.assert_array_equal(read_image(path)[0], ramp(4, 5))
            path.write_bytes(path.read_bytes().rstrip())  # no empty line
            np.testing.assert_array_equal(read_image(path)[0], ramp(4, 5))


def test_bytes_and_lines_before_the_voxels_are_skipped(tmp_path: Path) -> None:
    for says, data in (
        ({"byte skip": 3}, b"abc" + PLANE),
        ({"line skip": 2}, b"one\ntwo\n" + PLANE),
        ({"lineskip": 1, "byteskip": 2}, b"one\nab" + PLANE),
        ({"byte skip": -1}, b"anything" + PLANE),
        ({"byte skip": 3, "encoding": "gzip"}, gzip.compress(b"abc" + PLANE)),
        ({"line skip": 1, "encoding": "gzip"}, b"one\n" + gzip.compress(PLANE)),
    ):
        np.testing.assert_array_equal(read_image(save(tmp_path / "a.nrrd", says, data))[0], ramp(4, 5))
        (tmp_path / "a.raw").write_bytes(data)
        path = save(tmp_path / "a.nhdr", {**says, "data file": "a.raw"}, b"")
        np.testing.assert_array_equal(read_image(path)[0], ramp(4, 5))


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a.raw", "sub/a.raw", "", "LIST", "LIST 2", "a%02d.raw 1 3 1", "http://x/a", "link.raw", "pipe"],
)
@pytest.mark.parametrize("ending", [".nrrd", ".nhdr"])
def test_other_files_are_never_read(tmp_path: Path, ending: str, name: str) -> None:
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    for place in (tmp_path, inside / "sub"):
        (place / "a.raw").write_bytes(PLANE)
    (inside / "link.raw").symlink_to("../a.raw")
    os.mkfifo(inside / "pipe")
    refused(save(inside / f"a{ending}", {"data file": name}, b""), "takes its voxels from|lacks its voxels")


IN_SPACE: dict[str, object] = {"space dimension": 2, "space directions": "(1,0) (0,1)"}


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"dimension": 17, "sizes": "1 " * 17}, "17 axes"),
        ({"dimension": 3}, "2 numbers in sizes, not 3"),
        ({"dimension": 1, "sizes": "20"}, "1 axis"),
        ({"dimension": 4, "sizes": "5 2 2 1"}, "not a volume but, say, several frames"),
        ({"sizes": "5 -4"}, "-4 voxels"),
        ({"sizes": "5 0"}, "0 voxels"),
        ({"sizes": "5 4e0"}, "not whole numbers"),
        ({"sizes": "999999999999 999999999"}, "holds 40 of"),
        ({"type": "block", "block size": 2}, "type 'block'"),
        ({"type": "half"}, "type 'half'"),
        ({"encoding": "hex"}, "encoded as 'hex'"),
        ({"encoding": "bzip2"}, "encoded as 'bzip2'"),
        ({"encoding": "gzip"}, "cannot be read"),
        ({"endian": "middle"}, "endian 'middle'"),
        ({"endian": None}, "in which order its bytes are"),
        ({"kinds": "domain"}, "1 kinds for 2 axes"),
        ({"kinds": "complex domain"}, "'complex'"),
        ({"dimension": 3, "sizes": "2 5 2", "kinds": "vector list domain"}, "2 axes that are none of space"),
        ({"spacings": "1"}, "one spacing"),
        ({"spacings": "1 nan"}, "not finite"),
        ({"spacings": "1 -1"}, "not all above 0"),
        ({"spacings": "1 1e300"}, "voxels are"),
        ({"axis mins": "0 0"}, "by their ends"),
        ({**IN_SPACE, "spacings": "1 1"}, "both spacings and space directions"),
        ({**IN_SPACE, "space directions": "(1,0)"}, "1 space directions for 2 axes"),
        ({**IN_SPACE, "space directions": "(1,0) (0,1"}, "not a vector"),
        ({**IN_SPACE, "space directions": "(1,0) (0,nan)"}, "not finite"),
        ({**IN_SPACE, "space directions": "(1,0) (0,1,2)"}, "3 numbers"),
        ({**IN_SPACE, "space directions": "(1,0) (0.1,1)"}, "not perpendicular"),
        ({**IN_SPACE, "space directions": "(1,0) (0,0)"}, "1 x 0 mm"),
        ({**IN_SPACE, "space dimension": None}, "space dimension"),
        ({"space": "LPS", "space directions": "(1,0,0) (0,1,0)"}, "in a space of 3 dimensions"),
        ({"space": "right-anterior-superior-time", "space directions": "(1,0) (0,1)"}, "lies in the space"),
        ({**IN_SPACE, "space origin": "1,2"}, "not a vector"),
        ({**IN_SPACE, "space origin": "(1e300,0)"}, "begins at"),
        ({"byte skip": -2}, "byte skip -2"),
        ({"byte skip": 10**12}, "holds 40 of"),
        ({"line skip": 10**9}, "line skip"),
        ({"line skip": 3}, "short lines to skip"),
        ({"Type": "short"}, "'type' twice"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_headers_that_cannot_be_honoured_are_refused(tmp_path: Path, says: dict[str, object], words: str) -> None:
    refused(save(tmp_path / "a.nrrd", says, PLANE), words)


@pytest.mark.parametrize("name", ["type", "dimension", "sizes", "encoding"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    refused(save(tmp_path / "a.nrrd", {name: None}, PLANE), f"no '{name}'")


def test_lengths_are_compared_with_what_is_promised(tmp_path: Path) -> None:
    refused(save(tmp_path / "a.nrrd", {}, PLANE[:-1]), "holds 39 of 40 bytes")
    refused(save(tmp_path / "a.nrrd", {}, PLANE + bytes(5000)), "more than the 40 bytes")
    packed = gzip.compress(PLANE + bytes(2**24))
    refused(save(tmp_path / "a.nrrd", {"encoding": "gzip"}, packed), "more than the 40 bytes")
    refused(save(tmp_path / "a.nrrd", {"encoding": "gzip"}, gzip.compress(PLANE)[:-9]), "cannot be read")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"NRRD0009\n\n",
        b"NRRD0004\n" + b"a: b" * 500_000,
        b"NRRD0004\nwhat\n\n",
        b"NRRD0004\n\0\0\n\n",
        b"\xff" * 50,
    ],
)
def test_what_is_no_nrrd_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.nrrd").write_bytes(data)
    refused(tmp_path / "a.nrrd", "begin as NRRD|no end of its header|says nothing")


def test_segmentations_of_slicer_are_label_maps(tmp_path: Path) -> None:
    says = {"Segment0_ID:=": "Segment_1", "Segment0_LabelValue:=": 1, "Segmentation_MasterRepresentation:=": "x: y"}
    path = save(tmp_path / "a.seg.nrrd", says, PLANE)
    np.testing.assert_array_equal(read_labels(path)[0], ramp(4, 5))
    with pytest.raises(ModelFileError, match="says that it is a label map"):
        read_image(path)


def field_file(path: Path, says: dict[str, object], u: Array, placed: Geometry) -> Path:
    vectors = displacement_to_itk(u, placed).astype("<f4")
    d = len(u)
    standard: dict[str, object] = {
        "type": "float",
        "dimension": d + 1,
        "sizes": " ".join(map(str, (d, *u.shape[:0:-1]))),
        "kinds": " ".join(["vector"] + ["domain"] * d),
        **placing(placed, "left-posterior-superior" if d == 3 else None, np.ones(d)),
    }
    standard["space directions"] = f"none {standard['space directions']}"
    return save(path, {**standard, **says}, vectors.tobytes())


@pytest.mark.parametrize("d", [2, 3])
def test_fields_are_read_or_refused_by_what_they_say(tmp_path: Path, d: int) -> None:
    rng = philox(d)
    u = rng.normal(size=(d, 3, 4, 5)[: d + 1]).astype(np.float32)
    placed = Geometry(rng.uniform(0.5, 3, size=d), rng.normal(scale=50, size=d), rotation(rng, d))
    frame = " ".join(vector(row) for row in np.eye(d))
    domain = " domain" * d
    for says in (
        {},
        {"kinds": "list" + domain},
        {"kinds": f"{d}-vector{domain}"},
        {"measurement frame": frame},
        {"TransformDirection:=": "resampling", "content": "displacement field"},
        {"sample units": "mm"},
    ):
        read, where = read_field(field_file(tmp_path / "u.nrrd", says, u, placed))
        np.testing.assert_allclose(read, u, atol=1e-5)
        assert where is not None
    for says, words in (
        ({"kinds": "covariant-vector" + domain}, "covariant-vector"),
        ({"kinds": "point" + domain}, "'point'"),
        ({"kinds": "RGB-color" + domain}, "rgb-color"),
        ({"measurement frame": " ".join(vector(row) for row in -np.eye(d))}, "frame of their own"),
        ({"TransformDirection:=": "to-parent"}, "TransformDirection"),
        ({"direction:=": "modeling"}, "modeling"),
        ({"content": "stationary velocity field"}, "velocity"),
        ({"content": "b-spline coefficients"}, "b-spline"),
        ({"what:=": "absolute coordinates"}, "absolute"),
        ({"sample units": "voxels"}, "sample units"),
        ({"space units": " ".join(['"cm"'] * d)}, "another unit"),
        *([({"space": "right-anterior-superior"}, "vectors in right-anterior-superior")] if d == 3 else []),
    ):
        with pytest.raises(ModelFileError, match=rf"u\.nrrd .*{words}") as caught:
            read_field(field_file(tmp_path / "u.nrrd", says, u, placed))
        one_line(caught.value)
