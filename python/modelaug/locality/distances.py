"""Distances between landmarks, and schedules of thresholds.

Distances along contours and between objects after M. Wilms, H. Handels, J. Ehrhardt: Multi-resolution multi-object
statistical shape models based on the locality assumption. Medical Image Analysis 38, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._arrays import Array
from modelaug.data.cohort import LandmarkObject
from modelaug.transforms.polylines import Polyline

_CROSSING = 0.2  # price of changing the object, as a fraction of the longest object
_ROUNDING = 1e-9  # relative asymmetry that is taken for rounding


def euclidean_distances(points: npt.ArrayLike) -> Array:
    """Return the Euclidean distances between points.

    Parameters
    ----------
    points : array_like, (m, d)
        In any unit that is the same along all axes (mm where voxels are not cubes).

    Returns
    -------
    ndarray, (m, m), float64
        In the unit of the points.
    """
    between = scipy.spatial.distance.pdist(_checks.finite("points", points, ndim=2, dtype=np.float64))
    return np.asarray(scipy.spatial.distance.squareform(between, checks=False))


def contour_distances(points: npt.ArrayLike, *, closed: bool) -> Array:
    """Return the arc lengths between points along the contour through them.

    Parameters
    ----------
    points : array_like, (m, d)
        In order along the contour.
    closed
        Whether the last point is joined to the first; distances are then those of the shorter way round.

    Returns
    -------
    ndarray, (m, m), float64
    """
    x = _checks.finite("points", points, ndim=2, dtype=np.float64)
    stops = Polyline(x, closed).stops
    along = stops[: len(x)]
    one_way = np.abs(along[:, None] - along)
    if not closed:
        return np.asarray(one_way)
    # The other way round, computed so that rounding never makes it negative, even where the ends coincide.
    return np.asarray(np.minimum(one_way, stops[-1] - one_way))


def multi_object_distances(
    points: npt.ArrayLike,
    objects: Sequence[LandmarkObject],
    *,
    stretch: float = 10.0,
    crossing: float | None = None,
) -> Array:
    """Return the costs of the cheapest paths between landmarks along objects and, at a price, between them.

    Within an object a step costs its arc length along the contour, or for objects of kind ``"points"`` the Euclidean
    distance. Between any two landmarks a jump costs ``stretch * Euclidean distance + crossing``.

    Parameters
    ----------
    points : array_like, (m, d)
        The mean shape, with the same unit along all axes.
    objects
        Groups of landmarks; every landmark belongs to exactly one.
    stretch
        Factor on Euclidean distances off the objects, at least 0.
    crossing
        Price of a jump in the unit of the points: at thresholds below it, objects vary independently. None means a
        fifth of the length of the longest contour (of the greatest width if no object is a contour).

    Returns
    -------
    ndarray, (m, m), float64

    Raises
    ------
    TypeError, ValueError
        If the objects do not name every landmark once, or a factor is negative.

    Examples
    --------
    >>> from modelaug import LandmarkObject
    >>> from modelaug.locality import multi_object_distances
    >>> square = [[0, 0], [0, 10], [10, 10], [10, 0]]
    >>> ring = LandmarkObject("ring", (0, 1, 2, 3), "closed")
    >>> multi_object_distances(square, [ring])[0]  # along the contour, the shorter way round
    array([ 0., 10., 20., 10.])
    """
    x = _checks.finite("points", points, ndim=2, dtype=np.float64)
    _checks.number("stretch", stretch, minimum=0.0)
    _check_objects(objects, len(x))
    price = _CROSSING * _longest(x, objects) if crossing is None else _checks.number("crossing", crossing, minimum=0.0)
    graph = stretch * euclidean_distances(x) + price
    np.fill_diagonal(graph, 0.0)
    for o in objects:
        own, points_of = np.ix_(o.indices, o.indices), x[list(o.indices)]
        contour = o.kind != "points"
        inside = contour_distances(points_of, closed=o.kind == "closed") if contour else euclidean_distances(points_of)
        graph[own] = np.minimum(graph[own], inside)
    # A sparse graph, in which an edge of length 0 is not a missing edge.
    edges = scipy.sparse.csgraph.csgraph_from_dense(graph, null_value=np.inf)
    return np.asarray(scipy.sparse.csgraph.floyd_warshall(edges, directed=False))


def mesh_distances(points: npt.ArrayLike, triangles: npt.ArrayLike) -> Array:
    """Return the lengths of the shortest paths along the edges of a triangle mesh.

    Parameters
    ----------
    points : array_like, (m, d)
    triangles : array_like of integers, (t, 3)
        Point indices of the corners; tetrahedra (t, 4) and edges (t, 2) work as well.

    Returns
    -------
    ndarray, (m, m), float64

    Raises
    ------
    TypeError, ValueError
        If a triangle names a point that does not exist, or the mesh is not connected.
    """
    x = _checks.finite("points", points, ndim=2, dtype=np.float64)
    corners = np.asarray(triangles)
    if corners.dtype.kind not in "iu":
        raise TypeError(f"triangles has dtype {corners.dtype}; pass integers")
    if corners.ndim != 2 or corners.shape[1] < 2:
        raise ValueError(f"triangles has shape {corners.shape}; pass (t, 3) indices of points")
    if corners.size and (corners.min() < 0 or corners.max() >= len(x)):
        wrong = int(corners.min() if corners.min() < 0 else corners.max())
        raise ValueError(f"triangles names point {wrong}; pass indices from 0 to {len(x) - 1}")
    pairs = np.concatenate([corners[:, list(pair)] for pair in zip(*np.triu_indices(corners.shape[1], 1), strict=True)])
    edges = np.unique(np.sort(pairs, axis=1), axis=0)
    lengths = np.linalg.norm(x[edges[:, 0]] - x[edges[:, 1]], axis=1)
    graph = scipy.sparse.coo_matrix((lengths, (edges[:, 0], edges[:, 1])), shape=(len(x), len(x)))
    result = np.asarray(scipy.sparse.csgraph.dijkstra(graph.tocsr(), directed=False))
    if not np.isfinite(result).all():
        i, j = (int(k) for k in np.argwhere(~np.isfinite(result))[0])
        raise ValueError(f"triangles do not connect points {i} and {j}; pass a mesh of one piece")
    return np.asarray(np.minimum(result, result.T))


def check_distances(distances: npt.ArrayLike, *, name: str = "distances") -> Array:
    """Return a checked matrix of distances, exactly symmetric.

    Parameters
    ----------
    distances : array_like, (m, m)
    name
        Name of the argument in messages.

    Raises
    ------
    TypeError, ValueError
        If it is not square, not symmetric, negative or not finite somewhere, or its diagonal is not 0.
    """
    matrix = _checks.finite(name, distances, ndim=2, dtype=np.float64)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} has shape {matrix.shape}; pass a square matrix")
    if matrix.min() < 0:
        i, j = (int(k) for k in np.argwhere(matrix < 0)[0])
        raise ValueError(f"{name}[{i}, {j}] is {matrix[i, j]:g}; distances must not be negative")
    diagonal = np.diagonal(matrix)
    if diagonal.any():
        i = int(np.flatnonzero(diagonal)[0])
        raise ValueError(f"{name}[{i}, {i}] is {diagonal[i]:g}; the distance of a point to itself must be 0")
    wrong = np.abs(matrix - matrix.T) > _ROUNDING * matrix.max()
    if wrong.any():
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        one, other = matrix[i, j], matrix[j, i]
        raise ValueError(f"{name}[{i}, {j}] is {one:g} but {name}[{j}, {i}] is {other:g}; pass a symmetric matrix")
    return np.asarray(0.5 * (matrix + matrix.T))


def expand_distances(distances: npt.ArrayLike, d: int) -> Array:
    """Expand distances between points to distances between their coordinates, point by point.

    The coordinates of one point have distance 0, so that their correlation is never tapered.

    Parameters
    ----------
    distances : array_like, (m, m)
    d
        Coordinates per point.

    Returns
    -------
    ndarray, (m * d, m * d), float64
    """
    block = np.ones((_checks.integer("d", d, minimum=1), d))
    return np.asarray(np.kron(check_distances(distances), block), dtype=np.float64)


def thresholds(distances: npt.ArrayLike, levels: int) -> Array:
    """Return falling thresholds: the largest distance, halved from level to level.

    Parameters
    ----------
    distances : array_like, (m, m)
    levels
        At least 1; the first level is global.

    Returns
    -------
    ndarray, (levels,), float64

    Examples
    --------
    >>> from modelaug.locality import euclidean_distances, thresholds
    >>> distances = euclidean_distances([[0, 0], [3, 4], [6, 8]])
    >>> distances[0]
    array([ 0.,  5., 10.])
    >>> thresholds(distances, 3)
    array([10. ,  5. ,  2.5])
    """
    largest = check_distances(distances).max()
    count = _checks.integer("levels", levels, minimum=1)
    if largest == 0:
        raise ValueError("distances are all 0; pass those of points that differ")
    return np.asarray(largest * 0.5 ** np.arange(count))


def _longest(x: Array, objects: Sequence[LandmarkObject]) -> float:
    """Return the length of the longest contour, or the greatest width of an object if there is no contour."""
    contours = [Polyline(x[list(o.indices)], o.kind == "closed").steps.sum() for o in objects if o.kind != "points"]
    return float(max(contours or [euclidean_distances(x[list(o.indices)]).max() for o in objects]))


def _check_objects(objects: Sequence[LandmarkObject], m: int) -> None:
    for o in objects:
        if not isinstance(o, LandmarkObject):
            raise TypeError(f"objects holds {o!r}; pass LandmarkObjects")
    members = np.array([i for o in objects for i in o.indices], dtype=np.int64)
    counts = np.bincount(members, minlength=m)
    wrong = np.flatnonzero(counts != (np.arange(len(counts)) < m))
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(f"objects name landmark {i} {counts[i]} times; each of 0..{m - 1} belongs to one object")
