"""Explicit eigenimages against dense eigenvectors, what the report says of them, memory and bad input."""

from __future__ import annotations

import dataclasses
import functools
import json
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import Cohort, GaussianModel, phantoms, procrustes
from modelaug.locality import LocalizedOperator, eigen, localized_eigenimages
from modelaug.locality.eigen import Eigenpairs, leading_eigenpairs
from modelaug.models.normalization import normalize
from modelaug.transforms.splines import SplineOptions
from tests.cohorts import real_cohort
from tests.examples import Array, one_line, philox
from tests.reference import texture as reference

TAPERS = ("hard", "wendland", "gaussian")


def smooth(n: int, *shape: int, seed: int = 0) -> Array:
    """Return running sums of noise along all axes but the first, (n, *shape), over an uneven mean."""
    rng = philox(seed)
    samples = rng.normal(size=(n, *shape))
    for axis in range(2, samples.ndim):
        samples = samples.cumsum(axis=axis)
    return samples + rng.normal(size=shape)


def normalized(cohort: Cohort) -> npt.NDArray[np.float32]:
    return normalize(cohort, procrustes(cohort.landmarks).shapes.mean(axis=0), SplineOptions(), threads=2).textures


@functools.cache
def hearts() -> npt.NDArray[np.float32]:
    return normalized(phantoms.heart(8, shape=(64, 64), seed=5))


def dense(samples: Array, grid: tuple[int, ...], threshold: float, taper: str) -> Array:
    flat = samples.reshape(len(samples), -1)
    distances = reference.pixel_distances(grid, (1.0,) * len(grid), flat.shape[1] // int(np.prod(grid)))
    return reference.localized_covariance(flat, distances, threshold, taper)


def covariance(model: GaussianModel) -> Array:
    return (model.basis.astype(float) * model.variances) @ model.basis.T.astype(float)


def assert_eigenpairs(matrix: Array, pairs: Eigenpairs, tolerance: float) -> None:
    """Check residuals against a dense matrix, and that no larger eigenvalue was missed."""
    largest = pairs.values[0]
    vectors = pairs.vectors.astype(float)
    residuals = np.linalg.norm(vectors @ matrix - pairs.values[:, None] * vectors, axis=1)
    assert residuals.max() <= tolerance * largest
    np.testing.assert_allclose(pairs.residuals, residuals, atol=2e-6 * largest)
    exact = np.linalg.eigvalsh(matrix)[::-1][: len(pairs.values)]
    np.testing.assert_allclose(pairs.values, exact, atol=tolerance * largest)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=1e-5)


@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize("threshold", [0.5, 3.0, 11.0])
@pytest.mark.parametrize("max_modes", [7, 300])
def test_eigenpairs_agree_with_dense_ones(taper: Any, threshold: float, max_modes: int) -> None:
    samples = smooth(6, 1, 21, 18)
    matrix = dense(samples, (21, 18), threshold, taper)
    operator = LocalizedOperator(samples, (21, 18), threshold, taper)
    pairs = leading_eigenpairs(operator, coverage=0.95, max_modes=max_modes, rng=philox(1))
    assert_eigenpairs(matrix, pairs, 1e-4)
    assert len(pairs.values) == reference.leading(matrix, 0.95, max_modes)[0].shape[1]
    assert (pairs.values > 0).all()
    assert pairs.products <= 378 or max_modes == 7


@pytest.mark.parametrize(("grid", "channels"), [((7, 6, 8), 1), ((12, 9), 3), ((1, 40), 1), ((2, 2), 1), ((1, 1), 1)])
def test_double_precision_agrees_to_double_precision(grid: tuple[int, ...], channels: int) -> None:
    samples = smooth(4, channels, *grid)
    matrix = dense(samples, grid, 2.5, "wendland")
    operator = LocalizedOperator(samples, grid, 2.5, "wendland", dtype=np.float64)
    pairs = leading_eigenpairs(operator, coverage=1.0, max_modes=len(matrix), rng=philox(1))
    assert_eigenpairs(matrix, pairs, 1e-9)
    np.testing.assert_allclose((pairs.vectors.T * pairs.values) @ pairs.vectors, matrix, atol=1e-9 * matrix.max())


