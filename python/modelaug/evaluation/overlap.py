"""Overlap of label maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Labels

Counts = npt.NDArray[np.int64]

_SPAN = 1 << 16  # bins of a histogram that are affordable for any number of voxels


def jaccard(
    labels_a: npt.ArrayLike, labels_b: npt.ArrayLike, ids: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    r"""Return the Jaccard index of each structure in two label maps: :math:`|A \cap B| / |A \cup B|`.

    Parameters
    ----------
    labels_a, labels_b : array_like of integers, (*grid)
        Label maps of the same shape, 2D or 3D.
    ids : array_like of integers, (k,), optional
        The structures' labels; by default all that occur in either map, ascending, without 0, the background.

    Returns
    -------
    ndarray, (k,), float64
        From 0 to 1: 0 for a structure that is absent from one of the maps, NaN for one absent from both, which means
        skip (``np.nanmean``).

    Examples
    --------
    >>> from modelaug.evaluation import jaccard
    >>> jaccard([[0, 1, 1], [2, 2, 0]], [[0, 1, 0], [2, 2, 2]])
    array([0.5       , 0.66666667])
    >>> jaccard([[0, 1, 1]], [[0, 1, 0]], ids=[1, 9])  # 9 is in neither
    array([0.5, nan])
    """
    both, in_a, in_b = _count_voxels(labels_a, labels_b, ids)
    return _ratio(both, in_a + in_b - both)


def dice(labels_a: npt.ArrayLike, labels_b: npt.ArrayLike, ids: npt.ArrayLike | None = None) -> npt.NDArray[np.float64]:
    r"""Return the Dice coefficient of each structure in two label maps: :math:`2 |A \cap B| / (|A| + |B|)`.

    It is :math:`2 J / (1 + J)` with J the Jaccard index, so both rank registrations of one structure alike (L. Dice,
    Measures of the amount of ecologic association between species, Ecology 26, 1945).

    Parameters
    ----------
    labels_a, labels_b : array_like of integers, (*grid)
        Label maps of the same shape, 2D or 3D.
    ids : array_like of integers, (k,), optional
        The structures' labels; by default all that occur in either map, ascending, without 0, the background.

    Returns
    -------
    ndarray, (k,), float64
        From 0 to 1: 0 for a structure that is absent from one of the maps, NaN for one absent from both, which means
        skip (``np.nanmean``).

    Examples
    --------
    >>> from modelaug.evaluation import dice
    >>> dice([[0, 1, 1], [2, 2, 0]], [[0, 1, 0], [2, 2, 2]])
    array([0.66666667, 0.8       ])
    >>> dice([[0, 1, 1]], [[0, 1, 0]], ids=[1, 9])  # 9 is in neither
    array([0.66666667,        nan])
    """
    both, in_a, in_b = _count_voxels(labels_a, labels_b, ids)
    return _ratio(2 * both, in_a + in_b)


def scored_labels(labels: npt.ArrayLike, *, share: float = 0.9, voxels: int = 20) -> Labels:
    """Return the labels worth scoring: those with more than a few voxels in nearly all images.

    Choose them on training subjects, so that no test subject decides which structures it is tested on.

    Parameters
    ----------
    labels : array_like of integers, (n, *grid)
        Label maps of n images.
    share
        Smallest share of the images in which a structure must occur.
    voxels
        Smallest number of its voxels in each of these images.

    Returns
    -------
    ndarray of integers, (k,)
        Ascending, without 0, the background.
    """
    maps = _label_map("labels", labels, (3, 4))
    least = _checks.integer("voxels", voxels, minimum=1)
    needed = _checks.number("share", share, above=0.0, maximum=1.0) * len(maps)
    large = [present[counts >= least] for present, counts in map(histogram, maps)]
    values, images = np.unique(np.concatenate(large), return_counts=True)
    # The tolerance admits 7 of 10 images for a share of 0.7, whose product with 10 is 7 only up to rounding.
    return np.asarray(values[(images >= needed - 1e-9) & (values != 0)])


def label_pair(labels_a: npt.ArrayLike, labels_b: npt.ArrayLike) -> tuple[Labels, Labels]:
    """Check that two label maps are on one grid, and return them as arrays."""
    a, b = (_label_map(name, labels, (2, 3)) for name, labels in (("labels_a", labels_a), ("labels_b", labels_b)))
    if a.shape != b.shape:
        raise ValueError(f"labels_b has shape {b.shape} but labels_a {a.shape}; pass two label maps on one grid")
    return a, b


def structure_ids(ids: npt.ArrayLike | None, *present: Labels) -> Labels:
    """Return the requested labels; for None all that are present in either of two maps, without 0, the background."""
    if ids is None:
        values = np.union1d(*present)
        return np.asarray(values[values != 0])
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"ids is an array {array.shape} of {array.dtype}; pass a list of integers")
    return array.astype(np.int64) if array.size == 0 else array


def _label_map(name: str, labels: npt.ArrayLike, axes: tuple[int, ...]) -> Labels:
    array = np.asarray(labels)
    if array.dtype.kind not in "iub":
        raise TypeError(f"{name} has dtype {array.dtype}; pass integers")
    if array.ndim not in axes or array.size == 0:
        wanted = " or ".join(map(str, axes))
        raise ValueError(f"{name} has shape {array.shape}; pass an array with {wanted} axes that is not empty")
    return array.view(np.uint8) if array.dtype.kind == "b" else array


def histogram(values: Labels) -> tuple[Labels, Counts]:
    """Return the values that occur, ascending, and the number of voxels of each."""
    if values.size == 0:
        return values.ravel(), np.zeros(0, np.int64)
    low, high = int(values.min()), int(values.max())
    if high - low > _SPAN + values.size:
        return np.unique(values, return_counts=True)
    shifted = values.ravel()
    if low != 0:
        # 64 bits before the subtraction, which smaller types may overflow.
        shifted = shifted - np.uint64(low) if values.dtype == np.uint64 else shifted.astype(np.int64) - low
    counts = np.bincount(shifted.astype(np.intp, copy=False))
    present = np.flatnonzero(counts)
    return np.array([low + int(k) for k in present], values.dtype), counts[present]


def _count_of_each(present: Labels, counts: Counts, ids: Labels) -> Counts:
    """Return how often each of `ids` occurs, given a histogram."""
    found = dict(zip(present.tolist(), counts.tolist(), strict=True))
    return np.array([found.get(each, 0) for each in ids.tolist()], np.int64)


def _count_voxels(
    labels_a: npt.ArrayLike, labels_b: npt.ArrayLike, ids: npt.ArrayLike | None
) -> tuple[Counts, Counts, Counts]:
    """Count the voxels of each structure in both maps at once, in the first, and in the second."""
    a, b = label_pair(labels_a, labels_b)
    both, in_a, in_b = (histogram(x) for x in (a[a == b], a, b))
    wanted = structure_ids(ids, in_a[0], in_b[0])
    return _count_of_each(*both, wanted), _count_of_each(*in_a, wanted), _count_of_each(*in_b, wanted)


def _ratio(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    """Return the quotients, NaN where the divisor is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0))
