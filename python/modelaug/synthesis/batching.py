"""Base of sources of pairs: single pairs, or batches that several threads draw into the caller's arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any, ClassVar

import numpy as np

from modelaug import _checks
from modelaug.synthesis.pairs import Layout, Pair, PairInfo, stack_infos


class BatchedSource(ABC):
    """Base class of an `InPlaceSource`.

    A subclass defines `layout`, the shapes and types of a pair's arrays, and ``_fill``, which draws a pair into them: a
    pure function of the index, and safe to call from several threads.
    """

    _origin: ClassVar[str] = "source"  # attribute that pairs are drawn from, in messages, too

    @abstractmethod
    def layout(self) -> Layout:
        """Return the shape and type of each array of a pair, by its name in `Pair`."""

    @abstractmethod
    def _fill(self, index: int, out: Pair) -> PairInfo:
        """Draw pair `index` into arrays and return its info."""

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Millimetres per voxel along each axis, in array-axis order; None for pairs without a physical size."""
        origin = getattr(self, self._origin, None)
        return None if origin is None else tuple(float(each) for each in origin.spacing)

    def draw(self, index: int) -> Pair:
        """Return pair `index`."""
        pair = self._empty(())
        return replace(pair, info=self._fill(index, pair))

    def batch(self, indices: Sequence[int], threads: int | None = None, out: Pair | None = None) -> Pair:
        """Return the pairs at `indices`, stacked, with the same bits as one by one.

        Parameters
        ----------
        indices
            Non-negative integers.
        threads
            Number of pairs to draw at the same time; None means all cores.
        out
            Stacked pairs to fill, as from `empty`, for example in page-locked memory; new arrays by default.
        """
        if not hasattr(indices, "__len__") or not hasattr(indices, "__getitem__"):
            raise TypeError(f"indices is {indices!r}; pass a sequence of integers")
        if len(indices) == 0:
            raise ValueError("indices is empty; name at least one pair")
        count = min(_checks.thread_count(threads), len(indices))
        pairs = self.empty(len(indices)) if out is None else self._checked(out, len(indices))
        slots = [_slot(pairs, i) for i in range(len(indices))]
        if count == 1:
            infos = [self._fill(index, slot) for index, slot in zip(indices, slots, strict=True)]
        else:
            with ThreadPoolExecutor(count) as pool:
                infos = list(pool.map(self._fill, indices, slots))
        return replace(pairs, info=stack_infos(infos))

    def empty(self, count: int) -> Pair:
        """Return `count` stacked pairs of uninitialized arrays, for `batch` to fill."""
        return self._empty((_checks.integer("count", count, minimum=1),))

    def _empty(self, leading: tuple[int, ...]) -> Pair:
        arrays: dict[str, Any] = {n: np.empty((*leading, *shape), dtype) for n, (shape, dtype) in self.layout().items()}
        return Pair(**arrays)

    def _checked(self, pairs: Pair, count: int) -> Pair:
        layout = self.layout()
        for name, array in _arrays(pairs).items():
            if name in layout:
                shape, dtype = layout[name]
                _checks.output(f"out.{name}", array, (count, *shape), dtype)
            elif array is not None:
                raise ValueError(f"out.{name} is an array, but the {self._origin} has no labels; pass None")
        return pairs


def _arrays(pairs: Pair) -> dict[str, Any]:
    """Return the arrays of a pair, or None, by name."""
    return {field.name: getattr(pairs, field.name) for field in fields(Pair) if field.name != "info"}


def _slot(pairs: Pair, i: int) -> Pair:
    """Return pair `i` of stacked pairs, as views."""
    views: dict[str, Any] = {name: array if array is None else array[i] for name, array in _arrays(pairs).items()}
    return Pair(**views)


def pair_layout(grid: tuple[int, ...], *, channels: int, landmarks: int, labels: np.dtype[Any] | None = None) -> Layout:
    """Return the layout of pairs on a grid, with label maps of the type `labels`, if any."""
    image = ((channels, *grid), np.dtype(np.float32))
    points = ((landmarks, len(grid)), np.dtype(np.float64))
    arrays: Layout = {
        "fixed": image,
        "moving": image,
        "flow": ((len(grid), *grid), np.dtype(np.float32)),
        "weight": (grid, np.dtype(np.float32)),
        "landmarks_fixed": points,
        "landmarks_moving": points,
    }
    if labels is not None:
        arrays |= {name: (grid, labels) for name in ("labels_fixed", "labels_moving")}
    return arrays
