"""Pictures of pairs, and of two images before and after registration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from modelaug import _checks
from modelaug.data.cohort import LandmarkObject
from modelaug.plots.agreement import difference_limit, plot_checkerboard, plot_image_difference, scaled_channel
from modelaug.plots.figures import Panels, caption, draw_landmarks, frame_axes, object_legend, object_list, show_image
from modelaug.plots.flow import flow_radius, plot_color_wheel, plot_flow, plot_grid
from modelaug.plots.jacobian import jacobian_limit, label_jacobian_bar, plot_jacobian
from modelaug.synthesis import Pair
from modelaug.transforms.fields import invert
from modelaug.transforms.warping import warp, warp_points


def plot_pairs(
    pairs: Sequence[Pair], *, objects: Sequence[LandmarkObject] | None = None, max_radius: float | None = None
) -> Figure:
    """Show pairs, one per row: fixed, moving, flow, warped grid, weight, and the moving image warped by the flow.

    All rows share the scale of the flow's colours. The last panel has the fixed image's landmarks on it: where the flow
    is right, they lie on the same anatomy as in the first.

    Parameters
    ----------
    pairs
        In 2D, at least one.
    objects
        Groups of the landmarks; without them landmarks are dots.
    max_radius
        Displacement in pixels that is fully saturated, the same in all rows; by default each row's own largest.

    Returns
    -------
    Figure
    """
    if len(pairs) == 0:
        raise ValueError("pairs is empty; pass at least one pair")
    if any(pair.flow.ndim != 3 for pair in pairs):
        raise ValueError(f"flow has shape {pairs[0].flow.shape}; pictures need single pairs in the plane")
    h, w = pairs[0].flow.shape[1:]
    groups = object_list(objects, len(pairs[0].landmarks_fixed))
    panels = Panels(len(pairs), 6, 1.6, 1.6 * h / w, top=0.28, bottom=0.75, gap=0.04)
    panels.title_columns(["fixed", "moving", "flow", "warped grid", "weight", "moving, warped by flow"])
    for row, pair in zip(panels.axes, pairs, strict=True):
        warped = warped_image(pair.moving, pair.flow)
        for ax, image, landmarks in (
            (row[0], pair.fixed, pair.landmarks_fixed),
            (row[1], pair.moving, pair.landmarks_moving),
            (row[5], warped, pair.landmarks_fixed),
        ):
            show_image(ax, image)
            draw_landmarks(ax, landmarks, groups, dots=False)
        plot_flow(pair.flow, max_radius=max_radius, ax=row[2])
        caption(row[2], f"{max_radius or flow_radius(pair.flow):.3g} px")
        draw_landmarks(row[2], pair.landmarks_fixed, groups, color="black", line_width=0.6, dots=False)
        plot_grid(pair.flow, ax=row[3], color="0.35")
        draw_landmarks(row[3], pair.landmarks_fixed, groups, dots=False)
        row[4].imshow(pair.weight, cmap="magma", vmin=0, vmax=1, interpolation="bilinear")
        frame_axes(row[4], (h, w))
        draw_landmarks(row[4], pair.landmarks_fixed, groups, color="white", line_width=0.6, dots=False)
    if objects:
        object_legend(panels, groups, (panels.column_center(0) + panels.column_center(1)) / 2, 0.4)
    color_legend(panels, 2, "number in\nthe panel")
    bar = panels.inset(panels.column_center(4) - 0.6, 0.45, 1.2, 0.1)
    bar.set_axis_on()
    panels.figure.colorbar(
        ScalarMappable(Normalize(0, 1), "magma"), cax=bar, orientation="horizontal", ticks=[0, 0.5, 1]
    )
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
    """Show two images before and after registration.

    Above: the fixed image, the moving image, and the moving image warped. Below: the fixed image in red over the moving
    one in cyan, before and after, grey where they agree; and the displacement in the Middlebury colours with the warped
    grid. Solid contours are the fixed image's landmarks, dashed ones the moving image's, moved along with it.

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
        grid by itself.

    Returns
    -------
    Figure
    """
    images = [
        _checks.finite(name, x, ndim=(2, 3), dtype=np.float32) for name, x in (("fixed", fixed), ("moving", moving))
    ]
    field = _checks.finite("displacement", displacement, ndim=3, dtype=np.float32)
    warped = warped_image(images[1], field)
    h, w = field.shape[1:]
    panels = Panels(4 if checks else 2, 3, 2.7, 2.7 * h / w, top=0.05, bottom=0.75, gap=0.06)
    (first, second, third), (before, after, flow) = panels.axes[:2]
    _show(first, images[0], "fixed", landmarks_fixed, objects)
    _show(second, images[1], "moving", landmarks_moving, objects)
    pulled = None if landmarks_moving is None else warp_points(landmarks_moving, invert(field))
    _show(third, warped, "moving, warped", pulled, objects)
    for ax, image, name, landmarks in (
        (before, images[1], "before", landmarks_moving),
        (after, warped, "after", pulled),
    ):
        ax.imshow(overlay(images[0], image), interpolation="bilinear")
        frame_axes(ax, (h, w))
        caption(ax, name)
        for points, style in ((landmarks_fixed, "-"), (landmarks, "--")):
            if points is not None:
                draw_landmarks(ax, points, object_list(objects, len(points)), line_style=style, dots=False)
    plot_flow(field, ax=flow)
    plot_grid(field, ax=flow, color="0.2")
    caption(flow, "displacement")
    if objects:
        object_legend(panels, objects, (panels.column_center(0) + panels.column_center(1)) / 2, 0.4)
    color_legend(panels, 2, f"{flow_radius(field):.3g} px")
    if checks:
        _show_checks(panels, images[0], images[1], warped, field)
    return panels.figure


def _show_checks(
    panels: Panels,
    fixed: npt.NDArray[np.float32],
    moving: npt.NDArray[np.float32],
    warped: npt.NDArray[np.float32],
    field: npt.NDArray[np.float32],
) -> None:
    """Fill the third and the fourth row of a registration."""
    (board_before, board_after, jacobian), (before, after, grid) = panels.axes[2:]
    limit, largest = jacobian_limit(field), difference_limit(fixed, moving)
    for board, difference, image, name in (
        (board_before, before, moving, "before"),
        (board_after, after, warped, "after"),
    ):
        plot_checkerboard(fixed, image, ax=board)
        caption(board, f"checkerboard {name}")
        plot_image_difference(fixed, image, limit=largest, ax=difference)
        caption(difference, f"difference {name}")
    plot_jacobian(field, limit=limit, ax=jacobian)
    caption(jacobian, "Jacobian determinant")
    plot_grid(field, ax=grid)
    caption(grid, "warped grid")
    bar = panels.inset(panels.column_center(2) + 0.55, 0.42, 0.7, 0.1)
    bar.set_axis_on()
    label_jacobian_bar(panels.figure, limit, cax=bar, orientation="horizontal")


def warped_image(moving: npt.NDArray[np.float32], displacement: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the moving image warped, dark where it does not reach."""
    result: npt.NDArray[np.float32] = warp(moving, displacement, border="constant", fill=float(moving.min()))
    return result


def _show(
    ax: Axes,
    image: npt.NDArray[np.float32],
    name: str,
    landmarks: npt.NDArray[np.float64] | None,
    objects: Sequence[LandmarkObject] | None,
) -> None:
    show_image(ax, image)
    caption(ax, name)
    if landmarks is not None:
        draw_landmarks(ax, landmarks, object_list(objects, len(landmarks)), dots=False)


def overlay(fixed: npt.NDArray[np.float32], moving: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the first channels of two images as red and as green and blue, each scaled to its own range: (h, w, 3)."""
    red, cyan = scaled_channel(fixed), scaled_channel(moving)
    return np.stack([red, cyan, cyan], axis=-1)


def color_legend(panels: Panels, column: int, label: str) -> None:
    """Show the wheel of the flow's colours below a column."""
    plot_color_wheel(label, ax=panels.inset(panels.column_center(column) - 0.55, 0.06, 0.6, 0.6))
