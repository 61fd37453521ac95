"""Shared parts of all plots: panels of exact size, images, landmarks in the colours of their objects, legends."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullFormatter

from modelaug.data.cohort import LandmarkObject
from modelaug.io.files.archives import write_atomically
from modelaug.transforms.polylines import Polyline

OBJECT_COLORS: Final = ("#ffc300", "#22c7f0", "#ff5d73", "#7ae582", "#c77dff", "#ff9f1c", "#f9f9f9", "#2ec4b6")
"""Bright on grey images and distinct for most colour-blind readers; more objects repeat them."""

_FONT: Final[dict[str, Any]] = {"fontsize": 8, "fontfamily": "DejaVu Sans"}


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 160) -> None:
    """Write a figure atomically, in the format of the path's suffix (png, pdf, svg, ...)."""
    kind = Path(path).suffix.lower().lstrip(".")
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise ValueError(f"{path} ends in no known format of figures; use one of {', '.join(sorted(known))}")
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=dpi))


@dataclass
class Panels:
    """A figure of equal panels in rows and columns, laid out in inches.

    Parameters
    ----------
    rows, columns
        Number of panels.
    width, height
        Size of a panel.
    left, top, bottom
        Margins; the right one is 0.05.
    gap
        Distance between panels.
    """

    rows: int
    columns: int
    width: float
    height: float
    left: float = 0.05
    top: float = 0.3
    bottom: float = 0.05
    gap: float = 0.05

    def __post_init__(self) -> None:
        across, down = self.width + self.gap, self.height + self.gap
        total = (
            self.left + self.columns * across - self.gap + 0.05,
            self.top + self.rows * down - self.gap + self.bottom,
        )
        self._size = total
        self.figure = Figure(figsize=total)
        self._x = [self.left + j * across for j in range(self.columns)]
        self._y = [self.bottom + (self.rows - 1 - i) * down for i in range(self.rows)]
        self.axes = [[self.inset(x, y, self.width, self.height) for x in self._x] for y in self._y]

    def inset(self, x: float, y: float, width: float, height: float, *, ticks: bool = False) -> Axes:
        """Add axes with their lower left corner at (x, y)."""
        w, h = self._size
        axes = self.figure.add_axes((x / w, y / h, width / w, height / h))
        axes.axison = ticks
        return axes

    @property
    def middle(self) -> float:
        """The horizontal middle of the figure."""
        return self._size[0] / 2

    def column_center(self, column: int) -> float:
        """Return the horizontal middle of a column."""
        return self._x[column] + self.width / 2

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write text at (x, y)."""
        w, h = self._size
        self.figure.text(x / w, y / h, text, **{"ha": "center", "va": "center", **_FONT, **style})

    def title_columns(self, titles: Sequence[str]) -> None:
        """Write a title above each column."""
        for j, title in enumerate(titles):
            self.text(self.column_center(j), self._size[1] - self.top + 0.13, title)

    def title_rows(self, titles: Sequence[str]) -> None:
        """Write a title left of each row."""
        for i, title in enumerate(titles):
            self.text(self.left / 2, self._y[i] + self.height / 2, title, rotation=90)


def show_image(ax: Axes, image: npt.NDArray[Any], text: str = "", *, limits: tuple[float, float] | None = None) -> None:
    """Show an image (h, w) or (c, h, w): three channels in colour, otherwise the first in grey.

    Parameters
    ----------
    ax
        Axes to draw on.
    image
        Any range of intensities.
    text
        Caption.
    limits
        Intensities shown as black and white; by default the 0.5 and 99.5 percentiles.
    """
    channels = image if image.ndim == 3 else image[None]
    low, high = limits or (float(v) for v in np.percentile(channels, (0.5, 99.5)))
    scaled = np.clip((channels - low) / (high - low if high > low else 1.0), 0, 1)
    pixels = np.moveaxis(scaled, 0, -1) if len(channels) == 3 else scaled[0]
    show_pixels(ax, pixels, text, cmap="gray", vmin=0, vmax=1)


def show_pixels(ax: Axes, pixels: npt.NDArray[Any], text: str = "", **style: Any) -> Axes:
    """Show an array (h, w) or of colours (h, w, 3 or 4) on exactly its grid; `style` as in ``Axes.imshow``."""
    ax.imshow(pixels, **{"interpolation": "bilinear", **style})
    frame_axes(ax, pixels.shape[:2])
    caption(ax, text)
    return ax


def new_axes(width: float = 4.0, height: float = 4.0) -> Axes:
    """Return the axes of a new figure, of a size in inches."""
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def plain_axes(ax: Axes) -> None:
    """Style axes of curves: two sides of the frame, a light grid, small numbers."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92", linewidth=0.6)
    ax.tick_params(labelsize=8)


