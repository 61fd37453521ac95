r"""Distances between the surfaces of structures in two label maps.

The surface of a structure is the set of its voxels with a face neighbour outside the structure. Everything beyond the
image is outside, so that voxels at the border of the image belong to the surface. Only an axis of one voxel has no
border: the surfaces in a volume of one plane are contours in the plane.

Distances are Euclidean, from centre to centre of voxels, in mm. With A and B the surface voxels of a structure in the
two maps, d(p, B) is the distance of p to the nearest voxel of B.

MONAI has the same surfaces, except that it takes all voxels of a volume of one plane. ``LabelContour`` of SimpleITK
lets structures go on beyond the image; it has the same surfaces once the maps are padded by a voxel of background. The
``HausdorffDistanceImageFilter`` there measures from all voxels of a structure, not from its surface.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._arrays import Array, Labels, Mask
from modelaug.evaluation.overlap import histogram, label_pair, structure_ids

Box = tuple[slice, ...]

Distances = tuple[Array, Array]
"""Distance in mm of each surface voxel in the first map to the surface in the second map, and in reverse.

Infinite if the other map has no surface, empty if the map itself has none."""


def surface_distance(
    labels_a: npt.ArrayLike,
    labels_b: npt.ArrayLike,
    ids: npt.ArrayLike | None = None,
    spacing: npt.ArrayLike | None = None,
) -> Array:
    r"""Return the average symmetric surface distance (ASSD) of each structure in two label maps.

    It is the mean over the surface voxels of both maps together, so that the larger surface has the greater weight:

    .. math:: \frac{\sum_{p \in A} d(p, B) + \sum_{p \in B} d(p, A)}{|A| + |B|}

    A and B are the voxels with a face neighbour outside the structure or beyond the image; an axis of one voxel has no
    beyond. d is the Euclidean distance between voxel centres (T. Heimann et al., Comparison and evaluation of methods
    for liver segmentation from CT datasets, IEEE Trans. Med. Imaging 28(8), 2009, where edge neighbours count, too).
    ``compute_average_surface_distance(symmetric=True)`` of MONAI has the same values, except for volumes of one plane.

    Parameters
    ----------
    labels_a, labels_b : array_like of integers, (*grid)
        Label maps of the same shape, 2D or 3D.
    ids : array_like of integers, (k,), optional
        The structures' labels; by default all that occur in either map, ascending, without 0, the background.
    spacing : array_like, (d,), optional
        Millimetres per voxel along each axis; 1 by default.

    Returns
    -------
    ndarray, (k,), float64
        In mm; in voxels without `spacing`. Infinite for a structure that is absent from one of the maps, NaN for one
        absent from both, which means skip.

    Examples
    --------
    >>> from modelaug.evaluation import surface_distance
    >>> surface_distance([[1, 1, 0, 0], [2, 0, 0, 0]], [[1, 1, 1, 1], [0, 0, 0, 0]], spacing=(1.0, 3.0))
    array([1.5, inf])
    """
    return np.array([average_distance(each) for each in surface_distances(labels_a, labels_b, ids, spacing)])


def hausdorff_distance(
    labels_a: npt.ArrayLike,
    labels_b: npt.ArrayLike,
    ids: npt.ArrayLike | None = None,
    spacing: npt.ArrayLike | None = None,
    *,
    percentile: float = 95,
) -> Array:
    r"""Return the Hausdorff distance of each structure's surfaces in two label maps, or a percentile of it.

    It is the larger one of the values of both directions:

    .. math:: \max\bigl(\operatorname{P}_{p \in A} d(p, B),\ \operatorname{P}_{p \in B} d(p, A)\bigr)

    with P the percentile, linear between samples, d the Euclidean distance between voxel centres, and A and B the
    voxels with a face neighbour outside the structure or beyond the image; an axis of one voxel has no beyond
    (D. Huttenlocher et al., Comparing images using the Hausdorff distance, IEEE Trans. Pattern Anal. Mach. Intell.
    15(9), 1993). ``compute_hausdorff_distance(percentile=95)`` of MONAI has the same values, except for volumes of one
    plane.

    Parameters
    ----------
    labels_a, labels_b : array_like of integers, (*grid)
        Label maps of the same shape, 2D or 3D.
    ids : array_like of integers, (k,), optional
        The structures' labels; by default all that occur in either map, ascending, without 0, the background.
    spacing : array_like, (d,), optional
        Millimetres per voxel along each axis; 1 by default.
    percentile
        From 0 to 100; 100 is the Hausdorff distance itself, which one stray voxel decides.

    Returns
    -------
    ndarray, (k,), float64
        In mm; in voxels without `spacing`. Infinite for a structure that is absent from one of the maps, NaN for one
        absent from both, which means skip.

    Examples
    --------
    >>> from modelaug.evaluation import hausdorff_distance
    >>> a, b = [[1, 1, 0, 0, 0]], [[1, 1, 1, 1, 1]]
    >>> hausdorff_distance(a, b, percentile=100, spacing=(1, 2))
    array([6.])
    """
    share = _checks.number("percentile", percentile, minimum=0.0, maximum=100.0)
    each = surface_distances(labels_a, labels_b, ids, spacing)
    return np.array([percentile_distance(distances, share) for distances in each])


def surface_distances(
    labels_a: npt.ArrayLike, labels_b: npt.ArrayLike, ids: npt.ArrayLike | None, spacing: npt.ArrayLike | None
) -> list[Distances]:
    """Return the distances of all surface voxels of each structure, see `Distances`."""
    a, b = label_pair(labels_a, labels_b)
    scale = _checks.spacing("spacing", spacing, a.ndim)
    wanted = structure_ids(ids, histogram(a)[0], histogram(b)[0])
    axes = [k for k, length in enumerate(a.shape) if length > 1] or [0]
    structures, position = np.unique(wanted, return_inverse=True)
    maps = [_positions(labels.reshape([labels.shape[k] for k in axes]), structures) for labels in (a, b)]
    boxes = zip(*(scipy.ndimage.find_objects(each, max_label=len(structures)) for each in maps), strict=True)
    found = [_structure_distances(maps, number, pair, scale[axes]) for number, pair in enumerate(boxes, start=1)]
    return [found[k] for k in position]


def average_distance(distances: Distances) -> float:
    """Return the mean over the surface voxels of both maps, NaN without any."""
    together = np.concatenate(distances)
    return float(together.mean()) if together.size else float("nan")


def percentile_distance(distances: Distances, percentile: float) -> float:
    """Return the larger one of the percentiles of both directions, NaN without any distance."""
    if not all(each.size for each in distances):
        return average_distance(distances)  # infinite or NaN; percentiles of infinities are not defined
    return float(max(np.percentile(each, percentile) for each in distances))


def _positions(labels: Labels, ids: Labels) -> npt.NDArray[np.int32]:
    """Return the position, from 1, of each voxel's label among ascending `ids`, 0 for other labels."""
    known = ids.astype(labels.dtype)
    numbers = 1 + np.flatnonzero(known == ids)  # ids beyond the range of the labels' type occur nowhere
    if not numbers.size:
        return np.zeros(labels.shape, np.int32)
    known = known[numbers - 1]
    nearest = np.minimum(np.searchsorted(known, labels), len(known) - 1)
    return np.where(known[nearest] == labels, numbers[nearest], 0).astype(np.int32)


def _structure_distances(
    maps: list[npt.NDArray[np.int32]], number: int, boxes: tuple[Box | None, Box | None], spacing: Array
) -> Distances:
    """Return the distances of one structure, given its bounding box in each map."""
    there = [box for box in boxes if box is not None]
    if not there:
        return np.zeros(0), np.zeros(0)
    # The structure ends within the box of both, so that its surfaces there are those in the whole image.
    box = tuple(
        slice(min(each.start for each in along), max(each.stop for each in along)) for along in zip(*there, strict=True)
    )
    first, second = (_surface(each[box] == number) for each in maps)
    return _nearest_distances(first, second, spacing), _nearest_distances(second, first, spacing)


def _surface(mask: Mask) -> Mask:
    """Return the voxels of a mask with a face neighbour outside the mask or beyond the array."""
    return np.asarray(mask & ~scipy.ndimage.binary_erosion(mask))


def _nearest_distances(start: Mask, end: Mask, spacing: Array) -> Array:
    """Return the distance of each voxel of one surface to the nearest voxel of another."""
    if not end.any():
        return np.full(np.count_nonzero(start), np.inf)
    return np.asarray(scipy.ndimage.distance_transform_edt(~end, sampling=spacing)[start])
