"""Affine maps in 2D and 3D as arrays (d, d + 1): random ones, composition, inverses, evaluation on a box of voxels."""

from __future__ import annotations

import functools
import math

import numpy as np
import scipy

from modelaug._arrays import Array, Image

Box = tuple[slice, ...]


def side(volume: float, d: int) -> float:
    """Return the side of a square or cube of a given number of pixels or voxels."""
    return float(np.sqrt(volume) if d == 2 else np.cbrt(volume))


def rotation_matrix(angle: float, axis: Array | None = None) -> Array:
    """Return the rotation matrix of an angle in radians, in the plane or about a unit vector (3,) in space."""
    if axis is None:
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.asarray(scipy.spatial.transform.Rotation.from_rotvec(angle * axis).as_matrix())


def random_direction(rng: np.random.Generator, d: int) -> Array:
    """Draw a unit vector (d,) from half a circle in the plane, from the whole sphere in space."""
    if d == 2:
        angle = rng.uniform(0.0, math.pi)
        return np.array([math.sin(angle), math.cos(angle)])
    drawn = rng.standard_normal(d)
    return np.asarray(drawn / math.sqrt((drawn**2).sum()))


def random_rotation(rng: np.random.Generator, d: int, *, largest: float = 2 * math.pi) -> Array:
    """Draw a rotation matrix uniformly: up to `largest` radians in the plane, any rotation in space."""
    if d == 2:
        return rotation_matrix(rng.uniform(0.0, largest))
    return np.asarray(scipy.spatial.transform.Rotation.from_quat(rng.standard_normal(4)).as_matrix())


def join(linear: Array, offset: Array) -> Array:
    """Return the affine map (d, d + 1) of a matrix (d, d) and an offset (d,)."""
    d = len(offset)
    affine = np.empty((d, d + 1))
    affine[:, :d], affine[:, d] = linear, offset
    return affine


def compose_affine(outer: Array, inner: Array) -> Array:
    """Return the composition x -> outer(inner(x)) of two affine maps."""
    return join(outer[:, :-1] @ inner[:, :-1], outer[:, :-1] @ inner[:, -1] + outer[:, -1])


def inverse(affine: Array) -> Array:
    """Return the inverse of an affine map."""
    matrix = affine[:, :-1]
    if len(matrix) == 2:
        (a, b), (c, d) = matrix.tolist()
        linear = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
    else:
        linear = np.linalg.inv(matrix)
    return join(linear, -linear @ affine[:, -1])


def length_factor(affine: Array) -> float:
    """Return the mean factor on lengths: the d-th root of the determinant, which must be positive."""
    matrix = affine[:, :-1]
    if len(matrix) == 2:
        (a, b), (c, d) = matrix.tolist()
        return math.sqrt(a * d - b * c)
    return side(float(np.linalg.det(matrix)), len(matrix))


def on_box(rows: Array, box: Box, out: Image | None = None) -> Image:
    """Return ``rows @ (*x, 1)`` for the voxels x of a box: (k, *box) of rows (k, d + 1), written to `out` if given."""
    first, *others = (a[:, None] * np.arange(part.start, part.stop) for a, part in zip(rows.T[:-1], box, strict=True))
    first += rows[:, -1:]
    for other in others:
        # Large terms that cancel are added in double precision.
        shift = other[:, :1].copy()
        first += shift
        other -= shift
    parts = [part.astype(np.float32) for part in (first, *others)]
    if out is None:
        out = np.empty((len(rows), *(part.shape[1] for part in parts)), dtype=np.float32)
    for total, *leading, last in zip(out, *parts, strict=True):
        np.add.outer(functools.reduce(np.add.outer, leading), last, out=total)
    return out
