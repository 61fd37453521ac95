"""Distances between landmarks against walking every way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelaug import LandmarkObject
from modelaug.locality import (
    contour_distances,
    euclidean_distances,
    expand_distances,
    mesh_distances,
    multi_object_distances,
    thresholds,
)
from modelaug.locality.distances import check_distances
from tests.examples import Array, one_line, philox
from tests.reference import locality as reference

SQUARE = np.array([[0.0, 0.0], [0.0, 3.0], [4.0, 3.0], [4.0, 0.0]])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_euclidean_distances_are_straight(d: int) -> None:
    x = philox(d).normal(size=(7, d)) * 10
    distances = euclidean_distances(x)
    np.testing.assert_allclose(distances, [[np.linalg.norm(a - b) for b in x] for a in x], atol=1e-13)
    assert np.array_equal(distances, distances.T)
    assert not np.diag(distances).any()
    assert euclidean_distances(x[:1]).tolist() == [[0.0]]


def test_a_closed_contour_is_walked_the_shorter_way_round() -> None:
    distances = contour_distances(SQUARE, closed=True)
    assert distances.tolist() == [[0, 3, 7, 4], [3, 0, 4, 7], [7, 4, 0, 3], [4, 7, 3, 0]]


def test_an_open_contour_has_one_way() -> None:
    distances = contour_distances(SQUARE, closed=False)
    assert distances.tolist() == [[0, 3, 7, 10], [3, 0, 4, 7], [7, 4, 0, 3], [10, 7, 3, 0]]


@pytest.mark.parametrize("d", [2, 3])
def test_contour_distances_agree_with_walking_both_ways(d: int) -> None:
    x = philox(d).normal(size=(9, d))
    ways = [[[reference.walk(x, i, j, s) for s in (1, -1)] for j in range(9)] for i in range(9)]
    np.testing.assert_allclose(contour_distances(x, closed=True), np.min(ways, axis=2), atol=1e-12)
    one_way = [[ways[i][j][0 if i <= j else 1] for j in range(9)] for i in range(9)]
    np.testing.assert_allclose(contour_distances(x, closed=False), one_way, atol=1e-12)


def test_a_closed_contour_has_no_first_point() -> None:
    x = philox(3).normal(size=(8, 2))
    rolled = contour_distances(np.roll(x, 3, axis=0), closed=True)
    np.testing.assert_allclose(rolled, np.roll(contour_distances(x, closed=True), (3, 3), axis=(0, 1)), atol=1e-12)


def test_contours_of_one_or_two_points_work() -> None:
    for closed in (True, False):
        assert contour_distances([[1.0, 2.0]], closed=closed).tolist() == [[0.0]]
        assert contour_distances([[0.0, 0.0], [3.0, 4.0]], closed=closed).tolist() == [[0, 5], [5, 0]]


def test_ends_that_coincide_are_at_no_negative_distance() -> None:
    for seed in range(50):
        x = philox(seed).normal(size=(6, 2))
        distances = contour_distances(np.concatenate([x, x[:1]]), closed=True)
        assert distances[0, -1] == 0.0
        assert distances.min() == 0.0


# Indices of different objects alternate: objects need not be blocks.
MIXED = (
    LandmarkObject("ring", (0, 3, 6, 9, 1), "closed"),
    LandmarkObject("line", (10, 2, 4), "open"),
    LandmarkObject("inner", (5, 7, 11), "points"),
    LandmarkObject("single", (8,), "points"),
)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(("stretch", "crossing"), [(10.0, 3.0), (1.2, 0.1), (0.0, 0.4), (1.0, 0.0), (0.0, 0.0)])
def test_multi_object_distances_are_shortest_paths(d: int, stretch: float, crossing: float) -> None:
    x = philox(d).normal(size=(12, d))
    expected = reference.multi_object_distances(x, [(o.indices, o.kind) for o in MIXED], stretch, crossing)
    distances = multi_object_distances(x, MIXED, stretch=stretch, crossing=crossing)
    np.testing.assert_allclose(distances, expected, atol=1e-12)
    np.testing.assert_array_equal(check_distances(distances), distances)


def test_leaving_an_object_costs_a_fifth_of_the_longest_contour() -> None:
    x = philox(5).normal(size=(12, 2))
    lengths = [
        reference.walk(x[[0, 3, 6, 9, 1]], 0, 4, 1) + np.linalg.norm(x[1] - x[0]),
        reference.walk(x[[10, 2, 4]], 0, 2, 1),
    ]
    np.testing.assert_allclose(
        multi_object_distances(x, MIXED), multi_object_distances(x, MIXED, crossing=max(lengths) / 5), rtol=1e-12
    )
    # In another unit, distances are the same in that unit.
    np.testing.assert_allclose(multi_object_distances(x * 7, MIXED), multi_object_distances(x, MIXED) * 7, rtol=1e-12)


def test_without_contours_the_greatest_width_counts() -> None:
    x = np.array([[0.0, 0.0], [0.0, 5.0], [3.0, 0.0], [3.0, 1.0]])
    sets = [LandmarkObject("a", (0, 1), "points"), LandmarkObject("b", (2, 3), "points")]
    assert multi_object_distances(x, sets, stretch=2.0)[0].tolist() == pytest.approx([0, 5, 2 * 3 + 1, 2 * 10**0.5 + 1])


def test_a_single_object_keeps_its_own_distances() -> None:
    x = philox(6).normal(size=(10, 2))
    every = tuple(range(10))
    for kind, expected in (
        ("closed", contour_distances(x, closed=True)),
        ("open", contour_distances(x, closed=False)),
        ("points", euclidean_distances(x)),
    ):
        whole = [LandmarkObject("whole", every, kind)]  # type: ignore[arg-type]
        np.testing.assert_allclose(multi_object_distances(x, whole, crossing=1e6), expected, atol=1e-12)


def test_every_crossing_is_paid() -> None:
    x = philox(7).normal(size=(12, 2))
    distances = multi_object_distances(x, MIXED, crossing=50.0)
    owner = np.zeros(12, int)
    for number, o in enumerate(MIXED):
        owner[list(o.indices)] = number
    different = owner[:, None] != owner
    assert distances[different].min() >= 50.0
    assert distances[~different].max() < 50.0


def test_coincident_landmarks_are_a_step_of_no_length() -> None:
    # A distance of 0 between two landmarks is an edge of the graph, not a missing one.
    x = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    line = [LandmarkObject("line", (0, 1, 2, 3), "open")]
    assert multi_object_distances(x, line, crossing=9.0).tolist() == contour_distances(x, closed=False).tolist()


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([], "landmark 0 0 times"),
        ([LandmarkObject("a", (0, 1, 2), "open")], "landmark 3 0 times"),
        ([LandmarkObject("a", (0, 1, 2, 3, 1), "open")], "landmark 1 2 times"),
        ([LandmarkObject("a", (0, 1, 2, 3, 6), "open")], "landmark 6 1 times"),
    ],
)
def test_objects_must_name_every_landmark_once(objects: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        multi_object_distances(SQUARE, objects)
    one_line(caught.value)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ValueError, {"stretch": -1.0}),
        (ValueError, {"crossing": -1.0}),
        (TypeError, {"crossing": "dear"}),
        (TypeError, {"objects": [(0, 1, 2, 3)]}),
        (ValueError, {"points": SQUARE[0]}),
        (ValueError, {"points": np.full((4, 2), np.nan)}),
    ],
)
def test_bad_prices_and_points_are_refused_in_one_line(kind: type[Exception], arguments: dict[str, Any]) -> None:
    good = {"points": SQUARE, "objects": [LandmarkObject("a", (0, 1, 2, 3), "closed")]}
    multi_object_distances(**good)
    with pytest.raises(kind) as caught:
        multi_object_distances(**good | arguments)
    assert one_line(caught.value).startswith(next(iter(arguments)))


def _sphere(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return an octahedron, each face cut in four twice, with moved corners."""
    points = [tuple(sign * row) for row in np.eye(3) for sign in (1.0, -1.0)]
    faces = [(a, b, c) for a in (0, 1) for b in (2, 3) for c in (4, 5)]
    for _ in range(2):
        cut = []
        for a, b, c in faces:
            middle = []
            for i, j in ((a, b), (b, c), (c, a)):
                point = tuple(0.5 * (np.array(points[i]) + points[j]))
                if point not in points:
                    points.append(point)
                middle.append(points.index(point))
            cut += [(a, middle[0], middle[2]), (b, middle[1], middle[0]), (c, middle[2], middle[1]), tuple(middle)]
        faces = cut
    x = np.array(points)
    return x / np.linalg.norm(x, axis=1)[:, None] + rng.normal(size=x.shape) * 0.03, np.array(faces)


