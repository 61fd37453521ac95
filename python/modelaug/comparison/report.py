"""The report of a comparison: one HTML file with tables, pictures and the tests' results in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeGuard

import numpy as np

from modelaug import _checks, _core, plots
from modelaug.comparison.page import Picture, Section, render_page
from modelaug.data.cohort import Cohort
from modelaug.evaluation import metric_info
from modelaug.evaluation.examples import Example
from modelaug.evaluation.statistics import TESTS
from modelaug.io.files.archives import write_atomically
from modelaug.plots.comparison import metric_title, write_value
from modelaug.plots.training import read_metrics

Record = Mapping[str, Any]

_HEADINGS: Final = {
    "mean_difference": "difference",
    "confidence_interval": "95 % confidence interval",
    "effect_size": "effect size (d_z)",
    **{name: f"p, {title}" for name, title in TESTS.items()},
}
# Best without registration, so that no method is singled out in these.
_BEST_AT_REST: Final = ("folded_percent", "log_jacobian_sd", "inverse_consistency", "seconds")
_SIGNIFICANT: Final = 0.05
_MISSING: Final = "\N{EN DASH}"


def write_report(
    path: str | Path,
    *,
    cohort: Cohort,
    table: Mapping[str, Any],
    records: Sequence[Record],
    examples: Sequence[Example] = (),
    curves: Mapping[str, Mapping[int, str | Path]] | None = None,
) -> None:
    """Write the report of a comparison as one self-contained HTML file, atomically.

    Empty parts are left out: differences of a single method, tests, examples, trainings. Methods are compared with the
    method of the best mean.

    Parameters
    ----------
    path
        The file; its folder is made if need be.
    cohort
        The subjects that were registered.
    table
        See `modelaug.evaluation.make_table`.
    records
        One per method, fold and test pair: ``method``, ``fold``, ``fixed``, ``moving``, ``seconds`` and metrics.
    examples
        Some of the pairs with their displacements. Examples of a pair are shown together.
    curves
        By method and fold, the ``metrics.csv`` of a training.

    Raises
    ------
    ModelFileError
        If a ``metrics.csv`` cannot be read.
    ValueError
        If the table has no methods, or records or examples name a method that it lacks or a subject or grid that the
        cohort lacks.
    """
    methods = list(table["methods"])
    if not methods:
        raise ValueError("table has no methods; pass the table of at least one")
    _check_methods("records", (record["method"] for record in records), methods)
    _check_methods("examples", (example.method for example in examples), methods)
    for example in examples:
        for name in ("fixed", "moving"):
            _checks.integer(f"{name} of an example", getattr(example, name), minimum=0, maximum=len(cohort) - 1)
        if example.displacement.shape != (2, *cohort.grid):
            raise ValueError(
                f"displacement of an example has shape {example.displacement.shape}; pass (2, h, w) on the cohort's "
                f"grid {cohort.grid}, in the plane"
            )
    title = f"{table['cohort']}: {len(methods)} registration method{'' if len(methods) == 1 else 's'} compared"
    best = _best(table)
    sections = [
        _scores(table, best),
        *_plots(table, records, best),
        *_tests(table, best),
        *([Section("Examples", pictures=_examples(cohort, table, records, examples))] if examples else []),
        *_trainings(curves or {}),
    ]
    write_atomically(path, render_page(title, _facts(cohort, table, records), sections))


def _check_methods(name: str, found: Iterable[str], methods: Sequence[str]) -> None:
    alien = next((method for method in found if method not in methods), None)
    if alien is not None:
        raise ValueError(f"{name} hold the method {alien!r}, which the table lacks; pass a table of the same methods")


def _best(table: Mapping[str, Any]) -> str | None:
    """Return the first method with the best mean; None if none has a mean."""
    means = {name: row["mean"] for name, row in table["methods"].items() if _known(row["mean"])}
    if not means:
        return None
    choose = max if metric_info(table["metric"]).higher_is_better else min
    return str(choose(means, key=lambda name: float(means[name])))


def _facts(cohort: Cohort, table: Mapping[str, Any], records: Sequence[Record]) -> dict[str, str]:
    pairs = {(record["fold"], record["fixed"], record["moving"]) for record in records}
    grid = " × ".join(map(str, cohort.grid))
    spacing = " × ".join(f"{length:g}" for length in cohort.spacing)
    better = "higher" if metric_info(table["metric"]).higher_is_better else "lower"
    return {
        "subjects": str(len(cohort)),
        "images": f"{grid} pixels of {spacing} mm",
        "folds": str(len({fold for fold, _, _ in pairs})) if pairs else "",
        "test pairs": str(len(pairs)) if pairs else "",
        "metric": f"{metric_title(table['metric'])}, {better} is better",
        "modelaug": _core.build_config()["version"],
    }


def _scores(table: Mapping[str, Any], best: str | None) -> Section:
    metric, rows = table["metric"], table["methods"]
    others = list(dict.fromkeys(name for row in rows.values() for name in row["metrics"] if "/" not in name))
    lead = ""
    if best is not None and len(rows) > 1:
        better = "highest" if metric_info(metric).higher_is_better else "lowest"
        label = metric_title(metric).partition(" (")[0]
        lead = f"{best} has the {better} mean {label}: {_spread(metric, rows[best])}."
    columns = {name: [row["metrics"].get(name, {}) for row in rows.values()] for name in others}
    columns = {metric: list(rows.values()), **columns}
    winners = {
        name: _best_of(name, column) for name, column in columns.items() if name == metric or name not in _BEST_AT_REST
    }
    return Section(
        "Results",
        lead=lead,
        head=["method", "pairs", *map(metric_title, columns), "time per pair"],
        rows={
            name: [
                str(row["n"]),
                *(_spread(each, column[k]) for each, column in columns.items()),
                _duration(row.get("seconds_per_pair")),
            ]
            for k, (name, row) in enumerate(rows.items())
        },
        best={(list(rows)[k], 1 + i) for i, each in enumerate(columns) for k in winners.get(each, ())},
        note="Means over test pairs ± standard deviation, the best overlap or distance in bold.",
    )


def _best_of(metric: str, rows: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the rows with the best mean as printed; none if all are equal."""
    written = {k: write_value(metric, row["mean"]) for k, row in enumerate(rows) if _known(row.get("mean"))}
    if len(set(written.values())) < 2:
        return set()
    choose = max if metric_info(metric).higher_is_better else min
    best = written[choose(written, key=lambda k: float(rows[k]["mean"]))]
    return {k for k, text in written.items() if text == best}


