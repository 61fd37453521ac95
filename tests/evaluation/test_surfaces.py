"""Distances between the surfaces of structures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from modelaug.evaluation import hausdorff_distance, surface_distance
from tests.examples import one_line, philox

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[Any]

LENGTHS = st.sampled_from([0.3, 0.5, 1.0, 1.7, 4.0])
MAPS = hnp.array_shapes(min_dims=2, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(
        *[hnp.arrays(np.int16, shape, elements=st.integers(-1, 2))] * 2, st.lists(LENGTHS, min_size=3, max_size=3)
    ).map(lambda drawn: (drawn[0], drawn[1], drawn[2][: len(shape)]))
)
MONAI = pytest.mark.filterwarnings("ignore:monai.metrics:FutureWarning")  # about how its own functions call each other
BOTH = pytest.mark.parametrize("measure", [surface_distance, hausdorff_distance])


def surface(labels: Labels, label: int) -> list[tuple[int, ...]]:
    """Return the voxels of a structure with a face neighbour outside, one by one."""
    found = []
    for voxel in map(tuple, np.argwhere(labels == label).tolist()):
        around = [
            (*voxel[:axis], voxel[axis] + step, *voxel[axis + 1 :])
            for axis in range(labels.ndim)
            if labels.shape[axis] > 1
            for step in (-1, 1)
        ]
        within = [all(0 <= i < n for i, n in zip(x, labels.shape, strict=True)) for x in around]
        # A single voxel has no axis left, and is its own surface.
        if not around or not all(inside and labels[x] == label for inside, x in zip(within, around, strict=True)):
            found.append(voxel)
    return found


def directed(a: Labels, b: Labels, label: int, spacing: list[float]) -> list[float]:
    """Return the distance of each surface voxel of a to the nearest of b."""
    there = surface(b, label)
    return [
        min(
            (sum(((i - j) * mm) ** 2 for i, j, mm in zip(p, q, spacing, strict=True)) ** 0.5 for q in there),
            default=np.inf,
        )
        for p in surface(a, label)
    ]


def percentile(values: list[float], share: float) -> float:
    """Return a percentile, linear between the two samples around it."""
    ordered = sorted(values)
    at = share / 100 * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def by_loops(
    measure: Callable[..., Array], a: Labels, b: Labels, label: int, spacing: list[float], **options: Any
) -> float:
    there, back = directed(a, b, label, spacing), directed(b, a, label, spacing)
    if not there or not back:
        return np.inf if there or back else np.nan
    if measure is surface_distance:
        return sum(there + back) / len(there + back)
    return max(percentile(values, options.get("percentile", 95)) for values in (there, back))


def blobs(grid: tuple[int, ...], seed: int) -> tuple[Labels, Labels]:
    """Return two label maps of the structures 1 and 2, alike but not equal, which reach the border."""
    rng = philox(seed)
    field = ndimage.gaussian_filter(rng.normal(size=grid), 2.5)
    other = field + 0.6 * ndimage.gaussian_filter(rng.normal(size=grid), 1.5) * field.std()
    first, second = (np.digitize(x / field.std(), [0.2, 0.9]).astype(np.uint8) for x in (field, other))
    assert all(np.isin([1, 2], x).all() for x in (first, second))
    return first, second


@given(MAPS, st.permutations(range(-2, 4)), st.sampled_from([0, 50, 95, 100]))
def test_is_what_loops_say(maps: tuple[Labels, Labels, list[float]], ids: list[int], share: float) -> None:
    a, b, spacing = maps
    found = surface_distance(a, b, ids, spacing)
    assert found.dtype == np.float64
    expected = [by_loops(surface_distance, a, b, label, spacing) for label in ids]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    found = hausdorff_distance(a, b, ids, spacing, percentile=share)
    expected = [by_loops(hausdorff_distance, a, b, label, spacing, percentile=share) for label in ids]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@BOTH
@given(maps=MAPS)
def test_defaults(measure: Callable[..., Array], maps: tuple[Labels, Labels, list[float]]) -> None:
    a, b, _ = maps
    ids = sorted(set(np.unique([a, b]).tolist()) - {0})
    expected = [by_loops(measure, a, b, label, [1.0] * a.ndim) for label in ids]
    np.testing.assert_allclose(measure(a, b), expected, rtol=1e-12)


@BOTH
@given(maps=MAPS, axis=st.integers(0, 2))
def test_neither_the_order_of_maps_nor_of_voxels_and_axes_matters(
    measure: Callable[..., Array], maps: tuple[Labels, Labels, list[float]], axis: int
) -> None:
    a, b, spacing = maps
    found = measure(a, b, [1, 2], spacing)
    np.testing.assert_allclose(measure(b, a, [1, 2], spacing), found, rtol=1e-12)
    flipped = [np.flip(x, axis % a.ndim) for x in (a, b)]
    np.testing.assert_allclose(measure(*flipped, [1, 2], spacing), found, rtol=1e-12)
    np.testing.assert_allclose(measure(a.T, b.T, [1, 2], spacing[::-1]), found, rtol=1e-12)
    np.testing.assert_allclose(measure(a, b, [1, 2], [2 * mm for mm in spacing]), 2 * found, rtol=1e-12)


@pytest.mark.parametrize("size", [(4, 7), (5, 4, 6), (1, 5), (3, 1, 4)])
def test_a_box_shifted_beyond_itself(size: tuple[int, ...]) -> None:
    spacing = [0.7, 2.0, 1.3][: len(size)]
    for axis, length in enumerate(size):
        shift = length + 2
        grid = [n + 2 for n in size]
        grid[axis] += shift
        a, b = np.zeros(grid, np.uint8), np.zeros(grid, np.uint8)
        a[tuple(slice(1, n + 1) for n in size)] = 5
        b[tuple(slice(1 + shift * (k == axis), n + 1 + shift * (k == axis)) for k, n in enumerate(size))] = 5
        # Each voxel is as far as the other box's near face, which on average is a shift less half a length away.
        mm = spacing[axis]
        np.testing.assert_allclose(surface_distance(a, b, [5], spacing), [mm * (shift - (length - 1) / 2)])
        np.testing.assert_allclose(hausdorff_distance(a, b, [5], spacing, percentile=100), [mm * shift])


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_a_box_shifted_within_itself(shift: int) -> None:
    a, b = np.zeros((20, 12, 14), np.int32), np.zeros((20, 12, 14), np.int32)
    a[2:12, 2:10, 2:12] = 1
    b[2 + shift : 12 + shift, 2:10, 2:12] = 1
    np.testing.assert_allclose(hausdorff_distance(a, b, spacing=(3, 1, 1), percentile=100), [3 * shift])
    assert 0 < surface_distance(a, b, spacing=(3, 1, 1))[0] < 3 * shift


@BOTH
def test_equal_surfaces_are_at_distance_0(measure: Callable[..., Array]) -> None:
    a, _ = blobs((17, 22), 0)
    np.testing.assert_array_equal(measure(a, a), [0, 0])


def test_voxels_at_the_border_of_the_image_are_on_the_surface() -> None:
    full = np.ones((5, 5), int)
    holed = full.copy()
    holed[2, 2] = 0
    # The frame has 16 voxels in both maps, the hole has 4 around it, each a voxel away from the frame.
    np.testing.assert_allclose(surface_distance(full, holed), [4 / (16 + 16 + 4)])
    np.testing.assert_array_equal(hausdorff_distance(full, holed, percentile=100), [1])


def test_a_single_stray_voxel_decides_the_maximum_only() -> None:
    a = np.zeros((40, 40), np.uint8)
    a[5:25, 5:25] = 1
    b = a.copy()
    b[39, 10] = 1
    np.testing.assert_array_equal(hausdorff_distance(a, b, percentile=100), [15])
    np.testing.assert_array_equal(hausdorff_distance(a, b), [0])


@BOTH
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_plane_has_the_contours_of_the_plane(measure: Callable[..., Array], axis: int) -> None:
    a, b = blobs((19, 23), 1)
    spacing = np.insert([0.8, 1.9], axis, 30.0)
    volumes = [np.expand_dims(x, axis) for x in (a, b)]
    plane = measure(a, b, spacing=(0.8, 1.9))
    assert plane.min() > 0
    np.testing.assert_array_equal(measure(*volumes, spacing=spacing), plane)


@BOTH
def test_absent_in_one_is_infinite_and_absent_in_both_is_to_be_skipped(measure: Callable[..., Array]) -> None:
    a, b = np.array([[1, 1, 2]]), np.array([[1, 1, 0]])
    np.testing.assert_array_equal(measure(a, b, [1, 2, 3]), [0, np.inf, np.nan])
    np.testing.assert_array_equal(measure(b, a, [3, 2, 2, 1]), [np.nan, np.inf, np.inf, 0])
    assert measure(a, b, []).shape == (0,)
    assert measure(np.zeros((3, 4), int), np.zeros((3, 4), int)).shape == (0,)
    np.testing.assert_array_equal(measure([[1]], [[1]]), [0])


@BOTH
@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "int64", "uint64"])
def test_the_whole_range_of_each_type(measure: Callable[..., Array], dtype: str) -> None:
    info = np.iinfo(dtype)
    values = np.array([info.min, info.max, info.max - 1], dtype)
    small = blobs((9, 14), 2)
    expected = measure(*small, [0, 1, 2])
    np.testing.assert_array_equal(measure(*(values[x] for x in small), values), expected)
    # Labels that a type cannot hold are absent from its maps, and no others are taken for them.
    np.testing.assert_array_equal(
        measure(*(x.astype(dtype) for x in small), [1, 257, 2, -255]), [*expected[1:2], np.nan, *expected[2:], np.nan]
    )


@BOTH
def test_masks_are_label_maps_of_one_structure(measure: Callable[..., Array]) -> None:
    a, b = (x > 0 for x in blobs((9, 14), 3))
    np.testing.assert_array_equal(measure(a, b), measure(a.astype(np.uint8), b.astype(np.int64)))


@MONAI
@pytest.mark.parametrize(
    ("grid", "spacing"), [((40, 33), (0.7, 1.9)), ((14, 19, 16), (3.0, 0.9, 1.2)), ((2, 30), (1, 2))]
)
@pytest.mark.parametrize("share", [50, 95, 100])
def test_monai_agrees(grid: tuple[int, ...], spacing: tuple[float, ...], share: float) -> None:
    metrics, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
    a, b = blobs(grid, 4)
    masks = [torch.from_numpy(np.stack([x == label for label in (0, 1, 2)])[None]) for x in (a, b)]
    average = metrics.compute_average_surface_distance(*masks, symmetric=True, spacing=spacing)
    farthest = metrics.compute_hausdorff_distance(*masks, percentile=share, spacing=spacing)
    # MONAI computes in single precision.
    np.testing.assert_allclose(surface_distance(a, b, spacing=spacing), average[0], rtol=1e-5)
    np.testing.assert_allclose(hausdorff_distance(a, b, spacing=spacing, percentile=share), farthest[0], rtol=1e-5)


@MONAI
def test_monai_takes_all_voxels_of_a_volume_of_one_plane() -> None:
    metrics, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
    full, half = np.ones((1, 5, 6), int), np.ones((1, 5, 6), int)
    half[0, :, 3:] = 0
    masks = [torch.from_numpy(np.stack([x == label for label in (0, 1)])[None]) for x in (full, half)]
    average = metrics.compute_average_surface_distance(*masks, symmetric=True)
    np.testing.assert_allclose(average, [[5 * (1 + 2 + 3) / (30 + 15)]], rtol=1e-6)
    # On the contours, of 18 and 12 voxels: from the right column and what is above and below, and from the inner column
    # of half, which is as far as from the upper and lower edge.
    np.testing.assert_allclose(surface_distance(full, half), [(5 * 3 + 2 * (1 + 2) + (1 + 2 + 1)) / (18 + 12)])


@MONAI
@pytest.mark.filterwarnings("ignore:the (ground truth|prediction) of class")
def test_monai_agrees_about_what_is_absent() -> None:
    metrics, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
    a, b = np.zeros((6, 7), int), np.zeros((6, 7), int)
    a[1:4, 2:5], b[4:, :3] = 1, 2
    masks = [torch.from_numpy(np.stack([x == label for label in (0, 1, 2, 3)])[None]) for x in (a, b)]
    average = metrics.compute_average_surface_distance(*masks, symmetric=True)
    np.testing.assert_array_equal(surface_distance(a, b, [1, 2, 3]), average[0])


@pytest.mark.parametrize(("grid", "spacing"), [((40, 33), (0.7, 1.9)), ((14, 19, 16), (3.0, 0.9, 1.2))])
def test_simpleitk_agrees_with_a_voxel_of_background_around(grid: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    sitk = pytest.importorskip("SimpleITK")
    maps = blobs(grid, 5)
    for label in (1, 2):
        contours = []
        for labels in maps:
            image = sitk.GetImageFromArray(np.pad(labels == label, 1).astype(np.uint8))
            image.SetSpacing(spacing[::-1])
            contours.append(sitk.LabelContour(image, fullyConnected=False))
        to = [sitk.SignedMaurerDistanceMap(x, squaredDistance=False, useImageSpacing=True) for x in contours]
        marked = [sitk.GetArrayFromImage(x) > 0 for x in contours]
        # Negative within the contour itself.
        there, back = (np.maximum(sitk.GetArrayFromImage(to[1 - k])[marked[k]], 0) for k in (0, 1))
        pooled = np.concatenate([there, back]).mean(dtype=np.float64)
        np.testing.assert_allclose(surface_distance(*maps, [label], spacing), [pooled], rtol=1e-5)
        largest = sitk.HausdorffDistanceImageFilter()
        largest.Execute(*contours)
        found = hausdorff_distance(*maps, [label], spacing, percentile=100)
        np.testing.assert_allclose(found, [largest.GetHausdorffDistance()], rtol=1e-5)


def test_simpleitk_lets_structures_go_on_beyond_the_image_and_measures_from_all_voxels() -> None:
    sitk = pytest.importorskip("SimpleITK")
    full = sitk.GetImageFromArray(np.ones((5, 6), np.uint8))
    assert not sitk.GetArrayFromImage(sitk.LabelContour(full)).any()
    radius = np.hypot(*(np.indices((21, 21)) - 10))
    disc, ring = ((radius <= 8) & (radius >= least) for least in (0, 6))
    largest = sitk.HausdorffDistanceImageFilter()
    largest.Execute(*(sitk.GetImageFromArray(x.astype(np.uint8)) for x in (disc, ring)))
    assert largest.GetHausdorffDistance() == 6  # from the centre
    assert 1 < hausdorff_distance(disc, ring, percentile=100)[0] <= 2.5


@BOTH
def test_bad_arguments_are_refused(measure: Callable[..., Array]) -> None:
    good = np.ones((3, 4), int)
    for a, b, ids, spacing in (
        (good, np.ones((4, 3), int), None, None),
        (good[0], good[0], None, None),
        (good, good, [[1]], None),
        (good, good, [1.5], None),
        (good, good, None, [1.0, 0.0]),
        (good, good, None, [1.0, 1.0, 1.0]),
        (good, good, None, [1.0, np.nan]),
        (np.ones((0, 4), int), np.ones((0, 4), int), None, None),
    ):
        with pytest.raises(ValueError, match=r"pass|remove") as caught:
            measure(a, b, ids, spacing)
        one_line(caught.value)
    with pytest.raises(TypeError, match="labels_b has dtype float64; pass integers"):
        measure(good, np.ones((3, 4)))


@pytest.mark.parametrize("share", [-1, 100.5, np.nan])
def test_percentiles_are_from_0_to_100(share: float) -> None:
    good = np.ones((3, 4), int)
    with pytest.raises(
        ValueError, match=r"percentile is .*; pass a finite number at least 0 and at most 100"
    ) as caught:
        hausdorff_distance(good, good, percentile=share)
    one_line(caught.value)
