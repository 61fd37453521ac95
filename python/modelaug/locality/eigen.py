"""Eigenimages of localized covariances, at several levels of locality.

The leading eigenpairs come from a block Krylov space of the covariance operator (C. Musco, C. Musco: Randomized block
Krylov methods for stronger and faster approximate singular value decomposition. NeurIPS 2015) with thick restarts
(K. Wu, H. Simon: Thick-restart Lanczos method for large symmetric eigenvalue problems. SIAM Journal on Matrix Analysis
and Applications 22(2), 2000).

scipy.sparse.linalg has no search that stops at a fraction of the trace. Its eigsh, with twice as many eigenpairs until
they suffice, takes 1.2 to 4.2 times as long at the sizes of the guides; with their number given, 0.9 to 1.7 times, and
3.6 times for the default of 1000 modes; its lobpcg, with their number given, 1.4 to 2.5 times
(`python bench/eigenpairs.py`, one thread).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array, Real
from modelaug._random import generator
from modelaug.locality.gaussian import GaussianModel
from modelaug.locality.merging import RESCALES, Rescale, merge_levels
from modelaug.locality.operator import LocalizedOperator, images_on_grid, mask_on_grid
from modelaug.locality.tapers import TAPERS, Taper, check_thresholds

_BLOCK = 32  # vectors per product: more make it cheaper, and a Krylov space of given size poorer
_GROWTH = 1.15  # of the Krylov space between two Rayleigh-Ritz steps
_RESTARTS = 20
_ROUNDS = 5  # of orthonormalization at most
_COLUMNS = 1 << 12  # columns of a basis rotated at a time
_MODES = 1000


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Leading eigenpairs of an operator.

    Attributes
    ----------
    values : ndarray, (k,), float64
        Positive eigenvalues, falling.
    vectors : ndarray, (k, p)
        Orthonormal eigenvectors as rows, in the operator's dtype.
    residuals : ndarray, (k,), float64
        Norms of ``A v - value v``, up to rounding.
    products : int
        Number of products of the operator with a vector.
    """

    values: Array
    vectors: Real
    residuals: Array
    products: int


@dataclass(frozen=True)
class EigenimageLevel:
    """Report on one level of locality of eigenimages.

    Attributes
    ----------
    threshold : float
        Threshold of the taper, which the first level does not have.
    modes : int
        Number of eigenimages of this level.
    variance : float
        Sum of their eigenvalues.
    covered : float
        `variance` as a fraction of the trace; less than the requested coverage if `max_modes` limits the level.
    worst_residual : float
        Largest norm of ``A v - value v`` as a fraction of the largest eigenvalue.
    products : int
        Number of products of the level's operator with a vector; 0 for the first level.
    seconds : float
        Duration of the computation.
    skipped : bool
        Whether the level has no more modes than those before it together and so adds none.
    """

    threshold: float
    modes: int
    variance: float
    covered: float
    worst_residual: float
    products: int
    seconds: float
    skipped: bool = False


@dataclass(frozen=True)
class EigenimageReport:
    """Report on the variance that eigenimages keep.

    Attributes
    ----------
    trace : float
        Total variance of the samples at the kept pixels, equal at every level.
    levels : tuple of EigenimageLevel
        From the coarsest to the finest.
    variance_ratio : float
        Total variance of the merged model as a fraction of the trace, which depends on ``rescale``.
    """

    trace: float
    levels: tuple[EigenimageLevel, ...]
    variance_ratio: float


