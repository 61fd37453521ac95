"""PyramidNetwork: its shapes, its geometry, what it does at first, and that all of it learns."""

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
from torch import Tensor, nn

from modelaug.learning import PyramidNetwork, adapt_channels, estimate_flow, load_network, save_network
from modelaug.learning.network import architecture_of, known_network
from modelaug.learning.pyramid import correlate

SMALL: dict[str, Any] = {"width": 0.25, "levels": 2, "radius": 1, "finest": 1}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"update": "added"},
    {"update": "integrated"},
    {"normalization": "instance"},
    {"upsampling": "learned"},
    {"repeats": 2, "finest": 2},
    {"radius": 0},
]


def images(grid: tuple[int, ...], *, b: int = 1, c: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    fixed, moving = torch.randn(2, b, c, *grid, generator=torch.Generator().manual_seed(seed))
    return fixed, moving


def slow_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any], radius: int) -> npt.NDArray[np.float64]:
    """Loop over every cell and every shift."""
    n, c, *cells = a.shape
    shifts = list(itertools.product(range(-radius, radius + 1), repeat=len(cells)))
    result = np.zeros((n, len(shifts), *cells))
    for k, shift in enumerate(shifts):
        for x in np.ndindex(*cells):
            y = tuple(i + s for i, s in zip(x, shift, strict=True))
            if all(0 <= i < m for i, m in zip(y, cells, strict=True)):
                result[(slice(None), k, *x)] = (a[(..., *x)] * b[(..., *y)]).sum(1) / c
    return result


def test_correlation_has_no_second_derivative_and_no_negative_radius() -> None:
    a, b = (each.requires_grad_() for each in images((3, 4), b=1, c=2))
    (gradient,) = torch.autograd.grad(correlate(a, b, 1).square().sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
    with pytest.raises(ValueError, match="radius is -1"):
        correlate(a, b, -1)


@given(
    cells=st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple),
    radius=st.integers(0, 2),
    seed=st.integers(0, 9),
)
@settings(max_examples=30)
def test_correlation_is_the_slow_one(cells: tuple[int, ...], radius: int, seed: int) -> None:
    a, b = images(cells, b=2, c=3, seed=seed)
    expected = slow_correlation(a.numpy(), b.numpy(), radius)
    np.testing.assert_allclose(correlate(a, b, radius).numpy(), expected, atol=1e-6)
    # It is linear in either argument, so its gradients are known from its values.
    a, b = (each.double().requires_grad_() for each in (a, b))
    weights = torch.linspace(-1, 1, expected.size, dtype=torch.float64).reshape(expected.shape)
    total = (weights * correlate(a, b, radius)).sum()
    total.backward()
    for each in (a, b):
        assert each.grad is not None
        assert (each.grad * each).sum().item() == pytest.approx(total.item(), abs=1e-9)
        other = torch.linspace(2, -1, each.numel(), dtype=torch.float64).reshape(each.shape)
        replaced = correlate(*(other if one is each else one for one in (a, b)), radius)
        assert (each.grad * other).sum().item() == pytest.approx((weights * replaced).sum().item(), abs=1e-9)


