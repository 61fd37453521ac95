"""Localized shape models against the dense reference, and what they promise."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import numpy as np
import pytest

from modelaug import Cohort, GaussianModel, LandmarkObject, procrustes
from modelaug.locality import (
    LocalizedFit,
    contour_distances,
    euclidean_distances,
    expand_distances,
    fit_localized,
    kernel_mixture_model,
    localized_model,
    multi_object_distances,
    thresholds,
)
from tests.cohorts import real_cohort
from tests.examples import Array, directions, one_line, philox, rotation
from tests.reference import locality as reference

TAPERS = ("hard", "wendland", "gaussian")
RESCALES = ("total", "tail", "none")


def wobbly(n: int, m: int, d: int = 2, seed: int = 0) -> Array:
    """Return n smooth shapes (n, m, d) around a circle or sphere, each with its own bumps, and a little noise."""
    rng = philox(seed)
    base = directions(d, m) * 30
    waves, phases = rng.normal(size=(8, d)) / 12, rng.uniform(0, 2 * np.pi, size=8)
    bumps = np.sin(base @ waves.T + phases)
    return base + np.einsum("nkd,mk->nmd", rng.normal(size=(n, 8, d)), bumps) + 0.1 * rng.normal(size=(n, m, d))


def case(n: int = 7, m: int = 12, d: int = 2, levels: int = 4, seed: int = 0) -> tuple[Array, Array, Array]:
    """Return samples, distances of the coordinates, and thresholds."""
    shapes = wobbly(n, m, d, seed)
    distances = expand_distances(euclidean_distances(shapes.mean(axis=0)), d)
    return shapes.reshape(n, -1), distances, thresholds(distances, levels)


def covariance(model: GaussianModel) -> Array:
    return (model.basis * model.variances) @ model.basis.T


def assert_same(model: GaussianModel, basis: Array, variances: Array, tolerance: float) -> None:
    """Check that a model has these modes, up to the choice among modes of equal variance."""
    scale = variances.max()
    np.testing.assert_allclose(model.variances, np.sort(variances)[::-1], atol=tolerance * scale)
    np.testing.assert_allclose(model.basis @ model.basis.T, basis @ basis.T, atol=tolerance)
    np.testing.assert_allclose(covariance(model), (basis * variances) @ basis.T, atol=tolerance * scale)


# --- against the reference


@pytest.mark.parametrize("rescale", RESCALES)
@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize(("n", "m", "d"), [(7, 12, 2), (9, 10, 3)])
def test_the_reference_gives_the_same_model(n: int, m: int, d: int, taper: Any, rescale: Any) -> None:
    x, distances, taus = case(n, m, d)
    basis, variances = reference.localized_model(
        x, distances, taus.tolist(), taper, 0.95, rescale, repair=taper == "hard"
    )
    model = localized_model(x, distances, taus, taper=taper, rescale=rescale)
    assert len(model.variances) > n
    assert_same(model, basis, variances, 1e-10)
    np.testing.assert_allclose(model.mean, x.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize("coverage", [0.9, 0.99])
def test_the_reference_gives_the_same_mixture(taper: Any, coverage: float) -> None:
    x, distances, taus = case()
    basis, variances = reference.kernel_mixture(x, distances, taus.tolist(), taper, coverage, repair=taper == "hard")
    assert_same(kernel_mixture_model(x, distances, taus, taper=taper, coverage=coverage), basis, variances, 1e-10)


def test_other_metrics_are_repaired_too() -> None:
    # Along a circle, a Gaussian that is as wide as the circle is not positive semidefinite.
    shapes = wobbly(7, 12)
    x = shapes.reshape(7, -1)
    distances = expand_distances(contour_distances(shapes.mean(axis=0), closed=True), 2)
    taus = thresholds(distances, 3)
    fit = fit_localized(x, distances, taus, taper="gaussian")
    assert fit.report.levels[1].smallest_eigenvalue < -0.01
    assert fit.report.levels[1].iterations > 1
    basis, variances = reference.localized_model(x, distances, taus.tolist(), "gaussian", 0.95, "total", repair=True)
    assert_same(fit.model, basis, variances, 1e-10)


@functools.cache
def _cohort(name: str) -> tuple[Array, Array, Array]:
    """Return every other landmark of a real cohort as aligned samples, with straight and multi-object distances."""
    cohort = Cohort.load(real_cohort(name))
    shapes = procrustes(cohort.landmarks[:, ::2] * cohort.spacing).shapes
    mean = shapes.mean(axis=0)
    halves = [LandmarkObject(o.name, tuple(i // 2 for i in o.indices if i % 2 == 0), o.kind) for o in cohort.objects]
    metrics = [euclidean_distances(mean), multi_object_distances(mean, halves)]
    return shapes.reshape(len(shapes), -1), *(expand_distances(metric, 2) for metric in metrics)


@pytest.mark.parametrize("taper", ["hard", "gaussian"])
@pytest.mark.parametrize("name", ["acdc32.npz", "sunnybrook37.npz"])
def test_the_reference_gives_the_same_model_of_real_hearts(name: str, taper: Any) -> None:
    x, distances, _ = _cohort(name)
    x = x[:20]
    taus = thresholds(distances, 3)
    basis, variances = reference.localized_model(
        x, distances, taus.tolist(), taper, 0.95, "total", repair=taper == "hard"
    )
    model = localized_model(x, distances, taus, taper=taper)
    assert len(model.variances) > 20
    assert_same(model, basis, variances, 1e-3)


@pytest.mark.parametrize("name", ["acdc32.npz", "sunnybrook37.npz"])
def test_locality_shows_unseen_hearts_much_better_than_principal_components(name: str) -> None:
    x, *metrics = _cohort(name)
    seen, unseen = x[:20], x[20:]

    def error(model: GaussianModel) -> float:
        offsets = (model.reconstruct(model.coefficients(unseen)) - unseen).reshape(len(unseen), -1, 2)
        return float(np.linalg.norm(offsets, axis=2).mean())

    principal = error(GaussianModel.from_samples(seen, coverage=0.95))
    for distances in metrics:
        assert error(localized_model(seen, distances, thresholds(distances, 4))) < 0.6 * principal


# --- small cases whose answer is known


def test_one_level_is_principal_component_analysis() -> None:
    x, distances, taus = case(levels=1)
    principal = GaussianModel.from_samples(x, coverage=0.95)
    for model in (localized_model(x, distances, taus), kernel_mixture_model(x, distances, taus)):
        np.testing.assert_allclose(model.variances, principal.variances, rtol=1e-10)
        np.testing.assert_allclose(model.basis, principal.basis, atol=1e-8)


def test_two_samples_and_one_level_give_their_difference() -> None:
    x, distances, taus = case(n=2, levels=1)
    model = localized_model(x, distances, taus)
    difference = x[1] - x[0]
    assert model.basis.shape == (24, 1)
    np.testing.assert_allclose(np.abs(difference @ model.basis), np.linalg.norm(difference), rtol=1e-12)
    np.testing.assert_allclose(model.variances, difference @ difference / 2, rtol=1e-12)


@pytest.mark.parametrize("taper", TAPERS)
def test_two_samples_and_a_tiny_threshold_span_everything(taper: Any) -> None:
    rng = philox(2)
    x = rng.normal(size=(2, 9))
    distances = euclidean_distances(np.arange(9.0)[:, None])
    model = localized_model(x, distances, [8.0, 2.0, 0.01], taper=taper, coverage=1.0)
    assert model.basis.shape == (9, 9)
    unseen = rng.normal(size=(5, 9))
    np.testing.assert_allclose(model.reconstruct(model.coefficients(unseen)), unseen, atol=1e-10)


def test_coordinates_of_one_landmark_are_never_cut_apart() -> None:
    # Two samples: both coordinates of a landmark move together, however small the threshold.
    x, distances, _ = case(n=2, m=8)
    model = kernel_mixture_model(x, distances, [100.0, 1e-6], taper="hard", coverage=1.0)
    own = np.kron(np.eye(8), np.ones((2, 2)))
    np.testing.assert_allclose(covariance(model), np.cov(x.T) * (1 + own) / 2, atol=1e-10)
    assert np.linalg.matrix_rank(covariance(model) * own) == 8


# --- what is promised


def test_a_positive_semidefinite_taper_weights_the_covariance_itself() -> None:
    x, distances, taus = case()
    weights = np.mean([np.ones_like(distances), *(np.exp(-(distances**2) / (2 * t**2)) for t in taus[1:])], axis=0)
    model = kernel_mixture_model(x, distances, taus, coverage=1.0)
    np.testing.assert_allclose(covariance(model), np.cov(x.T) * weights, atol=1e-10)


@pytest.mark.parametrize("taper", TAPERS)
def test_a_mixture_keeps_the_variance_of_every_coordinate(taper: Any) -> None:
    x, distances, taus = case()
    fit = fit_localized(x, distances, taus, method="mixture", taper=taper, coverage=1.0)
    # A repaired matrix has its diagonal exactly, and negative eigenvalues of the size of the repair's tolerance.
    tolerance = 1e-3 if taper == "hard" else 1e-10
    np.testing.assert_allclose(np.diag(covariance(fit.model)), x.var(axis=0, ddof=1), rtol=tolerance)
    np.testing.assert_allclose(fit.report.trace_ratio, 1, rtol=tolerance)
    np.testing.assert_allclose(fit.report.coordinates, 1, rtol=tolerance)


@pytest.mark.parametrize("taper", TAPERS)
def test_every_level_keeps_the_total_variance(taper: Any) -> None:
    x, distances, taus = case()
    # A schedule of two whose global level is negligible: the second level alone.
    for tau in taus[1:]:
        fit = fit_localized(x, distances, [taus[0], tau], taper=taper, coverage=1.0, rescale="none")
        np.testing.assert_allclose(fit.report.levels[1].trace_ratio, 1, rtol=1e-3 if taper == "hard" else 1e-10)


@pytest.mark.parametrize("taper", TAPERS)
def test_total_keeps_the_sum_of_the_first_level(taper: Any) -> None:
    x, distances, taus = case()
    fit = fit_localized(x, distances, taus, taper=taper, rescale="total")
    principal = GaussianModel.from_samples(x, coverage=0.95)
    np.testing.assert_allclose(fit.model.variances.sum(), principal.variances.sum(), rtol=1e-10)
    # All global modes shrink alike.
    assert fit.report.global_modes.max < 1
    np.testing.assert_allclose(fit.report.global_modes.min, fit.report.global_modes.max, rtol=1e-10)


@pytest.mark.parametrize("rescale", ["tail", "none"])
@pytest.mark.parametrize("taper", TAPERS)
def test_tail_and_none_keep_the_global_modes(taper: Any, rescale: Any) -> None:
    x, distances, taus = case()
    fit = fit_localized(x, distances, taus, taper=taper, rescale=rescale)
    principal = GaussianModel.from_samples(x, coverage=0.95)
    np.testing.assert_allclose(
        covariance(fit.model) @ principal.basis, principal.basis * principal.variances, atol=1e-9
    )
    np.testing.assert_allclose(fit.report.global_modes, 1, rtol=1e-10)
    if rescale == "tail":
        np.testing.assert_allclose(fit.model.variances.sum(), x.var(axis=0, ddof=1).sum(), rtol=1e-10)
    else:
        assert fit.report.trace_ratio > 1


@pytest.mark.parametrize("method", ["merge", "mixture"])
@pytest.mark.parametrize("taper", TAPERS)
def test_modes_are_orthonormal_sorted_and_of_fixed_sign(taper: Any, method: Any) -> None:
    x, distances, taus = case(9)
    model = fit_localized(x, distances, taus, taper=taper, method=method).model
    k = len(model.variances)
    assert k > 9
    np.testing.assert_allclose(model.basis.T @ model.basis, np.eye(k), atol=1e-10)
    assert (np.diff(model.variances) <= 0).all()
    assert (model.basis[np.abs(model.basis).argmax(axis=0), np.arange(k)] > 0).all()
    again = fit_localized(x, distances, taus, taper=taper, method=method).model
    assert np.array_equal(model.basis, again.basis)


def test_more_levels_contain_fewer() -> None:
    x, distances, taus = case(m=30, levels=5)
    smaller = None
    for count in range(1, 6):
        model = localized_model(x, distances, taus[:count])
        if smaller is not None:
            np.testing.assert_allclose(model.basis @ (model.basis.T @ smaller.basis), smaller.basis, atol=1e-10)
            assert model.basis.shape[1] > smaller.basis.shape[1]
        smaller = model


# --- invariances


@pytest.mark.parametrize("method", ["merge", "mixture"])
@pytest.mark.parametrize("taper", TAPERS)
def test_the_order_of_landmarks_does_not_matter(taper: Any, method: Any) -> None:
    shapes = wobbly(7, 12)
    order = philox(3).permutation(12)
    models = []
    for some in (shapes[:, order], shapes):
        distances = expand_distances(euclidean_distances(some.mean(axis=0)), 2)
        models.append(
            fit_localized(some.reshape(7, -1), distances, thresholds(distances, 3), taper=taper, method=method).model
        )
    rows = (2 * order[:, None] + [0, 1]).ravel()
    np.testing.assert_allclose(models[0].variances, models[1].variances, rtol=1e-8)
    np.testing.assert_allclose(covariance(models[0]), covariance(models[1])[np.ix_(rows, rows)], atol=1e-8)


@pytest.mark.parametrize("taper", ["wendland", "gaussian"])
@pytest.mark.parametrize("d", [2, 3])
def test_smooth_tapers_commute_with_rotations_of_the_frame(d: int, taper: Any) -> None:
    # Only a repair depends on the axes: it preserves the variance along each of them.
    shapes = wobbly(7, 12, d)
    turn = rotation(philox(4), d)
    models = []
    for some in (shapes, shapes @ turn.T + 5.0):
        distances = expand_distances(euclidean_distances(some.mean(axis=0)), d)
        models.append(localized_model(some.reshape(7, -1), distances, thresholds(distances, 3), taper=taper))
    whole = np.kron(np.eye(12), turn)
    np.testing.assert_allclose(models[1].variances, models[0].variances, rtol=1e-8)
    np.testing.assert_allclose(covariance(models[1]), whole @ covariance(models[0]) @ whole.T, atol=1e-8)


@pytest.mark.parametrize("taper", TAPERS)
def test_units_do_not_matter(taper: Any) -> None:
    x, distances, taus = case()
    model = localized_model(x, distances, taus, taper=taper)
    for unit in (1e-6, 1e6):
        scaled = localized_model(x * unit, distances * unit, taus * unit, taper=taper)
        np.testing.assert_allclose(covariance(scaled) / unit**2, covariance(model), atol=1e-8)


# --- the report


def test_the_report_says_what_a_hard_cut_did() -> None:
    x, distances, taus = case(m=30)
    fit = fit_localized(x, distances, taus, taper="hard")
    first, *others = fit.report.levels
    principal = GaussianModel.from_samples(x, coverage=0.95)
    total = x.var(axis=0, ddof=1).sum()
    assert (first.threshold, first.modes, first.iterations) == (taus[0], len(principal.variances), 0)
    np.testing.assert_allclose(first.trace_ratio, principal.variances.sum() / total, rtol=1e-10)
    for level, tau in zip(others, taus[1:], strict=True):
        weights = reference.tapers(distances, tau, "hard")
        cut = np.corrcoef(x.T) * weights
        repaired = reference.nearest_correlation(cut)
        assert level.threshold == tau
        np.testing.assert_allclose(level.smallest_eigenvalue, np.linalg.eigvalsh(cut)[0], atol=1e-10)
        assert level.smallest_eigenvalue < -0.01
        assert level.iterations > 1
        assert level.converged
        np.testing.assert_allclose(level.put_back, np.abs(repaired[weights == 0]).max(), atol=1e-8)
        np.testing.assert_allclose(level.repair_norm, np.linalg.norm(repaired - cut) / np.linalg.norm(cut), atol=1e-8)
        assert level.put_back > 0.01
        assert 0.95 <= level.trace_ratio < 1
    assert fit.model.basis.shape[1] == others[-1].modes
    assert not any(level.skipped for level in fit.report.levels)


def test_the_report_says_that_smooth_tapers_need_no_repair() -> None:
    x, distances, taus = case()
    for taper in ("gaussian", "wendland"):
        for level in fit_localized(x, distances, taus, taper=taper).report.levels:  # type: ignore[arg-type]
            assert level.smallest_eigenvalue > -1e-10
            assert (level.iterations, level.converged, level.repair_norm, level.put_back) == (0, True, 0.0, 0.0)


@pytest.mark.parametrize("method", ["merge", "mixture"])
def test_the_report_gives_the_models_variances(method: Any) -> None:
    x, distances, taus = case()
    model, report = fit_localized(x, distances, taus, method=method, taper="hard")
    truth = x.var(axis=0, ddof=1)
    ratios = np.diag(covariance(model)) / truth
    np.testing.assert_allclose(report.coordinates, [ratios.min(), np.median(ratios), ratios.max()], rtol=1e-10)
    np.testing.assert_allclose(report.trace_ratio, model.variances.sum() / truth.sum(), rtol=1e-10)
    principal = GaussianModel.from_samples(x, coverage=0.95)
    along = np.diag(principal.basis.T @ covariance(model) @ principal.basis) / principal.variances
    np.testing.assert_allclose(report.global_modes, [along.min(), np.median(along), along.max()], rtol=1e-8)
    assert len(report.levels) == (4 if method == "merge" else 1)


def test_a_level_without_new_modes_is_reported_as_skipped() -> None:
    # At full coverage the first level has 8 modes; of two cut points, the second has no more than their 4 coordinates.
    x = philox(5).normal(size=(9, 4))
    distances = expand_distances(euclidean_distances([[0.0, 0.0], [1.0, 0.0]]), 2)
    model, report = fit_localized(x, distances, [1.0, 0.5], coverage=1.0)
    assert [level.skipped for level in report.levels] == [False, True]
    np.testing.assert_allclose(covariance(model), np.cov(x.T), atol=1e-10)


def test_the_report_can_be_written_as_json() -> None:
    x, distances, taus = case()
    for method in ("merge", "mixture"):
        report = fit_localized(x, distances, taus, method=method).report  # type: ignore[arg-type]
        fields = json.loads(json.dumps(dataclasses.asdict(report)))
        assert fields["levels"][0]["threshold"] == taus[0]
        assert fields["trace_ratio"] == report.trace_ratio


# --- bad and borderline input


@pytest.mark.parametrize("method", ["merge", "mixture"])
@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6 / 3])
def test_a_constant_coordinate_has_no_variance_and_no_influence(value: float, taper: Any, method: Any) -> None:
    x, distances, taus = case()
    y = x.copy()
    y[:, 5] = value
    fit = fit_localized(y, distances, taus, taper=taper, method=method)
    others = np.delete(np.arange(24), 5)
    alone = fit_localized(y[:, others], distances[np.ix_(others, others)], taus, taper=taper, method=method)
    np.testing.assert_allclose(fit.model.basis[5], 0, atol=1e-10)
    np.testing.assert_allclose(fit.model.mean[5], value, rtol=1e-12)
    # The repair's stopping rule counts the constant coordinate's 1 on the diagonal.
    tolerance = 1e-3 if taper == "hard" else 1e-9
    np.testing.assert_allclose(fit.model.variances, alone.model.variances, rtol=tolerance)
    np.testing.assert_allclose(
        covariance(fit.model)[np.ix_(others, others)], covariance(alone.model), atol=tolerance * 10
    )
    # It does not count as a coordinate whose variance was lost.
    np.testing.assert_allclose(fit.report.coordinates, alone.report.coordinates, rtol=tolerance)


@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize("rescale", RESCALES)
def test_two_samples_make_a_model_of_many_modes(taper: Any, rescale: Any) -> None:
    x, distances, taus = case(n=2)
    if rescale == "tail":
        # One difference explains two samples completely.
        with pytest.raises(ValueError, match=r"^rescale is 'tail' but the first level keeps all variance"):
            localized_model(x, distances, taus, taper=taper, rescale=rescale)
        return
    fit = fit_localized(x, distances, taus, taper=taper, rescale=rescale)
    assert len(fit.model.variances) > 4
    assert fit.report.levels[0].modes == 1


X, D, TAUS = case()


def _moved(i: int, j: int, value: float) -> Array:
    matrix = D.copy()
    matrix[i, j] = value
    return matrix


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (ValueError, {"samples": X[:1]}, "^samples holds 1 sample"),
        (ValueError, {"samples": np.repeat(X[:1], 5, axis=0)}, "^samples are all equal"),
        (ValueError, {"samples": X[0]}, "^samples has shape"),
        (ValueError, {"samples": np.where(X[2, 3] == X, np.nan, X)}, r"^samples\[2, 3\] is nan"),
        (TypeError, {"samples": X.astype(complex)}, "^samples has dtype"),
        (ValueError, {"distances": D[::2, ::2]}, r"^distances has shape \(12, 12\) for samples of 24 coordinates"),
        (ValueError, {"distances": D[:5]}, "^distances has shape"),
        (ValueError, {"distances": _moved(0, 4, 1e3)}, r"^distances\[0, 4\] is 1000 but distances\[4, 0\]"),
        (ValueError, {"distances": _moved(3, 3, 1.0)}, r"^distances\[3, 3\] is 1"),
        (ValueError, {"thresholds": [4.0, 8.0]}, r"^thresholds\[1\] is 8 after 4"),
        (ValueError, {"thresholds": [4.0, 4.0]}, r"^thresholds\[1\] is 4 after 4"),
        (ValueError, {"thresholds": [4.0, 0.0]}, "^thresholds is"),
        (ValueError, {"thresholds": []}, "^thresholds is empty"),
        (ValueError, {"method": "both"}, "^method is 'both'"),
        (ValueError, {"taper": "soft"}, "^taper is 'soft'"),
        (ValueError, {"taper": "soft", "thresholds": [4.0]}, "^taper is 'soft'"),
        (ValueError, {"rescale": "all"}, "^rescale is 'all'"),
        (ValueError, {"coverage": 0.0}, "^coverage is 0"),
        (ValueError, {"coverage": 1.5}, "^coverage is 1.5"),
        (ValueError, {"coverage": 1.0, "rescale": "tail"}, "^rescale is 'tail' but the first level keeps all"),
    ],
)
def test_bad_input_is_refused_in_one_line(kind: type[Exception], arguments: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"samples": X, "distances": D, "thresholds": TAUS}
    assert isinstance(fit_localized(**good), LocalizedFit)
    with pytest.raises(kind, match=words) as caught:
        fit_localized(**good | arguments)
    one_line(caught.value)


def test_the_input_is_left_alone() -> None:
    x, distances, taus = case()
    kept = [array.copy() for array in (x, distances, taus)]
    fit_localized(x, distances, taus, taper="hard")
    for before, after in zip(kept, (x, distances, taus), strict=True):
        assert np.array_equal(before, after)
