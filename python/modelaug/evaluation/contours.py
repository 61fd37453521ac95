"""Distances between contours, and between corresponding landmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array
from modelaug.transforms.polylines import Polyline

_SAMPLES_PER_VOXEL = 4


def contour_distance(
    a: npt.ArrayLike, b: npt.ArrayLike, spacing: npt.ArrayLike | None = None, *, closed: bool = True
) -> float:
    r"""Return the average symmetric distance between two contours.

    Both polylines are sampled at equal arc length, four times per voxel, giving the points A and B; with d the distance
    of a point to the nearest point of the other polyline (not only to its vertices), the result is

    .. math:: \frac{\sum_{p \in A} d(p, b) + \sum_{p \in B} d(p, a)}{|A| + |B|}

    Parameters
    ----------
    a, b : array_like, (m_a, d) and (m_b, d)
        Vertices in order along the contour, in voxels. They need not correspond.
    spacing : array_like, (d,), optional
        Millimetres per voxel along each axis; 1 by default.
    closed
        Whether the last vertex is joined to the first.

    Returns
    -------
    float
        In mm; in voxels without `spacing`.

    Examples
    --------
    >>> from modelaug.evaluation import contour_distance
    >>> square = [[0, 0], [0, 10], [10, 10], [10, 0]]
    >>> one_row_down = [[1, 0], [1, 10], [11, 10], [11, 0]]
    >>> 0.4 < contour_distance(square, one_row_down) < 0.7  # the sides lie on each other
    True
    >>> round(contour_distance([[0, 0], [0, 9]], [[2, 9], [2, 0]], spacing=(1.5, 1), closed=False), 6)
    3.0
    """
    contours = [_checks.finite(name, points, ndim=2, dtype=np.float64) for name, points in (("a", a), ("b", b))]
    d = contours[0].shape[1]
    if contours[1].shape[1] != d:
        raise ValueError(
            f"b has shape {contours[1].shape} but a {contours[0].shape}; pass the same number of coordinates"
        )
    scale = _checks.spacing("spacing", spacing, d)
    step = float(scale.min()) / _SAMPLES_PER_VOXEL
    first, second = (Polyline(points * scale, closed) for points in contours)
    distances = [to.nearest(_sample(line, step))[1] for line, to in ((first, second), (second, first))]
    return float(np.concatenate(distances).mean())


def landmark_error(a: npt.ArrayLike, b: npt.ArrayLike, spacing: npt.ArrayLike | None = None) -> float:
    """Return the mean distance of corresponding landmarks.

    Parameters
    ----------
    a, b : array_like, (m, d)
        Landmarks in voxels.
    spacing : array_like, (d,), optional
        Millimetres per voxel along each axis; 1 by default.

    Returns
    -------
    float
        In mm; in voxels without `spacing`.

    Examples
    --------
    >>> from modelaug.evaluation import landmark_error
    >>> landmark_error([[0, 0], [5, 5]], [[3, 4], [5, 6]])
    3.0
    >>> landmark_error([[0, 0], [5, 5]], [[3, 4], [5, 6]], spacing=(2, 2))
    6.0
    """
    first, second = (_checks.finite(name, x, ndim=2, dtype=np.float64) for name, x in (("a", a), ("b", b)))
    if first.shape != second.shape:
        raise ValueError(f"b has shape {second.shape} but a {first.shape}; pass corresponding landmarks")
    scale = _checks.spacing("spacing", spacing, first.shape[1])
    return float(np.linalg.norm((first - second) * scale, axis=1).mean())


def _sample(line: Polyline, step: float) -> Array:
    """Return points (p, d) at equal arc length along a line, at most `step` apart."""
    count = 1 + int(np.ceil(line.length / step))
    # Cell centres, so that every sample stands for the same length, whether the contour is closed or not.
    return line.at((np.arange(count) + 0.5) / count * line.length)
