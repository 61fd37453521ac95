"""Comparisons in one folder at once, what dead ones left, and folders that are taken from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from modelaug import Cohort, phantoms
from modelaug.comparison import CompareOptions, compare, run
from modelaug.evaluation import Register, no_registration
from modelaug.io.files.writing import FolderLostError
from tests.examples import one_line

OPTIONS = CompareOptions(methods=("Before Reg", "VarReg"), folds=2, metric="contour_distance")


def cohort() -> Cohort:
    return phantoms.heart(5, shape=(48, 56), seed=0)


def start(out: Path) -> Any:
    return compare(cohort(), out, name="toys", options=OPTIONS, threads=1)


def acting(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something be done when the third of four tasks begins."""
    begun = [0]

    def prepare_method(method: str, fold: run.Fold) -> dict[str, Register]:
        begun[0] += 1
        if begun[0] == 3:
            act()
        return {method: no_registration(fold.training, 0)}

    monkeypatch.setattr(run, "prepare_method", prepare_method)


def test_one_run_at_a_time_and_leftovers_of_none_that_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = [tmp_path / ".table.json.abcd_123.tmp", tmp_path / "fold1" / "varreg" / ".examples.npz.abcd_123.tmp"]
    for path in dead:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    refused: list[BaseException | None] = []

    def act() -> None:
        with ThreadPoolExecutor(1) as pool:
            refused.append(pool.submit(start, tmp_path).exception())

    acting(monkeypatch, act)
    start(tmp_path)
    (error,) = refused
    assert isinstance(error, BlockingIOError)
    assert f"{tmp_path} is in use by process " in str(error)
    one_line(error)
    assert not list(tmp_path.rglob(".*"))


def test_a_removed_folder_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acting(monkeypatch, lambda: shutil.rmtree(tmp_path / "out"))
    with pytest.raises(FolderLostError, match=r"out was removed .*; 0 of 4 methods and folds are in it") as caught:
        start(tmp_path / "out")
    one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_a_folder_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acting(monkeypatch, lambda: shutil.rmtree(tmp_path / "out" / "fold1"))
    with pytest.raises(FolderLostError, match="before-reg was removed or moved") as caught:
        start(tmp_path / "out")
    one_line(caught.value)
    start(tmp_path / "out")
