"""Moving shapes: the exact flow, what it says of the images, occlusions, landmarks, in the plane and in space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import modelaug
from modelaug import Pair
from modelaug.baselines import Motion, MovingShapes, MovingShapesOptions
from modelaug.synthesis import stack_pairs
from tests.baselines.sources import same_bits
from tests.properties.strategies import seeds

STILL = Motion(translation=0.0, rotation=0.0, zoom=0.0, stretch=0.0)
CLEAN: dict[str, Any] = {"acquisition": None, "patterns": 4}


def targets(pair: Pair) -> npt.NDArray[np.float64]:
    """Return where the affine map of what is seen at each voxel takes it, (d, *grid), by the definition."""
    assert pair.labels_fixed is not None
    motions = pair.info["motions"][pair.labels_fixed]
    voxels = np.indices(pair.labels_fixed.shape)
    return np.einsum("...ij,j...->i...", motions[..., :-1], voxels) + np.moveaxis(motions[..., -1], -1, 0)


grids = st.one_of(st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(1, 12)] * 3))


@given(seeds, grids)
def test_the_flow_is_the_motion_of_what_is_seen(seed: int, grid: tuple[int, ...]) -> None:
    options = MovingShapesOptions(patterns=1, landmarks=5)
    source = _sources.setdefault(grid, MovingShapes(grid, options=options))
    pair = source.draw(seed)
    aims = targets(pair)
    np.testing.assert_allclose(np.indices(grid) + pair.flow, aims, atol=1e-4)
    upper = np.reshape(grid, (-1, *(1 for _ in grid))) - 1
    # Nothing moves out of a volume of one slice, where all are at the border.
    steady = (aims == 0).all(axis=tuple(range(1, aims.ndim)), keepdims=True) & (upper == 0)
    clear = (steady | (np.minimum(np.abs(aims), np.abs(aims - upper)) > 2e-3)).all(axis=0)
    inside = ((aims >= 0) & (aims <= upper)).all(axis=0)
    assert np.array_equal(pair.weight[clear] > 0, inside[clear])
    assert set(np.unique(pair.weight)) <= {0.0, 1.0}
    assert pair.labels_fixed is not None
    assert pair.labels_fixed.max() < len(pair.info["motions"])


_sources: dict[tuple[int, ...], MovingShapes] = {}


@pytest.mark.parametrize("grid", [(37, 52), (22, 27, 31)])
def test_a_background_alone_moves_by_one_affine_map(grid: tuple[int, ...]) -> None:
    source = MovingShapes(grid, options=MovingShapesOptions(shapes=(0, 0), **CLEAN))
    before, after = [], []
    for index in range(8):
        pair = source.draw(index)
        (motion,) = pair.info["motions"]
        expected = np.tensordot(motion - np.eye(*motion.shape), [*np.indices(grid), np.ones(grid)], axes=1)
        np.testing.assert_allclose(pair.flow, expected, atol=2e-5)
        assert pair.info["occluded"] == 0
        inside = pair.weight > 0
        # What is left is the error of interpolating the moving image.
        error = np.abs(modelaug.warp(pair.moving, pair.flow, order=3) - pair.fixed)[0, inside]
        after.append(error.mean())
        before.append(np.abs(pair.moving - pair.fixed)[0, inside].mean())
        assert after[-1] < 0.015
    assert np.mean(after) < (0.05 if len(grid) == 2 else 0.08) * np.mean(before)


@pytest.mark.parametrize("grid", [(64, 60), (40, 36, 44)])
def test_images_agree_where_the_same_is_seen_in_both(grid: tuple[int, ...]) -> None:
    source = MovingShapes(grid, options=MovingShapesOptions(occluded="masked", **CLEAN))
    before, after = [], []
    for index in range(12 if len(grid) == 2 else 5):
        pair = source.draw(index)
        assert pair.labels_fixed is not None
        assert pair.labels_moving is not None
        # Away from edges, whose voxels are mixtures of two surfaces.
        seen = pair.weight > 0
        for labels, flow in ((pair.labels_fixed, None), (pair.labels_moving, pair.flow)):
            flat = ndimage.maximum_filter(labels, 5) == ndimage.minimum_filter(labels, 5)
            seen &= flat if flow is None else modelaug.warp(flat.astype(np.uint8), flow, order=0) == 1
        assert seen.mean() > 0.05
        error = np.abs(modelaug.warp(pair.moving, pair.flow, order=3) - pair.fixed)[0]
        after.append(error[seen].mean())
        before.append(np.abs(pair.moving - pair.fixed)[0, seen].mean())
        assert np.percentile(error[seen], 99) < 0.1
        labels = modelaug.warp(pair.labels_moving, pair.flow, order=0)
        assert np.array_equal(labels[seen], pair.labels_fixed[seen])
    assert np.mean(after) < 0.15 * np.mean(before)


@pytest.mark.parametrize("grid", [(48, 44), (24, 20, 22)])
def test_occlusions_are_where_something_else_is_seen(grid: tuple[int, ...]) -> None:
    kept, masked = (MovingShapes(grid, options=MovingShapesOptions(occluded=o, **CLEAN)) for o in ("kept", "masked"))
    counts = []
    for index in range(10):
        pair, other = kept.draw(index), masked.draw(index)
        assert pair.labels_fixed is not None
        assert pair.labels_moving is not None
        np.testing.assert_array_equal(pair.fixed, other.fixed)
        np.testing.assert_array_equal(pair.flow, other.flow)
        inside = pair.weight > 0
        nearest = np.floor(np.indices(grid) + pair.flow + 0.5).astype(int)
        there = pair.labels_moving[tuple(np.clip(k, 0, n - 1) for k, n in zip(nearest, grid, strict=True))]
        hidden = inside & (there != pair.labels_fixed)
        assert ((pair.weight - other.weight > 0) != hidden).mean() < 0.002  # rounding to the nearest voxel
        assert pair.info["occluded"] == (pair.weight - other.weight).sum()
        assert pair.info["outside"] == (~inside).sum()
        counts.append(pair.info["occluded"])
    assert 0.01 < np.mean(counts) / np.prod(grid) < 0.3


@pytest.mark.parametrize("grid", [(40, 50), (20, 24, 22)])
def test_landmarks_are_seen_in_both_images_and_move_along(grid: tuple[int, ...]) -> None:
    source = MovingShapes(grid, options=MovingShapesOptions(landmarks=20, occluded="masked", **CLEAN))
    for index in range(6):
        pair = source.draw(index)
        voxels = tuple(pair.landmarks_fixed.astype(int).T)
        np.testing.assert_array_equal(pair.landmarks_fixed, np.stack(voxels, axis=1))
        assert len(np.unique(pair.landmarks_fixed, axis=0)) == 20
        assert (pair.weight[voxels] == 1).all()
        np.testing.assert_allclose(pair.landmarks_moving, targets(pair)[(slice(None), *voxels)].T, atol=1e-9)
        landed = modelaug.warp_points(pair.landmarks_fixed, pair.flow)
        np.testing.assert_allclose(landed, pair.landmarks_moving, atol=1e-4)


@pytest.mark.parametrize("grid", [(33, 47), (20, 17, 23)])
def test_without_any_motion_both_images_are_one(grid: tuple[int, ...]) -> None:
    options = MovingShapesOptions(background=STILL, foreground=STILL, **CLEAN)
    pair = MovingShapes(grid, options=options).draw(4)
    np.testing.assert_array_equal(pair.fixed, pair.moving)
    np.testing.assert_array_equal(pair.labels_fixed, pair.labels_moving)
    assert not pair.flow.any()
    assert (pair.weight == 1).all()
    assert pair.info["occluded"] == pair.info["outside"] == 0


@pytest.mark.parametrize("grid", [(40, 40), (16, 16, 16)])
def test_shapes_move_along_with_the_background(grid: tuple[int, ...]) -> None:
    options = MovingShapesOptions(foreground=STILL, **CLEAN)
    pair = MovingShapes(grid, options=options).draw(1)
    motions = pair.info["motions"]
    assert len(motions) > 1
    np.testing.assert_allclose(motions, np.broadcast_to(motions[0], motions.shape), atol=1e-12)
    assert not np.allclose(motions[0], np.eye(*motions[0].shape))


@pytest.mark.parametrize("grid", [(48, 48), (20, 24, 20)])
def test_what_there_is_in_the_images(grid: tuple[int, ...]) -> None:
    source = MovingShapes(grid, options=MovingShapesOptions(shapes=(2, 5), channels=3, **CLEAN))
    pairs = [source.draw(i) for i in range(80)]
    counts = np.array([len(pair.info["motions"]) - 1 for pair in pairs])
    assert set(counts) == {2, 3, 4, 5}
    for image in [pair.fixed for pair in pairs] + [pair.moving for pair in pairs]:
        assert image.min() >= 0
        assert image.max() <= 1
    assert not np.allclose(pairs[0].fixed[0], pairs[0].fixed[1], atol=0.05)
    edges = stack_pairs([replace(pair, info={}) for pair in pairs]).fixed
    # Edges are soft: few neighbouring voxels differ by most of the range.
    assert (np.abs(np.diff(edges, axis=-1)) > 0.7).mean() < 0.002


@pytest.mark.parametrize("grid", [(64, 64), (64, 64, 64)])
def test_images_have_contrast_and_things_in_them_that_move(grid: tuple[int, ...]) -> None:
    source = MovingShapes(grid, options=MovingShapesOptions(acquisition=None))
    pairs = [source.draw(index) for index in range(8)]
    assert np.mean([pair.fixed.std() for pair in pairs]) > 0.1
    assert 0.15 < np.mean([(pair.labels_fixed > 0).mean() for pair in pairs if pair.labels_fixed is not None]) < 0.5
    lengths = [np.sqrt((pair.flow**2).sum(axis=0)).mean() for pair in pairs]
    assert 0.03 < np.mean(lengths) / 64 < 0.15
    assert np.mean([pair.weight.mean() for pair in pairs]) > 0.75


@pytest.mark.parametrize("grid", [(64, 64), (20, 20, 20)])
def test_noise_of_the_acquisition_is_added_to_each_image(grid: tuple[int, ...]) -> None:
    common: dict[str, Any] = {"background": STILL, "foreground": STILL, "patterns": 4}
    noisy = modelaug.AcquisitionOptions(noise=0.05)
    pair = MovingShapes(grid, options=MovingShapesOptions(acquisition=noisy, **common)).draw(0)
    clean = MovingShapes(grid, options=MovingShapesOptions(acquisition=None, **common)).draw(0)
    middle = (clean.fixed > 0.2) & (clean.fixed < 0.8)
    for image in (pair.fixed, pair.moving):
        assert (image - clean.fixed)[middle].std() == pytest.approx(0.05, rel=0.1)
    assert (pair.fixed - pair.moving)[middle].std() == pytest.approx(0.05 * np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("grid", [(300, 12), (150, 6, 5)])
def test_images_larger_than_a_pattern(grid: tuple[int, ...]) -> None:
    pair = MovingShapes(grid, options=MovingShapesOptions(**CLEAN | {"patterns": 1})).draw(0)
    assert pair.fixed.std() > 0.01
    assert np.isfinite(pair.moving).all()


@pytest.mark.parametrize("thin", [0, 1, 2])
def test_a_volume_of_one_slice_is_the_plane_that_it_is(thin: int) -> None:
    options = MovingShapesOptions(patterns=2, channels=2)
    volume = MovingShapes(np.insert([24, 31], thin, 1).tolist(), seed=1, options=options)
    plane = MovingShapes((24, 31), seed=1, options=options)
    pair, flat = volume.draw(3), plane.draw(3)
    assert {name: shape for name, (shape, _) in volume.layout().items()} == {
        name: getattr(pair, name).shape for name in volume.layout()
    }
    rest = [k for k in range(3) if k != thin]
    for name in ("fixed", "moving", "labels_fixed", "labels_moving", "weight"):
        np.testing.assert_array_equal(getattr(pair, name).squeeze(thin - 3), getattr(flat, name))
    np.testing.assert_array_equal(pair.flow.squeeze(1 + thin)[rest], flat.flow)
    assert not pair.flow[thin].any()
    for points, expected in (
        (pair.landmarks_fixed, flat.landmarks_fixed),
        (pair.landmarks_moving, flat.landmarks_moving),
    ):
        np.testing.assert_array_equal(points[:, rest], expected)
        assert not points[:, thin].any()
    np.testing.assert_allclose(np.indices(volume.grid) + pair.flow, targets(pair), atol=1e-4)
    assert volume.options == plane.options
    same_bits(volume.batch([5, 3], threads=2), stack_pairs([volume.draw(5), pair]))


def test_what_is_not_said_depends_on_the_dimension() -> None:
    given = MovingShapesOptions()
    plane, space = MovingShapes((9, 9), options=given).options, MovingShapes((9, 9, 9), options=given).options
    assert (plane.shapes, plane.size, plane.patterns) == ((4, 10), (0.06, 0.22), 32)
    assert (space.shapes, space.size, space.patterns) == ((10, 24), (0.08, 0.28), 16)
    chosen = MovingShapesOptions(shapes=(1, 2), size=(0.1, 0.2), patterns=3)
    assert MovingShapes((9, 9, 9), options=chosen).options == chosen
    assert replace(space, shapes=None, size=None, patterns=None) == given


# Some of what was drawn when there was only the plane: pairs of the plane must stay what they are.
STORED: dict[int, dict[str, Any]] = {
    0: {
        "fixed": [0.760862, 0.706044, 0.858117, 0.953211, 0.788338, 0.859546, 0.842849, 0.623201, 0.801071],
        "moving": [0.778887, 0.566987, 0.845008, 0.931766, 0.798254, 0.854413, 0.837102, 0.870781, 0.802571],
        "flow": [
            [-0.259819, -0.571175, -0.882532, -1.42514, -0.005351, -0.316707, 0.871831, 1.809627, 0.249118],
            [-1.527197, -1.218513, -0.909829, -2.080703, -0.985813, -0.677129, -1.061798, -3.077808, -0.44443],
        ],
        "labels_fixed": [0, 0, 0, 6, 0, 0, 0, 2, 0],
        "labels_moving": [0, 7, 0, 6, 0, 0, 0, 0, 0],
        "landmarks_fixed": [12.0, 26.0, 34.0, 16.0, 9.0, 15.0],
        "landmarks_moving": [11.424602, 25.295888, 34.596807, 15.380937, 8.768109, 13.991441],
    },
    5: {
        "fixed": [0.938336, 0.861611, 0.362345, 0.890781, 0.881493, 0.141335, 0.598903, 0.883386, 0.831288],
        "moving": [0.941449, 0.862835, 0.643294, 0.738524, 0.881266, 0.682966, 0.535863, 0.889559, 0.830425],
        "flow": [
            [-0.463966, -0.637645, 3.826251, 0.193628, 0.019949, -0.39086, 0.851221, 0.677542, 0.503864],
            [-0.776168, -0.158274, 0.298077, -0.745673, -0.12778, 7.4516, -0.715178, -0.097285, 0.520609],
        ],
        "labels_fixed": [0, 0, 5, 0, 0, 3, 0, 0, 0],
        "labels_moving": [0, 0, 5, 2, 0, 0, 1, 0, 0],
        "landmarks_fixed": [1.0, 19.0, 11.0, 14.0, 12.0, 15.0],
        "landmarks_moving": [4.959792, 19.594867, 10.722334, 13.915323, 11.753516, 14.973674],
    },
    8589934592: {
        "fixed": [0.499138, 0.269205, 0.622407, 0.483592, 0.300889, 0.381182, 0.11614, 0.478399, 0.343162],
        "moving": [0.405373, 0.27049, 0.620912, 0.4542, 0.349941, 0.380866, 0.266191, 0.383992, 0.266635],
        "flow": [
            [-4.063032, -3.265465, -2.467898, -3.976093, -3.178526, -2.380959, -3.825513, -3.091586, -2.294019],
            [0.859946, 1.0014, 1.142854, -0.503933, -0.362479, -0.221026, -1.647829, -1.726359, -1.584905],
        ],
        "labels_fixed": [0, 0, 0, 0, 0, 0, 4, 0, 0],
        "labels_moving": [0, 0, 0, 0, 0, 0, 0, 0, 0],
        "landmarks_fixed": [14.0, 6.0, 34.0, 11.0, 27.0, 2.0],
        "landmarks_moving": [10.295302, 5.839765, 30.782031, 8.955663, 23.086007, 0.521868],
    },
}


@pytest.mark.parametrize("index", STORED)
def test_pairs_of_the_plane_stay_what_they_were(index: int) -> None:
    options = MovingShapesOptions(patterns=8, landmarks=3, acquisition=None)
    pair = MovingShapes((36, 28), seed=3, options=options).draw(index)
    for name, expected in STORED[index].items():
        found = getattr(pair, name)
        found = found if name.startswith("landmarks") else found[..., 3::14, 2::11]
        # Instruction sets round differently.
        np.testing.assert_allclose(found.ravel(), np.ravel(expected), rtol=0, atol=1e-5, err_msg=name)
