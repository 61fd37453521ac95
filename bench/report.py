"""What the benchmarks share: fair timing, the table, the file of figures, the options --quick and --json."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import modelaug
from modelaug import _checks

OURS = "modelaug"
SAMPLE_SECONDS = 2e-3
"""A sample of a faster function is the mean of as many calls as take this long."""
REST_SECONDS = 0.05
"""Between samples: the last contender's threads, which spin for a while in the hope of more work, go to sleep. Those of
OpenBLAS take 2^26 cycles, others fewer."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the least, and the median, of several samples."""

    best: float
    median: float


@dataclass(frozen=True)
class Case:
    """What was measured of one case with one number of threads.

    timings: by contender, ours under `OURS`. floor: seconds below which no program can come, or None. missing: peers
    that could not run and why. facts: further figures for the file.
    """

    name: str
    threads: int
    timings: Mapping[str, Timing]
    floor: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def strongest(self) -> str | None:
        """Return the name of the fastest peer, or None where there is none."""
        peers = {name: timing.best for name, timing in self.timings.items() if name != OURS}
        return min(peers, key=lambda name: peers[name]) if peers else None

    def ratios(self, name: str) -> tuple[float | None, float | None]:
        """Return a contender's best time over the floor, and over the strongest peer's."""
        strongest = self.strongest()
        best = self.timings[name].best
        return (
            best / self.floor if self.floor else None,
            best / self.timings[strongest].best if strongest is not None else None,
        )

    def record(self) -> dict[str, Any]:
        """Return all of it for a JSON file, ratios included."""
        contenders = {}
        for name, timing in self.timings.items():
            to_floor, to_peer = self.ratios(name)
            contenders[name] = {
                "best_seconds": timing.best,
                "median_seconds": timing.median,
                "to_floor": to_floor,
                "to_strongest_peer": to_peer,
            }
        return {
            "case": self.name,
            "threads": self.threads,
            "floor_seconds": self.floor,
            "strongest_peer": self.strongest(),
            "contenders": contenders,
            "missing": dict(self.missing),
            **self.facts,
        }


def interleaved(
    contenders: Mapping[str, Callable[[], object]], *, repeats: int, seconds: float = math.inf
) -> dict[str, Timing]:
    """Time functions in turn, so that whatever slows the machine for a while slows all of them.

    Each is called once before, to warm up. At most `repeats` rounds are made, and at least three; between those no more
    is begun once `seconds` have passed.
    """
    calls = {}
    for name, function in contenders.items():
        function()
        start = time.perf_counter()
        function()
        calls[name] = max(1, math.ceil(SAMPLE_SECONDS / max(time.perf_counter() - start, 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    begin = time.perf_counter()
    for done in range(repeats):
        if done >= 3 and time.perf_counter() - begin > seconds:
            break
        for name, function in contenders.items():
            time.sleep(REST_SECONDS)
            start = time.perf_counter()
            for _ in range(calls[name]):
                function()
            samples[name].append((time.perf_counter() - start) / calls[name])
    return {name: Timing(min(times), statistics.median(times)) for name, times in samples.items()}


def best(function: Callable[[], object], *, repeats: int, seconds: float = math.inf) -> Timing:
    """Time one function; for several that are compared, use `interleaved`."""
    return interleaved({"": function}, repeats=repeats, seconds=seconds)[""]


def thread_counts() -> list[int]:
    """Return the numbers of threads to measure with: one, and all there are."""
    return sorted({1, _checks.thread_count(None)})


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--quick", action="store_true", help="few repeats, small cases: to see that it runs")
    result.add_argument("--json", type=Path, help="write the figures to this file")
    return result


def print_table(cases: Iterable[Case]) -> None:
    """Print one line for each contender of each case."""
    print(
        f"{'threads':>7} {'contender':30} {'best ms':>9} {'median ms':>9} {'floor ms':>9} {'/ floor':>8} "
        f"{'/ strongest peer':>16}"
    )
    previous = None
    for case in cases:
        if case.name != previous:
            print(case.name)
        previous = case.name
        for name, timing in case.timings.items():
            figures = (timing.best * 1e3, timing.median * 1e3, case.floor and case.floor * 1e3)
            times = " ".join(f"{digits(figure):>9}" for figure in figures)
            to_floor, to_peer = case.ratios(name)
            print(f"{case.threads:7} {name:30} {times} {digits(to_floor):>8} {digits(to_peer):>16}")
        for name, reason in case.missing.items():
            print(f"{case.threads:7} {name:30} missing: {reason}")


def digits(value: float | None) -> str:
    """Return a figure of a table: three digits, and no power of ten, or - for None."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def environment(packages: Sequence[str] = ()) -> dict[str, Any]:
    """Return what figures depend on: the machine, our build, and the versions of the packages named."""
    versions: dict[str, str | None] = {}
    for package in ("numpy", "scipy", "torch", *packages):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "modelaug": modelaug.__version__,
        "build": modelaug.build_config(),
        "packages": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write_json(path: Path | None, figures: Mapping[str, Any], packages: Sequence[str] = ()) -> None:
    """Write figures, and the environment they are of, to a file if one is wanted."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"environment": environment(packages), **figures}, indent=2) + "\n")
