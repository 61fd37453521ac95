"""Learning curves: the error of shape models on unseen subjects, by the number of training subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from modelaug import _checks
from modelaug._arrays import Array
from modelaug._random import generator
from modelaug.data.cohort import Cohort
from modelaug.models import quality
from modelaug.models.alignment import procrustes
from modelaug.models.appearance import ShapeOptions, shape_model
from modelaug.plots.figures import literal, new_axes, plain_axes

_COLORS: Final = ("#777777", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a63b5")
_LEAST_UNSEEN: Final = 2
_SIZES: Final = 6  # at most, by default


def learning_curves(
    cohort: Cohort,
    kinds: Mapping[str, ShapeOptions] | None = None,
    *,
    sizes: Sequence[int] | None = None,
    repeats: int = 4,
    seed: int = 0,
) -> dict[str, dict[int, Array]]:
    """Fit shape models to random subsets of a cohort and measure their generalization to the other subjects.

    Parameters
    ----------
    cohort
        At least 5 subjects.
    kinds
        Options by name; by default principal components of all the variance, and the default, localized.
    sizes
        Numbers of training subjects, at least 2, that leave 2 unseen; by default up to six from 3 to all but 2.
    repeats
        Random splits for each number. Within a split, larger training sets contain the smaller ones.
    seed
        Seed of the splits.

    Returns
    -------
    dict
        By kind and number of training subjects, the `quality.generalization` in mm of each split, (repeats,).

    Raises
    ------
    TypeError, ValueError
        If the cohort is too small, or a size or an option does not fit.
    """
    n = len(cohort)
    if n < 3 + _LEAST_UNSEEN:
        raise ValueError(f"cohort holds {n} subjects; pass at least {3 + _LEAST_UNSEEN} for a learning curve")
    chosen = kinds if kinds is not None else _default_kinds()
    numbers = (
        sorted({round(x) for x in np.linspace(3, n - _LEAST_UNSEEN, _SIZES).tolist()})
        if sizes is None
        else sorted({_checks.integer("sizes", x, minimum=2, maximum=n - _LEAST_UNSEEN) for x in sizes})
    )
    count = _checks.integer("repeats", repeats, minimum=1)
    if not chosen or not numbers:
        raise ValueError("kinds or sizes is empty; pass at least one of each")
    curves = {name: {size: np.empty(count) for size in numbers} for name in chosen}
    landmarks = cohort.landmarks * cohort.spacing
    for repeat in range(count):
        order = generator(_checks.integer("seed", seed, minimum=0), repeat).permutation(n)
        for size in numbers:
            for name, options in chosen.items():
                alignment = procrustes(landmarks[order[:size]], transform=options.transform)
                samples = alignment.shapes.reshape(len(alignment.shapes), -1)
                model, _ = shape_model(samples, alignment.mean, cohort.objects, options)
                unseen = alignment.align(landmarks[order[size:]])
                curves[name][size][repeat] = quality.generalization(model, unseen)
    return curves


def plot_learning_curve(
    curves: Mapping[str, Mapping[int, npt.ArrayLike]],
    *,
    label: str = "error of unseen shapes (mm)",
    ax: Axes | None = None,
) -> Axes:
    """Plot errors by the number of training subjects: mean of the splits and its standard error, a line per model.

    Parameters
    ----------
    curves
        By model and number of training subjects, the errors of all splits, as in `learning_curves`.
    label
        Label of the axis of errors.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If there is no curve, or one has no errors or values that are not finite.
    """
    lines = {name: _means(name, by_size) for name, by_size in curves.items()}
    if not lines:
        raise ValueError("curves is empty; pass at least one")
    axes = ax or new_axes(4.8, 3.4)
    for k, (name, (sizes, means, errors)) in enumerate(lines.items()):
        style: dict[str, Any] = {"color": _COLORS[k % len(_COLORS)], "marker": "o", "markersize": 3.5, "capsize": 2}
        axes.errorbar(sizes, means, errors, linewidth=1.4, label=literal(name), **style)
    ticks = sorted({size for sizes, _, _ in lines.values() for size in sizes})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training subjects", fontsize=9)
    axes.set_ylabel(literal(label), fontsize=9)
    plain_axes(axes)
    axes.legend(frameon=False, fontsize=8)
    return axes


def _default_kinds() -> dict[str, ShapeOptions]:
    default = ShapeOptions()
    return {
        "principal components": ShapeOptions(levels=1, coverage=1.0),
        f"{default.levels} levels of locality (default)": default,
    }


def _means(name: str, by_size: Mapping[int, npt.ArrayLike]) -> tuple[list[int], list[float], list[float]]:
    """Return sizes, mean errors and their standard errors, 0 for a single split."""
    sizes = sorted(by_size)
    values = [_checks.finite(f"curves[{name!r}][{size}]", by_size[size], ndim=1, dtype=np.float64) for size in sizes]
    if not values or not all(len(each) for each in values):
        raise ValueError(f"curves[{name!r}] lacks errors; pass at least one for each number of subjects")
    errors = [float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else 0.0 for each in values]
    return sizes, [float(each.mean()) for each in values], errors
