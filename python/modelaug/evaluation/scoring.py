"""All metrics of one registered pair of a cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array, Labels
from modelaug.data.cohort import Cohort
from modelaug.evaluation.contours import contour_distance, landmark_error
from modelaug.evaluation.deformation import folded_percentage, log_jacobian_sd
from modelaug.evaluation.overlap import dice, histogram, jaccard, structure_ids
from modelaug.evaluation.surfaces import average_distance, percentile_distance, surface_distances
from modelaug.transforms.fields import check_field
from modelaug.transforms.warping import warp, warp_points


@dataclass(frozen=True)
class Metric:
    """Meaning of a number of `score_registration`.

    Parameters
    ----------
    unit
        Empty where there is none.
    higher_is_better
        Whether a higher value means a better registration.
    title
        Name in words, for reports and plots.
    digits
        Digits after the decimal point there.
    """

    unit: str
    higher_is_better: bool
    title: str = ""
    digits: int = 3


METRICS: Final = {
    "jaccard": Metric("", True, "Jaccard index"),
    "dice": Metric("", True, "Dice overlap"),
    "surface_distance": Metric("mm", False, "surface distance", 2),
    "hausdorff95": Metric("mm", False, "95 % Hausdorff distance", 2),
    "contour_distance": Metric("mm", False, "contour distance", 2),
    "landmark_error": Metric("mm", False, "landmark error", 2),
    "folded_percent": Metric("%", False, "folded", 2),
    "log_jacobian_sd": Metric("", False, "sd of log Jacobian"),
    "inverse_consistency": Metric("mm", False, "inverse inconsistency", 2),
    "seconds": Metric("s", False, "seconds"),
}
"""The metrics of a record by name, in the order of tables; ``"jaccard/3"`` is the part of structure 3.

