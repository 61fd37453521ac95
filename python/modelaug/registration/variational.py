r"""Variational registration of two images: the classical method that networks are compared with.

A stationary velocity field v is updated by forces that make the images alike, and smoothed after every update,

.. math:: v \leftarrow (1 - \tau \alpha A)^{-1} (v + \tau f(F, M \circ \exp v)),

with A the Laplacian (diffusion) or minus its square (curvature). Both are diagonal under the cosine transform, with
derivatives of 0 across the border. The exponential of v, and so the result, is diffeomorphic. Forces follow J.-P.
Thirion, Image matching as a diffusion process: an analogy with Maxwell's demons (1998), the scheme R. Werner, A.
Schmidt-Richberg, H. Handels, J. Ehrhardt: Estimation of lung motion fields in 4D CT data by variational non-linear
intensity-based registration (2014).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks, _core
from modelaug._arrays import Field, Image
from modelaug._checked import Checked, Count, Limits, NonNegative
from modelaug.data.cohort import Cohort
from modelaug.data.resampling import resize_field, resize_image
from modelaug.registration._images import gradients, images_on_one_grid
from modelaug.transforms.fields import compose
from modelaug.transforms.warping import pull, warp

_TAIL = 0.01
_COARSEST = 16  # voxels along the longest axis, at least
_WINDOW = 10  # iterations over which progress is judged
_QUANTILES = 256


@dataclass(frozen=True)
class VariationalOptions(Checked):
    """Options of the variational registration.

    Parameters
    ----------
    force
        The gradient along which forces act: ``"active"``, of the warped moving image; ``"passive"``, of the fixed one;
        ``"symmetric"``, the mean of both.
    regularizer
        ``"diffusion"``, ``"curvature"`` or ``"gaussian"``.
    alpha
        Strength of the smoothing, in voxels of each level: the weight of the operator, or the variance of the Gaussian.
    step
        Step length τ; no update is longer than half a voxel times this.
    levels
        Resolutions, each half of the next; fewer where images would have less than 16 voxels along their longest axis.
    iterations
        At most, on each level.
    tolerance
        Mean relative decrease of the squared difference per iteration below which a level has converged.
    match
        Normalization of intensities: ``"range"`` maps the 1st and 99th percentile of each image to 0 and 1;
        ``"histogram"`` then gives the moving image the quantiles of the fixed one.
    """

    force: Literal["active", "passive", "symmetric"] = "symmetric"
    regularizer: Literal["diffusion", "curvature", "gaussian"] = "diffusion"
    alpha: Annotated[float, Limits(above=0.0, maximum=1e6)] = 1.0
    step: Annotated[float, Limits(above=0.0, maximum=1e6)] = 1.0
    levels: Annotated[int, Limits(1, 12)] = 3
    iterations: Count = 60
    tolerance: NonNegative = 1e-3
    match: Literal["range", "histogram"] = "histogram"


def register_variational(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    options: VariationalOptions | None = None,
    mask: npt.ArrayLike | None = None,
    initial: npt.ArrayLike | None = None,
    ndim: int | None = None,
    threads: int | None = None,
) -> Field:
    """Return the diffeomorphic displacement that pulls a moving image onto a fixed one.

    Parameters
    ----------
    fixed, moving : array_like, (*grid) or (c, *grid)
        Images on one grid, 2D or 3D; forces are averaged over channels. By default, three axes are a plane with
        channels if the first has at most 4 entries, and otherwise a volume, or refused if that is flat, see `ndim`.
    options
        Defaults if None.
    mask : array_like, (*grid), optional
        Weight of the forces on the fixed grid, from 0 to 1; 1 everywhere by default. Where it is 0 the displacement is
        continued smoothly.
    initial : array_like, (d, *grid), optional
        Initial displacement, such as that of an affine map, which the result includes. None by default.
    ndim
        Axes of the grid, 2 or 3, where images with three axes may be planes with channels or volumes; by default those
        of `initial` or `mask`.
    threads
        Threads for the kernels; None means all cores. The result does not depend on it.

    Returns
    -------
    ndarray, (d, *grid), float32
        Pull displacement in voxels on the fixed grid.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong shape, holds values that are not finite, or an image is constant; or if three axes
        may be a plane with channels or a flat volume.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import jacobian_determinant, phantoms, warp
    >>> from modelaug.registration import register_variational
    >>> fixed, moving = phantoms.heart(2, shape=(64, 64)).images
    >>> u = register_variational(fixed, moving)
    >>> bool(np.square(warp(moving, u) - fixed).mean() < 0.5 * np.square(moving - fixed).mean())
    True
    >>> bool((jacobian_determinant(u) > 0).all())
    True
    """
    options = _checks.options(options, VariationalOptions)
    count = _checks.thread_count(threads)
    fixed, moving, weight, start = images_on_one_grid(fixed, moving, mask, initial, ndim)
    grid, d = fixed.shape[1:], fixed.ndim - 1
    source = moving if start is None else warp(moving, start, threads=count)
    target, source = _matched(fixed, source, weight, options.match == "histogram")
    velocity = np.zeros((d, *(1,) * d), np.float32)
    for shape in _grids(grid, options.levels):
        velocity = resize_field(velocity, shape)
        coarse = (resize_image(target, shape), resize_image(source, shape))
        weights = None if weight is None else resize_image(weight, shape)
        velocity = _descend(coarse, weights, velocity, options, count)
    found = _exponential(velocity, count)
    return found if start is None else compose(start, found, threads=count)


def region_of_interest(cohort: Cohort, margin: float = 15.0) -> Image:
    """Return weights of the region around a cohort's landmarks, as a mask for `register_variational`.

    Parameters
    ----------
    cohort
        Training subjects only, so that nothing is known of test subjects.
    margin
        Distance in mm over which the weight falls from 1 on the convex hull of all landmarks to 0.

    Returns
    -------
    ndarray, (*grid), float32
    """
    width = _checks.number("margin", margin, above=0.0)
    points = cohort.landmarks.reshape(-1, len(cohort.grid)) * cohort.spacing
    voxels = np.moveaxis(np.indices(cohort.grid), 0, -1) * cohort.spacing
    hull = scipy.spatial.ConvexHull(points)
    # Facet by facet; testing for membership in a triangulation takes many times as long.
    inside = np.ones(cohort.grid, bool)
    for *normal, offset in hull.equations:
        inside &= voxels @ np.array(normal) + offset <= 0
    distance = scipy.ndimage.distance_transform_edt(~inside, sampling=cohort.spacing)
    return np.asarray(0.5 * (1 + np.cos(np.pi * np.minimum(distance / width, 1))), np.float32)


def choose_options(
    cohort: Cohort,
    candidates: Sequence[VariationalOptions],
    pairs: Sequence[tuple[int, int]],
    score: Callable[[int, int, Field], float],
    *,
    mask: npt.ArrayLike | None = None,
    threads: int | None = None,
) -> VariationalOptions:
    """Return the options that register some pairs of subjects best.

    Parameters
    ----------
    cohort
        Training subjects only.
    candidates
        Options to try; the first of the best is taken.
    pairs
        Fixed and moving subjects.
    score
        Function of the fixed and the moving subject and the displacement (d, *grid); the higher the better.
    mask
        As in `register_variational`.
    threads
        Pairs at the same time; None means as many as there are cores.

    Raises
    ------
    ValueError
        If there is no candidate or no pair.
    """
    if not candidates or not pairs:
        raise ValueError("candidates or pairs is empty; pass at least one of each")

    def judge(task: tuple[VariationalOptions, tuple[int, int]]) -> float:
        options, (i, j) = task
        images = cohort.images[i], cohort.images[j]
        found = register_variational(*images, options=options, mask=mask, ndim=len(cohort.grid), threads=1)
        return score(i, j, found)

    with ThreadPoolExecutor(_checks.thread_count(threads)) as pool:
        scores = list(pool.map(judge, [(options, pair) for options in candidates for pair in pairs]))
    return candidates[int(np.argmax(np.reshape(scores, (len(candidates), len(pairs))).mean(axis=1)))]


def _grids(grid: tuple[int, ...], levels: int) -> list[tuple[int, ...]]:
    """Return the grids of all levels, coarsest first."""
    grids = [grid]
    while len(grids) < levels and max(grids[-1]) >= 2 * _COARSEST:
        grids.append(tuple(max(1, (n + 1) // 2) for n in grids[-1]))
    return grids[::-1]


def _matched(fixed: Image, moving: Image, weight: Image | None, histogram: bool) -> tuple[Image, Image]:
    """Return both images with normalized intensities, about 0 to 1, by the voxels with positive weight."""
    inside = np.ones(fixed.shape[1:], bool) if weight is None or not weight.any() else weight > 0
    results = []
    for image in (fixed, moving):
        low, high = (np.quantile(image[:, inside], q, axis=1) for q in (_TAIL, 1 - _TAIL))
        spread = np.where(high > low, high - low, 1.0)
        shape = (-1, *(1 for _ in inside.shape))
        results.append(((image - low.reshape(shape)) / spread.reshape(shape)).clip(-0.5, 1.5).astype(np.float32))
    if histogram:
        at = np.linspace(0, 1, _QUANTILES)
        for f, m in zip(results[0], results[1], strict=True):
            have, want = (np.quantile(x[inside], at) for x in (m, f))
            keep = np.concatenate([[True], np.diff(have) > 0])
            m[:] = np.interp(m, have[keep], want[keep])
    return results[0], results[1]


def _descend(
    images: tuple[Image, Image], weight: Image | None, velocity: Field, options: VariationalOptions, threads: int
) -> Field:
    """Return the best velocity of the iterations on one level."""
    fixed, moving = images
    smooth = _smoother(velocity.shape[1:], options)
    steepness = gradients(fixed)
    warped = np.empty_like(moving)
    best, least = velocity, np.inf
    course: list[float] = []
    for _ in range(options.iterations + 1):
        displacement = _exponential(velocity, threads)
        for channel, out in zip(moving, warped, strict=True):
            pull(channel, displacement, out)
        difference = fixed - warped
        energy = float((difference**2 if weight is None else weight * difference**2).mean())
        course.append(energy)
        if energy < least:
            best, least = velocity, energy
        if energy == 0 or _is_settled(course, options.tolerance):
            break
        slope = steepness if options.force == "passive" else gradients(warped)
        if options.force == "symmetric":
            slope = np.asarray((slope + steepness) / 2, np.float32)
        force = _force(difference, slope)
        if weight is not None:
            force *= weight
        velocity = smooth(velocity + np.float32(options.step) * force)
    return best


def _is_settled(course: list[float], tolerance: float) -> bool:
    """Return whether the energy has stopped falling over the last iterations."""
    if len(course) <= _WINDOW:
        return False
    last = np.array(course[-_WINDOW - 1 :])
    slope = float(np.polyfit(np.arange(len(last)), last, 1)[0])
    return bool(-slope <= tolerance * last.mean())


def _force(difference: Image, slope: Image) -> Field:
    """Return Thirion's force (d, *grid), half a voxel long at most, averaged over the channels that have contrast."""
    squared = (slope**2).sum(axis=0) + difference**2
    share = np.divide(difference, squared, out=np.zeros_like(difference), where=squared > 1e-9)
    return np.asarray((share * slope).mean(axis=1), np.float32)