def test_mesh_distances_are_shortest_paths_along_edges() -> None:
    x, faces = _sphere(philox(8))
    graph = np.full((len(x), len(x)), np.inf)
    np.fill_diagonal(graph, 0.0)
    for face in faces:
        for i in face:
            for j in face:
                graph[i, j] = np.linalg.norm(x[i] - x[j])
    distances = mesh_distances(x, faces)
    np.testing.assert_allclose(distances, reference.shortest_paths(graph), atol=1e-12)
    np.testing.assert_array_equal(check_distances(distances), distances)
    assert (distances >= euclidean_distances(x) - 1e-12).all()
    # Neither the order nor the repetition of triangles matters.
    again = np.concatenate([faces[::-1, [2, 0, 1]], faces[:5]])
    np.testing.assert_allclose(mesh_distances(x, again), distances, atol=1e-12)


def test_an_edge_of_two_triangles_counts_once() -> None:
    distances = mesh_distances(SQUARE, [[0, 1, 2], [0, 2, 3]])
    assert distances[0, 2] == 5.0
    assert distances[1, 3] == 7.0


def test_coincident_corners_of_a_mesh_are_connected() -> None:
    x = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert mesh_distances(x, [[0, 1], [1, 2]]).tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("kind", "triangles", "words"),
    [
        (TypeError, [[0.0, 1.0, 2.0]], "dtype"),
        (ValueError, [0, 1, 2], "shape"),
        (ValueError, [[0], [1]], "shape"),
        (ValueError, [[0, 1, 4]], "names point 4"),
        (ValueError, [[0, 1, -1]], "names point -1"),
        (ValueError, [[0, 1, 2]], "do not connect points 0 and 3"),
        (ValueError, [[0, 1], [2, 3]], "do not connect points 0 and 2"),
        (ValueError, np.zeros((0, 3), int), "do not connect points 0 and 1"),
    ],
)
def test_bad_triangles_are_refused_in_one_line(kind: type[Exception], triangles: Any, words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        mesh_distances(SQUARE, triangles)
    assert one_line(caught.value).startswith("triangles")


GOOD = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]])


