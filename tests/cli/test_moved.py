"""Label maps that a displacement moves: the nearest voxel's label, and 0 where it leads beyond the map."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("typer")

from modelaug.cli._moved import warp_labels


@pytest.mark.parametrize("grid", [(12, 15), (7, 9, 8)])
def test_labels_are_the_nearest_ones_and_0_beyond(grid: tuple[int, ...]) -> None:
    rng = np.random.Generator(np.random.Philox(len(grid)))
    labels = rng.integers(1, 200, size=grid).astype(np.uint8)
    u = rng.uniform(-4, 4, size=(len(grid), *grid)).astype(np.float32)
    found = warp_labels(labels, u, 1)
    assert found.dtype == labels.dtype
    last = np.array(grid) - 1
    for index in np.ndindex(*grid):
        at = np.array(index) + u[(slice(None), *index)]
        if np.abs(at - np.floor(at) - 0.5).min() < 1e-3 or np.abs(np.concatenate([at, at - last])).min() < 1e-2:
            continue  # halfway, or on the border
        inside = (at >= 0).all() and (at <= last).all()
        assert found[index] == (labels[tuple(np.rint(at).astype(int))] if inside else 0)
    assert (found == 0).mean() > 0.1
