"""Generalized Procrustes alignment, and the poses that it removes.

J. C. Gower: Generalized Procrustes analysis. Psychometrika 40(1), 1975. Rotations without reflection: S. Umeyama, IEEE
TPAMI 13(4), 1991.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._arrays import Array

Transform = Literal["similarity", "rigid", "translation", "none"]
_MAX_ITERATIONS = 100
_CONVERGED = 1e-12


@dataclass(frozen=True, eq=False)
class Alignment:
    """Aligned shapes and their poses.

    Attributes
    ----------
    shapes : ndarray, (n, m, d), float64
        The aligned shapes, with the mean centroid, mean orientation and geometric mean size of the input.
    mean : ndarray, (m, d), float64
        Mean of the aligned shapes.
    poses : ndarray, (n, q), float64
        Log-scale, rotation (angle in 2D, rotation vector in 3D; radians) and translation of each shape: q = 4 in 2D, 7
        in 3D. `apply_pose` with a pose and `center` restores the original of an aligned shape.
    center : ndarray, (d,), float64
        Centre of the scaling and rotation of poses: the mean centroid.
    transform
        The transformation that the alignment removed, see `procrustes`.
    """

    shapes: Array
    mean: Array
    poses: Array
    center: Array
    _: KW_ONLY
    transform: Transform = "similarity"

    def align(self, landmarks: npt.ArrayLike) -> Array:
        """Align unseen shapes to this alignment's mean, without changing it.

        They are moved to the centroid of the aligned shapes, for ``"similarity"`` scaled to their common centroid size,
        and for ``"similarity"`` and ``"rigid"`` rotated to the mean by least squares, never mirrored.

        Parameters
        ----------
        landmarks : array_like, (n, m, d)
            In correspondence with the aligned shapes, in the same unit.

        Returns
        -------
        ndarray, (n, m, d), float64

        Raises
        ------
        TypeError, ValueError
            If `landmarks` and the aligned shapes differ in their number of landmarks or axes, a value is not finite, or
            the landmarks of a shape all coincide.
        """
        shapes = _checks.finite("landmarks", landmarks, ndim=3, dtype=np.float64)
        if shapes.shape[1:] != self.mean.shape:
            raise ValueError(f"landmarks has shape {shapes.shape}; pass (n, {len(self.mean)}, {len(self.center)})")
        if self.transform == "none":
            return shapes.copy()
        centred, _, sizes = _centred(shapes)
        if self.transform == "similarity":
            centred *= (np.linalg.norm(self.shapes[0] - self.center) / sizes)[:, None, None]
        if self.transform in ("similarity", "rigid"):
            mean = self.mean - self.center
            centred = np.stack([shape @ _nearest_rotation(shape.T @ mean) for shape in centred])
        return centred + self.center


def pose_parameter_count(d: int) -> int:
    """Return the number of parameters of a similarity in d dimensions."""
    return 1 + d * (d - 1) // 2 + d


def apply_pose(pose: npt.ArrayLike, center: npt.ArrayLike, points: npt.ArrayLike) -> Array:
    """Scale and rotate points about `center`, then translate them.

    Parameters
    ----------
    pose : array_like, (q,)
        Log-scale, rotation (angle in 2D, rotation vector in 3D; radians), translation.
    center : array_like, (d,)
    points : array_like, (m, d)

    Returns
    -------
    ndarray, (m, d), float64
    """
    matrix, x = pose_matrix(pose, center), np.asarray(points, dtype=np.float64)
    # Written out: a BLAS product may round differently on another number of threads.
    moved = sum(x[:, None, axis] * matrix[None, :, axis] for axis in range(len(matrix)))
    return np.asarray(moved + matrix[:, -1])


def pose_matrix(pose: npt.ArrayLike, center: npt.ArrayLike) -> Array:
    """Return the affine matrix (d, d + 1) of `apply_pose`: x goes to ``matrix[:, :d] @ x + matrix[:, d]``."""
    about, parameters = np.asarray(center, dtype=np.float64), np.asarray(pose, dtype=np.float64)
    d = len(about)
    there = np.exp(parameters[0]) * _rotation_matrix(parameters[1:-d])
    return np.concatenate([there, (about + parameters[-d:] - (there * about).sum(axis=1))[:, None]], axis=1)


def inverse_pose(pose: npt.ArrayLike, center: npt.ArrayLike) -> Array:
    """Return the affine matrix (d, d + 1) of the inverse of `apply_pose`, see `pose_matrix`."""
    about, parameters = np.asarray(center, dtype=np.float64), np.asarray(pose, dtype=np.float64)
    d = len(about)
    back = np.exp(-parameters[0]) * _rotation_matrix(parameters[1:-d]).T
    moved = about + parameters[-d:]
    return np.concatenate([back, (about - (back * moved).sum(axis=1))[:, None]], axis=1)


def _rotation_matrix(rotation: Array) -> Array:
    """Return the rotation matrix of an angle (1,) or a rotation vector (3,) in radians."""
    if len(rotation) == 3:
        return np.asarray(scipy.spatial.transform.Rotation.from_rotvec(rotation).as_matrix())
    c, s = np.cos(rotation[0]), np.sin(rotation[0])
    return np.array([[c, -s], [s, c]])


def _rotation_parameters(matrix: Array) -> Array:
    """Return the angle (1,) or the rotation vector (3,) of a rotation matrix, in radians."""
    if len(matrix) == 3:
        return np.asarray(scipy.spatial.transform.Rotation.from_matrix(matrix).as_rotvec())
    return np.array([np.arctan2(matrix[1, 0], matrix[0, 0])])


def _nearest_rotation(matrix: Array) -> Array:
    """Return the rotation R that maximizes trace(R^T matrix); never a reflection (Umeyama 1991)."""
    u, _, vt = np.linalg.svd(matrix)
    signs = np.ones(len(matrix))
    signs[-1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    return np.asarray(u @ np.diag(signs) @ vt)


def procrustes(landmarks: npt.ArrayLike, *, transform: Transform = "similarity") -> Alignment:
    """Align shapes to their common mean by generalized Procrustes analysis.

    Size is centroid size, orientations are fitted by least squares to the current mean, and no shape is mirrored.

    Parameters
    ----------
    landmarks : array_like, (n, m, d)
        Corresponding landmarks with the same unit along all axes (mm where voxels are not cubes).
    transform
        What is removed: ``"similarity"``: size, orientation and position; ``"rigid"``: orientation and position;
        ``"translation"``: position; ``"none"``: nothing.

    Returns
    -------
    Alignment

    Raises
    ------
    TypeError, ValueError
        If `landmarks` has the wrong shape or values that are not finite, n < 2, the landmarks of a shape all coincide,
        or `transform` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import procrustes
    >>> triangle = np.array([[0.0, 0.0], [0.0, 4.0], [3.0, 0.0]])
    >>> turned = triangle @ [[0, 1], [-1, 0]]
    >>> alignment = procrustes([triangle, 2 * turned + 5])
    >>> bool(np.allclose(alignment.shapes[0], alignment.shapes[1]))
    True
    >>> np.round(np.exp(np.diff(alignment.poses[:, 0])), 6)  # the second is twice as large
    array([2.])
    >>> float(np.rad2deg(np.diff(alignment.poses[:, 1])[0]).round(6))  # and turned by a quarter
    90.0
    """
    shapes = _checks.landmarks("landmarks", landmarks)
    n, _, d = shapes.shape
    if n < 2:
        raise ValueError(f"landmarks holds {n} shape; pass at least 2")
    _checks.choice("transform", transform, get_args(Transform))

    poses = np.zeros((n, pose_parameter_count(d)))
    if transform == "none":
        center = shapes.mean(axis=1).mean(axis=0)
        return Alignment(shapes.copy(), shapes.mean(axis=0), poses, center, transform=transform)

    centred, centroids, sizes = _centred(shapes)
    center = centroids.mean(axis=0)
    poses[:, -d:] = centroids - center
    if transform == "similarity":
        poses[:, 0] = np.log(sizes) - np.log(sizes).mean()
        centred = centred / np.exp(poses[:, 0])[:, None, None]
    if transform in ("similarity", "rigid"):
        rotations = _mean_orientations(centred)
        centred = np.einsum("nmi,nij->nmj", centred, rotations)
        poses[:, 1:-d] = [_rotation_parameters(rotation) for rotation in rotations]
    aligned = centred + center
    return Alignment(aligned, aligned.mean(axis=0), poses, center, transform=transform)


def _centred(shapes: Array) -> tuple[Array, Array, Array]:
    """Return the centred shapes (n, m, d), their centroids (n, d) and centroid sizes (n,)."""
    centroids = shapes.mean(axis=1)
    centred = shapes - centroids[:, None]
    sizes = np.linalg.norm(centred, axis=(1, 2))
    if sizes.min() == 0:
        raise ValueError(f"landmarks[{int(np.argmin(sizes))}] all coincide; drop that shape")
    return centred, centroids, sizes


def _mean_orientations(centred: Array) -> Array:
    """Return the rotations (n, d, d) of centred shapes against their mean; the mean rotation is the identity."""
    mean = centred[0] / np.linalg.norm(centred[0])
    for _ in range(_MAX_ITERATIONS):
        rotations = np.stack([_nearest_rotation(shape.T @ mean) for shape in centred])
        updated = np.einsum("nmi,nij->mj", centred, rotations)
        updated /= np.linalg.norm(updated)
        change = float(np.linalg.norm(updated - mean))
        mean = updated
        if change < _CONVERGED:
            break
    # The mean has the arbitrary orientation of the first shape; rotate it to that of the cohort.
    common = _nearest_rotation(rotations.sum(axis=0))
    return np.asarray(rotations @ common.T)
