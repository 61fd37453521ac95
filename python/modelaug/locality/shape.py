"""Shape models under the locality assumption, with far more modes than samples.

M. Wilms, H. Handels, J. Ehrhardt: Multi-resolution multi-object statistical shape models based on the locality
assumption. Medical Image Analysis 38, 2017. The kernel mixture and tapers in place of cuts: M. Wilms, J. Ehrhardt,
N. D. Forkert: A kernelized multi-level localization method for flexible shape modeling with few training data.
MICCAI 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array
from modelaug.locality.correlation import nearest_correlation
from modelaug.locality.distances import check_distances
from modelaug.locality.gaussian import GaussianModel, modes_to_cover
from modelaug.locality.merging import RESCALES, Rescale, merge_levels, model_of_modes
from modelaug.locality.tapers import TAPERS, Taper, check_thresholds, taper_weights

_INDEFINITE = -1e-10  # a smaller eigenvalue, relative to the largest, is no rounding error
_NOISE = 1e-12  # eigenvalues below this fraction of the largest are rounding errors


class Spread(NamedTuple):
    """Smallest number, median and largest of several."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class LevelReport:
    """Effects of one level of locality.

    Attributes
    ----------
    threshold
        Distance beyond which correlations are removed; for the first level of a merged model and for a mixture, the
        largest threshold.
    modes
        Number of modes of the level alone.
    trace_ratio
        Total variance of the level's modes, relative to the data's.
    smallest_eigenvalue
        Smallest eigenvalue of the localized correlation matrix, which is repaired if it is well below 0.
    iterations
        Iterations of the repair; 0 without one.
    converged
        Whether the repair reached its tolerance.
    repair_norm
        Relative change of the correlation matrix by the repair, in the Frobenius norm.
    put_back
        Largest absolute correlation that the repair restored where the taper is 0.
    skipped
        Whether the level had no more modes than those before it together and so added none.
    """

    threshold: float
    modes: int
    trace_ratio: float
    smallest_eigenvalue: float = 0.0
    iterations: int = 0
    converged: bool = True
    repair_norm: float = 0.0
    put_back: float = 0.0
    skipped: bool = False


@dataclass(frozen=True)
class LocalityReport:
    """Effects of locality on a model, relative to its samples.

    Attributes
    ----------
    levels : tuple of LevelReport
        One per level; a single one for a kernel mixture.
    trace_ratio
        Total variance of the model, relative to the data's.
    coordinates : Spread
        Variance of each varying coordinate, relative to the data's.
    global_modes : Spread
        Variance along each principal component of the data within the coverage, relative to the data's.
    """

    levels: tuple[LevelReport, ...]
    trace_ratio: float
    coordinates: Spread
    global_modes: Spread


class LocalizedFit(NamedTuple):
    """A model and the report on its locality."""

    model: GaussianModel
    report: LocalityReport


def localized_model(
    samples: npt.ArrayLike,
    distances: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    *,
    taper: Taper = "gaussian",
    coverage: float = 0.95,
    rescale: Rescale = "total",
) -> GaussianModel:
    """Return the multi-level model of samples: principal components with merged, ever more local modes.

    This is the model of `fit_localized` with ``method="merge"``.

    Examples
    --------
    >>> from modelaug import phantoms, procrustes
    >>> from modelaug.locality import euclidean_distances, expand_distances, localized_model, thresholds
    >>> alignment = procrustes(phantoms.heart(8, shape=(48, 48)).landmarks)
    >>> distances = expand_distances(euclidean_distances(alignment.mean), 2)
    >>> model = localized_model(alignment.shapes.reshape(8, -1), distances, thresholds(distances, 4))
    >>> model.basis.shape[1] > 7  # without locality, 8 shapes have at most 7 modes
    True
    """
    return fit_localized(samples, distances, thresholds, taper=taper, coverage=coverage, rescale=rescale).model


def kernel_mixture_model(
    samples: npt.ArrayLike,
    distances: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    *,
    taper: Taper = "gaussian",
    coverage: float = 0.95,
) -> GaussianModel:
    """Return the model of the data's covariance weighted by the mean of the levels' tapers.

    This is the model of `fit_localized` with ``method="mixture"``.
    """
    return fit_localized(samples, distances, thresholds, method="mixture", taper=taper, coverage=coverage).model


