"""Checks of a correspondence: subjects that are mirrored, rotated, shifted along a contour, or outliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array
from modelaug.data.cohort import LandmarkObject, subject_names
from modelaug.models.alignment import procrustes
from modelaug.transforms.polylines import polygon_area

_FEWEST: Final = 4  # subjects that can be compared with each other
_TURNED: Final = 60.0  # degrees from the others' orientation
_BETTER: Final = 0.5  # largest error of shifted or reversed landmarks, as a share of the error as given
_WORSE: Final = 2.0  # smallest error as given, as a multiple of the median subject's
_ODD: Final = 6.0  # robust standard deviations of an outlier
_CLOSE: Final = 0.1  # mean distance of a shape's landmarks, as a share of its size, below which it is no outlier
_FAR: Final = 0.15  # distance of a single landmark, as a share of the shape's size, below which it is no outlier


def check_correspondence(
    landmarks: npt.ArrayLike,
    objects: Sequence[LandmarkObject],
    *,
    names: Sequence[str] | None = None,
    spacing: npt.ArrayLike | None = None,
) -> list[str]:
    """Check landmarks in correspondence; return a line with the subject's name for each suspicion.

    Each subject is compared with all of them after Procrustes alignment. Suspicious are a closed contour that runs the
    other way round than most (in 2D), a shape turned by more than 60 degrees, a contour that would fit far better
    shifted or reversed, and a shape, or a single landmark, much farther from the median than the others. Fewer than
    four subjects are not compared.

    Parameters
    ----------
    landmarks : array_like, (n, m, d)
        In voxels.
    objects
        Groups of the landmarks.
    names : sequence of str, optional
        The subjects' names; their numbers by default.
    spacing : array_like, (d,), optional
        Millimetres per voxel along each axis; 1 by default.

    Raises
    ------
    TypeError, ValueError
        If the landmarks have the wrong shape or values that are not finite, all landmarks of a subject coincide, or the
        objects or names do not fit.
    """
    points = _checks.landmarks("landmarks", landmarks)
    n, m, d = points.shape
    wrong = next((i for each in objects for i in each.indices if i >= m), None)
    if wrong is not None:
        raise ValueError(f"objects name landmark {wrong} of {m}; pass the objects of these landmarks")
    called = subject_names(names, n)
    points = points * _checks.spacing("spacing", spacing, d)
    if n < _FEWEST or m < 2:
        return []
    alignment = procrustes(points)
    median = np.median(alignment.shapes, axis=0)
    found: list[list[str]] = [[] for _ in range(n)]
    _find_mirrored(points, objects, found)
    _find_turned(alignment.poses[:, 1:-d], found)
    _find_shifted(alignment.shapes, median, objects, found)
    _find_odd(alignment.shapes - median, median, objects, found)
    return [f"subject {called[i]!r}: {line}" for i, lines in enumerate(found) for line in lines]


def _find_mirrored(points: Array, objects: Sequence[LandmarkObject], found: list[list[str]]) -> None:
    """Report closed contours that run the other way round than in most subjects."""
    closed = [each for each in objects if each.kind == "closed" and len(each.indices) > 2]
    if points.shape[2] != 2 or not closed:
        return
    signs = np.array([[np.sign(polygon_area(shape[list(each.indices)])) for each in closed] for shape in points])
    against = signs * np.sign(signs.sum(axis=0)) < 0
    for i, flags in enumerate(against):
        if flags.all() and len(closed) > 1:
            found[i].append("all contours run the other way round than in most subjects; is it mirrored?")
        else:
            names = [each.name for each, flag in zip(closed, flags, strict=True) if flag]
            found[i] += [
                f"{name} runs the other way round than in most subjects; reverse its landmarks" for name in names
            ]


def _find_turned(rotations: Array, found: list[list[str]]) -> None:
    """Report subjects that are turned against the others; rotations (n, 1) or (n, 3) in radians."""
    degrees = np.rad2deg(np.linalg.norm(rotations, axis=1))
    for i in np.flatnonzero(degrees > _TURNED):
        found[i].append(
            f"is turned by {degrees[i]:.0f} degrees against the others; is the image rotated or mirrored, or are the "
            "landmarks counted from elsewhere?"
        )


def _find_shifted(shapes: Array, median: Array, objects: Sequence[LandmarkObject], found: list[list[str]]) -> None:
    """Report closed contours that would fit far better if they were counted from another landmark, or backwards."""
    for each in objects:
        members, count = list(each.indices), len(each.indices)
        if each.kind != "closed" or count < 4:
            continue
        target = median[members] - median[members].mean(axis=0)
        own = shapes[:, members] - shapes[:, members].mean(axis=1, keepdims=True)
        ways = np.stack([np.roll(own[:, ::step], -k, axis=1) for step in (1, -1) for k in range(count)])
        errors = np.sqrt(((ways - target) ** 2).sum(axis=3).mean(axis=2))
        usual = float(np.median(errors[0]))
        for i in range(len(shapes)):
            best = int(np.argmin(errors[:, i]))
            if errors[best, i] > _BETTER * errors[0, i] or errors[0, i] < _WORSE * usual:
                continue
            if best >= count:
                found[i].append(f"{each.name} fits the others far better backwards; reverse its landmarks")
            elif min(best, count - best) > 1:
                found[i].append(f"{each.name} fits the others far better if counted from its landmark {best}")


def _find_odd(offsets: Array, median: Array, objects: Sequence[LandmarkObject], found: list[list[str]]) -> None:
    """Report shapes, or single landmarks, that are much farther from the median than the others."""
    distances = np.linalg.norm(offsets, axis=2)
    size = float(np.linalg.norm(median - median.mean(axis=0), axis=1).mean())
    errors = distances.mean(axis=1)
    limit = max(_limit(errors), _CLOSE * size)
    owners = {i: each.name for each in objects for i in each.indices}
    for i in range(len(errors)):
        if found[i]:
            continue  # an earlier report explains it
        if errors[i] > limit:
            found[i].append(
                f"its shape is {errors[i] / np.median(errors):.1f} times as far from the median as usual; look at it"
            )
            continue
        excess = distances[i] / np.maximum([_limit(each) for each in distances.T], _FAR * size)
        j = int(np.argmax(excess))
        # A displaced stretch of contour is anatomy, a single displaced landmark a mistake.
        if excess[j] > 1 and distances[i, j] > _WORSE * np.sort(distances[i])[-3 if len(distances[i]) > 2 else 0]:
            found[i].append(f"landmark {j} ({owners.get(j, 'of no object')}) is far from where the others have it")


def _limit(values: Array) -> float:
    """Return the limit of outliers: 6 robust standard deviations above the median, or twice the upper quartile."""
    middle, upper = (float(each) for each in np.quantile(values, (0.5, 0.75)))
    return max(middle + _ODD * 1.4826 * float(np.median(np.abs(values - middle))), _WORSE * upper)