Inverse consistency needs registrations in both directions, see `score_pairs`; surface distances are measured on
request."""


def metric_info(name: str) -> Metric:
    """Return unit, direction and title of a metric, or of the metric that a part such as ``"jaccard/3"`` belongs to."""
    _checks.choice("metric", name.split("/")[0] if isinstance(name, str) else name, tuple(METRICS))
    return METRICS[name.split("/")[0]]


def score_registration(
    cohort: Cohort,
    fixed_index: int,
    moving_index: int,
    displacement: npt.ArrayLike | None,
    *,
    label_ids: npt.ArrayLike | None = None,
    surfaces: bool = False,
    threads: int | None = None,
) -> dict[str, float]:
    """Measure how well a displacement registers one subject of a cohort to another.

    Parameters
    ----------
    cohort
        Has the landmarks, labels and spacing of both subjects; metrics of what it lacks are left out.
    fixed_index, moving_index
        The subjects' positions in the cohort.
    displacement : array_like, (d, *grid), or None
        Pull displacement in voxels on the fixed grid: ``fixed(x) ~ moving(x + u(x))``. None scores the pair as it is,
        before registration.
    label_ids : array_like of integers, optional
        The structures that count, see `scored_labels`; by default all in the cohort's label maps, without 0.
    surfaces
        Whether to measure surface distances as well, which takes longer than all other metrics.
    threads
        Threads to use; None means all cores.

    Returns
    -------
    dict
        ``"jaccard"``, ``"dice"``
            Mean overlap over the structures, of the fixed label map and the moving one pulled by nearest neighbour, 0
            beyond the image; ``"jaccard/ID"`` is the overlap of structure ID. Structures absent from both maps are left
            out. See `jaccard` and `dice`.
        ``"surface_distance"``, ``"hausdorff95"``
            Only with `surfaces`: mean over the structures of the average surface distance in these two label maps, and
            of the 95th percentile of the Hausdorff distance, in mm; ``"hausdorff95/ID"`` is the value of structure ID.
            Structures that one of the subjects lacks are left out. If both subjects have a structure but the
            displacement pulls none of its voxels into the image, its distance is the grid's diagonal, the largest
            distance there is: to lose a structure is not rewarded. See `surface_distance` and `hausdorff_distance`.
        ``"contour_distance"``
            Mean over the objects of kind ``"closed"`` and ``"open"``, in mm, of the symmetric distance between the
            contour of the moving subject and the contour of the fixed one, moved by the displacement: landmarks of the
            fixed image plus u lie in the moving image. ``"contour_distance/NAME"`` is the distance of one object.
        ``"landmark_error"``
            Mean distance of corresponding landmarks, moved in the same way, in mm.
        ``"folded_percent"``, ``"log_jacobian_sd"``
            See `folded_percentage` and `log_jacobian_sd`.

        A metric that is not defined for the pair is left out: no labels, no contours, a field that folds everywhere.
    """
    _checks.instance("cohort", cohort, Cohort, large=True)
    fixed, moving = (
        _checks.integer(name, index, minimum=0, maximum=len(cohort) - 1)
        for name, index in (("fixed_index", fixed_index), ("moving_index", moving_index))
    )
    field = np.zeros((len(cohort.grid), *cohort.grid), np.float32)
    if displacement is not None:
        field = check_field("displacement", displacement)
        if field.shape[1:] != cohort.grid:
            raise ValueError(
                f"displacement has shape {field.shape}; pass one on the fixed image's grid {cohort.grid}, (d, *grid)"
            )
    if not isinstance(surfaces, (bool, np.bool_)):
        raise TypeError(f"surfaces is {surfaces!r}; pass True or False")
    count = _checks.thread_count(threads)
    deviation = log_jacobian_sd(field, threads=count)
    scores: dict[str, float] = {}
    if cohort.labels is not None:
        pair = cohort.labels[fixed], cohort.labels[moving]
        pulled = warp(pair[1], field, order=0, border="constant", threads=count)
        ids = structure_ids(label_ids, *(histogram(labels)[0] for labels in pair))
        for name, measure in (("jaccard", jaccard), ("dice", dice)):
            scores |= _by_structure(name, ids, measure(pair[0], pulled, ids))
        if surfaces:
            scores |= _surfaces(*pair, pulled, ids, cohort.spacing)
    return {
        **scores,
        **_distances(cohort, fixed, moving, field),
        "folded_percent": folded_percentage(field, threads=count),
        **({"log_jacobian_sd": deviation} if np.isfinite(deviation) else {}),
    }


def _by_structure(name: str, ids: Labels, values: Array) -> dict[str, float]:
    """Return the mean of a metric over the structures for which it is defined, and the value of each."""
    defined = np.isfinite(values)
    if not defined.any():
        return {}
    parts = {f"{name}/{label}": float(value) for label, value in zip(ids[defined], values[defined], strict=True)}
    return {name: float(values[defined].mean()), **parts}


def _surfaces(fixed: Labels, moving: Labels, pulled: Labels, ids: Labels, spacing: Array) -> dict[str, float]:
    """Return the surface distances of the structures that both subjects have."""
    shared = ids[np.logical_and(*(np.isin(ids, histogram(labels)[0]) for labels in (fixed, moving)))]
    # A structure that the displacement has lost has an infinite distance, which would dominate any mean over pairs.
    each = surface_distances(fixed, pulled, shared, spacing)
    diagonal = float(np.linalg.norm((np.array(fixed.shape) - 1) * spacing))
    average = np.array([average_distance(distances) for distances in each])
    percentile = np.array([percentile_distance(distances, 95) for distances in each])
    return {
        **_by_structure("surface_distance", shared, np.minimum(average, diagonal)),
        **_by_structure("hausdorff95", shared, np.minimum(percentile, diagonal)),
    }


def _distances(cohort: Cohort, fixed: int, moving: int, field: npt.NDArray[np.float32]) -> dict[str, float]:
    found, true = warp_points(cohort.landmarks[fixed], field), cohort.landmarks[moving]
    parts = {
        f"contour_distance/{each.name}": contour_distance(
            found[list(each.indices)], true[list(each.indices)], cohort.spacing, closed=each.kind == "closed"
        )
        for each in cohort.objects
        if each.kind != "points"
    }
    whole = {"contour_distance": float(np.mean(list(parts.values())))} if parts else {}
    return {**whole, **parts, "landmark_error": landmark_error(found, true, cohort.spacing)}
