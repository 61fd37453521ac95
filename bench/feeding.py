"""Training steps per second on pairs drawn as they are needed, against one batch used over and over.

    python bench/feeding.py [--cohort FILE.npz] [--width W] [--batch N] [--steps N] [--device D] [--quick] [--json FILE]

FlowNet-S is trained as `modelaug.learning` does it, by the same loss and optimizer. "live" takes its batches from a
`PairStream`; "cached" repeats a single batch, on as many of torch's threads; "cached, all threads" has those as well
that draw pairs otherwise: the difference is what feeding costs in all. Waiting is the share of the time in which the
loop had no batch; on a GPU it shows whether pairs are drawn fast enough. The processor time of a step, that of drawing
included, can be compared on a busy machine as well. Needs torch.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report

import modelaug
from modelaug import AppearanceModel, Cohort, PairSynthesizer, _checks

INPUTS = ("image1", "image2", "flow", "weight")
GRIDS = ((128, 128), (256, 256))
CHANCES = 3  # each way is tried as often, in turn; the fastest counts


@dataclass(frozen=True)
class Setup:
    """How it is trained; `steps` are timed at once, `drawing` and `training` are threads."""

    width: float
    batch: int
    steps: int
    device: str
    drawing: int
    training: int


class Trainer:
    """A network and its optimizer, as in training."""

    def __init__(self, setup: Setup) -> None:
        import torch

        from modelaug.learning import FlowNetS

        self.setup = setup
        self.network = FlowNetS(width=setup.width).to(setup.device).train()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4, fused=True)

    def step(self, batch: dict[str, Any]) -> None:
        """Copy a batch to the device and take one step."""
        from modelaug.learning import multiscale_epe
        from modelaug.learning.registration import network_input

        moved = {name: batch[name].to(self.setup.device, non_blocking=True) for name in INPUTS}
        images = network_input(moved["image1"], moved["image2"], self.network.image_channels)
        loss = multiscale_epe(self.network(images), moved["flow"], moved["weight"])
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def synchronize(self) -> None:
        """Wait until the device has done what it was told."""
        import torch

        if self.setup.device.startswith("cuda"):
            torch.cuda.synchronize()

    def run(self, batches: Iterable[dict[str, Any]], steps: int) -> dict[str, float]:
        """Return the seconds of a step, its processor time, and the share of the time spent waiting for batches."""
        stream, waited = iter(batches), 0.0
        self.synchronize()
        start, busy = time.perf_counter(), time.process_time()
        for _ in range(steps):
            before = time.perf_counter()
            batch = next(stream)
            waited += time.perf_counter() - before
            self.step(batch)
        self.synchronize()
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        return {"step_seconds": seconds / steps, "processor_seconds": busy / steps, "waiting": waited / seconds}


def threads_of(count: int, device: str) -> tuple[int, int]:
    """Return the threads that draw and that train, as `modelaug.learning.train` shares them out."""
    if device != "cpu":
        return count, count
    drawing = max(1, count // 3)
    return drawing, max(1, count - drawing)


def measure(model: AppearanceModel, setup: Setup, threads: int) -> dict[str, dict[str, float]]:
    """Return what `Trainer.run` does for each way of feeding."""
    import torch

    from modelaug.learning import PairStream

    stream = PairStream(
        PairSynthesizer(model), setup.batch, threads=setup.drawing, pin_memory=setup.device.startswith("cuda")
    )
    trainer, cached = Trainer(setup), next(iter(stream))
    ways = {"live": setup.training, "cached": setup.training, "cached, all threads": threads}
    results: dict[str, dict[str, float]] = {}
    for _ in range(CHANCES):
        for way, training in ways.items():
            torch.set_num_threads(training)
            batches: Iterator[dict[str, Any]] = iter(stream) if way == "live" else itertools.repeat(cached)
            # What was drawn ahead must be used up before the stream runs at its own rate.
            trainer.run(batches, stream.queue + 2)
            result = trainer.run(batches, setup.steps)
            if way not in results or result["step_seconds"] < results[way]["step_seconds"]:
                results[way] = result
            del batches  # ends the thread that draws
    return results


def show(grid: tuple[int, ...], setup: Setup, results: dict[str, dict[str, float]]) -> None:
    label = "x".join(map(str, grid))
    for way, result in results.items():
        rate, cost = 1 / result["step_seconds"], result["step_seconds"] / results["cached"]["step_seconds"]
        print(
            f"{label:10} {way:20} {rate:9.2f} {rate * setup.batch:9.1f} {100 * result['waiting']:9.1f} {cost:9.2f} "
            f"{report.digits(1e3 * result['processor_seconds']):>12}",
            flush=True,
        )


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--cohort", type=Path, help="a cohort file in 2D; hearts of 128 x 128 and 256 x 256 by default")
    parser.add_argument("--width", type=float, default=0.125, help="of the network; 1 is the published one")
    parser.add_argument("--batch", type=int, default=8, help="pairs in a step")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed at once")
    parser.add_argument("--device", help="cuda where there is one, by default")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("torch is not installed: nothing is trained. Run: pip install 'modelaug[train]'")
        report.write_json(arguments.json, {"missing": "torch"})
        return
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    threads, steps = _checks.thread_count(None), 3 if arguments.quick else arguments.steps
    setup = Setup(arguments.width, arguments.batch, steps, device, *threads_of(threads, device))
    print(
        f"FlowNet-S of width {setup.width}, {setup.batch} pairs a step, on {device}; "
        f"{setup.drawing} threads draw, {setup.training} train"
    )
    print(
        f"{'grid':10} {'pairs':20} {'steps/s':>9} {'pairs/s':>9} {'waiting %':>9} {'/ cached':>9} {'CPU ms/step':>12}"
    )
    if arguments.cohort:
        cohorts = [Cohort.load(arguments.cohort)]
    else:
        subjects, grids = (8, GRIDS[:1]) if arguments.quick else (32, GRIDS)
        cohorts = [modelaug.phantoms.heart(subjects, shape=grid) for grid in grids]
    cases = []
    for cohort in cohorts:
        results = measure(AppearanceModel.fit(cohort), setup, threads)
        show(cohort.grid, setup, results)
        cases.append({"grid": cohort.grid, **results})
    torch.set_num_threads(threads)
    figures = {"width": setup.width, "batch": setup.batch, "device": device, "threads": threads, "cases": cases}
    report.write_json(arguments.json, figures, ("lightning",))


if __name__ == "__main__":
    main()
