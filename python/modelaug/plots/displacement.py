"""Plot of a displacement field."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from modelaug import _checks
from modelaug.plots.figures import Panels, caption
from modelaug.plots.flow import flow_radius, plot_flow, plot_grid
from modelaug.plots.jacobian import jacobian_limit, label_jacobian_bar, plot_jacobian
from modelaug.plots.pairs import color_legend


def plot_displacement(displacement: npt.ArrayLike) -> Figure:
    """Plot a displacement field in the Middlebury colours, as a warped grid, and its Jacobian determinant.

    Parameters
    ----------
    displacement : array_like, (2, h, w)
        Pull displacement in pixels, components in array-axis order.

    Returns
    -------
    Figure
    """
    field = _checks.finite("displacement", displacement, ndim=3, dtype=np.float32)
    limit = jacobian_limit(field)
    h, w = field.shape[1:]
    panels = Panels(1, 3, 2.7, 2.7 * h / w, top=0.05, bottom=0.75, gap=0.06)
    flow, grid, jacobian = panels.axes[0]
    plot_flow(field, ax=flow)
    plot_grid(field, ax=grid)
    plot_jacobian(field, limit=limit, ax=jacobian)
    for ax, name in ((flow, "displacement"), (grid, "warped grid"), (jacobian, "Jacobian determinant")):
        caption(ax, name)
    color_legend(panels, 0, f"{flow_radius(field):.3g} px")
    bar = panels.inset(panels.column_center(2) - 0.6, 0.42, 1.2, 0.1, ticks=True)
    label_jacobian_bar(panels.figure, limit, cax=bar, orientation="horizontal")
    return panels.figure
