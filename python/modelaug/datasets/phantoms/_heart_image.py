"""Images of generated hearts in their chests: balanced steady-state cine MRI, painted back to front."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Final

import numpy as np
import scipy

from modelaug._arrays import Array
from modelaug.datasets.phantoms._drawing import (
    ANGLES,
    Canvas,
    Frame,
    RadialCurve,
    bounded_normal,
    coverage,
    fourier_noise,
    polar,
    rician,
)
from modelaug.datasets.phantoms._heart_anatomy import HeartAnatomy

# Signal of each tissue, before the receive coil's sensitivity; blood is about 200.
_SIGNALS: Final = {
    "air": 3, "fat": 195, "muscle": 48, "lung": 9, "myocardium": 56, "blood": 195, "liver": 54, "spleen": 66,
    "stomach": 46,
}  # fmt: skip


class Scene(Canvas):
    """The canvas of one subject, with its tissues and the place of its heart and trunk.

    Attributes
    ----------
    rng
        Source of all random numbers, drawn in the order in which the parts are painted.
    tissues
        Signals by name, with the subject's contrast: flip angle, field and windowing differ.
    wall
        Thickness of the right ventricular wall in mm.
    outline : RadialCurve
        Outer surface of the heart, fat not included.
    radius, angle : ndarray, (*grid)
        Polar coordinates of the pixels about the left ventricle.
    chest
        Direction from the heart to the chest wall.
    ribs : RadialCurve
        Curve on which the ribs lie.
    depth, fat, muscle : ndarray, (*grid)
        In mm: distance under the skin, thickness of the fat under it and of the muscle under that.
    """

    def __init__(self, anatomy: HeartAnatomy, frame: Frame, rng: np.random.Generator) -> None:
        self.anatomy, self.rng = anatomy, rng
        mesh, centre = frame.mesh(), anatomy.epicardium.centre
        signals = {name: value * math.exp(bounded_normal(rng, 0.13)) for name, value in _SIGNALS.items()}
        self.tissues = SimpleNamespace(**signals)
        self.radius, self.angle = polar(mesh, centre)
        self.wall = rng.uniform(2.0, 3.5)
        surface = np.maximum(anatomy.epicardium.radii, anatomy.right_outer.radii + self.wall)
        self.outline = RadialCurve(centre, _smooth(surface, 0.06))
        super().__init__(frame, [axis + 2.5 * frame.noise(rng, 28.0) for axis in mesh], self.tissues.air)
        self.chest = math.radians(204 + bounded_normal(rng, 9))
        self._place_trunk(mesh)

    def _place_trunk(self, mesh: list[Array]) -> None:
        """Place the trunk such that the chest wall lies in front of the right ventricle."""
        rng = self.rng
        fat = rng.uniform(6, 20) * np.exp(0.22 * fourier_noise(rng, 1, 5))
        muscle = rng.uniform(8, 15) * np.exp(0.15 * fourier_noise(rng, 1, 6))
        skin = rng.uniform(145, 190) * np.exp(0.05 * fourier_noise(rng, 2, 6, 1.3))
        direction = np.array([math.sin(self.chest), math.cos(self.chest)])
        centre = self.outline.centre - 120 * direction
        surface = self.outline.points(ANGLES)
        gap = rng.uniform(3, 12)
        for _ in range(3):  # move the trunk until the heart's nearest point is `gap` behind the chest wall
            radius, angle = polar((surface[:, 0], surface[:, 1]), centre)
            room = RadialCurve(centre, skin - fat - muscle).at(angle) - radius
            centre = centre + (gap - room.min()) * direction
        radius, angle = polar(mesh, centre)
        outer, fat_here, self.muscle = (RadialCurve(centre, radii).at(angle) for radii in (skin, fat, muscle))
        self.depth, self.fat = outer - radius, fat_here + 1.2 * self.noise(24)
        self.ribs = RadialCurve(centre, skin - fat - 0.6 * muscle)

    @property
    def thorax(self) -> Array:
        """Signed distance in mm to the inner side of the chest wall, negative inside."""
        return self.fat + self.muscle - self.depth

    def noise(self, scale: float) -> Array:
        """Return a smooth random field, see `Frame.noise`."""
        return self.frame.noise(self.rng, scale)

    def textured(self, value: float, scale: float, amount: float) -> Array:
        """Return `value` times one plus smooth noise."""
        return value * (1 + amount * self.noise(scale))

    def inside(self, curve: RadialCurve) -> Array:
        """Return how much of each pixel lies inside a curve about the left ventricle's centre."""
        return self.cover(self.radius - curve.at(self.angle))


