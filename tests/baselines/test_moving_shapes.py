"""Moving shapes: the exact flow, what it says of the images, occlusions, landmarks, and how far things move."""

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
from modelaug._random import generator
from modelaug.baselines import Motion, MovingShapes, MovingShapesOptions
from modelaug.synthesis import stack_pairs
from tests.properties.strategies import seeds

STILL = Motion(translation=0.0, rotation=0.0, zoom=0.0, stretch=0.0)
CLEAN: dict[str, Any] = {"acquisition": None, "patterns": 4}


def targets(pair: Pair) -> npt.NDArray[np.float64]:
    """Return where the affine map of what is seen at each pixel takes it, (2, *grid), by the definition."""
    assert pair.labels_fixed is not None
    motions = pair.info["motions"][pair.labels_fixed]
    pixels = np.indices(pair.labels_fixed.shape)
    return np.einsum("rcij,jrc->irc", motions[..., :2], pixels) + np.moveaxis(motions[..., 2], -1, 0)


@given(seeds, st.integers(1, 40), st.integers(1, 40))
def test_the_flow_is_the_motion_of_what_is_seen(seed: int, rows: int, columns: int) -> None:
    options = MovingShapesOptions(patterns=1, landmarks=5)
    source = _sources.setdefault((rows, columns), MovingShapes((rows, columns), options=options))
    pair = source.draw(seed)
    pixels = np.indices((rows, columns))
    aims = targets(pair)
    np.testing.assert_allclose(pixels + pair.flow, aims, atol=1e-4)
    upper = np.reshape([rows, columns], (2, 1, 1)) - 1
    clear = (np.minimum(np.abs(aims), np.abs(aims - upper)) > 2e-3).all(axis=0)
    inside = ((aims >= 0) & (aims <= upper)).all(axis=0)
    assert np.array_equal(pair.weight[clear] > 0, inside[clear])
    assert set(np.unique(pair.weight)) <= {0.0, 1.0}
    assert pair.labels_fixed is not None
    assert pair.labels_fixed.max() < len(pair.info["motions"])


_sources: dict[tuple[int, int], MovingShapes] = {}


def test_a_background_alone_moves_by_one_affine_map() -> None:
    source = MovingShapes((37, 52), options=MovingShapesOptions(shapes=(0, 0), **CLEAN))
    rows, columns = np.indices((37, 52))
    before, after = [], []
    for index in range(8):
        pair = source.draw(index)
        (motion,) = pair.info["motions"]
        for k, own in enumerate((rows, columns)):
            expected = motion[k, 0] * rows + motion[k, 1] * columns + motion[k, 2] - own
            np.testing.assert_allclose(pair.flow[k], expected, atol=2e-5)
        assert pair.info["occluded"] == 0
        inside = pair.weight > 0
        # What is left is the error of interpolating the moving image.
        error = np.abs(modelaug.warp(pair.moving, pair.flow, order=3) - pair.fixed)[0, inside]
        after.append(error.mean())
        before.append(np.abs(pair.moving - pair.fixed)[0, inside].mean())
        assert after[-1] < 0.01
    assert np.mean(after) < 0.05 * np.mean(before)


def test_images_agree_where_the_same_is_seen_in_both() -> None:
    source = MovingShapes((64, 60), options=MovingShapesOptions(occluded="masked", **CLEAN))
    before, after = [], []
    for index in range(12):
        pair = source.draw(index)
        assert pair.labels_fixed is not None
        assert pair.labels_moving is not None
        # Away from edges, whose pixels are mixtures of two surfaces.
        seen = pair.weight > 0
        for labels, flow in ((pair.labels_fixed, None), (pair.labels_moving, pair.flow)):
            flat = ndimage.maximum_filter(labels, 5) == ndimage.minimum_filter(labels, 5)
            seen &= flat if flow is None else modelaug.warp(flat.astype(np.uint8), flow, order=0) == 1
        assert seen.mean() > 0.05
        error = np.abs(modelaug.warp(pair.moving, pair.flow, order=3) - pair.fixed)[0]
        after.append(error[seen].mean())
        before.append(np.abs(pair.moving - pair.fixed)[0, seen].mean())
        assert np.percentile(error[seen], 99) < 0.1
    assert np.mean(after) < 0.15 * np.mean(before)


def test_occlusions_are_where_something_else_is_seen() -> None:
    grid = (48, 44)
    kept, masked = (MovingShapes(grid, options=MovingShapesOptions(occluded=o, **CLEAN)) for o in ("kept", "masked"))
    counts = []
    for index in range(10):
        pair, other = kept.draw(index), masked.draw(index)
        assert pair.labels_fixed is not None
        assert pair.labels_moving is not None
        np.testing.assert_array_equal(pair.fixed, other.fixed)
        np.testing.assert_array_equal(pair.flow, other.flow)
        inside = pair.weight > 0
        row, column = np.floor(np.indices(grid) + pair.flow + 0.5).astype(int)
        row, column = np.clip(row, 0, grid[0] - 1), np.clip(column, 0, grid[1] - 1)
        hidden = inside & (pair.labels_moving[row, column] != pair.labels_fixed)
        assert ((pair.weight - other.weight > 0) != hidden).mean() < 0.002  # rounding to the nearest pixel
        assert pair.info["occluded"] == (pair.weight - other.weight).sum()
        assert pair.info["outside"] == (~inside).sum()
        counts.append(pair.info["occluded"])
    assert 0.01 < np.mean(counts) / np.prod(grid) < 0.3


