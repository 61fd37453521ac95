"""Displacement fields: composition, inversion, Jacobian determinant.

A field u is an array (d, *grid) of displacements in voxels, components in array-axis order, and stands for the map
x -> x + u(x). Between voxels it is linear; beyond the grid its border continues.
"""

from __future__ import annotations

from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core


def check_field(name: str, field: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return a displacement field as a checked float32 array (d, *grid) with d = 2 or 3."""
    array = _checks.finite(name, field, ndim=(3, 4), dtype=np.float32)
    if array.shape[0] != array.ndim - 1:
        d = array.ndim - 1
        raise ValueError(f"{name} has shape {array.shape}; pass (d, *grid): {d} components, then a grid of {d} axes")
    return array


def compose(u: npt.ArrayLike, v: npt.ArrayLike, *, threads: int | None = None) -> npt.NDArray[np.float32]:
    """Compose displacement fields: w(x) = v(x) + u(x + v(x)), so that warping once by w is warping by u, then by v.

    Parameters
    ----------
    u, v : array_like, (d, *grid)
        Displacements in voxels. Their grids may differ; the result has that of `v`.
    threads
        Threads to use; None means all cores.

    Returns
    -------
    ndarray, (d, *grid), float32

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import compose
    >>> u = np.zeros((2, 6, 6))
    >>> u[1] = np.arange(6)  # every row is stretched: column c shows column 2 c
    >>> v = np.zeros((2, 6, 6))
    >>> v[1] = 1  # one column to the right
    >>> compose(u, v)[1, 0, :4]
    array([2., 3., 4., 5.], dtype=float32)
    >>> compose(v, u)[1, 0, :4]
    array([1., 2., 3., 4.], dtype=float32)
    """
    first, second = check_field("u", u), check_field("v", v)
    if first.ndim != second.ndim:
        raise ValueError(f"u has shape {first.shape} but v {second.shape}; pass two fields of the same dimension")
    return _core.compose(first, second, _checks.thread_count(threads))


@overload
def invert(
    u: npt.ArrayLike,
    *,
    tolerance: float = ...,
    max_iterations: int = ...,
    return_residual: Literal[False] = ...,
    threads: int | None = ...,
) -> npt.NDArray[np.float32]: ...
@overload
def invert(
    u: npt.ArrayLike,
    *,
    tolerance: float = ...,
    max_iterations: int = ...,
    return_residual: Literal[True],
    threads: int | None = ...,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]: ...
def invert(
    u: npt.ArrayLike,
    *,
    tolerance: float = 1e-3,
    max_iterations: int = 50,
    return_residual: bool = False,
    threads: int | None = None,
) -> npt.NDArray[np.float32] | tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Invert a displacement field: return v with v(x) = -u(x + v(x)), so that x -> x + v(x) undoes x -> x + u(x).

    Every voxel is solved on its own by a damped Newton method. Where a field folds it has no inverse; the residual is
    large there.

    Parameters
    ----------
    u : array_like, (d, *grid)
        Displacement in voxels.
    tolerance
        Residual in voxels at which the iteration of a voxel stops.
    max_iterations
        Largest number of Newton steps per voxel.
    return_residual
        Whether to return also the residual of each voxel.
    threads
        Threads to use; None means all cores.

    Returns
    -------
    v : ndarray, (d, *grid), float32
    residual : ndarray, (*grid), float32
        Only with `return_residual`: the length of v(x) + u(x + v(x)) in voxels.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import compose, invert
    >>> rows, columns = np.indices((32, 32))
    >>> u = np.stack([2 * np.sin(columns / 5), 1.5 * np.cos(rows / 7)])
    >>> v = invert(u)
    >>> bool(np.abs(compose(u, v)).max() < 0.01)
    True
    """
    inverse, residual = _core.invert(
        check_field("u", u),
        _checks.number("tolerance", tolerance, minimum=0.0),
        _checks.integer("max_iterations", max_iterations, minimum=1, maximum=_checks.LARGEST_INT),
        _checks.thread_count(threads),
    )
    return (inverse, residual) if return_residual else inverse


def jacobian_determinant(u: npt.ArrayLike, *, threads: int | None = None) -> npt.NDArray[np.float32]:
    """Return the Jacobian determinant det(I + grad u) at every voxel; where it is not positive, x -> x + u(x) folds.

    Derivatives are central differences inside, one-sided at the border and 0 along an axis with a single voxel.

    Parameters
    ----------
    u : array_like, (d, *grid)
        Displacement in voxels.
    threads
        Threads to use; None means all cores.

    Returns
    -------
    ndarray, (*grid), float32

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import jacobian_determinant
    >>> u = np.zeros((2, 4, 5))
    >>> u[1] = -0.5 * np.arange(5)  # columns come from half as far away
    >>> jacobian_determinant(u)[0]
    array([0.5, 0.5, 0.5, 0.5, 0.5], dtype=float32)
    >>> int((jacobian_determinant(3 * u) <= 0).sum())  # all 20 voxels fold
    20
    """
    return _core.jacobian_determinant(check_field("u", u), _checks.thread_count(threads))
