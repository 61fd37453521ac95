"""Losses in the plane and in space: slow formulas, known values, gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from modelaug import evaluation, jacobian_determinant
from modelaug.learning import (
    diffusion,
    end_point_error,
    fold_penalty,
    local_correlation,
    mean_squares,
    multiscale_error,
    soft_dice,
)
from modelaug.learning.losses import average_cells

GRIDS = st.lists(st.integers(1, 7), min_size=2, max_size=3).map(tuple)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_error(
    outputs: list[npt.NDArray[Any]], flow: npt.NDArray[Any], weight: npt.NDArray[Any], scales: tuple[int, ...]
) -> float:
    """Loop over every cell of every scale; means, each scale with weight 1, 2, ..."""
    total = 0.0
    for level, (side, output) in enumerate(zip(scales, outputs, strict=True), start=1):
        error = mass = 0.0
        for i, *cell in np.ndindex(len(output), *output.shape[2:]):
            area = (i, ..., *(slice(k * side, (k + 1) * side) for k in cell))
            expected = [flow[:, k][area].mean() for k in range(flow.shape[1])]
            share = weight[area].mean()
            error += share * float(np.linalg.norm(output[(i, slice(None), *cell)] - expected))
            mass += share
        total += level * error / mass
    return total


@given(grid=GRIDS, seed=st.integers(0, 99))
def test_multiscale_error_is_the_slow_one(grid: tuple[int, ...], seed: int) -> None:
    d, scales = len(grid), (1, 2, 4)
    flow, weight = noise(2, d, *grid, seed=seed), noise(2, *grid, seed=seed + 1).abs()
    outputs = [noise(2, d, *(-(-n // s) for n in grid), seed=seed + s) for s in scales]
    found = multiscale_error(outputs, flow, weight, scales=scales, scale_weights=(1, 2, 3))
    expected = slow_error([o.numpy() for o in outputs], flow.numpy(), weight.numpy(), scales)
    assert found.item() == pytest.approx(expected, rel=1e-4)


@given(grid=GRIDS, side=st.integers(1, 4))
def test_cells_average_what_they_have(grid: tuple[int, ...], side: int) -> None:
    values = noise(1, 2, *grid)
    cells = average_cells(values, side)
    for index in np.ndindex(*cells.shape[2:]):
        area = (..., *(slice(k * side, (k + 1) * side) for k in index))
        expected = values[area].flatten(2).mean(2)
        torch.testing.assert_close(cells[(..., *index)], expected, rtol=1e-4, atol=1e-5)


def test_end_point_error_in_space() -> None:
    flow = torch.zeros(1, 3, 4, 5, 6)
    estimate = flow.clone()
    estimate[:, 0], estimate[:, 1], estimate[:, 2] = 2, 3, 6
    assert end_point_error(estimate, flow).item() == pytest.approx(7)
    weight = torch.zeros(1, 4, 5, 6)
    assert end_point_error(estimate, flow, weight).item() == 0


@given(grid=GRIDS, structures=st.integers(1, 4), seed=st.integers(0, 99))
def test_soft_dice_of_hard_labels_is_the_dice_overlap(grid: tuple[int, ...], structures: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, structures + 1, size=(2, *grid))
    members = [
        torch.from_numpy((x == np.arange(1, structures + 1).reshape(-1, *[1] * len(grid)))[None]) for x in (a, b)
    ]
    each = evaluation.dice(a, b, np.arange(1, structures + 1))
    expected = 1 - np.nanmean(each) if np.isfinite(each).any() else 0
    assert soft_dice(*(m.float() for m in members)).item() == pytest.approx(expected, abs=1e-5)


def slow_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any], radius: int) -> float:
    values = []
    for x in np.ndindex(*a.shape):
        area = tuple(slice(max(0, k - radius), k + radius + 1) for k in x)
        p, q = (v[area].astype(np.float64).ravel() for v in (a, b))
        covariance = np.mean(p * q) - p.mean() * q.mean()
        values.append(covariance**2 / (p.var() * q.var() + 1e-5))
    return 1 - float(np.mean(values))


@given(grid=GRIDS, radius=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_local_correlation_is_the_slow_one(grid: tuple[int, ...], radius: int, seed: int) -> None:
    a, b = noise(1, 1, *grid, seed=seed), noise(1, 1, *grid, seed=seed + 1)
    expected = slow_correlation(a[0, 0].numpy(), b[0, 0].numpy(), radius)
    assert local_correlation(a, b, radius).item() == pytest.approx(expected, abs=1e-3)


def test_local_correlation_does_not_mind_gain_and_offset_but_does_mind_place() -> None:
    a = noise(1, 1, 20, 22)
    assert local_correlation(a, -3 * a + 5, 2).item() == pytest.approx(0, abs=1e-3)
    assert local_correlation(a, noise(1, 1, 20, 22, seed=9), 2).item() > 0.8
    assert local_correlation(a, torch.zeros_like(a), 2).item() == pytest.approx(1)
    assert mean_squares(a, a + 2).item() == pytest.approx(4)


@given(grid=GRIDS, seed=st.integers(0, 99))
def test_diffusion_is_the_sum_of_squared_differences(grid: tuple[int, ...], seed: int) -> None:
    u = noise(1, len(grid), *grid, seed=seed)
    expected = sum((np.diff(u[0].numpy(), axis=k + 1) ** 2).sum(0).mean() for k, n in enumerate(grid) if n > 1)
    assert diffusion(u).item() == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("d", [2, 3])
def test_the_fold_penalty_is_what_lacks_to_the_least_determinant(d: int) -> None:
    grid = (6, 7, 5)[:d]
    x = np.indices(grid).astype(np.float32)
    matrix = np.diag([-0.5, 0.25, 0.0][:d]) + np.eye(d, k=1) * 0.3  # of the displacement, determinant 0.5 * 1.25
    u = torch.from_numpy(np.einsum("ij,j...->i...", matrix, x).astype(np.float32))[None]
    determinant = float(np.linalg.det(np.eye(d) + matrix))
    assert jacobian_determinant(u[0].numpy()).mean() == pytest.approx(determinant, abs=1e-5)
    assert fold_penalty(u, least=0.1).item() == 0
    assert fold_penalty(u, least=1.0).item() == pytest.approx(1 - determinant, abs=1e-5)
    folded = u * torch.tensor([4.0] + [1.0] * (d - 1)).reshape(1, -1, *[1] * d)
    assert fold_penalty(folded).item() > 1
    assert fold_penalty(torch.zeros(1, d, *grid)).item() == 0


def test_the_fold_penalty_leaves_out_axes_of_one_voxel() -> None:
    plane = noise(1, 2, 6, 7)
    volume = torch.cat([noise(1, 1, 6, 7, seed=4), plane], dim=1)[:, :, None]
    torch.testing.assert_close(fold_penalty(volume), fold_penalty(plane))
    assert fold_penalty(torch.zeros(1, 2, 1, 1)).item() == 0


@pytest.mark.parametrize("d", [2, 3])
def test_gradients(d: int) -> None:
    grid = (4, 5, 3)[:d]
    u = noise(1, d, *grid).double().requires_grad_()
    assert torch.autograd.gradcheck(diffusion, (u,))
    assert torch.autograd.gradcheck(lambda v: fold_penalty(0.2 * v, least=1.5), (u,))
    a, b = (noise(1, 2, *grid, seed=k).double().requires_grad_() for k in (1, 2))
    assert torch.autograd.gradcheck(lambda p, q: local_correlation(p, q, 1), (a, b))
    assert torch.autograd.gradcheck(lambda p, q: soft_dice(p.sigmoid(), q.sigmoid()), (a, b))


def test_no_structure_no_loss_and_no_nan() -> None:
    empty = torch.zeros(1, 2, 4, 4, requires_grad=True)
    loss = soft_dice(empty, empty)
    loss.backward()
    assert loss.item() == 0
    assert empty.grad is not None
    assert torch.isfinite(empty.grad).all()


def test_bad_shapes() -> None:
    flow = torch.zeros(1, 2, 4, 4)
    for outputs, scales, weights in itertools.product(([flow], [flow, flow]), ((1,), (1, 2)), ((1.0,), (1.0, 1.0))):
        if len({len(outputs), len(scales), len(weights)}) > 1:
            with pytest.raises(ValueError, match="scale_weights holds"):
                multiscale_error(outputs, flow, scales=scales, scale_weights=weights)
    with pytest.raises(ValueError, match=r"flow has shape \(1, 2, 4, 4, 4\); pass \(b, d, \*grid\)"):
        end_point_error(torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 2, 4, 4, 4))
