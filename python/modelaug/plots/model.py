"""Plots of a cohort and of the model learned from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from modelaug import _checks
from modelaug.data.cohort import Cohort
from modelaug.locality.gaussian import GaussianModel
from modelaug.models.appearance import AppearanceModel
from modelaug.plots.figures import Panels, draw_landmarks, object_legend, show_image

_DEVIATIONS = (-2, -1, 0, 1, 2)


def plot_cohort(cohort: Cohort, *, limit: int = 24, columns: int | None = None) -> Figure:
    """Plot the images of a cohort with their landmarks, each object in its own colour.

    Parameters
    ----------
    cohort
        In 2D.
    limit
        Largest number of subjects; the first ones are shown.
    columns
        Images per row; chosen automatically by default.

    Returns
    -------
    Figure
    """
    n = min(len(cohort), _checks.integer("limit", limit, minimum=1))
    h, w = _plane_grid(cohort.grid)
    across = min(n, 8 if n > 12 else 4) if columns is None else _checks.integer("columns", columns, minimum=1)
    rows = -(-n // across)
    panels = Panels(rows, across, 1.5, 1.5 * h / w, top=0.05, bottom=0.32, gap=0.04)
    for i in range(n):
        ax = panels.axes[i // across][i % across]
        show_image(ax, cohort.images[i], cohort.names[i])
        draw_landmarks(ax, cohort.landmarks[i], cohort.objects)
    object_legend(panels, cohort.objects, panels.middle, 0.16)
    return panels.figure


def plot_modes(model: AppearanceModel, modes: int = 3) -> Figure:
    """Plot the mean and the first modes of shape and texture, from -2 to +2 standard deviations.

    Shape modes have the mean texture on the deformed landmarks, with the mean landmarks dotted in white; texture modes
    have their textures on the mean landmarks. The percentages are shares of the variance that the model keeps.

    Parameters
    ----------
    model
        In 2D.
    modes
        Largest number of modes of each kind.

    Returns
    -------
    Figure
    """
    h, w = _plane_grid(model.grid)
    count = _checks.integer("modes", modes, minimum=1)
    shape_modes, texture_modes = (min(count, len(part.variances)) for part in (model.shape, model.texture))
    panels = Panels(
        shape_modes + texture_modes, len(_DEVIATIONS), 1.6, 1.6 * h / w, left=0.5, top=0.28, bottom=0.32, gap=0.04
    )
    panels.title_columns(["mean" if k == 0 else f"{k:+d} sd".replace("-", "\N{MINUS SIGN}") for k in _DEVIATIONS])
    panels.title_rows(
        _row_titles("shape", model.shape, shape_modes) + _row_titles("texture", model.texture, texture_modes)
    )
    textures = [[_at_deviation(model.texture, k, t) for t in _DEVIATIONS] for k in range(texture_modes)]
    shown = slice(None) if model.channels == 3 else slice(1)
    channels = np.reshape(textures, (-1, model.channels, h, w))[:, shown]
    low, high = (float(v) for v in np.percentile(channels, (0.5, 99.5)))
    for i, row in enumerate(panels.axes):
        for j, ax in enumerate(row):
            landmarks, texture = model.reference, model.texture.mean
            if i < shape_modes:
                deformed = _at_deviation(model.shape, i, _DEVIATIONS[j]).reshape(landmarks.shape)
                landmarks = np.clip(deformed, 0, np.array(model.grid) - 1)
            else:
                texture = textures[i - shape_modes][j]
            show_image(ax, _render(model, landmarks, texture), limits=(low, high))
            if i < shape_modes:
                draw_landmarks(ax, model.reference, model.objects, color="white", line_style=":", dots=False)
            draw_landmarks(ax, landmarks, model.objects, dots=False)
    object_legend(panels, model.objects, panels.middle, 0.16)
    return panels.figure


def _plane_grid(grid: tuple[int, ...]) -> tuple[int, int]:
    if len(grid) != 2:
        raise ValueError(f"the images have the grid {grid}; pictures need images in the plane, pass a cohort of slices")
    return grid[0], grid[1]


def _row_titles(name: str, part: GaussianModel, count: int) -> list[str]:
    shares = part.variances / part.variances.sum()
    return [f"{name} mode {k + 1}\n{shares[k]:.0%}" for k in range(count)]


def _at_deviation(part: GaussianModel, mode: int, deviations: float) -> npt.NDArray[np.float64]:
    return np.asarray(part.mean + deviations * np.sqrt(part.variances[mode]) * part.basis[:, mode])


def _render(
    model: AppearanceModel, landmarks: npt.NDArray[np.float64], texture: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float32]:
    """Return a texture of the reference space, warped to given landmarks, (c, h, w)."""
    field = model.spline.displacement(landmarks, model.reference, model.grid).on_grid()
    low, high = (limits[:, None, None] for limits in model.intensities.T)
    image = np.clip(texture.reshape(model.channels, *model.grid), low, high).astype(np.float32)
    return model.render(image, field)
