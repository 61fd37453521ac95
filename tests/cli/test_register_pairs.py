"""``modelaug register --pairs``: a table of pairs into a folder, and again."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("safetensors")
pytest.importorskip("SimpleITK")

from typer.testing import CliRunner

from modelaug import learning, phantoms, warp, warp_points
from modelaug.cli import _registered_folder, app
from modelaug.evaluation import dice, hausdorff_distance
from modelaug.io import Geometry, read_field, read_landmarks, write_image, write_landmarks
from modelaug.io.images import read_labels
from tests.cli.test_cli import fails, modelaug, succeeds
from tests.cli.test_register import FAST, a_network, blobs

HEARTS = phantoms.heart(3, shape=(48, 52))
TABLE = """fixed,moving,labels_fixed,labels_moving,points_fixed,name
images/a.nii.gz,images/b.nii.gz,images/a_seg.nii.gz,images/b_seg.nii.gz,images/a.csv,first
images/b.nii.gz,images/c.nii.gz,,images/c_seg.nii.gz,,
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with three hearts, a table of pairs and a network."""
    assert HEARTS.labels is not None
    for i, name in enumerate("abc"):
        placed = Geometry([2.0, 1.5], [3.0 * i, 0.0])
        write_image(tmp_path / "images" / f"{name}.nii.gz", HEARTS.images[i, 0], geometry=placed)
        write_image(tmp_path / "images" / f"{name}_seg.nii.gz", HEARTS.labels[i].astype(np.uint8), geometry=placed)
        write_landmarks(tmp_path / "images" / f"{name}.csv", HEARTS.landmarks[i])
        np.save(tmp_path / "images" / f"{name}.npy", HEARTS.images[i, 0])
    (tmp_path / "pairs.csv").write_text(TABLE)
    a_network(tmp_path / "net", (32, 32), (2.0, 2.0))
    return tmp_path


def run(here: Path, *arguments: str | Path) -> str:
    common = ("register", "--network", here / "net", "--pairs", here / "pairs.csv", "-o", here / "out")
    return succeeds(*common, *FAST, *arguments)


def refused(here: Path, *arguments: str | Path) -> str:
    common = ("register", "--network", here / "net", "--pairs", here / "pairs.csv", "-o", here / "out")
    return fails(*common, *FAST, *arguments)


def results(here: Path) -> list[dict[str, str]]:
    with open(here / "out" / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def times(here: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (here / "out").iterdir()}


def test_results(here: Path) -> None:
    text = run(here)
    assert text.splitlines()[0] == f"{here / 'out' / 'results.csv'}: 2 pairs"
    assert "Dice" in text.splitlines()[1]
    assert {path.name for path in (here / "out").iterdir()} == {
        *("source.json", "results.csv", "first.nii.gz", "first_labels.nii.gz", "first_points.csv"),
        *("c_to_b.nii.gz", "c_to_b_labels.nii.gz"),
    }
    first, second = results(here)
    geometries = [Geometry([2.0, 1.5], [3.0 * i, 0.0]) for i in range(3)]
    expected = learning.register(
        learning.load_network(here / "net"),
        *HEARTS.images[:2, 0],
        geometry=geometries[0],
        moving_geometry=geometries[1],
    )
    found = read_field(here / "out" / "first.nii.gz", moving=geometries[1])[0]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(
        read_landmarks(here / "out" / "first_points.csv"), warp_points(HEARTS.landmarks[0], expected), atol=1e-3
    )
    assert HEARTS.labels is not None
    moved = warp(HEARTS.labels[1], expected, order=0, border="constant")
    np.testing.assert_array_equal(read_labels(here / "out" / "first_labels.nii.gz")[0], moved)
    assert float(first["dice"]) == pytest.approx(dice(HEARTS.labels[0], moved).mean(), rel=1e-4)
    distance = hausdorff_distance(HEARTS.labels[0], moved, spacing=[2.0, 1.5])
    assert float(first["hd95"]) == pytest.approx(distance.mean(), rel=1e-4)
    assert (first["name"], first["displacement"], first["unit"]) == ("first", "first.nii.gz", "mm")
    assert first["labels_fixed"] == "images/a_seg.nii.gz"
    assert float(first["seconds"]) > 0
    assert float(first["folded_percent"]) >= 0
    assert (second["name"], second["dice"], second["hd95"]) == ("c_to_b", "", "")


def test_a_finished_run_is_kept_and_more_pairs_are_added(here: Path) -> None:
    run(here)
    before = times(here)
    text = run(here)
    assert "2 pairs, 2 of them registered before" in text
    assert times(here) == before
    with open(here / "pairs.csv", "a", encoding="utf-8") as file:
        file.write("images/c.nii.gz,images/a.nii.gz,,,,\n")
    assert "3 pairs, 2 of them registered before" in run(here)
    after = times(here)
    assert {name: after[name] for name in before if name != "results.csv"} == {
        name: time for name, time in before.items() if name != "results.csv"
    }
    assert [line["name"] for line in results(here)] == ["first", "c_to_b", "a_to_c"]


def test_an_interrupted_run_goes_on(here: Path) -> None:
    table = (here / "pairs.csv").read_text()
    (here / "pairs.csv").write_text(table + "images/c.nii.gz,images/flat.nii.gz,,,,last\n")
    write_image(here / "images" / "flat.nii.gz", np.zeros((48, 52)), geometry=Geometry([2.0, 1.5]))
    result = modelaug(
        *("register", "--network", here / "net", "--pairs", here / "pairs.csv", "-o", here / "out", *FAST),
    )
    assert result.exit_code == 2
    assert "row 4 of" in result.stderr.splitlines()[-1]
    assert "constant" in result.stderr.splitlines()[-1]
    assert [line["name"] for line in results(here)] == ["first", "c_to_b"]
    before = times(here)
    write_image(here / "images" / "flat.nii.gz", HEARTS.images[0, 0], geometry=Geometry([2.0, 1.5]))
    # A displacement that is gone is made again, although its line is there.
    (here / "out" / "c_to_b.nii.gz").unlink()
    assert "3 pairs, 1 of them registered before" in run(here)
    after = times(here)
    assert after["first.nii.gz"] == before["first.nii.gz"]
    assert {"c_to_b.nii.gz", "last.nii.gz"} <= set(after)
    assert sorted(line["name"] for line in results(here)) == ["c_to_b", "first", "last"]


def test_other_options_or_files_are_refused(here: Path) -> None:
    run(here)
    before = times(here)
    assert "passes 1, not 2" in refused(here, "--passes", "2")
    assert "format none" in refused(here, "--format", ".mha")
    assert 'transform none, not "rigid"' in refused(here, "--affine", "--transform", "rigid")
    a_network(here / "net", (32, 32), (2.0, 2.0), strength=10.0)
    assert "network_sha256" in refused(here)
    a_network(here / "net", (32, 32), (2.0, 2.0))
    (here / "pairs.csv").write_text(TABLE.replace("a.nii.gz,images/b.nii.gz,", "a.nii.gz,images/c.nii.gz,"))
    line = refused(here)
    assert "row 2 of" in line
    assert "images/c.nii.gz as moving" in line
    assert "images/b.nii.gz for 'first'" in line
    (here / "pairs.csv").write_text(TABLE)
    moved = (here / "images" / "b.nii.gz").read_bytes()
    write_image(here / "images" / "b.nii.gz", np.roll(HEARTS.images[1, 0], 3), geometry=Geometry([2.0, 1.5]))
    assert "files of other contents than" in refused(here)
    (here / "images" / "b.nii.gz").write_bytes(moved)
    assert "2 of them registered before" in run(here)
    wrong = (here / "out" / "results.csv").read_text().splitlines()
    cells = wrong[1].split(",")
    cells[-1] = "soon"
    (here / "out" / "results.csv").write_text("\n".join([wrong[0], ",".join(cells), *wrong[2:]]) + "\n")
    assert "results.csv has 'soon' as seconds of 'first'; remove that line" in refused(here)
    (here / "out" / "results.csv").write_text("name,fixed\nfirst,images/a.nii.gz\n")
    assert "other columns" in refused(here)
    assert {name: time for name, time in times(here).items() if name != "results.csv"} == {
        name: time for name, time in before.items() if name != "results.csv"
    }


@pytest.mark.parametrize(("ending", "name"), [(None, "b_to_a.npz"), (".flo", "b_to_a.flo"), (".mha", "b_to_a.mha")])
def test_formats_of_images_without_geometry(here: Path, ending: str | None, name: str) -> None:
    # As some spreadsheets write it, with semicolons, a mark of the byte order, and an empty line.
    (here / "pairs.csv").write_bytes(b"\xef\xbb\xbfMoving; fixed\r\nimages/b.npy; images/a.npy\r\n;\r\n")
    run(here, *(() if ending is None else ("--format", ending)))
    assert (here / "out" / name).exists()
    assert results(here)[0]["unit"] == "px"
    expected = learning.register(learning.load_network(here / "net"), *HEARTS.images[:2, 0])
    np.testing.assert_allclose(read_field(here / "out" / name)[0], expected, atol=1e-3)


def test_masks_and_affine_registration(here: Path) -> None:
    mask = np.zeros((48, 52), np.float32)
    mask[6:-6, 6:-6] = 1
    write_image(here / "mask.nii.gz", mask, geometry=Geometry([2.0, 1.5]))
    (here / "pairs.csv").write_text("fixed,moving,mask\nimages/a.nii.gz,images/b.nii.gz,mask.nii.gz\n")
    assert "mask has no use" in refused(here)
    run(here, "--affine", "--transform", "translation")
    images = ("register", here / "images/a.nii.gz", here / "images/b.nii.gz", "--network", here / "net", *FAST)
    options = ("--affine", "--transform", "translation", "--mask", here / "mask.nii.gz")
    succeeds(*images, *options, "-o", here / "u.nii.gz")
    np.testing.assert_array_equal(read_field(here / "u.nii.gz")[0], read_field(here / "out" / "b_to_a.nii.gz")[0])


BAD = {
    "has the columns of an empty file": "",
    "lists no pair": "fixed,moving\n\n",
    "has the columns fixed, labels_moving": "fixed,labels_moving\nimages/a.nii.gz,images/b.nii.gz\n",
    "has the columns fixed, moving, label": "fixed,moving,label\nimages/a.nii.gz,images/b.nii.gz,1\n",
    "has the columns fixed, moving, moving": "fixed,moving,moving\nimages/a.nii.gz,images/b.nii.gz,1\n",
    "row 3 of": "fixed,moving\nimages/a.nii.gz,images/b.nii.gz\nimages/a.nii.gz\n",
    "row 2 of": "fixed,moving\n,images/b.nii.gz\n",
    "has no fixed image": "fixed,moving\n,images/b.nii.gz\n",
    "images/d.nii.gz as moving, which does not exist": "fixed,moving\nimages/a.nii.gz,images/d.nii.gz\n",
    "of no known format": "fixed,moving\nimages/a.nii.gz,pairs.csv\n",
    "points_fixed, of no known format": "fixed,moving,points_fixed\nimages/a.nii.gz,images/b.nii.gz,images/a.npz\n",
    "nothing to compare them with": "fixed,moving,labels_fixed\nimages/a.nii.gz,images/b.nii.gz,images/a_seg.nii.gz\n",
    "none for a file": "fixed,moving,name\nimages/a.nii.gz,images/b.nii.gz,../x\n",
    "as row 2 of": "fixed,moving\nimages/a.nii.gz,images/b.nii.gz\nimages/a.nii.gz,images/b.nii.gz\n",
    "would write": "fixed,moving,name\nimages/a.nii.gz,images/b.nii.gz,x\nimages/a.nii.gz,images/c.nii.gz,X\n",
}


@pytest.mark.parametrize("message", BAD)
def test_bad_rows_are_refused_up_front(here: Path, message: str) -> None:
    (here / "images" / "a.npz").write_bytes(b"")
    (here / "pairs.csv").write_text(BAD[message])
    assert message in refused(here)
    assert not (here / "out").exists()


def test_results_do_not_go_over_what_is_read(here: Path) -> None:
    (here / "pairs.csv").write_text(
        "fixed,moving,name\nimages/a.nii.gz,images/b.nii.gz,c\nimages/c.nii.gz,images/b.nii.gz,d\n"
    )
    before = (here / "images" / "c.nii.gz").read_bytes()
    common = ("register", "--network", here / "net", "--pairs", here / "pairs.csv", *FAST)
    assert "which is to be read" in fails(*common, "-o", here / "images")
    assert (here / "images" / "c.nii.gz").read_bytes() == before
    assert "is a file" in fails(*common, "-o", here / "images" / "a.csv")


def test_what_does_not_go_with_a_table(here: Path) -> None:
    assert "--labels is of one pair" in refused(here, "--labels", "seg.nii.gz")
    assert "FIXED is of one pair" in refused(here, "a.nii.gz", "b.nii.gz")
    assert "--format is '.png'; pass one of" in refused(here, "--format", ".png")
    volume = a_network(here / "volume", (8, 8, 8), None)
    assert "'.flo'" in refused(here, "--format", ".flo", "--network", volume)
    write_image(here / "deep.nii.gz", blobs((6, 9, 9), 1), geometry=Geometry(np.ones(3)))
    (here / "pairs.csv").write_text("fixed,moving\ndeep.nii.gz,deep.nii.gz\n")
    line = modelaug("register", "--network", here / "net", "--pairs", here / "pairs.csv", "-o", here / "out", *FAST)
    assert line.exit_code == 2
    assert "row 2 of" in line.stderr
    assert "takes a plane" in line.stderr


def test_a_folder_that_is_removed_meanwhile_has_status_1(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = _registered_folder.read_images
    seen = []

    def removing(job: Any) -> Any:
        seen.append(job)
        if len(seen) == 2:
            shutil.rmtree(here / "out")
        return read(job)

    monkeypatch.setattr(_registered_folder, "read_images", removing)
    (here / "out").mkdir()
    (here / "out" / ".first.nii.gz.abcd_123.tmp").write_bytes(b"of a dead run")
    arguments = ["register", "--network", here / "net", "--pairs", here / "pairs.csv", "-o", here / "out", *FAST]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 1
    line = result.stderr.splitlines()[-1]
    assert line.endswith("out was removed or moved while it was written to; 0 of 2 pairs are in it")
    assert not (here / "out").exists()
    monkeypatch.undo()
    run(here)
    assert not list((here / "out").glob(".*"))


def test_a_line_with_labels_of_one_image_only_is_named_before_anything_is_done(here: Path) -> None:
    (here / "pairs.csv").write_text(TABLE + "images/a.nii.gz,images/c.nii.gz,images/a_seg.nii.gz,,,third\n")
    message = refused(here)
    assert f"row 4 of {here / 'pairs.csv'} has labels_fixed but nothing to compare them with" in message
    assert not (here / "out").exists()
