"""The demo, small enough for a test: everything it writes, and that it continues."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("matplotlib")

from modelaug import AppearanceModel, learning
from modelaug.demo import DemoOptions, run_demo

NUMBERS = (
    "pairs_per_second",
    "landmark_error_before",
    "landmark_error_after",
    "landmark_error_true_landmarks",
    "contour_distance_before",
    "contour_distance_after",
    "contour_distance_true_landmarks",
    "landmark_error_reduction",
    "seconds_per_step",
    "validation_epe",
    "validation_epe_of_zero_flow",
    "seconds",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    lines: list[str] = []
    run_demo(out, DemoOptions.quick(seed=1), threads=1, report=lines.append)
    assert any("pairs per second" in line for line in lines)
    return out


def test_everything_is_written(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    assert all(math.isfinite(summary[name]) for name in NUMBERS)
    assert summary["registered_pairs"] == 6
    assert summary["landmark_error_true_landmarks"] < 0.25 < summary["landmark_error_before"]
    assert summary["contour_distance_true_landmarks"] < summary["contour_distance_before"]
    for name in ("cohort", "modes", "pairs", "losses", "registration"):
        assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert len(AppearanceModel.load(folder / "model.npz").provenance["subjects"]) == 4
    assert learning.load_network(folder / "net").image_channels == 1
    space = summary["space"]
    assert all(math.isfinite(space[name]) for name in NUMBERS if name in space)
    assert space["registered_pairs"] == 2
    assert space["landmark_error_true_landmarks"] < 0.25 < space["landmark_error_before"]
    assert learning.load_network(folder / "space" / "net").ndim == 3
    assert (folder / "space" / "losses.png").read_bytes()[:4] == b"\x89PNG"


def test_again_it_continues_and_other_options_are_refused(folder: Path) -> None:
    before = {
        name: (folder / name).stat().st_mtime_ns
        for name in ("model.npz", "net/net.safetensors", "space/net/net.safetensors")
    }
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").unlink()
    again = run_demo(folder, DemoOptions.quick(seed=1), threads=1)
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    assert again["landmark_error_after"] == summary["landmark_error_after"]
    with pytest.raises(ValueError, match="pass another folder"):
        run_demo(folder, DemoOptions.quick(seed=2), threads=1)


class Enough(Exception):
    """Ends a demo early."""


def stop(line: str) -> None:
    raise Enough(line)


def test_restart_removes_what_a_demo_left_and_nothing_else(tmp_path: Path) -> None:
    mine = tmp_path / "net" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("not a demo's")
    (tmp_path / "notes.txt").write_text("kept")
    with pytest.raises(Enough):
        run_demo(tmp_path, DemoOptions.quick(seed=1), restart=True, report=stop)
    assert mine.exists()
    with pytest.raises(Enough):
        run_demo(tmp_path, DemoOptions.quick(seed=2), restart=True, report=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "source.json"]


@pytest.mark.parametrize("change", [{"training_subjects": 1}, {"subjects": 17}, {"size": 0}, {"steps": 0}])
def test_bad_options_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(DemoOptions().plane, **change)
    with pytest.raises(ValueError, match="seed is -1"):
        DemoOptions(seed=-1)
