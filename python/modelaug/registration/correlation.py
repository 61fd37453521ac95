r"""How well two images agree under an affine map, and the climb to where they agree best.

Positions are those in space, in mm. A map (d, d + 1) takes a position p of the fixed image to the position A p + b of
the moving one. Its score is

.. math:: -\tfrac12 \log(1 - \rho) - c \, \frac{D^2}{R^2 + D^2},

with ρ the correlation coefficient of the fixed image and the moving one pulled onto it, over the voxels that both have,
and D the root mean square distance by which the map differs from a reference map there. The first term is the
logarithm of the likelihood of the images, per voxel, if they differ by gain, offset and white noise of unknown
strength. The second is for images that agree little in the end, such as two patients' thoraces: far from the reference
some map makes them agree a little better by chance. It never exceeds c, so that it gives way to images that agree well.

The maximum of ρ by Gauss-Newton's method: G. D. Evangelidis, E. Z. Psarakis: Parametric image alignment using enhanced
correlation coefficient maximization, IEEE TPAMI 30 (2008). Steps are damped as D. W. Marquardt did (1963), and are
taken only if the score rises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _core
from modelaug.data.resampling import resize_image

__all__ = ["AffineKind", "Match", "Overlay", "Picture", "climb"]

AffineKind = Literal["affine", "similarity", "rigid", "translation"]
Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

_COST: Final = 0.25
"""c: what a map that is far from the reference is charged."""
_REACH: Final = 0.6
"""R in standard deviations of the fixed voxels along an axis."""
_NEIGHBOURHOOD: Final = 0.35
"""Over which intensities are standardized, in the same unit."""
_FLOOR: Final = 0.1
"""Contrast below which a neighbourhood counts as uniform, as a share of the image's."""

_LEAST_SHARE: Final = 0.25
"""Of the smaller image, must be in both."""
_MOST_STRETCH: Final = 2.0
"""Along any direction, and its inverse the least."""
_LEAST_NOISE: Final = 1e-3
"""1 - ρ below which images count as equal."""

_ITERATIONS: Final = 20
_TOLERANCE: Final = 0.01  # voxels, of a step
_LARGEST_TURN: Final = 0.5  # of a step; radians, or relative
_DAMPING: Final = (1e-6, 1e-3, 1e3)


