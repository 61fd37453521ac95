"""Anchors: points that a rule finds in every subject; other landmarks are placed at equal distances between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._arrays import Array, Labels, Mask
from modelaug._checked import Checked, Count, Limits, NonNegative
from modelaug.correspondence.contours import Contour, LabelValues, label_values, largest_piece, structure_mask

_LEVEL: Final = 0.5  # voxels; points this close to the farthest one count as equally far


@dataclass(eq=False)
class Scene:
    """One subject's label map and the anchors found in it.

    Attributes
    ----------
    labels : ndarray of integers, (h, w)
    spacing : ndarray, (2,), float64
        Millimetres per voxel.
    given : mapping from str to ndarray (2,)
        Points of the user, in voxels.
    found : dict from str to ndarray (k, 2)
        Anchors in mm, by object.
    """

    labels: Labels
    spacing: Array
    given: Mapping[str, Array] = field(default_factory=dict)
    found: dict[str, Array] = field(default_factory=dict)
    _pixels: dict[tuple[int, ...], Array] = field(default_factory=dict, repr=False)

    def mask(self, values: tuple[int, ...]) -> Mask:
        """Return the mask (h, w) of a structure, which must not be empty."""
        mask = structure_mask(self.labels, values)
        if not mask.any():
            raise ValueError(f"needs {_named(values)}, which is absent; correct the label map or --skip the subject")
        return mask

    def pixels(self, values: tuple[int, ...]) -> Array:
        """Return the pixels (p, 2) in mm of a structure's largest piece."""
        if values not in self._pixels:
            self._pixels[values] = np.argwhere(largest_piece(self.mask(values))[0]) * self.spacing
        return self._pixels[values]

    def centroid(self, values: tuple[int, ...]) -> Array:
        """Return the centroid (2,) in mm of a structure's largest piece."""
        return np.asarray(self.pixels(values).mean(axis=0))

    def distances(self, values: tuple[int, ...], points: Array) -> Array:
        """Return the distances (p,) in mm of points (p, 2) in mm to the edges of a structure's pixels; 0 inside."""
        away = scipy.ndimage.distance_transform_edt(~self.mask(values), sampling=self.spacing)
        nearest = scipy.ndimage.map_coordinates(away, (points / self.spacing).T, order=1, mode="nearest")
        return np.asarray(np.clip(nearest - 0.5 * self.spacing.min(), 0, None))

    def anchor(self, reference: tuple[str, int]) -> Array:
        """Return an anchor (2,) in mm of a previous object."""
        return np.asarray(self.found[reference[0]][reference[1]])

    @cached_property
    def level(self) -> float:
        """The distance in mm within which points count as equally far."""
        return _LEVEL * float(self.spacing.min())


def _named(values: tuple[int, ...]) -> str:
    return "a structure" if not values else f"label {' or '.join(map(str, values))}"


class Anchor(Checked):
    """A rule that finds a point of an object, on its contour if it has one.

    Attributes
    ----------
    needs_contour : bool
        Whether the rule needs the object's contour, so that an object of kind ``"points"`` cannot have it.
    references : tuple of (str, int)
        Anchors of other objects that the rule refers to: the object's name and the anchor's index there.
    """

    needs_contour: ClassVar[bool] = False

    @property
    def references(self) -> tuple[tuple[str, int], ...]:
        """The anchors of other objects that the rule refers to."""
        return ()

    def locate(self, scene: Scene, values: tuple[int, ...], contour: Contour | None) -> Array:
        """Return the point (2,) in mm in a subject, given the object's label values and its contour, if any.

        Raises
        ------
        ValueError
            If the subject has no such point; the message continues the names of subject and object.
        """
        raise NotImplementedError


def _some_labels(name: str, value: Any) -> tuple[int, ...]:
    values = label_values(name, value)
    if not values:
        raise ValueError(f"{name} is empty; name at least one label")
    return values


def _direction(name: str, value: Sequence[float]) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} is {value!r}; pass (row, column)")
    row, column = (_checks.number(name, each) for each in value)
    if row == column == 0:
        raise ValueError(f"{name} is (0, 0); pass a direction such as (-1, 0) for the top")
    return row, column


def _reference(name: str, value: Any) -> tuple[str, int]:
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not isinstance(value[0], str):
        raise TypeError(f"{name} is {value!r}; pass the name of an object and the place of an anchor in it, from 0")
    return value[0], _checks.integer(name, value[1], minimum=0)


