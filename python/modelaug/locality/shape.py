"""Shape models under the locality assumption: far more modes than samples.

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
    """Smallest, middle and largest of several numbers."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class LevelReport:
    """What one level of locality did.

    Attributes
    ----------
    threshold
        Distance beyond which correlations are taken away; for the first level of a merged model and for a mixture, the
        largest of the schedule.
    modes
        Modes of the level by itself.
    trace_ratio
        Total variance of the level's modes, relative to the data's.
    smallest_eigenvalue
        Of the localized correlation matrix. Well below 0 it is repaired.
    iterations
        Steps of the repair; 0 if there was none.
    converged
        Whether the repair reached its tolerance.
    repair_norm
        Relative change of the correlation matrix by the repair, in the Frobenius norm.
    put_back
        Largest absolute correlation that the repair put back where the taper is 0.
    skipped
        Whether the level had no more modes than the model so far, which then stayed as it was.
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
    """What locality did to a model, against the samples it was made of.

    Attributes
    ----------
    levels : tuple of LevelReport
        A single one for a kernel mixture.
    trace_ratio
        Total variance of the model, relative to the data's.
    coordinates : Spread
        Variance of each coordinate that is not constant, relative to the data's.
    global_modes : Spread
        Variance along each principal component of the data (those that the coverage keeps), relative to the data's.
    """

    levels: tuple[LevelReport, ...]
    trace_ratio: float
    coordinates: Spread
    global_modes: Spread


class LocalizedFit(NamedTuple):
    """A model, and what locality did to it."""

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
    """Return the multi-level model: principal components, then ever more local modes merged into them.

    See `fit_localized`, of which this is the model with ``method="merge"``.

    Examples
    --------
    >>> from modelaug import phantoms, procrustes
    >>> from modelaug.locality import euclidean_distances, expand_distances, localized_model, thresholds
    >>> alignment = procrustes(phantoms.heart(8, shape=(48, 48)).landmarks)
    >>> distances = expand_distances(euclidean_distances(alignment.mean), 2)
    >>> model = localized_model(alignment.shapes.reshape(8, -1), distances, thresholds(distances, 4))
    >>> model.basis.shape[1] > 7  # a model of 8 shapes without locality has 7 modes at most
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
    """Return the model whose covariance is the data's, weighted by the mean of the levels' tapers.

    See `fit_localized`, of which this is the model with ``method="mixture"``.
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
    """Learn a model of few samples in which distant coordinates vary independently, and report what that changed.

    The first level is global: plain principal components. Each further level weights the correlations of the
    coordinates by a taper of its threshold. Where the result is indefinite, as after a hard cut, it is replaced by the
    nearest correlation matrix. Correlations turn into covariances with the standard deviations of the data; the fewest
    modes that cover the level's variance are kept. ``"merge"`` merges the levels in order (see `merge_levels`);
    ``"mixture"`` averages the tapers of all levels (1 for the first) and decomposes once, which keeps the variance of
    every coordinate up to the coverage.

    Memory is that of a few p x p matrices.

    Parameters
    ----------
    samples : array_like, (n, p)
        At least 2 that are not all equal.
    distances : array_like, (p, p)
        Between the coordinates; see `expand_distances`.
    thresholds : array_like, (levels,)
        Strictly falling, in the unit of the distances. The first is that of the global level, which needs none: it
        only counts the level.
    method
        ``"merge"`` or ``"mixture"``.
    taper
        ``"hard"``, ``"wendland"`` or ``"gaussian"``.
    coverage
        Fraction of each level's variance (or the mixture's) to keep.
    rescale
        What merging does to the variances: ``"total"``, ``"tail"`` or ``"none"``; see `merge_levels`. A mixture has
        nothing to rescale.

    Returns
    -------
    LocalizedFit
        The model, float64, and its report.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 2 samples or all are equal, the distances are no matrix of distances of the samples'
        coordinates, the thresholds are not positive and strictly falling, or an option is not one of those named.
    """
    x = _checks.finite("samples", samples, ndim=2, dtype=np.float64)
    d = check_distances(distances)
    if len(d) != x.shape[1]:
        raise ValueError(
            f"distances has shape {d.shape} for samples of {x.shape[1]} coordinates; expand those of landmarks with "
            "expand_distances"
        )
    taus = check_thresholds(thresholds)
    _checks.choice("method", method, ("merge", "mixture"))
    _checks.choice("taper", taper, TAPERS)
    _checks.choice("rescale", rescale, RESCALES)
    principal = GaussianModel.from_samples(x, coverage=coverage)
    data = _Data.of(x)
    first = LevelReport(float(taus[0]), modes=len(principal.variances), trace_ratio=data.ratio(principal))
    tapers = [taper_weights(d, float(tau), taper) for tau in taus[1:]]
    if method == "mixture":
        mixed = np.mean([np.ones_like(d), *tapers], axis=0)
        model, report = data.localized(mixed, float(taus[0]), coverage)
        reports = [report]
    else:
        fitted = [data.localized(weights, float(tau), coverage) for weights, tau in zip(tapers, taus[1:], strict=True)]
        merged = merge_levels([principal, *(level for level, _ in fitted)], rescale=rescale, total=data.total)
        model = merged.model
        reports = [first, *(report for _, report in fitted)]
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
        # A constant coordinate may differ from its rounded mean: it has no correlation, not one of rounding errors.
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
        """Return the model of the weighted correlations, and what was done to them."""
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
        """Return the fewest modes of a covariance that cover its trace."""
        covariance = self.deviations[:, None] * correlations * self.deviations
        eigenvalues, vectors = np.linalg.eigh(covariance)
        # A repaired matrix may keep negative eigenvalues of the size of the repair's tolerance.
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
