"""What a registration network costs, and what a time of training buys: ours, and those of VoxelMorph and MONAI.

    python bench/networks.py [--parts speed error repeat] [--networks NAME ...] [--budgets SECONDS ...] [--threads N]
                             [--device D] [--precision P] [--quick] [--json FILE]

"speed": a forward pass from two images to the displacement at every voxel, and a step of training as
`modelaug.learning.train` takes it, the end-point error being every network's loss: seconds, and the peak memory of a
fresh process that takes two such steps, torch and all; on a GPU that of the tensors there. Whether `PyramidNetwork`
stays within `LIMITS` is printed below. "error": for each network and budget of wall-clock seconds a training of its
own, with the schedule that fits the budget, on pairs of a model of 24 generated hearts, or blobs in space; the 8 other
subjects are registered with each other. "repeat": whether two trainings from one seed leave the same weights. Checked
first: a step is that of `train`, a pair in a batch is registered as it is alone, and every weight has a finite
gradient. Networks of other packages are left out where these are not installed.
"""

from __future__ import annotations

import csv
import functools
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import fresh
import numpy as np
import report
import torch
from feeding import PRECISIONS, Trainer
from synthesis import generated
from torch import Tensor, nn

from modelaug import AppearanceModel, Cohort, PairSynthesizer, _checks, learning
from modelaug.evaluation import score_pairs, test_pairs

Grid = tuple[int, ...]

OURS = "PyramidNetwork"
JOBS = (
    ("forward", "256x256", 1),
    ("forward", "48x64x48", 1),
    ("forward", "96x96x96", 1),
    ("step", "128x128", 8),
    ("step", "48x64x48", 2),
    ("step", "96x96x96", 1),
)
QUICK_JOBS = (("forward", "64x64", 1), ("forward", "16x32x16", 1), ("step", "64x64", 2), ("step", "16x32x16", 1))
"""What is done, on which grid, with how many pairs."""
LIMITS = {
    ("forward", "256x256"): {"seconds": 0.06},
    ("step", "48x64x48"): {"seconds": 0.6, "gibibytes": 2.5},
    ("step", "96x96x96"): {"gibibytes": 8.0},
}
"""Of `OURS` on two cores."""
BUDGETS = (30.0, 60.0, 120.0, 240.0)
STUDIES = {"128x128": 8, "48x48x48": 2}
QUICK_STUDIES = {"64x64": 2, "36x24x24": 1}
"""Grids of the cohorts that are learned from, and pairs in a step."""
TRIAL = 20  # steps that tell how many fit into a budget
SUBJECTS = 32  # of the cohorts; a quarter is held out
SHIPPED = f"{OURS}, shipped weights"


def grid_of(label: str) -> Grid:
    return tuple(map(int, label.split("x")))


