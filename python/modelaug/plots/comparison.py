"""Plots of a comparison of registration methods: scores, paired differences, trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from modelaug._arrays import Array
from modelaug.evaluation import metric_info
from modelaug.plots.figures import literal, log_axis, plain_axes, wrapped
from modelaug.plots.training import read_metrics

Scores = dict[tuple[int, Any, Any], float]
"""Scores of one method by fold, fixed and moving subject."""

# Distinct for most colour-blind readers (after M. Okabe and K. Ito); more folds repeat them with the next marker.
_FOLD_COLORS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a63b5", "#6b7280")
_FOLD_MARKERS: Final = ("o", "^", "s", "v", "D")
_BETTER: Final = "#009e73"
_ROW_HEIGHT: Final = 0.56  # inches of height per method in plots of scores
_CURVES: Final = {
    "loss": "training loss",
    "epe": "end-point error in training (px)",
    "validation_epe": "end-point error of held-out pairs (px)",
}


def metric_title(name: str) -> str:
    """Return the title of a metric, or of a part such as ``"jaccard/3"``, with its unit."""
    info, part = metric_info(name), name.partition("/")[2].replace("_", " ")
    return info.title + (f" of {part}" if part else "") + (f" ({info.unit})" if info.unit else "")


def write_value(name: str, value: float, *, signed: bool = False) -> str:
    """Return a metric's value as text, without its unit."""
    digits = metric_info(name).digits
    rounded = round(value, digits) or 0.0  # no negative zero
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def plot_scores(records: Iterable[Mapping[str, Any]], metric: str, *, methods: Sequence[str] | None = None) -> Figure:
    """Plot the scores of all test pairs: a box per method, and below it a dot per pair, a line of dots per fold.

    Boxes reach from the first to the third quartile with a line at the median, whiskers to the last pair within 1.5
    times the box's length, diamonds are means.

    Parameters
    ----------
    records
        One per method and test pair, with ``method``, ``fold``, ``fixed``, ``moving`` and `metric`; those without a
        finite value are left out.
    metric
        One of `modelaug.evaluation.METRICS`, or a part of one.
    methods
        From top to bottom; by default in the order of the records.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no such metric, or no record has it.
    """
    better = "higher" if metric_info(metric).higher_is_better else "lower"
    scores = _scores(records, metric, methods)
    figure, ax = _rows_figure(scores, {"mean": lambda x: write_value(metric, x.mean())})
    ax.set_xlabel(f"{literal(metric_title(metric))}, {better} is better", fontsize=9)
    return figure


def plot_differences(
    records: Iterable[Mapping[str, Any]], metric: str, reference: str, *, methods: Sequence[str] | None = None
) -> Figure:
    """Plot the difference of each method's score to a reference method's score of the same test pair.

    Boxes, dots and diamonds are as in `plot_scores`. The side on which a method is better than the reference is tinted,
    and a column on the right gives the share of pairs on that side.

    Parameters
    ----------
    records, metric, methods
        As in `plot_scores`.
    reference
        The method with which the others are compared.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no such metric, the reference has no record with it, or no other method has one of the same pair.
    """
    sign = 1 if metric_info(metric).higher_is_better else -1
    scores = _scores(records, metric, methods)
    base = scores.pop(reference, {})
    if not base:
        raise ValueError(f"reference is {reference!r}, which has no {metric}; pass one of {', '.join(scores)}")
    differences = {
        name: {pair: value - base[pair] for pair, value in values.items() if pair in base}
        for name, values in scores.items()
    }
    if not any(differences.values()):
        raise ValueError(f"no other method has {metric} of a pair that {reference!r} has; pass records of two methods")
    columns = {
        "mean": lambda x: write_value(metric, x.mean(), signed=True),
        "better": lambda x: f"{(sign * x > 0).mean():.0%}",
    }
    figure, ax = _rows_figure(differences, columns)
    low, high = min(ax.get_xlim()[0], 0.0), max(ax.get_xlim()[1], 0.0)
    ax.axvline(0, color="0.25", linewidth=1.0, zorder=1)
    ax.axvspan(*((0, high) if sign > 0 else (low, 0)), color=_BETTER, alpha=0.07, linewidth=0, zorder=0)
    ax.set_xlim(low, high)
    side = "right" if sign > 0 else "left"
    ax.set_xlabel(
        wrapped(f"{metric_title(metric)}: difference to {reference}\nbetter than it on the {side}", 90), fontsize=9
    )
    return figure


