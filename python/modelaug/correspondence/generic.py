"""A generic recipe for label maps of unknown anatomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array, Labels
from modelaug.correspondence.anchors import Ray, Scene
from modelaug.correspondence.contours import ContourOptions, label_maps, structure_contour
from modelaug.correspondence.recipes import ObjectRecipe, Recipe

_CLEAR: Final = 0.5  # distance of two centroids, as a share of the structure's radius, that gives a clear direction
_GAP: Final = 1.0  # voxels between structures that touch
_FEWEST: Final = 8  # landmarks of an object
_MOST: Final = 48
_NAMED: Final = 3  # structures, or subjects, that a message names; the others are counted


@dataclass(frozen=True)
class _Lacking:
    """A structure, with the reasons why it has no outline in some label maps."""

    value: int
    reasons: Mapping[int, str]

    def is_rare(self, subjects: int) -> bool:
        """Return whether more than half of the subjects lack the structure."""
        return len(self.reasons) > subjects / 2


def generic_recipe(
    labels: npt.ArrayLike,
    *,
    spacing: npt.ArrayLike | None = None,
    total: int = 120,
    names: Sequence[str] | None = None,
    skip: bool | None = None,
) -> tuple[Recipe, list[str]]:
    """Return a recipe for any label maps: the outline of every structure that all subjects have.

    Each outline has two anchors: its last intersections with rays from its centroid towards the centroid of another
    structure, and away from it. The other structure is the one with the clearest direction in all subjects; without
    any, the rays go up and down the image. Known anatomy gives better anchors: write a recipe of your own then.

    Parameters
    ----------
    labels : array_like of integers, (n, h, w)
        One label map per subject; 0 is the background.
    spacing : array_like, (2,), optional
        Millimetres per voxel along each axis; 1 by default.
    total
        Landmarks to distribute among the outlines by their lengths, each 8 to 48.
    names : sequence of str, optional
        The subjects' names for messages; the label maps' numbers by default.
    skip
        Treatment of a structure that only some subjects have: None leaves it out; False raises an error with the
        subjects' names; True keeps it if at least half of the subjects have it, and `landmarks_from_labels` with
        ``skip=True`` then leaves out the other subjects. A structure without an outline in any subject is always left
        out.

    Returns
    -------
    recipe : Recipe
        Objects ``"label_K"``. Where two structures touch, the one with the greater label keeps a distance of a voxel
        from the other, as landmarks at one point cannot have different displacements.
    remarks : list of str
        The labels that were left out, with reasons.

    Raises
    ------
    TypeError, ValueError
        If `labels` are no label maps, no structure has an outline in all of them, or, depending on `skip`, some
        subjects lack one.
    """
    maps = label_maps(labels)
    scale = _checks.spacing("spacing", spacing, 2)
    total = _checks.integer("total", total, minimum=_FEWEST)
    if names is not None and len(names) != len(maps):
        raise ValueError(f"names holds {len(names)} names for {len(maps)} label maps; pass one each")
    called = [f"label map {i}" if names is None else f"subject {names[i]!r}" for i in range(len(maps))]
    used: list[int] = []
    outlines: list[Array] = []
    remarks = []
    lacking: list[_Lacking] = []
    for value in (int(v) for v in np.unique(maps) if v != 0):
        lengths, reasons = _lengths(maps, value, scale, tuple(used))
        missing = _Lacking(value, reasons)
        if reasons and (skip is None or len(reasons) == len(maps) or (skip and missing.is_rare(len(maps)))):
            i, reason = next(iter(reasons.items()))
            more = "" if skip is None else f" ({len(reasons)} of {len(maps)} lack it)"
            remarks.append(f"label {value} is left out: in {called[i]} it {reason}{more}")
            continue
        if reasons:
            lacking.append(missing)
        used.append(value)
        outlines.append(lengths)
    if lacking and not skip:
        raise ValueError(_refusal(lacking, called))
    if not used:
        raise ValueError(
            "labels hold no structure with an outline in all subjects; "
            + (remarks[0] if remarks else "pass label maps with more than 0")
        )
    whole = np.array([i for i in range(len(maps)) if not any(i in each.reasons for each in lacking)], dtype=np.intp)
    if not len(whole):
        values = ", ".join(f"label_{each.value}" for each in lacking)
        raise ValueError(f"labels: no subject has all of {values}; do without some of them, set to 0 by [relabel]")
    maps = maps[whole]
    shares = np.array([lengths[whole].mean() for lengths in outlines])
    directions = _directions(maps, used, scale)
    objects = []
    for k, value in enumerate(used):
        count = int(np.clip(round(total * shares[k] / shares.sum()), _FEWEST, _MOST))
        towards = () if directions[k] is None else (directions[k],)
        rays = (Ray(0.0, towards), Ray(180.0, towards))
        objects.append(ObjectRecipe(f"label_{value}", (value,), rays, count, contour=_options(scale, tuple(used[:k]))))
    return Recipe(tuple(objects)), remarks


def _options(spacing: Array, before: tuple[int, ...]) -> ContourOptions:
    return ContourOptions(apart=before, gap=_GAP * float(spacing.min()) if before else 0.0)


def _lengths(maps: Labels, value: int, spacing: Array, before: tuple[int, ...]) -> tuple[Array, dict[int, str]]:
    """Return the lengths (n,) in mm of a structure's outlines, and the reasons of subjects that have none."""
    lengths = np.full(len(maps), np.nan)
    reasons = {}
    for i, each in enumerate(maps):
        try:
            lengths[i] = structure_contour(each, (value,), spacing, _options(spacing, before))[0].length
        except ValueError as error:
            reasons[i] = str(error)
    return lengths, reasons


def _refusal(lacking: Sequence[_Lacking], called: Sequence[str]) -> str:
    """Return the message on subjects that lack structures, with remedies."""
    facts = []
    for each in lacking:
        first = next(iter(each.reasons))
        reason = each.reasons[first].partition(";")[0]
        others = [called[i] for i in each.reasons if i != first]
        more = f", and not to be outlined in {', '.join(others[:_NAMED])}" if others else ""
        more += f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        facts.append(f"label_{each.value} {reason} in {called[first]}{more}")
    rare = [each for each in lacking if each.is_rare(len(called))]
    subjects = len({i for each in lacking if each not in rare for i in each.reasons})
    skipped = [f"{subjects} of {len(called)} subjects"] if subjects else []
    skipped += [f"label_{each.value}, which most lack," for each in rare[:_NAMED]]
    values = " and ".join(f"{each.value} = 0" for each in lacking[:_NAMED])
    alone = ", a line each" if len(lacking[:_NAMED]) > 1 else ""
    return (
        f"labels: {'; '.join(facts[:_NAMED])}; correct the label maps, leave out {' and '.join(skipped)} by --skip "
        f"(skip=True), or do without the structure by {values} under [relabel] in a cohort.toml{alone}"
    )


def _directions(maps: Labels, used: list[int], spacing: Array) -> list[Any]:
    """Return for each structure the label of another one in the clearest direction from it, or None."""
    scenes = [Scene(each, spacing) for each in maps]
    centroids = np.array([[scene.centroid((value,)) for value in used] for scene in scenes])
    areas = np.array([[len(scene.pixels((value,))) for value in used] for scene in scenes]) * spacing.prod()
    distances = np.linalg.norm(centroids[:, :, None] - centroids[:, None], axis=3)
    clearness = (distances / np.sqrt(areas / np.pi)[:, :, None]).min(axis=0)
    best = clearness.argmax(axis=1)
    return [used[b] if clearness[k, b] > _CLEAR else None for k, b in enumerate(best)]