def paint(anatomy: HeartAnatomy, frame: Frame, rng: np.random.Generator) -> Array:
    """Return the image (*grid) of one subject, within [0, 255]."""
    scene = Scene(anatomy, frame, rng)
    _paint_chest(scene)
    _paint_abdomen(scene)
    _paint_pericardium(scene)
    _paint_heart(scene)
    return _acquire(scene)


def _smooth(radii: Array, width: float) -> Array:
    """Smooth a tabulated curve over `width` radians."""
    return np.asarray(scipy.ndimage.gaussian_filter1d(radii, width * len(radii) / (2 * math.pi), mode="wrap"))


def _paint_chest(scene: Scene) -> None:
    """Paint fat, chest wall, ribs and lungs."""
    rng, tissues = scene.rng, scene.tissues
    scene.paint_inside(-scene.depth, tissues.muscle * 1.5)  # the skin
    scene.paint_inside(1.2 - scene.depth, scene.textured(tissues.fat * 1.1, 9, 0.07))
    scene.paint_inside(scene.fat - scene.depth, scene.textured(tissues.muscle, 5, 0.16))
    # Fat between the layers of muscle.
    layer = np.abs(scene.depth - scene.fat - scene.muscle * (0.5 + 0.15 * scene.noise(22)))
    scene.paint(np.clip(scene.noise(16), 0, 1) * coverage(layer - 1.0, 2.0), tissues.fat * 0.7)
    scene.paint_inside(scene.thorax - 3.5 * np.clip(scene.noise(18), 0, 1), tissues.fat * 0.6)
    haze = 12 * np.clip(scene.noise(25) + 0.3, 0, 1.5) * np.clip(scene.noise(5) + 0.3, 0, 2)
    scene.paint_inside(scene.thorax, scene.textured(tissues.lung, 3, 0.3) + haze)
    in_wall = scene.cover(scene.fat + 0.5 - scene.depth)
    position = -2.0
    while position < 2.0:
        position += rng.uniform(0.1, 0.32)
        _paint_rib(scene, scene.chest + position, in_wall)
    _paint_posterior_wall(scene, scene.cover(scene.thorax - 1.5))
    in_lung = coverage(scene.thorax + 6, 6.0)
    for _ in range(rng.integers(30, 60)):
        place = scene.outline.centre + rng.normal([-20.0, 30.0], [45.0, 60.0])
        size = 0.6 + rng.gamma(1.2, 0.35)
        radii = (size * rng.uniform(1, 2.5), size)
        scene.ellipse(place, radii, rng.uniform(0, math.pi), rng.uniform(30, 150), in_lung)


def _paint_rib(scene: Scene, angle: float, cover: Array) -> None:
    """Paint a rib cut across: a dark rim around grey marrow, fat beside it."""
    rng = scene.rng
    place = scene.ribs.points([angle])[0] + rng.normal(0, 1.0, 2)
    size = rng.uniform(2.0, 4.0)
    along_wall = angle + math.pi / 2 + bounded_normal(rng, 0.3)
    length = size * rng.uniform(1.1, 2.4)
    beside = place + rng.normal(0, 1.2, 2)
    scene.ellipse(beside, (length + 2, size + 1.2), along_wall, rng.uniform(50, 120), cover)
    scene.ellipse(place, (length, size), along_wall, 16.0, cover)
    scene.ellipse(place, (length - 1.3, size - 1.3), along_wall, rng.uniform(20, 80), cover)


