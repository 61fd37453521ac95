"""The loss against a slow formula, its gradients, its axes and its scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from modelaug.learning import FlowNetS, end_point_error, multiscale_epe, to_flownet
from modelaug.learning.flownet import SCALE_WEIGHTS

Array = npt.NDArray[np.float64]


def slow_loss(outputs: list[Array], flow: Array, weight: Array, scales: tuple[float, ...], normalize: bool) -> float:
    """Loop over every cell of every scale, in double precision."""
    total = 0.0
    for level, output in enumerate(outputs):
        side = 4 * 2**level
        error = mass = 0.0
        for i, row, column in np.ndindex(len(output), *output.shape[2:]):
            cell = np.s_[i, ..., row * side : (row + 1) * side, column * side : (column + 1) * side]
            down, right = (flow[:, k][cell].mean() for k in (0, 1))
            x, y = output[i, :, row, column]
            share = weight[cell].mean()
            error += share * np.hypot(x - right / 20, y - down / 20)
            mass += share
        total += scales[level] * error / (mass if normalize else len(output))
    return total


def case(h: int, w: int, seed: int = 0) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Return outputs, flow and weight of two images."""
    generator = torch.Generator().manual_seed(seed)
    flow = 30 * torch.randn(2, 2, h, w, generator=generator)
    weight = torch.rand(2, h, w, generator=generator)
    sides = (4, 8, 16, 32, 64)
    return [torch.randn(2, 2, -(-h // s), -(-w // s), generator=generator) for s in sides], flow, weight


@given(h=st.integers(1, 130), w=st.integers(1, 130), seed=st.integers(0, 99), normalize=st.booleans())
def test_equals_the_slow_formula(h: int, w: int, seed: int, normalize: bool) -> None:
    outputs, flow, weight = case(h, w, seed)
    scales = (0.3, 0.2, 0.1, 0.5, 0.7)
    expected = slow_loss([o.double().numpy() for o in outputs], flow.numpy(), weight.numpy(), scales, normalize)
    loss = multiscale_epe(outputs, flow, weight, scale_weights=scales, normalize=normalize)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_no_weight_is_weight_one_and_defaults_are_published() -> None:
    outputs, flow, weight = case(64, 64)
    arrays = [o.double().numpy() for o in outputs]
    expected = slow_loss(arrays, flow.numpy(), np.ones(weight.shape), (0.005, 0.01, 0.02, 0.08, 0.32), False)
    assert multiscale_epe(outputs, flow).item() == pytest.approx(expected, rel=1e-5)


def test_zero_flow_leaves_the_norm_of_the_output() -> None:
    outputs, flow, _ = case(64, 128)
    expected = sum(a * o.norm(dim=1).sum() / 2 for a, o in zip(SCALE_WEIGHTS, outputs, strict=True))
    torch.testing.assert_close(multiscale_epe(outputs, torch.zeros_like(flow)), expected)


def test_published_sums_weigh_like_means_in_4_2_1_1_1() -> None:
    flow = torch.zeros(1, 2, 256, 256)
    outputs = [torch.zeros(1, 2, 256 // s, 256 // s) for s in (4, 8, 16, 32, 64)]
    shares = []
    for output in outputs:
        output[:, 0] = 1
        shares.append(multiscale_epe(outputs, flow).item())
        output[:, 0] = 0
    assert shares == pytest.approx([20.48, 10.24, 5.12, 5.12, 5.12])


def test_no_weight_no_gradient() -> None:
    outputs, flow, weight = case(64, 64)
    weight[:, :, 32:] = 0
    leaves = [o.requires_grad_() for o in outputs]
    multiscale_epe(leaves, flow, weight).backward()
    finest = leaves[0].grad
    assert finest is not None
    assert not finest[..., 8:].any()
    assert finest[..., :8].abs().min() > 0
    for normalize in (False, True):
        loss = multiscale_epe(leaves, flow, torch.zeros_like(weight), normalize=normalize)
        assert loss.item() == 0
        gradients = torch.autograd.grad(loss, leaves)
        assert not any(g.any() for g in gradients)


def test_gradient_is_zero_where_the_error_is() -> None:
    flow = torch.full((1, 2, 64, 64), 40.0)
    outputs = [torch.full((1, 2, 64 // s, 64 // s), 2.0, requires_grad=True) for s in (4, 8, 16, 32, 64)]
    loss = multiscale_epe(outputs, flow)
    loss.backward()
    assert loss.item() == 0
    assert all(o.grad is not None and not o.grad.any() for o in outputs)


def test_axes() -> None:
    flow = torch.zeros(1, 2, 64, 64)
    flow[:, 1] = 20.0  # 20 columns to the right
    outputs = [torch.zeros(1, 2, 64 // s, 64 // s) for s in (4, 8, 16, 32, 64)]
    for output in outputs:
        output[:, 0] = 1.0  # one unit along x
    assert multiscale_epe(outputs, flow).item() == 0
    assert multiscale_epe(outputs, flow.flip(1)).item() > 0


def test_end_point_error() -> None:
    flow = torch.zeros(1, 2, 2, 2)
    estimate = torch.zeros(1, 2, 2, 2)
    estimate[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    assert end_point_error(estimate, flow).item() == 1.25
    weight = torch.zeros(1, 2, 2)
    assert end_point_error(estimate, flow, weight).item() == 0
    weight[0, 0] = 0.5
    assert end_point_error(estimate, flow, weight).item() == 2.5


def test_processes_have_the_mean_loss_of_one_batch() -> None:
    outputs, flow, weight = case(70, 50)
    weight[0] *= 0.1  # else the halves' own masses would do as well
    whole = multiscale_epe(outputs, flow, weight, normalize=True)
    sums: list[list[torch.Tensor]] = [[], []]
    for i in range(2):
        part = [output[i : i + 1] for output in outputs]

        def note(mass: torch.Tensor, i: int = i) -> torch.Tensor:
            sums[i].append(mass)
            return mass

        multiscale_epe(part, flow[i : i + 1], weight[i : i + 1], normalize=True, average=note)
    losses, alone = [], []
    for i in range(2):
        means = iter([(a + b) / 2 for a, b in zip(*sums, strict=True)])
        given = [output[i : i + 1] for output in outputs], flow[i : i + 1], weight[i : i + 1]
        losses.append(multiscale_epe(*given, normalize=True, average=lambda mass, means=means: next(means)))
        alone.append(multiscale_epe(*given, normalize=True))
    torch.testing.assert_close((losses[0] + losses[1]) / 2, whole)
    assert abs((alone[0] + alone[1]) / 2 - whole) > 1e-3 * whole


def test_bad_shapes() -> None:
    outputs, flow, weight = case(64, 64)
    with pytest.raises(ValueError, match="scale_weights holds 2 numbers for 5 outputs"):
        multiscale_epe(outputs, flow, scale_weights=(1, 2))
    with pytest.raises(ValueError, match=r"weight has shape \(2, 1, 64, 64\) for flow"):
        multiscale_epe(outputs, flow, weight[:, None])
    with pytest.raises(ValueError, match=r"flow has shape \(2, 64, 64\); pass \(b, d, \*grid\)"):
        multiscale_epe(outputs, weight)
    with pytest.raises(ValueError, match=r"outputs\[0\] has shape \(2, 2, 1, 1\), not \(2, 2, 16, 16\)"):
        multiscale_epe(outputs[::-1], flow)
    with pytest.raises(ValueError, match="estimate has shape"):
        end_point_error(to_flownet(flow)[:1], flow)


def test_takes_what_the_network_gives() -> None:
    network = FlowNetS(width=0.03)
    loss = multiscale_epe(network(torch.zeros(1, 2, 50, 70)), torch.ones(1, 2, 50, 70))
    assert loss.item() > 0
