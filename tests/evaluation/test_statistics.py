"""Tests between methods on pairs that share images."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from modelaug.evaluation import compare_methods, summarize
from tests.examples import one_line, philox

Array = npt.NDArray[np.float64]
TESTS = ("dyadic", "fold_t")


def design(*sizes: int) -> npt.NDArray[np.int64]:
    """Return all ordered pairs within folds of these sizes."""
    starts = np.cumsum([0, *sizes])
    return np.array([p for a, b in pairwise(starts.tolist()) for p in permutations(range(a, b), 2)])


def compare(differences: Array, subjects: npt.ArrayLike, **options: Any) -> dict[str, Any]:
    return compare_methods(differences, np.zeros(len(differences)), subjects, higher_is_better=True, **options)


def straightforward(d: Array, subjects: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return standard error and degrees of freedom with matrices (n, n), as in the papers."""
    n = len(d)
    z = np.zeros((n, subjects.max() + 1))
    for k, (i, j) in enumerate(subjects):
        z[k, i] = z[k, j] = 1
    sets = [set(pair) for pair in subjects.tolist()]
    sharing = np.array([[bool(p & q) for q in sets] for p in sets], float)
    same = np.array([[p == q for q in sets] for p in sets], float)
    center = np.eye(n) - 1 / n
    residuals = center @ d
    variances = []
    for weights, working in ((sharing, z @ z.T), (same, same)):
        form = center @ weights @ center @ working
        correction = working.sum() / np.trace(form)
        variances.append(residuals @ weights @ residuals / n**2 * correction)
    form = center @ sharing @ center @ z @ z.T
    return float(np.sqrt(max(variances))), float(np.trace(form) ** 2 / np.trace(form @ form))


@pytest.mark.parametrize("sizes", [(6,), (4, 4, 4), (5, 3, 2), (2, 2, 2, 2)])
def test_the_dyadic_error_is_that_of_full_matrices(sizes: tuple[int, ...]) -> None:
    rng = philox(1)
    subjects = design(*sizes)
    for effect in (0.0, 2.0):
        u = effect * rng.normal(size=sum(sizes))
        d = u[subjects[:, 0]] + u[subjects[:, 1]] + rng.normal(size=len(subjects))
        order = rng.permutation(len(d))[: len(d) - (len(sizes) < 4)]  # nor does order matter, nor must all be there
        error, df = straightforward(d[order], subjects[order])
        found = compare(d[order], subjects[order])
        assert found["dyadic"]["t"] == pytest.approx(d[order].mean() / error)
        assert found["dyadic"]["df"] == pytest.approx(df)
        p = 2 * scipy.stats.t.sf(abs(d[order].mean() / error), df)
        assert found["dyadic"]["p"] == pytest.approx(p)
        low, high = found["confidence_interval"]
        assert (low + high) / 2 == pytest.approx(d[order].mean())
        assert (high - low) / 2 == pytest.approx(scipy.stats.t.ppf(0.975, df) * error)


def test_one_fold_has_a_degree_of_freedom_per_subject_but_one() -> None:
    for n in (4, 7, 12):
        d = philox(n).normal(size=n * (n - 1))
        assert compare(d, design(n))["dyadic"]["df"] == pytest.approx(n - 1)
    # With folds of two subjects there is a degree of freedom per fold but one.
    assert compare(philox(0).normal(size=12), design(*[2] * 6))["dyadic"]["df"] == pytest.approx(5)


def test_the_variance_is_without_bias() -> None:
    # E[error²] is the true variance of the mean, with and without effects of subjects, and for few subjects.
    rng, subjects = philox(2), design(7)
    n = len(subjects)
    u = 1.5 * rng.normal(size=(3000, 7))
    d = u[:, subjects[:, 0]] + u[:, subjects[:, 1]] + 0.5 * rng.normal(size=(3000, n))
    squares = [x["mean_difference"] ** 2 / x["dyadic"]["t"] ** 2 for x in (compare(row, subjects) for row in d[:800])]
    truth = 4 * 1.5**2 / 7 + 0.5**2 / n
    assert np.var(d.mean(axis=1)) == pytest.approx(truth, rel=0.1)
    assert np.mean(squares) == pytest.approx(truth, rel=0.1)


