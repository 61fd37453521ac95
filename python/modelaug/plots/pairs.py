"""Plots of pairs, and of two images before and after registration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from modelaug import _checks
from modelaug._arrays import Image
from modelaug.data.cohort import LandmarkObject
from modelaug.plots.agreement import difference_limit, plot_checkerboard, plot_image_difference, scaled_channel
from modelaug.plots.figures import Panels, caption, draw_landmarks, object_legend, show_image, show_pixels
from modelaug.plots.flow import flow_radius, plot_color_wheel, plot_flow, plot_grid
from modelaug.plots.jacobian import jacobian_limit, label_jacobian_bar, plot_jacobian
from modelaug.synthesis import Pair
from modelaug.transforms.fields import invert
from modelaug.transforms.warping import warp, warp_points


def plot_pairs(
    pairs: Sequence[Pair], *, objects: Sequence[LandmarkObject] | None = None, max_radius: float | None = None
) -> Figure:
    """Plot pairs, one per row: fixed, moving, flow, warped grid, weight, and the moving image warped by the flow.

    The last panel has the fixed image's landmarks: where the flow is right, they are on the same anatomy as in the
    first panel.

    Parameters
    ----------
    pairs
        In 2D, at least one.
    objects
        Groups of the landmarks; without them landmarks are dots.
    max_radius
        Displacement in pixels of full saturation in all rows; by default the largest one of each row.

    Returns
    -------
    Figure
    """
    if len(pairs) == 0:
        raise ValueError("pairs is empty; pass at least one pair")
    if any(pair.flow.ndim != 3 for pair in pairs):
        raise ValueError(f"flow has shape {pairs[0].flow.shape}; pictures need single pairs in the plane")
    h, w = pairs[0].flow.shape[1:]
    objects = objects or None
    panels = Panels(len(pairs), 6, 1.6, 1.6 * h / w, top=0.28, bottom=0.75, gap=0.04)
    panels.title_columns(["fixed", "moving", "flow", "warped grid", "weight", "moving, warped by flow"])
    for row, pair in zip(panels.axes, pairs, strict=True):
        fixed, moving, flow, grid, weight, warped = row
        show_image(fixed, pair.fixed)
        show_image(moving, pair.moving)
        plot_flow(pair.flow, max_radius=max_radius, ax=flow)
        caption(flow, f"{max_radius or flow_radius(pair.flow):.3g} px")
        plot_grid(pair.flow, ax=grid, color="0.35")
        show_pixels(weight, pair.weight, cmap="magma", vmin=0, vmax=1)
        show_image(warped, warped_image(pair.moving, pair.flow))
        draw_landmarks(moving, pair.landmarks_moving, objects, dots=False)
        for ax in (fixed, grid, warped):
            draw_landmarks(ax, pair.landmarks_fixed, objects, dots=False)
        for ax, color in ((flow, "black"), (weight, "white")):
            draw_landmarks(ax, pair.landmarks_fixed, objects, color=color, line_width=0.6, dots=False)
    if objects:
        object_legend(panels, objects, (panels.column_center(0) + panels.column_center(1)) / 2, 0.4)
    color_legend(panels, 2, "number in\nthe panel")
    bar = panels.inset(panels.column_center(4) - 0.6, 0.45, 1.2, 0.1, ticks=True)
    weights = ScalarMappable(Normalize(0, 1), "magma")
    panels.figure.colorbar(weights, cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=7, length=2)
    return panels.figure


def plot_registration(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    displacement: npt.ArrayLike,
    *,
    landmarks_fixed: npt.NDArray[np.float64] | None = None,
    landmarks_moving: npt.NDArray[np.float64] | None = None,
    objects: Sequence[LandmarkObject] | None = None,
    checks: bool = False,
) -> Figure:
    """Plot two images before and after registration.

    Top row: the fixed image, the moving image, and the moving image warped. Second row: the fixed image in red over the
    moving one in cyan, before and after, grey where they agree; and the displacement in the Middlebury colours with the
    warped grid. Solid contours are the fixed image's landmarks, dashed ones the moving image's, warped with it.

    Parameters
    ----------
    fixed, moving : array_like, (h, w) or (c, h, w)
        Images; overlays show the first channel.
    displacement : array_like, (2, h, w)
        Pull displacement in pixels on the fixed grid, components in array-axis order.
    landmarks_fixed, landmarks_moving : ndarray, (m, 2), optional
        Landmarks of the two images in pixels.
    objects
        Groups of the landmarks; without them landmarks are dots.
    checks
        Whether to add two rows: checkerboards and differences of the images before and after, the Jacobian determinant
        (red where the moving image is compressed, blue where it is stretched, black where it folds), and the warped
        grid alone.

    Returns
    -------
    Figure
    """
    still, before = (
        _checks.finite(name, x, ndim=(2, 3), dtype=np.float32) for name, x in (("fixed", fixed), ("moving", moving))
    )
    field = _checks.finite("displacement", displacement, ndim=3, dtype=np.float32)
    after = warped_image(before, field)
    h, w = field.shape[1:]
    objects = objects or None
    panels = Panels(4 if checks else 2, 3, 2.7, 2.7 * h / w, top=0.05, bottom=0.75, gap=0.06)
    pulled = None if landmarks_moving is None else warp_points(landmarks_moving, invert(field))
    images = (
        ("fixed", still, landmarks_fixed),
        ("moving", before, landmarks_moving),
        ("moving, warped", after, pulled),
    )
    for ax, (name, image, points) in zip(panels.axes[0], images, strict=True):
        show_image(ax, image, name)
        if points is not None:
            draw_landmarks(ax, points, objects, dots=False)
    *overlays, flow = panels.axes[1]
    for ax, when, (_, image, landmarks) in zip(overlays, ("before", "after"), images[1:], strict=True):
        show_pixels(ax, overlay(still, image), when)
        for points, style in ((landmarks_fixed, "-"), (landmarks, "--")):
            if points is not None:
                draw_landmarks(ax, points, objects, line_style=style, dots=False)
    plot_flow(field, ax=flow)
    plot_grid(field, ax=flow, color="0.2")
    caption(flow, "displacement")
    if objects:
        object_legend(panels, objects, (panels.column_center(0) + panels.column_center(1)) / 2, 0.4)
    color_legend(panels, 2, f"{flow_radius(field):.3g} px")
    if checks:
        _show_checks(panels, still, before, after, field)
    return panels.figure


def _show_checks(panels: Panels, fixed: Image, before: Image, after: Image, field: Image) -> None:
    """Plot the third and the fourth row of a registration."""
    (*boards, jacobian), (*differences, grid) = panels.axes[2:]
    limit, largest = jacobian_limit(field), difference_limit(fixed, before)
    for k, (image, when) in enumerate(((before, "before"), (after, "after"))):
        caption(plot_checkerboard(fixed, image, ax=boards[k]), f"checkerboard {when}")
        caption(plot_image_difference(fixed, image, limit=largest, ax=differences[k]), f"difference {when}")
    caption(plot_jacobian(field, limit=limit, ax=jacobian), "Jacobian determinant")
    caption(plot_grid(field, ax=grid), "warped grid")
    bar = panels.inset(panels.column_center(2) + 0.55, 0.42, 0.7, 0.1, ticks=True)
    label_jacobian_bar(panels.figure, limit, cax=bar, orientation="horizontal")


def warped_image(moving: Image, displacement: Image) -> Image:
    """Return the moving image warped, with its smallest value beyond its border."""
    return np.asarray(warp(moving, displacement, border="constant", fill=float(moving.min())))


def overlay(fixed: Image, moving: Image) -> Image:
    """Return the first channels of two images as red and cyan, each scaled to its own range: (h, w, 3)."""
    red, cyan = scaled_channel(fixed), scaled_channel(moving)
    return np.stack([red, cyan, cyan], axis=-1)


def color_legend(panels: Panels, column: int, label: str) -> None:
    """Plot the wheel of the flow's colours below a column."""
    plot_color_wheel(label, ax=panels.inset(panels.column_center(column) - 0.55, 0.06, 0.6, 0.6))
