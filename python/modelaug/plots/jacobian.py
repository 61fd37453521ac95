"""Plots of the Jacobian determinant of displacement fields: expansion, compression and folds."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from modelaug import _checks
from modelaug.plots.figures import new_axes, show_pixels
from modelaug.plots.flow import plane_field
from modelaug.transforms.fields import jacobian_determinant

_MAP: Final = "RdBu_r"
# Bounds of the default limit, so that neither rounding nor a single voxel sets the scale.
_LEAST_LIMIT: Final = 0.1
_LARGEST_LIMIT: Final = 2.0


def determinant_limit(determinant: npt.NDArray[np.floating[Any]]) -> float:
    """Return the largest magnitude of the binary logarithm of a determinant (h, w) without folds, within [0.1, 2]."""
    positive = determinant[determinant > 0]
    extremes = np.array([positive.min(), positive.max()], dtype=np.float64) if positive.size else np.ones(1)
    return float(np.clip(np.abs(np.log2(extremes)).max(), _LEAST_LIMIT, _LARGEST_LIMIT))


def determinant_to_rgb(determinant: npt.NDArray[np.floating[Any]], limit: float) -> npt.NDArray[np.uint8]:
    """Convert a determinant (h, w) to colours (h, w, 3), see `jacobian_to_rgb`."""
    folded = determinant <= 0
    logs = np.log2(np.where(folded, 1.0, determinant), dtype=np.float32)
    table: npt.NDArray[np.uint8] = colormaps[_MAP](np.linspace(0, 1, 256), bytes=True)[:, :3]
    rgb = table[np.clip((logs / (2 * limit) + 0.5) * 256, 0, 255).astype(np.uint8)]
    rgb[folded] = 0
    return rgb


def jacobian_limit(displacement: npt.ArrayLike) -> float:
    """Return the `determinant_limit` of a displacement field (2, h, w)."""
    return determinant_limit(_determinant(displacement))


def jacobian_to_rgb(displacement: npt.ArrayLike, limit: float | None = None) -> npt.NDArray[np.uint8]:
    """Convert the Jacobian determinant det(I + grad u) of a field to colours.

    White is 1: areas are preserved. Red is more, where the moving image is compressed onto the fixed one; blue is less,
    where it is stretched. Black is 0 or less: the field folds.

    Parameters
    ----------
    displacement : array_like, (2, h, w)
        Pull displacement in pixels, components in array-axis order.
    limit
        Magnitude of the determinant's binary logarithm at full saturation, 1 for half and double; by default the
        largest, see `determinant_limit`.

    Returns
    -------
    ndarray, (h, w, 3), uint8
    """
    determinant = _determinant(displacement)
    scale = determinant_limit(determinant) if limit is None else _checks.number("limit", limit, above=0.0)
    return determinant_to_rgb(determinant, scale)


def plot_jacobian(displacement: npt.ArrayLike, *, limit: float | None = None, ax: Axes | None = None) -> Axes:
    """Plot the Jacobian determinant of a field. New axes have a colour bar.

    Parameters
    ----------
    displacement, limit
        As in `jacobian_to_rgb`.
    ax
        Axes to draw on; new ones if None.

    Returns
    -------
    Axes
    """
    scale = jacobian_limit(displacement) if limit is None else limit
    axes = show_pixels(ax or new_axes(4.6), jacobian_to_rgb(displacement, scale), interpolation="nearest")
    if ax is None:
        label_jacobian_bar(axes.get_figure(), scale, ax=axes, shrink=0.8)
    return axes


def label_jacobian_bar(figure: Any, limit: float, **where: Any) -> None:
    """Add a colour bar with ticks in determinants; `where` is as in matplotlib's ``Figure.colorbar``."""
    ticks = np.array([-limit, 0.0, limit])
    bar = figure.colorbar(ScalarMappable(Normalize(-limit, limit), _MAP), ticks=ticks, **where)
    bar.set_ticklabels([f"{2.0**tick:.3g}" for tick in ticks])
    bar.ax.tick_params(labelsize=7, length=2)


def _determinant(displacement: npt.ArrayLike) -> npt.NDArray[np.float32]:
    return jacobian_determinant(plane_field("displacement", displacement, dtype=np.float32))
