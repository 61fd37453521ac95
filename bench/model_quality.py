"""Learning curves: do models of few subjects reach unseen ones, and do they draw what could be real?

    OPENBLAS_NUM_THREADS=1 python bench/model_quality.py [--cohort FILE.npz]... [--sizes N...] [--at N] [--repeats N]
                                                         [--quick] [--json FILE] [--plot FILE.png]

For every number of training subjects and random split: shape models by kind and level of locality, and textures on a
grid of at most 64 pixels a side. Unseen subjects are aligned and normalized to the training subjects' mean. Measures:
generalization to all subjects left out, with coefficients as they come and clipped to 3 standard deviations;
specificity of 200 draws against the training subjects; folds, the share of drawn shapes whose map to the mean shape
folds or leaves the frame. Distances are in mm (pixels where a cohort has no spacing), texture errors in grey values.

Checks first that principal components and the finest locality reach what they must. The matrices are small: more than
one thread in numpy's products does not help.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import modelaug
from modelaug import GaussianModel, ShapeOptions, locality, procrustes, quality
from modelaug._random import generator
from modelaug.models.normalization import normalize
from modelaug.transforms.splines import SplineOptions

Array = npt.NDArray[np.float64]
Real = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.intp]
Record = dict[str, Any]

DRAWS, MAPS = 200, 10  # per model, for specificity and for folds
LIMIT = 3.0  # standard deviations
SIDE = 64  # pixels
PHANTOMS = 32  # subjects
LEVELS = 4  # of the learning curves
ALL_LEVELS = range(2, LEVELS + 2)


@dataclass(frozen=True)
class Variant:
    """A kind of model.

    `equal_range` divides thresholds by the taper's effective range: one half of a correlation is then left at the
    distance where the hard cut of the same level ends. A `curve` is fitted for all numbers of training subjects.
    """

    name: str
    levels: int = 1
    method: str = "merge"
    taper: str = "gaussian"
    coverage: float = 0.95
    rescale: str = "total"
    distances: str = "euclidean"
    equal_range: bool = False
    curve: bool = False

    @property
    def label(self) -> str:
        """What tables call it."""
        shown = [self.name, str(self.levels) if self.levels > 1 else "", f"{self.coverage:g}"]
        shown += [self.rescale if self.rescale != "total" else "", "objects" if self.distances == "objects" else ""]
        return " ".join(filter(None, shown))

    def thresholds(self, largest: float) -> Array:
        """Return the thresholds of the levels."""
        widened = largest / locality.effective_range(self.taper) if self.equal_range else largest  # type: ignore[arg-type]
        return np.asarray(widened * 0.5 ** np.arange(self.levels), dtype=np.float64)


PCA = [Variant("PCA", coverage=coverage, curve=True) for coverage in (0.95, 0.98, 1.0)]
PAPER: Record = {"name": "hard", "taper": "hard"}
KINDS: list[Record] = [
    PAPER,
    {"name": "gaussian"},
    {"name": "gaussian equal", "equal_range": True},
    {"name": "wendland equal", "taper": "wendland", "equal_range": True},
    {"name": "mixture", "method": "mixture"},
]
OPTIONS = asdict(ShapeOptions())
del OPTIONS["transform"]  # alignment is the same for all
DEFAULT = Variant("default", **OPTIONS, curve=True)


def shape_variants() -> list[Variant]:
    """Return all kinds of shape model; those of `LEVELS` levels and straight distances have learning curves."""
    straight = [Variant(**kind, levels=n, curve=n == LEVELS) for n in ALL_LEVELS for kind in KINDS]
    covering = [Variant(**kind, levels=LEVELS, coverage=coverage) for coverage in (0.98, 0.99) for kind in KINDS]
    rescaled = [Variant("gaussian", levels=LEVELS, rescale=rescale) for rescale in ("tail", "none")]
    objects = [Variant(**kind, levels=n, distances="objects") for n in ALL_LEVELS for kind in KINDS]
    return [*PCA, *straight, *covering, *rescaled, *objects, DEFAULT]


def texture_variants() -> list[Variant]:
    """Return all kinds of texture model."""
    local = [Variant(**kind, levels=n, curve=n == LEVELS) for n in ALL_LEVELS for kind in KINDS[:4]]
    return [*PCA, *local, Variant("gaussian", levels=LEVELS, coverage=0.98)]


def splits(subjects: int, size: int, repeats: int) -> Iterator[tuple[int, Indices, Indices]]:
    """Yield number, training subjects and all others of random splits; larger training sets contain smaller ones."""
    for repeat in range(repeats):
        order = generator(0, repeat).permutation(subjects)
        yield repeat, order[:size], order[size:]


def fitted_shape(variant: Variant, samples: Array, between: Array) -> GaussianModel:
    """Return the model of shapes (n, m * d) with distances (m, m) between their landmarks."""
    if variant.levels == 1:
        return GaussianModel.from_samples(samples, coverage=variant.coverage)
    return locality.fit_localized(
        samples,
        locality.expand_distances(between, samples.shape[1] // len(between)),
        variant.thresholds(between.max()),
        method=variant.method,  # type: ignore[arg-type]
        taper=variant.taper,  # type: ignore[arg-type]
        coverage=variant.coverage,
        rescale=variant.rescale,  # type: ignore[arg-type]
    ).model


def fitted_texture(variant: Variant, textures: Real, cohort: modelaug.Cohort) -> GaussianModel:
    """Return the model of textures (n, c * pixels) on the cohort's grid."""
    if variant.levels == 1:
        return GaussianModel.from_samples(textures, coverage=variant.coverage)
    diagonal = float(np.linalg.norm((np.array(cohort.grid) - 1) * cohort.spacing))
    return locality.localized_eigenimages(
        textures,
        cohort.grid,
        variant.thresholds(diagonal),
        taper=variant.taper,  # type: ignore[arg-type]
        coverage=variant.coverage,
        rescale=variant.rescale,  # type: ignore[arg-type]
        spacing=cohort.spacing,
        threads=1,
    )[0]


