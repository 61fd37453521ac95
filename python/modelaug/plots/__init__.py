"""Plots of cohorts, models, pairs, registrations, trainings and comparisons.

Needs matplotlib, installed by ``pip install modelaug[plot]``. No function touches matplotlib's global state or opens a
window: figures are returned, to be shown by a notebook or written by `save_figure`. Rows point down and columns to the
right, as in the arrays.
"""

from __future__ import annotations

from modelaug.plots.agreement import plot_checkerboard, plot_image_difference
from modelaug.plots.comparison import plot_curves, plot_differences, plot_scores
from modelaug.plots.displacement import plot_displacement
from modelaug.plots.examples import plot_examples
from modelaug.plots.figures import save_figure
from modelaug.plots.flow import flow_to_rgb, plot_color_wheel, plot_flow, plot_grid
from modelaug.plots.jacobian import jacobian_to_rgb, plot_jacobian
from modelaug.plots.learning_curve import learning_curves, plot_learning_curve
from modelaug.plots.model import plot_cohort, plot_modes
from modelaug.plots.pairs import plot_pairs, plot_registration
from modelaug.plots.training import plot_losses

__all__ = [
    "flow_to_rgb",
    "jacobian_to_rgb",
    "learning_curves",
    "plot_checkerboard",
    "plot_cohort",
    "plot_color_wheel",
    "plot_curves",
    "plot_differences",
    "plot_displacement",
    "plot_examples",
    "plot_flow",
    "plot_grid",
    "plot_image_difference",
    "plot_jacobian",
    "plot_learning_curve",
    "plot_losses",
    "plot_modes",
    "plot_pairs",
    "plot_registration",
    "plot_scores",
    "save_figure",
]
