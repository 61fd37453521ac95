"""A recipe for label maps of which nothing is known."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.correspondence.anchors import Ray, Scene
from modelaug.correspondence.contours import Array, ContourOptions, Labels, label_maps, structure_contour
from modelaug.correspondence.recipes import ObjectRecipe, Recipe

__all__ = ["generic_recipe"]

_CLEAR: Final = 0.5  # distance of two centroids, as a share of the structure's radius, that makes a direction of them
_GAP: Final = 1.0  # voxels between structures that touch
_FEWEST: Final = 8  # landmarks of an object
_MOST: Final = 48


def generic_recipe(
    labels: npt.ArrayLike, *, spacing: npt.ArrayLike | None = None, total: int = 120
) -> tuple[Recipe, list[str]]:
    """Return a recipe for any label maps: the outline of every structure that all subjects have.

    Each outline has two anchors: where rays from its centroid towards the centroid of another structure, and away from
    it, leave it. The other structure is the one that gives the clearest direction in all subjects; where none does, the
    rays go up and down the image. Anatomy that is known makes better anchors: write a recipe of your own then.

    Parameters
    ----------
    labels : array_like of integers, (n, h, w)
        One label map per subject; 0 is the background.
    spacing : array_like, (2,), optional
        Millimetres per voxel along each axis; 1 by default.
    total
        Landmarks to share out among the outlines by their lengths, each 8 to 48.

    Returns
    -------
    recipe : Recipe
        Objects ``"label_K"``. Where two structures touch, the one with the greater label keeps a distance of a voxel
        from the other, as landmarks that lie on each other cannot have displacements of their own.
    remarks : list of str
        Which labels were left out, and why.

    Raises
    ------
    TypeError, ValueError
        If `labels` are no label maps, or no structure has an outline in all of them.
    """
    maps = label_maps(labels)
    scale = _checks.spacing("spacing", spacing, 2)
    total = _checks.integer("total", total, minimum=_FEWEST)
    used: list[int] = []
    lengths: list[float] = []
    remarks = []
    for value in (int(v) for v in np.unique(maps) if v != 0):
        try:
            lengths.append(float(np.mean(_lengths(maps, value, scale, tuple(used)))))
            used.append(value)
        except ValueError as error:
            remarks.append(f"label {value} is left out: {error}")
    if not used:
        raise ValueError(
            "labels hold no structure with an outline in all subjects; "
            + (remarks[0] if remarks else "pass label maps with more than 0")
        )
    directions = _directions(maps, used, scale)
    objects = []
    for k, value in enumerate(used):
        count = int(np.clip(round(total * lengths[k] / sum(lengths)), _FEWEST, _MOST))
        towards = () if directions[k] is None else (directions[k],)
        rays = (Ray(0.0, towards), Ray(180.0, towards))
        objects.append(ObjectRecipe(f"label_{value}", (value,), rays, count, contour=_options(scale, tuple(used[:k]))))
    return Recipe(tuple(objects)), remarks


def _options(spacing: Array, before: tuple[int, ...]) -> ContourOptions:
    return ContourOptions(apart=before, gap=_GAP * float(spacing.min()) if before else 0.0)


def _lengths(maps: Labels, value: int, spacing: Array, before: tuple[int, ...]) -> list[float]:
    """Return the lengths of a structure's outline in all subjects."""
    lengths = []
    for i, each in enumerate(maps):
        try:
            lengths.append(structure_contour(each, (value,), spacing, _options(spacing, before))[0].length)
        except ValueError as error:
            raise ValueError(f"in label map {i} it {error}") from None
    return lengths


def _directions(maps: Labels, used: list[int], spacing: Array) -> list[Any]:
    """Return for each structure the label of the one that gives the clearest direction, or None."""
    scenes = [Scene(each, spacing) for each in maps]
    centroids = np.array([[scene.centroid((value,)) for value in used] for scene in scenes])
    areas = np.array([[len(scene.pixels((value,))) for value in used] for scene in scenes]) * spacing.prod()
    distances = np.linalg.norm(centroids[:, :, None] - centroids[:, None], axis=3)
    clearness = (distances / np.sqrt(areas / np.pi)[:, :, None]).min(axis=0)
    best = clearness.argmax(axis=1)
    return [used[b] if clearness[k, b] > _CLEAR else None for k, b in enumerate(best)]