def _side_pairs(name: str, value: Any) -> tuple[tuple[int, ...], ...]:
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        raise ValueError(f"{name} is {value!r}; pass two pairs of labels or more")
    pairs = tuple(label_values(name, each) for each in value)
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{name} is {value!r}; pass two labels in each pair")
    return pairs


Direction = Annotated[tuple[float, float], _direction]
Reference = Annotated[tuple[str, int], _reference]


@dataclass(frozen=True)
class Contact(Anchor):
    """An end of the contact of a contour with another structure.

    Parameters
    ----------
    other
        Labels of the other structure.
    at
        ``"start"``: where the contour, clockwise on the screen, meets the other structure; ``"end"``: where it leaves
        it.
    reach
        The two touch where their distance exceeds the smallest by at most this, in mm. Contacts less than twice this
        apart are merged; of several the longest is taken.
    farthest
        Smallest distance in mm beyond which the structures do not touch.
    """

    other: Annotated[tuple[int, ...], _some_labels]
    at: Literal["start", "end"]
    reach: NonNegative = 2.5
    farthest: NonNegative = 5.0
    needs_contour = True

    def locate(self, scene: Scene, values: tuple[int, ...], contour: Contour | None) -> Array:
        """Return the end of the contact."""
        assert contour is not None
        # At the vertices, whatever vertex the contour starts from, and linear between them.
        distances = scene.distances(self.other, contour.points)
        limit = float(distances.min()) + self.reach
        if distances.min() > self.farthest:
            raise ValueError(
                f"is {distances.min():.1f} mm from {_named(self.other)}; raise farthest if that is a contact"
            )
        touches = distances <= limit
        count, steps = len(touches), contour.steps
        for first, length in _runs(~touches):
            between = (first - 1 + np.arange(length + 1)) % count
            if steps[between].sum() <= 2 * self.reach:
                touches[between[1:]] = True
        if touches.all():
            raise ValueError(f"touches {_named(self.other)} all around, so the contact has no ends; lower reach")
        runs = _runs(touches)
        first, length = max(runs, key=lambda run: steps[(run[0] + np.arange(run[1] - 1)) % count].sum())
        if self.at == "start":
            inner, outer, step = first, (first - 1) % count, -steps[first - 1]
        else:
            inner = (first + length - 1) % count
            outer, step = (inner + 1) % count, steps[inner]
        share = (limit - distances[inner]) / (distances[outer] - distances[inner])
        return contour.at(contour.stops[inner] + share * step)


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the start and length of each run of true flags on a circle; not all flags are true."""
    starts = np.flatnonzero(flags & ~np.roll(flags, 1))
    ends = np.flatnonzero(flags & ~np.roll(flags, -1))
    if len(starts) and ends[0] < starts[0]:
        ends = np.roll(ends, -1)
    return [(int(s), int((e - s) % len(flags)) + 1) for s, e in zip(starts, ends, strict=True)]


@dataclass(frozen=True)
class Extreme(Anchor):
    """The point of a structure that lies farthest in a direction of the image.

    It is the farthest point of the object's own contour; for another structure, or an object without a contour, the
    mean of the outermost pixels.

    Parameters
    ----------
    direction
        (row, column), in mm: (-1, 0) is the image's top, (0, 1) its right.
    labels
        The structure; the object itself if empty.
    share
        Share of the pixels that count as outermost.
    """

    direction: Direction
    labels: LabelValues = ()
    share: Annotated[float, Limits(above=0.0, maximum=1.0)] = 0.1

    def locate(self, scene: Scene, values: tuple[int, ...], contour: Contour | None) -> Array:
        """Return the farthest point."""
        unit = np.array(self.direction) / np.hypot(*self.direction)
        if contour is not None and not self.labels:
            return contour.at(contour.extreme(unit, scene.level))
        pixels = scene.pixels(self.labels or values)
        heights = np.round(pixels @ unit, 9)
        wanted = max(3.0, self.share * len(pixels))
        # Equally far pixels have equal weights, so that no corner is preferred.
        edge = np.sort(heights)[::-1][min(len(heights), int(np.ceil(wanted))) - 1]
        above, level = heights > edge, heights == edge
        weights = above + level * max(0.0, wanted - above.sum()) / level.sum()
        return np.asarray(weights @ pixels / weights.sum())


@dataclass(frozen=True)
class Ray(Anchor):
    """The last intersection of a ray from a centroid with the contour.

    Parameters
    ----------
    angle
        Degrees clockwise on the screen from the direction given by `towards` or `through`, up by default.
    towards
        Labels of a structure whose centroid the ray points to.
    through
        An anchor of another object that the ray passes: (object, index there).
    origin
        Labels of the structure whose centroid the ray starts from; the object's own if empty.
    """

    angle: float = 0.0
    towards: LabelValues = ()
    through: Reference | None = None
    origin: LabelValues = ()
    needs_contour = True

    def _check(self) -> None:
        if self.through is not None and self.towards:
            raise ValueError("through and towards are both given; pass one of them")

    @property
    def references(self) -> tuple[tuple[str, int], ...]:
        """The anchors of other objects that the rule refers to."""
        return () if self.through is None else (self.through,)

    def locate(self, scene: Scene, values: tuple[int, ...], contour: Contour | None) -> Array:
        """Return the last intersection of the ray with the contour."""
        assert contour is not None
        origin = scene.centroid(self.origin or values)
        if self.through is not None:
            direction = scene.anchor(self.through) - origin
        elif self.towards:
            direction = scene.centroid(self.towards) - origin
        else:
            direction = np.array([-1.0, 0.0])
        if np.linalg.norm(direction) < 1e-9:
            raise ValueError("has a ray without direction, as both its ends coincide; pass another towards or through")
        turn = np.deg2rad(self.angle)
        turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ direction
        return contour.at(contour.ray(origin, turned))


@dataclass(frozen=True)
class Nearest(Anchor):
    """The point of the contour that is nearest to another object's anchor.

    Parameters
    ----------
    to
        (object, index of the anchor there).
    """

    to: Reference
    needs_contour = True

    @property
    def references(self) -> tuple[tuple[str, int], ...]:
        """The anchors of other objects that the rule refers to."""
        return (self.to,)

    def locate(self, scene: Scene, values: tuple[int, ...], contour: Contour | None) -> Array:
        """Return the nearest point."""
        assert contour is not None
        return contour.at(contour.nearest(scene.anchor(self.to))[0])


@dataclass(frozen=True)
class Midline(Anchor):
    """An intersection of the line between left and right with the contour.

    The line is the least-squares line through the midpoints of paired structures' centroids.

    Parameters
    ----------
    pairs
        Labels of a left structure and its partner on the right, two pairs or more; those that a subject has are used.
    direction
        (row, column), roughly, towards one of the line's two ends; (-1, 0) is the image's top.
    least
        Smallest number of pixels of both structures of a pair.
    """

    pairs: Annotated[tuple[tuple[int, int], ...], _side_pairs]
    direction: Direction = (-1.0, 0.0)
    least: Count = 20
    needs_contour = True

    def locate(self, scene: Scene, values: tuple[int, ...], contour: Contour | None) -> Array:
        """Return the last intersection of the midline with the contour."""
        assert contour is not None
        middles = []
        for pair in self.pairs:
            masks = [scene.labels == value for value in pair]
            if min(mask.sum() for mask in masks) >= self.least:
                middles.append(np.mean([np.argwhere(mask).mean(axis=0) for mask in masks], axis=0) * scene.spacing)
        if len(middles) < 2:
            raise ValueError(f"has {len(middles)} of the pairs of structures that a midline needs; name more pairs")
        centre = np.mean(middles, axis=0)
        line = np.linalg.svd(np.array(middles) - centre)[2][0]
        return contour.at(contour.ray(centre, line if line @ self.direction > 0 else -line))


@dataclass(frozen=True)
class Center(Anchor):
    """The centroid of a structure's largest piece; for objects of kind ``"points"``.

    Parameters
    ----------
    labels
        The structure; the object itself if empty.
    """

    labels: LabelValues = ()

    def locate(self, scene: Scene, values: tuple[int, ...], contour: Contour | None) -> Array:
        """Return the centroid."""
        return scene.centroid(self.labels or values)


@dataclass(frozen=True)
class Given(Anchor):
    """A point that the user gives for every subject, or the point of the contour nearest to it.

    Parameters
    ----------
    name
        Name of the point.
    """

    name: Annotated[str, _checks.word]

    def _field_name(self, name: str) -> str:
        return f"{name} of a given point"

    def locate(self, scene: Scene, values: tuple[int, ...], contour: Contour | None) -> Array:
        """Return the user's point."""
        if self.name not in scene.given:
            raise ValueError(f"needs the point {self.name!r}; pass it in points")
        return np.asarray(scene.given[self.name] * scene.spacing)


ANCHORS: Final[dict[str, type[Any]]] = {
    rule.__name__.lower(): rule for rule in (Center, Contact, Extreme, Given, Midline, Nearest, Ray)
}
"""The rules by their names in files."""
