"""Notes about where results come from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modelaug import ModelFileError, __version__
from modelaug.io.files import provenance
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


def test_versions_of_the_same_results_continue_each_other(tmp_path: Path) -> None:
    claim_folder(tmp_path, {"modelaug": "0.1.0", "seed": 1})
    claim_folder(tmp_path, {"modelaug": "0.2.0", "seed": 1})
    with pytest.raises(ValueError, match="results of seed 1, not 2"):
        claim_folder(tmp_path, {"modelaug": "0.2.0", "seed": 2})
    for other in ("0.0.9", None, ["0.1.0"]):
        with pytest.raises(ValueError, match="results of modelaug"):
            claim_folder(tmp_path, {"modelaug": other, "seed": 1})


def test_this_version_continues_what_the_last_one_began() -> None:
    # A release whose results differ from those of the one before it leaves that one out, and says so in the changelog.
    assert __version__ in provenance._SAME_RESULTS


def test_broken_note_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text('{"format": "modelaug provenance"')
    with pytest.raises(ModelFileError, match=r"source\.json"):
        claim_folder(tmp_path, {})


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(ModelFileError, match="cannot be read"):
        file_digest(tmp_path)