@pytest.mark.parametrize("contrast", ["constant", "checkers", "few"])
@pytest.mark.parametrize("taper", ["hard", "gaussian"])
def test_equal_eigenvalues_are_all_found(contrast: str, taper: Any) -> None:
    # Below the spacing the covariance is diagonal, with as many equal eigenvalues as pixels that vary.
    pixels = np.arange(500)
    pattern = {"constant": np.ones(500), "checkers": pixels % 2, "few": pixels < 40}[contrast].astype(float)
    samples = np.stack([np.zeros(500), pattern])
    operator = LocalizedOperator(samples, (20, 25), 0.1, taper)
    pairs = leading_eigenpairs(operator, coverage=0.9, max_modes=500, rng=philox(2))
    assert_eigenpairs(np.diag(pattern / 2), pairs, 1e-4)
    assert len(pairs.values) == round(0.9 * pattern.sum())


def test_restarts_end_at_the_largest_eigenvalues() -> None:
    # A dense spectrum needs more products than are kept at a time.
    samples = philox(3).normal(size=(3, 4000)) * np.linspace(1, 2, 4000)
    operator = LocalizedOperator(samples, (40, 100), 0.5, "hard")
    pairs = leading_eigenpairs(operator, coverage=0.9, max_modes=3, rng=philox(4), tolerance=1e-6)
    assert pairs.products > 330
    np.testing.assert_allclose(pairs.values, np.sort(samples.var(axis=0, ddof=1))[:-4:-1], rtol=1e-5)


def test_no_convergence_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigen, "_RESTARTS", 1)
    operator = LocalizedOperator(philox(3).normal(size=(3, 400)), (20, 20), 0.5, "hard")
    with pytest.raises(ValueError, match="no eigenimage converged to 1e-30") as caught:
        leading_eigenpairs(operator, coverage=0.9, max_modes=1, rng=philox(4), tolerance=1e-30)
    one_line(caught.value)