def fit_localized(
    samples: npt.ArrayLike,
    distances: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    *,
    method: Literal["merge", "mixture"] = "merge",
    taper: Taper = "gaussian",
    coverage: float = 0.95,
    rescale: Rescale = "total",
) -> LocalizedFit:
    """Fit a model of few samples in which distant coordinates vary independently, and report the effects of locality.

    The first level is global: principal components. Level l > 1 tapers the correlations R of the coordinates by their
    distances D, ``R_l = R ∘ w(D; tau_l)``. Where R_l is indefinite, as after a hard cut, the nearest correlation matrix
    replaces it. With the standard deviations sigma of the data, the fewest modes of
    ``C_l = diag(sigma) R_l diag(sigma)`` that reach the coverage are kept. ``"merge"`` merges the levels in order (see
    `merge_levels`); ``"mixture"`` averages the tapers of all levels (1 for the first) and decomposes once, which keeps
    the variance of every coordinate up to the coverage.

    Memory: a few p x p matrices.

    Parameters
    ----------
    samples : array_like, (n, p)
        At least 2 that are not all equal.
    distances : array_like, (p, p)
        Between the coordinates; see `expand_distances`.
    thresholds : array_like, (levels,)
        Strictly falling, in the unit of the distances. The first stands for the global level, which is not tapered.
    method
        ``"merge"`` or ``"mixture"``.
    taper
        ``"hard"``, ``"wendland"`` or ``"gaussian"``.
    coverage
        Fraction of each level's variance (or the mixture's) to keep.
    rescale
        Scaling of variances when merging: ``"total"``, ``"tail"`` or ``"none"``, see `merge_levels`. A mixture needs
        none.

    Returns
    -------
    LocalizedFit
        The model, float64, and its report.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 2 samples or all are equal, the distances are no matrix of distances between the
        samples' coordinates, the thresholds are not positive and strictly falling, or an option is unknown.
    """
    x = _checks.finite("samples", samples, ndim=2, dtype=np.float64)
    d = check_distances(distances)
    if len(d) != (p := x.shape[1]):
        raise ValueError(f"distances has shape {d.shape} for samples of {p} coordinates; see expand_distances")
    taus = check_thresholds(thresholds)
    _checks.choice("method", method, ("merge", "mixture"))
    _checks.choice("taper", taper, TAPERS)
    _checks.choice("rescale", rescale, RESCALES)
    principal = GaussianModel.from_samples(x, coverage=coverage)
    data = _Data.of(x)
    first = LevelReport(float(taus[0]), modes=len(principal.variances), trace_ratio=data.ratio(principal))
    tapers = [taper_weights(d, float(tau), taper) for tau in taus[1:]]
    if method == "mixture":
        model, report = data.localized(np.mean([np.ones_like(d), *tapers], axis=0), float(taus[0]), coverage)
        reports = [report]
    else:
        fitted = [data.localized(weights, float(tau), coverage) for weights, tau in zip(tapers, taus[1:], strict=True)]
        merged = merge_levels([principal, *(level for level, _ in fitted)], rescale=rescale, total=data.total)
        model, reports = merged.model, [first, *(report for _, report in fitted)]
        reports = [replace(r, skipped=s) for r, s in zip(reports, merged.skipped, strict=True)]
    return LocalizedFit(model, _report(data, principal, model, reports))


@dataclass(frozen=True, eq=False)
class _Data:
    """Mean (p,), correlations (p, p) and standard deviations (p,) of samples."""

    mean: Array
    correlations: Array
    deviations: Array

    @classmethod
    def of(cls, x: Array) -> _Data:
        n = len(x)
        mean = x.mean(axis=0)
        deviations = x.std(axis=0, ddof=1)
        # A constant coordinate may differ from its rounded mean, but rounding errors make no correlation.
        constant = deviations <= n * np.finfo(np.float64).eps * np.abs(x).max(axis=0)
        deviations[constant] = 0.0
        z = np.where(constant, 0.0, (x - mean) / np.where(constant, 1.0, deviations))
        correlations = z.T @ z / (n - 1)
        np.fill_diagonal(correlations, 1.0)
        return cls(mean, correlations, deviations)

    @property
    def total(self) -> float:
        """Total variance."""
        return float((self.deviations**2).sum())

    def ratio(self, model: GaussianModel) -> float:
        """Return the total variance of a model relative to the data's."""
        return float(model.variances.sum()) / self.total

    def localized(self, weights: Array, threshold: float, coverage: float) -> tuple[GaussianModel, LevelReport]:
        """Return the model of the weighted correlations, and a report."""
        tapered = self.correlations * weights
        eigenvalues = np.linalg.eigvalsh(tapered)
        matrix, iterations, converged = tapered, 0, True
        if eigenvalues[0] < _INDEFINITE * eigenvalues[-1]:
            repaired = nearest_correlation(tapered)
            matrix, iterations, converged = repaired.matrix, repaired.iterations, repaired.converged
        model = self._decomposed(matrix, coverage)
        report = LevelReport(
            threshold,
            smallest_eigenvalue=float(eigenvalues[0]),
            iterations=iterations,
            converged=converged,
            repair_norm=float(np.linalg.norm(matrix - tapered) / np.linalg.norm(tapered)),
            put_back=float(np.abs(matrix[weights == 0]).max(initial=0.0)),
            modes=len(model.variances),
            trace_ratio=self.ratio(model),
        )
        return model, report

    def _decomposed(self, correlations: Array, coverage: float) -> GaussianModel:
        """Return the fewest modes that cover the covariance of these correlations."""
        eigenvalues, vectors = np.linalg.eigh(self.deviations[:, None] * correlations * self.deviations)
        # A repaired matrix may have negative eigenvalues within the tolerance of the repair.
        kept = eigenvalues[::-1][eigenvalues[::-1] > _NOISE * eigenvalues[-1]]
        k = modes_to_cover(kept, coverage)
        return model_of_modes(self.mean, vectors[:, ::-1][:, :k], kept[:k])


def _report(data: _Data, principal: GaussianModel, model: GaussianModel, levels: list[LevelReport]) -> LocalityReport:
    varying = data.deviations > 0
    coordinates = (model.basis**2 @ model.variances)[varying] / data.deviations[varying] ** 2
    along = (principal.basis.T @ model.basis) ** 2 @ model.variances / principal.variances
    return LocalityReport(tuple(levels), data.ratio(model), _spread(coordinates), _spread(along))


def _spread(values: Array) -> Spread:
    return Spread(float(values.min()), float(np.median(values)), float(values.max()))