def measured(model: GaussianModel, training: Real, unseen: Real, repeat: int) -> Record:
    """Return the measures of a model that shapes and textures share."""
    total = training.reshape(len(training), -1).var(axis=0, ddof=1, dtype=np.float64).sum()
    return {
        "generalization": quality.generalization(model, unseen),
        "clipped": quality.generalization(model, unseen, limit=LIMIT),
        "specificity": quality.specificity(model, training, generator(1, repeat), draws=DRAWS),
        "modes": len(model.variances),
        "variance": float(model.variances.sum() / total),
    }


def folds(model: GaussianModel, cohort: modelaug.Cohort, repeat: int) -> float:
    """Return the share of drawn shapes that cannot be rendered: their map to the mean folds or leaves the frame."""
    m, d = cohort.landmarks.shape[1:]
    mean = model.mean.reshape(m, d) / cohort.spacing
    unfit = 0
    for drawn in model.sample(MAPS, generator(2, repeat)).reshape(MAPS, m, d) / cohort.spacing:
        inside = bool(((drawn >= 0) & (drawn <= np.array(cohort.grid) - 1)).all())
        field = SplineOptions().displacement(drawn, mean, cohort.grid).on_grid(threads=1) if inside else None
        unfit += field is None or bool((modelaug.jacobian_determinant(field, threads=1) <= 0).any())
    return unfit / MAPS


def shape_records(cohort: modelaug.Cohort, size: int, repeats: int, variants: Sequence[Variant]) -> list[Record]:
    """Fit and measure shape models of `size` subjects."""
    records = []
    landmarks = cohort.landmarks * cohort.spacing
    for repeat, training, unseen in splits(len(cohort), size, repeats):
        alignment = procrustes(landmarks[training])
        left_out, samples = alignment.align(landmarks[unseen]), alignment.shapes.reshape(size, -1)
        between = {
            "euclidean": locality.euclidean_distances(alignment.mean),
            "objects": locality.multi_object_distances(alignment.mean, cohort.objects),
        }
        for variant in variants:
            start = time.perf_counter()
            model = fitted_shape(variant, samples, between[variant.distances])
            seconds = time.perf_counter() - start
            scores = measured(model, alignment.shapes, left_out, repeat) | {"folds": folds(model, cohort, repeat)}
            records.append(record("shape", variant, size, repeat, seconds, scores))
    return records