def _paint_posterior_wall(scene: Scene, cover: Array) -> None:
    """Paint the far side of the chest: muscle and fat beyond the lung."""
    rng, tissues = scene.rng, scene.tissues
    angle = scene.chest + math.pi + bounded_normal(rng, 0.35)
    # The lung is open towards the chest, where the near wall has been painted already.
    opening = 1 + 1.2 * np.clip(0.3 - np.cos(ANGLES - angle), 0, None) ** 2
    lung = rng.uniform(95, 150) * np.exp(0.05 * fourier_noise(rng, 2, 6)) * opening
    level = RadialCurve(scene.outline.centre, lung).level(scene.mesh)
    streaks = np.clip(0.4 + 0.7 * scene.noise(9) + 0.4 * scene.noise(3.5), 0, 1)
    beyond = cover * coverage(-level, 2.0)
    scene.paint(beyond, tissues.muscle + streaks * (tissues.fat * 0.9 - tissues.muscle))
    scene.paint(cover * coverage(np.abs(level - 3) - 2.5, 2.0) * 0.8, tissues.muscle)


def _paint_abdomen(scene: Scene) -> None:
    """Paint what lies below the diaphragm: liver, stomach, spleen, bowel in fat, vertebra and aorta."""
    rng, tissues = scene.rng, scene.tissues
    centre = scene.outline.centre
    tilt = -0.08 + bounded_normal(rng, 0.17)
    # The diaphragm touches the heart from below; `top` is its row under the heart's centre.
    surface = scene.outline.points(ANGLES) - centre
    top = centre[0] + float(np.max(surface[:, 0] - tilt * surface[:, 1])) + rng.uniform(0, 3)
    across = scene.mesh[1] - centre[1]
    dome = top + tilt * across + np.where(across > 0, 0.0018, 0.0012) * across**2 + 2.0 * scene.noise(35)
    below = np.maximum(dome - scene.mesh[0], scene.thorax + 0.3 * scene.muscle)
    mixture = np.clip(0.5 + 0.8 * scene.noise(11) + 0.45 * scene.noise(4), 0, 1)
    scene.paint_inside(below, tissues.fat * 0.85 * mixture + tissues.muscle * 0.8 * (1 - mixture))
    abdomen = scene.cover(below)

    for _ in range(rng.integers(5, 10)):
        place = np.array([top + rng.uniform(45, 130), centre[1] + rng.uniform(-80, 110)])
        _paint_bowel(scene, place, abdomen)
    liver = RadialCurve(
        np.array([top + rng.uniform(30, 44), centre[1] - rng.uniform(28, 60)]),
        rng.uniform(50, 66) * (1 + 0.25 * np.cos(2 * (ANGLES - tilt))) * np.exp(0.06 * fourier_noise(rng, 2, 6)),
    )
    level = np.maximum(liver.level(scene.mesh), below + 2.0)
    scene.paint_inside(level, scene.textured(tissues.liver, 4, 0.12))
    in_liver = coverage(level + 4, 3.0)
    for _ in range(rng.integers(12, 30)):
        place = liver.centre + rng.normal(0, [20.0, 30.0])
        radii = (rng.gamma(1.2, 1.8) + 1, rng.uniform(0.6, 1.8))
        scene.ellipse(place, radii, rng.uniform(-1.0, 1.0), rng.uniform(70, 160), in_liver)

    spleen = np.array([top + rng.uniform(22, 45), centre[1] + rng.uniform(78, 100)])
    scene.ellipse(spleen, (rng.uniform(26, 36), rng.uniform(13, 18)), rng.uniform(0.7, 1.6), tissues.spleen, abdomen)
    _paint_stomach(scene, np.array([top + rng.uniform(22, 34), centre[1] + rng.uniform(25, 52)]), abdomen)
    _paint_spine(scene, np.array([top + rng.uniform(82, 110), centre[1] + rng.uniform(-15, 45)]))
    # The diaphragm itself.
    scene.paint(scene.cover(np.abs(below + 0.8) - 0.8) * 0.7, tissues.muscle * 0.6)


