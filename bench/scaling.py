"""How the cost of a pair and of a fit grows with pixels, landmarks, subjects, modes, levels and threads; and memory.

    python bench/scaling.py [--sweeps NAME ...] [--quick] [--json FILE]

Cohorts are generated hearts. Times are the least processor times of several runs on one thread, so that what else the
machine does counts little; with threads they are times on the wall. Exponents are slopes of the logarithms by least
squares: 1 is linear, and the last one is that of the two largest values. Peak memory is that of fresh interpreters.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import fresh
import numpy as np
import report
from scipy.interpolate import CubicSpline

import modelaug
from modelaug import (
    AppearanceModel,
    Cohort,
    GaussianModel,
    LandmarkObject,
    PairSynthesizer,
    ShapeOptions,
    TextureOptions,
)

PAIRS = 4  # in a timed batch
SLACK = 0.1  # above 1, of an exponent that is still called linear
FEW = 0.1  # of a pair's time: what landmarks may take to be called negligible


@dataclass(frozen=True)
class Effort:
    """Repeats, subjects of a cohort, and the values of the sweeps."""

    repeats: int = 7
    subjects: int = 32
    sides: tuple[int, ...] = (64, 128, 256, 512)
    factors: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    cohorts: tuple[int, ...] = (8, 16, 32, 64)
    modes: tuple[int, ...] = (32, 100, 300, 1000)
    levels: tuple[int, ...] = (1, 2, 3, 4, 5)


QUICK = Effort(
    repeats=2, subjects=8, sides=(64, 128), factors=(0.5, 1.0), cohorts=(4, 8), modes=(10, 30), levels=(1, 2)
)


@dataclass(frozen=True)
class Sweep:
    """Seconds of some things, by name, at some values of a variable."""

    variable: str
    values: list[int]
    seconds: dict[str, list[float]]
    power: bool = True
    """Whether an exponent says something."""

    def exponents(self, name: str) -> tuple[float, float]:
        """Return the slope of log(seconds) over log(values), that of all and that of the last two."""
        x, y = np.log(self.values), np.log(self.seconds[name])
        return float(np.polyfit(x, y, 1)[0]), float((y[-1] - y[-2]) / (x[-1] - x[-2]))

    def show(self) -> None:
        """Print a table."""
        print(f"\n{self.variable:>22} " + " ".join(f"{name + ' ms':>18}" for name in self.seconds))
        for i, value in enumerate(self.values):
            print(f"{value:22} " + " ".join(f"{report.digits(1e3 * s[i]):>18}" for s in self.seconds.values()))
        for label, which in (("exponent", 0), ("last exponent", 1)) if self.power else ():
            print(
                f"{label:>22} " + " ".join(f"{self.exponents(name)[which]:18.2f}" for name in self.seconds), flush=True
            )

    def record(self) -> dict[str, Any]:
        """Return all of it for a file."""
        exponents = {name: self.exponents(name) for name in self.seconds if self.power}
        return asdict(self) | {"exponents": exponents}


@cache
def hearts(subjects: int, side: int) -> Cohort:
    return modelaug.phantoms.heart(subjects, shape=(side, side))


def processor_times(functions: Mapping[Any, Callable[[], object]], repeats: int) -> list[float]:
    """Return the least processor time of each function, called in turn."""
    least = dict.fromkeys(functions, math.inf)
    for _ in range(repeats):
        for key, function in functions.items():
            start = time.process_time()
            function()
            least[key] = min(least[key], time.process_time() - start)
    return list(least.values())


def pair_times(models: Sequence[AppearanceModel], repeats: int) -> list[float]:
    """Return the processor seconds of a pair from each model."""
    sources = [PairSynthesizer(model) for model in models]
    draw = {i: partial(source.batch, range(PAIRS), 1) for i, source in enumerate(sources)}
    return [seconds / PAIRS for seconds in processor_times(draw, repeats)]


def fit_times(cohorts: Sequence[Cohort], repeats: int, **options: Any) -> list[float]:
    """Return the processor seconds of a fit to each cohort."""
    fits = {i: partial(AppearanceModel.fit, cohort, threads=1, **options) for i, cohort in enumerate(cohorts)}
    return processor_times(fits, max(2, repeats // 2))


def with_texture(model: AppearanceModel, texture: GaussianModel | None = None, **options: Any) -> AppearanceModel:
    """Return a model with other texture options, and other modes if they are given."""
    changed = replace(model.options, texture=replace(model.options.texture, **options))
    if texture is None:
        return replace(model, options=changed)
    coefficients = np.zeros((len(model.texture_coefficients), len(texture.variances)))
    return replace(model, texture=texture, texture_coefficients=coefficients, options=changed)


def with_modes(model: AppearanceModel, engine: str, count: int) -> AppearanceModel:
    """Return a model that draws from so many modes: its own, again and again. What they show takes no time."""
    texture = model.texture
    which = np.sort(np.arange(count) % len(texture.variances))
    stored = np.ascontiguousarray(texture.basis.T[which])
    return with_texture(model, GaussianModel(texture.mean, stored.T, texture.variances[which]), engine=engine)


def resampled(cohort: Cohort, factor: float) -> Cohort:
    """Return a cohort with so many times as many landmarks, on smooth curves through its closed contours."""
    parts, objects, start = [], [], 0
    for contour in cohort.objects:
        count = len(contour.indices)
        closed = cohort.landmarks[:, [*contour.indices, contour.indices[0]]]
        places = np.arange(round(factor * count)) / factor
        parts.append(CubicSpline(np.arange(count + 1), closed, axis=1, bc_type="periodic")(places))
        objects.append(LandmarkObject(contour.name, tuple(range(start, start + len(places))), contour.kind))
        start += len(places)
    landmarks = np.concatenate(parts, axis=1)
    return Cohort(cohort.images, landmarks, labels=cohort.labels, objects=objects, spacing=cohort.spacing)


def sweep_pixels(effort: Effort) -> Sweep:
    cohorts = [hearts(effort.subjects, side) for side in effort.sides]
    models = [AppearanceModel.fit(cohort) for cohort in cohorts]
    seconds = {
        engine: pair_times([with_texture(model, engine=engine) for model in models], effort.repeats)
        for engine in ("patchwork", "fields")
    }
    seconds["fit"] = fit_times(cohorts, effort.repeats)
    return Sweep("pixels", [side**2 for side in effort.sides], seconds)


def sweep_landmarks(effort: Effort) -> Sweep:
    cohorts = [resampled(hearts(effort.subjects, effort.sides[-2]), factor) for factor in effort.factors]
    seconds = {"patchwork": pair_times([AppearanceModel.fit(c) for c in cohorts], effort.repeats)}
    seconds["fit"] = fit_times(cohorts, effort.repeats)
    return Sweep("landmarks", [c.landmarks.shape[1] for c in cohorts], seconds)


def sweep_subjects(effort: Effort) -> Sweep:
    everyone = hearts(max(effort.cohorts), 128)
    cohorts = [everyone.subset(range(n)) for n in effort.cohorts]
    models = [AppearanceModel.fit(cohort) for cohort in cohorts]
    seconds = {
        engine: pair_times([with_texture(model, engine=engine) for model in models], effort.repeats)
        for engine in ("patchwork", "fields")
    }
    seconds["fit"] = fit_times(cohorts, effort.repeats)
    return Sweep("subjects", list(effort.cohorts), seconds)


def sweep_modes(effort: Effort) -> Sweep:
    model = AppearanceModel.fit(hearts(effort.subjects, 128))
    seconds = {
        engine: pair_times([with_modes(model, engine, k) for k in effort.modes], effort.repeats)
        for engine in ("fields", "basis")
    }
    return Sweep("modes of texture", list(effort.modes), seconds)


def sweep_shape_levels(effort: Effort) -> Sweep:
    cohort, chosen = hearts(effort.subjects, 128), [ShapeOptions(levels=n) for n in effort.levels]
    seconds = {"patchwork": pair_times([AppearanceModel.fit(cohort, shape=s) for s in chosen], effort.repeats)}
    seconds["fit"] = [fit_times([cohort], effort.repeats, shape=s)[0] for s in chosen]
    return Sweep("levels of shape", list(effort.levels), seconds, power=False)


def sweep_texture_levels(effort: Effort) -> Sweep:
    cohort, chosen = hearts(effort.subjects, 128), [TextureOptions(levels=n) for n in effort.levels]
    seconds = {"patchwork": pair_times([AppearanceModel.fit(cohort, texture=t) for t in chosen], effort.repeats)}
    seconds["fit"] = [fit_times([cohort], effort.repeats, texture=t)[0] for t in chosen]
    return Sweep("levels of texture", list(effort.levels), seconds, power=False)


def sweep_threads(effort: Effort) -> Sweep | None:
    """Return seconds on the wall, or None where there is one core."""
    most = report.thread_counts()[-1]
    source = PairSynthesizer(AppearanceModel.fit(hearts(effort.subjects, effort.sides[-2])))
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n < most] + [most]
    pairs = 8 * most
    timings = report.interleaved(
        {str(n): partial(source.batch, range(pairs), n) for n in counts}, repeats=effort.repeats
    )
    return Sweep("threads", counts, {"patchwork": [t.best / pairs for t in timings.values()]}) if most > 1 else None


SWEEPS: dict[str, Callable[[Effort], Sweep | None]] = {
    "pixels": sweep_pixels,
    "landmarks": sweep_landmarks,
    "subjects": sweep_subjects,
    "modes": sweep_modes,
    "shape-levels": sweep_shape_levels,
    "texture-levels": sweep_texture_levels,
    "threads": sweep_threads,
}


def verdicts(name: str, sweep: Sweep) -> dict[str, bool]:
    """Return which of our expectations hold: linear or better in pixels and modes, landmarks negligible."""
    if name in ("pixels", "modes"):
        return {
            f"{thing} linear or better in {sweep.variable}": max(sweep.exponents(thing)) <= 1 + SLACK
            for thing in sweep.seconds
        }
    if name == "landmarks":
        fewest, usual = sweep.seconds["patchwork"][0], sweep.seconds["patchwork"][sweep.values.index(104)]
        return {
            f"104 landmarks instead of {sweep.values[0]} add at most {FEW:.0%} to a pair": usual / fewest <= 1 + FEW
        }
    return {}


def memory(effort: Effort) -> list[dict[str, Any]]:
    """Print and return the peak memory of fits and of drawing, in MiB, beside what the images take."""
    alone = fresh.peak_mebibytes("import modelaug")
    print(f"\npeak memory in MiB, of which an interpreter with modelaug alone takes {alone:.0f}")
    print(f"{'grid':>12} {'subjects':>9} {'images':>9} {'fit':>9} {'drawing':>9}")
    rows = []
    few = effort.cohorts[0]
    cohorts = [*(hearts(effort.subjects, side) for side in effort.sides), hearts(few, effort.sides[-1])]
    for cohort in [*cohorts, modelaug.phantoms.blobs3d(few, shape=(effort.sides[0],) * 3)]:
        with tempfile.TemporaryDirectory() as folder:
            data, model = (str(Path(folder) / f"{name}.npz") for name in ("cohort", "model"))
            cohort.save(data)
            load = f"import modelaug\ncohort = modelaug.Cohort.load({data!r})\n"
            draw = f"import modelaug\nsource = modelaug.PairSynthesizer(modelaug.AppearanceModel.load({model!r}))\n"
            row = {
                "grid": list(cohort.grid),
                "subjects": len(cohort),
                "images": cohort.images.nbytes / 2**20,
                "fit": fresh.peak_mebibytes(f"{load}modelaug.AppearanceModel.fit(cohort, threads=1).save({model!r})"),
                "drawing": fresh.peak_mebibytes(f"{draw}for i in range({PAIRS}): source.draw(i)"),
            }
        rows.append(row)
        print(
            f"{'x'.join(map(str, cohort.grid)):>12} {len(cohort):9} {row['images']:9.1f} {row['fit']:9.0f} "
            f"{row['drawing']:9.0f}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--sweeps", nargs="+", choices=(*SWEEPS, "memory"), default=(*SWEEPS, "memory"))
    arguments = parser.parse_args()
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        # The idle threads of a BLAS take processor time; it reads their number as it is loaded.
        os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    effort = QUICK if arguments.quick else Effort()
    figures: dict[str, Any] = {"sweeps": [], "expectations": {}}
    for name, make in SWEEPS.items():
        sweep = make(effort) if name in arguments.sweeps else None
        if sweep is not None:
            sweep.show()
            figures["sweeps"].append(sweep.record())
            figures["expectations"] |= verdicts(name, sweep)
    if "memory" in arguments.sweeps:
        figures["memory_mebibytes"] = memory(effort)
    print()
    for expectation, holds in figures["expectations"].items():
        print(f"{'holds' if holds else 'DOES NOT HOLD'}: {expectation}")
    report.write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
