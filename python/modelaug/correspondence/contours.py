"""Contours of structures in a label map, between the pixels, and positions along them.

Outlines need contourpy, installed by ``pip install modelaug[io]``. Its isolines are those of W. E. Lorensen and
H. E. Cline: Marching cubes. Computer Graphics 21(4), 1987, in the plane; where two corners of a cell that face each
other are inside, the cell's mean decides whether they are connected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._arrays import Array, Labels, Mask
from modelaug._checked import Checked, Limits
from modelaug.transforms.polylines import Polyline, polygon_area

_LEAST: Final = 9  # pixels of a structure that has an outline
_ROUNDING: Final = 1e-9  # voxels
_STRAY: Final = 0.1  # size of a second piece, as a share of the largest, beyond which there is a warning


def label_values(name: str, value: Any) -> tuple[int, ...]:
    """Return label values, or a single one, as a tuple of different integers."""
    if isinstance(value, (int, np.integer)):
        value = (value,)
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} is {value!r}; pass label values as a list of integers")
    values = tuple(_checks.integer(name, each, minimum=-(2**63)) for each in value)
    if len(set(values)) < len(values):
        raise ValueError(f"{name} is {list(values)}; name each label once")
    return values


Length = Annotated[float, Limits(0.0, 1000.0)]
LabelValues = Annotated[tuple[int, ...], label_values]


@dataclass(frozen=True)
class ContourOptions(Checked):
    """Options of the cleaning of a structure's mask before its outline is traced.

    Parameters
    ----------
    smoothing
        Standard deviation in voxels of the Gaussian that softens the mask, whose level 0.5 is the outline. It shrinks a
        disk of radius r by about ``smoothing**2 / (2 r)``.
    close
        Radius in mm of a closing: bays narrower than twice this are bridged.
    open
        Radius in mm of an opening: bridges and tongues narrower than twice this are cut.
    grow
        Distance in mm by which the outline is moved outwards; negative inwards.
    apart
        Labels to keep `gap` away from. Outlines of structures that touch coincide, and landmarks at one point with
        different displacements cannot be interpolated.
    gap
        Distance in mm.
    """

    smoothing: Length = 1.0
    close: Length = 0.0
    open: Length = 0.0
    grow: Annotated[float, Limits(-1000.0, 1000.0)] = 0.0
    apart: LabelValues = ()
    gap: Length = 0.0


def label_maps(labels: npt.ArrayLike) -> Labels:
    """Check label maps (n, h, w) of integers."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels has dtype {array.dtype}; pass label maps of integers")
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"labels has shape {array.shape}; pass (n, rows, columns), in 2D only")
    return array


@dataclass(frozen=True, eq=False)
class Contour(Polyline):
    """A closed polygon in mm, (row, column), that runs clockwise as seen on a screen where rows point down."""

    closed: bool = True

    def extreme(self, direction: npt.ArrayLike, tolerance: float) -> float:
        """Return the position farthest in a direction (2,): the middle of the part at most `tolerance` mm behind.

        On a flat end the farthest vertex itself is arbitrary.
        """
        heights = self.points @ np.asarray(direction, dtype=np.float64)
        top = int(np.argmax(heights))
        high = np.roll(heights >= heights[top] - tolerance, -top)
        if high.all():
            return float(self.stops[top])
        after = int(np.argmin(high)) - 1
        before = int(np.argmin(high[::-1]))
        ahead = (self.stops[(top + after) % len(high)] - self.stops[top]) % self.length
        behind = (self.stops[top] - self.stops[(top - before) % len(high)]) % self.length
        return float((self.stops[top] + (ahead - behind) / 2) % self.length)

    def ray(self, origin: npt.ArrayLike, direction: npt.ArrayLike) -> float:
        """Return the position of the last intersection with a ray.

        For a ray that misses, from an origin outside, this is the vertex at the smallest angle from the ray.
        """
        unit = np.asarray(direction, dtype=np.float64) / np.linalg.norm(direction)
        offsets = self.points - np.asarray(origin, dtype=np.float64)
        ahead = offsets @ unit
        aside = offsets @ np.array([-unit[1], unit[0]])
        next_ahead, next_aside = np.roll(ahead, -1), np.roll(aside, -1)
        crosses = (aside > 0) != (next_aside > 0)
        share = np.where(crosses, aside / np.where(crosses, aside - next_aside, 1), 0)
        reached = np.where(crosses, ahead + share * (next_ahead - ahead), -np.inf)
        k = int(np.argmax(reached))
        if reached[k] > 0:
            return float(self.stops[k] + share[k] * (self.stops[k + 1] - self.stops[k]))
        return float(self.stops[int(np.argmin(np.abs(np.arctan2(aside, ahead))))])


def structure_mask(labels: Labels, values: tuple[int, ...]) -> Mask:
    """Return the mask of the label values in a label map; without values, of all labels but 0."""
    return labels != 0 if not values else np.isin(labels, values)