@dataclass(frozen=True, eq=False)
class Picture:
    """An image and where it lies in space.

    Attributes
    ----------
    channels : ndarray, (c, *grid), float32
    weight : ndarray, (*grid), float32
        Of each voxel, 0 to 1: how far there is an image.
    matrix : ndarray, (d, d + 1), float64
        Where voxels lie: ``matrix[:, :d] @ index + matrix[:, d]``, in mm.
    """

    channels: Image
    weight: Image
    matrix: Array

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return self.weight.shape

    @property
    def spacing(self) -> Array:
        """Millimetres per voxel."""
        return np.asarray(np.linalg.norm(self.matrix[:, :-1], axis=0))

    @property
    def centre(self) -> Array:
        """Where the centre of the field of view lies."""
        return np.asarray(self.matrix @ np.append((np.array(self.grid) - 1) / 2, 1))

    @property
    def volume(self) -> float:
        """Of the image, in mm^d."""
        return float(self.weight.sum(dtype=np.float64) * np.prod(self.spacing))

    def positions(self) -> Array:
        """Return where all voxels lie, (d, n)."""
        index = np.indices(self.grid).reshape(len(self.grid), -1)
        return np.asarray(self.matrix[:, :-1] @ index + self.matrix[:, -1:])

    def cropped(self) -> Picture:
        """Return the box that holds all voxels with weight."""
        box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(self.weight))
        first = self.matrix @ np.append([side.start for side in box], 1)
        return Picture(
            self.channels[(slice(None), *box)], self.weight[box], np.column_stack([self.matrix[:, :-1], first])
        )

    def resized(self, size: float) -> Picture:
        """Return the picture with voxels about `size` mm long along every axis along which they are shorter."""
        spacing = self.spacing
        grid = tuple(max(1, round(n * h / max(h, size))) for n, h in zip(self.grid, spacing, strict=True))
        ratio = np.array(self.grid) / np.array(grid)
        weight = resize_image(self.weight, grid)
        channels = resize_image(self.channels * self.weight, grid) / np.maximum(weight, np.float32(1e-6))
        first = self.matrix @ np.append((ratio - 1) / 2, 1)
        return Picture(np.asarray(channels, np.float32), weight, np.column_stack([self.matrix[:, :-1] * ratio, first]))

    def standardized(self, width: float | None) -> Picture:
        """Return the picture with mean 0 and standard deviation 1, in every box of this standard deviation in mm.

        So what differs slowly, such as brightness near a coil, does not count, nor does the strength of contrast. None
        standardizes the picture as a whole.
        """
        means = [np.average(values, weights=self.weight) for values in self.channels]
        centred = self.channels - np.array(means, np.float32).reshape(-1, *[1] * len(self.grid))
        powers = [max(float(np.average(values**2, weights=self.weight)), 1e-30) for values in centred]
        deviations = np.sqrt(np.array(powers, np.float32)).reshape(-1, *[1] * len(self.grid))
        centred /= deviations
        if width is None:
            return Picture(centred, self.weight, self.matrix)
        sides = [2 * round((np.sqrt(12) * width / h - 1) / 2) + 1 for h in np.minimum(self.spacing, width)]
        # No wider than what holds the whole axis from everywhere: where voxels are no cubes at all, that is far less.
        sides = [min(side, 2 * n - 1) for side, n in zip(sides, self.grid, strict=True)]

        def mean(values: Image) -> Image:
            # Sums within a box that moves: as quick for a wide box as for a narrow one.
            return np.asarray(scipy.ndimage.uniform_filter(values, sides, mode="constant"), np.float32)

        share = np.maximum(mean(self.weight), 1e-6)
        for values in centred:
            local = mean(values * self.weight) / share
            variance = np.maximum(mean(values**2 * self.weight) / share - local**2, 0)
            values -= local
            values /= np.sqrt(variance + np.float32(_FLOOR**2))
        return Picture(centred, self.weight, self.matrix)


@dataclass(frozen=True, eq=False)
class Match:
    """How well images agree under a map.

    Attributes
    ----------
    score
        What is maximized.
    correlation
        Mean over the channels, -1 to 1.
    slope, curvature : ndarray, (q,) and (q, q), float64
        Derivative of the score, and minus Gauss-Newton's approximation of the second one, by the entries of a step; see
        `Overlay.moved`.
    """

    score: float
    correlation: float
    slope: Array
    curvature: Array


