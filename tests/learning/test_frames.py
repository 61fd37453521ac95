"""Registration of images that lie on grids of their own: what the network sees, and what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

pytest.importorskip("torch")

import torch

from modelaug import io, phantoms, warp
from modelaug.data.resampling import resize_field, resize_image
from modelaug.io.formats.itk import itk_image
from modelaug.learning import PyramidNetwork, SeenImages, register
from modelaug.learning.frames import Frame, overlay
from tests.learning.test_network import OneShift

sitk: Any = pytest.importorskip("SimpleITK")

Array = npt.NDArray[Any]


def smooth_image(grid: tuple[int, ...], geometry: io.Geometry, shift: Array) -> Array:
    """Return a sum of waves of space, evaluated at the voxels' positions less a shift (x, y[, z]) in mm."""
    points = geometry.to_space(np.indices(grid).reshape(len(grid), -1).T.astype(float)) - shift
    waves = sum(np.sin(points[:, k] / (7 + 2 * k) + k) for k in range(len(grid)))
    return np.asarray(waves + 0.5 * np.cos(points.sum(1) / 9), np.float32).reshape(grid)


def rotation(d: int, angle: float) -> Array:
    turn = np.eye(d)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def shifting(shift: tuple[float, ...], seen: SeenImages) -> OneShift:
    network = OneShift(len(shift))
    with torch.no_grad():
        network.shift.copy_(torch.tensor(shift))
    network.seen = seen
    return network


@given(
    own=st.lists(st.integers(1, 12), min_size=2, max_size=3),
    data=st.data(),
    seed=st.integers(0, 9),
)
def test_a_frame_of_the_same_extent_is_the_resized_image(own: list[int], data: st.DataObject, seed: int) -> None:
    d = len(own)
    grid = tuple(data.draw(st.lists(st.integers(1, 12), min_size=d, max_size=d)))
    frame = Frame.of(tuple(own), None, grid, None)
    rng = np.random.default_rng(seed)
    image, u = rng.random((2, *own), dtype=np.float32), rng.random((d, *grid), dtype=np.float32)
    np.testing.assert_array_equal(frame.see(image), resize_image(image, grid))
    np.testing.assert_array_equal(frame.bring_back(u), resize_field(u, own))
    # With the geometry the frame has the spacing of the training, here the same.
    spacing = tuple(n / m for n, m in zip(own, grid, strict=True))
    again = Frame.of(tuple(own), SeenImages(grid, spacing), None, io.Geometry(np.ones(d)))
    np.testing.assert_array_equal(again.see(image), resize_image(image, grid))


def test_a_frame_of_another_spacing_shows_what_lies_at_its_voxels() -> None:
    # 10 x 9 voxels of 2 x 1 mm; a network of 4 x 5 voxels of 3 x 1 mm, about the same centre.
    rows, columns = np.indices((10, 9))
    ramp = (10 * rows + columns)[None].astype(np.float32)
    frame = Frame.of((10, 9), SeenImages((4, 5), (3.0, 1.0)), None, io.Geometry((2.0, 1.0)))
    assert frame.grid == (4, 5)
    assert frame.ratio.tolist() == [1.5, 1.0]
    expected_rows, expected_columns = 4.5 + 1.5 * (np.arange(4) - 1.5), 4.0 + (np.arange(5) - 2.0)
    expected = 10 * expected_rows[:, None] + expected_columns
    np.testing.assert_allclose(frame.see(ramp)[0], expected, atol=1e-3)  # smoothing leaves a ramp as it is
    u = np.stack([np.full((4, 5), 2.0), np.full((4, 5), -1.0)]).astype(np.float32)
    back = frame.bring_back(u)
    assert back.shape == (2, 10, 9)
    np.testing.assert_allclose(back[0], 3.0)
    np.testing.assert_allclose(back[1], -1.0)