def localized_eigenimages(
    samples: npt.ArrayLike,
    grid: Sequence[int],
    thresholds: npt.ArrayLike,
    *,
    taper: Taper = "gaussian",
    coverage: float = 0.95,
    max_modes: int | None = None,
    rescale: Rescale = "total",
    mask: npt.ArrayLike | None = None,
    spacing: npt.ArrayLike | None = None,
    threads: int | None = None,
    seed: int = 0,
) -> tuple[GaussianModel, EigenimageReport]:
    """Fit a Gaussian model of images with eigenimages of several levels of locality.

    The first level is the principal component analysis of the samples. Every further level tapers their covariance
    (`LocalizedOperator`), keeps its leading eigenimages, and is merged into the previous ones (`merge_levels`).

    Parameters
    ----------
    samples : array_like, (n, c * pixels), (n, *grid) or (n, c, *grid)
        At least 2 images that differ; float32 is enough.
    grid
        Shape of the images, 2 or 3 axes.
    thresholds : array_like, (levels,)
        Strictly falling, in the unit of `spacing`. The first stands for the global level, which is not tapered.
    taper
        ``"hard"``, ``"wendland"`` or ``"gaussian"``, see `taper_weights`.
    coverage
        Fraction of the total variance that each level keeps: the fewest modes that reach it.
    max_modes
        Largest number of modes; by default 1000, or all if there are fewer. Level l of L may use l/L of them, so that
        finer levels have modes left to add.
    rescale
        ``"total"``, ``"tail"`` or ``"none"``, see `merge_levels`.
    mask : array_like, (*grid), optional
        The pixels that vary, where it is not 0; all others keep the mean. All by default.
    spacing : array_like, (d,), optional
        Distance between neighbouring pixels along each axis, usually in mm; 1 by default.
    threads
        Threads to use; None means all cores. NumPy's threads for large matrix products are extra.
    seed
        Non-negative integer: seed of the random vectors that start the search for eigenimages.

    Returns
    -------
    model : GaussianModel
        float32, with contiguous modes.
    report : EigenimageReport
        Coverage and residuals of each level.

    Notes
    -----
    Eigenvalues sum to the trace, so the covered fraction is known without the rest of the spectrum. With ``"hard"`` the
    tapered covariance has negative eigenvalues, too, and its positive ones sum to up to about twice the trace. Only the
    positive ones count, and the fewest that reach the coverage are kept: far fewer modes than with the other tapers,
    though no more is covered.

    Memory: the samples, up to two vectors of pixels for each of `max_modes` plus 320 more during a level, and the modes
    of all levels.
    """
    grid = _checks.grid_shape("grid", grid)
    images = images_on_grid(samples, grid, np.float32)
    kept = mask_on_grid(mask, grid)
    taus = check_thresholds(thresholds)
    _checks.choice("taper", taper, TAPERS)
    _checks.choice("rescale", rescale, RESCALES)
    _checks.number("coverage", coverage, above=0.0, maximum=1.0)
    _checks.integer("seed", seed, minimum=0)
    mm = _checks.spacing("spacing", spacing, len(grid))
    threads = _checks.thread_count(threads)
    rows = images.reshape(len(images), -1)
    index = np.flatnonzero(np.tile(kept.reshape(-1), images.shape[1]))
    p = len(index)
    most = min(_MODES, p) if max_modes is None else _checks.integer("max_modes", max_modes, minimum=1)
    if most > p:
        raise ValueError(f"max_modes is {most}; there are {p} values to vary, pass at most as many")

    everywhere = p == rows.shape[1]
    shares = [max(1, most * number // len(taus)) for number in range(1, len(taus) + 1)]
    model, trace, level = _principal_components(rows if everywhere else rows[:, index], taus[0], coverage, shares[0])
    if rescale == "tail" and len(taus) > 1 and level.covered > 1 - 1e-9:
        raise ValueError("rescale is 'tail' but the first level keeps all variance; lower coverage or pass another")
    models, levels = [model], [level]
    for number, tau in enumerate(taus.tolist()[1:], start=1):
        start = time.perf_counter()
        operator = LocalizedOperator(images, grid, tau, taper, mask=kept, spacing=mm, threads=threads)
        rng = generator(seed, number)
        pairs = leading_eigenpairs(operator, coverage=coverage, max_modes=shares[number], rng=rng)
        models.append(GaussianModel(model.mean, pairs.vectors.T, pairs.values))
        levels.append(_level(tau, pairs, trace, start))
    merged = merge_levels(models, rescale=rescale, total=trace)
    report = EigenimageReport(
        trace=trace,
        levels=tuple(replace(level, skipped=s) for level, s in zip(levels, merged.skipped, strict=True)),
        variance_ratio=float(merged.model.variances.sum() / trace),
    )
    if everywhere:
        modes = np.ascontiguousarray(merged.model.basis.T)
    else:
        modes = np.zeros((len(merged.model.variances), rows.shape[1]), dtype=np.float32)
        modes[:, index] = merged.model.basis.T
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return GaussianModel(mean, modes.T, merged.model.variances), report


def leading_eigenpairs(
    operator: LocalizedOperator,
    *,
    coverage: float,
    max_modes: int,
    rng: np.random.Generator,
    tolerance: float = 1e-4,
) -> Eigenpairs:
    """Return the fewest leading eigenpairs of an operator whose eigenvalues reach a fraction of its trace.

    Parameters
    ----------
    operator
        A localized covariance.
    coverage
        Fraction of the trace, at most 1.
    max_modes
        Largest number of pairs.
    rng
        Source of the random start vectors.
    tolerance
        Largest residual of a pair, as a fraction of the largest eigenvalue.

    Raises
    ------
    ValueError
        If no pair converges, as with thresholds below the spacing of the pixels, which leave all pixels independent.
    """
    p, dtype = operator.shape[0], operator.dtype
    blocks = 2 * max_modes // _BLOCK + 10
    limit = min(blocks * _BLOCK, p)
    basis = np.empty((limit, p), dtype=dtype)  # memory is used as it is filled
    projected = np.zeros((limit, limit))  # basis A basis^T
    eps = float(np.finfo(dtype).eps)
    target = min(coverage, 1 - 100 * eps) * operator.trace
    _, block, _ = _orthonormalize(basis[:0], rng.standard_normal((min(_BLOCK, p), p)).astype(dtype))
    m = products = restarts = 0
    check, noise = 4 * _BLOCK, 0.0  # size of the space at the next Rayleigh-Ritz step
    while True:
        new = slice(m, m + len(block))
        m, products = new.stop, products + len(block)
        basis[new] = block
        image = operator.apply(block)
        # Where the Krylov space is exhausted, only this noise remains of the image and starts a new search.
        noise = noise or eps * float(np.linalg.norm(image, axis=1).max()) / p**0.5
        image += (noise * rng.standard_normal(image.shape)).astype(dtype)
        inner, block, coupling = _orthonormalize(basis[:m], image)
        projected[:m, new] = inner
        projected[new, :m] = inner.T
        if m < min(check, limit):
            block = block[: limit - m]
            continue

        check = int(_GROWTH * m)
        values, vectors = np.linalg.eigh(projected[:m, :m])
        values, vectors = values[::-1], vectors[:, ::-1]
        sums = np.cumsum(values[values > 100 * eps * values[0]])
        k = min(int(np.searchsorted(sums, target)) + 1, max_modes, len(sums))
        residuals = np.linalg.norm(coupling @ vectors[new, :k], axis=0)
        bad = np.flatnonzero(residuals > 0.95 * tolerance * values[0])  # rounding takes the rest
        if (len(bad) == 0 and (k == max_modes or sums[k - 1] >= target)) or m == p or restarts == _RESTARTS:
            break
        if m == limit:
            restarts += 1
            m = _BLOCK * (k // _BLOCK + 2)
            _rotate(basis, vectors[:, :m])
            projected[:] = 0
            projected[range(m), range(m)] = values[:m]
            check = m + 4 * _BLOCK
        block = block[: limit - m]
    if len(bad):
        k = int(bad[0])
    if k == 0:
        raise ValueError(f"no eigenimage converged to {tolerance:g} in {products} products; raise the threshold")
    _rotate(basis, vectors[:, :k])
    return Eigenpairs(values[:k].copy(), basis[:k].copy(), residuals[:k], products)


def _orthonormalize(basis: Real, rows: Real) -> tuple[Array, Real, Array]:
    """Split rows (b, p) into their parts in the span of an orthonormal basis (m, p) and orthogonal to it.

    Return h (m, b), q (b, p) and r (b, b) with ``rows^T = basis^T h + q^T r``, where q is orthonormal and orthogonal to
    the basis, with its best determined rows first.
    """
    inner, r, limits = np.zeros((len(basis), len(rows))), np.eye(len(rows)), np.finfo(rows.dtype)
    for attempt in range(_ROUNDS):
        h = basis @ rows.T
        rows = rows - h.T @ basis
        inner += h.astype(np.float64) @ r
        squares, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
        squares, vectors = squares[::-1], vectors[:, ::-1]
        lengths = np.sqrt(np.maximum(squares, max(float(limits.eps) * squares[0], float(limits.tiny))))
        rows = (vectors / lengths).T.astype(rows.dtype) @ rows
        r = (vectors * lengths).T @ r
        # After a round only rounding errors remain in the span, unless the round removed nearly everything.
        if attempt > 0 and lengths[-1] > 0.5:
            break
    return inner, rows, r


def _rotate(basis: Real, vectors: Array) -> None:
    """Replace the first k rows of a basis by ``vectors^T basis[:m]`` for vectors (m, k)."""
    m, k = vectors.shape
    rotation = np.ascontiguousarray(vectors.T, dtype=basis.dtype)
    for start in range(0, basis.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        basis[:k, columns] = rotation @ basis[:m, columns]


def _principal_components(
    rows: npt.NDArray[np.float32], threshold: float, coverage: float, most: int
) -> tuple[GaussianModel, float, EigenimageLevel]:
    """Return the principal components of images (n, p), their total variance, and the report on this first level."""
    start = time.perf_counter()
    whole = GaussianModel.from_samples(rows, coverage=coverage)
    k = min(len(whole.variances), most)
    model = GaussianModel(whole.mean, whole.basis[:, :k], whole.variances[:k])
    mean = rows.mean(axis=0, dtype=np.float64)
    trace = sum(float(np.square(row - mean).sum()) for row in rows) / (len(rows) - 1)
    centred = rows - model.mean
    image = (centred @ model.basis).T @ centred / (len(rows) - 1)
    residuals = np.linalg.norm(image - model.basis.T * model.variances[:, None], axis=1)
    pairs = Eigenpairs(model.variances, model.basis.T, residuals, 0)
    return model, trace, _level(threshold, pairs, trace, start)


def _level(threshold: float, pairs: Eigenpairs, trace: float, start: float) -> EigenimageLevel:
    return EigenimageLevel(
        threshold=float(threshold),
        modes=len(pairs.values),
        variance=float(pairs.values.sum()),
        covered=float(pairs.values.sum() / trace),
        worst_residual=float(pairs.residuals.max() / pairs.values[0]),
        products=pairs.products,
        seconds=time.perf_counter() - start,
    )
