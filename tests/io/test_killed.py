"""Runs that are killed at random moments and started again: nothing is lost, doubled, changed or left over."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelaug.io import read_manifest, verify_shards
from tests.examples import heart_model, philox

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("typer") is None or not hasattr(signal, "SIGKILL"),
    reason="needs the command line, a POSIX",
)

SIZE = 2


def command(model: Path, out: Path, count: int, *options: str) -> list[str]:
    arguments = ["sample", str(model), "-o", str(out), "-n", f"{count}", "--shard-size", f"{SIZE}", "--threads", "1"]
    return [sys.executable, "-m", "modelaug", *arguments, *options]


def run(*arguments: str) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def kill(process: subprocess.Popen[bytes], rng: np.random.Generator, shards: Callable[[], int]) -> bool:
    """Kill a process once it wrote some more shards, a moment later; return whether it was still running."""
    wanted = shards() + rng.integers(0, 9)
    while process.poll() is None and shards() < wanted:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.03))
    process.kill()
    return process.wait() == -signal.SIGKILL


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
        with subprocess.Popen(
            command(model, out, count, "--format", format), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            hits += kill(process, rng, shards)
        if out.exists() and any(out.glob("manifest*")):
            noted = read_manifest(out)["shards"]  # never half-written, and lists nothing that is not there
            assert len(noted) <= shards()
    assert hits > 0.8 * kills
    run(*command(model, out, count, "--format", format))
    run(*command(model, tmp_path / "whole", count, "--format", format))
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
    verify_shards(out)


def test_killed_parts_in_one_folder(tmp_path: Path) -> None:
    """Three parts at work in one folder at the same time, each killed some times; the union is that of one run."""
    model, out, rng = tmp_path / "model.npz", tmp_path / "out", philox(0)
    heart_model().save(model)
    count, parts = 300, ["1/3", "2/3", "3/3"]

    def start(part: str) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command(model, out, count, "--shard", part), **quiet)

    processes = [start(part) for part in parts]
    for _ in range(5):
        k = int(rng.integers(3))
        kill(processes[k], rng, lambda: len(list(out.glob("pairs-*"))) if out.exists() else 0)
        processes[k] = start(parts[k])
    assert [process.wait() for process in processes] == [0, 0, 0]
    run(*command(model, tmp_path / "whole", count))
    assert read_manifest(out) == verify_shards(tmp_path / "whole")
    run(*command(model, out, count))
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert {path.name: path.read_bytes() for path in out.iterdir() if "-of-3" not in path.name} == expected
    verify_shards(out)
