"""The recipe for any label maps, where some subjects lack a structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("contourpy")

from modelaug import Cohort
from modelaug.correspondence import generic_recipe, landmarks_from_labels
from tests.cli.test_cli import fails, modelaug
from tests.correspondence.test_landmarks import small_heart
from tests.examples import one_line, philox

NAMES = ("ada", "bea", "cid", "dov", "eve", "fay")


def maps(**lacking: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return six label maps; of the named subjects some structures are part of their neighbour."""
    labels = np.stack([small_heart(turn=0.05 * i) for i in range(len(NAMES))])
    for name, values in lacking.items():
        each = labels[NAMES.index(name)]
        for value in values:
            each[each == value] = {3: 2, 1: 0, 2: 3}[value]
    return labels


def test_who_lacks_a_structure_is_named() -> None:
    with pytest.raises(ValueError, match="label_3") as caught:
        generic_recipe(maps(cid=(3,), eve=(3,)), names=NAMES, skip=False)
    one_line(caught.value)
    assert "subject 'cid'" in str(caught.value)
    assert "subject 'eve'" in str(caught.value)
    assert "leave out 2 of 6 subjects by --skip" in str(caught.value)
    assert "3 = 0 under [relabel]" in str(caught.value)
    with pytest.raises(ValueError, match=r"label_1 is absent in label map 1; .*leave out 1 of 6 subjects"):
        generic_recipe(maps(bea=(1,)), skip=False)


def test_the_structure_stays_for_all_others() -> None:
    labels = maps(cid=(3,), eve=(1,))
    recipe, remarks = generic_recipe(labels, names=NAMES, skip=True)
    assert remarks == []
    whole = [i for i, name in enumerate(NAMES) if name not in ("cid", "eve")]
    assert recipe == generic_recipe(labels[whole])[0]
    found = landmarks_from_labels(labels, recipe, names=NAMES, skip=True)
    assert found.subjects.tolist() == whole
    assert [each.name for each in found.objects] == ["label_1", "label_2", "label_3"]
    assert [each[:27] for each in found.warnings[:2]] == ["left out: subject 'cid': la", "left out: subject 'eve': la"]


def test_what_most_lack_is_left_out_instead_of_them() -> None:
    labels = maps(**{name: (3,) for name in NAMES[:4]}, fay=(1,))
    recipe, remarks = generic_recipe(labels, names=NAMES, skip=True)
    assert [each.name for each in recipe.objects] == ["label_1", "label_2"]
    assert len(remarks) == 1
    assert remarks[0].startswith("label 3 is left out: in subject 'ada' it is absent")
    assert remarks[0].endswith("(4 of 6 lack it)")
    with pytest.raises(ValueError, match="1 of 6 subjects and label_3, which most lack, by --skip"):
        generic_recipe(labels, names=NAMES, skip=False)


def test_what_nobody_has_is_no_subjects_fault() -> None:
    labels = maps()
    labels[:, 0] = 9  # touches the border in all
    recipe, remarks = generic_recipe(labels, names=NAMES, skip=False)
    assert [each.name for each in recipe.objects] == ["label_1", "label_2", "label_3"]
    assert "label 9 is left out" in remarks[0]
    assert "(6 of 6 lack it)" in remarks[0]


def test_it_is_said_if_nobody_is_whole() -> None:
    labels = maps(ada=(1,), bea=(1,), cid=(1,), dov=(3,), eve=(3,), fay=(3,))
    with pytest.raises(ValueError, match="no subject has all of label_1, label_3"):
        generic_recipe(labels, skip=True)
    with pytest.raises(ValueError, match="names holds 2 names for 6 label maps"):
        generic_recipe(labels, names=("a", "b"))


def test_the_command_names_and_skips(tmp_path: Path) -> None:
    labels = maps(dov=(3,))
    images = philox(0).normal(size=labels.shape).astype(np.float32) + labels
    np.savez(tmp_path / "scans.npz", images=images, labels=labels, names=NAMES)
    arguments = ("landmarks", tmp_path / "scans.npz", "-o", tmp_path / "c.npz")
    message = fails(*arguments)
    assert "label_3 is absent in subject 'dov'" in message
    assert "--skip" in message
    assert not (tmp_path / "c.npz").exists()
    result = modelaug(*arguments, "--skip")
    assert result.exit_code == 0
    assert "left out: subject 'dov': label_3" in result.stderr
    made = Cohort.load(tmp_path / "c.npz")
    assert made.names == ("ada", "bea", "cid", "eve", "fay")
    assert [each.name for each in made.objects] == ["label_1", "label_2", "label_3"]


def test_points_in_tables_of_spreadsheets(tmp_path: Path) -> None:
    labels = maps()
    np.savez(tmp_path / "scans.npz", images=labels + philox(0).normal(size=labels.shape), labels=labels, names=NAMES)
    (tmp_path / "mine.toml").write_text(
        '[[objects]]\nname = "wall"\nlabels = [2, 3]\ncounts = 8\nanchors = [{ rule = "given", name = "top" }]\n'
    )
    rows = "".join(f"{name};top;10,5;26,0\n" for name in NAMES)
    (tmp_path / "points.csv").write_bytes(f"Subject;Point;Row;Column\n{rows}".encode("utf-16"))
    arguments = ("landmarks", tmp_path / "scans.npz", "-o", tmp_path / "c.npz", "--recipe", tmp_path / "mine.toml")
    assert modelaug(*arguments, "--points", tmp_path / "points.csv").exit_code == 0
    made = Cohort.load(tmp_path / "c.npz")
    assert np.abs(made.landmarks[:, 0] - [10.5, 26]).max() < 1.5
    (tmp_path / "points.csv").write_text("subject,point,row,column\nada,top,1,one\n")
    assert "points.csv has 'one' where a number should be" in fails(*arguments, "--points", tmp_path / "points.csv")
