"""Grids in millimetres, smooth noise, star-shaped curves and painting with soft edges, for all phantoms.

A phantom is described in millimetres and drawn on any grid, so the anatomy of a subject depends on
its seed and index only. Points are ``(row, column)`` or ``(plane, row, column)`` throughout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array
from modelaug.data.cohort import Cohort, LandmarkObject, ObjectKind
from modelaug.transforms.lattices import basis_matrix

Subject = tuple[Array, npt.NDArray[np.uint8], Array]
"""Landmarks (m, d) in mm, labels (*grid) and image (*grid) of a subject."""

# Angles at which star-shaped curves are tabulated; interpolating linearly between them errs by less than 1e-4 radii.
ANGLES: Array = np.linspace(0.0, 2 * math.pi, 1440, endpoint=False)


def subject_rng(seed: int, index: int) -> np.random.Generator:
    """Return the random generator of subject `index`, independent of all other subjects."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index]))


def checked_shape(shape: Sequence[int], d: int, minimum: int) -> tuple[int, ...]:
    """Return `shape` as a tuple of `d` integers of at least `minimum`."""
    grid = _checks.grid_shape("shape", shape)
    if len(grid) != d or min(grid) < minimum:
        raise ValueError(f"shape is {shape!r}; pass {d} integers of at least {minimum}")
    return grid


def bounded_normal(rng: np.random.Generator, sigma: float, limit: float = 2.0) -> float:
    """Draw a normal number of standard deviation about `sigma`, bent smoothly to stay within ``limit * sigma``."""
    return float(sigma * limit * math.tanh(rng.standard_normal() / limit))


@dataclass(frozen=True)
class Frame:
    """A grid that covers a field of view of `extent` mm along every axis.

    Attributes
    ----------
    grid : tuple of int
        Number of pixels along each axis.
    extent : float
        Field of view in mm; the outer edges of the first and last pixel are at 0 and `extent`.
    """

    grid: tuple[int, ...]
    extent: float

    @property
    def spacing(self) -> Array:
        """Millimetres per pixel along each axis, (d,)."""
        return self.extent / np.array(self.grid, dtype=np.float64)

    @property
    def softness(self) -> float:
        """Width in mm of an edge that runs through pixels: their root mean square size."""
        return float(np.sqrt(np.mean(self.spacing**2)))

    @property
    def axes(self) -> list[Array]:
        """Positions in mm of the pixel centres along each axis."""
        return [(np.arange(length) + 0.5) * step for length, step in zip(self.grid, self.spacing, strict=True)]

    def mesh(self) -> list[Array]:
        """Return the positions in mm of the pixel centres, one array (*grid) per axis."""
        return list(np.meshgrid(*self.axes, indexing="ij"))

    def pixels(self, points: Array) -> Array:
        """Convert points (m, d) from mm to pixels, (0, 0) being the centre of the first pixel."""
        return points / self.spacing - 0.5

    def noise(self, rng: np.random.Generator, scale: float) -> Array:
        """Return a smooth random field (*grid) of mean 0 and variance 1 with details of about `scale` mm.

        White noise on a lattice of that spacing, weighted by cubic B-splines. The lattice does not depend on the grid.
        """
        cells = math.ceil(self.extent / scale)
        field: Array = rng.standard_normal((cells + 3,) * len(self.grid))
        for axis, positions in enumerate(self.axes):
            weights = basis_matrix(positions / scale, cells)
            field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
        # 151/315 is the integral of the squared cubic B-spline: the mean variance along one axis.
        return np.asarray(field / (151 / 315) ** (len(self.grid) / 2))


def coverage(level: Array, softness: float) -> Array:
    """Return the fraction of each pixel inside, given the distance in mm to an edge (negative inside)."""
    return np.clip(0.5 - level / softness, 0.0, 1.0)


def polar(mesh: Sequence[Array], centre: npt.ArrayLike) -> tuple[Array, Array]:
    """Return the distance and angle of a 2D `mesh` about `centre`; angles grow from the column to the row axis."""
    row, column = np.asarray(centre, dtype=np.float64)
    down, right = mesh[0] - row, mesh[1] - column
    return np.hypot(down, right), np.arctan2(down, right)


def turned(mesh: Sequence[Array], centre: npt.ArrayLike, angle: float) -> tuple[Array, Array]:
    """Return the coordinates of a 2D `mesh` along and across the direction `angle`, measured from `centre`."""
    row, column = np.asarray(centre, dtype=np.float64)
    down, right = mesh[0] - row, mesh[1] - column
    return right * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - right * math.sin(angle)


def fourier_noise(rng: np.random.Generator, low: int, high: int, falloff: float = 1.0) -> Array:
    """Return a smooth random function of the angle, tabulated at `ANGLES`, of mean 0 and expected variance 1.

    Harmonics `low` to `high` have amplitudes that fall like ``harmonic ** -falloff``.
    """
    harmonics = np.arange(low, high + 1)
    amplitude = harmonics**-falloff / math.sqrt(float(np.sum(harmonics ** (-2.0 * falloff))))
    phases = harmonics[:, None] * ANGLES
    cosine, sine = rng.standard_normal((2, len(harmonics)))
    return np.asarray((amplitude * cosine) @ np.cos(phases) + (amplitude * sine) @ np.sin(phases))


