"""Reading DICOM: files written with pydicom, or byte by byte, against the numbers put in."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelaug.io.dicom import dicom_files, is_dicom


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
