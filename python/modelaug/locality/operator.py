"""The localized covariance of images as a linear operator, in memory linear in the number of pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.sparse.linalg import LinearOperator

from modelaug import _checks
from modelaug._arrays import Real
from modelaug.locality.gaussian import precision
from modelaug.locality.tapers import Taper, taper_weights

_SMALL = 1 << 17  # multiplications

Convolution = Callable[[Real, int], Real]


class LocalizedOperator(LinearOperator):  # type: ignore[misc]  # scipy has no types
    """The covariance of images, tapered by the distance between pixels, as a matrix-free linear operator.

    With the centred samples z_s, the diagonal matrices D_s = diag(z_s) and ``W_ij = w(|x_i - x_j|)``, the elementwise
    product of the samples' covariance C and W is a sum of convolutions, each between two scalings:

        C ∘ W = 1/(n - 1) sum_s D_s W D_s.

    Pixels of different channels at one position have distance 0, so one convolution per sample serves all channels.
    Hard and Wendland weights are convolved by Fourier transforms, padded against wrap-around. A Gaussian separates over
    the axes and has few eigenvectors along each: many times faster, and as exact.

    The operator is symmetric; ``"gaussian"`` and ``"wendland"`` make it positive semidefinite, ``"hard"`` does not.

    Parameters
    ----------
    samples : array_like, (n, c * pixels), (n, *grid) or (n, c, *grid)
        At least 2 images that differ.
    grid
        Shape of the images, 2 or 3 axes.
    threshold
        Range of the taper, in the unit of `spacing`.
    taper
        ``"hard"``, ``"wendland"`` or ``"gaussian"``, see `taper_weights`.
    mask : array_like, (*grid), optional
        The pixels to keep, where it is not 0; all by default. Vectors hold these pixels only, channel by channel, each
        in array order.
    spacing : array_like, (d,), optional
        Distance between neighbouring pixels along each axis, usually in mm; 1 by default.
    dtype
        Type of the stored samples and of the products: float32 or float64.
    threads
        Threads to use; None means all cores. The products do not depend on their number.

    Attributes
    ----------
    shape : tuple of int
        (p, p) with p = c * kept pixels.
    trace : float
        Sum of the samples' variances at the kept pixels, and of all eigenvalues.

    Raises
    ------
    TypeError, ValueError
        If the samples do not fit the grid, are fewer than 2, all equal or not finite, or another argument is unfit.

    Notes
    -----
    Memory: the n samples within the mask's bounding box, and for each thread a padded image and its transform.
    """

    def __init__(
        self,
        samples: npt.ArrayLike,
        grid: Sequence[int],
        threshold: float,
        taper: Taper = "gaussian",
        *,
        mask: npt.ArrayLike | None = None,
        spacing: npt.ArrayLike | None = None,
        dtype: npt.DTypeLike = np.float32,
        threads: int | None = None,
    ) -> None:
        kind = np.dtype(dtype)
        if kind not in (np.float32, np.float64):
            raise TypeError(f"dtype is {kind}; pass numpy.float32 or numpy.float64")
        grid = _checks.grid_shape("grid", grid)
        # Samples are centred in their own precision.
        images = images_on_grid(samples, grid, precision(samples))
        kept = mask_on_grid(mask, grid)
        mm = _checks.spacing("spacing", spacing, len(grid))
        self.threads = _checks.thread_count(threads)

        # Outside the mask's bounding box everything is 0 before and after a product.
        box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(kept))
        inside = kept[box]
        self._kept = slice(None) if inside.all() else np.flatnonzero(inside)
        self._centred = _centre(images[(slice(None), slice(None), *box)], inside, kind)
        flat = self._centred.reshape(-1)
        self.trace = float(np.einsum("i,i->", flat, flat, dtype=np.float64))
        make = _gaussian_convolution if taper == "gaussian" else _fourier_convolution
        self._convolve = make(inside.shape, mm, threshold, taper, kind)
        p = images.shape[1] * int(kept.sum())
        super().__init__(dtype=kind, shape=(p, p))

    def apply(self, vectors: Real) -> Real:
        """Apply the operator to the rows of a matrix: (b, p) to (b, p)."""
        # One vector and one sample at a time stay in the cache.
        workers = self.threads if len(vectors) == 1 else 1
        result = np.empty((len(vectors), self.shape[0]), dtype=self.dtype)

        def one(i: int) -> None:
            field = np.zeros(self._centred.shape[1:], dtype=self.dtype)
            field.reshape(len(field), -1)[:, self._kept] = vectors[i].reshape(len(field), -1)
            total = np.zeros_like(field)
            for sample in self._centred:
                total += sample * self._convolve(np.einsum("c...,c...->...", sample, field), workers)
            result[i] = total.reshape(len(field), -1)[:, self._kept].reshape(-1)

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(one, range(len(vectors))))
        return result

    def _matmat(self, columns: Real) -> Real:
        return np.asarray(self.apply(columns.T).T)

    def _matvec(self, vector: Real) -> Real:
        return np.asarray(self.apply(vector.reshape(1, -1))[0])

    def _adjoint(self) -> LocalizedOperator:
        return self


def images_on_grid(samples: npt.ArrayLike, grid: tuple[int, ...], dtype: npt.DTypeLike) -> Real:
    """Return samples as checked images (n, c, *grid), at least 2.

    Raises
    ------
    TypeError, ValueError
        If they do not fit the grid, are fewer than 2, or hold values that are not finite.
    """
    d, pixels = len(grid), int(np.prod(grid))
    images = _checks.finite("samples", samples, ndim=(2, d + 1, d + 2), dtype=dtype)
    fits = images.shape[1] % pixels == 0 if images.ndim == 2 else images.shape[-d:] == grid
    if not fits:
        wanted = f"(n, c * {pixels}), (n, *grid) or (n, c, *grid) with grid {grid}"
        raise ValueError(f"samples has shape {images.shape}; pass {wanted}")
    if len(images) < 2:
        raise ValueError(f"samples holds {len(images)} image; pass at least 2")
    return images.reshape(len(images), -1, *grid)


def mask_on_grid(mask: npt.ArrayLike | None, grid: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return a checked mask as booleans (*grid), all True for None."""
    if mask is None:
        return np.ones(grid, dtype=bool)
    kept: npt.NDArray[np.bool_] = _checks.finite("mask", mask, ndim=len(grid), dtype=np.float64) != 0
    if kept.shape != grid:
        raise ValueError(f"mask has shape {kept.shape}; pass one of the shape of the grid {grid}")
    if not kept.any():
        raise ValueError("mask keeps no pixel; pass one that is not 0 everywhere")
    return kept


