"""Landmarks in correspondence from label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array
from modelaug.correspondence.anchors import Scene
from modelaug.correspondence.checks import check_correspondence
from modelaug.correspondence.contours import Contour, label_maps, structure_contour
from modelaug.correspondence.recipes import ObjectRecipe, Recipe
from modelaug.data.cohort import LandmarkObject, subject_names

_NAMED: Final = 3  # failures that a message names; the others are counted
_APART: Final = 1e-3  # mm; smallest distance of two anchors


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Landmarks in correspondence.

    Attributes
    ----------
    landmarks : ndarray, (n, m, 2), float64
        In voxels, (row, column); (0, 0) is the centre of the first pixel.
    objects : tuple of LandmarkObject
    anchors : ndarray, (k,), int64
        Indices of the landmarks placed by rules; the others are at equal arc lengths, in mm, between them.
    warnings : tuple of str
        Suspicions, one line each, with the subject's name.
    subjects : ndarray, (n,), int64
        Indices of the label maps; some are missing if subjects were skipped.
    """

    landmarks: Array
    objects: tuple[LandmarkObject, ...]
    anchors: npt.NDArray[np.int64]
    warnings: tuple[str, ...]
    subjects: npt.NDArray[np.int64]


def landmarks_from_labels(
    labels: npt.ArrayLike,
    recipe: Recipe,
    *,
    spacing: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    points: Mapping[str, npt.ArrayLike] | None = None,
    skip: bool = False,
) -> Correspondence:
    """Place landmarks in correspondence on the structures of label maps.

    Anchors are found by the recipe's rules, the landmarks between them are at equal arc lengths along the contours.
    Contours outline each structure's largest piece, without its holes, between the pixels, and run clockwise on a
    screen where rows point down.

    Parameters
    ----------
    labels : array_like of integers, (n, h, w)
        One label map per subject.
    recipe
        `hearts`, `brains`, `generic_recipe` of the label maps, a recipe from `read_recipe`, or your own.
    spacing : array_like, (2,), optional
        Millimetres per voxel along each axis; 1 by default. Angles, distances and arc lengths are in mm.
    names : sequence of str, optional
        The subjects' names for messages; their numbers by default.
    points : mapping from str to array_like (n, 2), optional
        The user's own points in voxels, for rules `Given`.
    skip
        Leave out subjects in which a structure or anchor cannot be found, with a warning.

    Returns
    -------
    Correspondence

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or shape; or, unless `skip`, if in some subject a structure is absent, tiny
        or touches the border, an anchor is not found, or anchors are not in the recipe's order. With `skip`, if no
        subject is left.
    """
    maps = label_maps(labels)
    n, h, w = maps.shape
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe is {recipe!r}; pass a Recipe, such as correspondence.hearts()")
    scale = _checks.spacing("spacing", spacing, 2)
    called = subject_names(names, n, "label maps")
    given = _points(points, n)

    traces: list[tuple[int, list[_Trace]]] = []
    failures, warnings = [], []
    for i in range(n):
        scene = Scene(maps[i], scale, {name: array[i] for name, array in given.items()})
        try:
            traced = [_trace(scene, each) for each in recipe.objects]
        except ValueError as error:
            failures.append(f"subject {called[i]!r}: {error}")
            continue
        traces.append((i, traced))
        warnings += [
            f"subject {called[i]!r}: {each.name} {remark}"
            for each, trace in zip(recipe.objects, traced, strict=True)
            for remark in trace.remarks
        ]
    if failures and (not skip or not traces):
        more = f"; and {len(failures) - _NAMED} more subjects" if len(failures) > _NAMED else ""
        raise ValueError("labels: " + "; ".join(failures[:_NAMED]) + more)

    per_object, objects, anchors, begin = [], [], [], 0
    for k, each in enumerate(recipe.objects):
        own = [trace[k] for _, trace in traces]
        counts = _counts(each, own)
        per_object.append([_place(trace, counts, each) for trace in own])
        places = np.concatenate([[0], np.cumsum(counts)])[: len(each.anchors)] if counts else range(len(each.anchors))
        anchors += [begin + int(place) for place in places]
        objects.append(LandmarkObject(each.name, tuple(range(begin, begin + each.size)), each.kind))
        begin += each.size
    landmarks = np.concatenate([np.array(each) for each in per_object], axis=1) / scale
    subjects = np.array([i for i, _ in traces], dtype=np.int64)
    kept = [called[i] for i in subjects]
    _check_inside(landmarks, (h, w), kept)
    warnings = [f"left out: {failure}" for failure in failures] + warnings
    warnings += check_correspondence(landmarks, objects, names=kept, spacing=scale)
    return Correspondence(landmarks, tuple(objects), np.array(anchors, dtype=np.int64), tuple(warnings), subjects)


