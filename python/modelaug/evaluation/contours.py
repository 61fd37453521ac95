"""Distances between contours, and between corresponding landmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelaug import _checks

__all__ = ["contour_distance", "landmark_error"]

Array = npt.NDArray[np.float64]

_SAMPLES_PER_VOXEL = 4
_BLOCK = 1 << 14  # distances at a time, so that they stay in the cache


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

    Raises
    ------
    TypeError, ValueError
        If a contour has the wrong shape or values that are not finite, or `spacing` does not fit.

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
    polylines = [np.vstack([points, points[:1]]) * scale if closed else points * scale for points in contours]
    samples = [_sample(polyline, step) for polyline in polylines]
    distances = [
        _distances(samples[0], polylines[1]),
        _distances(samples[1], polylines[0]),
    ]
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

    Raises
    ------
    TypeError, ValueError
        If the landmarks have different shapes or values that are not finite, or `spacing` does not fit.

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


def _sample(polyline: Array, step: float) -> Array:
    """Return points (p, d) at equal arc length along a polyline, at most `step` apart."""
    lengths = np.linalg.norm(np.diff(polyline, axis=0), axis=1)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    count = 1 + int(np.ceil(ends[-1] / step))
    # Cell centres, so that every sample stands for the same length, whether the contour is closed or not.
    at = (np.arange(count) + 0.5) / count * ends[-1]
    return np.stack([np.interp(at, ends, coordinate) for coordinate in polyline.T], axis=1)


def _distances(points: Array, polyline: Array) -> Array:
    """Return the distance of each point (p, d) to a polyline."""
    starts, along = polyline[:-1], np.diff(polyline, axis=0)
    if len(starts) == 0:
        return np.asarray(np.linalg.norm(points - polyline[0], axis=1))
    lengths = (along**2).sum(axis=1)
    # A segment without length is its start: the share is 0 / 1.
    directions = along / np.where(lengths > 0, lengths, 1)[:, None]
    rows = max(1, _BLOCK // len(starts))
    nearest = [_squares(points[i : i + rows], starts, along, directions) for i in range(0, len(points), rows)]
    return np.asarray(np.sqrt(np.concatenate(nearest)))


def _squares(points: Array, starts: Array, along: Array, directions: Array) -> Array:
    """Return the squared distance of each point (p, d) to the nearest segment (s, d)."""
    # Coordinate by coordinate, each a matrix (p, s): NumPy is slow along a last axis of 2 or 3.
    offsets = [points[:, k, None] - starts[:, k] for k in range(points.shape[1])]
    share = offsets[0] * directions[:, 0]
    for offset, direction in zip(offsets[1:], directions.T[1:], strict=True):
        share += offset * direction
    np.clip(share, 0, 1, out=share)
    total = np.zeros_like(share)
    for offset, extent in zip(offsets, along.T, strict=True):
        offset -= share * extent
        offset *= offset
        total += offset
    return np.asarray(total.min(axis=1))