def _smoother(grid: tuple[int, ...], options: VariationalOptions) -> Callable[[Field], Field]:
    """Return the function that smooths a velocity (d, *grid) implicitly, by the cosine transform."""
    axes = tuple(range(1, len(grid) + 1))
    # Eigenvalues of minus the Laplacian with reflecting ends.
    laplacian = functools.reduce(np.add.outer, [2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in grid])
    strength = options.step * options.alpha
    if options.regularizer == "gaussian":
        factor = np.exp(-options.alpha / 2 * laplacian)
    else:
        factor = 1 / (1 + strength * (laplacian if options.regularizer == "diffusion" else laplacian**2))
    factor = factor.astype(np.float32)

    def smooth(velocity: Field) -> Field:
        spectrum = scipy.fft.dctn(velocity, axes=axes, overwrite_x=True)
        return np.asarray(scipy.fft.idctn(spectrum * factor, axes=axes, overwrite_x=True), np.float32)

    return smooth


def _exponential(velocity: Field, threads: int) -> Field:
    """Return the exponential of a velocity, the displacement after one unit of time, by scaling and squaring."""
    longest = float(np.abs(velocity).max())
    squarings = max(0, int(np.ceil(np.log2(max(longest, 1e-12) / 0.25))))
    displacement = velocity * np.float32(0.5**squarings)
    for _ in range(squarings):
        displacement = _core.compose(displacement, displacement, threads)
    return displacement
