"""Weight maps: 1 inside the objects, and the promised fall outside."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from modelaug import LandmarkObject
from modelaug.synthesis.weights import landmark_spacing, weight_map
from tests.examples import Array, directions, hearts, philox
from tests.reference.polylines import inside_polygon

ONE = np.ones(2)


def _object(landmarks: Array, kind: str) -> list[LandmarkObject]:
    return [LandmarkObject("it", tuple(range(len(landmarks))), kind)]  # type: ignore[arg-type]


def _voxels(grid: tuple[int, ...]) -> Array:
    return np.moveaxis(np.indices(grid), 0, -1).astype(np.float64)


def _fall(distance: Array, width: float) -> Array:
    return np.where(distance < width, (1 + np.cos(np.pi * distance / width)) / 2, 0)


def test_landmark_spacing_is_the_mean_distance_to_the_nearest() -> None:
    assert landmark_spacing(np.array([[0.0, 0], [0, 1], [0, 3]]), ONE) == pytest.approx(4 / 3)
    assert landmark_spacing(np.array([[0.0, 0], [0, 1], [0, 3]]), np.array([1.0, 2.0])) == pytest.approx(8 / 3)
    assert landmark_spacing(np.array([[0.0, 0, 0], [2, 0, 0], [2, 1, 0]]), np.array([1.0, 3, 1])) == pytest.approx(
        7 / 3
    )


def test_one_landmark_has_no_spacing() -> None:
    with pytest.raises(ValueError, match=r"^landmarks holds 1 landmark; "):
        landmark_spacing(np.zeros((1, 2)), ONE)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 2.5)])
def test_a_disc_falls_off_with_the_distance_in_mm(spacing: tuple[float, float]) -> None:
    grid, mm = (61, 41), np.array(spacing)
    centre, radius, width = (np.array(grid) - 1) * mm / 2, 15.0, 10.0
    contour = (centre + radius * directions(2, 200)) / mm
    weight = weight_map(contour, _object(contour, "closed"), grid, mm, width)
    assert weight.dtype == np.float32
    assert weight.shape == grid
    distance = np.linalg.norm(_voxels(grid) * mm - centre, axis=-1) - radius
    assert (weight[distance < -0.01] == 1).all()
    # Distances are between centres of voxels, at most half a diagonal off at either end.
    slack = np.linalg.norm(mm) / 2 * np.pi / 2 / width
    np.testing.assert_allclose(weight, _fall(np.maximum(distance, 0), width), atol=slack)
    assert (weight[distance > width + np.linalg.norm(mm) / 2] == 0).all()


def test_inside_of_a_concave_contour_is_its_polygon() -> None:
    grid = (50, 60)
    polygon = np.array(
        [[5.3, 5.2], [5.1, 50.7], [40.2, 50.9], [40.4, 38.1], [17.6, 37.9], [17.2, 20.3], [44.8, 20.1], [45.1, 5.5]]
    )
    weight = weight_map(polygon, _object(polygon, "closed"), grid, ONE, 1e-3)
    inside = inside_polygon(polygon, _voxels(grid))
    assert (weight[inside] == 1).all()
    # Beyond the polygon only voxels that its outline runs through.
    extra = (weight == 1) & ~inside
    near = ndimage.distance_transform_edt(~inside) <= np.sqrt(2)
    assert not (extra & ~near).any()
    assert ((weight == 1) | (weight == 0)).all()


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_order_of_a_contour_does_not_matter(shift: float) -> None:
    square = np.array([[4.0, 4], [4, 20], [20, 20], [20, 4]]) + shift
    maps = [
        weight_map(s, _object(s, "closed"), (30, 30), ONE, 3.0) for s in (square, square[::-1], np.roll(square, 1, 0))
    ]
    assert all(np.array_equal(maps[0], other) for other in maps[1:])
    assert (maps[0][5:20, 5:20] == 1).all()
    assert maps[0][0, 0] == 0


def test_an_open_curve_has_no_inside() -> None:
    arc = np.array([[20.0, 20.0]]) + 12 * directions(2, 60)[:45]
    weight = weight_map(arc, _object(arc, "open"), (41, 41), ONE, 4.0)
    assert weight[20, 20] == 0
    nearest = np.rint(arc).astype(int)
    assert (weight[nearest[:, 0], nearest[:, 1]] == 1).all()
    # The gap between its ends stays open.
    gap = np.rint(np.array([20.0, 20.0]) + 12 * directions(2, 60)[52]).astype(int)
    assert weight[tuple(gap)] < 1


def test_a_line_is_marked_without_holes() -> None:
    line = np.array([[2.0, 3.0], [27.4, 18.7]])
    weight = weight_map(line, _object(line, "open"), (30, 25), ONE, 1e-3)
    assert ndimage.label(weight == 1, structure=np.ones((3, 3)))[1] == 1
    assert (weight == 1).any(axis=1).sum() == 26


@pytest.mark.parametrize("d", [2, 3])
def test_points_have_their_convex_hull_inside(d: int) -> None:
    grid = (24, 20, 22)[:d]
    points = 4 + philox(d).uniform(size=(12, d)) * (np.array(grid) - 9)
    weight = weight_map(points, _object(points, "points"), grid, np.ones(d), 2.0)
    mixtures = philox(1).dirichlet(np.ones(12), size=500) @ points
    # A voxel all of whose neighbourhood lies in the hull: one nearest to a mixture need not be inside itself.
    reached = np.rint(mixtures).astype(int)
    assert weight[tuple(reached.T)].min() > 0.3
    assert (weight[tuple(np.rint(points).astype(int).T)] == 1).all()
    lower, upper = points.min(axis=0) - 2.01, points.max(axis=0) + 2.01
    beyond = ((_voxels(grid) < lower) | (_voxels(grid) > upper)).any(axis=-1)
    assert beyond.any()
    assert (weight[beyond] == 0).all()


@pytest.mark.parametrize("kind", ["points", "closed"])
def test_a_ball_of_points_in_space_is_filled(kind: str) -> None:
    grid, mm = (21, 25, 23), np.array([2.0, 1.0, 1.5])
    centre = (np.array(grid) - 1) * mm / 2
    points = (centre + 9 * directions(3, 300)) / mm
    weight = weight_map(points, _object(points, kind), grid, mm, 5.0)
    distance = np.linalg.norm(_voxels(grid) * mm - centre, axis=-1)
    assert (weight[distance < 8.5] == 1).all()
    assert (weight[distance > 9 + 5 + 1.4] == 0).all()


@pytest.mark.parametrize(
    "points",
    [
        np.array([[5.0, 5.0]]),
        np.array([[5.0, 5.0], [9.0, 9.0]]),
        np.array([[3.0, 3.0], [6.0, 6.0], [9.0, 9.0]]),
        np.array([[3.0, 3, 3], [6.0, 6, 3], [9.0, 2, 3], [1.0, 7, 3]]),
    ],
)
def test_points_that_span_nothing_are_marked_alone(points: Array) -> None:
    d = points.shape[1]
    weight = weight_map(points, _object(points, "points"), (12,) * d, np.ones(d), 1e-3)
    assert int(weight.sum()) == len(points)
    assert (weight[tuple(points.astype(int).T)] == 1).all()


def test_objects_are_joined() -> None:
    left, right = (np.array([20.0, c]) + 6 * directions(2, 30) for c in (10.0, 30.0))
    objects = [LandmarkObject("l", tuple(range(30)), "closed"), LandmarkObject("r", tuple(range(30, 60)), "closed")]
    both = weight_map(np.vstack([left, right]), objects, (40, 41), ONE, 3.0)
    parts = [weight_map(x, _object(x, "closed"), (40, 41), ONE, 3.0) for x in (left, right)]
    assert np.array_equal(both, np.maximum(*parts))


def test_contours_may_touch_the_border() -> None:
    square = np.array([[0.0, 0], [0, 19], [19, 19], [19, 0]])
    assert (weight_map(square, _object(square, "closed"), (20, 20), ONE, 3.0) == 1).all()


def test_hearts_are_all_inside() -> None:
    cohort = hearts()
    assert cohort.labels is not None
    for landmarks, labels in zip(cohort.landmarks, cohort.labels, strict=True):
        weight: npt.NDArray[np.float32] = weight_map(landmarks, cohort.objects, cohort.grid, cohort.spacing, 12.0)
        core = ndimage.binary_erosion(labels > 0)
        assert (weight[core] == 1).all()
        assert weight.min() == 0
        assert (weight == 1).mean() < 0.5
