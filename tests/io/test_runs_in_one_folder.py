"""Runs that write pairs into one folder at once, and folders that are taken from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelaug import Pair, PairSynthesizer
from modelaug.io import verify_shards, write_shards
from modelaug.io.files.locks import LOCK
from modelaug.io.files.writing import FolderLostError
from tests.examples import heart_model, one_line

SYNTHESIZER = PairSynthesizer(heart_model(), seed=1)


class Acting:
    """A source that does something when a pair is drawn first."""

    def __init__(self, index: int, act: Callable[[], object]) -> None:
        self.found: Any = None
        self._index, self._act = index, act

    def draw(self, index: int) -> Pair:
        if index == self._index and self.found is None:
            self.found = self._act()
        return SYNTHESIZER.draw(index)


def elsewhere(out: Path, part: tuple[int, int], **options: Any) -> BaseException | None:
    """Return what is told to another run, in another thread."""
    arguments = {"count": 12, "shard_size": 1, "threads": 1} | options
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(write_shards, SYNTHESIZER, out=out, part=part, **arguments).exception()


@pytest.mark.parametrize(
    ("part", "other", "together"),
    [
        ((1, 1), (1, 1), False),
        ((1, 2), (1, 2), False),
        ((1, 2), (2, 2), True),
        ((1, 1), (2, 3), False),
        ((2, 3), (1, 1), False),
        ((1, 2), (1, 4), False),
        ((1, 2), (3, 4), False),
        ((1, 2), (2, 4), True),
        ((1, 2), (1, 3), False),  # they have shard 0 in common
        ((2, 6), (4, 9), True),
    ],
)
def test_only_parts_without_common_shards_are_written_at_once(
    tmp_path: Path, part: tuple[int, int], other: tuple[int, int], together: bool
) -> None:
    source = Acting(part[0] - 1, lambda: elsewhere(tmp_path, other))
    write_shards(source, 12, tmp_path, shard_size=1, part=part, threads=1)
    if together:
        assert source.found is None
    else:
        assert isinstance(source.found, BlockingIOError)
        assert f"{tmp_path} is in use by process " in str(source.found)
        one_line(source.found)
        assert elsewhere(tmp_path, other) is None  # afterwards it may
    verify_shards(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_refused_run_touches_nothing(tmp_path: Path) -> None:
    half = tmp_path / ".pairs-000003.npz.abcd_123.tmp"

    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (half, *tmp_path.glob("*.lock"), *tmp_path.glob("man*"))}

    def act() -> object:
        half.write_bytes(b"of the run at work")
        before = contents()
        errors = [elsewhere(tmp_path, (1, 1)), elsewhere(tmp_path, (1, 1), count=9), elsewhere(tmp_path, (2, 5))]
        assert contents() == before
        return errors

    source = Acting(2, act)
    write_shards(source, 12, tmp_path, shard_size=1, threads=1)
    assert [type(error) for error in source.found] == [BlockingIOError] * 3
    assert half.exists()
    write_shards(Acting(-1, list), 12, tmp_path, shard_size=1, threads=1)
    assert not half.exists()  # now it is of a dead run


def test_locks_of_dead_runs_are_no_obstacle(tmp_path: Path) -> None:
    tmp_path.joinpath(LOCK).write_text(json.dumps({"pid": 1}))
    for name in (".modelaug-1-of-3.lock", ".modelaug-2-of-3.lock", ".modelaug-0-of-0.lock", ".modelaug-x.lock"):
        tmp_path.joinpath(name).write_text("")
    write_shards(SYNTHESIZER, 4, tmp_path, shard_size=1, part=(1, 3), threads=1)
    left = {path.name for path in tmp_path.glob(".*")}
    assert left == {".modelaug-2-of-3.lock", ".modelaug-0-of-0.lock", ".modelaug-x.lock"}
    write_shards(SYNTHESIZER, 4, tmp_path, shard_size=1, threads=1)
    assert {path.name for path in tmp_path.glob(".*")} == left - {".modelaug-2-of-3.lock"}


@pytest.mark.parametrize("format", ["npz", "tar", "chairs"])
@pytest.mark.parametrize("when", [0, 5, 11])
def test_a_removed_folder_is_not_made_anew(tmp_path: Path, format: str, when: int) -> None:
    out = tmp_path / "out"

    def remove() -> bool | None:
        if not out.exists():
            return None  # one pair is drawn before there is a folder
        out.rename(tmp_path / "gone")  # at once: a shard may be written meanwhile
        return True

    arguments: dict[str, Any] = {"intensities": (0, 100)} if format == "chairs" else {}
    with pytest.raises(FolderLostError, match="was removed or moved while it was written to; 0 of 12 pairs") as caught:
        write_shards(Acting(when, remove), 12, out, shard_size=2, format=format, threads=1, **arguments)
    one_line(caught.value)
    assert not out.exists()


def test_removed_shards_are_told(tmp_path: Path) -> None:
    source = Acting(9, lambda: [(tmp_path / f"pairs-00000{k}.npz").unlink() for k in (0, 2)])
    with pytest.raises(FolderLostError, match=r"lost files while it was written to; 8 of 12 pairs are in it") as caught:
        write_shards(source, 12, tmp_path, shard_size=2, threads=1)
    one_line(caught.value)
    write_shards(SYNTHESIZER, 12, tmp_path, shard_size=2, threads=1)
    verify_shards(tmp_path)


class TestCommand:
    """The same by `modelaug sample`."""

    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> tuple[int, str]:
        pytest.importorskip("typer")
        from typer.testing import CliRunner

        from modelaug.cli import app

        heart_model().save(tmp_path / "model.npz")
        draw = PairSynthesizer.batch

        def batch(self: PairSynthesizer, indices: Any, **options: Any) -> Pair:
            if 4 in indices:
                act()
            return draw(self, indices, **options)

        monkeypatch.setattr(PairSynthesizer, "batch", batch)
        arguments = ["sample", tmp_path / "model.npz", "-n", "8", "-o", tmp_path / "out", "--shard-size", "2"]
        result = CliRunner().invoke(app, [*map(str, arguments), "--threads", "1"])
        assert result.stdout == ""
        (line,) = [line for line in result.stderr.splitlines() if not line.startswith("drawing pairs")]
        return result.exit_code, line

    def test_a_removed_folder_has_status_1(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        status, line = self.run(tmp_path, monkeypatch, lambda: (tmp_path / "out").rename(tmp_path / "gone"))
        assert (status, line.endswith("out was removed or moved while it was written to; 0 of 8 pairs are in it")) == (
            1,
            True,
        )

    def test_an_interrupt_has_one_line_and_status_130(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        assert self.run(tmp_path, monkeypatch, interrupt) == (130, "modelaug: interrupted")
        monkeypatch.undo()
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            *("manifest.json", "pairs-000000.npz", "pairs-000001.npz")
        }