class Peer(nn.Module):
    """Another package's network, with what training asks of one; its displacement is of the finest scale alone."""

    image_channels, scales, scale_weights, unit, normalize = 1, (1,), (1.0,), 1.0, True
    learning_rate, memory_format, seen = 1e-3, torch.contiguous_format, None

    def __init__(self, ndim: int, network: nn.Module, estimate: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.ndim, self.network, self.estimate = ndim, network, estimate

    def displacements(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        """Return the displacement (b, d, *grid) in voxels."""
        return (self.estimate(fixed, moving),)

    def full_resolution(self, finest: Tensor, grid: Sequence[int]) -> Tensor:
        """Return it as it is."""
        return finest


def voxelmorph(grid: Grid) -> Any:
    """VxmPairwise as it is by default, with fewer levels where the grid cannot be halved five times."""
    levels = 0
    while levels < 5 and all(n % 2 ** (levels + 1) == 0 for n in grid):
        levels += 1
    models = import_module("voxelmorph").nn.models
    network = models.VxmPairwise(len(grid), 1, 1, nb_features=(16,) * levels)
    return Peer(len(grid), network, lambda fixed, moving: network(moving, fixed))


def monai(grid: Grid) -> Any:
    """MONAI's VoxelMorph with the layers and the seven squarings of the paper, but without its warp of the image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its own interpolation was not compiled, and torch's is taken
        network = import_module("monai.networks.nets").VoxelMorph(spatial_dims=len(grid))
    return Peer(
        len(grid), network, lambda fixed, moving: network.dvf2ddf(network.backbone(torch.cat([moving, fixed], dim=1)))
    )


NETWORKS: dict[str, Callable[[Grid], Any]] = {
    OURS: learning.PyramidNetwork.for_images,
    "FlowNetS": learning.FlowNetS.for_images,
    "voxelmorph.VxmPairwise": voxelmorph,
    "monai.VoxelMorph": monai,
}


@dataclass(frozen=True)
class Machine:
    """Where networks run: the device, the precision of training, and the threads."""

    device: str
    precision: str
    threads: int

    def made(self, name: str, grid: Grid) -> Any:
        """Return a new network, on the device."""
        return NETWORKS[name](grid).to(self.device)

    def available(self, names: Sequence[str], d: int) -> tuple[list[str], dict[str, str]]:
        """Return the networks for d axes, and why others are missing."""
        fitting, missing = [name for name in names if d == 2 or name != "FlowNetS"], {}
        for name in fitting:
            try:
                self.made(name, (64,) * d)
            except ImportError as error:
                missing[name] = f"{error}; pip install {name.partition('.')[0]}"
        return [name for name in fitting if name not in missing], missing


def noise(grid: Grid, count: int) -> dict[str, Tensor]:
    """Return a batch of pairs in which there is nothing to see, as `PairStream` gives them."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand((count, 1, *grid), generator=generator) for _ in range(2)]
    flow = torch.randn((count, len(grid), *grid), generator=generator)
    return {"image1": images[0], "image2": images[1], "flow": flow, "weight": torch.ones(count, *grid)}


def check_network(name: str, grid: Grid, machine: Machine) -> None:
    """Stop unless pairs are registered alike alone and in a batch, and a step reaches every weight."""
    batch, trainer = noise(grid, 2), Trainer(machine.made(name, grid), machine.device)
    fixed, moving = batch["image1"], batch["image2"]
    for _ in range(2):  # first weights may be so small that the displacement says nothing
        trainer.step(batch)
    together = learning.estimate_flow(trainer.network, fixed, moving)
    alone = [learning.estimate_flow(trainer.network, fixed[k : k + 1], moving[k : k + 1]) for k in range(2)]
    if together.shape != batch["flow"].shape or not torch.allclose(together, torch.cat(alone), atol=1e-3):
        raise SystemExit(f"{name} on {grid} registers pairs in a batch otherwise than alone")
    for part, weight in trainer.network.named_parameters():
        if weight.grad is None or not torch.isfinite(weight.grad).all():
            raise SystemExit(f"{name} on {grid}: a step gives {part} no finite gradient")


def check_step() -> None:
    """Stop unless the steps that are timed leave the weights that `modelaug.learning.train` leaves, on the CPU."""
    source = PairSynthesizer(AppearanceModel.fit(generated("64x64", 6)))
    for kind in (learning.PyramidNetwork, learning.FlowNetS):
        first = kind.for_images((64, 64))
        trainer = Trainer(kind.for_images((64, 64)), "cpu")
        with tempfile.TemporaryDirectory() as folder:
            options = learning.TrainOptions(
                2, batch_size=2, learning_rate=None, halvings=(), validation_pairs=1, keep="last"
            )
            learning.train(source, network=first, options=options, out=folder, threads=1, progress=False)
        for batch in learning.PairStream(source, 2, batches=2, queue=0):
            trainer.step(batch)
        for (part, weight), other in zip(first.named_parameters(), trainer.network.parameters(), strict=True):
            if not torch.allclose(weight, other, atol=1e-5):
                raise SystemExit(f"a step as it is timed is not that of training: {part} of {kind.__name__} differs")


def take_steps(name: str, grid: Grid, count: int, machine: Machine) -> None:
    """Take two steps of training, in the process whose memory is measured."""
    torch.set_num_threads(machine.threads)
    trainer = Trainer(machine.made(name, grid), machine.device, machine.precision)
    for _ in range(2):
        trainer.step(noise(grid, count))
    trainer.synchronize()


def peak_gibibytes(name: str, grid: Grid, count: int, machine: Machine) -> float:
    """Return the memory of two steps: that of a process, or on a GPU that of the tensors."""
    if machine.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        take_steps(name, grid, count, machine)
        return (torch.cuda.max_memory_allocated() - before) / 2**30
    code = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport networks\n"
    return fresh.peak_mebibytes(f"{code}networks.take_steps({name!r}, {grid}, {count}, networks.{machine})") / 1024


def calls(mode: str, names: Sequence[str], grid: Grid, count: int, machine: Machine) -> dict[str, Callable[[], None]]:
    """Return what is timed of each network."""
    batch = {name: tensor.to(machine.device) for name, tensor in noise(grid, count).items()}

    def call(name: str) -> Callable[[], None]:
        network = machine.made(name, grid)
        trainer = Trainer(network, machine.device, machine.precision) if mode == "step" else None

        def run() -> None:
            if trainer is None:
                learning.estimate_flow(network, batch["image1"], batch["image2"])
            else:
                trainer.step(batch)
            if machine.device != "cpu":
                torch.cuda.synchronize()

        return run

    return {name: call(name) for name in names}


def speed(names: Sequence[str], machine: Machine, quick: bool) -> list[dict[str, Any]]:
    """Time every job of every network, and print it."""
    print(f"\n{'':9} {'grid':10} {'pairs':>5} {'network':24} {'weights':>9} {'best ms':>9} {'median ms':>9} {'GiB':>7}")
    cases = []
    for mode, label, count in QUICK_JOBS if quick else JOBS:
        grid = grid_of(label)
        present, missing = machine.available(names, len(grid))
        timings = report.interleaved(
            calls(mode, present, grid, count, machine), repeats=3 if quick else 10, seconds=60.0
        )
        for name in present:
            weights = sum(weight.numel() for weight in NETWORKS[name](grid).parameters())
            memory = peak_gibibytes(name, grid, count, machine) if mode == "step" else None
            best, median = timings[name].best, timings[name].median
            print(
                f"{mode:9} {label:10} {count:5} {name:24} {weights:9} {report.digits(1e3 * best):>9} "
                f"{report.digits(1e3 * median):>9} {report.digits(memory):>7}",
                flush=True,
            )
            case = {"case": mode, "grid": label, "pairs": count, "network": name, "weights": weights}
            cases.append({**case, "best_seconds": best, "median_seconds": median, "peak_gibibytes": memory})
        for name, reason in missing.items():
            print(f"{mode:9} {label:10} {'':5} {name:24} missing: {reason}")
    if machine.device == "cpu":
        print_limits(cases, machine.threads)
    return cases


def print_limits(cases: Sequence[dict[str, Any]], threads: int) -> None:
    """Print whether our network keeps the limits; of its times the best, since others may use the machine."""
    for case in cases:
        limits = LIMITS.get((case["case"], case["grid"]), {}) if case["network"] == OURS else {}
        for what, limit in limits.items():
            value = case["best_seconds" if what == "seconds" else "peak_gibibytes"]
            print(
                f"{OURS}, {case['case']} on {case['grid']}: {report.digits(value)} {what} on {threads} threads, of "
                f"{limit:g} allowed on two cores: {'holds' if value < limit else 'does NOT hold'}"
            )


def starts(grid: Grid) -> dict[str, Any]:
    """Return the networks that are trained, by name."""
    found: dict[str, Any] = {"FlowNetS": learning.FlowNetS.for_images(grid)} if len(grid) == 2 else {}
    shipped = learning.shipped_network(len(grid))
    return {**found, OURS: learning.PyramidNetwork.for_images(grid), SHIPPED: shipped}


def train(
    network: Any, source: PairSynthesizer, steps: int, batch: int, folder: Path, machine: Machine, seed: int | None
) -> float:
    """Train as is recommended and return the seconds that it took, all told."""
    options = learning.recommended_options(
        steps,
        batch_size=batch,
        precision=machine.precision,
        seed=seed,
        validation_pairs=batch,
        validate_every=steps,
        checkpoint_every=steps + 1,
        log_every=max(1, steps // 2),
        keep="last",
    )
    start = time.perf_counter()
    learning.train(
        source,
        network=network,
        options=options,
        out=folder,
        resume=False,
        progress=False,
        threads=machine.threads,
    )
    return time.perf_counter() - start


def score(network: Any, held_out: Cohort, machine: Machine) -> dict[str, float]:
    """Register all pairs of held-out subjects, and return means of what is found; of nothing for no network."""
    register = None if network is None else functools.partial(learning.register, network.to(machine.device))
    pairs = test_pairs(range(len(held_out)))
    found = score_pairs(held_out, pairs, register or (lambda *_: None), threads=machine.threads)
    records = [record for record, _ in found]
    return {
        name: float(np.mean([r[name] for r in records])) for name in ("landmark_error", "folded_percent", "seconds")
    }


def error(label: str, batch: int, subjects: int, budgets: Sequence[float], machine: Machine) -> list[dict[str, Any]]:
    """Train each network for each budget on one cohort, and print how it registers."""
    cohort = generated(label, subjects)
    split = subjects - subjects // 4
    held_out = cohort.subset(range(split, subjects))
    source = PairSynthesizer(AppearanceModel.fit(cohort.subset(range(split)), threads=machine.threads))
    rows: list[dict[str, Any]] = []

    def note(name: str, budget: float, steps: int, seconds: float, network: Any) -> None:
        scores = score(network, held_out, machine)
        print(
            f"{label:10} {name:32} {budget:8g} {steps:7} {seconds:8.1f} {scores['landmark_error']:9.2f} "
            f"{scores['folded_percent']:9.3f} {report.digits(1e3 * scores['seconds']):>9}",
            flush=True,
        )
        rows.append(
            {"grid": label, "network": name, "budget": budget, "steps": steps, "training_seconds": seconds} | scores
        )

    note("before registration", 0, 0, 0.0, None)
    note(SHIPPED, 0, 0, 0.0, starts(cohort.grid)[SHIPPED])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in starts(cohort.grid):
            seed = None if name == SHIPPED else 0
            train(starts(cohort.grid)[name], source, TRIAL, batch, folder, machine, seed)
            with open(folder / "metrics.csv", newline="") as file:
                step_seconds = float(list(csv.DictReader(file))[-1]["seconds_per_step"])
            for budget in budgets:
                network, steps = starts(cohort.grid)[name], max(1, round(budget / step_seconds))
                seconds = train(network, source, steps, batch, folder, machine, seed)
                note(name, budget, steps, seconds, network)
    return rows


def repeat(label: str, batch: int, subjects: int, steps: int, machine: Machine) -> list[dict[str, Any]]:
    """Train each network twice from one seed on one cohort, and print how far apart the weights are."""
    source = PairSynthesizer(AppearanceModel.fit(generated(label, subjects), threads=machine.threads))
    rows = []
    for name in (name for name in starts(grid_of(label)) if name != SHIPPED):
        states = []
        for _ in range(2):
            network = starts(grid_of(label))[name]
            with tempfile.TemporaryDirectory() as folder:
                train(network, source, steps, batch, Path(folder), machine, seed=0)
                device = learning.read_card(folder)["device"]
            states.append(network.state_dict())
        furthest = max(float((a - b).abs().max()) for a, b in zip(states[0].values(), states[1].values(), strict=True))
        print(
            f"{label:10} {name:32} {steps} steps on {device}: weights of two trainings differ by {furthest:.2g} at most"
        )
        row = {"grid": label, "network": name, "steps": steps, "device": device, "precision": machine.precision}
        rows.append({**row, "same": furthest == 0, "largest_difference": furthest})
    return rows


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=("speed", "error", "repeat"), default=("speed", "error"))
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=tuple(NETWORKS), help="whose speed is measured"
    )
    parser.add_argument("--budgets", nargs="+", type=float, help="seconds of training; 30 60 120 240 by default")
    parser.add_argument("--threads", type=int, help="all cores by default")
    parser.add_argument("--device", help="cuda where there is one, by default")
    parser.add_argument("--precision", choices=PRECISIONS, default="32", help="of training; 16-mixed needs a GPU")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # training takes a GPU that it sees
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    machine = Machine(device, arguments.precision, _checks.thread_count(arguments.threads))
    torch.set_num_threads(machine.threads)
    quick, figures = arguments.quick, {**asdict(machine)}
    studies, subjects = (QUICK_STUDIES, 8) if quick else (STUDIES, SUBJECTS)
    print(f"{machine.threads} threads, on {device}, training in {machine.precision}")
    if device == "cpu" and machine.precision != "32":
        studies = {label: batch for label, batch in studies.items() if len(grid_of(label)) == 2}  # as `train` has it
    if "speed" in arguments.parts:
        if device == "cpu":
            check_step()
        for grid in ((64, 64), (16, 32, 16)):
            for name in machine.available(arguments.networks, len(grid))[0]:
                check_network(name, grid, machine)
        figures["speed"] = speed(arguments.networks, machine, quick)
    if "error" in arguments.parts:
        print(
            f"\n{'cohort':10} {'network':32} {'budget s':>8} {'steps':>7} {'took s':>8} {'error mm':>9} "
            f"{'folded %':>9} {'ms a pair':>9}"
        )
        budgets = arguments.budgets or ([2.0] if quick else BUDGETS)
        found = [error(label, batch, subjects, budgets, machine) for label, batch in studies.items()]
        figures["error"] = [row for rows in found for row in rows]
    if "repeat" in arguments.parts:
        steps = 3 if quick else 50
        found = [repeat(label, batch, subjects, steps, machine) for label, batch in studies.items()]
        figures["repeat"] = [row for rows in found for row in rows]
    report.write_json(arguments.json, figures, ("voxelmorph", "monai"))


if __name__ == "__main__":
    main()
