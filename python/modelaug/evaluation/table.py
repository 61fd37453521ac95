"""The table of a comparison of methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from modelaug import _checks
from modelaug.evaluation.records import read_records
from modelaug.evaluation.scoring import METRICS, metric_info
from modelaug.evaluation.statistics import TESTS, compare_methods, summarize

_KEYS: Final = ("method", "fold", "fixed", "moving")

Pair = tuple[Any, str, str]


def make_table(
    records: Iterable[Mapping[str, Any]] | str | Path,
    *,
    metric: str,
    cohort: str,
    reference_method: str | None = None,
) -> dict[str, Any]:
    """Summarize the scores of registered pairs by method, and compare the methods.

    Parameters
    ----------
    records
        Records of `cross_validate`, or a file of them written by `write_records`. None and NaN are missing scores.
    metric
        The metric of the comparison: ``"jaccard"``, ``"contour_distance"`` or another of `score_registration`.
    cohort
        Name of the cohort.
    reference_method
        The method with which every other one is compared; by default all pairs of methods are compared.

    Returns
    -------
    dict
        Ready for JSON, None where something is not defined:

        ``"cohort"``, ``"metric"``, ``"unit"``, ``"higher_is_better"``
            Name of the cohort, and the metric with its unit and direction.
        ``"methods"``
            By name, in the order of the records: ``"mean"``, ``"std"`` and ``"n"`` of the metric over pairs,
            ``"metrics"`` with the same of every other metric, and ``"seconds_per_pair"``.
        ``"tests"``
            Results of `compare_methods`, by name: ``"A vs B"``. Pairs without the metric in one of the two are left
            out; None if fewer than 3 subjects are left.

    Raises
    ------
    TypeError, ValueError
        If a record lacks a key, a pair occurs twice, methods have registered different pairs, or there is no such
        metric or method.
    """
    info = metric_info(metric)
    rows = read_records(records) if isinstance(records, (str, Path)) else list(records)
    by_method = _by_method(rows)
    names = list(by_method)
    if reference_method is not None:
        _checks.choice("reference_method", reference_method, names)
    if not any(metric in row for row in rows):
        found = sorted({key for row in rows for key in row if _is_metric(key)})
        raise ValueError(f"metric is {metric!r}, which no record has; pass one of {found}")
    _check_pairs(by_method)
    compared = [
        pair if reference_method is None else (pair[0] if pair[1] == reference_method else pair[1], reference_method)
        for pair in combinations(names, 2)
        if reference_method in (None, *pair)
    ]
    return {
        "cohort": cohort,
        "metric": metric,
        "unit": info.unit,
        "higher_is_better": info.higher_is_better,
        "methods": {name: _summary(list(by_method[name].values()), metric) for name in names},
        "tests": {f"{a} vs {b}": _test(by_method[a], by_method[b], metric) for a, b in compared},
    }


def table_markdown(table: Mapping[str, Any], *, reference: str | None = None) -> str:
    """Format a table as Markdown: a table of the methods, and a table of the tests between them.

    Means are over pairs, with their standard deviation. Parts of metrics, such as single structures, are left out; with
    a `reference` method, tests between two others are, too.
    """
    rows = table["methods"]
    shown = [name for name in METRICS if name not in (table["metric"], "seconds")]
    shown = [name for name in shown if any(name in row["metrics"] for row in rows.values())]
    head = ["method", _title(table["metric"], table["unit"])]
    head += [*(_title(name, METRICS[name].unit) for name in shown), "s per pair"]
    lines = [
        [name, _mean(row), *(_mean(row["metrics"].get(m)) for m in shown), _digits(row["seconds_per_pair"])]
        for name, row in rows.items()
    ]
    n = max(row["n"] for row in rows.values())
    better = "higher" if table["higher_is_better"] else "lower"
    parts = [f"{table['cohort']}: {n} pairs, {better} {table['metric']} is better", _format(head, lines)]
    wanted = table["tests"] if reference not in rows else _tests_with(reference, rows)
    tests = {name: table["tests"][name] for name in wanted if table["tests"].get(name) is not None}
    if tests:
        columns = ["comparison", "difference", "95 % interval", "d_z", *(f"p, {title}" for title in TESTS.values())]
        parts.append(_format(columns, [_test_line(name, test) for name, test in tests.items()]))
        parts.append(
            "Both tests allow for pairs that share images; that of folds for networks that pairs share, too. Intervals "
            "are those of the dyadic t-test. No p-value is adjusted for the number of tests."
        )
    return "\n\n".join(parts) + "\n"


def _tests_with(method: str | None, rows: Iterable[str]) -> list[str]:
    """Return the names of the tests of a method against all others, in the order of the rows."""
    names = list(rows)
    return [f"{a} vs {b}" for a, b in combinations(names, 2) if method in (a, b)]


def _by_method(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[Pair, Mapping[str, Any]]]:
    """Return the records of each method by fold, fixed and moving subject."""
    if not rows:
        raise ValueError("records is empty; pass at least one")
    result: dict[str, dict[Pair, Mapping[str, Any]]] = {}
    for k, row in enumerate(rows):
        lacking = next((key for key in _KEYS if not isinstance(row, Mapping) or key not in row), None)
        if lacking is not None:
            raise ValueError(f"records[{k}] lacks {lacking!r}; pass what cross_validate returns")
        pairs = result.setdefault(str(row["method"]), {})
        pair = (row["fold"], str(row["fixed"]), str(row["moving"]))
        if pair in pairs:
            raise ValueError(f"records[{k}] is the second of method {row['method']!r} and pair {pair}; drop one")
        pairs[pair] = row
    return result


def _check_pairs(by_method: Mapping[str, Mapping[Pair, Any]]) -> None:
    first, *others = by_method
    for name in others:
        different = by_method[first].keys() ^ by_method[name].keys()
        if different:
            pair = min(different, key=str)
            lacks, has = (name, first) if pair in by_method[first] else (first, name)
            raise ValueError(f"records of {lacks!r} lack the pair {pair} of {has!r}; register the same pairs by both")


def _is_metric(key: str) -> bool:
    return key.split("/")[0] in METRICS


def _value(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return math.nan if value is None else float(value)


def _summary(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """Summarize all metrics of one method."""

    def brief(name: str) -> dict[str, Any]:
        summary = summarize([_value(row, name) for row in rows])
        return {key: summary[key] for key in ("mean", "std", "n")}

    others = dict.fromkeys(key for row in rows for key in row if _is_metric(key) and key not in (metric, "seconds"))
    return {
        **brief(metric),
        "metrics": {name: brief(name) for name in others},
        "seconds_per_pair": brief("seconds")["mean"],
    }


def _test(a: Mapping[Pair, Any], b: Mapping[Pair, Any], metric: str) -> dict[str, Any] | None:
    """Compare two methods on the pairs for which both have the metric; None with fewer than 3 subjects."""
    values = {pair: (_value(a[pair], metric), _value(b[pair], metric)) for pair in a}
    defined = {pair: both for pair, both in values.items() if not any(map(math.isnan, both))}
    subjects = [pair[1:] for pair in defined]
    if len({name for names in subjects for name in names}) < 3:
        return None
    better = metric_info(metric).higher_is_better
    first, second = zip(*defined.values(), strict=True)
    return compare_methods(first, second, subjects, higher_is_better=better)


def _title(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _digits(value: float | None) -> str:
    """Format a number with three significant digits, or as an integer."""
    return "" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _mean(summary: Mapping[str, Any] | None) -> str:
    if summary is None or summary["mean"] is None:
        return ""
    return _digits(summary["mean"]) + ("" if summary["std"] is None else f" ± {_digits(summary['std'])}")


def _test_line(name: str, test: Mapping[str, Any]) -> list[str]:
    interval = test["confidence_interval"]
    ends = "" if interval is None else f"{_digits(interval[0])} to {_digits(interval[1])}"
    probabilities = ["" if test.get(key) is None else f"{test[key]['p']:.2g}" for key in TESTS]
    return [name, _digits(test["mean_difference"]), ends, _digits(test["effect_size"]), *probabilities]


def _format(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Format a head and lines of cells as a Markdown table."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in (head, *lines)]
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (cells[0], rule, *cells[1:]))
