"""The picture of two images before and after registration; of volumes, of one plane."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from modelaug._arrays import Field, Image
from modelaug.cli._pictures import Pair, leads_inside
from modelaug.plots import plot_registration
from modelaug.plots.figures import Panels, caption, show_image, show_pixels
from modelaug.plots.flow import flow_radius, plot_flow, plot_grid
from modelaug.plots.pairs import color_legend, overlay, warped_image


def draw(pair: Pair, displacement: Field, in_space: Field) -> Figure:
    """Draw two images before and after registration, as `modelaug.plots.plot_registration` does.

    Of volumes it shows a plane across the first axis: the mean plane of the voxels that lie in the moving image before
    and after, weighted by their displacements. The moving image is shown where it lies in space.

    Parameters
    ----------
    pair
        The images.
    displacement : ndarray, (d, *grid)
        In voxels from the fixed image to the moving one.
    in_space : ndarray, (d, *grid)
        The same in voxels of the fixed image.
    """
    moving = pair.moving.image
    in_place = pair.in_place()
    if pair.fixed.ndim == 2:
        shown = moving if pair.moving_geometry is None else warped_image(moving, in_place)
        return plot_registration(pair.fixed.image, shown, in_space)
    k = _middle(pair, displacement, in_place, in_space)
    before, after = (warped_image(moving, _plane(field, k))[..., 0, :, :] for field in (in_place, displacement))
    name = f"plane {k} of {len(in_space[0])}"
    return _of_plane(pair.fixed.image[..., k, :, :], before, after, in_space[1:, k], name)


def _middle(pair: Pair, displacement: Field, in_place: Field, in_space: Field) -> int:
    """Return the mean plane of the voxels weighted by their displacements; the middle plane if nothing moves."""
    weights = np.sqrt(np.square(in_space * pair.spacing.reshape(-1, 1, 1, 1)).sum(axis=0))
    for field in (in_place, displacement):
        weights[~leads_inside(field, pair.moving.grid)] = 0
    per_plane = weights.sum(axis=(1, 2))
    planes = np.arange(len(per_plane))
    return int(np.average(planes, weights=per_plane if per_plane.any() else None) + 0.5)


def _plane(field: Field, k: int) -> Field:
    """Return the displacement (3, 1, h, w) of plane k alone."""
    plane = field[:, k : k + 1].copy()
    plane[0] += k
    return plane


def _of_plane(fixed: Image, before: Image, after: Image, displacement: Field, name: str) -> Figure:
    """Show a plane of volumes, to which the warped image may come from other planes."""
    h, w = displacement.shape[1:]
    panels = Panels(2, 3, 2.7, 2.7 * h / w, top=0.05, bottom=0.75, gap=0.06)
    above, below = panels.axes
    for ax, image, words in zip(above, (fixed, before, after), ("fixed", "moving", "moving, warped"), strict=True):
        show_image(ax, image, f"{words}, {name}" if image is fixed else words)
    for ax, image, words in zip(below, (before, after), ("before", "after"), strict=False):
        show_pixels(ax, overlay(fixed, image), words)
    plot_flow(displacement, ax=below[2])
    plot_grid(displacement, ax=below[2], color="0.2")
    caption(below[2], "displacement in the plane")
    color_legend(panels, 2, f"{flow_radius(displacement):.3g} px")
    return panels.figure