def bump(centre: float, width: float) -> Array:
    """Return a smooth bump of height 1 around the angle `centre`, about `width` wide, tabulated at `ANGLES`."""
    return np.exp((np.cos(ANGLES - centre) - 1) / (1 - math.cos(width / 2)) * math.log(2))


@dataclass(frozen=True)
class RadialCurve:
    """A closed curve around `centre` (2,) mm whose distance from it is tabulated at `ANGLES`."""

    centre: Array
    radii: Array

    def at(self, angles: npt.ArrayLike) -> Array:
        """Return the radius at any angles, interpolated linearly."""
        position = np.asarray(angles, dtype=np.float64) * (len(self.radii) / (2 * math.pi))
        below = np.floor(position)
        fraction = position - below
        first = below.astype(np.intp) % len(self.radii)
        slopes = np.roll(self.radii, -1) - self.radii
        return np.asarray(self.radii[first] + slopes[first] * fraction)

    def points(self, angles: npt.ArrayLike) -> Array:
        """Return the points (m, 2) of the curve at `angles` (m,), in mm."""
        angles = np.asarray(angles, dtype=np.float64)
        directions = np.stack([np.sin(angles), np.cos(angles)], axis=1)
        return np.asarray(self.centre + self.at(angles)[:, None] * directions)

    def level(self, mesh: Sequence[Array]) -> Array:
        """Return the distance to the curve along the radius at every point of a 2D `mesh`, negative inside."""
        radius, angle = polar(mesh, self.centre)
        return radius - self.at(angle)


class Canvas:
    """An image painted back to front, with soft edges.

    Attributes
    ----------
    image : ndarray, (*grid)
    mesh : list of ndarray, (*grid)
        Positions in mm at which shapes are evaluated; may be warped to make them irregular.
    """

    def __init__(self, frame: Frame, mesh: Sequence[Array], background: float) -> None:
        self.frame = frame
        self.mesh = mesh
        self.image: Array = np.full(frame.grid, background)

    def cover(self, level: Array) -> Array:
        """Return the fraction of each pixel inside an edge, see `coverage`."""
        return coverage(level, self.frame.softness)

    def paint(self, cover: Array, value: Array | float) -> None:
        """Paint `value` with the opacity `cover`."""
        self.image += cover * (value - self.image)

    def paint_inside(self, level: Array, value: Array | float) -> None:
        """Paint `value` where `level`, a distance in mm, is negative."""
        self.paint(self.cover(level), value)

    def ellipse(
        self, centre: npt.ArrayLike, radii: tuple[float, float], angle: float, value: float, cover: Array | None = None
    ) -> None:
        """Paint an ellipse with half axes `radii` mm along and across `angle`, within `cover` if it is given."""
        centre = np.asarray(centre, dtype=np.float64)
        # Only the part of the image that the ellipse can reach; the margin allows for a warped mesh.
        reach = max(radii) + 12.0
        low = np.clip(np.floor((centre - reach) / self.frame.spacing), 0, self.frame.grid).astype(int)
        high = np.clip(np.ceil((centre + reach) / self.frame.spacing), 0, self.frame.grid).astype(int)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        u, v = turned([axis[window] for axis in self.mesh], centre, angle)
        level = (np.hypot(u / radii[0], v / radii[1]) - 1) * min(radii)
        # A spot smaller than a pixel fades instead of vanishing between pixels.
        fade = min(1.0, 2 * min(radii) / self.frame.softness)
        opacity = self.cover(level) * fade
        if cover is not None:
            opacity *= cover[window]
        self.image[window] += opacity * (value - self.image[window])


def rician(rng: np.random.Generator, image: Array, sigma: float) -> Array:
    """Return the magnitude of `image` plus complex Gaussian noise of deviation `sigma`."""
    real, imaginary = rng.standard_normal((2, *image.shape)) * sigma
    return np.asarray(np.hypot(image + real, imaginary))


def draw_cohort(
    n: int,
    seed: int,
    frame: Frame,
    objects: Sequence[tuple[str, int, ObjectKind]],
    draw: Callable[[np.random.Generator, Frame, list[Array]], Subject],
) -> Cohort:
    """Draw a cohort of `n` subjects, each with a random generator of its own.

    Parameters
    ----------
    n, seed
        Arguments of the public function, not yet checked.
    frame
        Grid and field of view.
    objects
        Name, number of landmarks and kind of each object, in the order of the landmarks.
    draw
        Makes a subject, given its generator, the frame and the frame's mesh.
    """
    n = _checks.integer("n", n, minimum=1)
    seed = _checks.integer("seed", seed, minimum=0, maximum=2**64 - 1)
    images, labels = (np.empty((n, *frame.grid), dtype) for dtype in (np.float32, np.uint8))
    landmarks, mesh = [], frame.mesh()
    for i in range(n):
        points, labels[i], images[i] = draw(subject_rng(seed, i), frame, mesh)
        landmarks.append(frame.pixels(points))
    numbers = iter(range(len(landmarks[0])))
    groups = [LandmarkObject(name, tuple(itertools.islice(numbers, count)), kind) for name, count, kind in objects]
    return Cohort(images, np.array(landmarks), labels=labels, objects=groups, spacing=frame.spacing)
