"""Notes about where results come from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modelaug import ModelFileError
from modelaug.io.files.provenance import claim_folder, file_digest
from tests.examples import one_line


def test_folder_is_claimed_once(tmp_path: Path) -> None:
    claim_folder(tmp_path / "a", {"seed": 1, "size": (2, 3)})
    claim_folder(tmp_path / "a", {"seed": 1, "size": [2, 3]})
    with pytest.raises(ValueError, match=r"size \[2, 3\], not \[2, 4\]") as caught:
        claim_folder(tmp_path / "a", {"seed": 1, "size": (2, 4)})
    one_line(caught.value)
    with pytest.raises(ValueError, match="results of size"):
        claim_folder(tmp_path / "a", {"seed": 1})
    with pytest.raises(ValueError, match="results of more none, not 1"):
        claim_folder(tmp_path / "a", {"seed": 1, "size": [2, 3], "more": 1})


def test_broken_note_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text('{"format": "modelaug provenance"')
    with pytest.raises(ModelFileError, match=r"source\.json"):
        claim_folder(tmp_path, {})


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(ModelFileError, match="cannot be read"):
        file_digest(tmp_path)