def test_stripes_finer_than_the_frame_are_smoothed_away() -> None:
    """Against scipy: a Gaussian of sqrt(ratio^2 - 1) / 2 voxels along axes that get coarser, then linear."""
    rng = np.random.default_rng(1)
    image = rng.random((1, 45, 40), dtype=np.float32)
    image[0] += 5 * (np.arange(40) % 2)
    frame = Frame.of((45, 40), SeenImages((13, 30), (3.0, 4.0)), None, io.Geometry((1.0, 4.0)))
    assert frame.ratio.tolist() == [3.0, 1.0]
    across = Frame.of((45, 40), SeenImages((30, 13), (1.0, 10.0)), None, io.Geometry((1.0, 4.0)))
    for each, deviations in ((frame, (np.sqrt(8) / 2, 0)), (across, (0, np.sqrt(2.5**2 - 1) / 2))):
        smooth = ndimage.gaussian_filter(image[0].astype(float), deviations, mode="nearest")
        start = (np.array(each.own) - 1 - (np.array(each.grid) - 1) * each.ratio) / 2
        at = start.reshape(2, 1, 1) + each.ratio.reshape(2, 1, 1) * np.indices(each.grid)
        expected = ndimage.map_coordinates(smooth, at, order=1, mode="nearest")
        np.testing.assert_allclose(each.see(image)[0], expected, atol=1e-3)
    assert np.abs(across.see(image)[0] - 3).max() < 1.0  # not one stripe or the other, as points in between are


def test_another_grid_has_the_extent_in_millimetres_of_the_training() -> None:
    seen, geometry = SeenImages((32, 48), (1.5, 2.0)), io.Geometry((0.8, 0.9))
    frame = Frame.of((70, 66), seen, (16, 64), geometry)
    assert frame.grid == (16, 64)
    np.testing.assert_allclose(frame.ratio * geometry.spacing * frame.grid, [32 * 1.5, 48 * 2.0])
    # Centre on centre.
    np.testing.assert_allclose(frame._start + frame.ratio * (np.array(frame.grid) - 1) / 2, [34.5, 32.5])


def test_what_is_beyond_the_image_is_as_dark_as_its_darkest() -> None:
    image = np.full((1, 4, 4), 7.0, np.float32)
    image[0, 0, 0] = 3
    frame = Frame.of((4, 4), SeenImages((8, 8), (1.0, 1.0)), None, io.Geometry((1.0, 1.0)))
    seen = frame.see(image)[0]
    np.testing.assert_array_equal(seen[2:6, 2:6], image[0])
    seen[2:6, 2:6] = 3
    assert (seen == 3).all()


@pytest.mark.parametrize("d", [2, 3])
def test_images_of_other_grids_are_registered_in_space_as_itk_sees_it(d: int, tmp_path: Any) -> None:
    shift = np.array([3.0, -2.0, 1.5])[:d]  # in mm, (x, y[, z])
    fixed_grid, moving_grid = (30, 34, 26)[:d], (44, 40, 36)[:d]
    fixed_geometry = io.Geometry((1.5, 1.25, 2.0)[:d], (5.0, -3.0, 2.0)[:d], rotation(d, 0.3))
    moving_geometry = io.Geometry((1.0, 1.3, 1.7)[:d], (-12.0, -9.0, -4.0)[:d], rotation(d, -0.2))
    fixed = smooth_image(fixed_grid, fixed_geometry, np.zeros(d))
    moving = smooth_image(moving_grid, moving_geometry, shift)  # what is at p in fixed is at p + shift in moving
    # A network that has learned this shift; in its voxels, along its axes, which are those of the fixed image.
    spacing = np.array((2.0, 2.0, 2.0)[:d])
    along = (fixed_geometry.direction.T @ shift)[::-1] / spacing
    network = shifting(tuple(along), SeenImages((32,) * d, tuple(spacing)))
    u = register(network, fixed, moving, geometry=fixed_geometry, moving_geometry=moving_geometry)
    assert u.shape == (d, *fixed_grid)
    vectors = io.displacement_to_itk(u, fixed_geometry, moving=moving_geometry)
    np.testing.assert_allclose(vectors.reshape(-1, d), np.broadcast_to(shift, (fixed.size, d)), atol=0.02)
    # The file, read and used by SimpleITK, does what warp does.
    path = tmp_path / "field.mha"
    io.write_field(path, u, geometry=fixed_geometry, moving=moving_geometry)
    transform = sitk.DisplacementFieldTransform(sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkVectorFloat64))
    images = [
        itk_image(image, where, vector=False) for image, where in ((fixed, fixed_geometry), (moving, moving_geometry))
    ]
    resampled = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], transform, sitk.sitkLinear, -99.0))
    warped = warp(moving, u, border="constant", fill=-99.0)
    inside = (resampled > -90) & (warped > -90)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(warped[inside], resampled[inside], atol=1e-3)
    assert np.abs(warped - fixed)[inside].mean() < 0.1 * np.abs(fixed - fixed.mean()).mean()


