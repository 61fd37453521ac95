"""Distances, tapers, merging and localized models: what must hold for any input."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelaug import GaussianModel, LandmarkObject
from modelaug.locality import (
    contour_distances,
    euclidean_distances,
    expand_distances,
    fit_localized,
    merge_bases,
    merge_levels,
    multi_object_distances,
    nearest_correlation,
    taper_weights,
    thresholds,
)
from modelaug.locality.distances import check_distances
from modelaug.locality.merging import principal_angles
from tests.examples import Array
from tests.properties.strategies import generator, seeds
from tests.reference import locality as reference

tapers = st.sampled_from(["hard", "wendland", "gaussian"])
dimensions = st.sampled_from([2, 3])


def _objects(rng: np.random.Generator, m: int) -> list[LandmarkObject]:
    """Return a random partition of m landmarks into objects of random kinds."""
    order, parts = rng.permutation(m), int(rng.integers(1, min(m, 4) + 1))
    cuts = np.sort(rng.choice(np.arange(1, m), size=parts - 1, replace=False))
    kinds: list[Any] = ["closed", "open", "points"]
    return [
        LandmarkObject(f"object {k}", tuple(part.tolist()), kinds[rng.integers(3)])
        for k, part in enumerate(np.split(order, cuts))
    ]


@given(seeds, dimensions, st.integers(1, 10), st.sampled_from([0.0, 1.0, 10.0]))
def test_distances_between_objects_are_a_metric_of_shortest_paths(seed: int, d: int, m: int, stretch: float) -> None:
    rng = generator(seed)
    # Landmarks on a coarse lattice: coincidences and equal ways.
    x = rng.integers(0, 4, size=(m, d)).astype(float)
    objects, crossing = _objects(rng, m), float(rng.integers(0, 3))
    distances = multi_object_distances(x, objects, stretch=stretch, crossing=crossing)
    expected = reference.multi_object_distances(x, [(o.indices, o.kind) for o in objects], stretch, crossing)
    np.testing.assert_allclose(distances, expected, atol=1e-12)
    np.testing.assert_array_equal(check_distances(distances), distances)
    assert (distances[:, None] <= distances[:, :, None] + distances[None] + 1e-9).all()


@given(seeds, dimensions, st.integers(1, 12), st.booleans())
def test_along_a_contour_is_never_shorter_than_straight(seed: int, d: int, m: int, closed: bool) -> None:
    x = generator(seed).normal(size=(m, d))
    distances = contour_distances(x, closed=closed)
    assert (distances >= euclidean_distances(x) - 1e-12).all()
    assert (contour_distances(x, closed=True) <= distances + 1e-12).all()
    np.testing.assert_allclose(contour_distances(x[::-1], closed=closed), distances[::-1, ::-1], atol=1e-12)


@given(seeds, dimensions, tapers, st.floats(0.01, 10))
def test_weights_fall_with_distance_and_rise_with_the_threshold(seed: int, d: int, taper: Any, tau: float) -> None:
    distances = euclidean_distances(generator(seed).normal(size=(9, d)))
    weights = taper_weights(distances, tau, taper)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (np.diag(weights) == 1).all()
    order = np.argsort(distances, axis=None)
    assert (np.diff(weights.ravel()[order]) <= 0).all()
    assert (taper_weights(distances, 1.5 * tau, taper) >= weights).all()
    if taper != "hard":
        assert np.linalg.eigvalsh(weights)[0] > -1e-12


@given(seeds, st.integers(1, 12))
def test_a_repaired_matrix_is_a_correlation_matrix(seed: int, p: int) -> None:
    noise = generator(seed).uniform(-1, 1, size=(p, p))
    matrix = np.clip(noise + noise.T, -1, 1)
    np.fill_diagonal(matrix, 1)
    result = nearest_correlation(matrix)
    assert result.converged
    assert (np.diag(result.matrix) == 1).all()
    assert np.linalg.eigvalsh(result.matrix)[0] > -1e-3
    # The correlation matrices are a convex set: no step towards another of them gets nearer.
    other = np.corrcoef(generator(seed + 1).normal(size=(p, p + 2))).reshape(p, p)
    assert ((matrix - result.matrix) * (other - result.matrix)).sum() < 1e-3 * p**2


@given(seeds, st.integers(2, 15), st.data())
def test_a_merged_basis_is_the_best_that_contains_the_first(seed: int, p: int, data: st.DataObject) -> None:
    rng = generator(seed)
    k2 = data.draw(st.integers(1, p))
    k1 = data.draw(st.integers(1, p))
    p1, p2, p3 = (np.linalg.qr(rng.normal(size=(p, k)))[0] for k in (k1, k2, k2))
    b = merge_bases(p1, p2)
    assert b.shape == (p, max(k1, k2))
    np.testing.assert_allclose(b.T @ b, np.eye(max(k1, k2)), atol=1e-11)
    np.testing.assert_allclose(b @ (b.T @ p1), p1, atol=1e-11)
    if k1 < k2:
        best = (principal_angles(b, p2) ** 2).sum()
        np.testing.assert_allclose(best, (principal_angles(p1, p2) ** 2).sum(), atol=1e-9)
        assert best <= (principal_angles(merge_bases(p1, p3), p2) ** 2).sum() + 1e-9


@given(seeds, st.integers(3, 12), st.sampled_from(["total", "tail", "none"]), st.data())
def test_merged_models_keep_what_they_promise(seed: int, p: int, rescale: Any, data: st.DataObject) -> None:
    rng = generator(seed)
    sizes = data.draw(st.lists(st.integers(1, p), min_size=1, max_size=4))
    levels = [
        GaussianModel(np.zeros(p), np.linalg.qr(rng.normal(size=(p, k)))[0], -np.sort(-rng.uniform(0.1, 2, size=k)))
        for k in sizes
    ]
    first, total = levels[0], levels[0].variances.sum() + 1.0
    merged = merge_levels(levels, rescale=rescale, total=total)
    model = merged.model
    assert model.basis.shape == (p, max(sizes))
    assert merged.skipped == tuple(i > 0 and k <= max(sizes[:i]) for i, k in enumerate(sizes))
    np.testing.assert_allclose(model.basis.T @ model.basis, np.eye(max(sizes)), atol=1e-11)
    covariance = (model.basis * model.variances) @ model.basis.T
    ratio = np.diag(first.basis.T @ covariance @ first.basis) / first.variances
    if rescale == "total":
        np.testing.assert_allclose(model.variances.sum(), first.variances.sum(), rtol=1e-10)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    else:
        np.testing.assert_allclose(ratio, 1, rtol=1e-9)
        if rescale == "tail" and max(sizes) > sizes[0]:
            np.testing.assert_allclose(model.variances.sum(), total, rtol=1e-10)


@given(seeds, st.integers(2, 8), st.integers(2, 9), dimensions, tapers, st.sampled_from(["merge", "mixture"]))
def test_localized_models_are_sound(seed: int, n: int, m: int, d: int, taper: Any, method: Any) -> None:
    rng = generator(seed)
    shapes: Array = rng.normal(size=(m, d)) * 5 + rng.normal(size=(n, m, d))
    if rng.random() < 0.3:
        shapes[:, rng.integers(m), rng.integers(d)] = 0.1  # a constant coordinate
    x = shapes.reshape(n, -1)
    # Any matrix of distances will do, metric or not.
    raw = rng.uniform(0.1, 5, size=(m, m))
    points = raw + raw.T
    np.fill_diagonal(points, 0)
    distances = expand_distances(points, d)
    taus = thresholds(distances, int(rng.integers(1, 5)))
    model, report = fit_localized(x, distances, taus, method=method, taper=taper)
    k = len(model.variances)
    np.testing.assert_allclose(model.basis.T @ model.basis, np.eye(k), atol=1e-10)
    assert (np.diff(model.variances) <= 0).all()
    assert (model.variances >= 0).all()
    np.testing.assert_allclose(model.mean, x.mean(axis=0), atol=1e-12)
    assert all(level.converged for level in report.levels)
    variances = (model.basis**2 @ model.variances).reshape(m, d)
    assert (variances[np.ptp(shapes, axis=0) == 0] < 1e-20).all()
    if method == "merge":
        principal = GaussianModel.from_samples(x, coverage=0.95)
        np.testing.assert_allclose(model.variances.sum(), principal.variances.sum(), rtol=1e-9)
        np.testing.assert_allclose(model.basis @ (model.basis.T @ principal.basis), principal.basis, atol=1e-7)
    else:
        assert 0.949 < report.trace_ratio < 1.01
