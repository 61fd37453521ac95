"""Displacements of batches in torch, against the package's own kernels and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from modelaug import compose, warp
from modelaug.learning.sampling import compose_fields, integrate, sample_at, upsample, voxel_grid, warp_images, window

GRIDS = st.lists(st.integers(1, 9), min_size=2, max_size=3).map(tuple)


def smooth(grid: tuple[int, ...], amplitude: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (amplitude * rng.standard_normal((len(grid), *grid))).astype(np.float32)


@given(grid=GRIDS, seed=st.integers(0, 99))
def test_warps_as_the_kernels_do(grid: tuple[int, ...], seed: int) -> None:
    image = np.random.default_rng(seed).random((2, *grid), dtype=np.float32)
    u = smooth(grid, 2.0, seed)
    found = warp_images(torch.from_numpy(image)[None], torch.from_numpy(u)[None])[0].numpy()
    np.testing.assert_allclose(found, warp(image, u), atol=2e-5)


@given(grid=GRIDS, seed=st.integers(0, 99))
def test_composes_as_the_kernels_do_and_in_their_order(grid: tuple[int, ...], seed: int) -> None:
    u, v = smooth(grid, 1.0, seed), smooth(grid, 1.5, seed + 1)
    found = compose_fields(torch.from_numpy(u)[None], torch.from_numpy(v)[None])[0].numpy()
    np.testing.assert_allclose(found, compose(u, v), atol=2e-5)


def test_integral_of_a_linear_velocity_is_the_matrix_exponential() -> None:
    x = voxel_grid((33, 33), torch.zeros(1)) - 16.0
    angle = 0.3
    velocity = torch.stack([-angle * x[:, 1], angle * x[:, 0]], dim=1)
    turned = torch.stack(
        [np.cos(angle) * x[:, 0] - np.sin(angle) * x[:, 1], np.sin(angle) * x[:, 0] + np.cos(angle) * x[:, 1]], 1
    )
    inside = (
        slice(None),
        slice(None),
        slice(6, 27),
        slice(6, 27),
    )  # beyond the border the velocity stays what it is there
    torch.testing.assert_close(integrate(velocity, 7)[inside], (turned - x)[inside], rtol=0, atol=0.02)
    assert not integrate(torch.zeros(1, 3, 4, 5, 6), 3).any()


@given(cells=st.lists(st.integers(1, 5), min_size=2, max_size=3), factor=st.sampled_from([1, 2, 4]))
def test_upsampling_agrees_at_the_cells_edges(cells: list[int], factor: int) -> None:
    d = len(cells)
    centres = (voxel_grid(cells, torch.zeros(1)) + 0.5) * factor - 0.5
    grid = [n * factor - (1 if n > 1 and factor > 1 else 0) for n in cells]
    fine = upsample(centres, factor, grid)
    assert fine.shape == (1, d, *grid)
    low, high = (factor - 1) / 2, [n * factor - (factor + 1) / 2 for n in cells]
    expected = voxel_grid(grid, torch.zeros(1))
    for k in range(d):
        torch.testing.assert_close(fine[:, k], expected[:, k].clamp(low, high[k]), rtol=0, atol=1e-4)


def test_windows_are_views() -> None:
    values = torch.arange(24.0).reshape(1, 1, 4, 6)
    part = window(values, [1, 2], [2, 3])
    assert torch.equal(part, values[:, :, 1:3, 2:5])
    assert part.data_ptr() == values[:, :, 1:, 2:].data_ptr()
    assert torch.equal(window(values, [0, 0], [4, 6]), values)


def test_gradients_are_those_of_finite_differences() -> None:
    images = torch.rand(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    u = (torch.rand(1, 2, 5, 6, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, v: sample_at(i, voxel_grid((5, 6), v) + v), (images, u), atol=1e-6)


def test_half_precision_images_are_sampled_in_single() -> None:
    images, u = torch.rand(1, 2, 6, 6).to(torch.bfloat16), torch.full((1, 2, 6, 6), 0.5)
    assert warp_images(images, u).dtype == torch.float32
