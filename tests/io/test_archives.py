"""Archives: written whole or not at all, read without trust."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from modelaug.io.files.archives import read_archive, write_archive, write_atomically
from modelaug.io.files.reading import ModelFileError
from tests.examples import one_line

ARRAYS = {
    "doubles": np.arange(6.0).reshape(2, 3),
    "singles": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "text": np.array("ä"),
    "labels": np.array([1, 2], np.uint8),
}


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_with_header(text: str) -> bytes:
    header = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def _zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _refused(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_archive(path)
    message = one_line(caught.value)
    assert str(path) in message
    return message


def test_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.npz", ARRAYS)
    found = read_archive(tmp_path / "a.npz", required=("doubles", "text"))
    assert sorted(found) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_numpy_reads_it_too(tmp_path: Path) -> None:
    write_archive(str(tmp_path / "a.npz"), ARRAYS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == sorted(ARRAYS)


def test_folders_are_made_and_nothing_is_left_beside(tmp_path: Path) -> None:
    write_archive(tmp_path / "new" / "folder" / "a.npz", ARRAYS)
    write_archive(tmp_path / "new" / "folder" / "a.npz", {"other": np.zeros(1)})
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["a.npz"]
    assert sorted(read_archive(tmp_path / "new" / "folder" / "a.npz")) == ["other"]


def test_the_name_is_kept_as_given(tmp_path: Path) -> None:
    write_archive(tmp_path / "model.v1", ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["model.v1"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_archive(tmp_path / "a.npz", ARRAYS)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.npz"
    write_archive(path, ARRAYS)
    before = path.read_bytes()

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, write)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_objects_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        write_archive(tmp_path / "a.npz", {"a": np.array([None])})
    assert not list(tmp_path.iterdir())


def test_missing_file_and_missing_array_are_named(tmp_path: Path) -> None:
    assert "does not exist" in _refused(tmp_path / "none.npz")
    write_archive(tmp_path / "a.npz", ARRAYS)
    with pytest.raises(ModelFileError, match=r"a\.npz lacks the array 'header'") as caught:
        read_archive(tmp_path / "a.npz", required=("text", "header"))
    one_line(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", b"\x93NUMPY", npy(np.zeros(3)), bytes(1000)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    _refused(tmp_path / "a.npz")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path: Path, share: float) -> None:
    write_archive(tmp_path / "a.npz", ARRAYS)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(content[: int(share * len(content))])
    _refused(tmp_path / "b.npz")


def test_pickled_objects_are_refused_unopened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    np.savez(tmp_path / "a.npz", a=np.array([Trap()], dtype=object))
    _refused(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


HEADER = "{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
HOSTILE = {
    "petabytes": HEADER.format(descr="'<f8'", shape="(1000000000000000,)"),
    "overflowing shape": HEADER.format(descr="'<f8'", shape="(4294967296, 4294967296)"),
    "shape beyond any integer": HEADER.format(descr="'<f8'", shape=f"({10**30},)"),
    "negative shape": HEADER.format(descr="'<f8'", shape="(-4, 2)"),
    "unclosed": HEADER.format(descr="'<f8'", shape="((4, 2)"),
    "unhashable": "{[]: 1}",
    "deep": "-" * 9000 + "1",
    "long": HEADER.format(descr="'<f8'", shape="(4, 2)") + " " * 20_000,
    "unknown type": HEADER.format(descr="'zz'", shape="(4, 2)"),
    "tuple type": HEADER.format(descr="()", shape="(4, 2)"),
    "no header": "",
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_headers_are_refused(tmp_path: Path, header: str) -> None:
    _refused(_zip(tmp_path / "a.npz", {"a.npy": npy_with_header(header)}))


def test_members_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    _refused(_zip(tmp_path / "a.npz", {"a.npy": npy(np.zeros(3)), "labels": b"no array"}))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_bytes_are_refused_or_harmless(tmp_path: Path, compression: int) -> None:
    path = _zip(tmp_path / "a.npz", {f"{name}.npy": npy(array) for name, array in ARRAYS.items()}, compression)
    content, refused = path.read_bytes(), 0
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            read_archive(path)
        except ModelFileError as error:
            one_line(error)
            refused += 1
    assert refused > len(content) // 20


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.npz", {"a.npy": npy(np.zeros(3))})
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1  # the flag in the central directory
    content[6] |= 1  # and in the member's own header
    path.write_bytes(content)
    _refused(path)
