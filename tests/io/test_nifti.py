"""NIfTI, against nibabel and headers that are written byte by byte."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("nibabel")

import nibabel

from modelaug import ModelFileError
from modelaug.io import Geometry, read_image, write_image
from modelaug.io.formats.volumes import read_volume
from modelaug.io.images import read_labels
from tests.examples import one_line, philox, rotation
from tests.io.files import refused

Array = npt.NDArray[Any]
TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def header(shape: tuple[int, ...], dtype: str = "i2", *, big: bool = False, version: int = 1, **entries: Any) -> Any:
    """Return a header without an orientation, with some of its entries as given."""
    made = (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header)(endianness=">" if big else "<")
    made.set_data_dtype(np.dtype(dtype))
    made["dim"][:] = 1
    made["dim"][0] = len(shape)
    made["dim"][1 : 1 + len(shape)] = shape
    made["pixdim"][:] = 1
    made["magic"] = b"n+1" if version == 1 else b"n+2\0\r\n\x1a\n"
    made["vox_offset"] = 352 if version == 1 else 544
    made["scl_slope"], made["scl_inter"] = 1, 0
    for name, value in entries.items():
        made[name] = value
    return made


def save(path: Path, head: Any, data: bytes | Array) -> Path:
    """Write a header and, after four bytes, what follows it: bytes, or values with the first axis first."""
    kind = np.dtype("u1") if isinstance(data, bytes) else head.get_data_dtype()
    body = data if isinstance(data, bytes) else data.astype(kind).tobytes(order="F")
    content = head.binaryblock + bytes(4) + body
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def affine(geometry: Geometry) -> Array:
    """Return the matrix from a voxel (x, y, z) to its place in RAS, as NIfTI has it."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = geometry.matrix, geometry.origin
    return RAS @ matrix


def ramp(*shape: int) -> Array:
    return np.arange(np.prod(shape)).reshape(shape) % 100


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_is_read_as_nibabel_does(tmp_path: Path, dtype: str, big: bool, version: int, ending: str) -> None:
    kind = np.dtype(dtype)
    ends = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    values = ramp(3, 4, 5).astype(kind)
    values[0, 0, 0], values[-1, -1, -1] = ends.min, ends.max
    path = save(tmp_path / f"a{ending}", header((3, 4, 5), dtype, big=big, version=version, sform_code=0), values)
    read, _ = read_volume(path)
    assert read.dtype == kind
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, values.T)
    np.testing.assert_array_equal(read, np.asarray(nibabel.load(path).dataobj).T)


@given(seed=st.integers(0, 999), forms=st.sampled_from(["q", "s", "qs"]), unit=st.sampled_from([0, 1, 2, 3]))
@settings(max_examples=40, deadline=None)
def test_places_are_those_of_nibabel(
    tmp_path_factory: pytest.TempPathFactory, seed: int, forms: str, unit: int
) -> None:
    rng = philox(seed)
    axes = rotation(rng, 3) * (rng.choice([-1, 1], size=3) if seed % 2 else 1)
    placed = Geometry(rng.uniform(0.5, 3, size=3), rng.normal(scale=50, size=3), axes)
    head = header((4, 5, 6), xyzt_units=unit)
    if "q" in forms:
        head.set_qform(affine(placed), 1)
    if "s" in forms:
        head.set_sform(affine(placed), 2)
        head["pixdim"][1:4] = placed.spacing[::-1] if seed % 3 else 1
    path = save(tmp_path_factory.mktemp("a") / "a.nii", head, ramp(4, 5, 6))
    _, where = read_image(path)
    assert where is not None
    scale = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}[unit]
    theirs = RAS @ nibabel.load(path).affine * scale
    index = rng.uniform(0, 5, size=(7, 3))
    np.testing.assert_allclose(
        where.to_space(index[:, ::-1]), index @ theirs[:3, :3].T + theirs[:3, 3], rtol=1e-4, atol=2e-3 * scale
    )


