"""Refinement of a displacement, such as a network's, on the two images that it aligns."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Field
from modelaug.registration._images import images_on_one_grid
from modelaug.registration.variational import VariationalOptions, register_variational
from modelaug.transforms.fields import check_field
from modelaug.transforms.warping import warp

REFINING: Final = VariationalOptions(alpha=2.0, levels=2, match="histogram")
"""Few levels and strong smoothing: on training pairs of real hearts less smoothing made a network's results worse."""


def refine(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    displacement: npt.ArrayLike,
    *,
    options: VariationalOptions | None = None,
    mask: npt.ArrayLike | None = None,
    threads: int | None = None,
) -> Field:
    """Refine a displacement so that it aligns two images better, by the finer levels of the variational method.

    The correction does not fold; where the given displacement folds, the result may, too.

    Parameters
    ----------
    fixed, moving : array_like, (*grid) or (c, *grid)
        Images on one grid, 2D or 3D.
    displacement : array_like, (d, *grid)
        Initial pull displacement in voxels.
    options
        Of `register_variational`; `REFINING` if None.
    mask : array_like, (*grid), optional
        Weight of the forces on the fixed grid, from 0 to 1; 1 everywhere by default.
    threads
        Threads for the kernels; None means all cores. The result does not depend on it.

    Returns
    -------
    ndarray, (d, *grid), float32
        Pull displacement in voxels; the given one if no step made the images more alike.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong shape, holds values that are not finite, an image is constant, or a mask is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import phantoms, warp
    >>> from modelaug.registration import refine
    >>> fixed, moving = phantoms.heart(2, shape=(64, 64)).images[:, 0]
    >>> start = np.zeros((2, 64, 64), np.float32)
    >>> u = refine(fixed, moving, start)
    >>> bool(np.square(warp(moving, u) - fixed).mean() < np.square(moving - fixed).mean())
    True
    """
    start = check_field("displacement", displacement)
    chosen = _checks.options(options, VariationalOptions) if options is not None else REFINING
    count = _checks.thread_count(threads)
    target, source, weight, _ = images_on_one_grid(fixed, moving, mask, start, None)
    if weight is not None and not weight.any():
        raise ValueError("mask is 0 everywhere; pass weights that are positive where the images count")
    found = register_variational(target, source, options=chosen, mask=weight, initial=start, threads=count)
    before, after = (_difference(target, source, weight, u) for u in (start, found))
    return found if after < before else start


def _difference(fixed: Field, moving: Field, weight: Field | None, displacement: Field) -> float:
    """Return the mean squared difference of an image and a warped one, each of mean 0 and variance 1."""
    warped = warp(moving, displacement, threads=1)
    axes = tuple(range(1, fixed.ndim))
    first, second = (
        (each - each.mean(axes, keepdims=True)) / np.maximum(each.std(axes, keepdims=True), 1e-6)
        for each in (fixed, warped)
    )
    return float(((1 if weight is None else weight) * (first - second) ** 2).mean())