def _changed(i: int, j: int, value: float) -> Array:
    matrix = GOOD.copy()
    matrix[i, j] = value
    return matrix


@pytest.mark.parametrize(
    ("kind", "matrix", "words"),
    [
        (ValueError, GOOD[:2], "square"),
        (ValueError, GOOD[0], "axes"),
        (ValueError, _changed(0, 2, 2.5), r"distances\[0, 2\] is 2.5 but distances\[2, 0\] is 2"),
        (ValueError, _changed(1, 1, 0.5), r"distances\[1, 1\] is 0.5"),
        (ValueError, _changed(2, 1, -3.0), r"distances\[2, 1\] is -3"),
        (ValueError, _changed(0, 1, np.inf), r"distances\[0, 1\] is inf"),
        (ValueError, _changed(0, 1, np.nan), r"distances\[0, 1\] is nan"),
        (TypeError, [["a"]], "dtype"),
    ],
)
def test_bad_distances_are_refused_in_one_line(kind: type[Exception], matrix: Any, words: str) -> None:
    for check in (check_distances, lambda value: expand_distances(value, 2), lambda value: thresholds(value, 2)):
        with pytest.raises(kind, match=words) as caught:
            check(matrix)
        assert one_line(caught.value).startswith("distances")


def test_rounding_errors_of_symmetry_are_forgiven() -> None:
    checked = check_distances(_changed(0, 2, 2.0 + 1e-12))
    assert np.array_equal(checked, checked.T)
    np.testing.assert_allclose(checked, GOOD, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_coordinates_of_one_point_are_at_distance_zero(d: int) -> None:
    expanded = expand_distances(GOOD, d)
    assert expanded.shape == (3 * d, 3 * d)
    for a in range(3 * d):
        for b in range(3 * d):
            assert expanded[a, b] == GOOD[a // d, b // d]


def test_thresholds_halve_from_the_largest_distance() -> None:
    assert thresholds(GOOD, 4).tolist() == [3.0, 1.5, 0.75, 0.375]
    assert thresholds(GOOD, 1).tolist() == [3.0]
    # Those of landmarks and of their coordinates are the same.
    assert thresholds(expand_distances(GOOD, 2), 3).tolist() == thresholds(GOOD, 3).tolist()


@pytest.mark.parametrize(
    ("kind", "call", "words"),
    [
        (ValueError, lambda: thresholds(GOOD, 0), "^levels is 0"),
        (TypeError, lambda: thresholds(GOOD, 2.0), "^levels is 2.0"),  # type: ignore[arg-type]
        (ValueError, lambda: thresholds([[0.0]], 2), "^distances are all 0"),
        (ValueError, lambda: expand_distances(GOOD, 0), "^d is 0"),
    ],
)
def test_bad_counts_are_refused_in_one_line(kind: type[Exception], call: Any, words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        call()
    one_line(caught.value)
