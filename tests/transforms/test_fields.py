"""compose, invert and jacobian_determinant: known answers, and every bad input refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import modelaug

GRIDS = [(9, 12), (6, 7, 5)]


def _constant(grid: tuple[int, ...], *vector: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.broadcast_to(np.reshape(vector, (-1, *(1 for _ in grid))), (len(grid), *grid)).astype(np.float32)


@pytest.mark.parametrize("grid", GRIDS)
def test_translations_add_and_invert(grid: tuple[int, ...]) -> None:
    step = [1.5, -2.25, 0.75][: len(grid)]
    u = _constant(grid, *step)
    assert np.array_equal(modelaug.compose(u, u), 2 * u)
    inverse, residual = modelaug.invert(u, return_residual=True)
    assert np.array_equal(inverse, -u)
    assert not residual.any()
    assert np.array_equal(modelaug.jacobian_determinant(u), np.ones(grid, np.float32))


def test_composition_reads_u_where_v_points() -> None:
    # v moves one column to the right, so w carries the displacement u has there.
    u = np.zeros((2, 3, 5), np.float32)
    u[0, 1, 3] = 4
    v = _constant((3, 5), 0.0, 1.0)
    expected = v.copy()
    expected[0, 1, 2] = 4
    assert np.array_equal(modelaug.compose(u, v), expected)


def test_scaling_is_inverted_in_the_middle() -> None:
    grid = (41, 41)
    centred = np.indices(grid) - 20.0
    inverse = modelaug.invert((0.25 * centred).astype(np.float32), tolerance=1e-5)
    np.testing.assert_allclose(inverse, -0.2 * centred, atol=1e-4)
    np.testing.assert_allclose(modelaug.jacobian_determinant(inverse), 0.64, atol=1e-3)


def test_residual_shows_folds_and_few_iterations() -> None:
    grid = (31, 31)
    folding = np.zeros((2, *grid), np.float32)
    folding[0] = 3 * np.sin(np.arange(31.0))[:, None]
    assert modelaug.jacobian_determinant(folding).min() < 0
    _, stuck = modelaug.invert(folding, return_residual=True)
    assert stuck.max() > 1e-3
    bent = np.zeros_like(folding)
    bent[0] = 3 * np.sin(np.arange(31.0) / 4)[:, None]
    _, early = modelaug.invert(bent, max_iterations=1, return_residual=True)
    _, late = modelaug.invert(bent, return_residual=True)
    assert late.max() <= 1e-3 < early.max()


def test_jacobian_at_the_border_is_one_sided() -> None:
    u = np.zeros((2, 4, 2), np.float32)
    u[0] = np.array([0.0, 1.0, 4.0, 9.0])[:, None]
    assert modelaug.jacobian_determinant(u).tolist() == [[2.0, 2.0], [3.0, 3.0], [5.0, 5.0], [6.0, 6.0]]


def test_jacobian_of_a_slice_is_that_of_its_plane() -> None:
    rng = np.random.Generator(np.random.Philox(1))
    plane = rng.normal(size=(2, 6, 7)).astype(np.float32)
    volume = np.concatenate([np.ones((1, 6, 7), np.float32), plane])[:, None]
    np.testing.assert_allclose(
        modelaug.jacobian_determinant(volume)[0], modelaug.jacobian_determinant(plane), atol=1e-6
    )


def test_inputs_are_left_alone_and_may_be_strided() -> None:
    rng = np.random.Generator(np.random.Philox(2))
    u, v = rng.normal(size=(2, 2, 6, 7)).astype(np.float32)
    kept = u.copy(), v.copy()
    composed, inverse, jacobian = modelaug.compose(u, v), modelaug.invert(u), modelaug.jacobian_determinant(u)
    assert np.array_equal(u, kept[0])
    assert np.array_equal(v, kept[1])
    a, b = np.asfortranarray(u), np.asfortranarray(v)
    assert np.array_equal(modelaug.compose(a, b), composed)
    assert np.array_equal(modelaug.invert(a), inverse)
    assert np.array_equal(modelaug.jacobian_determinant(a), jacobian)


GOOD = _constant((4, 5), 1.0, 2.0)
BAD_FIELDS = [
    np.where(GOOD == 2.0, np.nan, GOOD),
    np.where(GOOD == 2.0, np.inf, GOOD),
    GOOD[:1],
    GOOD[0],
    GOOD[:, :0],
    np.zeros((4, 3, 3, 3, 3), np.float32),
    np.zeros((3, 4, 5), np.float32),
    GOOD.astype(complex),
    GOOD.astype(str),
]


@pytest.mark.parametrize("bad", BAD_FIELDS)
@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("u", lambda bad: modelaug.compose(bad, GOOD)),
        ("v", lambda bad: modelaug.compose(GOOD, bad)),
        ("u", modelaug.invert),
        ("u", modelaug.jacobian_determinant),
    ],
)
def test_bad_fields_are_refused_by_name(argument: str, call: Callable[[Any], Any], bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b") as caught:
        call(bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("tolerance", -1.0),
        ("tolerance", float("nan")),
        ("tolerance", "small"),
        ("max_iterations", 0),
        ("max_iterations", 1.5),
        ("threads", 0),
    ],
)
def test_bad_options_of_invert_are_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b") as caught:
        modelaug.invert(GOOD, **{argument: value})
    assert "\n" not in str(caught.value)
