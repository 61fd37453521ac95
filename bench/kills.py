"""Commands that are killed at random moments and started again: whether they end with the bits of one that never was.

    python bench/kills.py [--quick] [--json FILE] [--only NAME]

Every command is run once to its end, and its files are noted. Then it is started in an empty folder, and after a random
part of that time sent SIGKILL, SIGTERM or SIGINT, some times in a row in the same folder, until it is left to finish.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import modelaug
from modelaug import phantoms

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 130
FINISHED = "is there and not empty"
"""What `convert` says of a folder that was complete when the kill came."""
TIMES = ("seconds", "seconds_per_pair", "seconds_per_step", "seconds_to_prepare")


@dataclass
class Count:
    """What came of the kills of one command."""

    kills: int = 0
    early: int = 0
    faults: list[str] = field(default_factory=list)
    left: int = 0


def prepare(folder: Path) -> dict[str, list[str]]:
    """Write what the commands need; return their arguments but for the folder of the results."""
    hearts = phantoms.heart(40, shape=(96, 96), seed=0)
    hearts.save(folder / "hearts.npz")
    few = hearts.subset(range(6))
    few.save(folder / "few.npz")
    modelaug.AppearanceModel.fit(few).save(folder / "model.npz")
    shape = ["--network", "PyramidNetwork", "--width", "0.125"]
    small = ["train", str(folder / "model.npz"), *shape, "--steps", "40", "--batch-size", "1", "--threads", "1"]
    modelaug_run([*small, "-o", str(folder / "net")])
    modelaug_run(["convert", str(folder / "few.npz"), "-o", str(folder / "scans")])
    names = few.names
    lines = [f"scans/images/{a}.nii.gz,scans/images/{b}.nii.gz" for a in names for b in names if a != b]
    (folder / "pairs.csv").write_text("\n".join(["fixed,moving", *lines]) + "\n")
    methods = "Before Reg;FlowNet-Random"
    return {
        "sample": ["sample", str(folder / "model.npz"), "-n", "600", "--shard-size", "5", "--threads", "1"],
        "convert": ["convert", str(folder / "hearts.npz")],
        "register --pairs": [
            *("register", "--network", str(folder / "net"), "--pairs", str(folder / "pairs.csv"), "--threads", "1")
        ],
        "train": small,
        "compare": [
            *("compare", str(folder / "few.npz"), "--preset", "tiny", "--folds", "2", "--methods", methods),
            *("--metric", "contour_distance", "--threads", "1"),
        ],
    }


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start a command."""
    command = [sys.executable, "-m", "modelaug", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def modelaug_run(arguments: Sequence[str]) -> float:
    """Run a command to its end and return the seconds it took."""
    began = time.perf_counter()
    with start(arguments) as process:
        _, errors = process.communicate()
    if process.returncode != 0 and FINISHED not in errors:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}: {errors}")
    return time.perf_counter() - began


def contents(folder: Path) -> dict[str, Any]:
    """Return all files by name, without what tells of times; without pictures and reports of these, and checkpoints."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.suffix in (".html", ".md", ".ckpt"):
            continue
        if path.name == "losses.png":
            found[name] = None
        elif path.suffix == ".json":
            found[name] = sorted(map(repr, _untimed(json.loads(path.read_text()))))
        elif path.suffix == ".csv" and path.name in ("metrics.csv", "results.csv"):
            rows = csv.DictReader(io.StringIO(path.read_text()))
            found[name] = [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
        else:
            found[name] = path.read_bytes()
    return found


def _untimed(value: Any, key: str = "") -> Iterator[Any]:
    """Yield all that a JSON file holds, flat, without times."""
    if isinstance(value, dict):
        for name in value.keys() - set(TIMES):
            yield from _untimed(value[name], name)
    elif isinstance(value, list):
        for each in value:
            yield from _untimed(each, key)
    else:
        yield key, value


def check(arguments: Sequence[str], folder: Path, kills: Sequence[int], rng: np.random.Generator) -> Count:
    """Kill a command so often in each of some folders, and compare what it leaves in the end."""
    count = Count()
    starting = modelaug_run(["--version"])
    seconds = modelaug_run([*arguments, "-o", str(folder / "whole")])
    expected = contents(folder / "whole")
    for number, times in enumerate(kills):
        out = folder / f"killed{number}"
        done = 0
        while done < times:
            with start([*arguments, "-o", str(out)]) as process:
                time.sleep(rng.uniform(starting, max(seconds, 2 * starting)))
                sent = SIGNALS[count.kills % len(SIGNALS)]
                process.send_signal(sent)
                _, errors = process.communicate()
            if process.returncode == 0 or FINISHED in errors:  # it was faster
                shutil.rmtree(out)
                seconds, done = 0.8 * seconds, 0
                continue
            done += 1
            count.kills += 1
            if sent == signal.SIGINT and "modelaug/cli/" not in errors and process.returncode != INTERRUPTED:
                count.early += 1  # Python itself was interrupted, before the command began
                continue
            fault = _fault(sent, process.returncode, errors)
            if fault:
                count.faults.append(fault)
        modelaug_run([*arguments, "-o", str(out)])
        found = contents(out)
        differing = sorted(name for name in {**found, **expected} if found.get(name, ...) != expected.get(name, ...))
        count.faults += [f"{name} differs" for name in differing]
        count.left += sum(path.name.startswith(".") for path in out.rglob("*"))
    return count


def _fault(sent: signal.Signals, status: int, errors: str) -> str:
    """Say what is wrong with how a command ended, if anything."""
    lines = errors.splitlines()
    if "Traceback" in errors:
        return f"{sent.name}: a traceback: {lines[-1]}"
    if sent == signal.SIGINT and status != INTERRUPTED:
        return f"SIGINT: status {status}"
    if sent == signal.SIGINT and status == INTERRUPTED and lines[-1:] != ["modelaug: interrupted"]:
        return f"SIGINT: {lines[-1:]}"
    if sent != signal.SIGINT and status not in (-sent, 128 + sent):
        return f"{sent.name}: status {status}: {lines[-1:]}"
    return ""


def main() -> None:
    """Kill all commands and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few kills each")
    parser.add_argument("--json", type=Path, help="where figures go")
    parser.add_argument("--only", help="one command")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    plan = {
        "sample": (5, 5, 5),
        "convert": (4,) * 5,
        "register --pairs": (4, 4, 4),
        "train": (4,) * 3,
        "compare": (3, 3),
    }
    results = {}
    with tempfile.TemporaryDirectory(prefix="modelaug-kills-") as place:
        folder = Path(place)
        for name, arguments in prepare(folder).items():
            if given.only not in (None, name):
                continue
            (folder / name.split()[0]).mkdir()
            kills = plan[name][:1] if given.quick else plan[name]
            results[name] = found = check(arguments, folder / name.split()[0], kills, rng)
            print(
                f"{name}: {found.kills} kills, {found.early} of them before the command began, {found.left} leftovers"
            )
            for fault in found.faults:
                print(f"  {fault}")
    if given.json is not None:
        given.json.write_text(json.dumps({name: vars(found) for name, found in results.items()}, indent=2) + "\n")
    raise SystemExit(any(found.faults or found.left for found in results.values()))


if __name__ == "__main__":
    main()
