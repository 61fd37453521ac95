"""warp and warp_points: shapes, other packages' answers, and every bad input refused in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

import modelaug

GRIDS = [(9, 12), (6, 7, 5)]


def _case(grid: tuple[int, ...], *, reach: float = 0.0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return a noise image (*grid) and a field (d, *grid) whose targets leave the grid by up to `reach`."""
    rng = np.random.Generator(np.random.Philox(len(grid)))
    limit = np.reshape(grid, (-1, *(1 for _ in grid))) - 1
    target = rng.uniform(size=(len(grid), *grid)) * (limit + 2 * reach) - reach
    return rng.normal(size=grid).astype(np.float32), (target - np.indices(grid)).astype(np.float32)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_equals_scipy_inside(grid: tuple[int, ...], order: int) -> None:
    image, field = _case(grid)
    target = np.indices(grid) + field.astype(np.float64)
    expected = ndimage.map_coordinates(image.astype(np.float64), target, order=order, mode="mirror")
    inside = ((target >= 0) & (target <= np.reshape(grid, (-1, *(1 for _ in grid))) - 1)).all(axis=0)
    found = modelaug.warp(image, field, order=order)
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-5)


@pytest.mark.parametrize("grid", [(131, 77), (70, 1), (1, 70), (2, 33), (19, 24, 37)])
def test_cubic_keeps_single_precision_on_larger_images(grid: tuple[int, ...]) -> None:
    # White noise is the worst: coefficients are up to 3 times as large as samples, along each axis.
    image, field = _case(grid)
    target = np.indices(grid) + field.astype(np.float64)
    expected = ndimage.map_coordinates(image.astype(np.float64), target, order=3, mode="mirror")
    found = modelaug.warp(image, field, order=3)
    inside = ((target >= 0) & (target <= np.reshape(grid, (-1, *(1 for _ in grid))) - 1)).all(axis=0)
    np.testing.assert_allclose(found[inside], expected[inside], atol=5e-6 * np.ptp(image))


@pytest.mark.parametrize("grid", GRIDS)
def test_equals_scipy_beyond_the_border(grid: tuple[int, ...]) -> None:
    image, field = _case(grid, reach=3.0)
    target = np.indices(grid) + field.astype(np.float64)
    expected = ndimage.map_coordinates(image.astype(np.float64), target, order=1, mode="nearest")
    np.testing.assert_allclose(modelaug.warp(image, field), expected, atol=2e-5)
    # A thousandth of a voxel is not yet outside.
    outside = ((target < -1e-3) | (target > np.reshape(grid, (-1, *(1 for _ in grid))) - 1 + 1e-3)).any(axis=0)
    framed = modelaug.warp(image, field, border="constant", fill=-7.0)
    assert outside.any()
    np.testing.assert_allclose(framed, np.where(outside, -7.0, expected), atol=2e-5)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_equals_torch_grid_sample(grid: tuple[int, ...], mode: str) -> None:
    torch = pytest.importorskip("torch")
    image, field = _case(grid, reach=2.0)
    target = np.indices(grid) + field.astype(np.float64)
    if mode == "nearest":
        # Torch rounds half to even, and its unit coordinates blur what is a half.
        field = np.where(np.abs(target % 1 - 0.5) < 1e-3, np.float32(0), field)
        target = np.indices(grid) + field.astype(np.float64)
    unit = 2 * target / (np.reshape(grid, (-1, *(1 for _ in grid))) - 1) - 1
    where = torch.from_numpy(np.moveaxis(unit, 0, -1)[..., ::-1].copy())[None]
    source = torch.from_numpy(image.astype(np.float64))[None, None]
    expected = torch.nn.functional.grid_sample(source, where, mode=mode, padding_mode="border", align_corners=True)
    found = modelaug.warp(image, field, order=0 if mode == "nearest" else 1)
    np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=2e-5)


@pytest.mark.parametrize("grid", GRIDS)
def test_equals_simpleitk_resampling(grid: tuple[int, ...]) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image, field = _case(grid, reach=1.5)
    target = np.indices(grid) + field.astype(np.float64)
    # ITK takes half a voxel around the grid as inside; what lies beyond is compared as fill.
    limit = np.reshape(grid, (-1, *(1 for _ in grid))) - 1
    rim = (((target < 0) & (target > -0.51)) | ((target > limit) & (target < limit + 0.51))).any(axis=0)
    vectors = np.ascontiguousarray(np.moveaxis(field, 0, -1)[..., ::-1], dtype=np.float64)
    transform = sitk.DisplacementFieldTransform(sitk.GetImageFromArray(vectors, isVector=True))
    source = sitk.GetImageFromArray(image)
    resampled = sitk.GetArrayFromImage(sitk.Resample(source, source, transform, sitk.sitkLinear, -7.0))
    found = modelaug.warp(image, field, border="constant", fill=-7.0)
    assert not rim.all()
    np.testing.assert_allclose(found[~rim], resampled[~rim], atol=2e-5)


