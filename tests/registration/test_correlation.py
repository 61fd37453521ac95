"""The agreement of two images under an affine map, and its derivatives, against plain formulas and differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from modelaug.registration.correlation import AffineKind, Overlay, Picture, climb
from tests.examples import philox, rotation

GRIDS = {2: (31, 38), 3: (13, 17, 15)}

Array = np.ndarray[Any, np.dtype[np.float64]]


def picture(d: int, seed: int, channels: int = 1, origin: float = 0.0) -> Picture:
    """Return smooth noise on oblique voxels that are no cubes."""
    smooth = (3.0,) * d
    noise = [ndimage.gaussian_filter(philox(10 * seed + k).normal(size=GRIDS[d]), smooth) for k in range(channels)]
    linear = rotation(philox(7), d, 0.3) * np.array([1.5, 1.0, 1.2])[:d]
    return Picture(
        np.array(noise, np.float32), np.ones(GRIDS[d], np.float32), np.column_stack([linear, np.full(d, origin)])
    )


def overlay(d: int, channels: int = 1, local: bool = True, rim: int = 0) -> Overlay:
    """Return two pictures that are laid one on the other, with weights that differ, 0 at the rim."""
    weights = philox(4).uniform(0.1, 1, GRIDS[d]).astype(np.float32)
    inside = tuple(slice(rim, n - rim) for n in GRIDS[d])
    weights[inside] += 1
    weights = np.maximum(weights - 1, 0) if rim else weights / 2
    reference = np.eye(d, d + 1)
    reference[:, d] = 0.7
    fixed, moving = picture(d, 0, channels), picture(d, 1, channels, 0.4)
    return Overlay(fixed, moving, weights, reference, local=local, threads=1)


def mapping(d: int, seed: int) -> Array:
    """Return a map a little away from the identity."""
    return np.eye(d, d + 1) + philox(seed).normal(size=(d, d + 1)) * np.append(np.full(d, 0.03), 0.6)


@pytest.mark.parametrize("d", [2, 3])
def test_correlation_is_that_of_the_voxels_that_both_have(d: int) -> None:
    grid = GRIDS[d]
    place = np.eye(d, d + 1)
    weight = philox(4).uniform(0.1, 1, grid).astype(np.float32)
    fixed, moving = (Picture(picture(d, k).channels, np.ones(grid, np.float32), place) for k in range(2))
    shift = np.eye(d, d + 1)
    shift[0, d] = 3  # whole voxels, so that nothing is interpolated
    found = Overlay(fixed, moving, weight, place, local=False, threads=1).match(shift)
    assert found is not None
    first, second, counts = fixed.channels[0, :-3].ravel(), moving.channels[0, 3:].ravel(), weight[:-3].ravel()
    covariance = np.cov(first, second, aweights=counts)
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert found.correlation == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_slope_is_that_of_the_score(d: int, channels: int, seed: int) -> None:
    # No voxel that counts enters or leaves.
    pair, at = overlay(d, channels, local=False, rim=10 if d == 2 else 4), mapping(d, seed)
    here = pair.match(at)
    assert here is not None
    differences = []
    for unit in np.eye(d * (d + 1)):
        there, back = (pair.moved(at, sign * 0.1 * unit) for sign in (1, -1))
        assert there is not None
        assert back is not None
        ends = pair.match(there), pair.match(back)
        assert ends[0] is not None
        assert ends[1] is not None
        differences.append((ends[0].score - ends[1].score) / 0.2)
    # Slopes are interpolated between voxels, where the image is linear.
    np.testing.assert_allclose(here.slope, differences, atol=0.1 * np.linalg.norm(differences))
    assert np.linalg.eigvalsh(here.curvature).min() > -1e-6


@pytest.mark.parametrize("d", [2, 3])
def test_a_step_comes_after_the_map_about_where_the_middle_went(d: int) -> None:
    """``exp(turn) A (x - pivot)`` from where the pivot went, and the shift: against a sum of powers of the matrix."""
    pair, rng = overlay(d), philox(d)
    at = np.column_stack([np.eye(d) + 0.12 * rng.normal(size=(d, d)), 5 * rng.normal(size=d)])
    rows = np.column_stack([0.12 * rng.normal(size=(d, d)) * pair.radius, rng.normal(size=d)])
    moved = pair.moved(at, rows.ravel())
    assert moved is not None
    turn, power = np.eye(d), np.eye(d)
    for k in range(1, 20):
        power = power @ (rows[:, :d] / pair.radius) / k
        turn = turn + power
    for x in 20 * rng.normal(size=(5, d)):
        middle = at[:, :d] @ pair.pivot + at[:, d]
        expected = middle + rows[:, d] + turn @ at[:, :d] @ (x - pair.pivot)
        np.testing.assert_allclose(moved[:, :d] @ x + moved[:, d], expected, atol=1e-9)


@given(seed=st.integers(0, 99), d=st.sampled_from([2, 3]), transform=st.sampled_from(["rigid", "similarity", "affine"]))
@settings(max_examples=15)
def test_climbing_never_loses(seed: int, d: int, transform: AffineKind) -> None:
    pair, start = overlay(d), mapping(d, seed)
    if transform != "affine":
        start[:, :d] = rotation(philox(seed), d, 0.2)
    before, after = pair.match(start), climb(pair, start, transform)
    assert before is not None
    assert after is not None
    assert after[1].score >= before.score
    again = pair.match(after[0])
    assert again is not None
    assert again.score == after[1].score
    product = after[0][:, :d] @ after[0][:, :d].T
    if transform != "affine":  # the linear part stays a rotation, or one times a scale
        np.testing.assert_allclose(product, product[0, 0] * np.eye(d), atol=1e-9)
    if transform == "rigid":
        assert product[0, 0] == pytest.approx(1)


def test_far_apart_is_no_match() -> None:
    pair = overlay(2)
    far = np.eye(2, 3)
    far[:, 2] = 500
    assert pair.match(far) is None
    assert climb(pair, far, "affine") is None


@pytest.mark.parametrize("d", [2, 3])
def test_resizing_keeps_places(d: int) -> None:
    whole = picture(d, 0, 2, 5.0)
    small = whole.resized(2.0 * float(whole.spacing.max()))
    np.testing.assert_allclose(small.centre, whole.centre)
    assert small.volume == pytest.approx(whole.volume)
    assert max(small.grid) < max(whole.grid)
    weight = np.zeros(whole.grid, np.float32)
    box = (slice(3, 9), slice(5, 6), slice(2, 10))[:d]
    weight[box] = 0.5
    part = Picture(whole.channels, weight, whole.matrix).cropped()
    assert part.grid == weight[box].shape
    np.testing.assert_allclose(part.matrix @ np.append(np.zeros(d), 1), whole.matrix @ [*(b.start for b in box), 1])


def test_standardizing_takes_slow_changes_away() -> None:
    rows, columns = np.indices((60, 50)) / 50
    noise = philox(0).normal(size=(60, 50))
    place, weight = np.eye(2, 3), np.ones((60, 50), np.float32)
    plain, uneven = (
        Picture(image[None].astype(np.float32), weight, place).standardized(4.0).channels[0]
        for image in (noise, 20 * (noise * (1 + rows) + 3 * columns))
    )
    assert np.corrcoef(plain.ravel(), uneven.ravel())[0, 1] > 0.98
    assert abs(plain.mean()) < 0.05
    assert plain.std() == pytest.approx(1, abs=0.1)
