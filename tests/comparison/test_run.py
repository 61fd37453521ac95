"""The whole comparison on a toy cohort: rows, folds, continuation, workers, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("matplotlib")

from modelaug import Cohort, ModelFileError, phantoms
from modelaug.comparison import (
    ABLATIONS,
    METHODS,
    CompareOptions,
    NetworkOptions,
    compare,
    preset_options,
    pretrain_network,
    run,
)
from modelaug.evaluation import Register, no_registration, split_folds
from tests.learning.toys import Hostile

# A validation follows every step and takes most of the time.
NETWORK = replace(preset_options("tiny"), pretrain_steps=1, steps=2)
TWO = CompareOptions(
    methods=("Before Reg", "FlowNet-Random"),
    folds=2,
    metric="contour_distance",
    network=replace(NETWORK, pretrain_steps=0),
)


def cohort(n: int = 5, seed: int = 0) -> Cohort:
    return phantoms.heart(n, shape=(48, 56), seed=seed)


def scores(folder: Path) -> list[dict[str, Any]]:
    """Return all scores in a folder but for their times."""
    found = []
    for path in sorted(folder.glob("fold*/*/scores.json")):
        found += json.loads(path.read_text())["records"]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in found]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the table of a comparison with all rows but SyN, which needs ANTs."""
    folder = tmp_path_factory.mktemp("whole")
    methods = (*METHODS, *(name for name in ABLATIONS if name != "SyN"))
    options = replace(TWO, methods=methods, metric="jaccard", network=NETWORK)
    return folder, compare(cohort(), folder, name="toys", options=options, threads=1)