@pytest.mark.parametrize("order", [0, 1])
def test_every_image_of_a_batch_has_its_own_field(order: Any) -> None:
    rng = np.random.Generator(np.random.Philox(3))
    images, grid = rng.normal(size=(3, 2, 9, 12)).astype(np.float32), (9, 12)
    fields = 3 * rng.normal(size=(3, 2, *grid)).astype(np.float32)
    found, common = modelaug.warp(images, fields, order=order), modelaug.warp(images, fields[1], order=order)
    for i, (image, field) in enumerate(zip(images, fields, strict=True)):
        for k, channel in enumerate(image):
            for u, result in ((field, found), (fields[1], common)):
                at = np.indices(grid) + u
                at = np.clip(np.floor(at + 0.5) if order == 0 else at, 0, np.array(grid).reshape(2, 1, 1) - 1)
                np.testing.assert_allclose(result[i, k], ndimage.map_coordinates(channel, at, order=1), atol=1e-4)


def test_halves_are_rounded_up() -> None:
    labels = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    field = np.zeros((2, 1, 4), np.float32)
    field[1] = 0.5
    assert modelaug.warp(labels, field, order=0).tolist() == [[1, 2, 3, 3]]
    assert modelaug.warp(labels, -field, order=0).tolist() == [[0, 1, 2, 3]]
    assert modelaug.warp(labels, field, order=0, border="constant", fill=9).tolist() == [[1, 2, 3, 9]]


def test_wide_labels_survive_unrounded() -> None:
    labels = np.array([[2**53 + 1, -(2**53) - 1]], dtype=np.int64)
    assert modelaug.warp(labels, np.zeros((2, 1, 2), np.float32), order=0).tolist() == labels.tolist()


@pytest.mark.parametrize("grid", GRIDS)
def test_output_lies_on_the_displacement_grid(grid: tuple[int, ...]) -> None:
    image, _ = _case(grid)
    out_grid = tuple(n + 2 for n in grid[::-1])
    field = np.zeros((len(grid), *out_grid), np.float32)
    assert modelaug.warp(image, field).shape == out_grid
    assert modelaug.warp(image[None], field).shape == (1, *out_grid)
    assert modelaug.warp(np.stack([image[None]] * 2), np.stack([field] * 2)).shape == (2, 1, *out_grid)
    small = modelaug.warp(image, field[(slice(None), *(slice(0, 3) for _ in grid))])
    assert np.array_equal(small, image[tuple(slice(0, 3) for _ in grid)])


def test_inputs_are_left_alone_and_may_be_strided() -> None:
    image, field = _case((9, 12), reach=1.0)
    kept, moved = image.copy(), field.copy()
    expected = modelaug.warp(image, field, order=3)
    assert np.array_equal(image, kept)
    assert np.array_equal(field, moved)
    assert np.array_equal(modelaug.warp(np.asfortranarray(image), np.asfortranarray(field), order=3), expected)
    wide = np.repeat(image, 2, axis=1)[:, ::2]
    assert np.array_equal(modelaug.warp(wide, field, order=3), expected)


def test_a_disc_and_its_centre_move_together() -> None:
    # A field is a pull: the disc moves against it, by the inverse.
    grid, centre = (48, 64), np.array([22.0, 30.0])
    x = np.indices(grid)
    disc = (((x - centre.reshape(2, 1, 1)) ** 2).sum(axis=0) < 100).astype(np.float32)
    field = np.stack([3 + 0.05 * x[0], np.full(grid, -4.5)]).astype(np.float32)
    warped = modelaug.warp(disc, field)
    moved = modelaug.warp_points(centre[None], modelaug.invert(field))[0]
    found = (x * warped).sum(axis=(1, 2)) / warped.sum()
    np.testing.assert_allclose(found, moved, atol=0.1)
    assert np.abs(found - centre).min() > 2


def test_points_outside_take_the_border_displacement() -> None:
    field = np.zeros((2, 3, 4), np.float32)
    field[0] = np.arange(3)[:, None]
    field[1, :, -1] = 8
    moved = modelaug.warp_points([[5.0, 10.0], [-2.0, -1.0], [0.5, 2.5]], field)
    np.testing.assert_allclose(moved, [[7, 18], [-2, -1], [1, 6.5]], atol=1e-12)


