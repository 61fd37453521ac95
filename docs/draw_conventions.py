"""Draw the pictures of docs/conventions.md: axis order, and where displacements point.

    python docs/draw_conventions.py

writes docs/images/axis_order.png and docs/images/direction.png.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelaug import AppearanceModel, PairOptions, PairSynthesizer, phantoms, warp, warp_points
from modelaug.plots import save_figure

IMAGES = Path(__file__).parent / "images"
FIXED, MOVING = "#d95f02", "#1b6ca8"


def _pixels(ax: Axes, image: np.ndarray, title: str) -> None:
    """Show an image with its pixels' borders and the numbers of rows and columns."""
    rows, columns = image.shape
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set_xticks(range(columns))
    ax.set_yticks(range(rows))
    ax.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="0.6", linewidth=0.6)
    ax.tick_params(which="both", length=0, labelsize=8)
    ax.set_xlabel("column: second axis, components [1]", fontsize=8)
    ax.set_ylabel("row: first axis, components [0]", fontsize=8)
    ax.set_title(title, fontsize=9)


def draw_axes() -> Figure:
    """Draw a point, and a displacement with the pixel it starts at and the pixel it shows."""
    figure = Figure(figsize=(9.6, 3.7), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    moving = np.full((6, 8), 225.0)
    moving[3, 6] = 60
    displacement = np.zeros((2, 6, 8))
    displacement[0], displacement[1] = 2, 4
    fixed = warp(moving, displacement)

    _pixels(left, np.full((6, 8), 225.0), "a point is (row, column) in pixels")
    left.plot([0, 5.5], [0, 3.25], "o", color="black", markersize=5)
    left.annotate("(0, 0): the centre\nof the first pixel", (0, 0), (0.9, 0.45), fontsize=8, va="center")
    left.annotate("(3.25, 5.5)", (5.5, 3.25), (4.6, 3.95), fontsize=8, va="center")

    _pixels(middle, fixed, "fixed: pixel (1, 2), displacement (2, 4)")
    _pixels(right, moving, "moving: pixel (3, 6)")
    arrow = {"arrowstyle": "-|>", "color": FIXED, "linewidth": 2}
    middle.annotate("", (6, 3), (2, 1), arrowprops=arrow)
    middle.plot(6, 3, "s", color=MOVING, markersize=13, fillstyle="none", markeredgewidth=2)
    middle.text(3.2, 3.6, "u[:, 1, 2] = (2, 4)", fontsize=8, color=FIXED, ha="center")
    right.plot(2, 1, "s", color=FIXED, markersize=13, fillstyle="none", markeredgewidth=2)
    right.plot(6, 3, "s", color=MOVING, markersize=13, fillstyle="none", markeredgewidth=2)
    right.text(3.5, 4.6, "fixed[1, 2] = moving[1 + 2, 2 + 4]", fontsize=8, color="black", ha="center")
    return figure


def draw_direction() -> Figure:
    """Draw a pair: arrows on the fixed image end where the moving image has the same thing."""
    model = AppearanceModel.fit(phantoms.heart(16, shape=(128, 128)))
    source = PairSynthesizer(model, options=PairOptions(texture="shared"))
    pair = max(
        map(source.draw, range(10)), key=lambda each: np.abs(each.landmarks_moving - each.landmarks_fixed).mean()
    )
    points = pair.landmarks_fixed[:40:4]
    ends = warp_points(points, pair.flow)
    steps = ends - points
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    images = (pair.fixed[0], pair.moving[0], warp(pair.moving, pair.flow)[0])
    titles = ("fixed, with u at points x", "moving, with x + u(x)", "moving pulled onto fixed: moving(x + u(x))")
    for ax, image, title in zip(panels, images, titles, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=250)
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
        ax.set_xlim(20, 105)
        ax.set_ylim(105, 20)
    panels[0].quiver(
        points[:, 1],
        points[:, 0],
        steps[:, 1],
        steps[:, 0],
        color=FIXED,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.008,
    )
    for ax, where, color in ((panels[0], points, FIXED), (panels[1], ends, MOVING), (panels[2], points, FIXED)):
        ax.plot(where[:, 1], where[:, 0], "o", color=color, markersize=4, markeredgecolor="white", markeredgewidth=0.5)
    return figure


def main() -> None:
    save_figure(draw_axes(), IMAGES / "axis_order.png", dpi=100)
    save_figure(draw_direction(), IMAGES / "direction.png", dpi=100)


if __name__ == "__main__":
    main()
