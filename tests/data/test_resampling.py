"""Images, fields, points and cohorts on another grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug import Cohort
from modelaug.data.resampling import resize_cohort, resize_field, resize_image, resize_points
from tests.examples import hearts, philox, plane, volume

lengths = st.integers(1, 12)


def shrink_slowly(row: np.ndarray, new: int) -> np.ndarray:
    """Return the means over parts of equal length, each voxel cut into `new` equal pieces."""
    return np.repeat(row, new).reshape(new, len(row)).mean(axis=1)


@given(old=st.tuples(lengths, lengths), new=st.tuples(lengths, lengths), seed=st.integers(0, 99))
def test_images_keep_constants_and_means(old: tuple[int, int], new: tuple[int, int], seed: int) -> None:
    image = philox(seed).normal(size=(2, *old)).astype(np.float32)
    assert resize_image(np.full(old, 3.0), new) == pytest.approx(3.0, rel=1e-5)
    small = tuple(min(a, b) for a, b in zip(old, new, strict=True))
    resized = resize_image(image, small)
    assert resized.shape == (2, *small)
    np.testing.assert_allclose(resized.mean(axis=(1, 2)), image.mean(axis=(1, 2)), atol=1e-5)


@given(old=lengths, new=lengths, seed=st.integers(0, 99))
def test_shrinking_is_averaging_and_growing_is_interpolating(old: int, new: int, seed: int) -> None:
    row = philox(seed).normal(size=old).astype(np.float32)
    if new < old:
        expected = shrink_slowly(row, new)
    else:
        centres = resize_points(np.arange(new)[:, None], (new,), (old,))[:, 0]
        expected = np.interp(centres, np.arange(old), row)
    np.testing.assert_allclose(resize_image(row[None], (1, new))[0], expected, atol=1e-5)


@given(old=st.tuples(lengths, lengths, lengths), new=st.tuples(lengths, lengths, lengths))
def test_points_keep_their_place(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    corners = np.array([[-0.5] * 3, np.array(old) - 0.5])
    np.testing.assert_allclose(resize_points(corners, old, new), [[-0.5] * 3, np.array(new) - 0.5], atol=1e-12)
    back = resize_points(resize_points(corners, old, new), new, old)
    np.testing.assert_allclose(back, corners, atol=1e-12)


def test_a_field_stands_for_the_same_map() -> None:
    # An affine map is linear between voxels, so that both grids hold it exactly.
    old, new = (8, 30), (24, 15)
    matrix, shift = np.array([[0.1, -0.2], [0.05, 0.3]]), np.array([1.5, -2.0])

    def field(grid: tuple[int, int]) -> np.ndarray:
        x = np.moveaxis(np.indices(grid), 0, -1)
        at = resize_points(x, grid, old)
        return np.moveaxis(resize_points(at + at @ matrix.T + shift, old, grid) - x, -1, 0)

    inside = (slice(None), slice(2, -2), slice(1, -1))
    np.testing.assert_allclose(resize_field(field(old), new)[inside], field(new)[inside], atol=1e-4)


@pytest.mark.parametrize("cohort", [plane(), volume(), hearts()], ids=["plane", "volume", "hearts"])
def test_a_cohort_keeps_its_extent_and_structures(cohort: Cohort) -> None:
    half = resize_cohort(cohort, [max(1, n // 2) for n in cohort.grid])
    np.testing.assert_allclose(half.spacing * half.grid, cohort.spacing * cohort.grid)
    assert half.images.shape == (*cohort.images.shape[:2], *half.grid)
    assert half.names == cohort.names
    assert half.objects == cohort.objects
    mm = (cohort.landmarks + 0.5) * cohort.spacing
    np.testing.assert_allclose((half.landmarks + 0.5) * half.spacing, mm, atol=float(half.spacing.max()) / 2)
    assert cohort.labels is not None
    assert half.labels is not None
    sizes = [[(c.labels == k).mean() for k in np.unique(cohort.labels)] for c in (cohort, half)]
    np.testing.assert_allclose(*sizes, atol=0.02)


def test_the_same_grid_is_the_same_cohort_and_images_are_copied() -> None:
    assert resize_cohort(plane(), plane().grid) is plane()
    image = np.ones((3, 4), np.float32)
    resize_image(image, (3, 4))[0, 0] = 7
    assert image[0, 0] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resize_image(np.ones((4, 4)), (0, 4)), "grid is .0, 4."),
        (lambda: resize_image(np.ones((4, 4)), (4, 4, 4)), "image has shape"),
        (lambda: resize_image(np.full((4, 4), np.nan), (2, 2)), r"image\[0, 0\] is nan"),
        (lambda: resize_field(np.ones((2, 4, 4)), (2, 2, 2)), "pass 2 lengths"),
        (lambda: resize_cohort(plane(), (5,)), "grid is"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_labels_of_a_coarser_cohort_stay_with_its_landmarks(ratio: int) -> None:
    # Where the size is halved, centres lie halfway between voxels.
    rows, columns = np.indices((60, 64))
    places = [np.array([28.0 + i, 30.0 + j]) for i, j in np.ndindex(4, 4)]
    labels = np.stack([np.hypot(rows - i, columns - j) < 9.3 for i, j in places]).astype(np.int32)
    coarse = resize_cohort(
        Cohort(labels[:, None].astype(np.float32), np.stack(places)[:, None], labels=labels),
        (60 // ratio, 64 // ratio),
    )
    assert coarse.labels is not None
    centroids = np.stack([np.argwhere(each).mean(axis=0) for each in coarse.labels])
    np.testing.assert_allclose((centroids - coarse.landmarks[:, 0]).mean(axis=0), 0, atol=0.1)
