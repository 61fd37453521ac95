r"""Is one method of registration better than another, given that test pairs share images?

The differences d_ij of two methods over pairs (i, j) are no independent sample: an image that suits a method shifts
every pair that it is in. With d_ij = μ + u_i + u_j + noise over g images, the mean difference has at least the variance
4 var(u) / g however many pairs there are, so that a t-test over all g (g - 1) pairs finds differences where none are.

The variance estimator for pairs that are correlated if they have a member in common is that of P. Aronow, C. Samii,
V. Assenova: Cluster-robust variance estimation for dyadic data, Political Analysis 23, 2015, and A. Cameron, D. Miller:
Robust inference for dyadic data, 2014. Its bias with few subjects is removed, and its degrees of freedom are found, as
R. Bell and D. McCaffrey do for clusters (Bias reduction in standard errors for linear regression with multi-stage
samples, Survey Methodology 28, 2002), with the model above as the working model.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._arrays import Array

TESTS: Final = {
    "dyadic": "dyadic t",
    "fold_t": "fold t",
}
"""Titles of the tests of `compare_methods` in tables, by their keys."""

_ROUNDING = 1e-12  # relative size below which a difference is a rounding error


def summarize(values: npt.ArrayLike) -> dict[str, Any]:
    """Return the mean, standard deviation, median and range of a sample.

    Parameters
    ----------
    values : array_like, (n,)
        Numbers; NaN, an undefined value, is skipped.

    Returns
    -------
    dict
        ``"n"`` (without NaN), ``"mean"``, ``"std"`` (divisor n - 1), ``"median"``, ``"min"``, ``"max"``; None where
        the sample is too small for it.
    """
    array = np.atleast_1d(np.asarray(values))
    if array.dtype.kind == "f" and array.ndim == 1:
        array = array[~np.isnan(array)]
    if array.shape == (0,):
        return {"n": 0, **dict.fromkeys(("mean", "std", "median", "min", "max"))}
    sample = _checks.finite("values", array, ndim=1, dtype=np.float64)
    return {
        "n": len(sample),
        "mean": float(sample.mean()),
        "std": float(sample.std(ddof=1)) if len(sample) > 1 else None,
        "median": float(np.median(sample)),
        "min": float(sample.min()),
        "max": float(sample.max()),
    }


def compare_methods(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    subjects: npt.ArrayLike,
    *,
    higher_is_better: bool,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Test whether two methods differ in the mean of a metric over the same pairs of images.

    Parameters
    ----------
    a, b : array_like, (n,)
        The metric of both methods for each pair.
    subjects : array_like of integers or strings, (n, 2)
        The fixed and the moving image of each pair. Pairs (i, j) and (j, i) are two.
    higher_is_better
        Whether the method with the higher metric is the better one.
    confidence
        Probability that the confidence interval covers the true mean difference.

    Returns
    -------
    dict
        ``"mean_difference"``
            Mean of a - b.
        ``"confidence_interval"``
            The two ends, of the test ``"dyadic"``.
        ``"better"``
            ``"a"``, ``"b"`` or None: whom the mean favours, be it significant or not.
        ``"effect_size"``
            Cohen's d_z of the subjects' effects e_i: their mean by their standard deviation. They are the least squares
            solution of d_ij = (e_i + e_j) / 2. (A subject's mean over its pairs will not do: half of it is other
            subjects' effects, so the means are correlated.)
        ``"pairs"``, ``"subjects"``, ``"folds"``
            How many; folds are sets of pairs that have no subject in common with others.
        ``"dyadic"``
            t-test with a variance that allows for correlation between pairs with a common subject. The one to report.
            (The paired t-test that papers report takes pairs for independent, and finds far too much where subjects
            matter; ``scipy.stats.ttest_rel(a, b)`` is that.)
        ``"fold_t"``
            t-test of the means of the folds. It allows for whatever the pairs of a fold have in common, such as a
            network trained for them, which the others do not; but there are few folds.

        A test is a dict of ``"p"``, two-sided, ``"t"`` and ``"df"``. It is None where the pairs do not allow for it:
        ``"dyadic"`` with 3 subjects in one fold, ``"fold_t"`` with one fold; or if what it tests has no spread but a
        mean other than 0. Without differences p is 1. The effect size is None with folds of 2 subjects.

    Raises
    ------
    TypeError, ValueError
        If the arrays do not fit each other, a value is not finite, a pair occurs twice or has only one image, or there
        are fewer than 3 subjects.
    """
    first, second = (_checks.finite(name, x, ndim=1, dtype=np.float64) for name, x in (("a", a), ("b", b)))
    if len(first) != len(second):
        raise ValueError(
            f"b holds {len(second)} values but a {len(first)}; pass both methods' metrics of the same pairs"
        )
    if not isinstance(higher_is_better, (bool, np.bool_)):
        raise TypeError(f"higher_is_better is {higher_is_better!r}; pass True or False")
    level = _checks.number("confidence", confidence, above=0.0, maximum=1 - 1e-9)
    members, count = _members(subjects, len(first))
    differences = first - second
    tiny = _ROUNDING * max(float(np.abs(first).max()), float(np.abs(second).max()))
    differences[np.abs(differences) <= tiny] = 0
    mean = float(differences.mean())

    matrix, present = np.zeros((2, count, count))
    matrix[members[:, 0], members[:, 1]] = differences
    present[members[:, 0], members[:, 1]] = 1
    sums, counts = matrix + matrix.T, present + present.T
    fold = _folds(counts)
    effects = _subject_effects(sums, counts)
    n, folds = len(differences), int(fold.max()) + 1
    fold_means = np.bincount(fold[members[:, 0]], differences) / np.bincount(fold[members[:, 0]])
    error, df = _dyadic_error(sums - mean * counts, counts)
    favoured = "a" if (mean > 0) == bool(higher_is_better) else "b"
    return {
        "mean_difference": mean,
        "confidence_interval": _interval(mean, error, df, level, tiny),
        "better": None if abs(mean) <= tiny else favoured,
        "effect_size": None if effects is None else _effect_size(effects, tiny),
        "pairs": n,
        "subjects": count,
        "folds": folds,
        "dyadic": _t_test(mean, error, df, tiny),
        "fold_t": _t_test_of(fold_means, tiny) if folds > 1 else None,
    }


