r"""The correlation of two images under an affine map, and its maximization by Gauss-Newton's method.

Positions are in space, in mm. A map (d, d + 1) takes a position p of the fixed image to the position A p + b of
the moving one. Its score is

.. math:: -\tfrac12 \log(1 - \rho) - c \, \frac{D^2}{R^2 + D^2},

with ρ the correlation coefficient of the fixed image and the warped moving one over their overlap, and D the root mean
square distance of the map from a reference map there. The first term is the log-likelihood of the images, per voxel, if
they differ by gain, offset and white noise of unknown strength. The second is a penalty for images that correlate
weakly even when aligned, such as two patients' thoraces, which some map far from the reference would by chance align a
little better. It never exceeds c, so that images that correlate well overrule it.

Gauss-Newton's method for ρ: G. D. Evangelidis, E. Z. Psarakis: Parametric image alignment using enhanced
correlation coefficient maximization, IEEE TPAMI 30 (2008). Steps are damped as in D. W. Marquardt (1963), and are
taken only if the score rises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import scipy

from modelaug import _core
from modelaug._arrays import Array, Image
from modelaug.data.resampling import resize_image
from modelaug.registration._images import gradients

AffineKind = Literal["affine", "similarity", "rigid", "translation"]

_COST: Final = 0.25
"""c: the penalty of a map that is far from the reference."""
_REACH: Final = 0.6
"""R in standard deviations of the fixed voxels along an axis."""
_NEIGHBOURHOOD: Final = 0.35
"""Standard deviation of the neighbourhood over which intensities are standardized, in the same unit."""
_FLOOR: Final = 0.1
"""Contrast below which a neighbourhood counts as uniform, as a share of the image's."""

_LEAST_SHARE: Final = 0.25
"""Smallest overlap, as a share of the smaller image."""
_MOST_STRETCH: Final = 2.0
"""Largest stretch along any direction; its inverse is the smallest."""
_LEAST_NOISE: Final = 1e-3
"""1 - ρ below which images count as equal."""

_ITERATIONS: Final = 20
_TOLERANCE: Final = 0.01  # voxels; length of the last step
_LARGEST_TURN: Final = 0.5  # of a step; radians, or relative
_DAMPING: Final = (1e-6, 1e-3, 1e3)  # smallest, first, largest


