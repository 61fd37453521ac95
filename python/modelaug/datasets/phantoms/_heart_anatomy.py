"""The anatomy of generated hearts: contours, landmarks and labels."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelaug._arrays import Array
from modelaug.datasets.phantoms._drawing import ANGLES, RadialCurve, bounded_normal, bump, fourier_noise
from modelaug.transforms.polylines import Polyline

EXTENT = 256.0  # field of view, mm
MARGIN = 24.0  # no landmark comes closer to the border, mm
RIGHT_VENTRICLE, MYOCARDIUM, CAVITY = 1, 2, 3

# Number of landmarks from the anterior insertion of the right ventricle to the inferior one, and from there back.
EPICARDIUM = (27, 13)
ENDOCARDIUM = (21, 11)
RIGHT = (11, 21)


@dataclass(frozen=True)
class HeartAnatomy:
    """Contours of one heart in a short-axis slice, in mm.

    All are star-shaped about the centre of the left ventricle, which keeps them from crossing.

    Attributes
    ----------
    endocardium, epicardium : RadialCurve
        Inner and outer contour of the left ventricular myocardium.
    right_inner, right_outer : RadialCurve
        The right ventricular cavity lies between them: its septal side and its free wall. They meet at the insertions.
    anterior, inferior : float
        Angles of the right ventricle's insertions; the septum lies between `inferior` and the greater `anterior`.
    """

    endocardium: RadialCurve
    epicardium: RadialCurve
    right_inner: RadialCurve
    right_outer: RadialCurve
    anterior: float
    inferior: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> HeartAnatomy:
        """Draw the anatomy of one subject."""
        rotation = math.radians(bounded_normal(rng, 9))
        septum = math.radians(168) + rotation
        anterior = septum + math.radians(56 + bounded_normal(rng, 9))
        inferior = septum - math.radians(56 + bounded_normal(rng, 9))

        # The left ventricle: size, ellipticity, outline; then the wall around it.
        size = 25.5 * math.exp(bounded_normal(rng, 0.16))
        endocardium = size * (
            1
            + bounded_normal(rng, 0.06) * np.cos(2 * (ANGLES - septum - rng.uniform(-1, 1)))
            + 0.032 * fourier_noise(rng, 3, 8, 1.2)
        )
        thickness = 8.3 * math.exp(bounded_normal(rng, 0.28)) * (1 + 0.08 * fourier_noise(rng, 1, 6))
        thickened = rng.gamma(1.0, 0.22) * bump(septum + rng.normal(0, 0.7), rng.uniform(0.8, 1.8))
        thinned = 0.7 * rng.beta(1.0, 3.0) * bump(rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 1.6))
        thickness = thickness * (1 + thickened) * (1 - thinned)
        # Bent smoothly to stay between 4.5 and 20 mm.
        thickness = 4.5 + np.logaddexp(0, -np.logaddexp(4.5 - thickness, -15.5))
        epicardium = endocardium + thickness

        # The right ventricle lies on the septum; `position` runs from 0 at the inferior insertion to 1 at the anterior.
        position = np.clip(np.mod(ANGLES - inferior, 2 * math.pi) / (anterior - inferior), 0, 1)
        skew = 0.80 * math.exp(bounded_normal(rng, 0.22))
        bluntness = rng.uniform(0.5, 0.72)
        depth = 23.5 * math.exp(bounded_normal(rng, 0.36))
        profile = np.clip(np.sin(math.pi * position**skew), 0, None) ** bluntness
        profile = profile * np.exp(0.11 * fourier_noise(rng, 2, 8))
        inner = epicardium + rng.uniform(2.0, 3.2)
        outer = inner + depth * profile

        centre = np.array([123.0 + bounded_normal(rng, 4.0), 141.0 + bounded_normal(rng, 4.0)])
        radius = np.maximum(outer, epicardium)
        for axis, direction in enumerate((np.sin(ANGLES), np.cos(ANGLES))):
            lowest, highest = MARGIN - np.min(radius * direction), EXTENT - MARGIN - np.max(radius * direction)
            centre[axis] = np.clip(centre[axis], lowest, highest)
        curve = functools.partial(RadialCurve, centre)
        return cls(curve(endocardium), curve(epicardium), curve(inner), curve(outer), anterior, inferior)

    def landmarks(self) -> Array:
        """Return the landmarks (104, 2) in mm, at equal arc length between the insertions of the right ventricle."""
        lateral = np.linspace(self.anterior, self.inferior + 2 * math.pi, 600)
        septal = np.linspace(self.inferior, self.anterior, 600)
        free_wall = self.right_outer.points(septal)
        free_wall[[0, -1]] = self.right_inner.points(septal[[0, -1]])
        pieces = [
            (self.epicardium.points(lateral), EPICARDIUM[0]),
            (self.epicardium.points(septal), EPICARDIUM[1]),
            (self.endocardium.points(lateral), ENDOCARDIUM[0]),
            (self.endocardium.points(septal), ENDOCARDIUM[1]),
            (self.right_inner.points(septal[::-1]), RIGHT[0]),
            (free_wall, RIGHT[1]),
        ]
        return np.concatenate([Polyline(path).equal_arcs(count) for path, count in pieces])

    def labels(self, mesh: Sequence[Array]) -> npt.NDArray[np.uint8]:
        """Return the label map (*grid) of the pixels at `mesh`."""
        labels = np.zeros(mesh[0].shape, dtype=np.uint8)
        labels[self.right_level(mesh) <= 0] = RIGHT_VENTRICLE
        labels[self.epicardium.level(mesh) <= 0] = MYOCARDIUM
        labels[self.endocardium.level(mesh) <= 0] = CAVITY
        return labels

    def right_level(self, mesh: Sequence[Array]) -> Array:
        """Return the signed distance to the right ventricular cavity, negative inside."""
        return np.maximum(-self.right_inner.level(mesh), self.right_outer.level(mesh))