def _paint_bowel(scene: Scene, place: Array, cover: Array) -> None:
    """Paint a loop of bowel: a thin wall around contents of any signal."""
    rng, tissues = scene.rng, scene.tissues
    radii = (rng.uniform(9, 20), rng.uniform(6, 12))
    angle = rng.uniform(0, math.pi)
    scene.ellipse(place, radii, angle, tissues.muscle * 0.7, cover)
    scene.ellipse(place, (radii[0] - 2, radii[1] - 2), angle, rng.uniform(20, 130), cover)


def _paint_stomach(scene: Scene, place: Array, cover: Array) -> None:
    """Paint the stomach: a dark wall in fat around mottled contents."""
    rng, tissues = scene.rng, scene.tissues
    radii = (rng.uniform(20, 34), rng.uniform(15, 23))
    angle = bounded_normal(rng, 0.5)
    scene.ellipse(place, (radii[0] + 2.5, radii[1] + 2.5), angle, tissues.fat * 0.8, cover)
    scene.ellipse(place, radii, angle, tissues.muscle * 0.6, cover)
    scene.ellipse(place, (radii[0] - 2.5, radii[1] - 2.5), angle, tissues.stomach * rng.uniform(0.8, 1.6), cover)
    for _ in range(rng.integers(0, 14)):
        spot = place + rng.normal(0, [radii[1] / 3, radii[0] / 3])
        size = rng.uniform(1.5, 5)
        scene.ellipse(spot, (size * rng.uniform(1, 2), size), rng.uniform(0, 3), rng.uniform(20, 170), cover)


def _paint_spine(scene: Scene, place: Array) -> None:
    """Paint a vertebral body with the spinal canal behind it and the descending aorta beside it."""
    rng, tissues = scene.rng, scene.tissues
    scene.ellipse(place, (19, 15), 0.2, 12.0)
    scene.ellipse(place, (17.5, 13.5), 0.2, rng.uniform(70, 110))
    canal = place + np.array([20.0, 4.0])
    scene.ellipse(canal, (9, 7), 0.0, tissues.fat * 0.9)
    scene.ellipse(canal, (5, 4.5), 0.0, 110.0)
    aorta = place + rng.normal([-15.0, 20.0], 2)
    size = rng.uniform(7.5, 11)
    scene.ellipse(aorta, (size + 1.5, size + 1.5), 0.0, tissues.muscle)
    scene.ellipse(aorta, (size, size * 0.95), 0.0, tissues.blood * rng.uniform(0.85, 1.1))


def _paint_pericardium(scene: Scene) -> None:
    """Paint the fat around the heart, thick towards the chest and the diaphragm, and the pericardium within it."""
    rng, tissues = scene.rng, scene.tissues
    towards = np.clip(np.cos(ANGLES - scene.chest), 0, None)
    fat = 1.0 + rng.uniform(1, 7) * towards**2 + 0.8 * np.abs(fourier_noise(rng, 2, 8))
    around = _smooth(scene.outline.radii + 0.5, 0.22) + fat
    downwards = np.clip(np.cos(ANGLES - 2.0), 0, None) ** 6
    reach = 1 + rng.uniform(0.2, 0.6) * towards**4 + rng.uniform(0.05, 0.2) * downwards
    reach = reach + 0.05 * fourier_noise(rng, 3, 9) * towards
    cushion = scene.inside(RadialCurve(scene.outline.centre, around * reach))
    patchy = np.clip(0.75 + 0.35 * scene.noise(8), 0.2, 1)
    scene.paint(cushion * scene.cover(scene.thorax), tissues.muscle + patchy * (tissues.fat * 0.95 - tissues.muscle))
    scene.paint(scene.inside(RadialCurve(scene.outline.centre, around)) * 0.8, tissues.muscle)
    within = scene.inside(RadialCurve(scene.outline.centre, around - 1.2))
    scene.paint(within, scene.textured(tissues.fat * 0.85, 6, 0.15))


