"""Merging of subspaces and of models: what is optimal, what is kept, and the long way round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelaug import GaussianModel
from modelaug.locality import merge_bases, merge_levels
from modelaug.locality.merging import principal_angles
from tests.examples import Array, one_line, philox
from tests.reference import locality as reference

RESCALES = ("total", "tail", "none")


def orthonormal(rng: np.random.Generator, p: int, k: int) -> Array:
    return np.linalg.qr(rng.normal(size=(p, k)))[0]


def projector(basis: Array) -> Array:
    return basis @ basis.T


def distance(p1: Array, p2: Array) -> float:
    """Return the Grassmann distance of two subspaces."""
    return float(np.sqrt((principal_angles(p1, p2) ** 2).sum()))


def model(rng: np.random.Generator, p: int, k: int) -> GaussianModel:
    return GaussianModel(np.zeros(p), orthonormal(rng, p, k), np.sort(rng.uniform(0.1, 5, size=k))[::-1].copy())


def covariance(merged: GaussianModel) -> Array:
    return (merged.basis * merged.variances) @ merged.basis.T


SIZES = [(12, 1, 2), (12, 3, 5), (12, 4, 11), (12, 5, 12), (40, 6, 17)]


@pytest.mark.parametrize(("p", "k1", "k2"), SIZES)
def test_the_merged_basis_is_orthonormal_and_contains_the_first(p: int, k1: int, k2: int) -> None:
    rng = philox(p + k2)
    p1, p2 = orthonormal(rng, p, k1), orthonormal(rng, p, k2)
    b = merge_bases(p1, p2)
    assert b.shape == (p, k2)
    np.testing.assert_allclose(b.T @ b, np.eye(k2), atol=1e-12)
    np.testing.assert_allclose(b @ (b.T @ p1), p1, atol=1e-12)
    np.testing.assert_allclose(projector(b), projector(reference.merged_basis(p1, p2)), atol=1e-10)


@pytest.mark.parametrize(("p", "k1", "k2"), SIZES)
def test_its_distance_to_the_second_is_that_of_the_first(p: int, k1: int, k2: int) -> None:
    rng = philox(p + k2)
    p1, p2 = orthonormal(rng, p, k1), orthonormal(rng, p, k2)
    theta = np.arccos(np.clip(np.linalg.svd(p1.T @ p2, compute_uv=False), 0, 1))
    np.testing.assert_allclose(principal_angles(p1, p2), np.sort(theta)[::-1], atol=1e-7)
    np.testing.assert_allclose(distance(merge_bases(p1, p2), p2) ** 2, (theta**2).sum(), atol=1e-7)


@pytest.mark.parametrize("near", [None, 1e-3, 1e-2, 0.1, 1.0])
@pytest.mark.parametrize(("p", "k1", "k2"), [(12, 3, 5), (20, 6, 14)])
def test_no_other_subspace_that_contains_the_first_is_nearer(p: int, k1: int, k2: int, near: float | None) -> None:
    rng = philox(k2)
    p1, p2 = orthonormal(rng, p, k1), orthonormal(rng, p, k2)
    b = merge_bases(p1, p2)
    best = distance(b, p2)
    for _ in range(200 if near is None else 50):
        noise = rng.normal(size=(p, k2 - k1))
        tail = noise if near is None else b[:, k1:] + near * noise / np.sqrt(p)
        competitor, _ = np.linalg.qr(np.hstack([p1, tail]))
        np.testing.assert_allclose(competitor @ (competitor.T @ p1), p1, atol=1e-12)
        assert distance(competitor, p2) > best


@pytest.mark.parametrize(("p", "k1", "k2"), SIZES)
def test_the_choice_of_the_bases_does_not_matter(p: int, k1: int, k2: int) -> None:
    rng = philox(p + k2)
    p1, p2 = orthonormal(rng, p, k1), orthonormal(rng, p, k2)
    expected = projector(merge_bases(p1, p2))
    signs = [rng.choice([-1, 1], size=k) for k in (k1, k2)]
    np.testing.assert_allclose(projector(merge_bases(p1 * signs[0], p2 * signs[1])), expected, atol=1e-10)
    turned = merge_bases(p1 @ orthonormal(rng, k1, k1), p2 @ orthonormal(rng, k2, k2))
    np.testing.assert_allclose(projector(turned), expected, atol=1e-10)


def test_a_known_pair_of_subspaces() -> None:
    # A line 0.3 radians off the plane of x and y, along x: the nearest plane that contains it keeps y.
    line = np.array([[np.cos(0.3)], [0.0], [np.sin(0.3)]])
    plane = np.eye(3)[:, :2]
    merged = merge_bases(line, plane)
    np.testing.assert_allclose(projector(merged), projector(np.hstack([line, plane[:, 1:]])), atol=1e-12)
    np.testing.assert_allclose(principal_angles(merged, plane), [0.3, 0.0], atol=1e-12)


def test_a_subspace_that_contains_the_first_is_not_changed() -> None:
    p2 = orthonormal(philox(1), 15, 7)
    p1 = p2 @ orthonormal(philox(2), 7, 3)
    np.testing.assert_allclose(projector(merge_bases(p1, p2)), projector(p2), atol=1e-12)


def test_small_angles_are_accurate() -> None:
    p1 = np.array([[np.cos(1e-9)], [np.sin(1e-9)]])
    np.testing.assert_allclose(principal_angles(p1, np.eye(2)[:, :1]), [1e-9], rtol=1e-6)


def test_a_second_basis_that_is_no_larger_is_skipped() -> None:
    p1 = orthonormal(philox(3), 10, 4)
    for k in (1, 3, 4):
        assert np.array_equal(merge_bases(p1, orthonormal(philox(k), 10, k)), p1)


def test_single_precision_stays() -> None:
    p1, p2 = (orthonormal(philox(k), 200, k).astype(np.float32) for k in (3, 8))
    b = merge_bases(p1, p2)
    assert b.dtype == np.float32
    np.testing.assert_allclose(b.T @ b, np.eye(8), atol=1e-5)
    merged = merge_levels([GaussianModel(np.zeros(200, np.float32), p, np.ones(p.shape[1])) for p in (p1, p2)]).model
    assert merged.basis.dtype == np.float32
    assert merged.variances.dtype == np.float64
    np.testing.assert_allclose(projector(merged.basis), projector(b), atol=1e-5)


@pytest.mark.parametrize("rescale", ["total", "none"])
@pytest.mark.parametrize("sizes", [(3, 7), (3, 7, 12), (2, 5, 4, 9), (4, 4, 3)])
def test_merged_models_agree_with_the_long_way(sizes: tuple[int, ...], rescale: Any) -> None:
    rng = philox(len(sizes))
    levels = [model(rng, 25, k) for k in sizes]
    merged = merge_levels(levels, rescale=rescale)
    basis, variances = levels[0].basis, levels[0].variances
    for level in levels[1:]:
        basis, variances = reference.merged(basis, variances, level.basis, level.variances, scale=rescale == "total")
    np.testing.assert_allclose(merged.model.variances, np.sort(variances)[::-1], rtol=1e-10)
    np.testing.assert_allclose(projector(merged.model.basis), projector(basis), atol=1e-10)
    np.testing.assert_allclose(covariance(merged.model), (basis * variances) @ basis.T, atol=1e-10)
    assert merged.skipped == tuple(i > 0 and k <= max(sizes[:i]) for i, k in enumerate(sizes))


def test_total_keeps_the_sum_and_the_proportions_of_the_first() -> None:
    rng = philox(4)
    levels = [model(rng, 25, k) for k in (3, 7, 12)]
    merged = merge_levels(levels, rescale="total").model
    np.testing.assert_allclose(merged.variances.sum(), levels[0].variances.sum(), rtol=1e-12)
    along = np.diag(levels[0].basis.T @ covariance(merged) @ levels[0].basis)
    ratio = along / levels[0].variances
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-10)
    assert ratio[0] < 1


@pytest.mark.parametrize("rescale", ["tail", "none"])
def test_tail_and_none_keep_the_firsts_variances(rescale: Any) -> None:
    rng = philox(5)
    levels = [model(rng, 25, k) for k in (3, 7, 12)]
    merged = merge_levels(levels, rescale=rescale, total=levels[0].variances.sum() + 2.5).model
    first = levels[0].basis
    np.testing.assert_allclose(covariance(merged) @ first, first * levels[0].variances, atol=1e-10)
    if rescale == "tail":
        np.testing.assert_allclose(merged.variances.sum(), levels[0].variances.sum() + 2.5, rtol=1e-12)
        # One factor for all that the levels added.
        tails = [covariance(m) - covariance(levels[0]) for m in (merged, merge_levels(levels, rescale="none").model)]
        np.testing.assert_allclose(tails[0] / np.trace(tails[0]), tails[1] / np.trace(tails[1]), atol=1e-12)


def test_none_keeps_the_finer_covariance_of_the_added_modes() -> None:
    rng = philox(6)
    coarse, fine = model(rng, 25, 4), model(rng, 25, 9)
    merged = covariance(merge_levels([coarse, fine], rescale="none").model)
    added = merge_bases(coarse.basis, fine.basis)[:, 4:]
    np.testing.assert_allclose(added.T @ merged @ added, added.T @ covariance(fine) @ added, atol=1e-10)
    np.testing.assert_allclose(coarse.basis.T @ merged @ added, 0, atol=1e-10)


@pytest.mark.parametrize("rescale", RESCALES)
def test_the_bases_signs_and_rotations_do_not_matter(rescale: Any) -> None:
    rng = philox(7)
    levels = [model(rng, 20, k) for k in (3, 8)]
    flipped = [
        GaussianModel(m.mean, m.basis * rng.choice([-1.0, 1.0], size=len(m.variances)), m.variances) for m in levels
    ]
    total = levels[0].variances.sum() + 1
    expected, result = (merge_levels(part, rescale=rescale, total=total).model for part in (levels, flipped))
    np.testing.assert_allclose(result.basis, expected.basis, atol=1e-10)
    np.testing.assert_allclose(result.variances, expected.variances, rtol=1e-10)


@pytest.mark.parametrize("rescale", RESCALES)
def test_modes_are_sorted_orthonormal_and_of_fixed_sign(rescale: Any) -> None:
    rng = philox(8)
    levels = [model(rng, 30, k) for k in (3, 8, 19, 30)]
    merged = merge_levels(levels, rescale=rescale, total=levels[0].variances.sum() + 1).model
    np.testing.assert_allclose(merged.basis.T @ merged.basis, np.eye(30), atol=1e-12)
    assert (np.diff(merged.variances) <= 0).all()
    assert (merged.basis[np.abs(merged.basis).argmax(axis=0), np.arange(30)] > 0).all()


def test_weak_principal_components_become_orthonormal() -> None:
    # Through the Gram matrix, modes of tiny variance are orthonormal to single precision only.
    rng = philox(9)
    first = model(rng, 30, 5)
    bent = first.basis + 1e-6 * rng.normal(size=(30, 5))
    merged = merge_levels([GaussianModel(first.mean, bent, first.variances), model(rng, 30, 12)]).model
    np.testing.assert_allclose(merged.basis.T @ merged.basis, np.eye(12), atol=1e-12)


def test_one_level_is_returned_as_it_is() -> None:
    first = model(philox(10), 12, 4)
    for rescale in RESCALES:
        merged = merge_levels([first], rescale=rescale)  # type: ignore[arg-type]
        assert merged.skipped == (False,)
        np.testing.assert_allclose(covariance(merged.model), covariance(first), atol=1e-12)


P1, P2 = orthonormal(philox(11), 8, 2), orthonormal(philox(12), 8, 3)


@pytest.mark.parametrize(
    ("kind", "p1", "p2", "words"),
    [
        (ValueError, P1 * 1.01, P2, "p1 is not orthonormal"),
        (ValueError, P1, np.hstack([P2, P2[:, :1]]), "p2 is not orthonormal"),
        (ValueError, P1[:, 0], P2, "p1 has shape"),
        (ValueError, P1, np.eye(9)[:, :3], "p1 has 8 rows and p2 9"),
        (ValueError, P1, np.full((8, 3), np.nan), "p2"),
        (TypeError, P1, P2.astype(str), "p2 has dtype"),
    ],
)
def test_bad_bases_are_refused_in_one_line(kind: type[Exception], p1: Any, p2: Any, words: str) -> None:
    for function in (merge_bases, principal_angles):
        with pytest.raises(kind, match=words) as caught:
            function(p1, p2)
        one_line(caught.value)


LEVELS = [model(philox(13), 8, 2), model(philox(14), 8, 5)]


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (ValueError, {"levels": []}, "levels is empty"),
        (ValueError, {"levels": [LEVELS[0], model(philox(15), 9, 5)]}, "rows"),
        (ValueError, {"rescale": "all"}, "rescale is 'all'"),
        (TypeError, {"rescale": "tail"}, "total is None"),
        (ValueError, {"rescale": "tail", "total": -1.0}, "total is -1.0"),
        (ValueError, {"rescale": "tail", "total": LEVELS[0].variances.sum()}, "the first level keeps all variance"),
    ],
)
def test_bad_levels_are_refused_in_one_line(kind: type[Exception], arguments: dict[str, Any], words: str) -> None:
    merge_levels(LEVELS)
    with pytest.raises(kind, match=words) as caught:
        merge_levels(**{"levels": LEVELS} | arguments)
    one_line(caught.value)
