"""All measures of one registered pair of a cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.cohort import Cohort
from modelaug.evaluation.contours import contour_distance, landmark_error
from modelaug.evaluation.deformation import folded_percentage, log_jacobian_sd
from modelaug.evaluation.overlap import jaccard
from modelaug.fields import check_field
from modelaug.warping import warp, warp_points

__all__ = ["METRICS", "Metric", "metric_info", "score_registration"]


@dataclass(frozen=True)
class Metric:
    """What a number of `score_registration` means.

    Parameters
    ----------
    unit
        Empty where there is none.
    higher_is_better
        Whether a registration is better the higher it is.
    """

    unit: str
    higher_is_better: bool


METRICS: Final = {
    "jaccard": Metric("", True),
    "contour_distance": Metric("mm", False),
    "landmark_error": Metric("mm", False),
    "folded_percent": Metric("%", False),
    "log_jacobian_sd": Metric("", False),
    "inverse_consistency": Metric("mm", False),
    "seconds": Metric("s", False),
}
"""The metrics of a record by name, in the order of tables; those after a slash (``"jaccard/3"``) are parts of them.

Inverse consistency needs both ways, see `score_pairs`."""


def metric_info(name: str) -> Metric:
    """Return what is known of a metric or a part of one.

    Raises
    ------
    ValueError
        If there is no such metric.
    """
    _checks.choice("metric", name.split("/")[0] if isinstance(name, str) else name, tuple(METRICS))
    return METRICS[name.split("/")[0]]


def score_registration(
    cohort: Cohort,
    fixed_index: int,
    moving_index: int,
    displacement: npt.ArrayLike | None,
    *,
    label_ids: npt.ArrayLike | None = None,
    threads: int | None = None,
) -> dict[str, float]:
    """Measure how well a displacement registers one subject of a cohort to another.

    Parameters
    ----------
    cohort
        Landmarks, labels and spacing of both; what it lacks is not measured.
    fixed_index, moving_index
        The subjects.
    displacement : array_like, (d, *grid), or None
        Pull displacement in voxels on the fixed grid: ``fixed(x) ~ moving(x + u(x))``. None scores the pair as it is,
        before registration.
    label_ids : array_like of integers, optional
        The structures that count, see `scored_labels`; by default all in the cohort's label maps, without 0.
    threads
        Threads to use; None means all cores.

    Returns
    -------
    dict
        ``"jaccard"``
            Mean over the structures of their overlap in the fixed labels and the moving ones pulled by nearest
            neighbour, with nothing beyond the image; ``"jaccard/ID"`` is that of one structure. Structures absent from
            both are left out.
        ``"contour_distance"``
            Mean over the objects of kind ``"closed"`` and ``"open"``, in mm, of the symmetric distance between the
            contour of the moving subject and that of the fixed one moved by the displacement: landmarks of the fixed
            image plus u lie in the moving one. ``"contour_distance/NAME"`` is that of one object.
        ``"landmark_error"``
            Mean distance of all landmarks, moved in the same way, in mm.
        ``"folded_percent"``, ``"log_jacobian_sd"``
            See `folded_percentage` and `log_jacobian_sd`.

        A metric that is not defined for the pair is left out: no labels, no contours, a field that folds everywhere.

    Raises
    ------
    TypeError, ValueError
        If an index is out of range or the displacement does not fit the cohort's grid.
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"cohort is a {type(cohort).__name__}; pass a Cohort")
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
    count = _checks.thread_count(threads)
    deviation = log_jacobian_sd(field, threads=count)
    return {
        **_overlaps(cohort, fixed, moving, field, label_ids, count),
        **_distances(cohort, fixed, moving, field),
        "folded_percent": folded_percentage(field, threads=count),
        **({"log_jacobian_sd": deviation} if np.isfinite(deviation) else {}),
    }


def _overlaps(
    cohort: Cohort,
    fixed: int,
    moving: int,
    field: npt.NDArray[np.float32],
    label_ids: npt.ArrayLike | None,
    threads: int,
) -> dict[str, float]:
    if cohort.labels is None:
        return {}
    ids = np.unique(cohort.labels) if label_ids is None else np.asarray(label_ids)
    ids = ids[ids != 0] if label_ids is None else ids
    pulled = warp(cohort.labels[moving], field, order=0, border="constant", threads=threads)
    each = jaccard(cohort.labels[fixed], pulled, ids)
    present = np.isfinite(each)
    if not present.any():
        return {}
    parts = {f"jaccard/{label}": float(value) for label, value in zip(ids[present], each[present], strict=True)}
    return {"jaccard": float(each[present].mean()), **parts}


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
