"""Plots of test pairs before and after registration by several methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from modelaug._arrays import Image
from modelaug.data.cohort import Cohort, LandmarkObject
from modelaug.evaluation.examples import Example
from modelaug.plots.figures import (
    Panels,
    caption,
    draw_landmarks,
    literal,
    object_legend,
    show_image,
    show_pixels,
    wrapped,
)
from modelaug.plots.flow import flow_radius, plot_color_wheel, plot_flow, plot_grid
from modelaug.plots.pairs import overlay, warped_image
from modelaug.transforms.fields import invert, jacobian_determinant
from modelaug.transforms.warping import warp, warp_points

_AGREE: Final = (0.10, 0.62, 0.47)
_DIFFER: Final = (0.90, 0.32, 0.05)


def plot_examples(cohort: Cohort, examples: Sequence[Example], *, notes: Sequence[str] | None = None) -> Figure:
    """Plot test pairs before registration, and after registration by each method.

    A pair's first row has the fixed image, the moving image, their overlay (fixed in red, moving in cyan, grey where
    they agree), and the agreement of their labels. The row of a method has the moving image warped, the displacement in
    the Middlebury colours with its largest length, the same overlays after registration, and the warped grid, red where
    it folds. Solid contours are the fixed image's, dashed ones the moving image's, warped with it. Panels of labels are
    left out if the cohort has none.

    Parameters
    ----------
    cohort
        In 2D.
    examples
        At least one. Examples of a pair are in consecutive rows and share the scale of the flow's colours.
    notes
        A few words per example, below the name of its method.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no example, or the cohort is not in the plane.
    """
    if len(examples) == 0:
        raise ValueError("examples is empty; pass at least one registered pair")
    if len(cohort.grid) != 2:
        raise ValueError(f"the images have the grid {cohort.grid}; pictures need images in the plane")
    groups: dict[tuple[int, int, int], list[tuple[Example, str]]] = {}
    for example, note in zip(examples, notes or [""] * len(examples), strict=True):
        groups.setdefault((example.fold, example.fixed, example.moving), []).append((example, note))
    h, w = cohort.grid
    contours = [each for each in cohort.objects if each.kind != "points"]
    rows, columns, bottom = len(examples) + len(groups), 4 + (cohort.labels is not None), 0.34 if contours else 0.05
    panels = Panels(rows, columns, 1.6, 1.6 * h / w, left=1.3, top=0.05, bottom=bottom, gap=0.05)
    numbers = iter(range(rows))
    for group in groups.values():
        radius = max(flow_radius(each.displacement) for each, _ in group)
        _draw_before(panels, next(numbers), cohort, group[0][0], contours, radius)
        for example, note in group:
            row = next(numbers)
            _draw_after(panels.axes[row], cohort, example, contours, radius)
            _name_row(panels, row, example.method, note)
    if contours:
        object_legend(panels, contours, panels.middle, 0.17)
    return panels.figure


def _draw_before(
    panels: Panels, row: int, cohort: Cohort, example: Example, contours: Sequence[LandmarkObject], radius: float
) -> None:
    fixed, moving, *others, _ = panels.axes[row]
    i, j = example.fixed, example.moving
    show_image(fixed, cohort.images[i], f"fixed: {literal(cohort.names[i])}")
    show_image(moving, cohort.images[j], f"moving: {literal(cohort.names[j])}")
    for ax in (fixed, moving):
        draw_landmarks(ax, cohort.landmarks[i], contours, dots=False)
    draw_landmarks(moving, cohort.landmarks[j], contours, line_style="--", dots=False)
    labels = None if cohort.labels is None else cohort.labels[j]
    _draw_agreement(others, cohort, i, cohort.images[j], labels, "before")
    _draw_legend(panels, row, radius, bool(contours), cohort.labels is not None)


def _draw_after(
    axes: Sequence[Axes], cohort: Cohort, example: Example, contours: Sequence[LandmarkObject], radius: float
) -> None:
    moving, flow, *others, grid = axes
    i, j, field = example.fixed, example.moving, example.displacement
    warped = warped_image(cohort.images[j], field)
    show_image(moving, warped, "moving, warped")
    moved = warp_points(cohort.landmarks[j], invert(field))
    draw_landmarks(moving, cohort.landmarks[i], contours, dots=False)
    draw_landmarks(moving, moved, contours, line_style="--", dots=False)
    caption(plot_flow(field, max_radius=radius or None, ax=flow), f"up to {flow_radius(field):.3g} px")
    draw_landmarks(flow, cohort.landmarks[i], contours, color="black", line_width=0.5, dots=False)
    labels = None if cohort.labels is None else warp(cohort.labels[j], field, order=0, border="constant")
    _draw_agreement(others, cohort, i, warped, labels, "after")
    folded = jacobian_determinant(field) <= 0
    tint = np.dstack([*np.broadcast_to(np.array(_DIFFER)[:, None, None], (3, *folded.shape)), folded])
    text = f"{folded.mean():.2%} folded" if folded.any() else ""
    show_pixels(plot_grid(field, ax=grid, color="0.35"), tint, text, interpolation=None)
    draw_landmarks(grid, cohort.landmarks[i], contours, dots=False)


def _draw_agreement(
    axes: Sequence[Axes], cohort: Cohort, i: int, image: Image, labels: npt.NDArray[Any] | None, when: str
) -> None:
    """Plot the overlay of the fixed image i and another one, and the agreement of their labels if there are any."""
    show_pixels(axes[0], overlay(cohort.images[i], image), f"overlay {when}")
    if labels is None or cohort.labels is None:
        return
    show_image(axes[1], cohort.images[i][:1])
    tint = np.zeros((*cohort.grid, 4))
    fixed = cohort.labels[i]
    tint[(fixed == labels) & (fixed != 0)] = (*_AGREE, 0.5)
    tint[fixed != labels] = (*_DIFFER, 0.8)
    show_pixels(axes[1], tint, f"labels {when}", interpolation="nearest")


def _draw_legend(panels: Panels, row: int, radius: float, contours: bool, labels: bool) -> None:
    """Explain flow colours, line styles and tints in the last panel of a row."""
    patches: dict[str, Any] = {"fixed image alone": "red", "moving image alone": "cyan"}
    patches |= {"labels agree": _AGREE, "labels differ, folds": _DIFFER} if labels else {"folds": _DIFFER}
    lines: dict[str, Any] = {"contour of fixed": "-", "contour of moving": "--"} if contours else {}
    handles: list[Any] = [Patch(color=color, label=label) for label, color in patches.items()]
    handles += [
        Line2D([], [], color="0.3", linewidth=1.2, linestyle=style, label=label) for label, style in lines.items()
    ]
    ax = panels.axes[row][-1]
    ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.0), frameon=False, fontsize=7, handlelength=1.4,
        borderaxespad=0.2, labelspacing=0.35,
    )  # fmt: skip
    plot_color_wheel(f"{radius:.3g} px", ax=ax.inset_axes((0.03, 0.66, 0.32, 0.32)))


def _name_row(panels: Panels, row: int, name: str, note: str) -> None:
    middle = panels.bottom + (panels.rows - row - 0.5) * (panels.height + panels.gap)
    x = panels.left - 0.1
    panels.text(x, middle + 0.02, wrapped(name, 18), ha="right", va="bottom" if note else "center", weight="bold")
    panels.text(x, middle - 0.02, wrapped(note, 22), ha="right", va="top", color="0.35", fontsize=7.5)