class Overlay:
    """Two pictures of about the same resolution, to be laid one on the other.

    Parameters
    ----------
    fixed, moving
        The pictures.
    importance : ndarray, (*grid), float32
        Of the fixed voxels for the correlation, as a factor of their weight.
    reference : ndarray, (d, d + 1), float64
        The map that others are charged for differing from.
    local
        Whether intensities are standardized in a neighbourhood of each voxel, so that what differs slowly does not
        count, or in the whole picture, so that images agree a little also from far off.
    threads
        For the kernels.
    """

    def __init__(
        self, fixed: Picture, moving: Picture, importance: Image, reference: Array, *, local: bool, threads: int
    ) -> None:
        self.threads = threads
        self.fixed, self.moving, self.reference = fixed, moving, reference
        self._weight = (fixed.weight * importance).ravel()
        self._index = np.indices(fixed.grid, dtype=np.float32).reshape(len(fixed.grid), -1)
        positions = fixed.positions()
        total = float(self._weight.sum(dtype=np.float64))
        self.pivot: Array = positions @ self._weight / total
        self._arms = (positions - self.pivot[:, None]).astype(np.float32)
        d = len(positions)
        self.radius = float(np.sqrt((self._arms**2).sum(axis=0) @ self._weight / total / d))
        self.size = float(min(h for h, n in zip(fixed.spacing, fixed.grid, strict=True) if n > 1))
        self._volume = total * float(np.prod(fixed.spacing))
        width = _NEIGHBOURHOOD * self.radius if local else None
        self._targets = fixed.standardized(width).channels.reshape(len(fixed.channels), -1)
        source = moving.standardized(width).channels
        inverse = np.linalg.inv(moving.matrix[:, :-1])
        slopes = [
            np.gradient(source, axis=k + 1) if n > 1 else np.zeros_like(source) for k, n in enumerate(moving.grid)
        ]
        # By the position in space, component by component.
        slopes = [sum(slope * np.float32(x) for slope, x in zip(slopes, column, strict=True)) for column in inverse.T]
        self._stack: Image = np.concatenate([moving.weight[None], source, *slopes])[None]

    def match(self, mapping: Array) -> Match | None:
        """Return how well the images agree under a map, or None if too little of them does overlap."""
        fixed, moving, d = self.fixed, self.moving, len(self.pivot)
        linear = mapping[:, :-1]
        inverse = np.linalg.inv(moving.matrix[:, :-1])
        to_voxel = inverse @ linear @ fixed.matrix[:, :-1]
        first = inverse @ (linear @ fixed.matrix[:, -1] + mapping[:, -1] - moving.matrix[:, -1])
        at = to_voxel.astype(np.float32) @ self._index + first.astype(np.float32)[:, None]
        # A voxel has half a voxel around its centre, also on the border.
        ends = np.array(moving.grid, np.float32)[:, None] - np.float32(0.5)
        inside = ((at >= -0.5) & (at <= ends)).all(axis=0)
        displacement = np.ascontiguousarray((at - self._index).reshape(1, d, *fixed.grid))
        pulled = _core.warp(self._stack, displacement, False, False, 0.0, self.threads)
        pulled = pulled.reshape(self._stack.shape[1], -1)
        weight = self._weight * pulled[0] * inside
        total = weight.sum(dtype=np.float64)
        smaller = min(self._volume, moving.volume / max(float(np.linalg.det(linear)), 1e-9))
        if total * np.prod(fixed.spacing) < _LEAST_SHARE * smaller:
            return None
        weight = (weight / total).astype(np.float32)
        arms = np.append(linear.astype(np.float32) @ self._arms, np.full_like(self._arms[:1], self.radius), axis=0)
        arms /= np.float32(self.radius)
        count = len(fixed.channels)
        parts = [
            _correlation(weight, self._targets[k], pulled[1 + k], pulled[1 + count + k :: count], arms)
            for k in range(count)
        ]
        known = [part for part in parts if part is not None]
        if not known:
            return None
        correlation = sum(part[0] for part in known) / count
        slope = np.sum([part[1] for part in known], axis=0) / count
        curvature = np.sum([part[2] for part in known], axis=0) / count
        noise = max(1 - correlation, _LEAST_NOISE)
        charge, charge_slope, charge_curvature = self._charge(mapping)
        return Match(
            -0.5 * float(np.log(noise)) - charge,
            correlation,
            slope / (2 * noise) - charge_slope,
            curvature / (2 * noise) + charge_curvature,
        )

    def moved(self, mapping: Array, step: Array) -> Array | None:
        """Return a map after a step (d (d + 1),): rows of a linear map, times `radius`, each with a shift.

        None where the step is too large, or the map would stretch too much.
        """
        d = len(self.pivot)
        rows = step.reshape(d, d + 1)
        turn = rows[:, :d] / self.radius
        if np.abs(turn).max() > _LARGEST_TURN:
            return None
        linear = scipy.linalg.expm(turn) @ mapping[:, :d]
        if np.abs(np.log(np.linalg.svd(linear, compute_uv=False))).max() > np.log(_MOST_STRETCH) + 1e-9:
            return None
        goal = mapping @ np.append(self.pivot, 1) + rows[:, d]
        return np.column_stack([linear, goal - linear @ self.pivot])

    def _charge(self, mapping: Array) -> tuple[float, Array, Array]:
        """Return what a map costs for differing from the reference, its derivative and the second one, by a step."""
        d, there = len(self.pivot), np.append(self.pivot, 1)
        difference = np.column_stack(
            [(mapping - self.reference)[:, :d] * self.radius, (mapping - self.reference) @ there]
        )
        squared = float((difference**2).sum()) / (_REACH * self.radius) ** 2
        strength = 2 * _COST / (1 + squared) ** 2 / (_REACH * self.radius) ** 2
        follows = np.eye(d + 1)
        follows[:d, :d] = mapping[:, :d]
        return (
            _COST * squared / (1 + squared),
            strength * (difference @ follows.T).ravel(),
            np.kron(np.eye(d), strength * follows @ follows.T).astype(np.float64),
        )