def test_landmarks_are_seen_in_both_images_and_move_along() -> None:
    source = MovingShapes((40, 50), options=MovingShapesOptions(landmarks=20, occluded="masked", **CLEAN))
    for index in range(6):
        pair = source.draw(index)
        rows, columns = pair.landmarks_fixed.astype(int).T
        np.testing.assert_array_equal(pair.landmarks_fixed, np.stack([rows, columns], axis=1))
        assert len(np.unique(pair.landmarks_fixed, axis=0)) == 20
        assert (pair.weight[rows, columns] == 1).all()
        np.testing.assert_allclose(pair.landmarks_moving, targets(pair)[:, rows, columns].T, atol=1e-9)
        landed = modelaug.warp_points(pair.landmarks_fixed, pair.flow)
        np.testing.assert_allclose(landed, pair.landmarks_moving, atol=1e-4)


def test_without_any_motion_both_images_are_one() -> None:
    options = MovingShapesOptions(background=STILL, foreground=STILL, **CLEAN)
    pair = MovingShapes((33, 47), options=options).draw(4)
    np.testing.assert_array_equal(pair.fixed, pair.moving)
    np.testing.assert_array_equal(pair.labels_fixed, pair.labels_moving)
    assert not pair.flow.any()
    assert (pair.weight == 1).all()
    assert pair.info["occluded"] == pair.info["outside"] == 0


def test_shapes_move_along_with_the_background() -> None:
    options = MovingShapesOptions(foreground=STILL, **CLEAN)
    pair = MovingShapes((40, 40), options=options).draw(1)
    motions = pair.info["motions"]
    assert len(motions) > 1
    np.testing.assert_allclose(motions, np.broadcast_to(motions[0], motions.shape), atol=1e-12)
    assert not np.allclose(motions[0], np.eye(2, 3))


def test_what_there_is_in_the_images() -> None:
    source = MovingShapes((48, 48), options=MovingShapesOptions(shapes=(2, 5), channels=3, **CLEAN))
    pairs = [source.draw(i) for i in range(80)]
    counts = np.array([len(pair.info["motions"]) - 1 for pair in pairs])
    assert set(counts) == {2, 3, 4, 5}
    for image in [pair.fixed for pair in pairs] + [pair.moving for pair in pairs]:
        assert image.min() >= 0
        assert image.max() <= 1
    assert not np.allclose(pairs[0].fixed[0], pairs[0].fixed[1], atol=0.05)
    edges = stack_pairs([replace(pair, info={}) for pair in pairs]).fixed
    # Edges are soft: few neighbouring pixels differ by most of the range.
    assert (np.abs(np.diff(edges, axis=-1)) > 0.7).mean() < 0.002


def test_noise_of_the_acquisition_is_added_to_each_image() -> None:
    common: dict[str, Any] = {"background": STILL, "foreground": STILL, "patterns": 4}
    noisy = modelaug.AcquisitionOptions(noise=0.05)
    pair = MovingShapes((64, 64), options=MovingShapesOptions(acquisition=noisy, **common)).draw(0)
    clean = MovingShapes((64, 64), options=MovingShapesOptions(acquisition=None, **common)).draw(0)
    middle = (clean.fixed > 0.2) & (clean.fixed < 0.8)
    for image in (pair.fixed, pair.moving):
        assert (image - clean.fixed)[middle].std() == pytest.approx(0.05, rel=0.1)
    assert (pair.fixed - pair.moving)[middle].std() == pytest.approx(0.05 * np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_motions_have_the_deviations_asked_for(power: float) -> None:
    motion = Motion(translation=0.05, rotation=6.0, zoom=0.1, stretch=0.0, power=power, limit=20.0)
    center, size = np.array([30.0, 20.0]), 64.0
    drawn = np.array([motion.draw(generator(0, i), center, size) for i in range(6000)])
    moved = drawn[:, :, :2] @ center + drawn[:, :, 2] - center
    zooms = 0.5 * np.log(np.linalg.det(drawn[:, :, :2]))
    angles = np.degrees(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]))
    for values, sd in ((moved[:, 0], 3.2), (moved[:, 1], 3.2), (zooms, 0.1), (angles, 6.0)):
        assert values.mean() == pytest.approx(0.0, abs=0.06 * sd)
        assert values.std() == pytest.approx(sd, rel=0.1 if power < 3 else 0.3)
        # The median of |z|^power over its deviation: the larger the power, the more are small.
        z = np.abs(np.random.Generator(np.random.Philox(1)).standard_normal(100_000)) ** power
        assert np.median(np.abs(values)) == pytest.approx(sd * np.median(z) / np.sqrt((z**2).mean()), rel=0.2)


def test_no_motion_is_beyond_its_limit() -> None:
    motion = Motion(translation=0.1, rotation=20.0, zoom=0.2, stretch=0.2, power=4.0, limit=1.5)
    center = np.array([5.0, 9.0])
    for index in range(300):
        drawn = motion.draw(generator(1, index), center, 10.0)
        moved = drawn[:, :2] @ center + drawn[:, 2] - center
        assert np.abs(moved).max() <= 1.5 + 1e-9
        along, across = np.linalg.svd(drawn[:, :2], compute_uv=False)
        assert np.exp(-0.6) - 1e-9 <= across <= along <= np.exp(0.6) + 1e-9
        assert abs(0.5 * np.log(along * across)) <= 0.3 + 1e-9


def test_images_larger_than_a_pattern() -> None:
    pair = MovingShapes((300, 12), options=MovingShapesOptions(**CLEAN | {"patterns": 1})).draw(0)
    assert pair.fixed.std() > 0.01
    assert np.isfinite(pair.moving).all()
