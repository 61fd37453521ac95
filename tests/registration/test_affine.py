"""Affine registration: known maps are found on any grids, nothing gets worse than the images' places in space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from modelaug import phantoms, warp
from modelaug.evaluation import score_registration
from modelaug.io import Geometry, displacement_to_itk
from modelaug.registration import estimate_affine, register_affine
from modelaug.registration.affine import _to_space, _window
from modelaug.registration.correlation import AffineKind, Overlay, Picture
from tests.examples import one_line, philox, rotation

TRANSFORMS: tuple[AffineKind, ...] = ("translation", "rigid", "similarity", "affine")
HEART = phantoms.heart(1, shape=(96, 112), seed=5).images[0, 0]
BLOBS = phantoms.blobs3d(1, shape=(36, 40, 33), seed=1).images[0, 0]
MOVING = {2: HEART, 3: BLOBS}

Array = np.ndarray[Any, np.dtype[np.float64]]


def turned(d: int, angle: float) -> Array:
    """Return a rotation by an angle, in space about an axis that is none of the grid's."""
    turn = rotation(philox(3), d, 1e-9)
    axis = np.array([1.0, -2.0, 1.5]) / np.linalg.norm([1.0, -2.0, 1.5])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]]) if d == 3 else None
    generator = cross if cross is not None else np.array([[0.0, -1.0], [1.0, 0.0]])
    return np.asarray(turn @ (np.eye(d) + np.sin(angle) * generator + (1 - np.cos(angle)) * generator @ generator))


def linear_part(transform: AffineKind, d: int) -> Array:
    """Return a linear map of a kind."""
    linear = np.eye(d) if transform == "translation" else turned(d, 0.2)
    if transform in ("similarity", "affine"):
        linear = linear * 0.9
    if transform == "affine":
        linear = linear @ (np.eye(d) + 0.05 * philox(8).normal(size=(d, d)))
    return linear


def places(d: int) -> tuple[tuple[int, ...], Geometry, Geometry]:
    """Return the shape of a fixed grid, and where its and the moving image's voxels lie: oblique, and no cubes."""
    grid, spacing = ((70, 120), (1.4, 0.9)) if d == 2 else ((15, 27, 30), (2.6, 1.5, 1.2))
    fixed = Geometry(spacing, (30.0, -20.0, 10.0)[:d], turned(d, 0.3))
    # The centres of both are 4 mm apart along each axis.
    moving = Geometry((1.0,) * d, None, turned(d, 0.1))
    centre = fixed.to_space([(np.array(grid) - 1) / 2])[0]
    start = centre + 4 - (moving.to_space([(np.array(MOVING[d].shape) - 1) / 2])[0] - moving.origin)
    return grid, fixed, Geometry(moving.spacing, start, moving.direction)


def known_displacement(grid: tuple[int, ...], linear: Array, fixed: Geometry, moving: Geometry, shift: Array) -> Array:
    """Return the field of the map that is linear about the fixed image's centre in space, and shifts it."""
    d = len(grid)
    voxels = np.indices(grid).reshape(d, -1).T
    positions = fixed.to_space(voxels)
    centre = fixed.to_space([(np.array(grid) - 1) / 2])[0]
    targets = (positions - centre) @ linear.T + centre + shift
    return np.asarray((moving.to_voxels(targets) - voxels).T.reshape(d, *grid))