def _plots(table: Mapping[str, Any], records: Sequence[Record], best: str | None) -> Iterator[Section]:
    metric, methods = table["metric"], list(table["methods"])
    known = {record["method"] for record in records if _known(record.get(metric))}
    if not known:
        return
    picture = Picture(
        plots.plot_scores(records, metric, methods=methods),
        f"{metric_title(metric)} of every test pair by method",
        "A dot is a test pair, a line of dots a fold. Boxes reach from the first to the third quartile, whiskers to "
        "the last pair within 1.5 times the box's length.",
    )
    yield Section("Scores of all pairs", pictures=[picture])
    if best is None or best not in known or len(known) < 2:
        return
    picture = Picture(
        plots.plot_differences(records, metric, best, methods=methods),
        f"Differences of {metric_title(metric)} to {best}, pair by pair",
        f"Every pair's score less that of {best} for the same pair. On the tinted side a method is better than {best}; "
        "the right column says for how many pairs it is.",
    )
    yield Section(f"Differences to {best}", pictures=[picture])


def _tests(table: Mapping[str, Any], best: str | None) -> Iterator[Section]:
    tests = {name: test for name, test in table.get("tests", {}).items() if test is not None}
    if not tests:
        return
    members = {f"{a} vs {b}": (a, b) for a in table["methods"] for b in table["methods"]}
    metric = table["metric"]
    readings = {name: _sentence(metric, *members[name], test) for name, test in tests.items() if name in members}
    of_best = [reading for name, reading in readings.items() if best in members[name]]
    sizes = {key: {test.get(key) for test in tests.values()} for key in ("pairs", "subjects", "folds")}
    same = {key: values.pop() for key, values in sizes.items() if len(values) == 1}
    columns = [key for key in dict.fromkeys(key for test in tests.values() for key in test) if key != "better"]
    columns = [key for key in columns if key not in same]
    sample = ", ".join(f"{n} {key}" for key, n in same.items() if n is not None)
    yield Section(
        "Tests",
        sentences=of_best or list(readings.values()),
        head=["comparison", *(_HEADINGS.get(key, key.replace("_", " ")) for key in columns)],
        rows={name: [_test_cell(metric, key, test.get(key)) for key in columns] for name, test in tests.items()},
        note=(f"Tested on {sample}. " if sample else "")
        + "Test pairs share images, so they are no independent sample. Sentences and intervals go by the dyadic "
        "t-test, which allows for that. The effect size is that of the subjects. No p-value is adjusted for the number "
        "of tests.",
    )