def test_without_an_orientation_axes_are_those_of_space(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", header((3, 4, 5), pixdim=[1, 2, 3, 4, 0, 0, 0, 0], qoffset_x=7), ramp(3, 4, 5))
    where = read_volume(path)[1]
    np.testing.assert_array_equal(where.spacing, [4, 3, 2])
    np.testing.assert_array_equal(where.origin, [0, 0, 0])
    np.testing.assert_array_equal(where.direction, np.eye(3))


def test_a_slightly_other_size_in_pixdim_is_read(tmp_path: Path) -> None:
    head = header((64, 64, 8))
    head.set_sform(np.diag([1.5624, 1.5626, 10.0, 1]), 1)
    head["pixdim"][1:4] = 1.5625, 1.5625, 10
    where = read_volume(save(tmp_path / "a.nii", head, ramp(64, 64, 8)))[1]
    np.testing.assert_allclose(where.spacing, [10, 1.5625, 1.5625], rtol=1e-6)
    head.set_qform(np.diag([1.5625, 1.5625, 10, 1]), 1)
    np.testing.assert_allclose(read_volume(save(tmp_path / "b.nii", head, ramp(64, 64, 8)))[1].spacing, where.spacing)


def test_the_size_of_an_sform_counts_where_pixdim_is_not_set(tmp_path: Path) -> None:
    head = header((3, 4, 5))
    head.set_sform(np.diag([1.5, 2, 3, 1]), 1)
    np.testing.assert_allclose(read_volume(save(tmp_path / "a.nii", head, ramp(3, 4, 5)))[1].spacing, [3, 2, 1.5])
    head["pixdim"][1:4] = 0
    np.testing.assert_allclose(read_volume(save(tmp_path / "b.nii", head, ramp(3, 4, 5)))[1].spacing, [3, 2, 1.5])


def test_two_places_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    here = np.diag([1.5, 2, 3, 1.0])
    moved, mirrored, sheared, near = here.copy(), here.copy(), here.copy(), here.copy()
    moved[0, 3], near[0, 3] = 30, 0.3
    mirrored[0, 0] = -1.5
    sheared[0, 1] = 0.6
    for k, (form, codes, words) in enumerate(
        [
            (moved, (1, 1), "qform and sform are up to 20 voxels apart"),
            (mirrored, (1, 1), "mirrored"),
            (mirrored, (1, 4), "mirrored"),
            (sheared, (1, 2), "not perpendicular"),
        ]
    ):
        head = header((4, 5, 6))
        head.set_qform(here, codes[0])
        head.set_sform(form, codes[1])
        refused(save(tmp_path / f"{k}.nii", head, ramp(4, 5, 6)), words)
    # A place in another space, and one that differs by less than what matters, are the sform's.
    for form, code, start in ((moved, 4, -30), (near, 1, -0.3)):
        head = header((4, 5, 6))
        head.set_qform(here, 1)
        head.set_sform(form, code)
        where = read_volume(save(tmp_path / "a.nii", head, ramp(4, 5, 6)))[1]
        np.testing.assert_allclose(where.origin, [start, 0, 0], atol=1e-6)
    # A shear of less than that is the qform's.
    sheared[0, 1] = 0.1
    head = header((4, 5, 6))
    head.set_qform(here, 1)
    head.set_sform(sheared, 1)
    np.testing.assert_allclose(read_volume(save(tmp_path / "a.nii", head, ramp(4, 5, 6)))[1].spacing, [3, 2, 1.5])


@given(slope=st.floats(-1e3, 1e3, width=32), intercept=st.floats(-1e6, 1e6, width=32))
@settings(max_examples=30, deadline=None)
def test_rescaled_values_are_those_of_nibabel(
    tmp_path_factory: pytest.TempPathFactory, slope: float, intercept: float
) -> None:
    head = header((3, 4), "i4", scl_slope=slope, scl_inter=intercept)
    path = save(tmp_path_factory.mktemp("a") / "a.nii", head, philox(1).integers(-(2**31), 2**31, size=(3, 4)))
    read = read_volume(path)[0]
    np.testing.assert_array_equal(read, nibabel.load(path).get_fdata(dtype=np.float64).T)
    assert read.dtype == (np.int32 if slope == 0 or (slope, intercept) == (1, 0) else np.float64)


def test_offsets_beyond_single_precision_are_exact(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", header((4, 2), "i4", scl_slope=1, scl_inter=2**24), ramp(4, 2))
    np.testing.assert_array_equal(read_labels(path)[0], 2**24 + ramp(4, 2).T)
    path = save(tmp_path / "b.nii", header((4, 2), "i2", scl_slope=0.5, scl_inter=0), 2 * ramp(4, 2))
    np.testing.assert_array_equal(read_labels(path)[0], ramp(4, 2).T)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_voxels_that_are_not_finite_are_refused(tmp_path: Path, value: float, dtype: str, ending: str) -> None:
    values = ramp(3, 4, 5).astype(dtype)
    values[1, 2, 3] = value
    path = save(tmp_path / f"a{ending}", header((3, 4, 5), dtype), values)
    refused(path, "nan|inf|no integers")
    assert not np.isfinite(read_volume(path)[0][3, 2, 1])


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"dim": [0, 3, 4, 5, 1, 1, 1, 1]}, "0 axes"),
        ({"dim": [8, 3, 4, 5, 1, 1, 1, 1]}, "8 axes"),
        ({"dim": [-3, 3, 4, 5, 1, 1, 1, 1]}, "-3 axes"),
        ({"dim": [3, 3, -4, 5, 1, 1, 1, 1]}, "3 x -4 x 5 voxels"),
        ({"dim": [3, 3, 0, 5, 1, 1, 1, 1]}, "3 x 0 x 5 voxels"),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "bytes; copy it again"),
        ({"dim": [7, 32767, 32767, 32767, 32767, 32767, 32767, 32767]}, "7 axes"),
        ({"dim": [4, 3, 4, 5, 2, 1, 1, 1]}, "not a volume but, say, several frames"),
        ({"dim": [1, 60, 1, 1, 1, 1, 1, 1]}, "1 axis"),
        ({"datatype": 0, "bitpix": 0}, "type '0'"),
        ({"datatype": 1, "bitpix": 1}, "type '1'"),
        ({"datatype": 32, "bitpix": 64}, "type '32'"),
        ({"datatype": 1536, "bitpix": 128}, "type '1536'"),
        ({"datatype": 1792, "bitpix": 128}, "type '1792'"),
        ({"datatype": 9999}, "type '9999'"),
        ({"bitpix": 32}, "32 bits per voxel"),
        ({"vox_offset": np.nan}, "vox_offset"),
        ({"vox_offset": np.inf}, "vox_offset"),
        ({"vox_offset": -352}, "vox_offset"),
        ({"vox_offset": 0}, "vox_offset"),
        ({"vox_offset": 352.5}, "vox_offset"),
        ({"vox_offset": 1e30}, "copy it again"),
        ({"vox_offset": 400}, "holds"),
        ({"scl_slope": np.nan}, "scaled by nan"),
        ({"scl_inter": np.nan}, "scaled by 1.0 and nan"),
        ({"scl_slope": np.inf}, "scaled by inf"),
        ({"pixdim": [1, np.nan, 1, 1, 1, 1, 1, 1]}, "pixdim"),
        ({"pixdim": [1, 1, -1, 1, 1, 1, 1, 1]}, "pixdim"),
        ({"pixdim": [1, 1, 0, 1, 1, 1, 1, 1]}, "1 x 0 x 1 mm"),
        ({"pixdim": [1, 1, 1e30, 1, 1, 1, 1, 1]}, "mm; correct its header"),
        ({"pixdim": [1, 1, 1e-30, 1, 1, 1, 1, 1]}, "mm; correct its header"),
        ({"pixdim": [1, 1, 1, 1, 1, 1, 1, 1], "xyzt_units": 5}, "unknown unit"),
        ({"qform_code": 1, "quatern_b": np.nan}, "no rotation"),
        ({"qform_code": 1, "quatern_b": 0.9, "quatern_c": 0.9}, "no rotation"),
        ({"qform_code": 1, "qoffset_x": np.inf}, "no rotation"),
        ({"qform_code": 1, "qoffset_x": 1e30}, "begins at"),
        ({"sform_code": 1}, "no or endless length"),
        ({"sform_code": 1, "srow_x": [np.nan, 0, 0, 0]}, "not finite"),
        (
            {"sform_code": 1, "srow_x": [1, 0.1, 0, 0], "srow_y": [0, 1, 0, 0], "srow_z": [0, 0, 1, 0]},
            "not perpendicular",
        ),
        (
            {"sform_code": 1, "srow_x": [1, 1, 0, 0], "srow_y": [1, 1, 0, 0], "srow_z": [0, 0, 1, 0]},
            "not perpendicular",
        ),
        ({"magic": b"ni1"}, "in another file, .img"),
        ({"magic": b""}, "no mark of NIfTI"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_headers_that_cannot_be_honoured_are_refused(
    tmp_path: Path, entries: dict[str, Any], words: str, ending: str
) -> None:
    data = ramp(3, 4, 5).astype("<i2").tobytes(order="F")
    refused(save(tmp_path / f"a{ending}", header((3, 4, 5), "i2", **entries), data), words)


def test_fewer_or_many_more_bytes_than_promised_are_refused(tmp_path: Path) -> None:
    for ending in (".nii", ".nii.gz"):
        whole = header((3, 4, 5)), ramp(3, 4, 5).astype("<i2").tobytes(order="F")
        refused(
            save(tmp_path / f"short{ending}", whole[0], whole[1][:-1]),
            "holds 119 of 120 bytes" if ending == ".nii" else "holds 471 of 472 bytes",
        )
        refused(save(tmp_path / f"long{ending}", whole[0], whole[1] + bytes(5000)), "holds more than")
        read_image(save(tmp_path / f"padded{ending}", whole[0], whole[1] + bytes(512)))
    data = (tmp_path / "padded.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(data[:-9])
    refused(tmp_path / "cut.nii.gz", "cannot be read")
    flipped = bytearray(data)
    flipped[-6] ^= 1  # of the checksum
    (tmp_path / "sum.nii.gz").write_bytes(flipped)
    refused(tmp_path / "sum.nii.gz", "CRC")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    import tracemalloc

    path = save(tmp_path / "bomb.nii.gz", header((3, 4, 5)), bytes(2**28))
    tracemalloc.start()
    try:
        refused(path, "holds more than")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_volume_beside_its_compressed_namesake_is_not_read_instead(tmp_path: Path) -> None:
    """ITK reads a.nii where a.nii.gz is asked for and both are there."""
    save(tmp_path / "a.nii", header((3, 4, 5)), np.zeros((3, 4, 5)))
    save(tmp_path / "a.nii.gz", header((3, 4, 5)), np.ones((3, 4, 5)))
    assert (read_image(tmp_path / "a.nii.gz")[0] == 1).all()


@pytest.mark.parametrize(("code", "channels"), [(128, 3), (2304, 4)])
def test_colours_are_channels(tmp_path: Path, code: int, channels: int) -> None:
    values = ramp(channels, 3, 4, 5).astype(np.uint8)
    path = save(
        tmp_path / "a.nii", header((3, 4, 5), "u1", datatype=code, bitpix=8 * channels), values.tobytes(order="F")
    )
    read, where = read_volume(path)
    np.testing.assert_array_equal(read, values.transpose(0, 3, 2, 1))
    assert len(where.spacing) == 3
    vectors = header((3, 4, 5, 1, 3), "u1", datatype=code, bitpix=8 * channels, intent_code=1007)
    refused(save(tmp_path / "v.nii", vectors, bytes(180 * channels)), "vectors of colours")
    with pytest.raises(ModelFileError, match="values per voxel"):
        read_labels(path)


def test_trailing_axes_of_one_are_none(tmp_path: Path) -> None:
    for shape in ((3, 4, 5, 1), (3, 4, 5, 1, 1, 1, 1)):
        read, where = read_volume(save(tmp_path / "a.nii", header(shape), ramp(3, 4, 5)))
        np.testing.assert_array_equal(read, ramp(3, 4, 5).T)
        assert len(where.spacing) == 3
    # Planes have no thickness to give.
    head = header((3, 4), pixdim=[1, 2, 3, 0, 0, 0, 0, 0], qform_code=1)
    np.testing.assert_array_equal(read_volume(save(tmp_path / "b.nii", head, ramp(3, 4)))[1].spacing, [3, 2])
    head = header((3, 4, 1), pixdim=[1, 2, 3, 0, 0, 0, 0, 0], sform_code=1)
    head["srow_x"], head["srow_y"] = [-2, 0, 0, 5], [0, 0, 0, 6]
    head["srow_z"] = [0, 3, 0, 7]
    read, where = read_volume(save(tmp_path / "c.nii", head, ramp(3, 4, 1)))
    assert read.shape == (1, 4, 3)
    np.testing.assert_array_equal(where.spacing, [1, 3, 2])
    np.testing.assert_array_equal(where.to_space([[0, 2, 1]]), [[-5 + 2, -6, 7 + 6]])


@pytest.mark.parametrize("code", [1002, 1003])
def test_label_maps_are_no_images(tmp_path: Path, code: int) -> None:
    path = save(tmp_path / "seg.nii", header((3, 4, 5), intent_code=code), ramp(3, 4, 5))
    with pytest.raises(ModelFileError, match=r"seg\.nii says that it is a label map; pass it as labels") as caught:
        read_image(path)
    one_line(caught.value)
    np.testing.assert_array_equal(read_labels(path)[0], ramp(3, 4, 5).T)


@pytest.mark.parametrize(("code", "words"), [(5, "statistics"), (1006, "a displacement field"), (1007, "vectors")])
def test_other_things_are_no_label_maps(tmp_path: Path, code: int, words: str) -> None:
    path = save(tmp_path / "a.nii", header((3, 4, 5), intent_code=code), ramp(3, 4, 5))
    with pytest.raises(ModelFileError, match=rf"a\.nii says that it holds {words}; pass a label map"):
        read_labels(path)
    if code == 1006:
        with pytest.raises(ModelFileError, match="displacement field; pass an image"):
            read_image(path)
    else:
        np.testing.assert_array_equal(read_image(path)[0], ramp(3, 4, 5).T)


def test_what_is_no_nifti_is_refused(tmp_path: Path) -> None:
    for name, data in (
        ("empty", b""),
        ("short", b"\x5c\x01\0\0" + bytes(100)),
        ("text", b"hello " * 100),
        ("nifti2", struct.pack("<i", 540) + bytes(400)),
    ):
        for ending in (".nii", ".nii.gz"):
            (tmp_path / f"{name}{ending}").write_bytes(gzip.compress(data) if ending == ".nii.gz" else data)
            refused(tmp_path / f"{name}{ending}", "another file|again")
    (tmp_path / "plain.nii.gz").write_bytes(header((3, 4, 5)).binaryblock + bytes(500))
    refused(tmp_path / "plain.nii.gz", "cannot be read as NIfTI")
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(ModelFileError, match=r"folder\.nii"):
        read_volume(tmp_path / "folder.nii")


def test_written_images_are_read_by_nibabel_where_they_lie(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    placed = Geometry([3.0, 2.0, 1.5], [10, 20, -30], rotation(philox(3), 3))
    write_image(tmp_path / "a.nii.gz", ramp(3, 4, 5).astype(np.int16), geometry=placed)
    stored = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(stored.affine, affine(placed), atol=1e-4)
    np.testing.assert_array_equal(np.asarray(stored.dataobj).T, ramp(3, 4, 5))