def _correlation(
    weight: Image, fixed: Image, moving: Image, slopes: Image, arms: Image
) -> tuple[float, Array, Array] | None:
    """Return the correlation of two images (n,), its derivative by a step, and minus the second one by Gauss-Newton.

    None where an image has no contrast.
    """
    q = len(slopes) * len(arms)
    target, source = fixed - weight @ fixed, moving - weight @ moving
    deviation = [float(np.sqrt(weight @ image**2)) for image in (target, source)]
    if min(deviation) < 1e-6:
        return None
    target, source = target / np.float32(deviation[0]), source / np.float32(deviation[1])
    correlation = float((weight * target) @ source)
    rows = np.empty((q + 3, len(weight)), np.float32)
    np.multiply((slopes / np.float32(deviation[1]))[:, None], arms, out=rows[:q].reshape(len(slopes), len(arms), -1))
    rows[q], rows[q + 1], rows[q + 2] = 1, source, target
    rows *= np.sqrt(weight)
    products = (rows[:q] @ rows.T).astype(np.float64)
    mean, along, towards = products[:, q:].T
    curvature = products[:, :q] - np.outer(mean, mean) - np.outer(along, along)
    return correlation, towards - correlation * along, curvature


def climb(overlay: Overlay, mapping: Array, transform: AffineKind) -> tuple[Array, Match] | None:
    """Return the best map that steps of a kind lead to, and how well the images agree; None if they hardly overlap."""
    best = overlay.match(mapping)
    if best is None:
        return None
    directions = _directions(transform, len(mapping))
    damping, least = _DAMPING[1], _TOLERANCE * overlay.size
    for _ in range(_ITERATIONS):
        slope, curvature = directions.T @ best.slope, directions.T @ best.curvature @ directions
        # Along an axis with a single voxel only the charge has a slope.
        diagonal = np.maximum(np.diag(curvature), 1e-6 * max(float(np.diag(curvature).max()), 1e-12))
        length, found = np.inf, None
        while found is None and damping <= _DAMPING[2] and length >= least:
            step = directions @ np.linalg.solve(curvature + damping * np.diag(diagonal), slope)
            length = float(np.linalg.norm(step))
            moved = overlay.moved(mapping, step)
            found = None if moved is None else overlay.match(moved)
            if moved is None or found is None or found.score < best.score:
                found, damping = None, damping * 8
        if moved is None or found is None:
            break
        mapping, best, damping = moved, found, max(damping / 8, _DAMPING[0])
        if length < least:
            break
    return mapping, best


def _directions(transform: AffineKind, d: int) -> Array:
    """Return orthonormal steps (d (d + 1), k) that a map of a kind is made of."""
    units = np.eye(d * (d + 1)).reshape(d, d + 1, d, d + 1)
    shifts = [units[a, d] for a in range(d)]
    if transform == "affine":
        shifts += [units[a, b] for a in range(d) for b in range(d)]
    if transform == "similarity":
        shifts.append(sum(units[a, a] for a in range(d)) / np.sqrt(d))
    if transform in ("similarity", "rigid"):
        shifts += [(units[a, b] - units[b, a]) / np.sqrt(2) for a in range(d) for b in range(a)]
    return np.stack([shift.ravel() for shift in shifts], axis=1)
