"""Merging of Gaussian models of several levels of locality into one.

The merged modes span the subspace nearest to that of the finer level that contains the coarser one (K. Ye, L.-H. Lim:
Schubert varieties and distances between subspaces of different dimensions. SIAM Journal on Matrix Analysis and
Applications 37(3), 2016; used for shape models by Wilms et al., Medical Image Analysis 38, 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._arrays import Array, Real
from modelaug.locality.gaussian import GaussianModel, precision

Rescale = Literal["total", "tail", "none"]
RESCALES: tuple[Rescale, ...] = get_args(Rescale)
_ORTHONORMAL = 1e-4  # largest deviation of P^T P from the identity that a caller's basis may have


def merge_bases(p1: npt.ArrayLike, p2: npt.ArrayLike) -> Real:
    """Return an orthonormal basis of the nearest subspace to span(p2) that contains span(p1).

    With the full singular value decomposition p1^T p2 = U S V^T, it is p1 U and the last k2 - k1 columns of p2 V. Its
    Grassmann distance to span(p2) is the root of the sum of squares of the principal angles between p1 and p2.

    Parameters
    ----------
    p1 : array_like, (p, k1)
        Orthonormal columns.
    p2 : array_like, (p, k2)
        Orthonormal columns.

    Returns
    -------
    ndarray, (p, k2)
        `p1` itself if k1 >= k2.

    Raises
    ------
    TypeError, ValueError
        If the columns are not orthonormal, or their lengths differ.
    """
    first, second = _checked_bases(p1, p2)
    if first.shape[1] >= second.shape[1]:
        return first
    u, v = _rotations(first, second)
    return np.concatenate([first @ u, second @ v[:, first.shape[1] :]], axis=1)


def principal_angles(p1: npt.ArrayLike, p2: npt.ArrayLike) -> Array:
    """Return the min(k1, k2) principal angles in radians between two subspaces, falling, accurate near 0 and pi/2.

    Parameters
    ----------
    p1, p2 : array_like, (p, k1) and (p, k2)
        Orthonormal columns.
    """
    return np.asarray(scipy.linalg.subspace_angles(*_checked_bases(p1, p2)))


@dataclass(frozen=True, eq=False)
class MergedLevels:
    """The merged model of several levels.

    Attributes
    ----------
    model : GaussianModel
    skipped : tuple of bool
        For each level, whether it had no more modes than the levels before it together and so added none.
    """

    model: GaussianModel
    skipped: tuple[bool, ...]


def merge_levels(
    levels: Sequence[GaussianModel], *, rescale: Rescale = "total", total: float | None = None
) -> MergedLevels:
    """Merge models of several levels of locality, from the coarsest to the finest.

    The covariance of a merged model has two uncorrelated blocks: the coarser model's covariance, and the finer model's
    covariance on the modes that it adds. So the modes of the coarser model stay modes, and the added ones are
    decorrelated among themselves.

    Parameters
    ----------
    levels
        From the coarsest, which is kept whole, to the finest; the mean is that of the first.
    rescale
        Scaling of the variances, whose sum would exceed that of the data:

        - ``"total"``: every merge scales all to the sum of the first level's variances (the authors' choice), so that
          the first level's modes shrink, too;
        - ``"tail"``: the first level's variances stay, and all added modes are scaled by one factor, so that the sum is
          `total`;
        - ``"none"``: no scaling.
    total
        Total variance of the data, for ``"tail"`` only.

    Raises
    ------
    TypeError, ValueError
        If `levels` is empty, its models differ in length, or ``"tail"`` finds no variance left for the added modes.
    """
    _checks.choice("rescale", rescale, RESCALES)
    if not levels:
        raise ValueError("levels is empty; pass at least one model")
    first = levels[0]
    modes, variances = first.basis, first.variances
    skipped = [False]
    for level in levels[1:]:
        _checked_bases(modes, level.basis)
        skipped.append(modes.shape[1] >= level.basis.shape[1])
        if not skipped[-1]:
            added, added_variances = _added_modes(modes, level)
            modes = np.concatenate([modes, added], axis=1)
            variances = np.concatenate([variances, added_variances])
            if rescale == "total":
                variances = variances * (first.variances.sum() / variances.sum())
    k = len(first.variances)
    if rescale == "tail" and len(variances) > k:
        left = _checks.number("total", total, above=0.0) - first.variances.sum()
        if left <= 1e-9 * first.variances.sum():
            raise ValueError("rescale is 'tail' but the first level keeps all variance; lower coverage or pass another")
        tail = variances[k:]
        variances = np.concatenate([first.variances, tail * (left / tail.sum())])
    return MergedLevels(model_of_modes(first.mean, modes, variances), tuple(skipped))


def model_of_modes(mean: Real, modes: Real, variances: Array) -> GaussianModel:
    """Return the model of modes (p, k) in any order: orthonormalized, sorted by variance, with fixed signs."""
    gram = (modes.T @ modes).astype(np.float64)
    if np.abs(gram - np.eye(len(gram))).max() > (1e-12 if modes.dtype == np.float64 else 1e-5):
        # Weak principal components are orthonormal to single precision only.
        factor = np.linalg.cholesky(gram)
        modes = scipy.linalg.solve_triangular(factor, modes.T, lower=True).T.astype(modes.dtype)
    order = np.argsort(-variances, kind="stable")
    modes = modes[:, order]
    peaks = np.take_along_axis(modes, np.abs(modes).argmax(axis=0)[None], axis=0)
    return GaussianModel(mean, modes * np.where(peaks < 0, -1, 1).astype(modes.dtype), variances[order])


def _rotations(p1: Real, p2: Real) -> tuple[Real, Real]:
    """Return the matrices U (k1, k1) and V (k2, k2) of the full singular value decomposition of p1^T p2."""
    u, _, vt = np.linalg.svd((p1.T @ p2).astype(np.float64), full_matrices=True)
    return u.astype(p1.dtype), vt.T.astype(p2.dtype)


def _added_modes(modes: Real, level: GaussianModel) -> tuple[Real, Array]:
    """Return the decorrelated modes that a level adds, and their variances."""
    _, v = _rotations(modes, level.basis)
    tail = v[:, modes.shape[1] :].astype(np.float64)
    variances, vectors = np.linalg.eigh(tail.T @ (level.variances[:, None] * tail))
    return level.basis @ (tail @ vectors).astype(level.basis.dtype), np.maximum(variances, 0.0)


def _checked_bases(p1: npt.ArrayLike, p2: npt.ArrayLike) -> tuple[Real, Real]:
    """Return two orthonormal bases of subspaces of one space."""
    bases = []
    for name, p in (("p1", p1), ("p2", p2)):
        basis = _checks.finite(name, p, ndim=2, dtype=precision(p))
        deviation = float(np.abs(basis.T @ basis - np.eye(basis.shape[1])).max())
        if deviation > _ORTHONORMAL:
            raise ValueError(f"{name} is not orthonormal (off by {deviation:.1g}); pass orthonormal columns")
        bases.append(basis)
    if len(bases[0]) != len(bases[1]):
        raise ValueError(f"p1 has {len(bases[0])} rows and p2 {len(bases[1])}; pass bases of one space")
    return bases[0], bases[1]