def plot_curves(curves: Mapping[str, Mapping[int, str | Path]], *, column: str = "loss") -> Figure:
    """Plot the curves of trainings: a panel per method, a line per fold, the same axes in all panels.

    Parameters
    ----------
    curves
        By method and fold, the ``metrics.csv`` of a training run. Methods without a value in the column are left out.
    column
        Name of the column.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If no file has the column.
    """
    lines = _read_curves(curves, column)
    if not lines:
        raise ValueError(f"no training has the column {column!r}; pass another, or the metrics.csv of other runs")
    across = min(len(lines), 4)
    down = -(-len(lines) // across)
    figure = Figure(figsize=(1.2 + 1.9 * max(across, 2), 0.75 + 1.6 * down), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for ax, (method, folds) in zip(grid.flat, lines.items(), strict=False):
        for fold, (step, values, sparse) in folds.items():
            color, marker = _fold_style(fold)
            ax.plot(step, values, color=color, linewidth=1.0, marker=marker if sparse else "", markersize=2.5)
        ax.set_title(wrapped(method, 24), fontsize=8)
        _plain_axes(ax)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for ax in grid.flat[len(lines) :]:
        ax.set_axis_off()
    for ax in grid.flat[max(0, len(lines) - across) : len(lines)]:
        ax.tick_params(labelbottom=True)  # also where no panel is below and the last row is not full
    every = [values for folds in lines.values() for _, values, _ in folds.values()]
    if column == "loss" and all((values > 0).all() for values in every):
        log_axis(grid[0, 0])
    elif all((values >= 0).all() for values in every):
        grid[0, 0].set_ylim(bottom=0)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel(literal(_CURVES.get(column, column.replace("_", " "))), fontsize=9)
    numbers = sorted({fold for folds in lines.values() for fold in folds})
    handles = [Line2D([], [], color=_fold_style(fold)[0], label=f"fold {fold}") for fold in numbers]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 8), frameon=False, fontsize=8)
    return figure


def _scores(records: Iterable[Mapping[str, Any]], metric: str, methods: Sequence[str] | None) -> dict[str, Scores]:
    """Return each method's finite scores."""
    scores: dict[str, Scores] = {name: {} for name in methods or ()}
    for record in records:
        values = scores.setdefault(record["method"], {}) if methods is None else scores.get(record["method"])
        value = record.get(metric)
        if values is not None and value is not None and np.isfinite(value):
            values[record["fold"], record["fixed"], record["moving"]] = float(value)
    if not any(scores.values()):
        raise ValueError(f"no record has the metric {metric!r}; pass another")
    return scores


def _read_curves(
    curves: Mapping[str, Mapping[int, str | Path]], column: str
) -> dict[str, dict[int, tuple[Array, Array, bool]]]:
    """Return the steps and values of a column by method and fold, and whether most lines lack it."""
    lines: dict[str, dict[int, tuple[Array, Array, bool]]] = {}
    for method, runs in curves.items():
        for fold, path in sorted(runs.items()):
            table = read_metrics(path)
            known = np.isfinite(table[column]) if column in table else np.zeros(1, bool)
            if known.any():
                sparse = bool(known.mean() < 0.5)
                lines.setdefault(method, {})[fold] = (table["step"][known], table[column][known], sparse)
    return lines