def log_axis(ax: Axes) -> None:
    """Make the vertical axis logarithmic, with ticks at 1, 2 and 5."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def frame_axes(ax: Axes, grid: Sequence[int]) -> None:
    """Limit axes to the pixels of a grid (h, w), rows down, without ticks."""
    h, w = grid
    ax.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5), xticks=[], yticks=[], aspect="equal")


def caption(ax: Axes, text: str) -> None:
    """Write a few words into the upper left corner of a panel."""
    style = {**_FONT, "fontsize": 7, "path_effects": [withStroke(linewidth=1.6, foreground="black")]}
    if text:
        ax.text(0.025, 0.975, text, transform=ax.transAxes, ha="left", va="top", color="white", **style)


def draw_landmarks(
    ax: Axes,
    landmarks: npt.NDArray[np.float64],
    objects: Sequence[LandmarkObject] | None,
    *,
    color: str | None = None,
    line_style: str = "-",
    line_width: float = 0.9,
    dots: bool = True,
) -> None:
    """Draw landmarks (m, 2), a contour per object.

    Parameters
    ----------
    ax
        Axes to draw on.
    landmarks
        Pixels, components in array-axis order.
    objects
        Groups of the landmarks; None: all landmarks are dots.
    color
        Color of all objects; by default each object has its own.
    line_style, line_width
        Style of the contours.
    dots
        Whether to draw dots at the landmarks of contours, too.
    """
    if objects is None:
        objects = (LandmarkObject("landmarks", tuple(range(len(landmarks))), "points"),)
    for k, each in enumerate(objects):
        points, is_curve = landmarks[list(each.indices)], each.kind != "points"
        own = color or OBJECT_COLORS[k % len(OBJECT_COLORS)]
        if is_curve:
            curve = Polyline(points, each.kind == "closed").vertices
            ax.plot(curve[:, 1], curve[:, 0], line_style, color=own, linewidth=line_width)
        if dots or not is_curve:
            size = 1.1 if is_curve else 2.0
            ax.plot(points[:, 1], points[:, 0], "o", color=own, markersize=size, markeredgewidth=0)


def object_legend(panels: Panels, objects: Sequence[LandmarkObject], x: float, y: float) -> None:
    """Add a legend of the objects' colours, in one or more lines about (x, y) of the figure."""
    width, height = panels.figure.get_size_inches()
    handles = []
    for k, each in enumerate(objects):
        line_width, marker = (0, "o") if each.kind == "points" else (2, "")
        style: dict[str, Any] = {
            "color": OBJECT_COLORS[k % len(OBJECT_COLORS)],
            "linewidth": line_width,
            "marker": marker,
        }
        handles.append(Line2D([], [], markersize=3, label=each.name.replace("_", " "), **style))
    columns = max(1, min(len(handles), int(2 * min(x, width - x) / 1.2)))
    place: dict[str, Any] = {"loc": "center", "bbox_to_anchor": (x / width, y / height), "ncols": columns}
    font = {"size": _FONT["fontsize"], "family": _FONT["fontfamily"]}
    panels.figure.legend(handles=handles, frameon=False, handlelength=1.0, columnspacing=1.0, prop=font, **place)


def literal(text: str) -> str:
    """Escape the dollars of a text that matplotlib would read as formulas."""
    return text.replace("$", r"\$")


def wrapped(text: str, width: int) -> str:
    """Wrap a text without formulas in lines of at most `width` characters."""
    return literal("\n".join(textwrap.fill(line, width) for line in text.splitlines()))
