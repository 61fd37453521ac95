"""Outlines between the pixels, against discs and ellipses whose outlines are known, and slow oracles."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("contourpy")

from modelaug.correspondence.contours import (
    Contour,
    ContourOptions,
    isolines,
    label_values,
    structure_contour,
)
from modelaug.transforms.polylines import polygon_area
from tests.examples import one_line, philox
from tests.reference.polylines import inside_polygon

ONES = np.ones(2)


def ellipse(
    shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0
) -> npt.NDArray[np.uint8]:
    rows, columns = np.indices(shape, dtype=np.float64)
    rows, columns = rows - centre[0], columns - centre[1]
    first = rows * math.cos(turn) + columns * math.sin(turn)
    second = columns * math.cos(turn) - rows * math.sin(turn)
    return ((first / radii[0]) ** 2 + (second / radii[1]) ** 2 <= 1).astype(np.uint8)


@given(
    centre=st.tuples(st.floats(18, 21), st.floats(20, 24)),
    radii=st.tuples(st.floats(7, 14), st.floats(7, 14)),
    turn=st.floats(0, 3),
)
def test_ellipse_is_found_between_the_pixels(
    centre: tuple[float, float], radii: tuple[float, float], turn: float
) -> None:
    mask = ellipse((40, 45), centre, radii, turn)
    contour, remarks = structure_contour(mask, (1,), ONES, ContourOptions())
    assert remarks == []
    angles = np.linspace(0, 2 * math.pi, 720)
    outline = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1)
    rotate = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    outline = np.array(centre) + outline @ rotate
    distances = np.array([np.linalg.norm(outline - p, axis=1).min() for p in contour.points])
    assert distances.max() < 0.7
    assert distances.mean() < 0.3
    assert polygon_area(contour.points) == pytest.approx(mask.sum(), abs=0.15 * contour.length)
    assert contour.points.mean(axis=0) == pytest.approx(centre, abs=0.4)


@pytest.mark.parametrize("smoothing", [0.0, 1.0, 2.0])
def test_smoothing_shrinks_a_disc_as_documented(smoothing: float) -> None:
    radius = 14.0
    contour, _ = structure_contour(
        ellipse((50, 50), (24.3, 24.8), (radius, radius)), (1,), ONES, ContourOptions(smoothing)
    )
    mean = float(np.linalg.norm(contour.at(np.linspace(0, contour.length, 500)) - [24.3, 24.8], axis=1).mean())
    assert mean == pytest.approx(radius - smoothing**2 / (2 * radius), abs=0.08)


@given(seed=st.integers(0, 10**6), shape=st.tuples(st.integers(3, 9), st.integers(3, 9)))
def test_isolines_separate_what_is_above_from_what_is_below(seed: int, shape: tuple[int, int]) -> None:
    field = np.zeros(shape)
    field[1:-1, 1:-1] = philox(seed).random((shape[0] - 2, shape[1] - 2))
    loops = isolines(field, 0.5)
    # The lines' winding numbers tell inside from outside at every pixel, whatever the saddles.
    pixels = np.moveaxis(np.indices(shape), 0, -1).astype(np.float64)
    depth = np.zeros(shape, dtype=int)
    for loop in loops:
        depth += np.sign(polygon_area(loop)).astype(int) * inside_polygon(loop, pixels)
    assert ((depth == 1) == (field > 0.5)).all()
    assert set(np.unique(depth)) <= {0, 1}
    for loop in loops:
        # Every vertex lies on an edge of the grid, where interpolation along it gives the level.
        low = np.floor(loop).astype(int)
        high = np.ceil(loop).astype(int)
        assert ((loop != low).sum(axis=1) <= 1).all()
        share = (loop - low).sum(axis=1)
        values = field[tuple(low.T)] * (1 - share) + field[tuple(high.T)] * share
        np.testing.assert_allclose(values, 0.5, atol=1e-12)


@pytest.mark.parametrize(("mean", "pieces"), [(0.9, 1), (0.6, 2)])
def test_saddle_is_decided_by_the_cells_mean(mean: float, pieces: int) -> None:
    field = np.zeros((4, 4))
    field[1, 1] = field[2, 2] = mean
    field[1, 2] = field[2, 1] = 0.3
    assert len(isolines(field, 0.5)) == pieces


def test_holes_are_filled_and_orientation_is_clockwise() -> None:
    ring = ellipse((40, 40), (19, 20), (12, 12))
    ring[ellipse((40, 40), (19, 20), (6, 6)) > 0] = 0
    contour, remarks = structure_contour(ring, (1,), ONES, ContourOptions())
    whole, _ = structure_contour(ellipse((40, 40), (19, 20), (12, 12)), (1,), ONES, ContourOptions())
    assert remarks == []
    np.testing.assert_allclose(contour.points, whole.points)
    # Clockwise on the screen: from the top (least row) the next quarter is on the right (greatest column).
    top = contour.extreme((-1, 0), 0.5)
    assert contour.at(top + contour.length / 4)[1] > contour.at(top)[1] + 10


def test_label_values_make_a_union() -> None:
    labels = ellipse((40, 40), (19, 20), (12, 9)).astype(np.int16)
    split = labels.copy()
    split[:19] *= -3
    whole, _ = structure_contour(labels, (1,), ONES, ContourOptions())
    for values in ((1, -3), ()):
        both, _ = structure_contour(split, values, ONES, ContourOptions())
        np.testing.assert_allclose(both.points, whole.points)


def test_largest_piece_is_taken_with_a_remark_if_another_is_not_small() -> None:
    labels = ellipse((40, 60), (19, 18), (10, 10)) | ellipse((40, 60), (19, 48), (6, 6))
    contour, (remark,) = structure_contour(labels, (1,), ONES, ContourOptions())
    assert "2 pieces of 317, 113" in remark
    assert contour.points.mean(axis=0) == pytest.approx((19, 18), abs=0.1)
    labels = ellipse((40, 60), (19, 18), (10, 10)) | ellipse((40, 60), (19, 48), (2, 2))
    assert structure_contour(labels, (1,), ONES, ContourOptions())[1] == []


def test_opening_closing_growing_and_gaps() -> None:
    disc = ellipse((50, 60), (24, 28), (12, 12))
    plain, _ = structure_contour(disc, (1,), ONES, ContourOptions())
    notched = disc.copy()
    notched[10:24, 27:30] = 0
    closed, _ = structure_contour(notched, (1,), ONES, ContourOptions(close=3))
    assert closed.length == pytest.approx(plain.length, rel=0.03)
    tailed = disc.copy()
    tailed[24, 28:55] = 1
    opened, _ = structure_contour(tailed, (1,), ONES, ContourOptions(open=2))
    assert opened.length == pytest.approx(plain.length, rel=0.03)
    for grow in (3.0, -3.0):
        grown, _ = structure_contour(disc, (1,), ONES, ContourOptions(grow=grow))
        assert polygon_area(grown.points) == pytest.approx(math.pi * (12 + grow) ** 2, rel=0.06)
    labels = np.where(np.arange(60) < 28, disc, 2 * disc)
    left, _ = structure_contour(labels, (1,), ONES, ContourOptions())
    apart, _ = structure_contour(labels, (2,), ONES, ContourOptions(apart=(1,), gap=2.0))
    touching, _ = structure_contour(labels, (2,), ONES, ContourOptions())
    assert touching.points[:, 1].min() == pytest.approx(left.points[:, 1].max(), abs=0.1)
    assert apart.points[:, 1].min() == pytest.approx(left.points[:, 1].max() + 2, abs=0.3)


def test_spacing_scales_the_contour() -> None:
    spacing = np.array([0.5, 2.0])
    disc = ellipse((50, 30), (24, 14), (20, 5))
    contour, _ = structure_contour(disc, (1,), spacing, ContourOptions())
    assert np.linalg.norm(contour.points - [12, 28], axis=1).mean() == pytest.approx(10, abs=0.3)


def _absent(labels: npt.NDArray[np.uint8]) -> None:
    labels[:] = 0


def _tiny(labels: npt.NDArray[np.uint8]) -> None:
    labels[:] = 0
    labels[10:12, 10:14] = 1


def _at_border(labels: npt.NDArray[np.uint8]) -> None:
    labels[:20] = 1


def _thin(labels: npt.NDArray[np.uint8]) -> None:
    labels[:] = 0
    labels[20, 5:35] = 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(_absent, "absent"), (_tiny, "8 pixels"), (_at_border, "border"), (_thin, "thin")],
)
def test_structures_without_outline_are_refused(spoil: Any, message: str) -> None:
    labels = ellipse((40, 40), (19, 20), (10, 10))
    spoil(labels)
    with pytest.raises(ValueError, match=message) as caught:
        structure_contour(labels, (1,), ONES, ContourOptions())
    assert ";" in one_line(caught.value)


@given(seed=st.integers(0, 10**6), count=st.integers(3, 12))
def test_positions_on_a_polygon(seed: int, count: int) -> None:
    rng = philox(seed)
    angles = np.sort(rng.uniform(0, 2 * math.pi, count))
    radii = rng.uniform(1, 4, count)
    contour = Contour(np.stack([radii * np.sin(angles), radii * np.cos(angles)], axis=1))
    steps = np.linalg.norm(np.roll(contour.points, -1, axis=0) - contour.points, axis=1)
    assert contour.length == pytest.approx(steps.sum())
    np.testing.assert_allclose(contour.at(contour.stops[:-1]), contour.points, atol=1e-12)
    fine = contour.at(np.linspace(0, contour.length, 20001))
    # Against the nearest of many points; of the farthest in a direction; and of the last on a ray.
    point = rng.normal(size=2) * 4
    nearest = np.linalg.norm(fine - point, axis=1).min()
    assert np.linalg.norm(contour.at(contour.nearest(point)[0]) - point) == pytest.approx(nearest, abs=1e-3)
    direction = rng.normal(size=2)
    direction /= np.linalg.norm(direction)
    height = float(contour.at(contour.extreme(direction, 0.0)) @ direction)
    assert height == pytest.approx((fine @ direction).max(), abs=1e-3)
    end = contour.at(contour.ray(point, direction)) - point
    ahead, aside = (fine - point) @ direction, (fine - point) @ np.array([-direction[1], direction[0]])
    hits = ahead[(np.abs(aside) < contour.length / 20000) & (ahead > 0)]
    if len(hits):
        assert np.linalg.norm(end) == pytest.approx(hits.max(), abs=0.05)
        assert end @ direction > 0


def test_extreme_of_a_flat_end_is_its_middle() -> None:
    square = Contour(np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 7.0], [0.0, 10.0], [10.0, 10.0], [10.0, 0.0]]))
    for shift in range(6):
        rolled = Contour(np.roll(square.points, shift, axis=0))
        np.testing.assert_allclose(rolled.at(rolled.extreme((-1, 0), 0.5)), [0, 5], atol=1e-12)


def test_equal_arcs_leave_the_end_out_and_goes_round_once() -> None:
    square = Contour(np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 4.0], [4.0, 0.0]]))
    np.testing.assert_allclose(square.equal_arcs(4, 14, 2), [[2, 0], [1, 0], [0, 0], [0, 1]])
    np.testing.assert_allclose(square.equal_arcs(4, 2, 2), [[0, 2], [2, 4], [4, 2], [2, 0]])


@pytest.mark.parametrize(
    "arguments",
    [{"smoothing": -1}, {"close": np.inf}, {"open": "a"}, {"gap": -0.1}, {"grow": np.nan}, {"apart": (1, 1)}],
)
def test_options_are_checked(arguments: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(arguments))) as caught:
        ContourOptions(**arguments)
    one_line(caught.value)


def test_label_values() -> None:
    assert label_values("it", 3) == (3,)
    assert label_values("it", [np.int8(3), 4]) == (3, 4)
    for wrong in ("3", 1.5, [1.5]):
        with pytest.raises(TypeError, match="it"):
            label_values("it", wrong)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_holes_do_not_move_the_outline(smoothing: float) -> None:
    """A ring two pixels thick has the outline of its disc, though smoothing reaches the hole."""
    disc = ellipse((40, 45), (20, 22), (11, 13))
    ring = disc & ~(ellipse((40, 45), (20, 22), (9, 11)) == 1)
    options = ContourOptions(smoothing=smoothing)
    found, expected = (structure_contour(each, (1,), ONES, options)[0] for each in (ring, disc))
    np.testing.assert_allclose(found.points, expected.points)


@pytest.mark.parametrize("grow", [4.0, -4.0])
def test_outlines_grow_in_millimetres(grow: float) -> None:
    """A box of 18 x 30 mm on pixels of 1 x 2 mm: its sides move by so many millimetres, along both axes."""
    labels, spacing = np.zeros((50, 40), np.uint8), np.array([1.0, 2.0])
    labels[15:33, 10:25] = 1
    before, after = (
        structure_contour(labels, (1,), spacing, ContourOptions(smoothing=0.0, grow=by))[0].points for by in (0.0, grow)
    )
    np.testing.assert_allclose(after.min(axis=0), before.min(axis=0) - grow, atol=1e-9)
    np.testing.assert_allclose(after.max(axis=0), before.max(axis=0) + grow, atol=1e-9)


def test_without_contourpy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "contourpy", None)
    with pytest.raises(ModuleNotFoundError, match=r"need contourpy; run: pip install 'modelaug\[io\]'$") as caught:
        structure_contour(ellipse((40, 40), (19, 20), (10, 10)), (1,), ONES, ContourOptions())
    assert caught.value.name == "contourpy"
    one_line(caught.value)
