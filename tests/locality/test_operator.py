"""LocalizedOperator: agreement with the dense product, its trace, memory and bad input."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import eigsh

from modelaug.locality import LocalizedOperator
from tests.examples import Array, one_line, philox
from tests.reference import texture as reference

TAPERS = ("hard", "wendland", "gaussian")
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-10}


def images(n: int, *shape: int, seed: int = 0) -> Array:
    """Return noise of uneven strength around an uneven mean."""
    rng = philox(seed)
    return 100 * rng.normal(size=shape) + rng.uniform(0.1, 20, size=shape) * rng.normal(size=(n, *shape))


def dense(samples: Array, grid: tuple[int, ...], spacing: tuple[float, ...], threshold: float, taper: str) -> Array:
    flat = samples.reshape(len(samples), -1)
    distances = reference.pixel_distances(grid, spacing, flat.shape[1] // int(np.prod(grid)))
    return reference.localized_covariance(flat, distances, threshold, taper)


def assert_agree(operator: LocalizedOperator, matrix: Array, tolerance: float) -> None:
    vectors = philox(9).normal(size=(len(matrix), 3))
    exact = matrix @ vectors
    scale = np.abs(exact).max()
    assert operator.shape == matrix.shape
    np.testing.assert_allclose(operator.matmat(vectors), exact, atol=tolerance * scale)
    np.testing.assert_allclose(operator @ vectors[:, 0], exact[:, 0], atol=tolerance * scale)
    np.testing.assert_allclose(operator.trace, np.trace(matrix), rtol=1e-6)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    d = draw(st.sampled_from((2, 3)))
    grid = tuple(draw(st.integers(1, 9 if d == 2 else 5)) for _ in range(d))
    spacing = tuple(draw(st.sampled_from((0.5, 1.0, 2.3))) for _ in range(d))
    return {
        "samples": images(draw(st.integers(2, 5)), draw(st.integers(1, 3)), *grid, seed=draw(st.integers(0, 99))),
        "grid": grid,
        "spacing": spacing,
        "threshold": draw(st.floats(0.3, 30)),
        "taper": draw(st.sampled_from(TAPERS)),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(case=cases(), threads=st.integers(1, 3))
def test_agrees_with_the_dense_product(dtype: Any, case: dict[str, Any], threads: int) -> None:
    operator = LocalizedOperator(**case, dtype=dtype, threads=threads)
    assert operator.dtype == dtype
    assert_agree(operator, dense(**case), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(case=cases(), seed=st.integers(0, 99))
def test_a_mask_keeps_rows_and_columns(dtype: Any, case: dict[str, Any], seed: int) -> None:
    mask = philox(seed).random(case["grid"]) < 0.4
    mask.flat[seed % mask.size] = True
    channels = case["samples"].shape[1]
    kept = np.flatnonzero(np.tile(mask.reshape(-1), channels))
    operator = LocalizedOperator(**case, mask=mask.astype(np.uint8), dtype=dtype)
    assert_agree(operator, dense(**case)[np.ix_(kept, kept)], TOLERANCE[dtype])


@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize("threshold", [3.0, 12.0, 40.0])
def test_nothing_wraps_around(taper: Any, threshold: float) -> None:
    # One sample pair that differs at both ends of a row only: their product is the weight at their distance.
    samples = np.zeros((2, 1, 1, 31))
    samples[1, 0, 0, [0, 30]] = 1
    operator = LocalizedOperator(samples, (1, 31), threshold, taper, dtype=np.float64)
    unit = np.zeros(31)
    unit[0] = 1
    weight = {"hard": threshold >= 30, "wendland": max(1 - 30 / threshold, 0) ** 4 * (120 / threshold + 1)}
    weight["gaussian"] = np.exp(-0.5 * (30 / threshold) ** 2)
    product = operator @ unit
    np.testing.assert_allclose(product[[0, 30]], [0.5, 0.5 * weight[taper]], atol=1e-12)
    np.testing.assert_allclose(product[1:30], 0, atol=1e-12)


def test_images_may_come_in_three_shapes() -> None:
    samples = images(4, 2, 6, 5)
    vector = philox(1).normal(size=60)
    flat, full = (LocalizedOperator(x, (6, 5), 2.0) for x in (samples.reshape(4, 60), samples))
    assert np.array_equal(flat @ vector, full @ vector)
    one, single = (LocalizedOperator(x, (6, 5), 2.0) for x in (samples[:, 0], samples[:, :1]))
    assert np.array_equal(one @ vector[:30], single @ vector[:30])


@pytest.mark.parametrize("taper", TAPERS)
def test_products_are_the_same_for_any_threads_and_blocks(taper: Any) -> None:
    samples = images(5, 2, 33, 26)
    vectors = philox(2).normal(size=(5, 2 * 33 * 26)).astype(np.float32)
    products = [LocalizedOperator(samples, (33, 26), 7.0, taper, threads=k).apply(vectors) for k in (1, 2, 3)]
    alone = LocalizedOperator(samples, (33, 26), 7.0, taper, threads=2)
    products.append(np.concatenate([alone.apply(v[None]) for v in vectors]))
    assert all(np.array_equal(p, products[0]) for p in products)


def test_it_is_its_own_adjoint_and_scipys_solvers_take_it() -> None:
    samples = images(5, 1, 9, 8)
    operator = LocalizedOperator(samples, (9, 8), 2.5, "wendland", dtype=np.float64)
    vector = philox(3).normal(size=72)
    assert np.array_equal(operator.H @ vector, operator @ vector)
    assert np.array_equal(operator.rmatvec(vector), operator @ vector)
    exact = np.linalg.eigvalsh(dense(samples, (9, 8), (1, 1), 2.5, "wendland"))
    np.testing.assert_allclose(eigsh(operator, 4, which="LA", v0=vector)[0], exact[-4:], rtol=1e-9)


@pytest.mark.parametrize(("taper", "definite"), [("hard", False), ("wendland", True), ("gaussian", True)])
def test_only_the_hard_cut_is_indefinite(taper: Any, definite: bool) -> None:
    operator = LocalizedOperator(images(6, 1, 12, 12), (12, 12), 4.0, taper, dtype=np.float64)
    eigenvalues = np.linalg.eigvalsh(operator @ np.eye(144))
    assert (eigenvalues[0] >= -1e-10 * eigenvalues[-1]) == definite
    np.testing.assert_allclose(eigenvalues.sum(), operator.trace, rtol=1e-9)


def test_pixels_without_variance_stay_zero() -> None:
    samples = images(4, 1, 8, 8)
    samples[:, :, :3] = 7
    product = LocalizedOperator(samples, (8, 8), 3.0) @ np.ones(64)
    assert (product[:24] == 0).all()
    assert (product[24:] != 0).all()


def _peak(samples: npt.NDArray[np.float32], taper: Any) -> int:
    grid = samples.shape[1:]
    vector = np.ones((1, int(np.prod(grid))), dtype=np.float32)
    tracemalloc.start()
    try:
        LocalizedOperator(samples, grid, 10.0, taper, threads=1).apply(vector)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("taper", TAPERS)
def test_memory_is_that_of_the_images(taper: Any) -> None:
    small, large = (philox(4).random((16, s, s)).astype(np.float32) for s in (96, 192))
    _peak(small, taper)  # the first call imports and caches
    first, second = _peak(small, taper), _peak(large, taper)
    pixels = 192 * 192
    assert second < 2.5 * large.nbytes
    assert second < 4.5 * first
    assert second < pixels * pixels * 4 / 100


GOOD: dict[str, Any] = {"samples": images(3, 1, 5, 4), "grid": (5, 4), "threshold": 2.0}


@pytest.mark.parametrize(
    ("kind", "changed", "words"),
    [
        (ValueError, {"samples": np.ones((1, 20))}, "samples holds 1 image"),
        (ValueError, {"samples": np.ones((3, 21))}, "samples has shape"),
        (ValueError, {"samples": np.ones((3, 4, 5))}, "samples has shape"),
        (ValueError, {"samples": np.ones(20)}, "samples has shape"),
        (ValueError, {"samples": np.full((3, 20), 0.1)}, "samples are all equal"),
        (ValueError, {"samples": np.full((3, 20), np.nan)}, "samples"),
        (TypeError, {"samples": np.ones((3, 20), complex)}, "samples"),
        (ValueError, {"grid": (20,)}, "grid"),
        (ValueError, {"grid": (5, 0)}, "grid"),
        (ValueError, {"threshold": 0.0}, "threshold"),
        (ValueError, {"threshold": np.nan}, "threshold"),
        (TypeError, {"threshold": "far"}, "threshold"),
        (ValueError, {"taper": "round"}, "taper"),
        (ValueError, {"mask": np.ones((4, 5))}, "mask has shape"),
        (ValueError, {"mask": np.zeros((5, 4))}, "mask keeps no pixel"),
        (ValueError, {"mask": np.full((5, 4), np.nan)}, "mask"),
        (ValueError, {"spacing": (1.0, 0.0)}, "spacing"),
        (ValueError, {"spacing": (1.0, 1.0, 1.0)}, "spacing"),
        (TypeError, {"dtype": np.float16}, "dtype"),
        (TypeError, {"dtype": int}, "dtype"),
        (ValueError, {"threads": 0}, "threads"),
    ],
)
def test_bad_input_is_refused_in_one_line(kind: type[Exception], changed: dict[str, Any], words: str) -> None:
    LocalizedOperator(**GOOD)
    with pytest.raises(kind) as caught:
        LocalizedOperator(**GOOD | changed)
    assert one_line(caught.value).startswith(words)


def test_samples_that_differ_outside_the_mask_only_are_refused() -> None:
    samples = np.zeros((3, 5, 4))
    samples[:, 0, 0] = [1, 2, 3]
    mask = np.ones((5, 4))
    mask[0, 0] = 0
    with pytest.raises(ValueError, match="samples are all equal where the mask keeps them"):
        LocalizedOperator(samples, (5, 4), 2.0, mask=mask)
