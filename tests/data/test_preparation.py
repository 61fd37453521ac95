from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from modelaug import Cohort
from modelaug.data.geometry import Geometry
from modelaug.data.preparation import PreparationOptions, crop, prepare, resample, scale_percentiles, take_slice
from modelaug.data.scans import Scan, cohort_from_scans

ROTATED = np.array([[0.0, -1.0, 0.0], [0.8, 0.0, -0.6], [0.6, 0.0, 0.8]])


def scan(grid: tuple[int, ...] = (5, 9, 8), name: str = "ann", **changes: object) -> Scan:
    """A scan whose intensity is an affine function of position in space, so that any step can be checked by it."""
    d = len(grid)
    geometry = Geometry((3.0, 1.5, 0.5)[-d:], (10.0, -20.0, 30.0)[:d], ROTATED if d == 3 else None)
    image = affine_image(grid, geometry)
    labels = np.zeros(grid, np.int16)
    labels[(slice(1, 4),) * d] = 2
    landmarks = np.random.default_rng(0).uniform(0.6, 1.4, (4, d))
    values: dict[str, object] = {"geometry": geometry, "labels": labels, "landmarks": landmarks, **changes}
    return Scan(name, image, **values)  # type: ignore[arg-type]


def positions(voxels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Positions (..., d) in space of voxels (..., d)."""
    return geometry.origin + (voxels * geometry.spacing)[..., ::-1] @ geometry.direction.T


def affine_image(grid: tuple[int, ...], geometry: Geometry) -> np.ndarray:
    voxels = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1)
    return positions(voxels, geometry) @ np.array([0.3, -0.2, 0.5])[: len(grid)]


@pytest.mark.parametrize("grid", [(9, 8), (5, 9, 8), (1, 9, 8), (7, 1)])
@pytest.mark.parametrize("spacing", [0.7, 2.0])
def test_resampling_keeps_space_and_landmarks_where_they_are(grid: tuple[int, ...], spacing: float) -> None:
    before = scan(grid)
    after = resample(before, spacing)
    assert after.geometry.spacing.tolist() == [spacing] * len(grid)
    extents = [np.array(each.grid) * each.geometry.spacing for each in (before, after)]
    assert np.all((np.abs(extents[0] - extents[1]) <= spacing / 2 + 1e-9) | (np.array(after.grid) == 1))
    for a, b in ((before.landmarks, after.landmarks),):
        assert a is not None
        assert b is not None
        np.testing.assert_allclose(positions(a, before.geometry), positions(b, after.geometry), atol=1e-9)
    # Linear interpolation and smoothing leave an affine image as it is, away from the borders.
    inside = tuple(slice(n // 3, n - n // 3) if n > 4 else slice(None) for n in after.grid)
    wanted = affine_image(after.grid, after.geometry)
    if min(grid) > 1:
        tolerance = 0.02 * np.ptp(wanted) + 1e-3
        np.testing.assert_allclose(after.image[0][inside], wanted[inside], atol=tolerance)


def test_resampled_labels_are_those_of_the_nearest_voxel() -> None:
    before = scan((9, 8))
    after = resample(before, 0.4)
    assert before.labels is not None
    assert after.labels is not None
    ratio = 0.4 / before.geometry.spacing
    start = (np.array(before.grid) - 1 - (np.array(after.grid) - 1) * ratio) / 2
    for at in np.ndindex(*after.grid):
        nearest = start + np.array(at) * ratio
        if np.all(np.abs(nearest - np.floor(nearest) - 0.5) > 1e-6):  # not between two
            source = np.clip(np.rint(nearest).astype(int), 0, np.array(before.grid) - 1)
            assert after.labels[at] == before.labels[tuple(source)]


@pytest.mark.parametrize("new", [(3.0, 1.0), (1.7, 2.4), (0.5, 5.0)])
def test_resampling_is_smoothing_and_then_linear_interpolation(new: tuple[float, float]) -> None:
    """Against scipy, on noise: a Gaussian of sqrt(ratio^2 - 1) / 2 voxels along the axes that become coarser."""
    image = np.random.Generator(np.random.Philox(2)).random((2, 31, 40))
    after = resample(Scan("ann", image, geometry=Geometry((1.0, 1.2))), new)
    ratio = np.array(new) / [1.0, 1.2]
    deviations = [np.sqrt(r**2 - 1) / 2 if r > 1 else 0.0 for r in ratio]
    start = (np.array([30, 39]) - (np.array(after.grid) - 1) * ratio) / 2
    at = start.reshape(2, 1, 1) + ratio.reshape(2, 1, 1) * np.indices(after.grid)
    for found, channel in zip(after.image, image, strict=True):
        smooth = ndimage.gaussian_filter(channel, deviations, mode="nearest")
        expected = ndimage.map_coordinates(smooth, at, order=1, mode="nearest")
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_channels_are_scaled_by_percentiles_of_their_own() -> None:
    rng = np.random.Generator(np.random.Philox(3))
    image = np.stack([rng.normal(size=(20, 30)), 1000 + 50 * rng.random((20, 30))])
    found = scale_percentiles(Scan("ann", image, geometry=Geometry((1.0, 1.0))), (5.0, 90.0)).image
    for each, channel in zip(found, image, strict=True):
        ranked = np.sort(channel.ravel())
        low, high = (np.interp(q / 100 * (ranked.size - 1), np.arange(ranked.size), ranked) for q in (5, 90))
        np.testing.assert_allclose(each, ((channel - low) / (high - low)).clip(0, 1), atol=1e-5)


def test_smoothing_takes_away_what_a_coarser_grid_cannot_hold() -> None:
    stripes = np.tile([0.0, 1.0], (8, 16))
    after = resample(Scan("ann", stripes), (1.0, 3.0))
    assert np.ptp(after.image[0][:, 2:-2]) < 0.1


@pytest.mark.parametrize("ratio", [1.5, 2.0, 3.0, 4.0])
def test_coarser_labels_stay_with_the_image_and_keep_their_area(ratio: float) -> None:
    # On grids of which centres lie halfway between voxels; discs at all places that differ.
    grid = (60, 64)
    rows, columns = np.indices(grid)
    shifts, areas = [], []
    for i, j in np.ndindex(8, 8):
        labels = np.asarray(np.hypot(rows - 26 - i, columns - 28 - j) < 9.3).astype(np.uint16)
        after = resample(Scan("ann", labels, labels=labels, landmarks=[[26.0 + i, 28.0 + j]]), ratio)
        assert after.labels is not None
        assert after.landmarks is not None
        shifts.append((np.argwhere(after.labels).mean(axis=0) - after.landmarks[0]) * ratio)
        areas.append(after.labels.sum() * ratio**2 / labels.sum())
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=0.1)
    assert np.mean(areas) == pytest.approx(1, abs=0.02)


@given(
    edge=st.floats(4.0, 16.0),
    axis=st.integers(0, 1),
    spacing=st.floats(0.3, 2.5),
    grid=st.tuples(st.integers(18, 23), st.integers(18, 23)),
)
def test_an_edge_is_at_the_same_place_in_image_and_labels(
    edge: float, axis: int, spacing: float, grid: tuple[int, int]
) -> None:
    labels = (np.indices(grid)[axis] < edge).astype(np.int32)
    after = resample(Scan("ann", labels, labels=labels), spacing)
    away = np.abs(after.image[0] - 0.5) > 1e-3
    assert after.labels is not None
    np.testing.assert_array_equal(after.labels[away], after.image[0][away] > 0.5)


def test_resampling_to_the_same_spacing_leaves_the_image() -> None:
    before = scan()
    assert resample(before, before.geometry.spacing) is before
    # Files keep spacings in single precision; afterwards it is what was asked for, so that all scans have the same.
    wanted = before.geometry.spacing * (1 + 9e-5)
    after = resample(before, wanted)
    np.testing.assert_array_equal(after.image, before.image)
    np.testing.assert_array_equal(after.geometry.spacing, wanted)
    np.testing.assert_array_equal(after.geometry.origin, before.geometry.origin)


@given(
    start=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    center=st.sampled_from(["image", "labels", "landmarks"]),
)
def test_cropping_moves_everything_together(start: tuple[int, int], center: str) -> None:
    before = scan((9, 8))
    after = crop(before, start, center=center)  # type: ignore[arg-type]
    assert after.grid == start
    assert before.landmarks is not None
    assert after.landmarks is not None
    np.testing.assert_allclose(
        positions(before.landmarks, before.geometry), positions(after.landmarks, after.geometry), atol=1e-9
    )
    voxels = np.stack(np.meshgrid(*map(np.arange, after.grid), indexing="ij"), axis=-1)
    shift = np.rint(before.landmarks[0] - after.landmarks[0]).astype(int)
    old = voxels + shift
    inside = np.all((old >= 0) & (old < before.grid), axis=-1)
    for new_values, old_values, fill in (
        (after.image[0], before.image[0], before.image.min()),
        (after.labels, before.labels, 0),
    ):
        assert new_values is not None
        assert old_values is not None
        np.testing.assert_array_equal(new_values[inside], old_values[tuple(old[inside].T)])
        assert np.all(new_values[~inside] == fill)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_the_one_asked_for(axis: int) -> None:
    before = scan(landmarks=None)
    n = before.grid[axis]
    for at, index in ((1, 1), (-1, n - 1), (0.0, 0), (1.0, n - 1), (0.5, round(0.5 * (n - 1)))):
        after = take_slice(before, axis, at=at)
        np.testing.assert_array_equal(after.image[0], before.image[0].take(index, axis))
        assert after.labels is not None
        assert before.labels is not None
        np.testing.assert_array_equal(after.labels, before.labels.take(index, axis))
        np.testing.assert_array_equal(after.geometry.spacing, np.delete(before.geometry.spacing, axis))
        assert after.steps[-1]["index"] == index


@pytest.mark.parametrize(("count", "index"), [(1, 0), (2, 1), (3, 1), (4, 2), (6, 3)])
def test_the_middle_slice_is_the_later_of_two(count: int, index: int) -> None:
    assert take_slice(scan((count, 9, 8), landmarks=None), 0, at=0.5).steps[-1]["index"] == index


def test_a_slice_by_label_has_most_of_it() -> None:
    labels = np.zeros((5, 9, 8), int)
    labels[2, 2:4, 2:4] = 1
    labels[3, 2:5, 2:5] = 1
    labels[4, :, :] = 7
    assert take_slice(scan(labels=labels, landmarks=None), label=1).steps[-1]["index"] == 3


def test_landmarks_go_with_their_slice_only() -> None:
    before = scan()
    assert before.landmarks is not None
    after = take_slice(before, 1, at=1)
    assert after.landmarks is not None
    np.testing.assert_array_equal(after.landmarks, before.landmarks[:, [0, 2]])
    with pytest.raises(ValueError, match=r"landmark \d of subject 'ann' lies in slice .* choose the slice"):
        take_slice(before, 1, at=3)


def test_intensities_are_scaled_by_their_percentiles() -> None:
    before = scan((9, 8))
    after = scale_percentiles(before, (10, 90))
    low, high = np.percentile(before.image[0].astype(np.float64), (10, 90))
    np.testing.assert_allclose(after.image[0], np.clip((before.image[0] - low) / (high - low), 0, 1), atol=1e-6)
    assert after.steps[-1]["limits"] == [[pytest.approx(low), pytest.approx(high)]]


def test_all_steps_become_the_cohorts_preparation(tmp_path: object) -> None:
    options = PreparationOptions(slice_axis=1, slice_at=1, spacing=1.0, shape=(12, 6), percentiles=(0, 100))
    scans = [prepare(scan(name=name), options) for name in ("ann", "bob")]
    cohort = cohort_from_scans(scans)
    assert cohort.grid == (12, 6)
    assert cohort.spacing.tolist() == [1.0, 1.0]
    assert [each["step"] for each in cohort.preparation["bob"]] == ["slice", "resample", "crop", "intensities"]
    cohort.save(f"{tmp_path}/cohort.npz")
    again = Cohort.load(f"{tmp_path}/cohort.npz")
    assert again.preparation == cohort.preparation
    assert again.subset([1]).preparation == cohort.preparation


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"slice_axis": 1}, "say which slice"),
        ({"slice_axis": 3, "slice_at": 1}, "between 0 and 2"),
        ({"slice_at": 1, "slice_label": 2}, "pass one of them"),
        ({"slice_at": 1.5}, "slice_at is 1.5"),
        ({"spacing": 0.0}, "spacing is 0"),
        ({"shape": (3,)}, "shape is"),
        ({"center": "heart"}, "center is 'heart'"),
        ({"percentiles": (99, 1)}, "the lower first"),
        ({"percentiles": (1, 2, 3)}, "pass two numbers"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreparationOptions(**wrong)  # type: ignore[arg-type]


def test_a_slice_is_no_truth_value() -> None:
    with pytest.raises(TypeError, match="slice_at is True"):
        PreparationOptions(slice_at=True)


def test_what_does_not_suit_a_scan_is_refused_by_name() -> None:
    volume, plane = scan(), scan((9, 8))
    flat = Scan("bob", np.ones((4, 4)))
    for call, message in (
        (lambda: take_slice(plane, at=1), r"'ann' has a grid \(9, 8\)"),
        (lambda: take_slice(volume, at=5), "slice 5 of subject 'ann' does not exist"),
        (lambda: take_slice(volume, label=9), "label 9 is nowhere in subject 'ann'"),
        (lambda: take_slice(scan(labels=None), label=9), "'ann' has no labels"),
        (lambda: crop(plane, (3, 3, 3)), "shape is"),
        (lambda: crop(flat, (3, 3), center="labels"), "'bob' has no labels"),
        (lambda: crop(flat, (3, 3), center="landmarks"), "'bob' has no landmarks"),
        (lambda: crop(scan((9, 8), landmarks=[[500.0, 3.0]]), (3, 3), center="landmarks"), "so far outside"),
        (lambda: scale_percentiles(flat), "channel 0 of subject 'bob' is 1 at percentiles"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_scans_that_have_too_little_in_common_are_refused_by_name() -> None:
    ann = scan((9, 8))
    for other, message in (
        (scan((9, 7), name="bob"), "shape .* of subject|image of subject 'bob'"),
        (scan((9, 8), name="bob", landmarks=None), "'bob' has no landmarks"),
        (scan((9, 8), name="bob", landmarks=[[1.0, 1.0]]), "'bob' has 1 landmarks"),
        (scan((9, 8), name="bob", labels=None), "'bob' has no labels"),
        (scan((9, 8), name="bob", geometry=Geometry((2.0, 2.0))), "spacing of subject 'bob'"),
    ):
        with pytest.raises(ValueError, match=message):
            cohort_from_scans([ann, other])
    with pytest.raises(ValueError, match="scans is empty"):
        cohort_from_scans([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros((3, 3), int)}, "labels of 'ann' has shape"),
        ({"labels": np.zeros((9, 8))}, "labels of 'ann' has dtype"),
        ({"landmarks": [[1.0, 2.0, 3.0]]}, "landmarks of 'ann' have shape"),
        ({"landmarks": [[1.0, np.nan]]}, "landmarks of 'ann'"),
        ({"geometry": Geometry((1.0, 1.0, 1.0, 1.0))}, "image of 'ann' has shape"),
    ],
)
def test_wrong_scans_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        scan((9, 8), **changes)
