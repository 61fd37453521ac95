"""Whole pairs per second, against the floor and against what one would put together instead.

    python bench/synthesis.py [--cohort FILE.npz | --grids 128x128 ...] [--engines NAME ...] [--quick] [--json FILE]

A pair is two textures, exact flow, weights, landmarks, and labels where the cohort has them. For every grid and engine
of textures a model with default options is fitted to 32 generated hearts, or blobs in 3D; a pair must then be the same
bits alone, in a batch, and for any number of threads. Contenders are timed in turn, on 1 thread and on all cores. The
floor is that of the same engine (`pair_floor`). Peers (`assembly`) have the data of the same model, with the linear
textures that they can draw: its principal components, or eigenimages. Random elastic deformations, which do far less,
have a table of their own. The basis is left out by default on fine grids, where its fit takes minutes.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import assembly
import fresh
import numpy as np
import pair_floor
import report
from floor import Machine, measure

import modelaug
from modelaug import AppearanceModel, Cohort, PairSynthesizer, ShapeOptions, TextureOptions

EngineName = Literal["patchwork", "fields", "basis"]
ENGINES: tuple[EngineName, ...] = ("patchwork", "fields", "basis")
BASIS_VOXELS = 256**2  # on larger grids the basis is fitted only if asked for
GRIDS = ("128x128", "256x256", "512x512", "64x64x64")
ELASTIC = 16  # deformations by a peer for each pair that is drawn: they are fast


@dataclass(frozen=True)
class Effort:
    """How much is measured: subjects, the largest number of eigenimages, voxels drawn in a timed call, repeats."""

    subjects: int = 32
    modes: int = 300
    voxels: int = 2**20
    repeats: int = 5


@dataclass(frozen=True)
class Engine:
    """A model, its source of pairs, and what they take."""

    source: PairSynthesizer
    fit_seconds: float
    work: dict[str, pair_floor.Work]

    def facts(self) -> dict[str, Any]:
        """Return figures for the file."""
        model = self.source.model
        return {
            "grid": list(model.grid),
            "subjects": len(model.texture_coefficients),
            "landmarks": len(model.reference),
            "shape_modes": len(model.shape.variances),
            "texture_modes": len(model.texture.variances),
            "fit_seconds": self.fit_seconds,
            "multiply_adds": {part: work.multiply_adds for part, work in self.work.items()},
            "bytes": {part: work.bytes for part, work in self.work.items()},
        }


def generated(grid: str, subjects: int) -> Cohort:
    shape = tuple(map(int, grid.split("x")))
    return (modelaug.phantoms.heart if len(shape) == 2 else modelaug.phantoms.blobs3d)(subjects, shape=shape)


def prepare(cohort: Cohort, options: TextureOptions, pairs: int) -> Engine:
    """Fit a model and count what its pairs take."""
    seconds = math.inf
    # The first fit of all imports parts of scipy; those of the basis are long enough for that not to matter.
    for _ in range(1 if options.engine == "basis" else 2):
        start = time.perf_counter()
        model = AppearanceModel.fit(cohort, shape=ShapeOptions(levels=4), texture=options)
        seconds = min(seconds, time.perf_counter() - start)
    source = PairSynthesizer(model)
    check_purity(source)
    return Engine(source, seconds, pair_floor.work(model, [source.geometry(i) for i in range(pairs)]))


def check_purity(source: PairSynthesizer) -> None:
    """Stop unless a pair is the same bits alone, in a batch, and for any number of threads."""
    indices = [3, 0, 5]
    alone = [source.draw(i) for i in indices]
    for threads in (1, 2):
        batch = source.batch(indices, threads=threads)
        for name in alone[0].__dataclass_fields__.keys() - {"info"}:
            for i, pair in enumerate(alone):
                one, stacked = getattr(pair, name), getattr(batch, name)
                if one is not None and one.tobytes() != stacked[i].tobytes():
                    raise SystemExit(f"{name} of pair {indices[i]} differs in a batch on {threads} threads")


def peak_memory(model: Path, pairs: int, threads: int) -> float:
    """Return the peak in MiB of an interpreter that loads a model and draws a batch."""
    return fresh.peak_mebibytes(
        "import modelaug\n"
        f"source = modelaug.PairSynthesizer(modelaug.AppearanceModel.load({str(model)!r}))\n"
        f"source.batch(range({pairs}), threads={threads})"
    )


@dataclass(eq=False)
class Drawing:
    """Draws the same batch into the same arrays at each call, and keeps the least processor time, which says more on a
    busy machine.
    """

    source: PairSynthesizer
    pairs: int
    threads: int
    processor_seconds: float = math.inf

    def __post_init__(self) -> None:
        self.out = self.source.empty(self.pairs)

    def __call__(self) -> None:
        """Draw the batch."""
        start = time.process_time()
        self.source.batch(range(self.pairs), self.threads, self.out)
        self.processor_seconds = min(self.processor_seconds, time.process_time() - start)


def each(timing: report.Timing, pairs: int) -> report.Timing:
    return report.Timing(timing.best / pairs, timing.median / pairs)


def compare(
    label: str, engines: dict[str, Engine], folder: Path, machine: Machine, effort: Effort
) -> list[report.Case]:
    """Time all engines and peers on one grid with the machine's number of threads."""
    threads, grid = machine.threads, next(iter(engines.values())).source.model.grid
    pairs = threads * max(2, effort.voxels // math.prod(grid) // threads)
    names, missing = assembly.available(len(grid))
    counts = {name: pairs if assembly.PEERS[name].whole else ELASTIC * pairs for name in names}
    drawing = {name: Drawing(engine.source, pairs, threads) for name, engine in engines.items()}
    with assembly.Workers(threads, folder) as workers:
        peers = {name: partial(workers.batch, name, count) for name, count in counts.items()}
        timings = report.interleaved({**drawing, **peers}, repeats=effort.repeats, seconds=60.0)
    whole = {name: each(timings[name], n) for name, n in counts.items() if assembly.PEERS[name].whole}
    elastic = {name: each(timings[name], n) for name, n in counts.items() if name not in whole}
    cases: list[report.Case] = []
    for name, engine in engines.items():
        ours = {report.OURS: each(timings[name], pairs)}
        facts = engine.facts() | {
            "pairs_per_second": 1 / ours[report.OURS].best,
            "processor_seconds": drawing[name].processor_seconds / pairs,
            "peak_mebibytes": peak_memory(folder / f"{name}.npz", pairs, threads),
        }
        least = pair_floor.seconds(engine.work, machine)
        cases.append(report.Case(f"{name} {label}", threads, ours | whole, least, {} if cases else missing, facts))
    if elastic and "patchwork" in engines:
        ours = {report.OURS: each(timings["patchwork"], pairs)}
        cases.append(report.Case(f"elastic {label}", threads, ours | elastic))
    return cases


def run(
    label: str, cohort: Cohort, names: Sequence[EngineName], effort: Effort, machines: list[Machine]
) -> list[report.Case]:
    """Return the cases of one cohort."""
    engines: dict[str, Engine] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cohort.save(folder / "cohort.npz")
        for name in names:
            engines[name] = prepare(cohort, TextureOptions(engine=name, max_modes=effort.modes), pairs=4)
            engines[name].source.model.save(folder / f"{name}.npz")
        print_work(engines, label)
        cases: list[report.Case] = []
        # The peers have other textures where the model has other ones: eigenimages.
        for group in (["patchwork", "fields"], ["basis"]):
            chosen = {name: engines[name] for name in group if name in engines}
            if chosen:
                next(iter(chosen.values())).source.model.save(folder / "model.npz")
                cases += [c for machine in machines for c in compare(label, chosen, folder, machine, effort)]
    names_in_turn = list(dict.fromkeys(case.name for case in cases))
    return sorted(cases, key=lambda case: names_in_turn.index(case.name))


def print_work(engines: dict[str, Engine], label: str) -> None:
    """Print the counts behind the floors."""
    for name, engine in engines.items():
        parts = ", ".join(f"{part} {work.multiply_adds / 1e6:.3g}" for part, work in engine.work.items())
        megabytes = sum(work.bytes for work in engine.work.values()) / 1e6
        print(f"floor of {name} {label}: 10^6 multiply-adds of {parts}; {megabytes:.3g} MB")


def print_rates(cases: list[report.Case]) -> None:
    """Print pairs per second, what threads gain, processor time of a pair, time of the fit, and memory."""
    print(f"\n{'case':24} {'threads':>7} {'pairs/s':>9} {'speedup':>8} {'CPU ms':>8} {'fit s':>7} {'peak MiB':>9}")
    alone = {case.name: case.facts["pairs_per_second"] for case in cases if case.threads == 1 and case.facts}
    for case in cases:
        if case.facts:
            rate, facts = case.facts["pairs_per_second"], case.facts
            print(
                f"{case.name:24} {case.threads:7} {rate:9.1f} {rate / alone[case.name]:8.2f} "
                f"{report.digits(1e3 * facts['processor_seconds']):>8} {facts['fit_seconds']:7.2f} "
                f"{facts['peak_mebibytes']:9.0f}"
            )


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--cohort", type=Path, help="a cohort file, instead of generated ones")
    parser.add_argument("--grids", nargs="+", default=None, metavar="GRID", help="of the generated cohorts")
    parser.add_argument("--engines", nargs="+", default=None, choices=ENGINES)
    arguments = parser.parse_args()
    effort = Effort(subjects=12, modes=30, voxels=2**17, repeats=1) if arguments.quick else Effort()
    grids = arguments.grids or (GRIDS[:1] if arguments.quick else GRIDS)

    figures: dict[str, Any] = {"import_seconds": fresh.import_seconds(3 if arguments.quick else 10)}
    print(f"import modelaug: {figures['import_seconds']:.3f} s")
    machines = [measure(threads, quick=arguments.quick) for threads in report.thread_counts()]
    cases: list[report.Case] = []
    for label in [arguments.cohort.stem] if arguments.cohort else grids:
        cohort = Cohort.load(arguments.cohort) if arguments.cohort else generated(label, effort.subjects)
        small = np.prod(cohort.grid) <= BASIS_VOXELS
        names = arguments.engines or [name for name in ENGINES if name != "basis" or small]
        more = run(label, cohort, names, effort, machines)
        report.print_table(more)
        cases += more
    print_rates(cases)
    for machine in machines[1:]:
        gain = machine.multiply_adds_per_second / machines[0].multiply_adds_per_second
        print(f"{machine.threads} threads multiply {gain:.2f} times as fast as 1: if that is little, others are busy")
    figures["machines"] = [asdict(machine) for machine in machines]
    figures["cases"] = [case.record() for case in cases]
    report.write_json(arguments.json, figures, ("antspyx", "opencv-python-headless", "menpofit"))


if __name__ == "__main__":
    main()
