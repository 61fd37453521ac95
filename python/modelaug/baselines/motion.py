"""Random affine motions in 2D and 3D."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from modelaug._arrays import Array
from modelaug._checked import Checked, Limits, Share
from modelaug.transforms.affine import join, random_direction, rotation_matrix


@dataclass(frozen=True)
class Motion(Checked):
    """The distribution of a random affine motion about a center, in 2D or 3D.

    Each parameter is ``sign(z) |z|^power`` for a standard normal z, divided by its standard deviation, clipped at
    `limit`, and multiplied by the value given here. The larger the power, the heavier the tails: more small motions,
    and fewer but larger large ones.

    Parameters
    ----------
    translation
        Standard deviation of the displacement of the center along each axis, as a share of the image's size, the d-th
        root of its number of voxels.
    rotation
        Standard deviation of the angle, in degrees; in space about a random axis.
    zoom
        Standard deviation of the log of the factor on lengths.
    stretch
        Standard deviation of the log of the factor along a random direction; lengths across it are divided by it in the
        plane, by its square root in space, so that areas and volumes are kept.
    power
        The exponent; 1 for a normal distribution.
    limit
        Largest value, in standard deviations. Zoom and stretch together stay below a factor of exp(2).
    """

    translation: Annotated[float, Limits(0.0, 10.0)] = 0.04
    rotation: Annotated[float, Limits(0.0, 360.0)] = 4.0
    zoom: Share = 0.04
    stretch: Share = 0.02
    power: Annotated[float, Limits(1.0, 8.0)] = 2.0
    limit: Annotated[float, Limits(above=0.0, maximum=100.0)] = 4.0

    def _check(self) -> None:
        if (self.zoom + self.stretch) * self.limit > 2.0:
            raise ValueError(
                f"zoom and stretch are {self.zoom:g} and {self.stretch:g}, with limit {self.limit:g} factors beyond "
                "exp(2); pass smaller ones"
            )

    def draw(self, rng: np.random.Generator, center: Array, size: float) -> Array:
        """Draw an affine map (d, d + 1) of voxels about a center (d,), for an image of `size` voxels."""
        d = len(center)
        normals = rng.standard_normal(d + 3)
        deviation = math.sqrt(2**self.power * math.gamma(self.power + 0.5) / math.sqrt(math.pi))
        numbers = np.sign(normals) * np.abs(normals) ** self.power / deviation
        *shift, angle, zoom, stretch = np.clip(numbers, -self.limit, self.limit).tolist()
        stretched = _random_stretch(rng, d, self.stretch * stretch)
        axis = None if d == 2 else random_direction(rng, d)
        turn = rotation_matrix(math.radians(self.rotation * angle), axis)
        linear = math.exp(self.zoom * zoom) * turn @ stretched
        moved = center + self.translation * size * np.array(shift)
        return join(linear, moved - linear @ center)


def _random_stretch(rng: np.random.Generator, d: int, strain: float) -> Array:
    """Draw a stretch (d, d) by exp(strain) along a random direction, with determinant 1; the identity for strain 0."""
    if d == 2:
        # By a reflection rather than a direction, which keeps the pairs of earlier versions.
        mirror = rotation_matrix(2 * rng.uniform(0.0, math.pi)) @ np.diag([1.0, -1.0])
        return math.cosh(strain) * np.eye(2) + math.sinh(strain) * mirror
    direction = random_direction(rng, d)
    across = math.exp(-strain / (d - 1))
    return across * np.eye(d) + (math.exp(strain) - across) * np.outer(direction, direction)
