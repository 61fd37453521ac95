"""Training steps per second on pairs drawn as they are needed, against one batch used over and over.

    python bench/feeding.py [--cohort FILE.npz | --grids 128x128 ...] [--network NAME] [--width W] [--batch N]
                            [--steps N] [--subjects N] [--device D] [--precision P] [--quick] [--json FILE]

A network is trained as `modelaug.learning` does it, by the same loss and optimizer. "live" takes its batches from a
`PairStream` that draws ahead; "cached" repeats a single batch, on as many of torch's threads. On the CPU "live, in
turns" draws and trains in turns with all threads, as `modelaug.learning.train` does there, and "cached, all threads"
has all threads, too: the difference is what feeding costs. On a GPU "live" copies from page-locked memory, as training
does, and "live, pageable" does not. Waiting is the share of the time in which the loop had no batch; on a GPU it shows
whether pairs are drawn fast enough. The processor time of a step, that of drawing included, can be compared on a busy
machine as well. Needs torch.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import report
from synthesis import generated

from modelaug import AppearanceModel, Cohort, PairSynthesizer, _checks

INPUTS = ("image1", "image2", "flow", "weight")
GRIDS = ("128x128", "256x256")
CHANCES = 3  # each way is tried as often, in turn; the fastest counts
WIDTHS = {"FlowNetS": 0.125, "PyramidNetwork": 1.0}
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
WEIGHT_DECAY = 4e-4  # the default of `TrainOptions`


@dataclass(frozen=True)
class Setup:
    """How it is trained; `steps` are timed at once, `drawing` and `training` are threads."""

    network: str
    width: float
    batch: int
    steps: int
    device: str
    precision: str
    drawing: int
    training: int


class Trainer:
    """A network and its optimizer, as in training: a `RegistrationNetwork`, or what answers as one."""

    def __init__(self, network: Any, device: str, precision: str = "32") -> None:
        import torch

        self.network, self.device = network.to(device).train(), device
        if device == "cpu":
            self.network.to(memory_format=network.memory_format)
        self.half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
        biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
        weights = [p for name, p in network.named_parameters() if not name.endswith("bias")]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": biases}]
        scaled = precision == "16-mixed"
        self.optimizer = torch.optim.Adam(groups, lr=network.learning_rate, fused=not scaled)
        self.scaler = torch.amp.GradScaler(device, enabled=scaled)

    def step(self, batch: dict[str, Any]) -> Any:
        """Copy a batch to the device, take one step, and return the loss, a Tensor."""
        import torch

        from modelaug.learning import multiscale_error
        from modelaug.learning.network import network_input

        moved = {name: batch[name].to(self.device, non_blocking=True) for name in INPUTS}
        network = self.network
        self.optimizer.zero_grad()
        with torch.autocast(self.device.partition(":")[0], self.half, enabled=self.half is not None):
            outputs = network.displacements(*network_input(moved["image1"], moved["image2"], network))
            scales = {"scales": network.scales, "scale_weights": network.scale_weights}
            error = multiscale_error(outputs, moved["flow"], moved["weight"], **scales, normalize=network.normalize)
        self.scaler.scale(error / network.unit).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return error.detach()

    def synchronize(self) -> None:
        """Wait until the device has done what it was told."""
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def run(self, batches: Iterable[dict[str, Any]], steps: int) -> dict[str, float]:
        """Return the seconds of a step, its processor time, and the share of the time spent waiting for batches."""
        stream, waited, error = iter(batches), 0.0, 0.0
        self.synchronize()
        start, busy = time.perf_counter(), time.process_time()
        for _ in range(steps):
            before = time.perf_counter()
            batch = next(stream)
            waited += time.perf_counter() - before
            error = self.step(batch)
        self.synchronize()
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        if not math.isfinite(error):
            raise SystemExit(f"the error is {float(error)} after {steps} steps on {self.device}: nothing is trained")
        return {"step_seconds": seconds / steps, "processor_seconds": busy / steps, "waiting": waited / seconds}


def threads_of(count: int, device: str) -> tuple[int, int]:
    """Return the threads that draw ahead and those that train meanwhile."""
    if device != "cpu":
        return count, count
    drawing = max(1, count // 3)
    return drawing, max(1, count - drawing)


def measure(model: AppearanceModel, setup: Setup, threads: int) -> dict[str, dict[str, float]]:
    """Return what `Trainer.run` does for each way of feeding."""
    import torch

    from modelaug import learning

    source, cuda = PairSynthesizer(model), setup.device.startswith("cuda")
    streams = {"live": learning.PairStream(source, setup.batch, threads=setup.drawing, pin_memory=cuda)}
    if cuda:
        streams["live, pageable"] = learning.PairStream(source, setup.batch, threads=setup.drawing)
    else:
        streams["live, in turns"] = learning.PairStream(source, setup.batch, threads=threads, queue=0)
    network = getattr(learning, setup.network).for_images(model.grid, width=setup.width)
    trainer, cached = Trainer(network, setup.device, setup.precision), next(iter(streams["live"]))
    if cached["image1"].is_pinned() != cuda:
        raise SystemExit(f"a batch for {setup.device} {'is not' if cuda else 'is'} in page-locked memory")
    ways = {name: setup.training if name == "live" else threads for name in streams} | {"cached": setup.training}
    if not cuda:
        ways["cached, all threads"] = threads
    results: dict[str, dict[str, float]] = {}
    for _ in range(CHANCES):
        for way, training in ways.items():
            torch.set_num_threads(training)
            batches: Iterator[dict[str, Any]] = iter(streams[way]) if way in streams else itertools.repeat(cached)
            # What was drawn ahead must be used up before the stream runs at its own rate.
            trainer.run(batches, streams["live"].queue + 2)
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
    parser.add_argument("--cohort", type=Path, help="a cohort file, instead of generated hearts, or blobs in space")
    parser.add_argument("--grids", nargs="+", metavar="GRID", help=f"of the generated cohorts; {' '.join(GRIDS)}")
    parser.add_argument("--subjects", type=int, help="in each generated cohort; 32, or 8 if quick")
    parser.add_argument("--network", choices=WIDTHS, default="FlowNetS")
    parser.add_argument("--width", type=float, help="of the network; 0.125 for FlowNetS by default, else 1")
    parser.add_argument("--batch", type=int, default=8, help="pairs in a step")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed at once")
    parser.add_argument("--device", help="cuda where there is one, by default")
    parser.add_argument("--precision", choices=PRECISIONS, default="32", help="16-mixed needs a GPU")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("torch is not installed: nothing is trained. Run: pip install 'modelaug[train]'")
        report.write_json(arguments.json, {"missing": "torch"})
        return
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    threads, steps = _checks.thread_count(None), 3 if arguments.quick else arguments.steps
    width = WIDTHS[arguments.network] if arguments.width is None else arguments.width
    how = (arguments.batch, steps, device, arguments.precision)
    setup = Setup(arguments.network, width, *how, *threads_of(threads, device))
    print(
        f"{setup.network} of width {width}, {setup.batch} pairs a step, {setup.precision}, on {device}; "
        f"{setup.drawing} threads draw, {setup.training} train"
    )
    print(
        f"{'grid':10} {'pairs':20} {'steps/s':>9} {'pairs/s':>9} {'waiting %':>9} {'/ cached':>9} {'CPU ms/step':>12}"
    )
    subjects = arguments.subjects or (8 if arguments.quick else 32)
    grids = arguments.grids or GRIDS[: 1 if arguments.quick else None]
    cases = []
    for grid in [None] if arguments.cohort else grids:
        cohort = Cohort.load(arguments.cohort) if grid is None else generated(grid, subjects)
        results = measure(AppearanceModel.fit(cohort), setup, threads)
        show(cohort.grid, setup, results)
        cases.append({"grid": cohort.grid, **results})
    torch.set_num_threads(threads)
    report.write_json(arguments.json, {**asdict(setup), "threads": threads, "cases": cases})


if __name__ == "__main__":
    main()
