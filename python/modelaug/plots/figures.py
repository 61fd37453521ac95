"""What all pictures share: panels of exact size, images, and landmarks in the colours of their objects."""

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
"""Bright enough for grey images, and apart for most colour-blind readers; more objects take them in turn."""

_FONT: Final[dict[str, Any]] = {"fontsize": 8, "fontfamily": "DejaVu Sans"}


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 160) -> None:
    """Write a figure in the format that the path's ending names (png, pdf, svg, ...), atomically."""
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
        Of a panel.
    left, right, top, bottom
        Margins.
    gap
        Between panels.
    """

    rows: int
    columns: int
    width: float
    height: float
    left: float = 0.05
    right: float = 0.05
    top: float = 0.3
    bottom: float = 0.05
    gap: float = 0.05

    def __post_init__(self) -> None:
        self._size = (
            self.left + self.columns * (self.width + self.gap) - self.gap + self.right,
            self.top + self.rows * (self.height + self.gap) - self.gap + self.bottom,
        )
        self.figure = Figure(figsize=self._size)
        self.axes = [
            [
                self.inset(
                    self.left + j * (self.width + self.gap),
                    self.bottom + (self.rows - 1 - i) * (self.height + self.gap),
                    self.width,
                    self.height,
                )
                for j in range(self.columns)
            ]
            for i in range(self.rows)
        ]

    def inset(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes without ticks, with their lower left corner at (x, y)."""
        w, h = self._size
        axes = self.figure.add_axes((x / w, y / h, width / w, height / h))
        axes.set_axis_off()
        return axes

    @property
    def middle(self) -> float:
        """The horizontal middle of the figure."""
        return self._size[0] / 2

    def column_center(self, column: int) -> float:
        """Return the horizontal middle of a column."""
        return self.left + column * (self.width + self.gap) + self.width / 2

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
            middle = self.bottom + (self.rows - 1 - i) * (self.height + self.gap) + self.height / 2
            self.text(self.left / 2, middle, title, rotation=90)


def show_image(ax: Axes, image: npt.NDArray[Any], *, limits: tuple[float, float] | None = None) -> None:
    """Show an image (h, w) or (c, h, w): three channels in colour, else the first in grey.

    Parameters
    ----------
    ax
        Where.
    image
        Any range of intensities.
    limits
        The intensities that become black and white; by default all but the darkest and brightest half percent lie
        between.
    """
    channels = image if image.ndim == 3 else image[None]
    low, high = limits or (float(v) for v in np.percentile(channels, (0.5, 99.5)))
    scaled = np.clip((channels - low) / (high - low if high > low else 1.0), 0, 1)
    pixels = np.moveaxis(scaled, 0, -1) if len(channels) == 3 else scaled[0]
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    frame_axes(ax, channels.shape[1:])


def new_axes(width: float = 4.0, height: float = 4.0) -> Axes:
    """Return axes of a figure of their own, of a size in inches."""
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def plain_axes(ax: Axes) -> None:
    """Leave two sides of the frame, a light grid and small numbers."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92", linewidth=0.6)
    ax.tick_params(labelsize=8)


def log_axes(ax: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers at 1, 2 and 5."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def frame_axes(ax: Axes, grid: Sequence[int]) -> None:
    """Make axes show exactly the pixels of a grid (h, w), rows down, without ticks."""
    h, w = grid
    ax.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5), xticks=[], yticks=[], aspect="equal")


def caption(ax: Axes, text: str) -> None:
    """Write a few words into the upper left corner of a panel."""
    ax.text(
        0.025,
        0.975,
        text,
        transform=ax.transAxes,
        ha="left",
        va="top",
        color="white",
        path_effects=[withStroke(linewidth=1.6, foreground="black")],
        **{**_FONT, "fontsize": 7},
    )


def object_list(objects: Sequence[LandmarkObject] | None, m: int) -> Sequence[LandmarkObject]:
    """Return `objects`, or one of all m landmarks without order if there are none."""
    return objects if objects else (LandmarkObject("landmarks", tuple(range(m)), "points"),)


def draw_landmarks(
    ax: Axes,
    landmarks: npt.NDArray[np.float64],
    objects: Sequence[LandmarkObject],
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
        Where.
    landmarks
        Pixels, components in array-axis order.
    objects
        Groups of the landmarks.
    color
        Of all; by default each object has its own.
    line_style, line_width
        Of the contours.
    dots
        Whether to mark the landmarks themselves; objects without order are marked in any case.
    """
    for k, landmark_object in enumerate(objects):
        points = landmarks[list(landmark_object.indices)]
        own = color or OBJECT_COLORS[k % len(OBJECT_COLORS)]
        if landmark_object.kind != "points":
            curve = Polyline(points, landmark_object.kind == "closed").vertices
            ax.plot(curve[:, 1], curve[:, 0], line_style, color=own, linewidth=line_width)
        if dots or landmark_object.kind == "points":
            size = 1.1 if landmark_object.kind != "points" else 2.0
            ax.plot(points[:, 1], points[:, 0], "o", color=own, markersize=size, markeredgewidth=0)


def object_legend(panels: Panels, objects: Sequence[LandmarkObject], x: float, y: float) -> None:
    """Name the objects' colours in a line, or several if there are many, about (x, y) of the figure."""
    width, height = panels.figure.get_size_inches()
    handles = [
        Line2D(
            [],
            [],
            color=OBJECT_COLORS[k % len(OBJECT_COLORS)],
            linewidth=0 if each.kind == "points" else 2,
            marker="o" if each.kind == "points" else "",
            markersize=3,
            label=each.name.replace("_", " "),
        )
        for k, each in enumerate(objects)
    ]
    panels.figure.legend(
        handles=handles,
        loc="center",
        bbox_to_anchor=(x / width, y / height),
        ncols=max(1, min(len(handles), int(2 * min(x, width - x) / 1.2))),
        frameon=False,
        handlelength=1.0,
        columnspacing=1.0,
        prop={"size": _FONT["fontsize"], "family": _FONT["fontfamily"]},
    )


def literal(text: str) -> str:
    """Return text as matplotlib wants it where dollars start no formula."""
    return text.replace("$", r"\$")


def wrapped(text: str, width: int) -> str:
    """Return text that is no formula in lines of at most `width` characters."""
    return literal("\n".join(textwrap.fill(line, width) for line in text.splitlines()))