def test_the_test_of_folds_is_that_of_scipy() -> None:
    rng, subjects = philox(3), design(4, 4)
    a, b = rng.normal(size=(2, len(subjects)))
    found = compare_methods(a, b, subjects, higher_is_better=False)
    assert (found["pairs"], found["subjects"], found["folds"]) == (24, 8, 2)
    expected = scipy.stats.ttest_1samp([(a - b)[:12].mean(), (a - b)[12:].mean()], 0)
    assert found["fold_t"]["t"] == pytest.approx(expected.statistic)
    assert found["fold_t"]["p"] == pytest.approx(expected.pvalue)
    assert found["fold_t"]["df"] == expected.df
    assert found["better"] == ("b" if (a - b).mean() > 0 else "a")


def test_effects_of_subjects_are_found() -> None:
    # Without noise the least squares solution is exact, for folds of different sizes with pairs missing.
    rng, subjects = philox(4), design(5, 3)
    effects = 1 + rng.normal(size=8)
    kept = [k for k in range(len(subjects)) if k not in (1, 7)]
    d = ((effects[subjects[:, 0]] + effects[subjects[:, 1]]) / 2)[kept]
    found = compare(d, subjects[kept])
    assert found["effect_size"] == pytest.approx(effects.mean() / effects.std(ddof=1))


