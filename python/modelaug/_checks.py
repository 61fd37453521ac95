"""Checks of arguments, shared by every public function.

Each check returns the value in the type that the package works with, or raises an error of one line with the argument,
the offending value and the remedy.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from modelaug import _core

Options = TypeVar("Options")

MOST_THREADS: Final = 1024
"""More than any machine needs; where a system cannot start so many, libraries end the process."""

LARGEST_INT: Final = 2**31 - 1
"""Largest of the kernels' integers that are not sizes."""

_MOST_VOXELS = 2**36
_SHORTEST = 1e-6  # millimetres per voxel


def finite(
    name: str, value: npt.ArrayLike, *, ndim: int | tuple[int, ...], dtype: npt.DTypeLike, threads: int = 1
) -> npt.NDArray[Any]:
    """Return `value` as a C-contiguous array of `dtype`, all finite, with one of the allowed numbers of axes.

    Large arrays are searched by several threads.

    Raises
    ------
    ValueError
        If the number of axes is wrong, the array is empty, or an element is not finite.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no regular array ({error}); pass rows of equal length") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; pass an array of real numbers")
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise ValueError(f"{name} has shape {array.shape} ({array.ndim} axes); pass an array with {wanted} axes")
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}); pass at least one element")
    with np.errstate(over="ignore"):
        converted = np.asarray(array, dtype=dtype, order="C")
    if not _all_finite(converted, threads):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(converted))[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}; remove or replace values that are not finite")
    return converted


def _all_finite(array: npt.NDArray[Any], threads: int) -> bool:
    """Return whether an array has no NaN or infinite element."""
    if array.dtype.kind != "f":
        return True
    # NumPy writes and reads a mask, which takes three times as long.
    native = array.dtype.isnative and array.itemsize in (4, 8)
    return _core.all_finite(array, threads) if native else bool(np.isfinite(array).all())


def output(name: str, value: Any, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return `value` if it is an array for results of a shape and type."""
    wanted = np.dtype(dtype)
    if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != wanted:
        kind = None if value is None else type(value).__name__
        found = f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else kind
        raise ValueError(f"{name} is {found}; pass an array {shape} of {wanted}")
    if not value.flags.c_contiguous or not value.flags.writeable:
        raise ValueError(f"{name} is not contiguous and writeable; pass an array of its own")
    return value


def options(value: Options | None, kind: type[Options], name: str = "options") -> Options:
    """Return options of a class, its defaults for None."""
    return kind() if value is None else instance(name, value, kind, f"{kind.__name__}(...) or None")


def instance(name: str, value: Any, kind: type[Options], wanted: str = "", *, large: bool = False) -> Options:
    """Return `value` if it is an instance of `kind`; messages show only the type of `large` values."""
    if not isinstance(value, kind):
        found = type(value).__name__ if large else repr(value)
        raise TypeError(f"{name} is {found}; pass {wanted or f'a {kind.__name__}'}")
    return value


def grid_shape(name: str, value: Sequence[int], *, axes: int | None = None) -> tuple[int, ...]:
    """Return the shape of a grid of 2 or 3 axes, or of `axes`, as a tuple of positive integers."""
    try:
        shape = tuple(int(length) for length in value)
        exact = all(length == given for length, given in zip(shape, value, strict=True))
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} is {value!r}; pass the grid's shape as {axes or '2 or 3'} integers") from None
    if len(shape) not in (2, 3) or not exact or min(shape) < 1:
        raise ValueError(f"{name} is {value!r}; pass {axes or '2 or 3'} positive integers, one per axis")
    if math.prod(shape) > _MOST_VOXELS:
        raise ValueError(f"{name} is {shape}, more voxels than any array has; pass fewer")
    if axes not in (None, len(shape)):
        raise ValueError(f"{name} is {shape}; pass {axes} lengths, one per axis")
    return shape


def landmarks(name: str, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return landmarks of several subjects as an array (n, m, d), d = 2 or 3."""
    points = finite(name, value, ndim=3, dtype=np.float64)
    if points.shape[2] not in (2, 3):
        raise ValueError(f"{name} has shape {points.shape}; its last axis must hold 2 or 3 coordinates")
    return points


def spacing(name: str, value: npt.ArrayLike | None, d: int) -> npt.NDArray[np.float64]:
    """Return the spacing of a grid as d positive numbers; None means 1, a single number holds for all axes."""
    if value is None:
        return np.ones(d)
    array = finite(name, value, ndim=(0, 1), dtype=np.float64)
    array = np.full(d, array.item()) if array.size == 1 else array
    if array.shape != (d,) or array.min() <= 0:
        raise ValueError(f"{name} is {value!r}; pass {d} positive numbers (mm per voxel along each axis)")
    # Beyond that, products of lengths, volumes and their inverses overflow in single precision.
    low, high = _SHORTEST, 1 / _SHORTEST
    if array.min() < low or array.max() > high:
        raise ValueError(f"{name} is {value!r}; pass {d} numbers from {low:g} to {high:g} (mm per voxel)")
    return array


def integer(name: str, value: Any, *, minimum: float = -np.inf, maximum: float | None = None) -> int:
    """Return `value` as an int within [minimum, maximum]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}; pass an integer")
    if value < minimum or (maximum is not None and value > maximum):
        bound = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise ValueError(f"{name} is {value}; pass an integer {bound}")
    return int(value)


def number(
    name: str, value: Any, *, minimum: float = -np.inf, maximum: float = np.inf, above: float = -np.inf
) -> float:
    """Return `value` as a finite float within [minimum, maximum] and greater than `above`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {value!r}; pass a number")
    try:
        result = float(value)
    except OverflowError:
        raise ValueError(f"{name} is beyond the range of floats; pass a finite number") from None
    if not np.isfinite(result) or result < minimum or result > maximum or result <= above:
        lower = f"greater than {above:g}" if above > -np.inf else f"at least {minimum:g}" if minimum > -np.inf else ""
        upper = f"at most {maximum:g}" if maximum < np.inf else ""
        bounds = " and ".join(filter(None, (lower, upper)))
        raise ValueError(f"{name} is {value}; pass a finite number {bounds}".rstrip())
    return result


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Return `value` if it is one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} is {value!r}; pass one of {', '.join(map(repr, allowed))}")
    return value


def word(name: str, value: Any) -> str:
    """Return `value` if it is a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} is {value!r}; pass a string")
    return value


def label_range(name: str, labels: npt.NDArray[Any], kind: npt.DTypeLike = np.int64) -> npt.NDArray[Any]:
    """Return integer labels if all their numbers fit into a type."""
    limits = np.iinfo(kind)
    if labels.size and (int(labels.min()) < limits.min or int(labels.max()) > limits.max):
        found, allowed = f"{labels.min()} to {labels.max()}", f"{limits.min} and {limits.max}"
        raise ValueError(f"{name} holds numbers from {found}; renumber them within {allowed}")
    return labels


def path(name: str, value: Any) -> Path:
    """Return `value` as the path of a file or folder."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} is {value!r}; pass the path of a file or folder")
    return Path(value)


def thread_count(threads: int | None) -> int:
    """Return the number of threads to use; None means the cores that this process may run on."""
    if threads is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(cores, MOST_THREADS)
    return integer("threads", threads, minimum=1, maximum=MOST_THREADS)
