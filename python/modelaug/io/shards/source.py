"""Pairs read from shards, as a source for training."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.io.files.arrays import ArrayHeader, open_archive
from modelaug.io.files.reading import ModelFileError, refusing
from modelaug.io.shards.manifests import is_whole, read_manifest, verify_shards
from modelaug.synthesis.pairs import HELD_OUT, Pair, PairInfo

_REQUIRED: Final[tuple[str, ...]] = ("fixed", "moving", "flow", "weight", "landmarks_fixed", "landmarks_moving")
_LABELS: Final = ("labels_fixed", "labels_moving")
_CACHED: Final = 2


class ShardedPairs:
    """A source of the pairs in a folder of ``.npz`` shards, each of which is read when it is needed.

    Index i, from 0 on, is pair ``i % (len(self) - held_out)``, counted from the first in the folder, so training
    repeats them in order. The last `held_out` of them are kept for
    validation and have the indices from ``2**40 - held_out`` to ``2**40 - 1``, which `learning.train` validates on.

    Parameters
    ----------
    folder
        A complete folder of `write_shards`.
    held_out
        Number of pairs kept for validation, at least ``validation_pairs`` of the training.
    verify
        Whether to check the hashes of all shards first, not only their lengths.

    Raises
    ------
    TypeError, ValueError
        If the pairs are in another format, or there are not more than `held_out`.
    ModelFileError
        If the folder has no valid manifest or lacks shards; when a shard is damaged, by `draw`, too.
    """

    def __init__(self, folder: str | Path, *, held_out: int = 64, verify: bool = False) -> None:
        self.folder = Path(folder)
        self.held_out = _checks.integer("held_out", held_out, minimum=0)
        manifest = verify_shards(self.folder) if verify else read_manifest(self.folder)
        if manifest["file_format"] != "npz":
            raise ValueError(f"{folder} has pairs of format {manifest['file_format']!r}; pass a folder of 'npz'")
        self._count, self._size, self._first = (int(manifest[name]) for name in ("count", "shard_size", "first"))
        if self._count <= self.held_out:
            raise ValueError(f"held_out is {held_out} but {folder} has {self._count} pairs; hold fewer out")
        whole = [shard for shard in manifest["shards"] if is_whole(self.folder, shard)]
        self._files = {shard["first"]: (shard["files"][0]["file"], shard["files"][0]["sha256"]) for shard in whole}
        if sum(shard["count"] for shard in whole) < self._count:
            raise ModelFileError(f"{folder} lacks some of its {self._count} pairs; write or copy the rest first")

    def __len__(self) -> int:
        """Return the number of all pairs, with those held out."""
        return self._count

    def draw(self, index: int) -> Pair:
        """Return a pair; its ``info`` is that of its source, as in JSON.

        Raises
        ------
        ModelFileError
            If the pair's file is damaged.
        """
        position = self._position(index)
        number, k = divmod(position, self._size)
        start = self._first + number * self._size
        length = min(self._size, self._count - number * self._size)
        name, digest = self._files[start]
        arrays, infos = _read_shard(self.folder / name, digest, start, length)
        return Pair(**{name: array[k].copy() for name, array in arrays.items()}, info=cast("PairInfo", dict(infos[k])))

    def _position(self, index: int) -> int:
        """Return the position of an index' pair among all pairs."""
        index = _checks.integer("index", index, minimum=0, maximum=HELD_OUT - 1)
        if index >= HELD_OUT - self.held_out:
            return self._count - (HELD_OUT - index)
        if index >= HELD_OUT // 2:
            raise ValueError(f"index is {index}, which is not held out; validate on {self.held_out} pairs at most")
        return index % (self._count - self.held_out)


@functools.lru_cache(maxsize=_CACHED)
def _read_shard(
    path: Path, digest: str, first: int, count: int
) -> tuple[dict[str, npt.NDArray[Any]], list[dict[str, Any]]]:
    """Read and check the arrays and infos of a shard; `digest` only distinguishes entries of the cache."""
    with open_archive(path) as archive, refusing(path, "is no valid shard", "write the pairs again"):
        archive.require("index", "info", *_REQUIRED)
        archive.know("index", "info", *_REQUIRED, *_LABELS)
        _check({name: header for name, header in archive.headers.items() if name not in ("index", "info")}, count)
        infos = archive.read_json("info")
        if not isinstance(infos, list) or len(infos) != count or not all(isinstance(info, dict) for info in infos):
            raise ValueError(f"info is no list of {count} objects")
        if not np.array_equal(archive.read("index", most=count), np.arange(first, first + count, dtype=np.uint64)):
            raise ValueError(f"index is not {first} to {first + count - 1}")
        return {name: archive.read(name) for name in (*_REQUIRED, *_LABELS) if name in archive.headers}, infos


def _check(arrays: Mapping[str, ArrayHeader], count: int) -> None:
    """Raise ValueError unless arrays have the shapes and native types of `count` pairs."""
    grid = arrays["weight"].shape[1:]
    d, points = len(grid), arrays["landmarks_fixed"].shape[1:2]
    channels = arrays["fixed"].shape[1:2]
    shapes = {"flow": (d, *grid), "fixed": (*channels, *grid), "moving": (*channels, *grid)}
    shapes |= {"landmarks_fixed": (*points, d), "landmarks_moving": (*points, d)}
    shapes |= dict.fromkeys(("weight", *_LABELS), grid)
    for name, array in arrays.items():
        expected, kinds = (count, *shapes[name]), "iu" if name in _LABELS else "f"
        fits = d in (2, 3) and 0 not in (*grid, *channels) and array.shape == expected
        if not fits or array.dtype.kind not in kinds or not array.dtype.isnative:
            raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}, not those of {count} pairs")
