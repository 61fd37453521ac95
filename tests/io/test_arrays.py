"""Arrays of numpy: what their headers promise is looked at before anything is unpacked or allocated."""

from __future__ import annotations

import io
import os
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import AppearanceModel, Cohort, ModelFileError
from modelaug.cli._kinds import detect_kind
from modelaug.cli.info import describe
from modelaug.io import read_field, read_image, read_landmarks
from modelaug.io.files.archives import read_archive, write_archive
from modelaug.io.files.arrays import open_archive, read_npy
from tests.examples import one_line, plane, plane_model

MEBI = 1 << 20
ZEROS = 64 * MEBI  # packed, a thousandth


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(shape: tuple[int, ...], descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def zipped(path: Path, members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            archive.writestr(name, content)
    return path


def refused(read: Callable[[Path], object], path: Path) -> str:
    """Check that a file is refused in one line that names it, and that next to nothing was allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBI
    finally:
        tracemalloc.stop()
    message = one_line(caught.value)
    assert path.name in message
    return message


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return header((ZEROS // 8,)) + bytes(ZEROS)


def test_only_headers_are_looked_at(tmp_path: Path, bomb: bytes) -> None:
    path = zipped(tmp_path / "a.npz", [("images.npy", bomb), ("landmarks.npy", npy(np.zeros((2, 2))))])
    assert path.stat().st_size < MEBI // 8
    tracemalloc.start()
    try:
        assert detect_kind(path) == "cohort"
        with open_archive(path) as archive:
            assert sorted(archive.headers) == ["images", "landmarks"]
            assert archive.headers["images"].shape == (ZEROS // 8,)
        assert tracemalloc.get_traced_memory()[1] < 4 * MEBI
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["labels", "landmarks", "names", "spacing", "objects", "preparation"])
def test_no_array_of_a_cohort_is_larger_than_its_images_let_expect(tmp_path: Path, bomb: bytes, name: str) -> None:
    plane().save(tmp_path / "good.npz")
    members = {f"{each}.npy": npy(array) for each, array in read_archive(tmp_path / "good.npz").items()}
    for content in (bomb, header((ZEROS // 4,), "'<U1'") + bytes(ZEROS)):
        refused(Cohort.load, zipped(tmp_path / "cohort.npz", list((members | {f"{name}.npy": content}).items())))


@pytest.mark.parametrize("name", ["labels", "texture_mean", "shape_modes", "pose_variances", "crossings", "background"])
def test_no_array_of_a_model_is_larger_than_the_others_let_expect(tmp_path: Path, bomb: bytes, name: str) -> None:
    plane_model().save(tmp_path / "good.npz")
    members = {f"{each}.npy": npy(array) for each, array in read_archive(tmp_path / "good.npz").items()}
    assert f"{name}.npy" in members
    for read in (AppearanceModel.load, describe):
        refused(read, zipped(tmp_path / "model.npz", list((members | {f"{name}.npy": bomb}).items())))


def test_arrays_that_a_format_does_not_know_are_refused(tmp_path: Path) -> None:
    plane_model().save(tmp_path / "model.npz")
    arrays = read_archive(tmp_path / "model.npz")
    write_archive(tmp_path / "model.npz", arrays | {"extra": np.zeros(3)})
    assert "'extra', which does not belong there" in refused(AppearanceModel.load, tmp_path / "model.npz")


def test_an_alien_array_beside_an_image_is_not_unpacked(tmp_path: Path, bomb: bytes) -> None:
    image = np.arange(12.0).reshape(3, 4)
    path = zipped(tmp_path / "a.npz", [("image.npy", npy(image)), ("other.npy", bomb)])
    tracemalloc.start()
    try:
        assert (read_image(path)[0] == image).all()
        assert tracemalloc.get_traced_memory()[1] < 4 * MEBI
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.npy", npy(np.zeros(2))), ("a.npy", npy(np.ones(2)))], "twice"),
        ([("a.npy", header((10**6,)) + bytes(80))], "make 8000"),
        ([("a.npy", header((10,)) + bytes(88))], "has 1"),
        ([("a.npy", header((-1, -10)) + bytes(80))], "make"),
        ([("a.txt", b"text")], "no array"),
        ([(f"{k}.npy", npy(np.zeros(1))) for k in range(300)], "300 members"),
        ([("a.npy", npy(np.zeros(3, "g")))], "real numbers"),
        ([("a.npy", npy(np.zeros(3, complex)))], "real numbers"),
        ([("a.npy", npy(np.zeros(3, "M8[s]")))], "real numbers"),
        ([("a.npy", npy(np.zeros(3, [("x", "f4")])))], "real numbers"),
        ([("a.npy", npy(np.array([b"ab"])))], "real numbers"),
        ([("a.npy", npy(np.array([print], object)))], "never unpickled"),
        ([("a.npy", header((3,), "('<f8', (100000000,))"))], "real numbers"),
        ([("a.npy", header((10**15,), "'<U0'"))], "real numbers"),
        ([("a.npy", b"\x93NUMPY\x03\x00\x00\x00\x00\x00")], "version"),
        ([("a.npy", header((2,)).replace(b"}", b"(") + bytes(16))], "cannot be read"),
    ],
)
def test_directories_and_headers_that_do_not_fit(tmp_path: Path, members: Any, message: str) -> None:
    assert message in refused(read_archive, zipped(tmp_path / "a.npz", members))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_without_bounds_is_refused(tmp_path: Path, method: int) -> None:
    path = zipped(tmp_path / "a.npz", [("a.npy", npy(np.zeros(100)))], method)
    assert "packed as numpy does not" in refused(read_archive, path)


def test_what_does_not_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bomb: bytes) -> None:
    path = zipped(tmp_path / "a.npz", [("a.npy", bomb)])
    monkeypatch.setattr("modelaug.io.files.arrays._memory", lambda: ZEROS - 1)
    assert "does not fit into the memory" in refused(read_archive, path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"text",
        header((10**6,)) + bytes(80),
        header((10,)) + bytes(79),
        header((10,)) + bytes(81),
        header((2**62, 2**62)),
        header((2,)).replace(b"(2,)", b"((2,)") + bytes(16),
        header((2,)).replace(b"'<f8'", b"'<f8'\n'") + bytes(16),
        header((2,), "'|O'") + bytes(16),
        header((2,), "'<c16'") + bytes(32),
        npy(np.array([None])),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(20),
    ],
)
def test_other_single_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    for read in (read_npy, read_image, read_landmarks):
        refused(read, path)


@pytest.mark.parametrize("dtype", ["?", "u1", ">i2", "<u4", "i8", "f2", ">f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_single_arrays_come_back(tmp_path: Path, dtype: str, order: Any) -> None:
    array = np.array([[0, 1, 0], [1, 1, 0]], dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    found = read_npy(tmp_path / "a.npy")
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    np.savez_compressed(tmp_path / "a.npz", a=array)
    assert np.array_equal(read_archive(tmp_path / "a.npz")["a"], array)


@pytest.mark.skipif(os.name != "posix", reason="devices of POSIX")
def test_devices_are_not_opened(tmp_path: Path) -> None:
    for read, name in ((read_npy, "a.npy"), (read_archive, "a.npz"), (Cohort.load, "b.npz"), (read_field, "c.npz")):
        (tmp_path / name).symlink_to("/dev/zero")
        assert "a device or a pipe" in refused(read, tmp_path / name)
    os.mkfifo(tmp_path / "pipe.npy")
    assert "a device or a pipe" in refused(read_image, tmp_path / "pipe.npy")
