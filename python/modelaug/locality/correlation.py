"""The nearest correlation matrix.

N. J. Higham: Computing the nearest correlation matrix - a problem from finance. IMA Journal of Numerical Analysis
22(3), 2002, algorithm 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array


@dataclass(frozen=True, eq=False)
class NearestCorrelation:
    """A repaired correlation matrix, and the convergence of the repair.

    Attributes
    ----------
    matrix : ndarray, (p, p), float64
        Symmetric, with a diagonal of exactly 1. Its smallest eigenvalue may be negative by about the tolerance.
    iterations : int
    converged : bool
        Whether the tolerance was reached.
    """

    matrix: Array
    iterations: int
    converged: bool


def nearest_correlation(
    matrix: npt.ArrayLike, *, tolerance: float = 1e-5, max_iterations: int = 1000
) -> NearestCorrelation:
    """Return the nearest correlation matrix to a symmetric matrix in the Frobenius norm.

    Projections onto the positive semidefinite matrices (with Dykstra's correction) and onto the matrices of unit
    diagonal alternate until both converge.

    Parameters
    ----------
    matrix : array_like, (p, p)
        Symmetric.
    tolerance
        Relative change of either projection, and relative distance of the two, at which to stop.
    max_iterations
        Largest number of iterations.
    """
    y = _checks.finite("matrix", matrix, ndim=2, dtype=np.float64)
    if y.shape[0] != y.shape[1] or np.abs(y - y.T).max() > 1e-9 * np.abs(y).max():
        raise ValueError(f"matrix of shape {y.shape} is not symmetric; pass a symmetric matrix")
    _checks.number("tolerance", tolerance, above=0.0)
    limit = _checks.integer("max_iterations", max_iterations, minimum=1)
    y = 0.5 * (y + y.T)
    x, correction = y, np.zeros_like(y)
    for iteration in range(1, limit + 1):
        corrected = y - correction
        projected = _nearest_semidefinite(corrected)
        correction = projected - corrected
        unit = projected.copy()
        np.fill_diagonal(unit, 1.0)
        change = max(_relative(projected, x), _relative(unit, y), _relative(unit, projected))
        x, y = projected, unit
        if change < tolerance:
            return NearestCorrelation(y, iteration, converged=True)
    return NearestCorrelation(y, limit, converged=False)


def _nearest_semidefinite(matrix: Array) -> Array:
    """Return the nearest positive semidefinite matrix: the symmetric matrix without its negative eigenvalues."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    kept = vectors[:, eigenvalues > 0]
    root = kept * np.sqrt(eigenvalues[eigenvalues > 0])
    return np.asarray(root @ root.T)


def _relative(new: Array, old: Array) -> float:
    """Return the relative distance of two matrices in the Frobenius norm."""
    size = float(np.linalg.norm(new))
    return float(np.linalg.norm(new - old)) / size if size > 0 else 0.0
