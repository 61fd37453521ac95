"""In which order displacements follow one another: rotations with scale and shears, against products of matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from modelaug.learning import PyramidNetwork, register
from modelaug.learning.network import RegistrationNetwork

Array = npt.NDArray[np.float64]

GRIDS = {2: (26, 33), 3: (14, 17, 15)}


def turned(d: int, degrees: float, scale: float) -> Array:
    """Return a rotation in the plane of the last two axes, with scale."""
    c, s = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    matrix = np.eye(d)
    matrix[-2:, -2:] = [[c, -s], [s, c]]
    return matrix


def sheared(d: int, by: float) -> Array:
    matrix = np.eye(d)
    matrix[0, -1] = by
    return matrix


def field(matrix: Array, shift: Sequence[float] | float, grid: tuple[int, ...]) -> Array:
    """Return the displacement of x -> c + matrix (x - c) + shift, with c the centre."""
    x = np.moveaxis(np.indices(grid), 0, -1) - (np.array(grid) - 1) / 2
    return np.moveaxis(x @ matrix.T + shift - x, -1, 0)


def inner(u: Array, margin: int) -> Array:
    """Return a field without its border, which goes on beyond the grid."""
    return u[(slice(None), *(slice(margin, n - margin) for n in u.shape[1:]))]


class Known(RegistrationNetwork):
    """Finds given fields (d, *grid), one after the other; both ways, a pair of them."""

    scales = (1,)
    scale_weights = (1.0,)

    def __init__(self, fields: Sequence[Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.image_channels, self.left = 1, iter(fields)
        first = fields[0][0] if isinstance(fields[0], tuple) else fields[0]
        self.ndim = len(first)

    @classmethod
    def for_images(cls, grid: Sequence[int], **options: Any) -> Any:
        raise NotImplementedError

    @property
    def architecture(self) -> dict[str, Any]:
        return {}

    def initialize(self, seed: int) -> None:
        raise NotImplementedError

    def adapted(self, image_channels: int) -> Any:
        raise NotImplementedError

    def displacements(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        return (torch.from_numpy(next(self.left).astype(np.float32))[None],)

    def both_ways(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        there, back = next(self.left)
        return tuple(torch.from_numpy(each.astype(np.float32))[None] for each in (there, back))  # type: ignore[return-value]


def images(d: int) -> Array:
    return np.random.Generator(np.random.Philox(d)).random((2, *GRIDS[d]))


@pytest.mark.parametrize("d", [2, 3])
def test_passes_follow_one_another_as_their_maps_do(d: int) -> None:
    """The second pass sees ``moving(g1(x))``, so that together they are ``moving(g1(g2(x)))``."""
    grid = GRIDS[d]
    first, second, third = turned(d, 8, 1.1), sheared(d, 0.12), turned(d, -3, 0.93)
    shifts = ([0.4] * d, [-0.3] * d, [0.2] * d)
    steps = [field(m, t, grid) for m, t in zip((first, second, third), shifts, strict=True)]
    matrix = first @ second @ third
    shift = first @ (second @ shifts[2] + shifts[1]) + shifts[0]
    expected = field(matrix, shift, grid)
    found = register(Known(steps), *images(d), passes=3)
    np.testing.assert_allclose(inner(found, 4), inner(expected, 4), atol=1e-3)
    # The other order is another map.
    swapped = field(third @ second @ first, shift, grid)
    assert np.abs(inner(swapped - expected, 4)).max() > 0.1


@pytest.mark.parametrize("d", [2, 3])
def test_symmetric_is_the_mean_with_the_inverse_not_with_the_negative(d: int) -> None:
    grid, there, back = GRIDS[d], turned(d, 9, 1.12), sheared(d, -0.15) @ turned(d, -6, 0.85)
    shift = np.full(d, 0.6)
    inverse = np.linalg.inv(back)
    expected = (field(there, -0.2, grid) + field(inverse, -inverse @ shift, grid)) / 2
    network = Known([(field(there, -0.2, grid), field(back, shift, grid))])
    found = register(network, *images(d), symmetric=True)
    np.testing.assert_allclose(inner(found, 5), inner(expected, 5), atol=3e-3)
    negative = (field(there, -0.2, grid) - field(back, shift, grid)) / 2
    assert np.abs(inner(negative - expected, 5)).max() > 0.1


@pytest.mark.parametrize("d", [2, 3])
def test_what_is_found_follows_what_was_given(d: int) -> None:
    """The network sees ``moving(g0(x))``; what is given goes on beyond its grid, so that this holds everywhere."""
    grid, given, found = GRIDS[d], turned(d, 7, 1.1), sheared(d, 0.2) @ turned(d, 0, 0.9)
    network = Known([field(found, 0.3, grid)])
    total = register(network, *images(d), initial=field(given, -0.5, grid))
    expected = field(given @ found, given @ np.full(d, 0.3) - 0.5, grid)
    np.testing.assert_allclose(total, expected, atol=1e-3)


class Increments(nn.Module):
    """Puts out given increments, whatever it is given."""

    def __init__(self, increments: Iterator[Array]) -> None:
        super().__init__()
        self.left = increments

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(next(self.left).astype(np.float32))[None]


@pytest.mark.parametrize("d", [2, 3])
def test_increments_of_the_pyramid_warp_what_is_warped_already(d: int) -> None:
    """Two levels: the coarser one's map g1, in cells of the finer one, and the increment g2 make ``g1(g2(x))``."""
    cells = (16, 20) if d == 2 else (8, 12, 10)
    coarse = tuple(n // 2 for n in cells)
    network = PyramidNetwork(d, width=0.25, levels=2, finest=1)
    first, second = turned(d, 10, 1.15), sheared(d, 0.2)
    # In cells of their own level; linear interpolation takes the coarser one to the finer one's cells.
    steps = [field(second, 0.1, cells), field(first, 0.2, coarse)]
    network.increment = nn.ModuleList(Increments(iter([each])) for each in steps)
    pair = [
        torch.from_numpy(each.astype(np.float32))[None, None]
        for each in np.random.default_rng(0).random((2, *(2 * n for n in cells)))
    ]
    with torch.no_grad():
        found = network.displacements(*pair)[0][0].numpy() / 2
    expected = field(first @ second, first @ np.full(d, 0.1) + 0.4, cells)
    np.testing.assert_allclose(inner(found, 3), inner(expected, 3), atol=1e-3)
