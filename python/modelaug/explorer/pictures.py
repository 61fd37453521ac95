"""Pictures of a pair as arrays of colours and lines, without a figure, so that they take milliseconds."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps

from modelaug.data.cohort import LandmarkObject
from modelaug.models.appearance import AppearanceModel
from modelaug.plots.flow import flow_radius, flow_to_rgb, grid_cell, grid_lines
from modelaug.plots.jacobian import determinant_limit, determinant_to_rgb
from modelaug.synthesis import Pair, PairInfo
from modelaug.transforms.fields import jacobian_determinant
from modelaug.transforms.polylines import Polyline
from modelaug.transforms.warping import warp

PANELS: Final = (
    "fixed",
    "moving",
    "moving, warped by flow",
    "fixed minus warped",
    "flow",
    "warped grid",
    "Jacobian",
    "weight",
)
"""From left to right, in two rows."""

_MOST_POINTS: Final = 128  # points along a line of the grid are enough

Colors = npt.NDArray[np.uint8]
Line = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of a pair.

    Attributes
    ----------
    images : dict of ndarray, (h, w, 3), uint8
        By panel.
    contours : dict of list of ndarray, (k, 2)
        By panel, in the order of the model's objects: pixels, components in array-axis order.
    grid : list of ndarray, (k, 2)
        Lines of the warped grid.
    facts : dict
        Numbers about the pair as text, by name.
    """

    images: dict[str, Colors]
    contours: dict[str, list[Line]]
    grid: list[Line]
    facts: dict[str, str]


_LEAST_RADIUS = 0.1  # pixels; below, full colour would show rounding errors


def grey_limits(model: AppearanceModel) -> tuple[float, float]:
    """Return the intensities shown as black and white, the same for all pairs of a model.

    All but the darkest and brightest half percent of the mean texture and its training subjects' lie between.
    """
    coefficients = model.texture_coefficients.astype(model.texture.basis.dtype)
    textures = model.texture.reconstruct(coefficients).reshape(len(coefficients), model.channels, -1)
    shown = textures if model.channels == 3 else textures[:, :1]
    low, high = (float(value) for value in np.percentile(shown, (0.5, 99.5)))
    return low, high if high > low else low + 1.0


def pictures(pair: Pair, objects: Sequence[LandmarkObject], limits: tuple[float, float]) -> Pictures:
    """Return the pictures of a pair.

    Parameters
    ----------
    pair
        Of 2D images.
    objects
        Groups of its landmarks.
    limits
        As in `grey_limits`.

    Returns
    -------
    Pictures
    """
    # One thread is the fastest for such small images.
    pull = functools.partial(warp, displacement=pair.flow, border="constant", threads=1)
    warped = np.stack([pull(channel, fill=float(channel.min())) for channel in pair.moving])
    determinant = jacobian_determinant(pair.flow, threads=1)
    radius, limit = flow_radius(pair.flow), determinant_limit(determinant)
    span = limits[1] - limits[0]
    white: Colors = np.full((*pair.weight.shape, 3), 255, np.uint8)
    images = (
        _grey(pair.fixed, *limits),
        _grey(pair.moving, *limits),
        _grey(warped, *limits),
        _grey(pair.fixed - warped, -span, span),
        flow_to_rgb(pair.flow, max(radius, _LEAST_RADIUS)),
        white,
        determinant_to_rgb(determinant, limit),
        colormaps["magma"](pair.weight, bytes=True)[..., :3],
    )
    fixed, moving = (contours(points, objects) for points in (pair.landmarks_fixed, pair.landmarks_moving))
    on = {name: moving if name == "moving" else fixed for name in PANELS}
    info = pair.info
    facts = {
        "flow": f"{np.hypot(*pair.flow).mean():.1f} px on average, {radius:.1f} px at most (full colour)",
        "Jacobian": f"{determinant.min():.2f} to {determinant.max():.2f}, colours to {2**limit:.2f}",
        "folds": str(int((determinant <= 0).sum())),
        "landmarks": f"flow misses them by {info['landmark_error']:.3f} px at most",
        "attempts": _attempts(info),
    }
    size = pair.weight.shape
    rows, columns = grid_lines(pair.flow, grid_cell(size), stride=max(1, max(size) // _MOST_POINTS))
    return Pictures(dict(zip(PANELS, images, strict=True)), on, rows + columns, facts)


def contours(landmarks: Line, objects: Sequence[LandmarkObject]) -> list[Line]:
    """Return the line through each object's landmarks, closed ones back to their start; just the points if no order."""
    return [Polyline(landmarks[list(each.indices)], each.kind == "closed").vertices for each in objects]


def _grey(image: npt.NDArray[np.floating[Any]], low: float, high: float) -> Colors:
    """Return the colours of an image: three channels as they are, otherwise the first in grey."""
    channels = image if len(image) == 3 else image[:1]
    scaled = np.clip((channels - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(np.moveaxis(scaled, 0, -1), (*image.shape[1:], 3)))


def _attempts(info: PairInfo) -> str:
    if info["shrink"] < 1:
        return f"shrunk to {info['shrink']:.0%} of what was asked for, to fold nowhere"
    return str(info["attempts"])