def _members(subjects: npt.ArrayLike, n: int) -> tuple[npt.NDArray[np.int64], int]:
    """Return the subjects of each pair as numbers (n, 2), and the number of subjects."""
    names = np.asarray(subjects)
    if names.shape != (n, 2) or names.dtype.kind not in "iuU":
        raise ValueError(
            f"subjects is an array {names.shape} of {names.dtype}; pass integers or strings ({n}, 2), a fixed and a "
            "moving one for each pair"
        )
    unique, numbers = np.unique(names, return_inverse=True)
    members = numbers.reshape(n, 2).astype(np.int64)
    count = len(unique)
    if count < 3:
        raise ValueError(f"subjects holds {count} different ones; pass pairs of at least 3, to tell them from noise")
    alone = members[:, 0] == members[:, 1]
    if alone.any():
        k = int(np.argmax(alone))
        raise ValueError(f"subjects[{k}] is {names[k].tolist()}, one subject twice; drop the pair")
    _, places, times = np.unique(members @ [count, 1], return_index=True, return_counts=True)
    if times.max() > 1:
        k = int(places[np.argmax(times)])
        raise ValueError(f"subjects holds {names[k].tolist()} {times.max()} times; pass every ordered pair once")
    return members, count


def _folds(counts: Array) -> npt.NDArray[np.int64]:
    """Return the fold of each subject: the number of its connected component in the graph of pairs."""
    return np.asarray(scipy.sparse.csgraph.connected_components(counts > 0, directed=False)[1], np.int64)