def _sentence(metric: str, a: str, b: str, test: Mapping[str, Any]) -> str:
    """Return the result of a test of A vs B in a sentence."""
    mean, interval = test["mean_difference"], test.get("confidence_interval")
    if test.get("better") is None:
        return f"{a} and {b} have the same mean."
    first, second = (a, b) if test["better"] == "a" else (b, a)
    sign = math.copysign(1.0, mean)
    amount = _with_unit(metric, write_value(metric, abs(mean)))
    if interval is not None:
        low, high = sorted(sign * end for end in interval)
        amount += f" (95 % CI {write_value(metric, low)} to {write_value(metric, high)})"
    if test.get("dyadic") is None:
        return f"{first} is ahead of {second} by {amount}; there are too few pairs to say whether that is chance."
    p = test["dyadic"]["p"]
    found = f"p {_probability(p)}, clustered by subject"
    if p < _SIGNIFICANT:
        return f"{first} is better than {second} by {amount}; {found}."
    return f"{first} and {second} are not told apart: {first} is ahead by {amount}; {found}."


def _test_cell(metric: str, key: str, value: Any) -> str:
    """Return a value of a test as text: differences in the digits of the metric, of a test its p."""
    if isinstance(value, Mapping):
        p: Any = value.get("p")
        return _probability(p).removeprefix("= ") if _known(p) else _MISSING
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " to ".join(write_value(metric, end) for end in value)
    if not _known(value):
        return _MISSING if value is None or isinstance(value, float) else str(value)
    if key == "mean_difference":
        return write_value(metric, value, signed=True)
    return str(value) if isinstance(value, int) else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _examples(
    cohort: Cohort, table: Mapping[str, Any], records: Sequence[Record], examples: Sequence[Example]
) -> Iterator[Picture]:
    metric, order = table["metric"], {name: k for k, name in enumerate(table["methods"])}
    names = {key: i for i, name in enumerate(cohort.names) for key in (i, name)}
    scores = {(r["method"], r["fold"], names.get(r["fixed"]), names.get(r["moving"])): r.get(metric) for r in records}
    pairs: dict[tuple[int, int, int], list[Example]] = {}
    for each in examples:
        pairs.setdefault((each.fold, each.fixed, each.moving), []).append(each)
    label = metric_title(metric).partition(" (")[0]
    for (fold, fixed, moving), group in sorted(pairs.items()):
        group.sort(key=lambda each: order[each.method])
        values = [scores.get((each.method, fold, fixed, moving)) for each in group]
        notes = [f"{label}\n{_with_unit(metric, write_value(metric, v))}" if _known(v) else "" for v in values]
        of = f"{cohort.names[moving]} registered to {cohort.names[fixed]} (fold {fold})"
        yield Picture(
            plots.plot_examples(cohort, group, notes=notes),
            f"{of}, by {', '.join(each.method for each in group)}",
            "Above the pair before registration, below it a row per method. Solid contours are the fixed image's, "
            "dashed ones the moving image's, moved along with it; overlays are grey where the images agree.",
            heading=of,
            dpi=120,  # mostly photographs, which take much room
        )


def _trainings(curves: Mapping[str, Mapping[int, str | Path]]) -> Iterator[Section]:
    tables = [read_metrics(path) for runs in curves.values() for path in runs.values()]
    if not tables:
        return
    pictures = [
        Picture(plots.plot_curves(curves, column=column), f"{column} by step, method and fold", text)
        for column, text in (
            ("loss", "The loss of the training pairs. Methods that draw other pairs have other losses: compare folds."),
            ("validation_epe", "The error of generated pairs that were not trained on."),
        )
        if any(np.isfinite(table.get(column, np.nan)).any() for table in tables)
    ]
    yield Section("Trainings", pictures=pictures)


def _known(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float, np.number)) and math.isfinite(value)


def _with_unit(metric: str, text: str) -> str:
    unit = metric_info(metric).unit
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text


def _spread(metric: str, row: Mapping[str, Any]) -> str:
    """Return mean ± standard deviation as text."""
    if not _known(row.get("mean")):
        return _MISSING
    spread = f" ± {write_value(metric, row['std'])}" if _known(row.get("std")) else ""
    return write_value(metric, row["mean"]) + spread


def _probability(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def _duration(seconds: float | None) -> str:
    if not _known(seconds):
        return _MISSING
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms" if seconds >= 1e-3 else "< 1 ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
