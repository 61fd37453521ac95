"""Generated volumes: an organ with a cavity, and a neighbour that touches it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from modelaug._arrays import Array
from modelaug.data.cohort import Cohort
from modelaug.datasets.phantoms._drawing import (
    Frame,
    Subject,
    bounded_normal,
    checked_shape,
    coverage,
    draw_cohort,
    rician,
)
from modelaug.transforms.directions import sphere_directions

EXTENT = 128.0  # field of view, mm
MARGIN = 10.0  # no landmark comes closer to the border, mm
GAP = 2.5  # between the organ and its neighbour, mm
COUNT = 60  # landmarks on each surface
NAMES = ("organ", "cavity", "neighbour")  # label k + 1 belongs to surface k


def _harmonics(x: Array, y: Array, z: Array) -> Iterator[Array]:
    """Yield the 15 real spherical harmonics of degrees 1 to 3 of unit vectors, of mean square 1 over the sphere."""
    for axis in (x, y, z):
        yield math.sqrt(3) * axis
    yield math.sqrt(15) * x * y
    yield math.sqrt(15) * y * z
    yield math.sqrt(15) * x * z
    yield math.sqrt(5) / 2 * (3 * z * z - 1)
    yield math.sqrt(15) / 2 * (x * x - y * y)
    yield math.sqrt(35 / 8) * y * (3 * x * x - y * y)
    yield math.sqrt(105) * x * y * z
    yield math.sqrt(21 / 8) * y * (5 * z * z - 1)
    yield math.sqrt(7) / 2 * z * (5 * z * z - 3)
    yield math.sqrt(21 / 8) * x * (5 * z * z - 1)
    yield math.sqrt(105) / 2 * z * (x * x - y * y)
    yield math.sqrt(35 / 8) * x * (x * x - 3 * y * y)


_DEGREES = np.array([1] * 3 + [2] * 5 + [3] * 7)


def _sum_harmonics(coefficients: Array, directions: Sequence[Array]) -> Array:
    """Return the sum of harmonics weighted by coefficients (15,) at `directions`: three arrays of components."""
    total = np.zeros(np.broadcast_shapes(*(d.shape for d in directions)))
    for coefficient, harmonic in zip(coefficients, _harmonics(*directions), strict=True):
        total += coefficient * harmonic
    return total


@dataclass(frozen=True)
class BlobsAnatomy:
    """The surfaces of one subject, in mm, each star-shaped about a centre.

    Attributes
    ----------
    centres : ndarray, (2, 3)
        Centre of the organ and its cavity; centre of the neighbour.
    rotation : ndarray, (3, 3)
        From the subject's coordinates, in which the harmonics are defined, to the image's.
    sizes : ndarray, (3,)
        Mean radii of organ and neighbour, and between them that of the cavity as a fraction of the organ's.
    coefficients : ndarray, (3, 15)
        Logarithmic deviations of the three radii, as coefficients of harmonics.
    """

    centres: Array
    rotation: Array
    sizes: Array
    coefficients: Array

    @classmethod
    def draw(cls, rng: np.random.Generator) -> BlobsAnatomy:
        """Draw the anatomy of one subject."""
        deviations = np.array([[0.0, 0.03, 0.06, 0.035], [0.0, 0.06, 0.08, 0.05], [0.0, 0.03, 0.07, 0.04]])
        coefficients = rng.standard_normal((3, len(_DEGREES))) * deviations[:, _DEGREES]
        sizes = np.array([26.0, 0.5, 14.0]) * np.exp([bounded_normal(rng, sigma) for sigma in (0.09, 0.1, 0.12)])
        turn = scipy.spatial.transform.Rotation.from_rotvec([bounded_normal(rng, 0.12) for _ in range(3)])
        rotation = turn.as_matrix()
        centre = EXTENT / 2 + np.array([bounded_normal(rng, 3.0) for _ in range(3)]) - [0.0, 5.0, 10.0]
        towards = rotation @ (np.array([0.1, 0.45, 0.85]) + [bounded_normal(rng, 0.06) for _ in range(3)])
        towards /= np.linalg.norm(towards)

        # The neighbour moves away from the organ until no point of its surface is nearer than the gap.
        directions = sphere_directions(500)
        distance = float(sizes[0])
        while True:
            anatomy = cls(np.array([centre, centre + distance * towards]), rotation, sizes, coefficients)
            offset = anatomy.points(2, directions) - centre
            reach = np.linalg.norm(offset, axis=1)
            missing = float(np.max(anatomy.radius(0, list((offset / reach[:, None]).T)) + GAP - reach))
            if missing <= 0:
                break
            distance += max(missing, 0.1)

        # All of it stays within the margin: shrunk about the middle if it must be, then moved.
        everything = np.concatenate([anatomy.points(0, directions), anatomy.points(2, directions)])
        lowest, highest = everything.min(axis=0), everything.max(axis=0)
        shrink = min(1.0, (EXTENT - 2 * MARGIN) / float(np.max(highest - lowest)))
        middle, half = (lowest + highest) / 2, shrink * (highest - lowest) / 2
        moved = np.clip(middle, MARGIN + half, EXTENT - MARGIN - half)
        centres = moved + shrink * (anatomy.centres - middle)
        return cls(centres, rotation, sizes * np.array([shrink, 1.0, shrink]), coefficients)

    def radius(self, surface: int, directions: Sequence[Array]) -> Array:
        """Return the radius of a surface along unit vectors, given as three components in the image's coordinates."""
        own = [sum(self.rotation[j, k] * directions[j] for j in range(3)) for k in range(3)]
        # Bent to stay within exp(+-0.35), which keeps the cavity inside the organ.
        bent = 0.35 * np.tanh(_sum_harmonics(self.coefficients[surface], own) / 0.35)
        radius: Array = self.sizes[surface] * np.exp(bent)
        return radius * self.radius(0, directions) if surface == 1 else radius

    def points(self, surface: int, directions: Array) -> Array:
        """Return the points (m, 3) of a surface in `directions` (m, 3) of the subject's coordinates."""
        turned = directions @ self.rotation.T
        return np.asarray(self.centres[surface // 2] + self.radius(surface, list(turned.T))[:, None] * turned)

    def levels(self, mesh: Sequence[Array]) -> list[Array]:
        """Return the radial distance (*grid) to each surface, negative inside."""
        levels = []
        for surface in range(3):
            offset = [axis - c for axis, c in zip(mesh, self.centres[surface // 2], strict=True)]
            distance = np.sqrt(sum(component**2 for component in offset))
            directions = [component / np.maximum(distance, 1e-9) for component in offset]
            levels.append(distance - self.radius(surface, directions))
        return levels


def _paint(levels: Sequence[Array], frame: Frame, rng: np.random.Generator) -> Array:
    """Return the image (*grid) of one subject, within [0, 255]."""
    image = 42 * (1 + 0.25 * frame.noise(rng, 14) + 0.1 * frame.noise(rng, 5))
    for level, signal, scale in zip(levels, (135.0, 70.0, 190.0), (6.0, 9.0, 7.0), strict=True):
        value = signal * math.exp(bounded_normal(rng, 0.1)) * (1 + 0.09 * frame.noise(rng, scale))
        rim = coverage(level - 1.5, frame.softness)
        image += 0.6 * rim * (25 - image)  # a thin dark capsule
        image += coverage(level, frame.softness) * (value - image)
    gain = np.exp(0.12 * frame.noise(rng, 60))
    image = scipy.ndimage.gaussian_filter(image * gain, 1.0 / frame.spacing)
    return np.clip(rician(rng, image, rng.uniform(2.5, 5.0)), 0, 255)


def blobs3d(n: int, *, shape: Sequence[int] = (64, 64, 64), seed: int = 0) -> Cohort:
    """Generate volumes with an organ, a cavity in it and a neighbour next to it.

    Parameters
    ----------
    n
        Number of subjects.
    shape
        Planes, rows and columns of the volumes, at least 24 each. The field of view is always 128 mm along each axis.
    seed
        Subject i depends on `seed` and i only: a longer cohort starts with the shorter one.

    Returns
    -------
    Cohort
        Images (n, 1, *shape) float32 within [0, 255]; 180 landmarks, 60 on each surface (organ, cavity, neighbour;
        points) where rays in fixed directions of the subject's coordinates leave it. Labels (n, *shape) uint8: 1 organ,
        2 cavity, 3 neighbour.
    """
    frame = Frame(checked_shape(shape, 3, 24), EXTENT)
    return draw_cohort(n, seed, frame, [(name, COUNT, "points") for name in NAMES], _draw)


def _draw(rng: np.random.Generator, frame: Frame, mesh: list[Array]) -> Subject:
    anatomy = BlobsAnatomy.draw(rng)
    landmarks = np.concatenate([anatomy.points(k, sphere_directions(COUNT)) for k in range(len(NAMES))])
    levels = anatomy.levels(mesh)
    labels = np.zeros(frame.grid, np.uint8)
    for k, level in enumerate(levels):
        labels[level <= 0] = k + 1
    return landmarks, labels, _paint(levels, frame, rng)