@dataclass(frozen=True, eq=False)
class Picture:
    """An image with its position in space.

    Attributes
    ----------
    channels : ndarray, (c, *grid), float32
    weight : ndarray, (*grid), float32
        Weight of each voxel, 0 to 1; 0 where there is no image.
    matrix : ndarray, (d, d + 1), float64
        Positions of voxels in mm: ``matrix[:, :d] @ index + matrix[:, d]``.
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
        """Position (d,) of the centre of the field of view, in mm."""
        return np.asarray(self.matrix @ np.append((np.array(self.grid) - 1) / 2, 1))

    @property
    def volume(self) -> float:
        """Volume of the image in mm^d, by its weights."""
        return float(self.weight.sum(dtype=np.float64) * np.prod(self.spacing))

    def positions(self) -> Array:
        """Return the positions (d, n) of all voxels in mm."""
        index = np.indices(self.grid).reshape(len(self.grid), -1)
        return np.asarray(self.matrix[:, :-1] @ index + self.matrix[:, -1:])

    def cropped(self) -> Picture:
        """Return the picture cropped to the bounding box of the voxels with positive weight."""
        box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(self.weight))
        first = self.matrix @ np.append([side.start for side in box], 1)
        return Picture(
            self.channels[(slice(None), *box)], self.weight[box], np.column_stack([self.matrix[:, :-1], first])
        )

    def resized(self, size: float) -> Picture:
        """Return the picture with voxels enlarged to about `size` mm along every axis where they are shorter."""
        spacing = self.spacing
        grid = tuple(max(1, round(n * h / max(h, size))) for n, h in zip(self.grid, spacing, strict=True))
        ratio = np.array(self.grid) / np.array(grid)
        weight = resize_image(self.weight, grid)
        channels = resize_image(self.channels * self.weight, grid) / np.maximum(weight, np.float32(1e-6))
        first = self.matrix @ np.append((ratio - 1) / 2, 1)
        return Picture(np.asarray(channels, np.float32), weight, np.column_stack([self.matrix[:, :-1] * ratio, first]))

    def standardized(self, width: float | None) -> Picture:
        """Return the picture with mean 0 and standard deviation 1 in a box around each voxel.

        `width` is the box's standard deviation in mm; None standardizes the picture as a whole. Locally standardized
        pictures do not show slow changes, such as brightness near a coil, nor the strength of contrast.
        """
        means = [np.average(values, weights=self.weight) for values in self.channels]
        centred = self.channels - np.array(means, np.float32).reshape(-1, *[1] * len(self.grid))
        powers = [max(float(np.average(values**2, weights=self.weight)), 1e-30) for values in centred]
        deviations = np.sqrt(np.array(powers, np.float32)).reshape(-1, *[1] * len(self.grid))
        centred /= deviations
        if width is None:
            return Picture(centred, self.weight, self.matrix)
        sides = [2 * round((np.sqrt(12) * width / h - 1) / 2) + 1 for h in np.minimum(self.spacing, width)]
        # No wider than what covers the whole axis from every voxel, which bounds the sides where voxels are long.
        sides = [min(side, 2 * n - 1) for side, n in zip(sides, self.grid, strict=True)]

        def mean(values: Image) -> Image:
            # By running sums: as fast for a wide box as for a narrow one.
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
    """The score of two images under a map, with its derivatives.

    Attributes
    ----------
    score
        The function to maximize.
    correlation
        Mean over the channels, -1 to 1.
    slope, curvature : ndarray, (q,) and (q, q), float64
        Gradient of the score with respect to a step, see `Overlay.moved`, and minus the Gauss-Newton approximation of
        its Hessian.
    """

    score: float
    correlation: float
    slope: Array
    curvature: Array


class Overlay:
    """Two pictures of about the same resolution, to be aligned.

    Parameters
    ----------
    fixed, moving
        The pictures.
    importance : ndarray, (*grid), float32
        Factor on the fixed voxels' weights.
    reference : ndarray, (d, d + 1), float64
        The map from which the penalty measures distances.
    local
        Whether intensities are standardized in a neighbourhood of each voxel, so that slow changes do not count, or in
        the whole picture, so that images also correlate from far off.
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
        slopes, inverse = gradients(source), np.linalg.inv(moving.matrix[:, :-1])
        # With respect to the position in space, component by component.
        spatial = [sum(slope * np.float32(x) for slope, x in zip(slopes, column, strict=True)) for column in inverse.T]
        self._stack: Image = np.concatenate([moving.weight[None], source, *spatial])[None]

    def match(self, mapping: Array) -> Match | None:
        """Return the score of the images under a map, or None if they overlap too little."""
        fixed, moving, d = self.fixed, self.moving, len(self.pivot)
        linear = mapping[:, :-1]
        inverse = np.linalg.inv(moving.matrix[:, :-1])
        to_voxel = inverse @ linear @ fixed.matrix[:, :-1]
        first = inverse @ (linear @ fixed.matrix[:, -1] + mapping[:, -1] - moving.matrix[:, -1])
        at = to_voxel.astype(np.float32) @ self._index + first.astype(np.float32)[:, None]
        # Voxels on the border, too, extend half a voxel from their centres.
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
        correlation, slope, curvature = (sum(each) / count for each in zip(*known, strict=True))
        noise = max(1 - correlation, _LEAST_NOISE)
        penalty, penalty_slope, penalty_curvature = self._penalty(mapping)
        return Match(
            -0.5 * float(np.log(noise)) - penalty,
            correlation,
            slope / (2 * noise) - penalty_slope,
            curvature / (2 * noise) + penalty_curvature,
        )

    def moved(self, mapping: Array, step: Array) -> Array | None:
        """Return a map after a step (d (d + 1),): the rows of a linear map, times `radius`, each with a translation.

        None if the step is too large, or the map would stretch too much.
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

    def _penalty(self, mapping: Array) -> tuple[float, Array, Array]:
        """Return the penalty of a map's distance from the reference, with its gradient and Hessian by a step."""
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
    """Return the correlation of two images (n,), its gradient by a step, and minus its Gauss-Newton Hessian.

    None if an image has no contrast.
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
    """Maximize the score over maps of a kind; return the map and its score, or None if the images hardly overlap."""
    best = overlay.match(mapping)
    if best is None:
        return None
    directions = _directions(transform, len(mapping))
    damping, least = _DAMPING[1], _TOLERANCE * overlay.size
    for _ in range(_ITERATIONS):
        slope, curvature = directions.T @ best.slope, directions.T @ best.curvature @ directions
        # Along an axis with a single voxel only the penalty has a slope.
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
    """Return an orthonormal basis (d (d + 1), k) of the steps that keep a map of its kind."""
    units = np.eye(d * (d + 1)).reshape(d, d + 1, d, d + 1)
    shifts = [units[a, d] for a in range(d)]
    if transform == "affine":
        shifts += [units[a, b] for a in range(d) for b in range(d)]
    if transform == "similarity":
        shifts.append(sum(units[a, a] for a in range(d)) / np.sqrt(d))
    if transform in ("similarity", "rigid"):
        shifts += [(units[a, b] - units[b, a]) / np.sqrt(2) for a in range(d) for b in range(a)]
    return np.stack([shift.ravel() for shift in shifts], axis=1)