@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize("rescale", ["total", "none"])
@pytest.mark.parametrize("grid", [(14, 11), (6, 5, 7)])
def test_levels_agree_with_the_dense_reference(taper: Any, rescale: Any, grid: tuple[int, ...]) -> None:
    samples = smooth(5, 1, *grid)
    flat = samples.reshape(5, -1)
    spacing = (1.0, 1.5, 0.5)[: len(grid)]
    distances = reference.pixel_distances(grid, spacing, 1)
    taus = distances.max() * 0.5 ** np.arange(4)
    basis, variances = reference.localized_eigenimages(flat, distances, taus.tolist(), taper, 0.9, rescale)
    model, report = localized_eigenimages(
        samples, grid, taus, taper=taper, coverage=0.9, rescale=rescale, spacing=spacing
    )
    exact = (basis * variances) @ basis.T
    np.testing.assert_allclose(model.mean, flat.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(np.sort(variances)[::-1], model.variances, atol=1e-3 * variances.max())
    np.testing.assert_allclose(covariance(model), exact, atol=1e-3 * exact.max())
    np.testing.assert_allclose(report.variance_ratio, variances.sum() / flat.var(axis=0, ddof=1).sum(), rtol=1e-4)


@pytest.mark.parametrize("taper", TAPERS)
def test_hearts_are_covered_as_reported(taper: Any) -> None:
    samples = hearts()
    taus = 63 * 2**0.5 * 0.5 ** np.arange(4)
    model, report = localized_eigenimages(samples, (64, 64), taus, taper=taper, coverage=0.9, max_modes=400)
    trace = samples.reshape(8, -1).var(axis=0, ddof=1, dtype=np.float64).sum()
    np.testing.assert_allclose(report.trace, trace, rtol=1e-6)
    modes = 0
    for level, tau in zip(report.levels, taus, strict=True):
        assert level.threshold == tau
        assert level.worst_residual <= 1e-4
        np.testing.assert_allclose(level.covered, level.variance / trace, rtol=1e-6)
        # The fewest modes that reach it.
        assert 0.9 <= level.covered < 0.9 + 2 * level.variance / trace / level.modes + 1 / level.modes
        assert level.skipped == (level.modes <= modes)
        modes = max(modes, level.modes)
    assert len(model.variances) == modes > 7
    gram = model.basis.T @ model.basis
    np.testing.assert_allclose(gram, np.eye(modes), atol=1e-5)
    np.testing.assert_allclose(report.variance_ratio, model.variances.sum() / trace, rtol=1e-6)
    json.dumps(dataclasses.asdict(report))


def test_one_level_is_principal_component_analysis() -> None:
    samples = hearts()
    model, report = localized_eigenimages(samples, (64, 64), [90.0], coverage=0.8)
    expected = GaussianModel.from_samples(samples.reshape(8, -1), coverage=0.8)
    np.testing.assert_allclose(model.basis, expected.basis, atol=1e-6)
    np.testing.assert_allclose(model.variances, expected.variances, rtol=1e-9)
    assert report.levels[0].products == 0
    assert report.levels[0].worst_residual < 1e-5


def test_the_first_levels_images_remain_possible() -> None:
    samples = hearts()
    model, _ = localized_eigenimages(samples, (64, 64), [90.0, 45.0, 22.0], coverage=0.9)
    first = GaussianModel.from_samples(samples.reshape(8, -1), coverage=0.9)
    inside = model.basis @ (model.basis.T @ first.basis)
    np.testing.assert_allclose(inside, first.basis, atol=1e-5)


def test_every_level_adds_modes_though_the_number_is_capped() -> None:
    model, report = localized_eigenimages(
        hearts(), (64, 64), [90.0, 45.0, 22.0, 11.0], taper="wendland", coverage=0.99, max_modes=40
    )
    assert [level.modes for level in report.levels] == [7, 20, 30, 40]
    assert not any(level.skipped for level in report.levels)
    assert len(model.variances) == 40
    assert report.levels[3].covered < 0.99


def test_a_mask_leaves_the_mean_around_it() -> None:
    samples = smooth(5, 2, 13, 12)
    mask = np.zeros((13, 12), dtype=bool)
    mask[3:9, 2:11] = philox(5).random((6, 9)) < 0.8
    kept = np.flatnonzero(np.tile(mask.reshape(-1), 2))
    taus = [16.0, 8.0, 4.0]
    model, report = localized_eigenimages(samples, (13, 12), taus, mask=mask, rescale="none")
    flat = samples.reshape(5, -1)
    distances = reference.pixel_distances((13, 12), (1.0, 1.0), 2)[np.ix_(kept, kept)]
    basis, variances = reference.localized_eigenimages(flat[:, kept], distances, taus, "gaussian", 0.95, "none")
    exact = np.zeros((312, 312))
    exact[np.ix_(kept, kept)] = (basis * variances) @ basis.T
    np.testing.assert_allclose(model.mean, flat.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(covariance(model), exact, atol=1e-3 * exact.max())
    assert (np.delete(model.basis, kept, axis=0) == 0).all()
    np.testing.assert_allclose(report.trace, flat[:, kept].var(axis=0, ddof=1).sum(), rtol=1e-6)


@pytest.mark.parametrize("mask", [None, np.arange(64 * 64).reshape(64, 64) % 3])
def test_modes_lie_one_after_the_other_in_single_precision(mask: Any) -> None:
    model, _ = localized_eigenimages(hearts(), (64, 64), [90.0, 45.0], mask=mask)
    assert model.mean.dtype == model.basis.dtype == np.float32
    assert model.basis.T.flags.c_contiguous
    assert model.variances.dtype == np.float64
    peaks = np.take_along_axis(model.basis, np.abs(model.basis).argmax(axis=0)[None], axis=0)
    assert (peaks > 0).all()


def test_the_seed_decides_the_bits_and_nothing_else() -> None:
    def fit(seed: int, threads: int) -> GaussianModel:
        return localized_eigenimages(hearts(), (64, 64), [90.0, 45.0], seed=seed, threads=threads)[0]

    first = fit(3, 1)
    assert np.array_equal(first.basis, fit(3, 2).basis)
    other = fit(4, 1)
    assert not np.array_equal(first.basis, other.basis)
    vectors = philox(6).normal(size=(4096, 4)).astype(np.float32)
    products = [model.basis @ (model.variances[:, None] * (model.basis.T @ vectors)) for model in (first, other)]
    np.testing.assert_allclose(*products, atol=2e-4 * np.abs(products[0]).max())


def test_two_images_are_enough() -> None:
    samples = smooth(2, 1, 12, 12)
    model, _ = localized_eigenimages(samples, (12, 12), [16.0, 4.0], coverage=0.99)
    difference = (samples[1] - samples[0]).reshape(-1)
    assert len(model.variances) > 1
    np.testing.assert_allclose(model.basis @ (model.basis.T @ difference), difference, atol=1e-3)


def test_memory_is_linear_in_the_pixels() -> None:
    n, side, modes = 6, 160, 16
    samples = philox(7).normal(size=(n, side, side)).cumsum(axis=1).cumsum(axis=2).astype(np.float32)
    image = samples[0].nbytes
    tracemalloc.start()
    try:
        localized_eigenimages(samples, (side, side), [220.0, 110.0, 55.0], max_modes=modes, threads=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The Krylov basis of 2 * modes + 320 vectors is the largest array.
    assert peak < (2 * modes + 320 + 8 * 32 + 4 * n) * image
    assert peak < side**4 * 4 / 25


def test_real_hearts_at_full_resolution() -> None:
    with np.load(real_cohort("acdc32.npz"), allow_pickle=False) as file:
        samples = normalized(Cohort(file["images"].astype(np.float32), file["landmarks"].astype(float)))
    operator = LocalizedOperator(samples, (256, 256), 90.0)
    pairs = leading_eigenpairs(operator, coverage=0.8, max_modes=100, rng=philox(8))
    residuals = np.linalg.norm(operator.apply(pairs.vectors) - pairs.values[:, None] * pairs.vectors, axis=1)
    assert residuals.max() <= 1e-4 * pairs.values[0]
    assert pairs.values.sum() >= 0.8 * operator.trace
    gram = pairs.vectors @ pairs.vectors.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


GOOD: dict[str, Any] = {"samples": smooth(3, 1, 8, 8), "grid": (8, 8), "thresholds": [10.0, 5.0]}


@pytest.mark.parametrize(
    ("kind", "changed", "words"),
    [
        (ValueError, {"samples": np.ones((1, 64))}, "samples holds 1 image"),
        (ValueError, {"samples": np.ones((3, 64))}, "samples are all equal"),
        (ValueError, {"samples": np.ones((3, 63))}, "samples has shape"),
        (ValueError, {"grid": (64,)}, "grid"),
        (ValueError, {"thresholds": [5.0, 10.0]}, "thresholds[1] is 10"),
        (ValueError, {"thresholds": [5.0, 5.0]}, "thresholds[1] is 5"),
        (ValueError, {"thresholds": [5.0, 0.0]}, "thresholds"),
        (ValueError, {"thresholds": []}, "thresholds"),
        (ValueError, {"taper": "round"}, "taper"),
        (ValueError, {"rescale": "some"}, "rescale"),
        (ValueError, {"coverage": 0.0}, "coverage"),
        (ValueError, {"coverage": 1.1}, "coverage"),
        (ValueError, {"max_modes": 65}, "max_modes is 65"),
        (ValueError, {"max_modes": 33, "mask": np.arange(64).reshape(8, 8) % 2}, "max_modes is 33"),
        (ValueError, {"max_modes": 0}, "max_modes"),
        (TypeError, {"max_modes": 9.5}, "max_modes"),
        (ValueError, {"mask": np.ones((4, 8))}, "mask has shape"),
        (ValueError, {"mask": np.zeros((8, 8))}, "mask keeps no pixel"),
        (ValueError, {"spacing": (0.0, 1.0)}, "spacing"),
        (ValueError, {"threads": 0}, "threads"),
        (ValueError, {"seed": -1}, "seed"),
        (ValueError, {"rescale": "tail", "coverage": 1.0}, "rescale is 'tail'"),
    ],
)
def test_bad_input_is_refused_in_one_line(kind: type[Exception], changed: dict[str, Any], words: str) -> None:
    localized_eigenimages(**GOOD)
    with pytest.raises(kind) as caught:
        localized_eigenimages(**GOOD | changed)
    assert one_line(caught.value).startswith(words)
