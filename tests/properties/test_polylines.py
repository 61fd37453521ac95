"""Polylines and polygons, whatever their vertices, against slow oracles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelaug.transforms import polylines
from modelaug.transforms.polylines import Polyline, inside_polygon, polygon_area
from tests.properties.strategies import generator, seeds
from tests.reference import polylines as oracle

Array = npt.NDArray[np.float64]


@st.composite
def lines(draw: st.DrawFn) -> Polyline:
    """Draw a polyline of 1 to 9 vertices on a coarse lattice, so that some coincide, in one to three dimensions."""
    d = draw(st.integers(1, 3))
    vertices = draw(hnp.arrays(np.int64, st.tuples(st.integers(1, 9), st.just(d)), elements=st.integers(-6, 6)))
    return Polyline(vertices / 2.0, draw(st.booleans()))


@given(line=lines(), share=st.floats(0, 1))
def test_points_at_arc_lengths(line: Polyline, share: float) -> None:
    lengths = [np.linalg.norm(b - a) for a, b in oracle.segments(line.points, line.closed)]
    assert line.length == pytest.approx(sum(lengths))
    np.testing.assert_allclose(line.at(line.stops), line.vertices, atol=1e-12)
    found = line.at(share * line.length)
    # Where vertices coincide in space or on the way round, walking may end on either of two that are as good.
    np.testing.assert_allclose(found, oracle.point_at(line.points, line.closed, share * line.length), atol=1e-6)
    if line.closed:
        np.testing.assert_allclose(line.at((share + 3) * line.length), found, atol=1e-12)
    else:
        np.testing.assert_array_equal(line.at([-1.0, line.length + 1]), line.points[[0, -1]])


@given(line=lines(), count=st.integers(1, 7), seed=seeds)
def test_points_at_equal_arcs(line: Polyline, count: int, seed: int) -> None:
    start, end = generator(seed).uniform(0, line.length, 2)
    ways = [(0.0, None, line.length), (start, start, line.length if line.closed else 0.0)]
    ways.append((start, end, (end - start) % line.length if line.closed and line.length > 0 else end - start))
    for first, last, whole in ways:
        found = line.equal_arcs(count, first, last)
        np.testing.assert_allclose(found, [line.at(first + k * whole / count) for k in range(count)], atol=1e-12)


@given(line=lines(), largest=st.sampled_from([0.3, 0.5, 2.0]))
def test_subdivided_lines_are_the_same_lines(line: Polyline, largest: float) -> None:
    finer = Polyline(line.subdivided(largest))
    assert finer.length == pytest.approx(line.length)
    assert (np.abs(np.diff(finer.points, axis=0)) <= largest).all()
    assert {*map(tuple, line.points)} <= {*map(tuple, finer.points)}
    np.testing.assert_allclose(line.nearest(finer.points)[1], 0, atol=1e-12)
    # No more points than needed, up to one in each segment.
    segments = oracle.segments(line.points, line.closed)
    assert len(finer.points) <= 1 + sum(1 + np.abs(end - start).max() / largest for start, end in segments)


@given(line=lines(), seed=seeds)
def test_nearest_points(line: Polyline, seed: int) -> None:
    points = generator(seed).uniform(-5, 5, (3, 4, line.points.shape[1]))
    positions, distances = line.nearest(points)
    assert positions.shape == distances.shape == (3, 4)
    np.testing.assert_allclose(np.linalg.norm(line.at(positions) - points, axis=-1), distances, atol=1e-9)
    expected = [oracle.distance(p, line.points, line.closed) for p in points.reshape(12, -1)]
    np.testing.assert_allclose(distances.ravel(), expected, atol=1e-9)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(polylines, "_BLOCK", 5)
        np.testing.assert_array_equal(line.nearest(points), (positions, distances))
    position, distance = line.nearest(points[1, 2])
    assert (position, distance) == (positions[1, 2], distances[1, 2])


polygons = hnp.arrays(np.int64, st.tuples(st.integers(3, 9), st.just(2)), elements=st.integers(-20, 180))


@given(polygon=polygons, shift=st.integers(0, 8))
def test_area_of_a_polygon(polygon: npt.NDArray[np.int64], shift: int) -> None:
    points = polygon / 16.0
    assert polygon_area(points) == oracle.area(points)  # sums of few bits are exact
    assert polygon_area(points[::-1]) == -polygon_area(points)
    assert polygon_area(np.roll(points, shift, axis=0)) == polygon_area(points)


# Vertices at odd multiples of 1/16 and coordinates that differ by little keep pixel centres off the edges, mostly.
@given(polygon=polygons, grid=st.tuples(st.integers(1, 9), st.integers(1, 11)))
def test_inside_agrees_with_the_winding_of_the_outline(polygon: npt.NDArray[np.int64], grid: tuple[int, int]) -> None:
    points = (2 * polygon + 1) / 32 + [0.003, 0.00071]
    found = inside_polygon(points, grid)
    assert found.shape == grid
    pixels = np.moveaxis(np.indices(grid), 0, -1).astype(np.float64)
    off = Polyline(points, closed=True).nearest(pixels)[1] > 1e-9
    np.testing.assert_array_equal(found[off], oracle.inside_polygon(points, pixels)[off])


@given(seed=seeds, grid=st.tuples(st.integers(1, 9), st.integers(1, 11)))
def test_polygons_side_by_side_share_no_pixel_and_leave_none_out(seed: int, grid: tuple[int, int]) -> None:
    rng = generator(seed)
    # A rectangle over the whole grid in four triangles around a corner in its middle, which may be on a pixel's centre.
    corners = np.array([[-2.0, -2.0], [-2.0, 12.0], [10.0, 12.0], [10.0, -2.0]])
    middle = rng.integers(0, 17, 2) / 2
    count = sum(
        inside_polygon(np.array([corners[k], corners[(k + 1) % 4], middle]), grid).astype(int) for k in range(4)
    )
    np.testing.assert_array_equal(count, np.ones(grid, dtype=int))