def _centre(images: Real, inside: npt.NDArray[np.bool_], kind: np.dtype[Any]) -> Real:
    """Return (images - mean) / sqrt(n - 1), 0 outside the mask."""
    n = len(images)
    mean = images.mean(axis=0, dtype=np.float64)
    centred = np.empty(images.shape, dtype=kind)
    for image, target in zip(images, centred, strict=True):
        target[...] = np.where(inside, image - mean, 0) / np.sqrt(n - 1)
    # Equal samples differ from their rounded mean by an ulp of each value.
    ulp = np.finfo(np.float64).eps * max(abs(float(images.min())), abs(float(images.max())))
    if float(np.abs(centred).max()) <= n * ulp:
        raise ValueError("samples are all equal where the mask keeps them; pass samples that differ")
    return centred


def _gaussian_convolution(
    box: tuple[int, ...], spacing: npt.NDArray[np.float64], threshold: float, taper: Taper, kind: np.dtype[Any]
) -> Convolution:
    """Return the convolution of images with Gaussian weights, which separate over the axes."""
    factors: list[Real] = []
    for length, step in zip(box, spacing, strict=True):
        x = np.arange(length) * step
        values, vectors = np.linalg.eigh(taper_weights(np.abs(x[:, None] - x), threshold, taper))
        kept = values > max(float(np.finfo(kind).eps), 1e-14 * values[-1])
        factors.append((vectors[:, kept] * np.sqrt(values[kept])).astype(kind))

    def convolve(image: Real, workers: int) -> Real:
        # Each product contracts the first axis and appends the result as the last; d of them restore the order.
        for factor in (*factors, *(factor.T for factor in factors)):
            image = _small_products(image.reshape(len(factor), -1).T, factor)
        return image.reshape(box)

    return convolve


def _small_products(a: Real, b: Real) -> Real:
    """Return a @ b in pieces so small that BLAS starts no threads for them, which would cost more than they gain."""
    rows = max(1, _SMALL // b.size)
    result = np.empty((len(a), b.shape[1]), dtype=a.dtype)
    for start in range(0, len(a), rows):
        np.matmul(a[start : start + rows], b, out=result[start : start + rows])
    return result


def _fourier_convolution(
    box: tuple[int, ...], spacing: npt.NDArray[np.float64], threshold: float, taper: Taper, kind: np.dtype[Any]
) -> Convolution:
    """Return the convolution of images with weights of bounded support, by Fourier transforms."""
    d = len(box)
    lengths, lags, squares = [], [], []
    for axis, (length, step) in enumerate(zip(box, spacing, strict=True)):
        # As many zeros as the weights reach, against wrap-around.
        reach = np.count_nonzero(taper_weights(np.sqrt((np.arange(length) * step) ** 2), threshold, taper)) - 1
        lengths.append(scipy.fft.next_fast_len(length + int(reach), real=axis == d - 1))
        index = np.arange(lengths[axis])
        lags.append(np.minimum(index, lengths[axis] - index))
        squares.append((np.arange(lags[axis].max() + 1) * step) ** 2)
    weights = taper_weights(np.sqrt(sum(np.ix_(*squares))), threshold, taper).astype(kind)[np.ix_(*lags)]
    spectrum = np.ascontiguousarray(scipy.fft.rfftn(weights).real)

    def convolve(image: Real, workers: int) -> Real:
        # Axis by axis: lines of zeros, and lines that are cut off, are not transformed.
        transform = scipy.fft.rfft(image, n=lengths[-1], axis=-1, workers=workers)
        for axis in range(d - 2, -1, -1):
            transform = scipy.fft.fft(transform, n=lengths[axis], axis=axis, overwrite_x=True, workers=workers)
        transform *= spectrum
        for axis in range(d - 1):
            transform = scipy.fft.ifft(transform, axis=axis, overwrite_x=True, workers=workers)
            transform = transform[(slice(None),) * axis + (slice(box[axis]),)]
        return np.asarray(scipy.fft.irfft(transform, n=lengths[-1], axis=-1, workers=workers)[..., : box[-1]])

    return convolve