def _subject_effects(sums: Array, counts: Array) -> Array | None:
    """Return the least squares solution e (g,) of d_ij = (e_i + e_j) / 2, or None if it is not unique.

    `sums` and `counts` (g, g) hold the sum of the differences of the pairs of i and j, and their number.
    """
    normal = counts + np.diag(counts.sum(axis=1))
    spectrum = np.linalg.eigvalsh(normal)
    if spectrum[0] < 1e-9 * spectrum[-1]:
        return None
    return np.asarray(2 * np.linalg.solve(normal, sums.sum(axis=1)))


def _dyadic_error(residuals: Array, counts: Array) -> tuple[float, float]:
    """Return the standard error of the mean and its degrees of freedom; both NaN where the pairs do not determine it.

    With Z (n, g) saying who is in which pair and D (n, p) which unordered pair {i, j} it is, pairs with a common member
    are the entries of A = Z Z^T - D D^T, and the variance is that of Aronow et al., r^T A r / n², with the residuals
    r = M d, where M subtracts the mean. For cov(d) = Z Z^T its expectation is too low by the factor

        tr(M A M Z Z^T) / 1^T Z Z^T 1.

    The estimate may come out too low by chance, even negative. It is at least that for A = D D^T, which allows for
    correlation only within {(i, j), (j, i)}, since subjects add variance and take none away.

    `residuals` and `counts` (g, g) hold the sum of r over the pairs of i and j, and their number. Only matrices of this
    size are needed: Z^T Z = counts + diag(counts 1), and so on.
    """
    n = counts.sum() / 2
    degree = counts.sum(axis=1)
    share = degree / n  # the mean row of Z
    centered = counts + np.diag(degree) - n * np.outer(share, share)  # Z^T M Z
    squared = counts**2
    # (D^T M Z)^T (D^T M Z), from its rows c_p (e_i + e_j - share).
    within = squared + np.diag(squared.sum(axis=1)) + squared.sum() / 2 * np.outer(share, share)
    within -= np.outer(squared.sum(axis=1), share) + np.outer(share, squared.sum(axis=1))
    form = centered @ centered - within  # Z^T M A M Z
    trace = float(np.trace(form))
    if trace <= 1e-9 * float(np.trace(centered @ centered)):
        return np.nan, np.nan
    pairs = float((residuals**2).sum() / 2)
    dyadic = (float((residuals.sum(axis=1) ** 2).sum()) - pairs) * float(degree @ degree) / trace
    # ||D^T M D||² = ||diag(c) - c c^T / n||².
    c = counts[np.triu_indices(len(counts), 1)]
    norm = float((c**2).sum() - 2 * (c**3).sum() / n + (c**2).sum() ** 2 / n**2)
    least = pairs * float((c**2).sum()) / norm if norm > 0 else 0.0
    df = trace**2 / float((form * form.T).sum())
    return float(np.sqrt(max(dyadic, least))) / n, df


def _t_test(estimate: float, error: float, df: float, tiny: float) -> dict[str, float] | None:
    if not np.isfinite(error):
        return None
    if error <= tiny:
        return {"t": 0.0, "df": df, "p": 1.0} if abs(estimate) <= tiny else None
    t = estimate / error
    return {"t": t, "df": df, "p": float(2 * scipy.special.stdtr(df, -abs(t)))}


def _t_test_of(sample: Array, tiny: float) -> dict[str, float] | None:
    """Return the t-test of a sample's mean against 0."""
    error = float(sample.std(ddof=1)) / np.sqrt(len(sample))
    return _t_test(float(sample.mean()), error, len(sample) - 1.0, tiny)


def _interval(mean: float, error: float, df: float, level: float, tiny: float) -> list[float] | None:
    if _t_test(mean, error, df, tiny) is None:
        return None
    half = error * float(scipy.special.stdtrit(df, (1 + level) / 2))
    return [mean - half, mean + half]


def _effect_size(sample: Array, tiny: float) -> float | None:
    mean, deviation = float(sample.mean()), float(sample.std(ddof=1))
    if deviation <= tiny:
        return 0.0 if abs(mean) <= tiny else None
    return mean / deviation