def _paint_heart(scene: Scene) -> None:
    """Paint both ventricles, their trabeculae and the papillary muscles."""
    rng, tissues, anatomy = scene.rng, scene.tissues, scene.anatomy
    muscle = scene.textured(tissues.myocardium, 4.5, 0.08)
    blood = scene.textured(tissues.blood, 11, 0.06)
    right_wall = RadialCurve(anatomy.right_outer.centre, anatomy.right_outer.radii + scene.wall)
    for curve in (right_wall, anatomy.epicardium):
        scene.paint(scene.inside(curve), muscle)
    right = np.maximum(
        anatomy.right_inner.at(scene.angle) - scene.radius, scene.radius - anatomy.right_outer.at(scene.angle)
    )
    scene.paint(scene.cover(right), blood * rng.uniform(0.88, 1.05))
    _paint_trabeculae(scene, right, muscle)
    cavity = scene.inside(anatomy.endocardium)
    scene.paint(cavity, blood)
    _paint_papillary(scene, cavity, muscle)


def _paint_trabeculae(scene: Scene, right: Array, muscle: Array) -> None:
    """Paint muscle bundles along the free wall of the right ventricle, within its cavity."""
    rng, anatomy = scene.rng, scene.anatomy
    from_wall = anatomy.right_outer.at(scene.angle) - scene.radius
    bundles = np.clip(1.6 * (scene.noise(3.5) - 0.35 - from_wall / rng.uniform(7, 14)), 0, 0.85)
    scene.paint(bundles * scene.cover(right), muscle)


def _paint_papillary(scene: Scene, cavity: Array, muscle: Array) -> None:
    """Paint the two papillary muscles and the trabeculae of the left ventricle, within its cavity."""
    rng, anatomy = scene.rng, scene.anatomy
    middle = (anatomy.anterior + anatomy.inferior) / 2 + math.pi
    lateral = 0.25 + 0.75 * np.clip(0.3 + np.cos(ANGLES - middle), 0, 1)
    ragged = np.clip(fourier_noise(rng, 7, 34, 0.4), 0, None) ** 1.5 * lateral * rng.uniform(0.8, 2.6)
    edge = RadialCurve(anatomy.endocardium.centre, anatomy.endocardium.radii - ragged)
    scene.paint(cavity * (1 - scene.inside(edge)) * 0.9, muscle)
    for side in (-1, 1):
        for part in range(int(rng.integers(1, 4))):
            angle = middle + side * (0.85 + bounded_normal(rng, 0.12)) + (part - 1) * 0.16
            reach = float(anatomy.endocardium.at(angle))
            outwards = np.array([math.sin(angle), math.cos(angle)])
            place = anatomy.endocardium.centre + reach * rng.uniform(0.66, 0.84) * outwards
            size = reach * rng.uniform(0.07, 0.14)
            scene.ellipse(place, (size * rng.uniform(1.0, 1.8), size), angle, scene.tissues.myocardium * 1.05, cavity)


def _acquire(scene: Scene) -> Array:
    """Return the image as the scanner shows it: coil sensitivity, point spread, noise, window."""
    rng, frame = scene.rng, scene.frame
    direction = (math.sin(scene.chest), math.cos(scene.chest))
    towards = sum((axis - c) * k for axis, c, k in zip(frame.mesh(), scene.outline.centre, direction, strict=True))
    gain = np.exp(rng.uniform(0.001, 0.006) * towards + 0.12 * scene.noise(90))
    blur = rng.uniform(0.6, 1.0) / frame.spacing
    grain = 1 + 0.035 * scene.noise(2.5)
    image = scipy.ndimage.gaussian_filter(scene.image * gain * grain, blur)
    image = rician(rng, image, rng.uniform(2.0, 4.5))
    return np.clip(image * rng.uniform(0.85, 1.1), 0, 255)