def structure_contour(
    labels: Labels, values: tuple[int, ...], spacing: Array, options: ContourOptions
) -> tuple[Contour, list[str]]:
    """Return the outer contour of a structure's largest piece, and remarks on the structure.

    Parameters
    ----------
    labels : ndarray of integers, (h, w)
    values
        The structure's label values; all but 0 if empty.
    spacing : ndarray, (2,)
        Millimetres per voxel.
    options
        Cleaning of the mask.

    Raises
    ------
    ValueError
        If the structure is absent, has fewer than 9 pixels, touches the border, or vanishes when cleaned.
    """
    mask = structure_mask(labels, values)
    if not mask.any():
        raise ValueError("is absent; correct the label map, or leave the structure or the subject out")
    # Only the part of the map around the structure is processed.
    margin = 2 + int(np.ceil(4 * options.smoothing))
    margin += int(np.ceil((2 * options.close + abs(options.grow) + options.gap) / spacing.min()))
    others = structure_mask(labels, options.apart) if options.apart else np.zeros_like(mask)
    (mask, others), corner = _cropped(mask, others, margin)
    if options.apart:
        mask &= ~_grown(others, options.gap + 0.5 * float(spacing.min()), spacing)
    # Closing and opening precede the choice of the largest piece.
    if options.close > 0:
        mask = _grown(_grown(mask, options.close, spacing), -options.close, spacing)
    if options.open > 0:
        mask = _grown(_grown(mask, -options.open, spacing), options.open, spacing)
    mask, remarks = largest_piece(mask)
    mask = scipy.ndimage.binary_fill_holes(mask)
    if options.grow != 0:
        mask = _grown(mask, options.grow, spacing)
    if (size := int(mask.sum())) < _LEAST:
        raise ValueError(f"has {size} pixels in one piece; correct the label map, or leave the structure out")
    pixels = np.argwhere(mask) + corner
    if (pixels <= 0).any() or (pixels >= np.array(labels.shape) - 1).any():
        raise ValueError("touches the image's border; pad image and label map, or leave the structure or subject out")
    loops = isolines(scipy.ndimage.gaussian_filter(mask.astype(np.float64), options.smoothing), 0.5)
    if not loops:
        raise ValueError("is so thin that smoothing removes it; lower smoothing, or leave the structure out")
    return Contour((max(loops, key=polygon_area) + corner) * spacing), remarks


def _cropped(mask: Mask, others: Mask, margin: int) -> tuple[tuple[Mask, Mask], npt.NDArray[np.int64]]:
    """Crop two masks to a margin around the first, False beyond the map; return them and the index of their corner."""
    where = np.argwhere(mask)
    low, high = where.min(axis=0) - margin, where.max(axis=0) + margin + 1
    padded = [np.pad(each, margin) for each in (mask, others)]
    first, second = (
        each[tuple(slice(a + margin, b + margin) for a, b in zip(low, high, strict=True))] for each in padded
    )
    return (first.copy(), second), low


def largest_piece(mask: Mask) -> tuple[Mask, list[str]]:
    """Return the largest connected component of a mask, and a remark if another one is not small."""
    pieces, count = scipy.ndimage.label(mask)
    if count <= 1:
        return mask, []
    sizes = np.bincount(pieces.ravel())[1:]
    second = int(np.sort(sizes)[-2])
    remark = f"is in {count} pieces of {sizes.max()}, {second}, ... pixels; the largest is taken"
    return pieces == 1 + int(np.argmax(sizes)), [remark] if second > _STRAY * sizes.max() else []


def _grown(mask: Mask, distance: float, spacing: Array) -> Mask:
    """Dilate a mask by a distance in mm, or erode it by a negative one; False beyond the array."""
    if distance >= 0:
        if not mask.any():
            return mask
        return np.asarray(scipy.ndimage.distance_transform_edt(~mask, sampling=spacing) <= distance)
    return np.asarray(scipy.ndimage.distance_transform_edt(mask, sampling=spacing) > -distance)


def isolines(field: Array, level: float) -> list[Array]:
    """Return the closed isolines of a field at a level, interpolated linearly along the grid's edges.

    Parameters
    ----------
    field : ndarray, (h, w), float64
        At most `level` along its border.
    level

    Returns
    -------
    list of ndarray, (p, 2), float64
        Polygons in voxels, (row, column), with values above the level on their right on a screen where rows point down:
        outlines run clockwise, holes counter-clockwise.
    """
    try:
        import contourpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "outlines of label maps need contourpy; run: pip install 'modelaug[io]'", name="contourpy"
        ) from error
    loops = []
    for line in contourpy.contour_generator(z=field).lines(level):
        loop = np.asarray(line)[:-1, ::-1]  # from (column, row), with the first point repeated at the end
        # Coordinates across an edge are interpolated as well; points on the edges of one corner may coincide.
        loop = np.where(np.abs(loop - np.rint(loop)) < _ROUNDING, np.rint(loop), loop)
        loops.append(loop[(loop != np.roll(loop, 1, axis=0)).any(axis=1)])
    return loops
