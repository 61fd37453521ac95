"""The nearest correlation matrix against published figures, a second algorithm, and a slow copy of the first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from modelaug.locality import nearest_correlation
from tests.examples import Array, one_line, philox
from tests.reference import locality as reference


def _cut(seed: int, p: int = 24, n: int = 6) -> Array:
    """Return the correlation matrix of few smooth samples with its far corners cut off."""
    phase = philox(seed).uniform(0, 2 * np.pi, size=(n, 3))
    samples = sum(np.sin((k + 1) * np.arange(p) / 4 + phase[:, [k]]) for k in range(3))
    matrix = np.corrcoef(samples.T)
    matrix[np.abs(np.subtract.outer(np.arange(p), np.arange(p))) > p // 3] = 0
    return matrix


def test_highams_example() -> None:
    # Higham 2002, section 4.
    result = nearest_correlation([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]], tolerance=1e-8)
    a, b = 0.7607, 0.1573
    np.testing.assert_allclose(result.matrix, [[1, a, b], [a, 1, a], [b, a, 1]], atol=5e-5)
    assert result.converged


def _by_duality(matrix: Array) -> Array:
    """Return the nearest correlation matrix by minimizing the dual over the diagonal that is added (Malick 2004)."""

    def projected(y: Array) -> Array:
        eigenvalues, q = np.linalg.eigh(matrix + np.diag(y))
        return (q * np.clip(eigenvalues, 0, None)) @ q.T

    def dual(y: Array) -> tuple[float, Array]:
        x = projected(y)
        return 0.5 * (x**2).sum() - y.sum(), np.diag(x) - 1

    found = minimize(
        dual, np.zeros(len(matrix)), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 2000}
    )
    return projected(found.x)


@pytest.mark.parametrize("seed", range(3))
def test_the_dual_problem_has_the_same_solution(seed: int) -> None:
    matrix = _cut(seed)
    expected = _by_duality(matrix)
    np.testing.assert_allclose(np.diag(expected), 1, atol=1e-6)
    np.testing.assert_allclose(nearest_correlation(matrix, tolerance=1e-9).matrix, expected, atol=1e-5)
    error = np.linalg.norm(nearest_correlation(matrix).matrix - expected) / np.linalg.norm(expected)
    assert error < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_the_written_out_algorithm_gives_the_same(seed: int) -> None:
    matrix = _cut(seed)
    np.testing.assert_allclose(nearest_correlation(matrix).matrix, reference.nearest_correlation(matrix), atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_result_is_a_correlation_matrix_and_nearer_than_clipping(seed: int) -> None:
    matrix = _cut(seed)
    assert np.linalg.eigvalsh(matrix)[0] < -0.1
    result = nearest_correlation(matrix)
    assert result.converged
    assert 1 < result.iterations < 1000
    assert (np.diag(result.matrix) == 1).all()
    assert np.array_equal(result.matrix, result.matrix.T)
    assert np.linalg.eigvalsh(result.matrix)[0] > -1e-3
    eigenvalues, q = np.linalg.eigh(matrix)
    clipped = (q * np.clip(eigenvalues, 0, None)) @ q.T
    clipped /= np.sqrt(np.outer(np.diag(clipped), np.diag(clipped)))
    assert np.linalg.norm(result.matrix - matrix) < np.linalg.norm(clipped - matrix)


def test_a_correlation_matrix_is_left_as_it_is() -> None:
    matrix = np.corrcoef(philox(4).normal(size=(6, 40)))
    result = nearest_correlation(matrix)
    np.testing.assert_allclose(result.matrix, matrix, atol=1e-12)
    assert result.iterations == 1
    assert result.converged


def test_far_away_matrices_come_back() -> None:
    np.testing.assert_allclose(nearest_correlation(-np.eye(3)).matrix, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(nearest_correlation(np.zeros((2, 2))).matrix, np.eye(2), atol=1e-5)
    np.testing.assert_allclose(nearest_correlation([[1.0, 5.0], [5.0, 1.0]]).matrix, np.ones((2, 2)), atol=1e-3)
    assert nearest_correlation([[1.0]]).matrix.tolist() == [[1.0]]


def test_running_out_of_iterations_is_reported() -> None:
    result = nearest_correlation(_cut(0), max_iterations=3)
    assert result.iterations == 3
    assert not result.converged
    assert (np.diag(result.matrix) == 1).all()


def test_the_input_is_left_alone() -> None:
    matrix = _cut(0)
    kept = matrix.copy()
    nearest_correlation(matrix)
    assert np.array_equal(matrix, kept)


@pytest.mark.parametrize(
    ("kind", "matrix", "options"),
    [
        (ValueError, np.ones((2, 3)), {}),
        (ValueError, np.ones(3), {}),
        (ValueError, [[1.0, 0.5], [0.4, 1.0]], {}),
        (ValueError, [[1.0, np.nan], [np.nan, 1.0]], {}),
        (TypeError, [["1"]], {}),
        (ValueError, np.eye(2), {"tolerance": 0.0}),
        (ValueError, np.eye(2), {"max_iterations": 0}),
        (TypeError, np.eye(2), {"max_iterations": 1.5}),
    ],
)
def test_bad_input_is_refused_in_one_line(kind: type[Exception], matrix: Any, options: dict[str, Any]) -> None:
    with pytest.raises(kind) as caught:
        nearest_correlation(matrix, **options)
    assert one_line(caught.value).startswith(next(iter(options), "matrix"))
