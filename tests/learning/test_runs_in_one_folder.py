"""Training runs in one folder at once, what dead ones left, and folders that are taken from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from modelaug.io.files.locks import LOCK
from modelaug.io.files.writing import FolderLostError
from modelaug.synthesis import Pair
from tests.examples import one_line
from tests.learning.runs import Untouchable, run
from tests.learning.toys import Translations

FILES = {"last.ckpt", "metrics.csv", "net.json", "net.safetensors"}


class Acting(Translations):
    """A source that does something when so many pairs are drawn."""

    def __init__(self, limit: int, act: Callable[[], object]) -> None:
        super().__init__()
        self._left, self._act = limit, act

    def draw(self, index: int) -> Pair:
        self._left -= 1
        if self._left == 0:
            self._act()
        return super().draw(index)


def test_one_run_at_a_time_and_leftovers_of_none_that_is_alive(tmp_path: Path) -> None:
    tmp_path.joinpath(".last.ckpt.abcd_123.tmp").write_bytes(b"of a dead run")
    tmp_path.joinpath(".mine.abcd_123.tmp").write_bytes(b"of the user")
    refused = []

    def act() -> None:
        tmp_path.joinpath(".net.json.abcd_123.tmp").write_bytes(b"of the run at work")
        before = {path.name for path in tmp_path.iterdir()}
        assert LOCK in before
        for resume in (True, False):  # a new start removes nothing of the run at work either
            with ThreadPoolExecutor(1) as pool:
                refused.append(pool.submit(run, Untouchable(), tmp_path, resume=resume).exception())
        assert {path.name for path in tmp_path.iterdir()} == before
        assert ".last.ckpt.abcd_123.tmp" not in before

    run(Acting(12, act), tmp_path)
    for error in refused:
        assert isinstance(error, BlockingIOError)
        assert f"{tmp_path} is in use by process " in str(error)
        one_line(error)
    assert len(refused) == 2
    left = {".net.json.abcd_123.tmp", ".mine.abcd_123.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == FILES | left
    run(Untouchable(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES | left - {".net.json.abcd_123.tmp"}


@pytest.mark.parametrize("limit", [1, 14, 35])
def test_a_removed_folder_is_not_made_anew(tmp_path: Path, limit: int) -> None:
    out = tmp_path / "out"
    with pytest.raises(FolderLostError, match="was removed or moved while it was written to") as caught:
        run(Acting(limit, lambda: shutil.rmtree(out)), out)
    one_line(caught.value)
    assert list(tmp_path.iterdir()) == []