def error_in_mm(found: Any, truth: Array, moving: Geometry) -> float:
    """Return the mean distance of two fields in space over the inner half of the grid."""
    inner = (slice(None), *(slice(n // 4, n - n // 4) for n in truth.shape[1:]))
    apart = (found - truth) * moving.spacing.reshape(-1, *[1] * (truth.ndim - 1))
    return float(np.linalg.norm(apart, axis=0)[inner[1:]].mean())


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_known_map_is_found(transform: AffineKind, d: int) -> None:
    moving, unit = MOVING[d], Geometry((1.0,) * d)
    shift = np.array([5.0, -4.0]) if d == 2 else np.array([1.5, -2.0, 2.5])
    truth = known_displacement(moving.shape, linear_part(transform, d), unit, unit, shift)
    fixed = -40 + 3.5 * warp(moving, truth, order=3)
    found = estimate_affine(fixed, moving, transform=transform)
    assert found.displacement().dtype == np.float32
    assert error_in_mm(found.displacement(), truth, unit) < 0.1
    np.testing.assert_array_equal(found.displacement(), register_affine(fixed, moving, transform=transform))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_known_map_is_found_between_grids(transform: AffineKind, d: int) -> None:
    grid, fixed_place, moving_place = places(d)
    linear = linear_part(transform, d)
    truth = known_displacement(grid, linear, fixed_place, moving_place, np.full(d, 1.5) + np.eye(d)[0])
    fixed = 7 + 0.01 * warp(MOVING[d], truth, order=3)
    found = estimate_affine(fixed, MOVING[d], transform=transform, geometry=fixed_place, moving_geometry=moving_place)
    assert error_in_mm(found.displacement(), truth, moving_place) < 0.15
    in_space = found.in_space(fixed_place, moving_place)
    np.testing.assert_allclose(in_space[:, :d], linear, atol=0.01)
    if transform in ("translation", "rigid"):  # in mm, though voxels are no cubes
        np.testing.assert_allclose(in_space[:, :d] @ in_space[:, :d].T, np.eye(d), atol=1e-9)


@pytest.mark.parametrize("d", [2, 3])
def test_simpleitk_resamples_alike(d: int) -> None:
    sitk = pytest.importorskip("SimpleITK")
    grid, fixed_place, moving_place = places(d)
    truth = known_displacement(grid, linear_part("affine", d), fixed_place, moving_place, np.full(d, 2.0))
    fixed = warp(MOVING[d], truth)
    found = estimate_affine(fixed, MOVING[d], geometry=fixed_place, moving_geometry=moving_place)
    ours = warp(MOVING[d], found.displacement(), border="constant", fill=-1)

    def image(array: Any, place: Geometry, vector: bool = False) -> Any:
        made = sitk.GetImageFromArray(array, isVector=vector)
        made.SetSpacing(place.spacing[::-1].tolist())
        made.SetOrigin(place.origin.tolist())
        made.SetDirection(place.direction.ravel().tolist())
        return made

    vectors = displacement_to_itk(found.displacement(), fixed_place, moving=moving_place)
    in_space = found.in_space(fixed_place, moving_place)
    affine = sitk.AffineTransform(in_space[:, :d].ravel().tolist(), in_space[:, d].tolist())
    field = sitk.DisplacementFieldTransform(image(vectors, fixed_place, vector=True))
    frame, source = image(fixed, fixed_place), image(MOVING[d], moving_place)
    # ITK continues an image by half a voxel.
    targets = np.indices(grid) + found.displacement()
    inside = np.all([(at > 0.01) & (at < n - 1.01) for at, n in zip(targets, MOVING[d].shape, strict=True)], axis=0)
    assert inside.mean() > 0.3
    for transform in (affine, field):
        theirs = sitk.GetArrayFromImage(sitk.Resample(source, frame, transform, sitk.sitkLinear, -1.0))
        np.testing.assert_allclose(ours[inside], theirs[inside], atol=2e-3 * float(np.ptp(MOVING[d])))


@pytest.mark.parametrize("d", [2, 3])
def test_places_that_do_not_overlap(d: int) -> None:
    grid, fixed_place, moving_place = places(d)
    truth = known_displacement(grid, turned(d, 0.15), fixed_place, moving_place, np.full(d, 3.0))
    fixed = warp(MOVING[d], truth, order=3)
    far = Geometry(moving_place.spacing, moving_place.origin + 2000, moving_place.direction)
    found = register_affine(fixed, MOVING[d], transform="rigid", geometry=fixed_place, moving_geometry=far)
    assert error_in_mm(found, truth, far) < 0.15


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_equal_images_stay_where_they_are(transform: AffineKind) -> None:
    for image in (HEART, BLOBS):
        assert np.abs(register_affine(5 - 2 * (-image), image, transform=transform)).max() < 0.01


@given(seed=st.integers(0, 99), transform=st.sampled_from(TRANSFORMS), d=st.sampled_from([2, 3]))
@settings(max_examples=12)
def test_nothing_agrees_less_than_the_places_in_space(seed: int, transform: AffineKind, d: int) -> None:
    """Images that have nothing in common: whatever is found, it is no chance match far away, and no worse."""
    grid = (40, 33) if d == 2 else (17, 20, 13)
    pair = [ndimage.gaussian_filter(philox(2 * seed + k).normal(size=grid), 2) for k in range(2)]
    found = estimate_affine(*pair, transform=transform)
    same = estimate_affine(pair[0], pair[0], transform=transform)
    assert same.correlation > 0.999
    if found.start == "none":
        assert not found.displacement().any()
    stretch = np.linalg.svd(found.matrix[:, :d], compute_uv=False)
    assert 0.49 < stretch.min() <= stretch.max() < 2.01
    unit, place = Geometry((1.0,) * d), np.eye(d, d + 1)
    pictures = [Picture(image[None].astype(np.float32), np.ones(grid, np.float32), _to_space(unit)) for image in pair]
    finest = Overlay(*pictures, _window(grid), place, local=True, threads=1)
    reached, kept = finest.match(found.in_space(unit)), finest.match(place)
    assert reached is not None
    assert kept is not None
    assert reached.score >= kept.score - 1e-5
    assert reached.correlation >= kept.correlation - 1e-5  # what is far is charged, so agrees all the better
    assert reached.correlation == pytest.approx(found.correlation, abs=1e-4)


def test_hearts_come_closer_and_none_goes_astray() -> None:
    cohort = phantoms.heart(6, shape=(96, 96), seed=2)
    before, after = [], []
    for i, j in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 3), (4, 1)]:
        u = register_affine(cohort.images[i], cohort.images[j], spacing=cohort.spacing)
        before.append(score_registration(cohort, i, j, None)["contour_distance"])
        after.append(score_registration(cohort, i, j, u)["contour_distance"])
    assert np.mean(after) < 0.8 * np.mean(before)
    assert np.max(np.subtract(after, before)) < 1.0


def test_brightness_that_differs_slowly_does_not_matter() -> None:
    unit = Geometry((1.0, 1.0))
    truth = known_displacement(HEART.shape, turned(2, 0.1), unit, unit, np.array([4.0, 3.0]))
    rows, columns = np.indices(HEART.shape) / 100
    fixed = warp(HEART, truth, order=3) * (0.4 + rows + 0.5 * columns)
    assert error_in_mm(register_affine(fixed, HEART, transform="rigid"), truth, unit) < 0.3


def test_masks_keep_the_edge_of_a_field_of_view_out() -> None:
    """Both images are cut to the same box: their edges agree where what they show does not."""
    unit = Geometry((1.0, 1.0))
    truth = known_displacement(HEART.shape, np.eye(2), unit, unit, np.array([7.0, -6.0]))
    mask = np.zeros(HEART.shape, np.float32)
    mask[20:76, 24:88] = 1
    fixed, moving = mask * (400 + warp(HEART, truth)), mask * (400 + HEART)
    masked = register_affine(fixed, moving, transform="translation", mask=mask, moving_mask=mask)
    assert error_in_mm(masked, truth, unit) < 0.2
    assert error_in_mm(register_affine(fixed, moving, transform="translation"), truth, unit) > 1


@pytest.mark.parametrize("image", [HEART, BLOBS], ids=["plane", "space"])
def test_threads_do_not_matter(image: Any) -> None:
    fixed = warp(image, np.full((image.ndim, *image.shape), 1.3))
    first = register_affine(fixed, image, threads=1)
    np.testing.assert_array_equal(first, register_affine(fixed, image, threads=2))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_plane_is_that_plane(axis: int) -> None:
    unit = Geometry((1.0, 1.0))
    truth = known_displacement(HEART.shape, turned(2, 0.1), unit, unit, np.array([4.0, 3.0]))
    fixed, moving = (np.expand_dims(image, axis) for image in (warp(HEART, truth, order=3), HEART))
    found = register_affine(fixed, moving, spacing=(1.0, 1.0, 1.0))
    assert found.shape == (3, *fixed.shape)
    assert np.abs(found[axis]).max() < 1e-3
    assert error_in_mm(np.delete(found, axis, 0).squeeze(1 + axis), truth, unit) < 0.1


def test_a_plane_finds_its_place_in_a_volume() -> None:
    sheet = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 17.0))
    fixed = BLOBS[18:19]
    found = register_affine(
        fixed, BLOBS, transform="translation", geometry=sheet, moving_geometry=Geometry((1.0, 1.0, 1.0))
    )
    assert np.abs(found - np.array([18.0, 0, 0]).reshape(3, 1, 1, 1)).max() < 0.3