@pytest.mark.parametrize("d", [2, 3])
def test_the_same_place_on_another_grid_needs_no_displacement(d: int) -> None:
    """Half the voxels, turned axes: the network finds nothing to do, and everything is still where it was."""
    fixed_grid = (24, 28, 20)[:d]
    fixed_geometry = io.Geometry(np.full(d, 1.0))
    flipped = np.eye(d)
    flipped[0, 0] = -1
    moving_geometry = io.Geometry(np.full(d, 0.5), [fixed_grid[-1] - 1.0, *[0.0] * (d - 1)], flipped)
    moving_grid = tuple(2 * n for n in fixed_grid)
    fixed = smooth_image(fixed_grid, fixed_geometry, np.zeros(d))
    moving = smooth_image(moving_grid, moving_geometry, np.zeros(d))
    network = shifting((0.0,) * d, SeenImages(fixed_grid, (1.0,) * d))
    u = register(network, fixed, moving, geometry=fixed_geometry, moving_geometry=moving_geometry)
    np.testing.assert_allclose(warp(moving, u), fixed, atol=0.1)
    expected, steps = overlay(fixed_grid, fixed_geometry, moving_grid, moving_geometry)
    np.testing.assert_allclose(u, expected, atol=1e-4)
    np.testing.assert_allclose(steps, 2)


def test_one_geometry_is_that_of_both_and_what_is_given_to_begin_with_is_kept() -> None:
    hearts = phantoms.heart(2, shape=(48, 48), seed=3)
    network = PyramidNetwork(2, width=0.2, levels=2)
    network.seen = SeenImages((40, 40), (1.2, 1.2))
    geometry = io.Geometry((1.0, 1.0))
    fixed, moving = hearts.images[:, 0]
    alone = register(network, fixed, moving, geometry=geometry)
    np.testing.assert_array_equal(alone, register(network, fixed, moving, geometry=geometry, moving_geometry=geometry))
    start = np.zeros((2, 48, 48), np.float32)
    start[0] = 30.25
    assert register(network, fixed, moving, geometry=geometry, initial=start)[0].mean() == pytest.approx(30.25, abs=1)


def test_passes_and_both_ways_agree_on_what_is_exact() -> None:
    network = shifting((1.0, -2.0), SeenImages((16, 16)))
    image = np.random.default_rng(0).random((32, 32))
    for arguments, factor in (({}, 1), ({"passes": 2}, 2), ({"passes": 3}, 3)):
        u = register(network, image, image[::-1], **arguments)  # type: ignore[arg-type]
        np.testing.assert_allclose(u[:, 8:24, 8:24].mean(axis=(1, 2)), np.array([2.0, -4.0]) * factor, atol=1e-3)
    # It says the same of the pair the other way round, so that both ways cancel each other.
    np.testing.assert_allclose(register(network, image, image[::-1], symmetric=True), 0, atol=1e-3)


PLANE = np.random.default_rng(1).random((24, 24))
ONE = io.Geometry((1.0, 1.0))


@pytest.mark.parametrize(
    ("moving", "arguments", "message"),
    [
        (PLANE[:20], {}, r"moving has shape \(20, 24\) and fixed \(24, 24\); resample them to one grid, or pass geom"),
        (PLANE, {"moving_geometry": ONE}, "moving_geometry is given without geometry; pass both"),
        (PLANE, {"geometry": io.Geometry((1.0, 1.0, 1.0))}, "geometry has 3 axes and the images 2"),
        (
            PLANE,
            {"geometry": ONE, "moving_geometry": io.Geometry((1.0, 1.0), (500.0, 0.0))},
            "moving does not overlap fixed in space; register them affinely first, or check origins and directions",
        ),
        (PLANE, {"initial": np.full((2, 24, 24), 99.0)}, "moving shows nothing where fixed lies"),
        (PLANE, {"initial": np.zeros((2, 20, 24))}, r"initial has shape \(2, 20, 24\); pass a displacement on the fix"),
        (PLANE, {"grid": (0, 3)}, "grid"),
        (PLANE, {"grid": (4, 4)}, r"images have shape \(4, 4\), too small for 2 levels; pass images of 5 voxels"),
        (PLANE, {"passes": 0}, "passes is 0"),
    ],
)
def test_bad_arguments(moving: Array, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        register(PyramidNetwork(2, width=0.2, levels=2), PLANE, moving, **arguments)
