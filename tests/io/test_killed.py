"""Runs that are killed at random moments and started again: nothing is lost, doubled, changed or left over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from modelaug.io import read_manifest, verify_shards
from tests.cli.test_cli import succeeds
from tests.examples import heart_model, philox
from tests.processes import start

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a POSIX")

SIZE = 2


def command(model: Path, out: Path, count: int, *options: str) -> list[object]:
    return ["sample", model, "-o", out, "-n", count, "--shard-size", SIZE, "--threads", 1, *options]


def kill(process: BaseProcess, rng: np.random.Generator, shards: Callable[[], int]) -> bool:
    """Kill a process once it wrote some more shards, a moment later; return whether it was still running."""
    wanted = shards() + rng.integers(0, 9)
    while process.is_alive() and shards() < wanted:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.03))
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("format", "kills"), [("npz", 20), ("tar", 5), ("chairs", 5)])
def test_killed_and_continued(tmp_path: Path, format: str, kills: int) -> None:
    model, out, rng = tmp_path / "model.npz", tmp_path / "out", philox(kills)
    heart_model().save(model)
    count = 40 * kills  # more than are written between the kills, unless this process is kept waiting for long
    last = "_flow.flo" if format == "chairs" else f".{format}"
    share = SIZE if format == "chairs" else 1

    def shards() -> int:
        return sum(name.endswith(last) for name in os.listdir(out)) // share if out.exists() else 0

    hits = 0
    for _ in range(kills):
        hits += kill(start(*command(model, out, count, "--format", format)), rng, shards)
        if out.exists() and any(out.glob("manifest*")):
            noted = read_manifest(out)["shards"]  # never half-written, and lists nothing that is not there
            assert len(noted) <= shards()
    assert hits > 0.8 * kills
    succeeds(*command(model, out, count, "--format", format))
    succeeds(*command(model, tmp_path / "whole", count, "--format", format))
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
    verify_shards(out)


def test_killed_parts_in_one_folder(tmp_path: Path) -> None:
    """Three parts at work in one folder at the same time, each killed some times; the union is that of one run."""
    model, out, rng = tmp_path / "model.npz", tmp_path / "out", philox(0)
    heart_model().save(model)
    count, parts = 300, ["1/3", "2/3", "3/3"]

    processes = [start(*command(model, out, count, "--shard", part)) for part in parts]
    for _ in range(5):
        k = int(rng.integers(3))
        kill(processes[k], rng, lambda: len(list(out.glob("pairs-*"))) if out.exists() else 0)
        processes[k] = start(*command(model, out, count, "--shard", parts[k]))
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    succeeds(*command(model, tmp_path / "whole", count))
    assert read_manifest(out) == verify_shards(tmp_path / "whole")
    succeeds(*command(model, out, count))
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert {path.name: path.read_bytes() for path in out.iterdir() if "-of-3" not in path.name} == expected
    verify_shards(out)
