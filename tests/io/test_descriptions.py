"""Descriptions and recipes that ask for too much."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelaug import Cohort, ModelFileError
from modelaug.correspondence import read_recipe
from modelaug.io.cohorts.descriptions import read_description
from modelaug.io.cohorts.folders import write_cohort_folder
from tests.examples import hearts, one_line

OBJECT = "[[objects]]\nname = 'a'\nlandmarks = "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{OBJECT}'5:77777777777777'", "'5:77777777777777', more than any cohort has"),
        (f"{OBJECT}'-77777777777777:5'", "more than any cohort has"),
        (f"{OBJECT}'2147483640:2147483660'", "more than any cohort has"),
        (f"{OBJECT}'0:{'7' * 5000}'", "landmarks of an object is '0:777"),
        (f"{OBJECT}[{'[' * 3000}", "cannot be read as TOML"),
        (f"voxel_size{'.a' * 50_000} = 1", "a key has more than 64 parts"),
        (f"[relabel{' . b' * 50_000}]", "a key has more than 64 parts"),
        ("[" + '"x".' * 1000 + "y]", "a key has more than 64 parts"),
        (f"relabel = {'{a = ' * 5000}1{'}' * 5000}", "cannot be read as TOML"),
        (f"subjects = [{'1, ' * 2**19}]", "bytes, too many to be TOML"),
        (f"subjects = [{'1, ' * 2**17}]", r"subjects is \[1, 1, 1, 1, 1, 1, \.\.\.\]; write a list"),
        (f"subjects.a{'.b' * 40} = 1", "subjects is {'a'"),
    ],
)
@pytest.mark.parametrize("read", [read_description, read_recipe])
def test_what_is_too_much_is_refused_at_once(
    tmp_path: Path, text: str, message: str, read: Callable[[Path], Any]
) -> None:
    (tmp_path / "cohort.toml").write_text(text)
    begun = time.process_time()
    with pytest.raises(ModelFileError, match=message if read is read_description else None) as caught:
        read(tmp_path / "cohort.toml")
    assert time.process_time() - begun < 5
    one_line(caught.value)
    assert "cohort.toml" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_indices_beyond_the_landmarks_are_refused(tmp_path: Path) -> None:
    write_cohort_folder(tmp_path / "folder", hearts())
    path = tmp_path / "folder" / "cohort.toml"
    text = path.read_text()
    for indices in ("[0, 4294967296]", "[9223372036854775808]", "'40:999999'"):
        path.write_text(re.sub(r'landmarks = "[\d:]+"', f"landmarks = {indices}", text))
        with pytest.raises((ValueError, ModelFileError), match="objects name landmark") as caught:
            Cohort.load(path)
        one_line(caught.value)


@pytest.mark.parametrize("read", [read_description, read_recipe])
def test_what_is_no_file_is_refused(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    (tmp_path / "a.toml").mkdir()
    (tmp_path / "b.toml").symlink_to("/dev/zero")
    for name, kind in (("a", "a folder"), ("b", "a device or a pipe")):
        with pytest.raises(ModelFileError, match=rf"{name}\.toml .*is {kind}"):
            read(tmp_path / f"{name}.toml")
