"""Networks that have learned affine motions undo them, and leave alone what has not moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

from modelaug.learning import PyramidNetwork, recommended_options, register, train
from modelaug.synthesis import Pair

REACH = 0.4  # radians, and logarithm of the zoom


class Turned:
    """Blobs that are turned and zoomed about the middle, evaluated where the map puts them."""

    def __init__(self, grid: tuple[int, ...]) -> None:
        self.grid = grid

    def make(self, angle: float, zoom: float, seed: int) -> Pair:
        rng = np.random.Generator(np.random.Philox(key=seed))
        d, middle = len(self.grid), (np.array(self.grid) - 1) / 2
        centres = rng.uniform(0, 1, (8 * d, d)) * self.grid
        heights, widths = rng.choice([-1.0, 1.0], 8 * d), rng.uniform(2.5, 4, 8 * d)
        turn = np.eye(d)
        turn[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix = np.exp(zoom) * turn
        x = np.moveaxis(np.indices(self.grid), 0, -1) - middle
        partner = x @ matrix.T  # of the fixed image's voxels, in the moving image

        def image(at: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
            total = np.zeros(self.grid)
            for centre, height, width in zip(centres - middle, heights, widths, strict=True):
                total += height * np.exp(-((at - centre) ** 2).sum(-1) / (2 * width**2))
            return total[None].astype(np.float32)

        return Pair(
            fixed=image(partner),
            moving=image(x),
            flow=np.moveaxis(partner - x, -1, 0).astype(np.float32),
            weight=np.ones(self.grid, np.float32),
            landmarks_fixed=centres,
            landmarks_moving=centres,
        )

    def draw(self, index: int) -> Pair:
        rng = np.random.Generator(np.random.Philox(key=9, counter=[0, 0, 0, index]))
        angle, zoom = rng.uniform(-REACH, REACH, 2)
        return self.make(angle, zoom, index)


# In so small a volume few voxels move by more than one, so that little of it is undone in so few steps.
@pytest.mark.parametrize(
    ("grid", "steps", "left"), [((40, 40), 250, 0.5), ((16, 16, 16), 350, 0.85)], ids=["plane", "space"]
)
def test_rotations_and_zooms_are_undone(grid: tuple[int, ...], steps: int, left: float, tmp_path: Path) -> None:
    source, batch = Turned(grid), 4 if len(grid) == 2 else 2
    network = PyramidNetwork(len(grid), width=0.5, levels=3, radius=2 if len(grid) == 2 else 1)
    options = recommended_options(
        steps, batch_size=batch, seed=0, learning_rate=4e-3, validation_pairs=4, validate_every=steps
    )
    train(source, network=network, options=options, out=tmp_path, threads=1, progress=False)
    inner = (slice(None), *(slice(n // 5, n - n // 5) for n in grid))
    errors, sizes = [], []
    for k, (angle, zoom) in enumerate([(0.35, 0), (-0.35, 0), (0, 0.35), (0, -0.35), (0.25, 0.25)]):
        pair = source.make(angle, zoom, 2**40 + k)
        u = register(network, pair.fixed, pair.moving)
        errors.append(np.linalg.norm((u - pair.flow)[inner], axis=0).mean())
        sizes.append(np.linalg.norm(pair.flow[inner], axis=0).mean())
        still = register(network, pair.fixed, pair.fixed)
        assert np.linalg.norm(still[inner], axis=0).mean() < 0.35 * sizes[-1]
    assert np.mean(errors) < left * np.mean(sizes)