def _rows_figure(rows: Mapping[str, Scores], columns: Mapping[str, Callable[[Array], str]]) -> tuple[Figure, Axes]:
    """Plot a row per method, the first at the top, with columns of text on the right, and a legend of the folds."""
    figure = Figure(figsize=(8.4, 1.2 + _ROW_HEIGHT * len(rows)), layout="constrained")
    ax = figure.subplots()
    ax.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
    _plain_axes(ax)
    ax.set_yticklabels([wrapped(name, 30) for name in rows])
    ax.tick_params(axis="y", length=0, labelsize=8.5, labelcolor="black")
    ax.grid(axis="y", visible=False)
    ax.hlines(np.arange(1, len(rows)) - 0.5, 0, 1, transform=ax.get_yaxis_transform(), color="0.88", linewidth=0.6)
    handles: list[Any] = [
        Patch(facecolor="0.88", edgecolor="0.3", linewidth=0.8, label="middle half, median"),
        Line2D([], [], linestyle="", marker="D", color="black", markersize=4, label="mean"),
    ]
    for fold in sorted({fold for values in rows.values() for fold, _, _ in values}):
        color, marker = _fold_style(fold)
        handles.append(Line2D([], [], linestyle="", marker=marker, color=color, markersize=4, label=f"fold {fold}"))
    style: dict[str, Any] = {"frameon": False, "fontsize": 8, "handlelength": 1.3, "handletextpad": 0.5}
    count = min(len(handles), 7)
    figure.legend(handles=handles, loc="outside upper center", ncols=count, columnspacing=1.4, **style)
    places = dict(zip(columns, (1.015, 1.12), strict=False))
    style = {"transform": ax.get_yaxis_transform(), "va": "center", "ha": "left", "fontsize": 8}
    for i, values in enumerate(rows.values()):
        if values:
            _draw_row(ax, i, values)
            for title, x in places.items():
                ax.text(x, i, columns[title](np.array(list(values.values()))), **style)
    for title, x in places.items():
        ax.text(x, -0.72, title, color="0.35", **style)
    return figure, ax


def _draw_row(ax: Axes, row: int, values: Scores) -> None:
    """Draw a box in the upper half of a row, and below it the pairs, a line of dots per fold."""
    stats = boxplot_stats(list(values.values()))[0]
    middle, half = row - 0.22, 0.14
    style: dict[str, Any] = {"color": "0.3", "linewidth": 0.8}
    ax.hlines([middle] * 2, [stats["whislo"], stats["q3"]], [stats["q1"], stats["whishi"]], **style)
    ax.vlines([stats["whislo"], stats["whishi"]], middle - half / 2, middle + half / 2, **style)
    corner, width = (stats["q1"], middle - half), stats["q3"] - stats["q1"]
    ax.add_patch(Rectangle(corner, width, 2 * half, facecolor="0.88", edgecolor="0.3", linewidth=0.8, zorder=2))
    ax.vlines(stats["med"], middle - half, middle + half, color="black", linewidth=1.4, zorder=3)
    ax.plot(stats["mean"], middle, "D", color="black", markersize=4, markeredgecolor="white", zorder=4)
    folds = sorted({fold for fold, _, _ in values})
    for lane, fold in zip(np.linspace(row, row + 0.4, len(folds) + 2)[1:-1], folds, strict=True):
        own = [value for (other, _, _), value in values.items() if other == fold]
        color, marker = _fold_style(fold)
        ax.plot(own, np.full(len(own), lane), marker, color=color, markersize=2.6, markeredgewidth=0, alpha=0.65)


def _fold_style(fold: int) -> tuple[str, str]:
    """Return the colour and the marker of a fold."""
    turn, position = divmod(fold, len(_FOLD_COLORS))
    return _FOLD_COLORS[position], _FOLD_MARKERS[turn % len(_FOLD_MARKERS)]


def _plain_axes(ax: Axes) -> None:
    plain_axes(ax)
    ax.spines[["left", "bottom"]].set_color("0.6")
    ax.set_axisbelow(True)
    ax.tick_params(color="0.6")
