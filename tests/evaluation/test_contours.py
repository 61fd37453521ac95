"""Distances between contours and landmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from modelaug.evaluation import contour_distance, landmark_error
from modelaug.transforms import polylines
from tests.examples import directions, one_line, philox
from tests.reference import polylines as oracle

Array = npt.NDArray[np.float64]


def circle(radius: float, count: int = 400, centre: tuple[float, float] = (0.0, 0.0)) -> Array:
    return np.array(centre) + radius * directions(2, count)


def brute_force(a: Array, b: Array) -> float:
    """Return the distance between dense samples of two closed polylines."""
    t = np.linspace(0, 1, 400, endpoint=False)[:, None, None]
    dense = [((1 - t) * x + t * np.roll(x, -1, axis=0)).reshape(-1, 2) for x in (a, b)]
    lengths = [np.linalg.norm(np.roll(x, -1, axis=0) - x, axis=1) for x in (a, b)]
    distances = np.linalg.norm(dense[0][:, None] - dense[1][None], axis=2)
    weights = [np.tile(length, 400) for length in lengths]
    total = (weights[0] * distances.min(axis=1)).sum() + (weights[1] * distances.min(axis=0)).sum()
    return float(total / (weights[0].sum() + weights[1].sum()))


def loop(a: Array, b: Array, closed: bool) -> float:
    """Return the distance by a loop over samples and segments."""
    total = []
    for line, other in ((a, b), (b, a)):
        length = sum(np.linalg.norm(end - start) for start, end in oracle.segments(line, closed))
        count = 1 + int(np.ceil(length * 4))
        for k in range(count):
            point = oracle.point_at(line, closed, (k + 0.5) / count * length)
            total.append(oracle.distance(point, other, closed))
    return float(np.mean(total))


def test_concentric_circles() -> None:
    assert contour_distance(circle(20), circle(23)) == pytest.approx(3, abs=2e-3)


def test_a_contour_is_at_distance_0_from_itself_however_it_is_sampled() -> None:
    square = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 10.0], [10.0, 0.0]])
    finer = np.array([[3.0, 0.0], [0.0, 0.0], [0.0, 4.0], [0.0, 10.0], [10.0, 10.0], [10.0, 0.0]])
    assert contour_distance(square, finer) == pytest.approx(0, abs=1e-12)
    assert contour_distance(square, square[::-1]) == pytest.approx(0, abs=1e-12)


def test_agrees_with_brute_force() -> None:
    rng = philox(0)
    for _ in range(5):
        a = circle(10, 9) + rng.normal(size=(9, 2))
        b = circle(11, 7) + rng.normal(size=(7, 2))
        assert contour_distance(a, b) == pytest.approx(brute_force(a, b), rel=0.02)
        assert contour_distance(a, b) == pytest.approx(contour_distance(b, a))


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_agrees_with_a_loop_over_segments(d: int, closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = philox(d)
    a, b = rng.uniform(0, 8, (9, d)), rng.uniform(0, 8, (6, d))
    a[4] = a[3]  # a segment without length
    for x, y in ((a, b), (b, a), (a, b[:1]), (a, a)):
        whole = contour_distance(x, y, closed=closed)
        assert whole == pytest.approx(loop(x, y, closed), rel=1e-12, abs=1e-12)
        with monkeypatch.context() as patched:
            patched.setattr(polylines, "_BLOCK", 40)
            assert contour_distance(x, y, closed=closed) == whole


def test_spacing_is_per_axis() -> None:
    rows = np.array([[0.0, 0.0], [0.0, 30.0]])
    below = rows + np.array([2.0, 0.0])
    assert contour_distance(rows, below, [3.0, 0.5], closed=False) == pytest.approx(6)
    assert landmark_error(rows, below, [3.0, 0.5]) == pytest.approx(6)
    assert landmark_error(rows, below) == pytest.approx(2)


def test_open_contours_do_not_close() -> None:
    hook = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    chord = np.array([[0.0, 0.0], [10.0, 10.0]])
    assert contour_distance(hook, chord, closed=False) > contour_distance(hook, chord)


def test_curves_in_space_and_single_points() -> None:
    ring = np.column_stack([circle(5, 60), np.zeros(60)])
    assert contour_distance(ring, ring + np.array([0, 0, 2])) == pytest.approx(2)
    assert contour_distance([[1.0, 1.0]], [[4.0, 5.0]]) == pytest.approx(5)


@pytest.mark.parametrize("function", [contour_distance, landmark_error])
def test_bad_arguments_are_refused(function: object) -> None:
    for a, b, spacing in (
        (np.zeros((3, 2)), np.zeros((3, 3)), None),
        (np.zeros((3, 2)), np.full((3, 2), np.nan), None),
        (np.zeros((3, 2)), np.zeros((3, 2)), [1.0, 0.0]),
        (np.zeros((0, 2)), np.zeros((3, 2)), None),
    ):
        with pytest.raises(ValueError, match=r"pass|remove") as caught:
            function(a, b, spacing)  # type: ignore[operator]
        one_line(caught.value)