def test_channels_count_together() -> None:
    """One channel shows nothing, the other one tells where the object is."""
    noise = philox(1).normal(size=(2, *HEART.shape)).astype(np.float32)
    shift = np.zeros((2, *HEART.shape), np.float32)
    shift[0], shift[1] = 3, -4
    found = register_affine(
        np.stack([noise[0], warp(HEART, shift)]), np.stack([noise[1], HEART]), transform="translation"
    )
    assert np.abs(found - shift).max() < 0.3


IMAGE = HEART[:48, :48]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fixed": np.ones((48, 48))}, ValueError, r"fixed is constant \(1\); pass an image with contrast"),
        ({"moving": np.full((48, 48), np.nan)}, ValueError, r"moving\[0, 0\] is nan; remove"),
        ({"moving": IMAGE[:40]}, ValueError, r"moving has shape \(40, 48\) and fixed \(48, 48\); pass images of one"),
        ({"moving": np.stack([IMAGE] * 2)}, ValueError, r"moving has shape \(2, 48, 48\).*the same channels"),
        ({"fixed": IMAGE[0]}, ValueError, r"fixed has shape \(48,\)"),
        ({"mask": np.full((48, 48), 2.0)}, ValueError, "mask holds 2 to 2; pass weights from 0 to 1"),
        ({"mask": np.ones((48, 40))}, ValueError, r"mask has shape \(48, 40\); pass weights from 0 to 1"),
        ({"mask": np.zeros((48, 48))}, ValueError, "mask is 0 everywhere; pass"),
        ({"moving_mask": np.zeros((48, 48))}, ValueError, "moving_mask is 0 everywhere; pass"),
        ({"mask": np.eye(48) * (np.arange(48) == 5)}, ValueError, "fixed is constant where mask is positive; pass"),
        ({"transform": "elastic"}, ValueError, "transform is 'elastic'; pass one of 'affine', 'similarity'"),
        ({"geometry": Geometry((1, 1, 1))}, ValueError, r"fixed has shape \(48, 48\) \(2 axes\)"),
        ({"geometry": Geometry((1,))}, ValueError, "geometry has 1 axes; pass"),
        ({"geometry": "LPS"}, TypeError, "geometry is 'LPS'; pass"),
        ({"moving_geometry": Geometry((1, 1))}, ValueError, "geometry is missing; pass"),
        (
            {"geometry": Geometry((1, 1)), "moving_geometry": Geometry((1, 1, 1))},
            ValueError,
            "moving_geometry has 3 axes and geometry 2; pass",
        ),
        ({"geometry": Geometry((1, 1)), "spacing": 2.0}, ValueError, "spacing is 2.0, but geometry holds one; pass"),
        ({"spacing": (1, -1)}, ValueError, "spacing is .*; pass 2 positive numbers"),
        (
            {"fixed": np.stack([IMAGE, 0 * IMAGE]), "moving": np.stack([0 * IMAGE, IMAGE])},
            ValueError,
            "fixed and moving have no contrast in common from any start; pass masks",
        ),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"fixed": IMAGE, "moving": IMAGE, **arguments}
    with pytest.raises(error, match=message) as caught:
        register_affine(given.pop("fixed"), given.pop("moving"), **given)
    one_line(caught.value)