IMAGE, FIELD = _case((9, 12))

BAD_WARPS: list[tuple[str, dict[str, Any]]] = [
    ("image", {"image": np.where(IMAGE < 0, np.nan, IMAGE)}),
    ("image", {"image": np.where(IMAGE < 0, np.inf, IMAGE)}),
    ("image", {"image": IMAGE[0]}),
    ("image", {"image": np.zeros((2, 2, 2, 9, 12), np.float32)}),
    ("image", {"image": np.zeros((0, 12), np.float32)}),
    ("image", {"image": IMAGE.astype(complex)}),
    ("image", {"image": IMAGE.astype(str)}),
    ("displacement", {"displacement": np.where(FIELD < 0, np.nan, FIELD)}),
    ("displacement", {"displacement": FIELD[:1]}),
    ("displacement", {"displacement": FIELD[0]}),
    ("displacement", {"displacement": np.concatenate([FIELD, FIELD[:1]])}),
    ("displacement", {"displacement": FIELD[:, :0]}),
    ("displacement", {"displacement": FIELD.astype(str)}),
    ("displacement", {"image": np.zeros((2, 1, 9, 12), np.float32), "displacement": np.stack([FIELD] * 4)}),
    ("order", {"order": 2}),
    ("order", {"order": -1}),
    ("order", {"order": "linear"}),
    ("border", {"border": "wrap"}),
    ("fill", {"border": "constant", "fill": float("nan")}),
    ("fill", {"border": "constant", "fill": "black"}),
    ("threads", {"threads": 0}),
    ("threads", {"threads": "two"}),
]


@pytest.mark.parametrize(("argument", "changes"), BAD_WARPS)
def test_bad_input_is_refused_by_name(argument: str, changes: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"image": IMAGE, "displacement": FIELD} | changes
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b") as caught:
        modelaug.warp(arguments.pop("image"), arguments.pop("displacement"), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "points", "field"),
    [
        ("points", [[0.0, np.nan]], FIELD),
        ("points", [[0.0, 0.0, 0.0]], FIELD),
        ("points", [0.0, 0.0], FIELD),
        ("displacement", [[0.0, 0.0]], FIELD[0]),
        ("displacement", [[0.0, 0.0]], np.full_like(FIELD, np.nan)),
    ],
)
def test_bad_points_are_refused_by_name(argument: str, points: Any, field: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b") as caught:
        modelaug.warp_points(points, field)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fill", [300, -1, 0.5])
def test_fill_that_the_type_cannot_hold_is_refused(fill: float) -> None:
    labels = np.ones((4, 5), dtype=np.uint8)
    with pytest.raises(ValueError, match="fill"):
        modelaug.warp(labels, np.full((2, 4, 5), 9.0), order=0, border="constant", fill=fill)


def test_a_volume_with_two_planes_in_three_channels_is_told_from_three_images() -> None:
    image = np.ones((3, 2, 5, 6), dtype=np.float32)
    assert modelaug.warp(image, np.zeros((3, 2, 5, 6))).shape == (3, 2, 5, 6)
    volume = np.ones((3, 7, 5, 6), dtype=np.float32)
    assert modelaug.warp(volume, np.zeros((1, 3, 2, 5, 6))).shape == (3, 2, 5, 6)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("leading", [(), (2,), (3, 2)])
def test_results_are_written_where_the_caller_says(order: Any, leading: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(size=(*leading, 7, 9)).astype(np.float32)
    field = rng.normal(size=(2, 5, 6))
    expected = modelaug.warp(image, field, order=order)
    out = np.full(expected.shape, np.nan, dtype=expected.dtype)
    assert modelaug.warp(image, field, order=order, out=out) is out
    assert np.array_equal(out, expected)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((5, 5), np.float32), r"out is \(5, 5\) float32; pass an array \(5, 6\) of float32"),
        (np.zeros((5, 6)), r"out is \(5, 6\) float64; pass an array \(5, 6\) of float32"),
        ([0.0], r"out is list; pass an array \(5, 6\) of float32"),
        (np.zeros((5, 12), np.float32)[:, ::2], r"out is not contiguous and writeable; "),
    ],
)
def test_other_results_are_refused(out: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        modelaug.warp(np.zeros((7, 9)), np.zeros((2, 5, 6)), out=out)


def test_a_result_must_not_overlap_the_image() -> None:
    image = np.zeros((5, 6), np.float32)
    with pytest.raises(ValueError, match=r"^out overlaps image or displacement; "):
        modelaug.warp(image, np.zeros((2, 5, 6)), out=image)
