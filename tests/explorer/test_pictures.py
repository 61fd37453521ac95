"""What the explorer shows of a pair, against scipy and matplotlib's own lines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("contourpy")
pytest.importorskip("matplotlib")

from modelaug import PairSynthesizer
from modelaug.explorer.pictures import pictures
from modelaug.plots.flow import grid_cell, grid_lines
from tests.examples import heart_model


def test_panels_show_what_they_say() -> None:
    model = heart_model()
    pair = PairSynthesizer(model, seed=2).draw(1)
    low, high = float(pair.moving.min()), float(pair.moving.max())
    shown = pictures(pair, model.objects, (low, high)).images
    at = np.indices(pair.flow.shape[1:]) + pair.flow
    warped = ndimage.map_coordinates(pair.moving[0], at, order=1, mode="constant", cval=float(pair.moving[0].min()))

    def grey(image: np.ndarray, black: float, white: float) -> np.ndarray:
        return np.clip((image - black) / (white - black), 0, 1) * 255

    for name, expected in (
        ("fixed", grey(pair.fixed[0], low, high)),
        ("moving", grey(pair.moving[0], low, high)),
        ("moving, warped by flow", grey(warped, low, high)),
        ("fixed minus warped", grey(pair.fixed[0] - warped, low - high, high - low)),
    ):
        inside = ((at >= 0) & (at <= np.array(warped.shape).reshape(2, 1, 1) - 1)).all(axis=0)
        assert np.abs(shown[name][..., 0].astype(float) - expected)[inside].max() <= 1.5, name
    assert np.abs(warped - pair.moving[0])[inside].max() > 0.2 * (high - low)


def test_lines_of_the_grid_are_where_coordinates_are_multiples() -> None:
    """Of a field that shears rows along columns: lines as (row, column), on them a coordinate of x + u(x) is whole."""
    grid = (30, 44)
    rows, columns = np.indices(grid).astype(float)
    u = np.stack([0.2 * columns, 0.1 * rows])
    rows, columns = grid_lines(u, grid_cell(grid, 11))
    lines = rows + columns
    assert len(lines) >= 15
    for line in lines:
        r, c = line.T
        assert (r <= grid[0] - 1).all()
        target = np.stack([r + 0.2 * c, c + 0.1 * r])
        off = np.abs(target / 4 - np.rint(target / 4)).max(axis=1)
        assert off.min() < 1e-6
