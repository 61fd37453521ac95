"""Axial slices through generated brains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from modelaug._arrays import Array
from modelaug.data.cohort import Cohort
from modelaug.datasets.phantoms._drawing import (
    ANGLES,
    Canvas,
    Frame,
    RadialCurve,
    Subject,
    bounded_normal,
    checked_shape,
    coverage,
    draw_cohort,
    fourier_noise,
    polar,
    rician,
    turned,
)
from modelaug.transforms.polylines import Polyline

EXTENT = 236.0  # field of view, mm
OUTLINE = 15  # landmarks on each quarter of the outline
POLES = 4  # landmarks on each inner structure
# From medial to lateral on each side; the left one of structure k has label 2 + 2 k, the right one 3 + 2 k.
STRUCTURES = ("frontal_horn", "caudate", "thalamus", "putamen", "occipital_horn")
CSF = ("frontal_horn", "occipital_horn")


@dataclass(frozen=True)
class BrainAnatomy:
    """Contours of one brain, in mm.

    Attributes
    ----------
    outline : RadialCurve
        Outer contour of the brain.
    structures : list of RadialCurve
        Left and right frontal horn, caudate, thalamus, putamen and occipital horn.
    axes : list of float
        Direction of each structure's long axis, towards its anterior end.
    rotation : float
        Rotation of the head; the anterior direction is `rotation` - pi / 2.
    """

    outline: RadialCurve
    structures: list[RadialCurve]
    axes: list[float]
    rotation: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> BrainAnatomy:
        """Draw the anatomy of one subject."""
        rotation = bounded_normal(rng, 0.06)
        centre = EXTENT / 2 + np.array([bounded_normal(rng, 3.0), bounded_normal(rng, 3.0)])
        size = 1 + bounded_normal(rng, 0.045)
        length = 83 * size * (1 + bounded_normal(rng, 0.025))
        width = 66 * size * (1 + bounded_normal(rng, 0.03))
        forwards = rotation - math.pi / 2
        taper = 0.025 + bounded_normal(rng, 0.012)  # the forehead is narrower than the back of the head
        radii = _ellipse(length, width, forwards) * (1 + taper * np.cos(3 * (ANGLES - forwards)))
        radii = radii * (1 + 0.014 * fourier_noise(rng, 2, 9, 0.8))

        horn_width = 3.6 * math.exp(bounded_normal(rng, 0.3))
        structures, axes = [], []
        sides = [_side(rng, horn_width) for _ in range(2)]
        for k in range(len(STRUCTURES)):
            for side, mirror in zip(sides, (-1, 1), strict=True):
                anterior, lateral, half_length, half_width, tilt = side[k]
                offset = np.array([-anterior * length / 83, mirror * lateral * width / 66])
                place = centre + _rotate(offset, rotation)
                axis = forwards + mirror * tilt
                shape = _ellipse(half_length * size, half_width * size, axis) * np.exp(0.05 * fourier_noise(rng, 2, 6))
                structures.append(RadialCurve(place, shape))
                axes.append(axis)
        return cls(RadialCurve(centre, radii), structures, axes, rotation)

    def landmarks(self) -> Array:
        """Return the landmarks (100, 2) in mm: the outline clockwise from its anterior pole, then the inner poles."""
        starts = self.rotation - math.pi / 2 + np.arange(4) * (math.pi / 2)
        quarters = [self.outline.points(np.linspace(start, start + math.pi / 2, 400)) for start in starts]
        pieces = [Polyline(quarter).equal_arcs(OUTLINE) for quarter in quarters]
        turns = np.arange(POLES) * (2 * math.pi / POLES)
        for k, (curve, axis) in enumerate(zip(self.structures, self.axes, strict=True)):
            # Mirrored on the left, so that the second pole is the lateral one on both sides.
            pieces.append(curve.points(axis + turns * (1 if k % 2 else -1)))
        return np.concatenate(pieces)

    def labels(self, mesh: Sequence[Array]) -> npt.NDArray[np.uint8]:
        """Return the label map (*grid) of the pixels at `mesh`."""
        labels = (self.outline.level(mesh) <= 0).astype(np.uint8)
        for k, curve in enumerate(self.structures):
            labels[curve.level(mesh) <= 0] = 2 + k
        return labels


def _side(rng: np.random.Generator, horn_width: float) -> list[tuple[float, float, float, float, float]]:
    """Return position, half axes and tilt of the structures of one side, spaced so that they cannot overlap.

    Positions are millimetres anterior and lateral to the centre of a brain of average size; the tilt turns the anterior
    end outwards.
    """

    def vary(value: float, sigma: float) -> float:
        return value * math.exp(bounded_normal(rng, sigma))

    horn_width, caudate_width, putamen_width = vary(horn_width, 0.1), vary(4.4, 0.12), vary(5.4, 0.12)
    thalamus_width = vary(7.8, 0.08)
    tilt = 0.36 + bounded_normal(rng, 0.06)
    horn = 26 + bounded_normal(rng, 1.5), 5.0 + 0.8 * horn_width, vary(13.0, 0.1), horn_width, tilt
    from_horn = 1.2 * (horn_width + caudate_width) + 1.6
    beside = horn[0] - from_horn * math.sin(tilt), horn[1] + from_horn * math.cos(tilt)
    caudate = *beside, vary(9.5, 0.1), caudate_width, tilt
    thalamus = -9 + bounded_normal(rng, 1.2), 3.2 + 1.15 * thalamus_width, vary(11.5, 0.08), thalamus_width, 0.15
    putamen_tilt = -0.22 + bounded_normal(rng, 0.05)
    lateral = max(caudate[1] + 1.2 * caudate_width, thalamus[1] + 1.2 * thalamus_width) + 1.25 * putamen_width + 2.5
    putamen = 8 + bounded_normal(rng, 1.5), lateral, vary(16.0, 0.09), putamen_width, putamen_tilt
    occipital_width = vary(1.15 * horn_width, 0.15)
    occipital = -42 + bounded_normal(rng, 2), 23 + bounded_normal(rng, 1.2), vary(13.5, 0.15), occipital_width, -0.3
    return [horn, caudate, thalamus, putamen, occipital]


def _ellipse(a: float, b: float, axis: float) -> Array:
    """Return the radii at `ANGLES` of an ellipse with half axis `a` along the direction `axis` and `b` across."""
    return a * b / np.hypot(b * np.cos(ANGLES - axis), a * np.sin(ANGLES - axis))


def _rotate(offset: Array, angle: float) -> Array:
    """Rotate a (row, column) offset by `angle`, from the column axis towards the row axis."""
    row, column = offset
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([row * cosine + column * sine, column * cosine - row * sine])


def _paint(anatomy: BrainAnatomy, frame: Frame, rng: np.random.Generator) -> Array:
    """Return the image (*grid) of one subject, within [0, 255]: T1 weighted, skull removed."""
    mesh = frame.mesh()
    white, grey, fluid = (value * math.exp(bounded_normal(rng, 0.07)) for value in (184.0, 106.0, 36.0))
    canvas = Canvas(frame, mesh, 0.0)
    depth = -anatomy.outline.level(mesh)
    cortex, sulci = _folds(anatomy, frame, rng, depth)
    canvas.paint(coverage(-depth, frame.softness), white * (1 + 0.03 * frame.noise(rng, 6)))
    canvas.paint(cortex * coverage(-depth, frame.softness), grey * (1 + 0.05 * frame.noise(rng, 4)))
    canvas.paint(sulci * coverage(-depth, frame.softness), fluid)

    forwards = anatomy.rotation - math.pi / 2
    canvas.mesh = [axis + 1.2 * frame.noise(rng, 14) for axis in mesh]
    for k, name in enumerate(STRUCTURES):
        value = fluid if name in CSF else grey * (1.25 if name == "thalamus" else 1.08)
        for curve in anatomy.structures[2 * k : 2 * k + 2]:
            canvas.paint_inside(curve.level(mesh), value * (1 + 0.04 * frame.noise(rng, 4)))
    for mirror, putamen in zip((-1, 1), anatomy.structures[6:8], strict=True):
        # The insula: a strip of cortex beside the putamen, with the Sylvian cistern outside it.
        outwards = np.array([math.sin(anatomy.rotation), math.cos(anatomy.rotation)]) * mirror
        width = float(putamen.at(anatomy.rotation + (0 if mirror > 0 else math.pi)))
        insula = putamen.centre + outwards * (width + 5.5)
        canvas.ellipse(insula, (19, 2.4), forwards - mirror * 0.12, grey)
        canvas.ellipse(insula + outwards * 3.2, (16, 1.1), forwards - mirror * 0.12, fluid)
    third = anatomy.outline.centre + _rotate(np.array([6.0, 0.0]), anatomy.rotation)
    canvas.ellipse(third, (rng.uniform(9, 12), rng.uniform(1.2, 2.2)), forwards, fluid)

    gain = np.exp(0.06 * frame.noise(rng, 80))
    image = scipy.ndimage.gaussian_filter(canvas.image * gain, rng.uniform(0.5, 0.8) / frame.spacing)
    return np.clip(rician(rng, image, rng.uniform(2.0, 4.5)), 0, 255)


def _folds(anatomy: BrainAnatomy, frame: Frame, rng: np.random.Generator, depth: Array) -> tuple[Array, Array]:
    """Return the opacity of the cortical ribbon and of the fluid in the sulci.

    Sulci run inwards from the outline at irregular angles and meander; cortex lines the outline, the sulci and the
    fissure between the hemispheres.
    """
    mesh = frame.mesh()
    bent = [axis + 3.2 * frame.noise(rng, 17.0) + 1.2 * frame.noise(rng, 8.0) for axis in mesh]
    count = 2 * int(rng.integers(18, 23))
    angles = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * (2 * math.pi / count)
    reach = np.where(np.arange(count) % 2, rng.uniform(4, 13, count), rng.uniform(13, 30, count))
    radius, angle = polar(bent, anatomy.outline.centre)
    # Nearest sulcus: the table is extended by one on either side, because angles wrap around.
    table = np.concatenate([angles[-1:] - 2 * math.pi, angles, angles[:1] + 2 * math.pi])
    angle = np.mod(angle, 2 * math.pi)
    nearest = np.searchsorted((table[1:] + table[:-1]) / 2, angle)
    lengths = np.concatenate([reach[-1:], reach, reach[:1]])
    to_sulcus = np.hypot(radius * np.abs(angle - table[nearest]), np.clip(depth - lengths[nearest], 0, None))
    # The fissure, open in front of and behind the corpus callosum.
    forward, across = turned(bent, anatomy.outline.centre, anatomy.rotation - math.pi / 2)
    to_fissure = np.hypot(0.75 * across, np.clip(np.minimum(44 - forward, 52 + forward), 0, None))

    nearest_fluid = np.minimum(to_sulcus, to_fissure)
    thickness = 3.7 + 0.6 * frame.noise(rng, 12)
    cortex = coverage(np.minimum(depth, nearest_fluid) - thickness, 1.2)
    sulci = coverage(nearest_fluid - rng.uniform(0.3, 0.9) * np.clip(1 + 0.5 * frame.noise(rng, 14), 0.1, 2), 1.0)
    return cortex, sulci


def brain(n: int, *, shape: Sequence[int] = (256, 256), seed: int = 0) -> Cohort:
    """Generate brains that resemble axial T1-weighted MRI at the level of the basal ganglia, skull removed.

    Parameters
    ----------
    n
        Number of subjects.
    shape
        Rows and columns of the images, at least 48 each. The field of view is always 236 mm x 236 mm.
    seed
        Subject i depends on `seed` and i only: a longer cohort starts with the shorter one.

    Returns
    -------
    Cohort
        Images (n, 1, *shape) float32 within [0, 255], anterior at the top; 100 landmarks: the outline (60, closed,
        clockwise from its anterior pole) and the four poles (anterior, lateral, posterior, medial) of ten inner
        structures (40, points). Labels (n, *shape) uint8: 1 brain, 2 and 3 left and right frontal horn of the lateral
        ventricle, 4 and 5 caudate, 6 and 7 thalamus, 8 and 9 putamen, 10 and 11 occipital horn; left and right as in
        the image.
    """
    frame, inner = Frame(checked_shape(shape, 2, 48), EXTENT), 2 * len(STRUCTURES) * POLES
    return draw_cohort(n, seed, frame, [("outline", 4 * OUTLINE, "closed"), ("inner", inner, "points")], _draw)


def _draw(rng: np.random.Generator, frame: Frame, mesh: list[Array]) -> Subject:
    anatomy = BrainAnatomy.draw(rng)
    return anatomy.landmarks(), anatomy.labels(mesh), _paint(anatomy, frame, rng)
