"""Agreement of label maps before and after registration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelaug._arrays import Array, Labels
from modelaug.cli._console import print_table
from modelaug.evaluation import dice, hausdorff_distance
from modelaug.evaluation.overlap import histogram, structure_ids


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of every structure in two label maps, before and after registration.

    Attributes
    ----------
    ids
        The structures' labels.
    dice : pair of ndarray, (k,)
        Dice coefficients before and after; NaN for a structure that is in neither map.
    distance : pair of ndarray, (k,)
        95th percentiles of the Hausdorff distances in `unit`; NaN for a structure that only one image has. The length
        of the grid's diagonal for a structure of both images that is warped out of the grid.
    unit
        ``"mm"`` or ``"px"``.
    """

    ids: tuple[int, ...]
    dice: tuple[Array, Array]
    distance: tuple[Array, Array]
    unit: str


def score_labels(
    fixed: Labels, moving: Labels, before: Labels, after: Labels, spacing: npt.NDArray[np.float64], unit: str
) -> Scores:
    """Compare the fixed image's labels with the moving image's.

    Parameters
    ----------
    fixed : ndarray of integers, (*grid)
    moving : ndarray of integers
        On the moving image's grid.
    before, after : ndarray of integers, (*grid)
        The moving labels on the fixed grid: as the images lie in space, and warped by the displacement.
    spacing
        Spacing of the fixed grid, in `unit`.
    unit
        ``"mm"`` or ``"px"``.
    """
    present = [histogram(each)[0] for each in (fixed, moving)]
    ids = structure_ids(None, *present)
    shared = np.isin(ids, present[0]) & np.isin(ids, present[1])
    diagonal = float(np.linalg.norm((np.array(fixed.shape) - 1) * spacing))

    def distance(labels: Labels) -> Array:
        found = np.full(len(ids), np.nan)
        found[shared] = np.minimum(hausdorff_distance(fixed, labels, ids[shared], spacing, percentile=95), diagonal)
        return found

    return Scores(
        tuple(int(each) for each in ids),
        (dice(fixed, before, ids), dice(fixed, after, ids)),
        (distance(before), distance(after)),
        unit,
    )


def mean_score(values: Array) -> float:
    """Return the mean over the structures for which a score is defined, NaN if there is none."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else float("nan")


def print_scores(scores: Scores) -> None:
    """Print a table with a row per structure, and their means."""
    columns = [(values, 3) for values in scores.dice] + [(values, 2) for values in scores.distance]
    rows = [
        (str(label), *(_text(values[k], digits) for values, digits in columns)) for k, label in enumerate(scores.ids)
    ]
    rows.append(("mean", *(_text(mean_score(values), digits) for values, digits in columns)))
    unit = scores.unit
    header = ("structure", "Dice before", "after", f"HD95 before ({unit})", f"after ({unit})")
    print_table(rows, title="overlap and 95th percentile of the Hausdorff distance", header=header)


def _text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"