@pytest.fixture
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no report where only scores are looked at."""
    monkeypatch.setattr(run, "write_report", lambda *_, **__: None)


def test_every_method_registers_every_ordered_pair_of_every_fold(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, table = whole
    names = [[cohort().names[i] for i in test] for _, test in split_folds(5, 2, 0)]
    pairs = {(k, i, j) for k, test in enumerate(names) for i in test for j in test if i != j}
    assert table["cohort"] == "toys"
    assert table["metric"] == "jaccard"
    rows = list(table["methods"])
    assert [row for row in rows if not row.endswith(("cascade", "refined"))] == [*METHODS, *ABLATIONS[1:]]
    assert "FlowNet-SAM, refined" in rows
    assert sum("cascade" in row for row in rows) == sum("FlowNet" in row for row in (*METHODS, *ABLATIONS))
    for row in rows:
        found = [r for r in scores(folder) if r["method"] == row]
        assert {(r["fold"], r["fixed"], r["moving"]) for r in found} == pairs
        assert table["methods"][row]["n"] == len(pairs)
        mean = np.mean([r["jaccard"] for r in found])
        assert table["methods"][row]["mean"] == pytest.approx(mean, abs=1e-9)


def test_rows_differ_and_before_means_no_displacement(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, table = whole
    means = [row["mean"] for row in table["methods"].values()]
    assert len(set(means)) > 0.7 * len(means)
    before = [r for r in scores(folder) if r["method"] == "Before Reg"]
    assert all(r["inverse_consistency"] == 0 and r["folded_percent"] == 0 for r in before)
    assert table["methods"]["VarReg"]["mean"] > table["methods"]["Before Reg"]["mean"]


def test_table_and_report_are_files(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, table = whole
    assert json.loads((folder / "table.json").read_text()) == json.loads(json.dumps(table))
    for name in ("table.md", "report.html"):
        text = (folder / name).read_text()
        assert all(row in text for row in table["methods"])


@pytest.mark.usefixtures("_no_report")
def test_methods_learn_from_the_other_folds_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned_from = {}

    def watching(method: str, fold: run.Fold) -> dict[str, Register]:
        learned_from[fold.folder.parent.name] = set(fold.training.names)
        assert fold.label_ids is not None
        return {method: no_registration(fold.training, 0)}

    monkeypatch.setattr(run, "prepare_method", watching)
    subjects = cohort()
    compare(subjects, tmp_path, name="toys", options=replace(TWO, methods=("VarReg",)), threads=1)
    for record in scores(tmp_path):
        assert not {record["fixed"], record["moving"]} & learned_from[f"fold{record['fold']}"]


@pytest.mark.usefixtures("_no_report")
def test_an_interrupted_run_continues_and_more_methods_are_added(tmp_path: Path) -> None:
    compare(cohort(), tmp_path / "a", name="toys", options=TWO, threads=1)
    more = replace(TWO, methods=("Before Reg", "FlowNet-Random", "FlowNet-Labels"))
    lost = tmp_path / "a" / "fold1" / "flownet-random" / "scores.json"
    lost.unlink()
    kept = (tmp_path / "a" / "fold0" / "flownet-random" / "scores.json").stat().st_mtime_ns
    table = compare(cohort(), tmp_path / "a", name="toys", options=more, threads=1)
    assert kept == (tmp_path / "a" / "fold0" / "flownet-random" / "scores.json").stat().st_mtime_ns
    assert lost.exists()
    assert [row for row in table["methods"] if not row.endswith(("cascade", "refined"))] == list(more.methods)
    compare(cohort(), tmp_path / "b", name="toys", options=more, threads=1)
    assert scores(tmp_path / "a") == scores(tmp_path / "b")


@pytest.mark.usefixtures("_no_report")
def test_workers_find_the_same(tmp_path: Path) -> None:
    dask = pytest.importorskip("distributed")
    with dask.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1") as cluster:
        address = cluster.scheduler_address
        compare(cohort(), tmp_path / "a", name="toys", options=TWO, threads=1, scheduler=address)
    compare(cohort(), tmp_path / "b", name="toys", options=TWO, threads=1)
    assert scores(tmp_path / "a") == scores(tmp_path / "b")


@pytest.mark.usefixtures("_no_report")
def test_given_weights_are_where_networks_begin(tmp_path: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    options = replace(TWO, methods=("FlowNet (pre-trained)", "FlowNet-Random"), network=NETWORK)
    weights = pretrain_network(tmp_path / "weights", options, threads=1)
    compare(cohort(), tmp_path / "a", name="toys", options=options, threads=1, weights=weights)
    without = [score for score in scores(whole[0]) if score["method"].removesuffix(", cascade") in options.methods]
    assert scores(tmp_path / "a") == without
    wider = replace(TWO, network=replace(NETWORK, width=0.125))
    with pytest.raises(ValueError, match="width"):
        compare(cohort(), tmp_path / "c", name="toys", options=wider, threads=1, weights=weights)


@pytest.mark.usefixtures("_no_report")
def test_a_folder_holds_one_comparison(tmp_path: Path) -> None:
    options = replace(TWO, methods=("Before Reg",))
    compare(cohort(), tmp_path, name="toys", options=options, threads=1)
    with pytest.raises(ValueError, match="another cohort"):
        compare(cohort(seed=1), tmp_path, name="toys", options=options, threads=1)
    with pytest.raises(ValueError, match="holds results of"):
        compare(cohort(), tmp_path, name="toys", options=replace(options, seed=1), threads=1)
    with pytest.raises(ValueError, match="holds results of"):
        compare(cohort(), tmp_path, name="toys", options=replace(options, metric="jaccard"), threads=1)
    (tmp_path / "fold0" / "before-reg" / "scores.json").write_text("{}")
    with pytest.raises(ModelFileError, match="format"):
        compare(cohort(), tmp_path, name="toys", options=options, threads=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ()}, "methods is"),
        ({"methods": ("Before Reg", "Before Reg")}, "methods is"),
        ({"methods": ("Magic",)}, "methods is 'Magic'"),
        ({"folds": 1}, "folds is 1"),
        ({"metric": "dice"}, "metric is"),
        ({"labels": ()}, "labels is empty"),
        ({"labels": (0,)}, "labels is 0"),
        ({"network": Hostile}, "network is"),
        ({"seed": -1}, "seed is"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        CompareOptions(**options)


@pytest.mark.parametrize(
    "options", [{"grid": (8,)}, {"steps": 0}, {"width": 0.0}, {"pretrain_steps": -1}, {"passes": 0}]
)
def test_bad_networks(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        NetworkOptions(**options)


def test_bad_cohorts(tmp_path: Path) -> None:
    subjects = cohort()
    bare = Cohort(subjects.images, subjects.landmarks)
    with pytest.raises(ValueError, match="no labels"):
        compare(bare, tmp_path, name="toys", options=replace(TWO, metric="jaccard"))
    with pytest.raises(ValueError, match="folds is 3"):
        compare(subjects, tmp_path, name="toys", options=replace(TWO, folds=3))
    with pytest.raises(ValueError, match=r"networks see \(.*\); pass a grid of as many axes"):
        compare(phantoms.blobs3d(4, shape=(24, 24, 24)), tmp_path, name="toys", options=TWO)
    without = replace(TWO, methods=("FlowNet (pre-trained)",), network=replace(NETWORK, pretrain_steps=0))
    with pytest.raises(ValueError, match="pre-trained"):
        compare(subjects, tmp_path, name="toys", options=without, threads=1)
