"""Augmentation by one rule in the plane and in space: images, flow, weight and structures move together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from modelaug import warp
from modelaug.learning import AffineRanges, AugmentOptions, scale_intensity, transform_pairs
from modelaug.learning.augmentation import draw_maps, pull_by_maps, vary_intensity
from modelaug.learning.intensity import GREY_MEAN

STRONG = AugmentOptions(common=AffineRanges(0.1, 30, 0.2), relative=AffineRanges(0.05, 5, 0.1), flips=0.5)


def smooth_pair(grid: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a pair of smooth images and the affine flow between them, exactly."""
    rng, d = np.random.default_rng(seed), len(grid)
    x = np.indices(grid).astype(float)
    matrix = np.eye(d) + 0.1 * rng.uniform(-1, 1, (d, d))
    centre = np.reshape(np.array(grid) - 1.0, (d, *[1] * d)) / 2
    partner = centre + np.einsum("ij,j...->i...", matrix, x - centre) + rng.uniform(-1, 1, (d, *[1] * d))
    frequencies = rng.uniform(0.1, 0.25, (3, d))

    def image(at: np.ndarray) -> np.ndarray:
        return sum(np.sin(np.tensordot(f, at, 1) + k) for k, f in enumerate(frequencies))

    arrays = (image(partner)[None, None], image(x)[None, None], (partner - x)[None])
    fixed, moving, flow = (torch.from_numpy(a.astype(np.float32)) for a in arrays)
    return fixed, moving, flow


@given(seed=st.integers(0, 200), d=st.integers(2, 3))
def test_what_is_moved_still_corresponds(seed: int, d: int) -> None:
    grid = (17, 20, 15)[:d]
    fixed, moving, flow = smooth_pair(grid, seed)
    maps = draw_maps(STRONG, [seed], grid)
    image1, image2, new_flow, weight = transform_pairs(fixed, moving, flow, torch.ones(1, *grid), *maps)
    assert new_flow.shape == flow.shape
    sure = weight[0].numpy() > 0.99
    missed = np.abs(warp(image2[0].numpy(), new_flow[0].numpy()) - image1[0].numpy())[0][sure]
    assert not sure.any() or missed.mean() < 0.06
    assert torch.equal(pull_by_maps(fixed, maps[0]), image1)
    assert torch.equal(pull_by_maps(moving, maps[1]), image2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flips_in_space_are_index_operations(axis: int) -> None:
    grid = (4, 5, 6)
    generator = torch.Generator().manual_seed(axis)
    image1, image2 = torch.rand(2, 1, 1, *grid, generator=generator)
    flow, weight = torch.randn(1, 3, *grid, generator=generator), torch.rand(1, *grid, generator=generator)
    mirror = np.eye(3, 4)[None].copy()
    mirror[0, axis, axis] = -1
    moved = transform_pairs(image1, image2, flow, weight, mirror, mirror)
    turned = flow.flip(2 + axis)
    turned[:, axis] *= -1
    torch.testing.assert_close(moved[0], image1.flip(2 + axis))
    torch.testing.assert_close(moved[1], image2.flip(2 + axis))
    torch.testing.assert_close(moved[2], turned, rtol=1e-5, atol=1e-5)


@given(index=st.integers(0, 1000), grid=st.sampled_from([(9, 11), (9, 11, 8), (1, 11, 8)]))
def test_drawn_maps_keep_to_their_ranges(index: int, grid: tuple[int, ...]) -> None:
    d = len(grid)
    first, second = (m[0] for m in draw_maps(STRONG, [index], grid))
    factor = abs(np.linalg.det(first[:, :d])) ** (1 / d)
    flat = [k for k, n in enumerate(grid) if n == 1]
    assert np.exp(-0.2) - 1e-9 <= factor <= np.exp(0.2) + 1e-9
    turn = first[:, :d] / factor
    np.testing.assert_allclose(turn @ turn.T, np.eye(d), atol=1e-9)
    assert (np.abs(first[:, d]) <= 0.1 * np.array(grid) + 1e-9).all()
    for k in flat:  # nothing turns out of the plane
        np.testing.assert_allclose(np.abs(turn[k]), np.eye(d)[k], atol=1e-9)
    relative = np.linalg.inv(first[:, :d]) @ second[:, :d]
    relative /= np.linalg.det(relative) ** (1 / d)
    angle = np.degrees(np.arccos(np.clip((np.trace(relative) - (d - 2)) / 2, -1, 1)))
    assert angle <= 5 + 1e-6


def test_turns_in_space_are_about_all_axes() -> None:
    options = AugmentOptions(common=AffineRanges(rotation=30), relative=AffineRanges())
    maps = draw_maps(options, range(60), (8, 8, 8))[0][:, :, :3]
    skew = maps - maps.transpose(0, 2, 1)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(skew[:, i, j]).std() > 0.1


@pytest.mark.parametrize("grid", [(6, 7), (6, 7, 5), (1, 6, 7)])
def test_intensities(grid: tuple[int, ...]) -> None:
    d = len(grid)
    images = torch.rand(2, 3, *grid, generator=torch.Generator().manual_seed(0)) * 1000 - 200
    scaled = scale_intensity(images, ndim=d)
    assert scaled.shape == images.shape
    values = images[1, 2].flatten()
    low, high = values.min(), values.max()
    if values.numel() < 100:  # a hundredth of the voxels is none
        torch.testing.assert_close(scaled[1, 2], (images[1, 2] - low) / (high - low) - GREY_MEAN, rtol=1e-4, atol=1e-4)
    images[0, 1] = 7
    assert not scale_intensity(images, ndim=d)[0, 1].any()
    changed = vary_intensity(scaled, scaled, AugmentOptions(noise=0.5), [3, 4])
    assert changed[0].shape == scaled.shape
    again = vary_intensity(scaled[1:], scaled[1:], AugmentOptions(noise=0.5), [4])
    torch.testing.assert_close(again[1][0], changed[1][1])
