"""Plots of a training run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modelaug.io.files.reading import ModelFileError, read_text, refusing
from modelaug.plots.figures import log_axis, plain_axes


def read_metrics(path: str | Path) -> dict[str, npt.NDArray[np.float64]]:
    """Read the ``metrics.csv`` of a training run as columns by name, NaN where a line has no value.

    Raises
    ------
    ModelFileError
        If the file is missing or is no table of metrics.
    """
    if not Path(path).exists():
        raise ModelFileError(f"{path} does not exist; pass the metrics.csv of a training run")
    text = read_text(path, "a table of numbers")
    with refusing(path, "cannot be read as a table of numbers", "train again"):
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in (rows[0] if rows else ())}
    if "step" not in columns or "loss" not in columns:
        raise ModelFileError(f"{path} lacks the columns step and loss; pass the metrics.csv of a training run")
    return columns


def plot_losses(metrics: str | Path | Mapping[str, npt.ArrayLike], *, baseline: float | None = None) -> Figure:
    """Plot the loss of a training run and its end-point errors in pixels by step.

    Parameters
    ----------
    metrics
        The ``metrics.csv`` of a training run, or its columns: ``step`` and ``loss``, and optionally ``epe`` and
        ``validation_epe``, NaN where there is no value.
    baseline
        End-point error of the zero displacement, for comparison.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the columns have different lengths or ``step`` or ``loss`` is missing.
    """
    columns = read_metrics(metrics) if isinstance(metrics, str | Path) else _checked(metrics)
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    step = columns["step"]
    _curve(left, step, columns["loss"], "training", "#3465a4", marker=None)
    left.set(xlabel="step", ylabel="multi-scale loss")
    log_axis(left)
    for name, label, color, marker in (
        ("epe", "training (finest scale)", "#3465a4", None),
        ("validation_epe", "held-out pairs", "#d1495b", "o"),
    ):
        if name in columns:
            _curve(right, step, columns[name], label, color, marker=marker)
    if baseline is not None:
        right.axhline(baseline, color="0.45", linestyle="--", linewidth=1, label="no displacement")
    right.set(xlabel="step", ylabel="end-point error (px)")
    right.set_ylim(bottom=0)
    if right.get_legend_handles_labels()[0]:
        right.legend(frameon=False, fontsize=8)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        plain_axes(ax)
        ax.xaxis.label.set_size(9)
        ax.yaxis.label.set_size(9)
    return figure


def _curve(
    ax: Axes,
    step: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    label: str,
    color: str,
    *,
    marker: str | None,
) -> None:
    known = np.isfinite(values)
    ax.plot(step[known], values[known], color=color, linewidth=1.4, marker=marker, markersize=3.5, label=label)


def _checked(metrics: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[np.float64]]:
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in metrics.items()}
    if "step" not in columns or "loss" not in columns:
        raise ValueError(f"metrics has the columns {sorted(columns)}; pass step and loss at least")
    for name, values in columns.items():
        if values.shape != columns["step"].shape or values.ndim != 1:
            raise ValueError(
                f"metrics[{name!r}] has shape {values.shape}; pass one value per step, {columns['step'].shape}"
            )
    return columns
