"""Plots of displacement fields as colours and as warped grids.

Colours: S. Baker et al.: A database and evaluation methodology for optical flow. International Journal of Computer
Vision 92(1), 2011; the wheel of 55 hues is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import contourpy
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from modelaug import _checks
from modelaug.plots.figures import frame_axes, new_axes, show_pixels

# From one pure colour to the next: red, yellow, green, cyan, blue, magenta, and back to red.
_STEPS: Final = (15, 6, 4, 11, 13, 6)
_CORNERS: Final = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0))


def _color_wheel() -> npt.NDArray[np.float64]:
    """Return the 55 hues, (55, 3), values between 0 and 1."""
    return np.vstack(
        [
            np.array(start) + np.arange(steps)[:, None] / steps * (np.array(end) - np.array(start))
            for steps, start, end in zip(_STEPS, _CORNERS[:-1], _CORNERS[1:], strict=True)
        ]
    )


def flow_to_rgb(flow: npt.ArrayLike, max_radius: float | None = None) -> npt.NDArray[np.uint8]:
    """Convert a displacement field to the Middlebury colours: direction as hue, length as saturation.

    To the right is red, down is yellow, to the left is cyan, up is violet; no displacement is white.

    Parameters
    ----------
    flow : array_like, (2, h, w)
        Displacement in pixels, components in array-axis order; NaN where it is unknown.
    max_radius
        Length of full saturation, by default the largest in the field. Longer displacements are darkened.

    Returns
    -------
    ndarray, (h, w, 3), uint8
        Black where the displacement is unknown.
    """
    field = plane_field("flow", flow, unknown=True)
    known = np.isfinite(field[0]) & np.isfinite(field[1])
    rows, columns = np.where(known, field, 0.0)
    unit = flow_radius(field) if max_radius is None else _checks.number("max_radius", max_radius, above=0.0)
    saturation = np.hypot(rows, columns)[..., None] / (unit if unit > 0 else 1.0)

    wheel = _color_wheel()
    position = (np.arctan2(-rows, -columns) / np.pi + 1) / 2 * (len(wheel) - 1)
    lower = np.floor(position).astype(int)
    share = (position - lower)[..., None]
    hue = (1 - share) * wheel[lower] + share * wheel[(lower + 1) % len(wheel)]
    rgb = np.where(saturation <= 1, 1 - saturation * (1 - hue), 0.75 * hue)
    rgb[~known] = 0
    return np.asarray(np.floor(255 * rgb), dtype=np.uint8)


def flow_radius(flow: npt.NDArray[np.floating[Any]]) -> float:
    """Return the length of the longest known displacement of a field (2, h, w); 0 if none is known."""
    lengths = np.hypot(flow[0], flow[1])
    known = lengths[np.isfinite(lengths)]
    return float(known.max()) if known.size else 0.0


def plot_flow(flow: npt.ArrayLike, *, max_radius: float | None = None, ax: Axes | None = None) -> Axes:
    """Plot a displacement field in the Middlebury colours; arguments as in `flow_to_rgb`."""
    return show_pixels(ax or new_axes(), flow_to_rgb(flow, max_radius))


def plot_color_wheel(label: str, *, ax: Axes | None = None) -> Axes:
    """Plot the colours of vectors from the centre of a wheel, with a label for its radius."""
    ax = ax or new_axes()
    size = 301
    at = np.linspace(-1.02, 1.02, size)
    vectors = np.stack(np.meshgrid(at, at, indexing="ij"))
    radius = np.hypot(*vectors)
    rgb = flow_to_rgb(vectors, 1.02)
    opacity = np.clip((1 - radius) * size / 2 + 0.5, 0, 1)
    ax.imshow(np.dstack([rgb / 255, opacity]), extent=(-1.02, 1.02, 1.02, -1.02), interpolation="bilinear")
    ax.plot([-1, 1], [0, 0], [0, 0], [-1, 1], color="black", linewidth=0.4, alpha=0.6)
    ax.text(1.15, 0, label, va="center", ha="left", fontsize=8, clip_on=False)
    ax.set(xlim=(-1.05, 1.05), ylim=(1.05, -1.05), aspect="equal")
    ax.set_axis_off()
    return ax


def plot_grid(
    displacement: npt.ArrayLike,
    *,
    step: float | None = None,
    color: str = "black",
    line_width: float = 0.5,
    ax: Axes | None = None,
) -> Axes:
    """Plot a regular grid of the moving image, warped onto the fixed image.

    Its lines consist of the points x of the fixed image at which a coordinate of x + u(x) is a multiple of `step`.

    Parameters
    ----------
    displacement : array_like, (2, h, w)
        Displacement in pixels, components in array-axis order.
    step
        Distance of the grid's lines in pixels; by default the longer side has about 20 cells.
    color, line_width
        Style of the lines.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
    """
    field = plane_field("displacement", displacement)
    ax = ax or new_axes()
    h, w = field.shape[1:]
    cell = grid_cell((h, w)) if step is None else _checks.number("step", step, above=0.0)
    for lines in grid_lines(field, cell):
        if lines:
            ax.add_collection(LineCollection([line[:, ::-1] for line in lines], colors=color, linewidths=line_width))
    frame_axes(ax, (h, w))
    return ax


def grid_lines(
    displacement: npt.NDArray[np.floating[Any]], cell: float, *, stride: int = 1
) -> tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]]:
    """Return a warped grid: lines (k, 2) of constant row, and of constant column, at multiples of `cell`.

    Parameters
    ----------
    displacement : ndarray, (2, h, w)
        In pixels, finite.
    cell
        Distance of the grid's lines in pixels.
    stride
        Pixels between the points of a line.
    """
    h, w = displacement.shape[1:]
    rows, columns = np.arange(0, h, stride), np.arange(0, w, stride)
    found: tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]] = ([], [])
    for lines, coordinate in zip(found, displacement + np.indices((h, w)), strict=True):
        z = np.ascontiguousarray(coordinate[::stride, ::stride], dtype=np.float64)
        if min(z.shape) > 1:
            maker = contourpy.contour_generator(x=columns, y=rows, z=z)
            levels = np.arange(np.ceil(coordinate.min() / cell), np.floor(coordinate.max() / cell) + 1) * cell
            for level in levels.tolist():
                lines += [np.asarray(line)[:, ::-1] for line in maker.lines(level)]  # from (column, row)
    return found


def grid_cell(grid: Sequence[int], cells: int = 20) -> float:
    """Return the distance of lines, in whole pixels, that divides the longer side of a grid into about `cells`."""
    return max(1.0, round(max(grid) / cells))


def plane_field(
    name: str, field: npt.ArrayLike, *, unknown: bool = False, dtype: npt.DTypeLike = np.float64
) -> npt.NDArray[Any]:
    """Check that a field is (2, h, w) and finite, or unknown at some pixels, and return it."""
    array = _checks.finite(name, np.nan_to_num(field) if unknown else field, ndim=3, dtype=dtype)
    if array.shape[0] != 2:
        raise ValueError(f"{name} has shape {array.shape}; pass (2, h, w), of a field in space the slice to be shown")
    return np.asarray(field, dtype=dtype) if unknown else array
