"""Plausibility, consistency and error of displacement fields."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import invert
from modelaug.evaluation import folded_percentage, inverse_consistency, log_jacobian_sd, mean_end_point_error
from tests.examples import one_line, philox

Field = npt.NDArray[np.float32]


def linear(matrix: npt.ArrayLike, grid: tuple[int, ...]) -> Field:
    """Return the displacement of the map x -> matrix x."""
    a = np.asarray(matrix, np.float64)
    return np.tensordot(a - np.eye(len(a)), np.indices(grid), axes=1).astype(np.float32)


def smooth(grid: tuple[int, ...], size: float, seed: int = 0) -> Field:
    rng, d = philox(seed), len(grid)
    x = np.indices(grid) / np.reshape(grid, (d, *[1] * d))
    waves = [np.sin(2 * np.pi * (np.tensordot(rng.integers(-1, 2, d), x, axes=1) + rng.random())) for _ in range(d)]
    return (size * np.array(waves)).astype(np.float32)


def test_a_reflected_half_folds() -> None:
    u = np.zeros((2, 6, 9), np.float32)
    u[0, :, 3:] = -2 * np.arange(6)[:, None]  # rows mirrored in 6 of 9 columns
    assert folded_percentage(u) == pytest.approx(100 * 6 / 9)
    assert log_jacobian_sd(u) == pytest.approx(0)
    flat = linear(np.diag([0.0, 1.0]), (5, 4))
    assert folded_percentage(flat) == 100
    assert np.isnan(log_jacobian_sd(flat))


@pytest.mark.parametrize("grid", [(7, 5), (4, 6, 5)])
def test_linear_maps_neither_fold_nor_vary(grid: tuple[int, ...]) -> None:
    d = len(grid)
    u = linear(np.eye(d) * 1.25 + 0.1 * np.eye(d, k=1), grid)
    assert folded_percentage(u) == 0
    assert log_jacobian_sd(u) == pytest.approx(0, abs=1e-5)
    assert folded_percentage(linear(np.diag([-1.0, *[1.0] * (d - 1)]), grid)) == 100


def test_deviation_of_the_log_determinant() -> None:
    # Two strips, stretched by 1.5 and by 2.5, and between them two columns of central differences.
    ends = np.concatenate([[0], np.cumsum([1.5] * 5 + [2.5] * 4)])
    u = np.zeros((2, 3, 10), np.float32)
    u[1] = ends - np.arange(10)
    expected = np.log([1.5] * 5 + [2.0] + [2.5] * 4)
    assert log_jacobian_sd(u) == pytest.approx(expected.std(), rel=1e-5)


@pytest.mark.parametrize(("grid", "spacing"), [((24, 17), None), ((24, 17), [3.0, 0.5]), ((9, 1, 11), [1.0, 2.0, 3.0])])
def test_inverse_consistency_is_what_a_loop_says(grid: tuple[int, ...], spacing: list[float] | None) -> None:
    d, scale = len(grid), np.array(spacing or [1.0] * len(grid))
    u, v = smooth(grid, 1.5, 1), smooth(grid, 1.0, 2)
    u *= np.reshape(grid, (d, *[1] * d)) > 1  # along an axis of one voxel any step leads out
    mask = philox(3).random(grid) < 0.7
    lengths = []
    for x in np.argwhere(mask):
        y = x + u[(slice(None), *x)].astype(np.float64)
        if (y >= 0).all() and (y <= np.array(grid) - 1).all():
            low = np.minimum(np.floor(y), np.maximum(np.array(grid) - 2, 0)).astype(int)
            total = y - x
            for corner in np.ndindex(*[2] * d):
                weight = np.prod(np.where(corner, y - low, 1 - (y - low)))
                if weight:
                    total = total + weight * v[(slice(None), *(low + corner))]
            lengths.append(np.linalg.norm(total * scale))
    assert 0 < len(lengths) < mask.sum()
    assert inverse_consistency(u, v, spacing, mask) == pytest.approx(np.mean(lengths), rel=1e-4)


def test_a_field_and_its_inverse_are_consistent() -> None:
    u = smooth((40, 28), 1.5)
    assert inverse_consistency(u, invert(u)) < 0.03  # v is linear between voxels, the inverse is not
    assert inverse_consistency(u, np.zeros_like(u)) > 0.5
    # A shift leaves the grid, where the way back is not known; a larger grid knows it.
    shift = np.full((2, 8, 8), 2, np.float32)
    back = np.full((2, 12, 12), -2, np.float32)
    assert inverse_consistency(shift, back) == 0
    back[:, 8:] = 5
    back[:, :, 8:] = 5
    assert inverse_consistency(shift, back[:, :8, :8]) == 0
    assert inverse_consistency(shift, back) > 1


def test_end_point_error() -> None:
    truth = np.zeros((2, 4, 5), np.float32)
    found = truth.copy()
    found[0], found[1, :, :2] = 3, 4
    assert mean_end_point_error(found, truth) == pytest.approx((2 * 5 + 3 * 3) / 5)
    assert mean_end_point_error(found, truth, [2.0, 1.0]) == pytest.approx((2 * np.hypot(6, 4) + 3 * 6) / 5)
    mask = np.zeros((4, 5), bool)
    mask[:, 3:] = True
    assert mean_end_point_error(found, truth, mask=mask) == 3
    assert mean_end_point_error(np.ones((3, 2, 3, 4)), np.zeros((3, 2, 3, 4))) == pytest.approx(np.sqrt(3))


def test_bad_arguments_are_refused() -> None:
    u = np.zeros((2, 4, 5))
    for call in (
        lambda: folded_percentage(u[:1]),
        lambda: log_jacobian_sd(np.full((2, 4, 5), np.nan)),
        lambda: inverse_consistency(u, np.zeros((3, 4, 5, 6))),
        lambda: inverse_consistency(u + 50, u),
        lambda: inverse_consistency(u, u, [1.0, 2.0, 3.0]),
        lambda: inverse_consistency(u, u, mask=np.ones((5, 4), bool)),
        lambda: inverse_consistency(u, u, mask=np.ones((4, 5))),
        lambda: mean_end_point_error(u, np.zeros((2, 5, 4))),
        lambda: mean_end_point_error(u, u, mask=np.zeros((4, 5), bool)),
    ):
        with pytest.raises(ValueError, match=r"pass|remove") as caught:
            call()
        one_line(caught.value)
