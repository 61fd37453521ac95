"""GaussianModel: agreement with the singular value decomposition, draws with the promised moments, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import GaussianModel
from tests.examples import Array, one_line, philox

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-10}


def _samples(n: int, p: int, dtype: Any = np.float64) -> npt.NDArray[Any]:
    rng = philox(n * p)
    return (rng.normal(size=(n, p)) * np.linspace(3, 0.3, p) + rng.normal(size=p) * 5).astype(dtype)


def _with_variances(variances: list[float], *, p: int = 30) -> Array:
    """Return n = len + 1 samples whose covariance has exactly these eigenvalues, orthonormal eigenvectors."""
    rng, k = philox(1), len(variances)
    # Scores with zero mean and unit covariance: an orthonormal basis of what is orthogonal to (1, ..., 1).
    scores = np.linalg.qr(np.column_stack([np.ones(k + 1), rng.normal(size=(k + 1, k))]))[0][:, 1:] * np.sqrt(k)
    basis = np.linalg.qr(rng.normal(size=(p, k)))[0]
    return scores * np.sqrt(variances) @ basis.T


def _covariance(model: GaussianModel) -> Array:
    return (model.basis.astype(float) * model.variances) @ model.basis.T.astype(float)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "p"), [(2, 5), (6, 40), (6, 200_000), (40, 6), (7, 7), (3, 1)])
def test_agrees_with_the_singular_value_decomposition(n: int, p: int, dtype: Any) -> None:
    x = _samples(n, p, dtype)
    model = GaussianModel.from_samples(x)
    exact = x.astype(np.float64)
    mean = exact.mean(axis=0)
    _, s, vt = np.linalg.svd((exact - mean) / np.sqrt(n - 1), full_matrices=False)
    k = min(n - 1, p)
    assert model.mean.dtype == model.basis.dtype == dtype
    assert model.variances.dtype == np.float64
    assert model.basis.shape == (p, k)
    np.testing.assert_allclose(model.mean, mean, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-12)
    np.testing.assert_allclose(model.variances, s[:k] ** 2, rtol=1e-9)
    gram = model.basis.astype(np.float64).T @ model.basis
    np.testing.assert_allclose(gram, np.eye(k), atol=TOLERANCE[dtype])
    # The same modes up to their sign.
    agreement = np.abs((vt[:k] * model.basis.T).sum(axis=1))
    np.testing.assert_allclose(agreement, 1, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_variance_of_every_coordinate_is_kept(dtype: Any) -> None:
    x = _samples(8, 50, dtype)
    model = GaussianModel.from_samples(x)
    np.testing.assert_allclose(
        _covariance(model), np.cov(x.astype(float).T), atol=1e-4 if dtype == np.float32 else 1e-10
    )


def test_signs_are_fixed() -> None:
    x = _samples(6, 40)
    model = GaussianModel.from_samples(x)
    largest = np.abs(model.basis).argmax(axis=0)
    assert (model.basis[largest, np.arange(model.basis.shape[1])] > 0).all()
    shuffled = GaussianModel.from_samples(x[::-1])
    np.testing.assert_allclose(shuffled.basis, model.basis, atol=1e-10)


def test_two_samples_give_their_difference() -> None:
    x = np.array([[1.0, 2, 3, 4], [4.0, 2, -1, 4]])
    model = GaussianModel.from_samples(x)
    assert model.mean.tolist() == [2.5, 2, 1, 4]
    assert model.basis.shape == (4, 1)
    np.testing.assert_allclose(np.abs(model.basis[:, 0]), np.array([3, 0, 4, 0]) / 5, atol=1e-12)
    np.testing.assert_allclose(model.variances, [25 / 2], rtol=1e-12)
    np.testing.assert_allclose(model.reconstruct(model.coefficients(x)), x, atol=1e-12)


@pytest.mark.parametrize(
    ("coverage", "modes"), [(0.01, 1), (0.6, 1), (0.6001, 2), (0.9, 2), (0.91, 3), (0.97, 3), (0.99, 4), (1.0, 4)]
)
def test_the_fewest_modes_that_reach_the_coverage_are_kept(coverage: float, modes: int) -> None:
    model = GaussianModel.from_samples(_with_variances([6.0, 3.0, 0.75, 0.25]), coverage=coverage)
    np.testing.assert_allclose(model.variances, [6.0, 3.0, 0.75, 0.25][:modes], rtol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_modes_are_orthonormal_whatever_their_variances(offset: float) -> None:
    x = _with_variances([10.0 ** (-2 * i) for i in range(9)]) + offset
    model = GaussianModel.from_samples(x)
    assert model.basis.shape[1] >= 4
    np.testing.assert_allclose(model.basis.T @ model.basis, np.eye(model.basis.shape[1]), atol=1e-8)


def test_a_mode_without_variance_is_dropped() -> None:
    x = _samples(6, 40)
    assert GaussianModel.from_samples(np.concatenate([x, x])).basis.shape == (40, 5)
    assert GaussianModel.from_samples(np.repeat(_samples(2, 40), 4, axis=0)).basis.shape == (40, 1)


@pytest.mark.parametrize("single", [True, False])
def test_coefficients_and_reconstruction_undo_each_other(single: bool) -> None:
    model = GaussianModel.from_samples(_samples(6, 40))
    b = philox(2).normal(size=5 if single else (3, 5))
    x = model.reconstruct(b)
    assert x.shape == ((40,) if single else (3, 40))
    np.testing.assert_allclose(model.coefficients(x), b, atol=1e-10)
    # What is no combination of the modes is projected onto them.
    y = _samples(4, 40)
    residual = y - model.reconstruct(model.coefficients(y))
    np.testing.assert_allclose(residual @ model.basis, 0, atol=1e-10)


def test_draws_have_the_models_moments() -> None:
    model = GaussianModel.from_samples(_with_variances([6.0, 3.0, 1.0]) + np.arange(30))
    count = 20_000
    x = model.sample(count, philox(3))
    assert x.shape == (count, 30)
    sd = np.sqrt(np.diag(_covariance(model)))
    assert (np.abs(x.mean(axis=0) - model.mean) < 5 * sd / np.sqrt(count)).all()
    # The variance of an estimated covariance of normal numbers is (c_ii c_jj + c_ij^2) / count.
    covariance = _covariance(model)
    error = np.sqrt((np.outer(sd**2, sd**2) + covariance**2) / count)
    assert (np.abs(np.cov(x.T) - covariance) < 5 * error).all()


def test_draws_follow_their_generator() -> None:
    model = GaussianModel.from_samples(_samples(6, 40))
    first = model.sample(4, philox(5))
    assert np.array_equal(first, model.sample(4, philox(5)))
    assert not np.array_equal(first, model.sample(4, philox(6)))
    np.testing.assert_allclose(first[:2], model.sample(2, philox(5)), atol=1e-12)


def test_a_model_without_variance_draws_its_mean() -> None:
    model = GaussianModel(np.arange(3.0), np.eye(3)[:, :1], np.zeros(1))
    assert model.sample(2, philox(0)).tolist() == [[0, 1, 2]] * 2


def test_samples_are_left_alone() -> None:
    x = _samples(6, 40)
    kept = x.copy()
    GaussianModel.from_samples(x, coverage=0.5)
    assert np.array_equal(x, kept)
    assert x.flags.writeable


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.1, -3e-5])
@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_equal_samples_are_refused(n: int, value: float, dtype: Any) -> None:
    # 0.1 + 0.1 + 0.1 is not 3 * 0.1: equal samples differ from their rounded mean.
    with pytest.raises(ValueError, match="samples are all equal"):
        GaussianModel.from_samples(np.full((n, 50), value, dtype))


@pytest.mark.parametrize(
    ("kind", "samples", "coverage"),
    [
        (ValueError, np.ones(5), 1.0),
        (ValueError, np.ones((1, 5)), 1.0),
        (ValueError, np.zeros((0, 5)), 1.0),
        (ValueError, np.array([[1.0, np.nan], [0.0, 1.0]]), 1.0),
        (TypeError, np.ones((2, 2), complex), 1.0),
        (ValueError, _samples(3, 4), 0.0),
        (ValueError, _samples(3, 4), 1.01),
        (ValueError, _samples(3, 4), np.nan),
        (TypeError, _samples(3, 4), "all"),
    ],
)
def test_bad_samples_are_refused_in_one_line(kind: type[Exception], samples: Any, coverage: Any) -> None:
    with pytest.raises(kind) as caught:
        GaussianModel.from_samples(samples, coverage=coverage)
    assert one_line(caught.value).startswith(("samples", "coverage"))


GOOD: dict[str, Any] = {"mean": np.zeros(4), "basis": np.eye(4)[:, :2], "variances": np.array([2.0, 1.0])}


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("mean", [0.0] * 4, TypeError),
        ("mean", np.zeros(4, int), TypeError),
        ("mean", np.zeros((4, 1)), TypeError),
        ("mean", np.full(4, np.nan), ValueError),
        ("mean", np.zeros(5), ValueError),
        ("basis", np.eye(4), ValueError),
        ("basis", np.eye(4)[:, :2].T, ValueError),
        ("basis", np.full((4, 2), np.inf), ValueError),
        ("variances", np.array([1.0, 2.0]), ValueError),
        ("variances", np.array([1.0, -1.0]), ValueError),
        ("variances", np.array([np.nan, 1.0]), ValueError),
        ("variances", np.array([1.0]), ValueError),
        ("variances", 1.0, TypeError),
    ],
)
def test_parts_that_make_no_model_are_refused_in_one_line(name: str, value: Any, kind: type[Exception]) -> None:
    GaussianModel(**GOOD)
    with pytest.raises(kind) as caught:
        GaussianModel(**GOOD | {name: value})
    one_line(caught.value)


@pytest.mark.parametrize("n", [0, -1, 2.0])
def test_the_number_of_draws_is_checked(n: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^n is "):
        GaussianModel(**GOOD).sample(n, philox(0))


@pytest.mark.parametrize(
    ("method", "value"),
    [("coefficients", np.zeros(5)), ("coefficients", np.zeros((2, 3))), ("reconstruct", np.zeros(3))],
)
def test_vectors_of_another_length_are_refused(method: str, value: Array) -> None:
    with pytest.raises(ValueError, match=r"shape|size|dimension"):
        getattr(GaussianModel(**GOOD), method)(value)