@given(
    grid=st.lists(st.integers(1, 21), min_size=2, max_size=3).map(tuple).filter(lambda grid: max(grid) > 4),
    variant=st.sampled_from(VARIANTS),
    channels=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_any_size_has_cells_from_the_first_voxel_on(
    grid: tuple[int, ...], variant: dict[str, Any], channels: int
) -> None:
    network = PyramidNetwork(len(grid), image_channels=channels, **{**SMALL, **variant})
    fixed, moving = images(grid, b=2, c=channels)
    outputs = network.displacements(fixed, moving)
    assert len(outputs) == len(network.scales) == len(network.scale_weights)
    for side, output in zip(network.scales, outputs, strict=True):
        assert output.shape == (2, len(grid), *(-(-n // side) for n in grid))
        assert torch.isfinite(output).all()
    full = network(fixed, moving)
    assert full.shape == (2, len(grid), *grid)
    for axis, n in enumerate(grid):
        if n == 1:
            assert not full[:, axis].any()  # nothing moves along an axis of one voxel


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_displacement_is_about_nothing(d: int, variant: dict[str, Any]) -> None:
    network = PyramidNetwork(d, **{**SMALL, **variant})
    fixed, moving = images((24, 20, 22)[:d], seed=3)
    assert network(fixed, moving).abs().max() < 0.25
    assert network(fixed, moving).abs().max() > 0


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(d: int, variant: dict[str, Any]) -> None:
    network = PyramidNetwork(d, **{**SMALL, **variant})
    fixed, moving = images((16, 13, 14)[:d])
    sum(output.square().sum() for output in network.displacements(fixed, moving)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def symmetrized(network: PyramidNetwork, axis: int) -> PyramidNetwork:
    """Return the network with filters that a mirror along an axis leaves, as far as its geometry allows it.

    What a mirror does to the increment's components and to the channels of the correlation is left to the caller's
    choice of radius 0 and to the sign of the component along the axis.
    """
    d = network.ndim
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                module.weight.copy_((module.weight + module.weight.flip(2 + axis)) / 2)
        for block in network.decoder:
            first = next(iter(block.children()))
            shifts = (2 * network.radius + 1) ** d
            channels = first.weight.shape[1] - network.kept - shifts - d
            # The component along the axis changes its sign, so its filters have to be odd; 0 is.
            first.weight[:, channels + shifts + axis] = 0
        for increment in network.increment:
            increment.weight[axis] = 0
    return network


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("update", ["composed", "added", "integrated"])
def test_a_symmetrized_network_does_not_see_mirrors(d: int, update: str) -> None:
    grid = (16, 24, 16)[:d]
    fixed, moving = images(grid, seed=5)
    for axis in range(d):
        network = PyramidNetwork(d, width=0.5, levels=3, radius=0, update=update, seed=2)  # type: ignore[arg-type]
        for increment in network.increment:
            with torch.no_grad():
                increment.weight.mul_(3e3)  # displacements of voxels
        network = symmetrized(network, axis)
        straight = network(fixed, moving)
        mirrored = network(fixed.flip(2 + axis), moving.flip(2 + axis)).flip(2 + axis)
        assert straight.abs().max() > 1
        torch.testing.assert_close(mirrored, straight, rtol=1e-3, atol=1e-3)


def test_identical_images_have_no_displacement_on_average_over_mirrors() -> None:
    """Equal features correlate equally on either side, so nothing prefers a direction."""
    network = PyramidNetwork(2, **SMALL)
    fixed, _ = images((32, 32), seed=1)
    assert network(fixed, fixed).abs().max() < 0.1


@pytest.mark.parametrize("d", [2, 3])
def test_both_ways_are_one_way_and_the_other(d: int) -> None:
    network = PyramidNetwork(d, **SMALL)
    with torch.no_grad():
        for increment in network.increment:
            increment.weight.mul_(1e3)
    fixed, moving = images((17, 12, 13)[:d], b=2)
    there, back = network.both_ways(fixed, moving)
    torch.testing.assert_close(there, network.displacements(fixed, moving)[0])
    torch.testing.assert_close(back, network.displacements(moving, fixed)[0])
    assert (there - back).abs().max() > 0.01


def test_a_plane_as_a_volume_keeps_the_contract() -> None:
    flat = PyramidNetwork(3, **SMALL)
    fixed, moving = images((1, 20, 17))
    assert [tuple(u.shape[2:]) for u in flat.displacements(fixed, moving)] == [(1, 10, 9), (1, 5, 5)]
    plane = PyramidNetwork(2, **SMALL)
    shapes = [tuple(u.shape[2:]) for u in plane.displacements(fixed[:, :, 0], moving[:, :, 0])]
    assert shapes == [(10, 9), (5, 5)]


@pytest.mark.parametrize("d", [2, 3])
def test_seeds(d: int) -> None:
    state = torch.random.get_rng_state()
    networks = [PyramidNetwork(d, **SMALL, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    same = [all(map(torch.equal, networks[0].parameters(), other.parameters())) for other in networks[1:]]
    assert same == [True, False]
    networks[2].initialize(0)
    assert all(map(torch.equal, networks[0].parameters(), networks[2].parameters()))


def test_default_sizes() -> None:
    counts = {d: sum(p.numel() for p in PyramidNetwork(d).parameters()) for d in (2, 3)}
    assert counts == {2: 528896, 3: 423212}
    assert PyramidNetwork(2).scales == (4, 8, 16, 32)
    assert PyramidNetwork(2, finest=1).scales == (2, 4, 8, 16, 32)
    assert PyramidNetwork(3).scales == (2, 4, 8, 16)
    assert PyramidNetwork(2, finest=2, upsampling="learned").scales == (1, 4, 8, 16, 32)


@pytest.mark.parametrize("d", [2, 3])
def test_channels_can_be_adapted(d: int) -> None:
    network = PyramidNetwork(d, **SMALL)
    colour = adapt_channels(network, 3)
    fixed, moving = images((12, 14, 10)[:d])
    grey = network.displacements(fixed, moving)[0]
    repeated = (image.expand(-1, 3, *image.shape[2:]) for image in (fixed, moving))
    torch.testing.assert_close(colour.displacements(*repeated)[0], grey)
    assert adapt_channels(colour, 1).architecture == network.architecture
    with pytest.raises(ValueError, match="image_channels is 2 and the network takes 3"):
        adapt_channels(colour, 2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_files(variant: dict[str, Any], tmp_path: Any) -> None:
    network = PyramidNetwork(2, **{**SMALL, **variant}, seed=3)
    save_network(network, tmp_path)
    again = load_network(tmp_path)
    assert architecture_of(again) == architecture_of(network)
    assert all(map(torch.equal, again.parameters(), network.parameters()))


def test_half_precision_files_are_read_as_single(tmp_path: Any) -> None:
    network = PyramidNetwork(2, **SMALL)
    save_network(PyramidNetwork(2, **SMALL).half(), tmp_path)
    again = load_network(tmp_path)
    for expected, found in zip(network.parameters(), again.parameters(), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_networks_for_images_have_the_levels_that_these_carry() -> None:
    kind = known_network("PyramidNetwork")
    assert kind.for_images((128, 128)).architecture == PyramidNetwork(2).architecture
    assert kind.for_images((48, 64, 48)).architecture == PyramidNetwork(3).architecture
    assert kind.for_images((24, 20), width=0.5).architecture == PyramidNetwork(2, width=0.5, levels=4).architecture
    for n in range(2, 70):
        network = kind.for_images((n, 2), width=0.1)
        if n > 2:
            network.check_grid((n, 2))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ndim": 4}, ValueError, "ndim is 4; pass an integer between 2 and 3"),
        ({"image_channels": 0}, ValueError, "image_channels is 0"),
        ({"width": -1}, ValueError, "width is -1"),
        ({"levels": 9}, ValueError, "levels is 9"),
        ({"levels": 3, "finest": 4}, ValueError, "finest is 4; pass an integer between 1 and 3"),
        ({"radius": -1}, ValueError, "radius is -1"),
        ({"repeats": 0}, ValueError, "repeats is 0"),
        ({"normalization": "batch"}, ValueError, "normalization is 'batch'; pass 'instance' or None"),
        ({"update": "multiplied"}, ValueError, "update is 'multiplied'; pass one of"),
        ({"upsampling": "cubic"}, ValueError, "upsampling is 'cubic'; pass one of"),
        ({"seed": -1}, ValueError, "seed is -1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PyramidNetwork(**arguments)


def test_bad_images() -> None:
    network = PyramidNetwork(2)
    small = torch.rand(1, 1, 32, 20)
    with pytest.raises(ValueError, match=r"images have shape \(32, 20\), too small for 5 levels; pass images of 33"):
        estimate_flow(network, small, small)
    with pytest.raises(ValueError, match=r"a network with levels=4"):
        estimate_flow(network, small, small)
    volume = torch.rand(1, 1, 40, 40, 40)
    with pytest.raises(ValueError, match=r"pass both \(b, c, \*grid\) with 2 axes of one grid"):
        estimate_flow(network, volume, volume)
    colour = torch.rand(1, 3, 40, 40)
    with pytest.raises(ValueError, match="fixed has 3 channels but the network takes 1; pass grey images"):
        estimate_flow(network, colour, colour)
    with pytest.raises(ValueError, match=r"images have shape \(40, 40, 40\) and the network takes 2 axes"):
        network.check_grid((40, 40, 40))