def texture_records(cohort: modelaug.Cohort, size: int, repeats: int, variants: Sequence[Variant]) -> list[Record]:
    """Fit and measure texture models of `size` subjects."""
    records = []
    for repeat, training, unseen in splits(len(cohort), size, repeats):
        mean = procrustes(cohort.landmarks[training] * cohort.spacing).mean / cohort.spacing
        samples, left_out = (
            normalize(cohort.subset(part), mean, SplineOptions(), threads=1).textures.reshape(len(part), -1)
            for part in (training, unseen)
        )
        for variant in variants:
            start = time.perf_counter()
            model = fitted_texture(variant, samples, cohort)
            seconds = time.perf_counter() - start
            scores = measured(model, samples, left_out, repeat)
            records.append(record("texture", variant, size, repeat, seconds, scores))
    return records


def record(part: str, variant: Variant, size: int, repeat: int, seconds: float, scores: Record) -> Record:
    return {"part": part, "label": variant.label, "n": size, "repeat": repeat, "seconds": seconds} | scores


def downsampled(cohort: modelaug.Cohort) -> modelaug.Cohort:
    """Return the cohort on a grid of at most SIDE pixels a side: means of blocks, cropped to whole blocks."""
    factor = -(-max(cohort.grid) // SIDE)
    blocks = [length // factor for length in cohort.grid]
    images = cohort.images[(slice(None), slice(None), *(slice(b * factor) for b in blocks))]
    images = images.reshape(*images.shape[:2], *(n for b in blocks for n in (b, factor)))
    images = images.mean(axis=tuple(range(3, images.ndim, 2)))
    landmarks = (cohort.landmarks + 0.5) / factor - 0.5  # (0, 0) is the centre of the first pixel
    return modelaug.Cohort(images, landmarks, objects=cohort.objects, spacing=cohort.spacing * factor)


def check(cohort: modelaug.Cohort) -> None:
    """Raise AssertionError unless models reach what they must."""
    landmarks = cohort.landmarks * cohort.spacing
    alignment = procrustes(landmarks[:-2])
    samples, unseen = alignment.shapes.reshape(len(cohort) - 2, -1), alignment.align(landmarks[-2:])
    assert np.allclose(alignment.align(landmarks[:-2]), alignment.shapes, atol=1e-8), "alignment misses its own shapes"
    principal = GaussianModel.from_samples(samples)
    assert quality.generalization(principal, alignment.shapes) < 1e-9, "components miss what they were learned from"
    between = locality.expand_distances(locality.euclidean_distances(alignment.mean), landmarks.shape[2])
    finest = locality.localized_model(samples, between, [between.max(), 1e-9 * between.max()], coverage=1.0)
    assert quality.generalization(finest, unseen) < 1e-9, "independent landmarks do not reach every shape"


Summary = dict[tuple[str, str, int], dict[str, Array]]


def summarized(records: Sequence[Record]) -> Summary:
    """Return the measures of all splits by part, label and number of training subjects."""
    groups: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
    for one in records:
        groups[one["part"], one["label"], one["n"]].append(one)
    names = ("generalization", "clipped", "specificity", "folds", "modes", "variance", "seconds")
    return {
        key: {name: np.array([r[name] for r in group], dtype=float) for name in names if name in group[0]}
        for key, group in groups.items()
    }


def standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def print_tables(summary: Summary, part: str, variants: Sequence[Variant], sizes: Sequence[int], at: int) -> None:
    """Print the learning curves, then all variants at one number of training subjects."""
    print(f"\n{part}: generalization / specificity by number of training subjects")
    print(f"{'':28}" + "".join(f"{f'n = {n}':>16}" for n in sizes))
    for variant in variants:
        if variant.curve:
            curve = [summary[part, variant.label, n] for n in sizes]
            pairs = [f"{c['generalization'].mean():.4g} / {c['specificity'].mean():.4g}" for c in curve]
            print(f"{variant.label:28}" + "".join(f"{pair:>16}" for pair in pairs))
    columns = list(summary[part, variants[0].label, at])
    print(f"\n{part}: n = {at}, mean over splits (generalization with its standard error)")
    print(f"{'':28}{'':>8}" + "".join(f"{name:>16}" for name in columns))
    for variant in variants:
        values = summary[part, variant.label, at]
        cells = [f"{values[name].mean():.4g}" for name in columns]
        cells[0] += f" ± {standard_error(values['generalization']):.2g}"
        print(f"{variant.label:36}" + "".join(f"{cell:>16}" for cell in cells))


def errors(summary: Summary, part: str, label: str, n: int) -> Array:
    return summary[part, label, n]["generalization"]


def verdicts(summary: Summary, sizes: Sequence[int], at: int) -> Record:
    """Return the claims and whether they hold."""
    default, paper = DEFAULT.label, Variant(**PAPER, levels=LEVELS).label
    lower = {
        part: {
            v.label: 1 - errors(summary, part, label, at).mean() / errors(summary, part, v.label, at).mean()
            for v in PCA
        }
        for part, label in (("shape", default), ("texture", Variant("gaussian", levels=LEVELS).label))
    }
    holds = bool(min(lower["shape"].values()) >= 0.4)
    result: Record = {"n": at, "default": default, "error_below_pca": lower, "shape_40_percent_below_pca": holds}
    for n in sizes:
        ours, theirs = summary["shape", default, n], summary["shape", paper, n]
        difference = {name: ours[name] - theirs[name] for name in ("generalization", "specificity")}
        result[f"against {paper}, n = {n}"] = {
            "dominates": bool(difference["generalization"].mean() < 0 and difference["specificity"].mean() <= 0)
        } | {
            name: {"difference": float(d.mean()), "standard_error": standard_error(d)} for name, d in difference.items()
        }
    return result


COLORS = {"PCA": "#777777", "hard": "#d55e00", "gaussian": "#0072b2", "wendland": "#009e73", "mixture": "#cc79a7"}


def plotted(summaries: dict[str, Summary], sizes: Sequence[int], at: int) -> Any:
    """Return the figure: learning curves, and generalization against specificity of shapes and textures, per cohort."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.3 * len(summaries) + 0.4), layout="constrained")
    rows = figure.subplots(len(summaries), 3, squeeze=False)
    for (name, summary), (curves, shapes, textures) in zip(summaries.items(), rows, strict=True):
        for variant in (v for v in shape_variants() if v.curve and drawn(v)):
            means = [errors(summary, "shape", variant.label, n) for n in sizes]
            curves.errorbar(sizes, [m.mean() for m in means], [standard_error(m) for m in means], **appearance(variant))
        curves.set(title=f"{name}: {LEVELS} levels, mean ± standard error", xlabel="training subjects")
        curves.set(ylabel="generalization of shapes", xticks=sizes, ylim=(0, None))
        trade_off(shapes, summary, "shape", shape_variants(), at)
        trade_off(textures, summary, "texture", texture_variants(), at)
        for axes in (curves, shapes, textures):
            axes.grid(alpha=0.3)
    handles, names = rows[0, 1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def trade_off(axes: Any, summary: Summary, part: str, variants: Sequence[Variant], at: int) -> None:
    """Draw generalization against specificity: a line per kind through its levels, of PCA through its coverages."""
    lines: dict[tuple[str, str], list[Variant]] = defaultdict(list)
    for variant in variants:
        if variant.name in ("PCA", "default") or (drawn(variant) and variant.coverage == 0.95):
            lines[variant.name, variant.distances].append(variant)
    for line in lines.values():
        points = [[summary[part, v.label, at][m].mean() for m in ("specificity", "generalization")] for v in line]
        axes.plot(*np.transpose(points), marker="*" if line[0] is DEFAULT else "o", **appearance(line[0]))
        for variant, point in zip(line, points, strict=True):
            text = f"{variant.coverage:g}" if variant.name == "PCA" else f"{variant.levels}"
            color = appearance(variant)["color"]
            axes.annotate(text, point, xytext=(4, 4), textcoords="offset points", fontsize=8, color=color)
    axes.margins(y=0.1)
    axes.set(title=f"{part}s, n = {at}", ylabel="generalization", ylim=(0, None))
    axes.set(xlabel="specificity (numbers: levels; of PCA: coverage)")


def drawn(variant: Variant) -> bool:
    """Return whether a variant belongs in the figure, which cannot hold all."""
    crowding = variant.name == "gaussian equal" or (variant.name == "wendland equal" and variant.distances == "objects")
    return not crowding and variant.rescale == "total" and variant.label != "PCA 0.98"


def appearance(variant: Variant) -> Record:
    """Return color, line style and name of a variant's lines."""
    objects = variant.distances == "objects"
    return {
        "color": COLORS.get(variant.name.split()[0], "black"),
        "linestyle": "--" if objects else ":" if variant.label == "PCA 1" else "-",
        "linewidth": 3 if variant is DEFAULT else 1.5,
        "markersize": 14 if variant is DEFAULT else 4,
        "label": f"{variant.name} objects" if objects else variant.name,
    }


def cohorts(paths: Sequence[Path] | None) -> dict[str, modelaug.Cohort]:
    """Return the cohorts by name; phantoms if no path is given."""
    if paths:
        return {path.stem: modelaug.Cohort.load(path) for path in paths}
    shape = (SIDE, SIDE)
    return {
        "heart phantoms": modelaug.phantoms.heart(PHANTOMS, shape=shape),
        "brain phantoms": modelaug.phantoms.brain(PHANTOMS, shape=shape),
    }


def all_records(cohort: modelaug.Cohort, sizes: Sequence[int], at: int, repeats: int) -> list[Record]:
    """Measure all variants at `at` training subjects, those with a learning curve at the other numbers too."""
    records, small = [], downsampled(cohort)
    for size in sizes:
        shapes, textures = (
            [v for v in variants if size == at or v.curve] for variants in (shape_variants(), texture_variants())
        )
        records += shape_records(cohort, size, repeats, shapes)
        records += texture_records(small, size, max(2, repeats // 4), textures)
    return records


def print_verdicts(claims: Record) -> None:
    """Print what `verdicts` found."""
    print(f"\ndefault: {OPTIONS}\nn = {claims['n']}, error of unseen subjects:")
    for part, lower in claims["error_below_pca"].items():
        print(f"{part}: " + ", ".join(f"{share:.0%} below {label}" for label, share in lower.items()))
    print(f"shape: at least 40 % below each: {'yes' if claims['shape_40_percent_below_pca'] else 'NO'}")
    for against, claim in claims.items():
        if against.startswith("against"):
            g, s = (claim[name] for name in ("generalization", "specificity"))
            print(
                f"{against}: generalization {g['difference']:+.3g} ± {g['standard_error']:.1g}, "
                f"specificity {s['difference']:+.3g} ± {s['standard_error']:.1g}, "
                f"dominates: {'yes' if claim['dominates'] else 'NO'}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cohort", type=Path, action="append", help="a cohort file; heart and brain phantoms by default"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[5, 10, 15, 20, 25], help="numbers of training subjects"
    )
    parser.add_argument("--at", type=int, default=20, help="the one of them at which all variants are compared")
    parser.add_argument("--repeats", type=int, default=8, help="random splits of shapes; a quarter of them of textures")
    parser.add_argument("--quick", action="store_true", help="2 splits, 5 and 10 subjects")
    parser.add_argument("--json", type=Path, help="write all records and verdicts to this file")
    parser.add_argument("--plot", type=Path, help="draw the curves to this PNG file; needs matplotlib")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sizes, arguments.at, arguments.repeats = [5, 10], 10, 2
    sizes, at = sorted({*arguments.sizes, arguments.at}), arguments.at
    if arguments.repeats < 2 or sizes[0] < 3:
        parser.error("pass at least 2 repeats and 3 training subjects")
    result: Record = {
        "settings": {"sizes": sizes, "at": at, "repeats": arguments.repeats, "options": OPTIONS},
        "cohorts": {},
    }
    summaries = {}
    for name, cohort in cohorts(arguments.cohort).items():
        if len(cohort) < sizes[-1] + 2:
            parser.error(f"{name} has {len(cohort)} subjects; pass --sizes that leave 2 of them")
        print(f"\n===== {name}: {len(cohort)} subjects, {cohort.landmarks.shape[1]} landmarks", flush=True)
        start = time.perf_counter()
        check(cohort)
        records = all_records(cohort, sizes, at, arguments.repeats)
        summaries[name] = summarized(records)
        print_tables(summaries[name], "shape", shape_variants(), sizes, at)
        print_tables(summaries[name], "texture", texture_variants(), sizes, at)
        claims = verdicts(summaries[name], sizes, at)
        print_verdicts(claims)
        print(f"{time.perf_counter() - start:.0f} s", flush=True)
        result["cohorts"][name] = {"verdicts": claims, "records": records}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.plot:
        from modelaug.plots import save_figure

        save_figure(plotted(summaries, sizes, at), arguments.plot)


if __name__ == "__main__":
    main()
