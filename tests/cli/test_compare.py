"""``modelaug compare``: what it writes and prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("matplotlib")

from modelaug import Cohort, phantoms
from tests.cli.test_cli import fails, modelaug, succeeds


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    phantoms.heart(4, shape=(48, 48)).save(tmp_path / "hearts.npz")
    return tmp_path / "hearts.npz"


def test_a_table_a_report_and_all_that_is_needed_to_go_on(cohort: Path, tmp_path: Path) -> None:
    arguments = ("compare", cohort, "-o", tmp_path / "out", "--preset", "tiny", "--folds", 2, "--threads", 1)
    printed = succeeds(*arguments, "--methods", "Before Reg; FlowNet (pre-trained)", "--metric", "contour_distance")
    assert "FlowNet (pre-trained)" in printed
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert table["cohort"] == "hearts"
    assert next(iter(table["methods"])) == "Before Reg"
    assert (tmp_path / "out" / "report.html").exists()
    # Another look at the same scores, under another name.
    printed = succeeds(*arguments, "--methods", "Before Reg", "--name", "Phantoms", "--metric", "contour_distance")
    assert "Phantoms: contour_distance" in printed


def test_weights_of_pretrain_serve(cohort: Path, tmp_path: Path) -> None:
    network = ("--steps", 2, "--batch-size", 2, "--width", 0.0625, "--threads", 1)
    succeeds("pretrain", "-o", tmp_path / "net", "--size", 32, "--network", "FlowNetS", *network)
    arguments = ("compare", cohort, "-o", tmp_path / "out", "--preset", "tiny", "--folds", 2, "--threads", 1)
    succeeds(*arguments, "--methods", "FlowNet (pre-trained)", "--weights", tmp_path / "net")
    assert not (tmp_path / "out" / "pretrained" / "metrics.csv").exists()


def test_bad_arguments_end_with_one_line(cohort: Path, tmp_path: Path) -> None:
    assert "methods is 'Magic'" in fails("compare", cohort, "-o", tmp_path / "out", "--methods", "Magic")
    assert "preset is 'huge'" in fails("compare", cohort, "-o", tmp_path / "out", "--preset", "huge")
    assert "labels holds 'x'" in fails("compare", cohort, "-o", tmp_path / "out", "--labels", "1,x")
    assert "folds is 3" in fails("compare", cohort, "-o", tmp_path / "out", "--folds", "3", "--preset", "tiny")
    subjects = Cohort.load(cohort)
    Cohort(subjects.images, subjects.landmarks).save(tmp_path / "bare.npz")
    assert "no labels" in fails("compare", tmp_path / "bare.npz", "-o", tmp_path / "out", "--metric", "jaccard")
    assert modelaug("compare", cohort).exit_code == 2
