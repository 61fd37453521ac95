"""Gaussian models with few modes, of shapes and of textures alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Real

_BLOCK = 1 << 16  # columns of the samples converted to float64 at a time
_ORTHONORMAL = 1e-3
_NOISE = 1e-12  # eigenvalues below this fraction of the largest are rounding errors


@dataclass(frozen=True, eq=False)
class GaussianModel:
    """Gaussian distribution N(mean, P diag(variances) P^T) of vectors with p entries.

    Parameters
    ----------
    mean : ndarray, (p,)
    basis : ndarray, (p, k)
        The modes P, orthonormal columns.
    variances : ndarray, (k,), float64
        Variance along each mode, falling.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not fit together, a value is not finite, or the variances are negative or rise.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import GaussianModel
    >>> samples = [[1.0, 0.0, 2.0], [3.0, 0.0, 2.0], [2.0, 1.0, 2.0], [2.0, -1.0, 2.0]]
    >>> model = GaussianModel.from_samples(samples, coverage=0.99)
    >>> model.mean
    array([2., 0., 2.])
    >>> np.round(model.variances, 6)
    array([0.666667, 0.666667])
    >>> b = model.coefficients([5.0, 3.0, 7.0])
    >>> np.round(model.reconstruct(b), 6)  # the last entry never varies
    array([5., 3., 2.])
    >>> model.sample(10, np.random.Generator(np.random.Philox(0))).shape
    (10, 3)
    """

    mean: Real
    basis: Real
    variances: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, ndim in (("mean", 1), ("basis", 2), ("variances", 1)):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != ndim:
                raise TypeError(f"{name} must be an array of floats with {ndim} axes; convert it")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds values that are not finite; remove them")
        wanted = (len(self.mean), len(self.variances))
        if self.basis.shape != wanted:
            raise ValueError(f"basis has shape {self.basis.shape}; pass (p, k) = {wanted}")
        if (self.variances < 0).any() or (np.diff(self.variances) > 0).any():
            raise ValueError("variances must not be negative and must not rise; sort the modes")

    @classmethod
    def from_samples(cls, samples: npt.ArrayLike, *, coverage: float = 1.0) -> GaussianModel:
        """Fit the principal components of samples by their n x n Gram matrix.

        Parameters
        ----------
        samples : array_like, (n, p)
            float32 stays float32; sums are in float64.
        coverage
            Fraction of the total variance to keep: the fewest modes that reach it, at most n - 1.

        Raises
        ------
        TypeError, ValueError
            If there are fewer than 2 samples, all are equal, or a value is not finite.
        """
        dtype = precision(samples)
        x = _checks.finite("samples", samples, ndim=2, dtype=dtype)
        _checks.number("coverage", coverage, above=0.0, maximum=1.0)
        n, p = x.shape
        if n < 2:
            raise ValueError(f"samples holds {n} sample; pass at least 2")
        mean = x.mean(axis=0, dtype=np.float64)
        blocks = [slice(start, min(start + _BLOCK, p)) for start in range(0, p, _BLOCK)]
        gram = np.zeros((n, n))
        for block in blocks:
            centred = x[:, block] - mean[block]
            gram += centred @ centred.T
        eigenvalues, vectors = np.linalg.eigh(gram / (n - 1))
        eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
        # Equal samples differ from their rounded mean by an ulp of each entry.
        ulp = np.finfo(np.float64).eps * max(abs(float(x.min())), abs(float(x.max())))
        if eigenvalues[0] <= n * p * ulp**2:
            raise ValueError("samples are all equal; pass samples that differ")
        kept = eigenvalues[: n - 1][eigenvalues[: n - 1] > _NOISE * eigenvalues[0]]
        k = modes_to_cover(kept, coverage)
        # The Gram matrix squares the range of the variances: weak modes need a second pass to be orthonormal.
        weights = vectors[:, :k].T / np.sqrt(kept[:k] * (n - 1))[:, None]
        overlap = np.zeros((k, k))
        for block in blocks:
            part = weights @ (x[:, block] - mean[block])
            overlap += part @ part.T
        weights = np.linalg.solve(np.linalg.cholesky(overlap), weights)
        modes = np.empty((k, p), dtype=dtype)  # one after the other: a sample is a sum of contiguous vectors
        for block in blocks:
            modes[:, block] = weights @ (x[:, block] - mean[block])
        peaks = np.take_along_axis(modes, np.abs(modes).argmax(axis=1)[:, None], axis=1)
        modes *= np.where(peaks < 0, -1, 1).astype(dtype)
        return cls(mean.astype(dtype), modes.T, kept[:k].copy())

    def sample(self, n: int, rng: np.random.Generator) -> Real:
        """Draw n vectors: (n, p)."""
        z = rng.standard_normal((_checks.integer("n", n, minimum=1), len(self.variances)))
        return self.reconstruct(z * np.sqrt(self.variances))

    def coefficients(self, x: npt.ArrayLike) -> Real:
        """Return P^T (x - mean) for vectors (..., p): (..., k)."""
        return np.asarray((np.asarray(x) - self.mean) @ self.basis)

    def reconstruct(self, coefficients: npt.ArrayLike) -> Real:
        """Return mean + P b for coefficients b (..., k): (..., p)."""
        return np.asarray(self.mean + np.asarray(coefficients) @ self.basis.T)

    def is_orthonormal(self) -> bool:
        """Return whether P^T P is the identity up to single precision, by products with random vectors."""
        # P^T P itself takes k times as long.
        probes = np.random.Generator(np.random.Philox(0)).standard_normal((len(self.variances), 3))
        products = self.basis.T @ (self.basis @ probes.astype(self.basis.dtype))
        lengths = np.linalg.norm(self.basis, axis=0)
        error = np.linalg.norm(products - probes, axis=0) / np.linalg.norm(probes, axis=0)
        return bool(np.abs(lengths - 1).max() < _ORTHONORMAL and error.max() < _ORTHONORMAL)


def modes_to_cover(variances: npt.NDArray[np.floating[Any]], coverage: float) -> int:
    """Return the fewest leading ones of falling variances (k,) that cover a fraction of their sum."""
    share = np.cumsum(variances) / variances.sum()
    return min(int(np.searchsorted(share, coverage - 1e-12)) + 1, len(variances))


def precision(values: npt.ArrayLike) -> type[np.float32] | type[np.float64]:
    """Return float32 for arrays of float32, float64 for all others."""
    return np.float32 if getattr(values, "dtype", None) == np.float32 else np.float64
