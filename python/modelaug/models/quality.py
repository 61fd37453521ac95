"""Quality of Gaussian models: generalization, specificity and compactness.

R. Davies, C. Twining, C. Taylor: Statistical Models of Shape: Optimisation and Evaluation. Springer 2008. M. Styner et
al.: Evaluation of 3D correspondence methods for model building. IPMI 2003.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._arrays import Real
from modelaug.locality.gaussian import GaussianModel

__all__ = ["compactness", "generalization", "specificity"]

_BLOCK = 1 << 20  # entries of the vectors that are drawn at a time


def generalization(model: GaussianModel, shapes: npt.ArrayLike, *, limit: float | None = None) -> float:
    """Return the mean error of a model's reconstruction of vectors that it was not learned from.

    A vector s is reconstructed as s_0 + P P^T (s - s_0), with the mean s_0 and the modes P. Lower is better.

    Parameters
    ----------
    model
    shapes : array_like, (n, m, d) or (n, p)
        Landmarks in the model's reference space (see `Alignment.align`), whose error is the mean distance of a shape's
        landmarks; or other vectors such as textures, whose error is the root mean square over a vector's entries.
    limit
        Largest size of a coefficient in standard deviations of its mode. Larger ones are clipped, so that modes of far
        too small a variance gain nothing; None clips nothing.

    Returns
    -------
    float
        Mean over the n vectors, in their unit.

    Examples
    --------
    >>> from modelaug import phantoms, procrustes, quality
    >>> from modelaug.locality import euclidean_distances, expand_distances, localized_model, thresholds
    >>> shapes = procrustes(phantoms.heart(24, shape=(48, 48)).landmarks).shapes
    >>> known, unseen = shapes[:12], shapes[12:]
    >>> distances = expand_distances(euclidean_distances(known.mean(axis=0)), 2)
    >>> errors = []
    >>> for levels in (1, 4):
    ...     model = localized_model(known.reshape(12, -1), distances, thresholds(distances, levels))
    ...     errors.append(quality.generalization(model, unseen))
    >>> errors[1] < 0.7 * errors[0]  # locality describes unseen shapes better
    True
    """
    vectors, d = _vectors(model, shapes)
    coefficients = model.coefficients(vectors)
    if limit is not None:
        bound = _checks.number("limit", limit, above=0.0) * np.sqrt(model.variances)
        coefficients = np.clip(coefficients, -bound, bound).astype(vectors.dtype)
    return float(_errors(model.reconstruct(coefficients) - vectors, d).mean())


def specificity(
    model: GaussianModel, shapes: npt.ArrayLike, rng: np.random.Generator, *, draws: int = 1000, limit: float = 5.0
) -> float:
    """Return the mean error between vectors drawn from a model and the nearest real ones. Lower is better.

    Parameters
    ----------
    model
    shapes : array_like, (n, m, d) or (n, p)
        The reference: landmarks in the model's reference space, or other vectors; errors are those of `generalization`.
        Davies and Styner compare with the training data; published code of locality-based models (Wilms) with test
        data, which does not reward a model for drawing copies. Figures for different references are not comparable.
    rng
        Source of the random numbers; the result is a function of its state.
    draws
        Number of vectors to draw.
    limit
        Number of standard deviations at which the normal distribution of the coefficients is truncated.

    Returns
    -------
    float
        Mean over the draws, in the unit of the vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import GaussianModel, procrustes, phantoms, quality
    >>> shapes = procrustes(phantoms.heart(12, shape=(48, 48)).landmarks).shapes
    >>> model = GaussianModel.from_samples(shapes.reshape(12, -1))
    >>> error = quality.specificity(model, shapes, np.random.Generator(np.random.Philox(0)), draws=100)
    >>> 0 < error < 2  # pixels
    True
    """
    references, d = _vectors(model, shapes)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is {rng!r}; pass a numpy.random.Generator")
    count = _checks.integer("draws", draws, minimum=1)
    bound = _checks.number("limit", limit, above=0.0)
    deviations = np.sqrt(model.variances)
    rows = max(1, _BLOCK // references.shape[1])
    nearest = np.empty(count)
    low, high = scipy.special.ndtr([-bound, bound])
    for start in range(0, count, rows):
        part = nearest[start : start + rows]
        # The inverse distribution function needs no rejection.
        z = scipy.special.ndtri(rng.uniform(low, high, (len(part), len(deviations))))
        z = np.clip(z, -bound, bound)  # a bound in the far tail is rounded
        drawn = model.reconstruct((z * deviations).astype(references.dtype))
        part[:] = np.inf
        for reference in references:
            np.minimum(part, _errors(drawn - reference, d), out=part)
    return float(nearest.mean())


def compactness(model: GaussianModel) -> npt.NDArray[np.float64]:
    """Return the fractions (k,) of a model's variance in its first 1, 2, ..., k modes, rising to 1.

    Raises
    ------
    TypeError, ValueError
        If `model` is no `GaussianModel`, or has no variance.

    Examples
    --------
    >>> from modelaug import GaussianModel, quality
    >>> model = GaussianModel.from_samples([[0.0, 0.0], [4.0, 0.0], [2.0, 1.0], [2.0, -1.0]])
    >>> quality.compactness(model)
    array([0.8, 1. ])
    """
    _check_model(model)
    total = np.cumsum(model.variances)
    if not total.size or total[-1] == 0:
        raise ValueError("model has no variance; pass one learned from samples that differ")
    return np.asarray(total / total[-1])


def _check_model(model: GaussianModel) -> None:
    _checks.instance("model", model, GaussianModel, "a GaussianModel, as the shape of an AppearanceModel", large=True)


def _vectors(model: GaussianModel, shapes: npt.ArrayLike) -> tuple[Real, int | None]:
    """Return vectors (n, p) in the model's precision, and of landmarks their number of coordinates."""
    _check_model(model)
    array = _checks.finite("shapes", shapes, ndim=(2, 3), dtype=model.basis.dtype)
    d = array.shape[2] if array.ndim == 3 else None
    if d not in (None, 2, 3):
        raise ValueError(f"shapes has shape {array.shape}; pass landmarks (n, m, 2 or 3), or flat images (n, p)")
    vectors = array.reshape(len(array), -1)
    found, p = vectors.shape[1], len(model.mean)
    if found != p:
        raise ValueError(f"shapes has shape {array.shape}, {found} entries each; the model's vectors have {p}")
    return vectors, d


def _errors(differences: Real, d: int | None) -> npt.NDArray[np.float64]:
    """Return the errors (n,) of differences (n, p): mean distance of landmarks, or root mean square of entries."""
    if d is None:
        return np.asarray(np.sqrt(np.mean(differences**2, axis=1, dtype=np.float64)))
    points = differences.reshape(len(differences), -1, d)
    return np.asarray(np.sqrt((points**2).sum(axis=2)).mean(axis=1, dtype=np.float64))
