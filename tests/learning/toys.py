"""Sources of pairs whose truth is known in closed form, and a thing that must never be unpickled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelaug.synthesis import Pair, stack_pairs


class Translations:
    """Sums of Gaussian blobs, evaluated where a random translation puts them: no interpolation in the images."""

    def __init__(self, grid: tuple[int, int] = (64, 64), *, reach: float = 6.0, seed: int = 0) -> None:
        self.grid, self.reach, self.seed = grid, reach, seed

    def draw(self, index: int) -> Pair:
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, index]))
        shift = rng.uniform(-self.reach, self.reach, size=2)
        centres = rng.uniform(size=(12, 2)) * self.grid
        heights, widths = rng.normal(size=12), rng.uniform(4, 8, size=12)

        def image(offset: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
            # A Gaussian is the product of its profiles along the axes.
            rows, columns = (
                np.exp(-((np.arange(n)[:, None] - at - o) ** 2) / (2 * widths**2))
                for n, at, o in zip(self.grid, centres.T, offset, strict=True)
            )
            return ((rows * heights) @ columns.T)[None].astype(np.float32)

        return Pair(
            fixed=image(np.zeros(2)),
            moving=image(shift),
            flow=np.broadcast_to(shift[:, None, None], (2, *self.grid)).astype(np.float32),
            weight=np.ones(self.grid, dtype=np.float32),
            landmarks_fixed=centres,
            landmarks_moving=centres + shift,
            labels_fixed=np.full(self.grid, index % 7, dtype=np.uint16),
            info={"index": index},
        )


class Batched(Translations):
    """The same with a ``batch`` of its own; remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__((8, 8))
        self.requests: list[tuple[tuple[int, ...], int | None]] = []

    def batch(self, indices: Sequence[int], threads: int | None = None) -> Pair:
        self.requests.append((tuple(indices), threads))
        return stack_pairs([self.draw(i) for i in indices])


class Interrupted(Translations):
    """The same until pair `limit` is drawn, when `interruption` is called."""

    def __init__(self, limit: int, interruption: Callable[[], object], grid: tuple[int, int] = (64, 64)) -> None:
        super().__init__(grid)
        self.limit, self.interruption = limit, interruption

    def draw(self, index: int) -> Pair:
        if index == self.limit:
            self.interruption()
        return super().draw(index)


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)
