"""Training data from a source of pairs: a map-style dataset, and a stream of batches, drawn ahead if wanted."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from modelaug import _checks
from modelaug.synthesis import InPlaceSource, Pair, PairSource
from modelaug.synthesis.pairs import check_source, draw_pairs

_NAMES: Final = {
    "image1": "fixed",
    "image2": "moving",
    "flow": "flow",
    "weight": "weight",
    "landmarks1": "landmarks_fixed",
    "landmarks2": "landmarks_moving",
    "labels1": "labels_fixed",
    "labels2": "labels_moving",
}
_THREAD: Final = "modelaug-pairs"


class PairDataset(Dataset[dict[str, Tensor]]):
    """A dataset of a fixed number of pairs per epoch, for ``torch.utils.data.DataLoader`` with any number of workers.

    Item i of epoch e is the source's pair ``e * length + i``, in any process.

    Parameters
    ----------
    source
        Source of the pairs; spawned workers need it to be picklable.
    length
        Pairs per epoch.
    epoch
        The first epoch, see `set_epoch`.
    """

    def __init__(self, source: PairSource, length: int, *, epoch: int = 0) -> None:
        self.source = check_source(source)
        self.length = _checks.integer("length", length, minimum=1)
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Select the pairs of an epoch. Persistent workers keep the epoch that they were started with."""
        self.epoch = _checks.integer("epoch", epoch, minimum=0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return a pair as tensors.

        Parameters
        ----------
        index
            Between 0 and ``len(self) - 1``.

        Returns
        -------
        dict
            ``image1`` (fixed) and ``image2`` (moving), (c, *grid) float32; ``flow``, (d, *grid) float32, in voxels on
            the fixed grid, components in array-axis order; ``weight``, (*grid) float32; ``landmarks1`` and
            ``landmarks2``, (m, d) float64; and ``labels1`` and ``labels2``, (*grid) int64, where the source has them.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"index is {index}; pass one between 0 and {self.length - 1}")
        return _tensors(self.source.draw(self.epoch * self.length + int(index)))


class PairStream:
    """An iterable of batches of pairs, by default drawn by a background thread while the previous ones are in use.

    Batch k holds the source's pairs from ``first + k * stride`` on, by default consecutive ones, so a stream that
    begins at ``first = k * batch_size`` continues another exactly. Every iteration starts at `first`. Sources
    release Python's global lock while they render; no worker processes are needed.

    Parameters
    ----------
    source
        Where the pairs come from. If it has ``batch(indices, threads=None)``, a stacked `Pair`, that is used instead of
        ``draw``.
    batch_size
        Pairs per batch.
    first
        Index of the first pair.
    stride
        From the first pair of a batch to the first of the next; `batch_size` by default. Streams of w processes that
        train together have strides of ``w * batch_size``.
    batches
        Number of batches; None means without end.
    threads
        Threads for the source's ``batch``; None means all cores.
    queue
        Largest number of batches drawn ahead. 0 draws each on demand, without a thread: if the consumer computes on
        the same cores, alternating is faster than sharing them.
    pin_memory
        Put the tensors into page-locked memory, for faster copies to a GPU.

    Yields
    ------
    dict of Tensor
        As in `PairDataset`, with a leading batch axis. An exception of the source is raised by the iterator.
    """

    def __init__(
        self,
        source: PairSource,
        batch_size: int,
        *,
        first: int = 0,
        stride: int | None = None,
        batches: int | None = None,
        threads: int | None = None,
        queue: int = 2,
        pin_memory: bool = False,
    ) -> None:
        self.source = check_source(source)
        self.batch_size = _checks.integer("batch_size", batch_size, minimum=1)
        self.first = _checks.integer("first", first, minimum=0)
        self.stride = self.batch_size if stride is None else _checks.integer("stride", stride, minimum=0)
        self.batches = None if batches is None else _checks.integer("batches", batches, minimum=0)
        self.threads = _checks.thread_count(threads)
        self.queue = _checks.integer("queue", queue, minimum=0)
        self.pin_memory = bool(pin_memory)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        # Lazily, so that a test for iterability draws nothing.
        yield from _drawn_ahead(self) if self.queue else map(self._draw, self._numbers())

    def _numbers(self) -> Iterable[int]:
        return itertools.count() if self.batches is None else range(self.batches)

    def _draw(self, k: int) -> dict[str, Tensor]:
        start = self.first + k * self.stride
        indices = range(start, start + self.batch_size)
        try:
            return draw_batch(self.source, indices, threads=self.threads, pin_memory=self.pin_memory)
        except StopIteration as error:  # which would end the iteration silently
            raise RuntimeError("source raised StopIteration; draw must return a pair for every index") from error


def _drawn_ahead(stream: PairStream) -> Iterator[dict[str, Tensor]]:
    """Yield the batches of a stream, drawn by a thread that ends with this generator or with Python."""
    pool, numbers = ThreadPoolExecutor(1, _THREAD), iter(stream._numbers())
    drawn = deque(pool.submit(stream._draw, k) for k in itertools.islice(numbers, stream.queue))
    try:
        while drawn:
            drawn.extend(pool.submit(stream._draw, k) for k in itertools.islice(numbers, 1))
            yield drawn.popleft().result()
    finally:
        # The garbage collector may run this in the thread itself, which cannot join itself.
        pool.shutdown(wait=not threading.current_thread().name.startswith(_THREAD), cancel_futures=True)


def draw_batch(
    source: PairSource, indices: Sequence[int], *, threads: int | None = None, pin_memory: bool = False
) -> dict[str, Tensor]:
    """Return the pairs at `indices`, stacked, by the source's ``batch`` if it has one.

    An `InPlaceSource` writes straight into the tensors' memory.

    Parameters
    ----------
    source
        Where the pairs come from.
    indices
        Non-negative integers, at least one.
    threads
        Threads for the source's ``batch``; None means all cores.
    pin_memory
        Put the tensors into page-locked memory, for faster copies to a GPU.

    Returns
    -------
    dict of Tensor
        As in `PairDataset`, with a leading batch axis.
    """
    if isinstance(source, InPlaceSource):
        arrays: dict[str, Any] = {
            name: _empty((len(indices), *shape), dtype, pin_memory=pin_memory)
            for name, (shape, dtype) in source.layout().items()
        }
        tensors = _tensors(source.batch(indices, threads=threads, out=Pair(**arrays)))
    else:
        tensors = _tensors(draw_pairs(source, indices, threads))
    return {name: _pinned(tensor) for name, tensor in tensors.items()} if pin_memory else tensors


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any], *, pin_memory: bool) -> npt.NDArray[Any]:
    # Labels are converted to int64 later, so only floats are allocated in their final place.
    if dtype.kind != "f":
        return np.empty(shape, dtype)
    return torch.empty(shape, dtype=getattr(torch, dtype.name), pin_memory=pin_memory).numpy()


def _pinned(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_pinned() else tensor.pin_memory()


def _tensors(pair: Pair) -> dict[str, Tensor]:
    arrays = {name: getattr(pair, attribute) for name, attribute in _NAMES.items()}
    return {name: _tensor(array) for name, array in arrays.items() if array is not None}


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    # torch has no operations on most unsigned types, and warns of arrays that it must not write to.
    kept = array if array.dtype.kind == "f" else array.astype(np.int64)
    return torch.from_numpy(np.require(kept, requirements=("C", "W")))