def rejections(kind: str, repeats: int = 400) -> dict[str, float]:
    """Return how often each test finds, at 5 %, a difference where none is: 5 folds of 8 subjects, as in the paper."""
    rng, subjects = philox(5), design(*[8] * 5)
    fixed, moving = subjects.T
    total = dict.fromkeys((*TESTS, "paired_t"), 0.0)
    covered = 0.0
    for _ in range(repeats):
        noise = rng.normal(size=len(subjects))
        u, v = rng.normal(size=(2, 40))
        d = {
            "no effects": noise,
            "one effect": u[fixed] + u[moving] + 0.5 * noise,
            "two effects": u[fixed] + 0.7 * v[moving] + 0.5 * noise,
            "heavy tails": np.sinh(1.2 * u)[fixed] + np.sinh(1.2 * u)[moving] + 0.5 * noise,
            "folds": rng.normal(size=5)[fixed // 8] + u[fixed] + u[moving] + 0.5 * noise,
        }[kind]
        found = compare(d, subjects)
        low, high = found["confidence_interval"]
        covered += (low <= 0 <= high) / repeats
        for name in TESTS:
            total[name] += (found[name]["p"] < 0.05) / repeats
        total["paired_t"] += (scipy.stats.ttest_1samp(d, 0).pvalue < 0.05) / repeats
    assert covered == pytest.approx(1 - total["dyadic"])
    return total


# With 400 repeats the standard deviation of a rate of 0.05 is 0.011.
@pytest.mark.parametrize("kind", ["one effect", "two effects"])
def test_only_the_naive_test_finds_differences_where_none_are(kind: str) -> None:
    found = rejections(kind)
    assert found["paired_t"] > 0.3
    for name in TESTS:
        assert 0.02 <= found[name] <= 0.085, name


def test_heavy_tails_make_no_test_find_too_much() -> None:
    found = rejections("heavy tails")
    assert found["paired_t"] > 0.3
    for name in TESTS:
        assert found[name] <= 0.085, name


def test_without_effects_of_subjects_all_are_valid() -> None:
    found = rejections("no effects")
    assert 0.02 <= found["paired_t"] <= 0.085
    for name in TESTS:
        assert found[name] <= 0.085, name


def test_only_the_test_of_folds_allows_for_what_a_fold_has_in_common() -> None:
    found = rejections("folds")
    assert 0.02 <= found["fold_t"] <= 0.085
    assert found["dyadic"] > 0.085


def test_true_differences_are_found() -> None:
    rng, subjects = philox(6), design(*[8] * 5)
    u = rng.normal(size=40)
    d = 1.5 + u[subjects[:, 0]] + u[subjects[:, 1]] + rng.normal(size=len(subjects))
    found = compare(d, subjects)
    assert found["better"] == "a"
    assert found["dyadic"]["p"] < 0.01
    assert found["fold_t"]["p"] < 0.1
    low, high = found["confidence_interval"]
    assert 0 < low < 1.5 < high
    wide = compare(d, subjects, confidence=0.99)["confidence_interval"]
    assert wide[0] < low < high < wide[1]


def test_swapping_methods_turns_signs_and_nothing_else() -> None:
    rng, subjects = philox(7), design(5, 4)
    a, b = rng.normal(size=(2, len(subjects)))
    one = compare_methods(a, b, subjects, higher_is_better=True)
    names = np.array([f"subject {i}" for i in range(9)])[subjects]
    other = compare_methods(b, a, names, higher_is_better=False)
    assert other["better"] == one["better"] or {one["better"], other["better"]} == {"a", "b"}
    assert other["mean_difference"] == -one["mean_difference"]
    assert other["effect_size"] == pytest.approx(-one["effect_size"])
    for name in TESTS:
        assert other[name]["p"] == pytest.approx(one[name]["p"])


@pytest.mark.parametrize("sizes", [(3,), (4,), (2, 2), (3, 3), (8, 7)])
def test_equal_methods_and_constant_differences(sizes: tuple[int, ...]) -> None:
    subjects = design(*sizes)
    a = 0.1 + philox(8).random(len(subjects))
    same = compare_methods(a, a, subjects, higher_is_better=True)
    assert same["mean_difference"] == 0
    assert same["better"] is None
    assert all(same[name] is None or same[name]["p"] == 1 for name in TESTS)
    assert same["confidence_interval"] in (None, [0, 0])
    constant = compare_methods(a + 0.3, a, subjects, higher_is_better=True)
    assert constant["mean_difference"] == pytest.approx(0.3)
    assert constant["better"] == "a"
    assert all(constant[name] is None for name in (*TESTS, "confidence_interval", "effect_size"))
    json.dumps([same, constant], allow_nan=False)


def test_differences_that_cancel_within_two_images() -> None:
    # d_ij = -d_ji: no subject's mean differs from 0, in any way.
    subjects = design(5)
    matrix = philox(9).normal(size=(5, 5))
    found = compare((matrix - matrix.T)[tuple(subjects.T)], subjects)
    assert found["dyadic"]["p"] == 1
    assert found["effect_size"] == 0
    assert found["better"] is None


def test_what_the_pairs_do_not_allow_for_is_none() -> None:
    three = compare(philox(10).normal(size=6), design(3))
    assert three["dyadic"] is None
    assert three["confidence_interval"] is None
    assert three["fold_t"] is None
    assert three["effect_size"] is not None
    twos = compare(philox(11).normal(size=6), design(2, 2, 2))
    assert twos["effect_size"] is None
    assert twos["fold_t"]["p"] == pytest.approx(twos["dyadic"]["p"])


def test_results_are_plain_numbers() -> None:
    found = compare(philox(12).normal(size=24), design(4, 4))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, s: compare(d[:5], s), "subjects is an array"),
        (lambda d, s: compare(d, s.astype(float)), "subjects is an array"),
        (lambda d, s: compare(d[:2], s[[0, 3]]), "holds 2 different ones"),
        (lambda d, s: compare(d, np.where(s == 1, 0, s)), "one subject twice"),
        (lambda d, s: compare(d[[0, 1, 2, 0]], s[[0, 1, 2, 0]]), "2 times"),
        (lambda d, s: compare(np.where(d == d[2], np.nan, d), s), "not finite"),
        (lambda d, s: compare(d, s, confidence=1.0), "confidence is 1"),
        (lambda d, s: compare_methods(d, d[1:], s, higher_is_better=True), "b holds 11 values"),
    ],
)
def test_bad_arguments_are_refused(call: Callable[[Array, npt.NDArray[np.int64]], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call(philox(13).normal(size=12), design(4))
    one_line(caught.value)


def test_the_direction_must_be_said() -> None:
    with pytest.raises(TypeError, match="higher_is_better is 'yes'; pass True or False"):
        compare_methods([1.0] * 6, [2.0] * 6, design(3), higher_is_better="yes")  # type: ignore[arg-type]


def test_summaries() -> None:
    assert summarize([1, 2, 6]) == {
        "n": 3,
        "mean": 3.0,
        "std": pytest.approx(np.sqrt(7)),
        "median": 2.0,
        "min": 1.0,
        "max": 6.0,
    }
    assert summarize([np.nan, 4.0, np.nan])["n"] == 1
    assert summarize([4.0])["std"] is None
    assert summarize([]) == summarize([np.nan]) == {"n": 0, **dict.fromkeys(("mean", "std", "median", "min", "max"))}
    with pytest.raises(ValueError, match="not finite"):
        summarize([1.0, np.inf])
    with pytest.raises(ValueError, match="axes"):
        summarize([[1.0, 2.0]])