@dataclass(frozen=True, eq=False)
class _Trace:
    """An object in one subject: its contour, if any, and its anchors as points (k, 2) in mm and arc lengths (k,)."""

    contour: Contour | None
    points: Array
    positions: Array
    remarks: list[str]

    @property
    def lengths(self) -> Array:
        """The arc lengths (k,) in mm from each anchor clockwise to the next, from the last to the first."""
        assert self.contour is not None
        steps = (np.roll(self.positions, -1) - self.positions) % self.contour.length
        return steps if len(steps) > 1 else np.array([self.contour.length])


def _trace(scene: Scene, each: ObjectRecipe) -> _Trace:
    """Find an object's contour and anchors in a subject."""
    try:
        contour: Contour | None = None
        remarks: list[str] = []
        if each.kind != "points":
            contour, remarks = structure_contour(scene.labels, each.labels, scene.spacing, each.contour)
        points = np.array([anchor.locate(scene, each.labels, contour) for anchor in each.anchors])
        positions = np.zeros(len(points))
        if contour is not None:
            positions, _ = contour.nearest(points)
            points = contour.at(positions)
        trace = _Trace(contour, points, positions, remarks)
        if contour is not None:
            _check_order(trace, each.parts)
    except ValueError as error:
        raise ValueError(f"{each.name} {error}") from None
    scene.found[each.name] = points
    return trace


def _check_order(trace: _Trace, parts: int) -> None:
    assert trace.contour is not None
    lengths = trace.lengths
    close = np.minimum(lengths, trace.contour.length - lengths) < _APART
    if len(lengths) > 1 and close[:parts].any():
        k = int(np.argmax(close))
        raise ValueError(
            f"has anchors {k} and {(k + 1) % len(lengths)} at the same place; choose rules that differ more"
        )
    # In the right order the parts cover the contour once.
    if lengths.sum() > 1.5 * trace.contour.length:
        raise ValueError("has its anchors in another order than clockwise on the screen; is the label map mirrored?")


def _counts(each: ObjectRecipe, traces: list[_Trace]) -> tuple[int, ...]:
    """Return the number of landmarks of each part; distribute a total by the parts' mean lengths, at least one each."""
    if not isinstance(each.counts, int):
        return each.counts
    lengths = np.mean([trace.lengths[: each.parts] for trace in traces], axis=0)
    counts = np.ones(each.parts, dtype=np.int64)
    for _ in range(each.counts - each.parts):
        counts[int(np.argmax(lengths / counts))] += 1
    return tuple(counts.tolist())


def _place(trace: _Trace, counts: tuple[int, ...], each: ObjectRecipe) -> Array:
    """Return an object's landmarks (m, 2) in mm."""
    if trace.contour is None:
        return trace.points
    ends = np.roll(trace.positions, -1)
    pieces = [trace.contour.equal_arcs(count, trace.positions[k], ends[k]) for k, count in enumerate(counts)]
    if each.kind == "open":
        pieces.append(trace.points[-1:])
    return np.concatenate(pieces)


def _points(points: Mapping[str, npt.ArrayLike] | None, n: int) -> dict[str, Array]:
    given = {}
    for name, value in (points or {}).items():
        array = _checks.finite(f"points[{name!r}]", value, ndim=2, dtype=np.float64)
        if array.shape != (n, 2):
            raise ValueError(f"points[{name!r}] has shape {array.shape}; pass ({n}, 2), a (row, column) per subject")
        given[name] = array
    return given


def _check_inside(landmarks: Array, grid: tuple[int, int], names: Sequence[str]) -> None:
    outside = ((landmarks < 0) | (landmarks > np.array(grid) - 1)).any(axis=(1, 2))
    if outside.any():
        name = names[int(np.argmax(outside))]
        raise ValueError(f"labels: subject {name!r} gets landmarks outside the image; pad it, or lower grow")
