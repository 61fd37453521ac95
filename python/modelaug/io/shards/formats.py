"""File formats of shards of pairs: one archive, one tar, or images and flows of each pair.

The bytes of a shard depend on its pairs only, not on when, where or with how many threads it was written.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, Final, cast

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.io.fields import encode_flo
from modelaug.io.files.archives import write_archive, write_atomically
from modelaug.io.files.locks import make_parent
from modelaug.io.files.writing import TEMPORARY, writing
from modelaug.synthesis import Pair

FORMATS: Final = ("npz", "tar", "chairs")

Array = npt.NDArray[Any]


class FileFormat(ABC):
    """A format of a shard's files."""

    suffix: ClassVar[str] = ""

    def names(self, number: int) -> tuple[str, ...]:
        """Return the names of a shard's files; one with ``%09d`` stands for a file per pair, all of the same size."""
        return (f"{shard_stem(number)}{self.suffix}",)

    def check(self, pair: Pair) -> None:  # noqa: B027 - by default every pair fits
        """Raise ValueError if a pair, not stacked, does not fit into such files."""

    @abstractmethod
    def write(self, folder: Path, number: int, indices: Sequence[int], batches: Sequence[Pair]) -> None:
        """Write a shard: the pairs at `indices`, stacked, some in each batch. No file is ever half-written."""


def shard_stem(number: int) -> str:
    """Return the common beginning of a shard's file names; temporary files have a dot before it."""
    return f"pairs-{number:06d}"


def file_format(name: str, intensities: tuple[float, float] | None = None) -> FileFormat:
    """Return a format by its name; the range of intensities is that of `ChairsFormat`."""
    _checks.choice("format", name, FORMATS)
    if name == "chairs":
        if intensities is None:
            raise ValueError(
                "intensities is None but format 'chairs' stores bytes; pass the source's (lowest, highest)"
            )
        return ChairsFormat(*intensities)
    if intensities is not None:
        raise ValueError(f"intensities is {intensities} but format {name!r} keeps images as they are; pass None")
    return NpzFormat() if name == "npz" else TarFormat()


class NpzFormat(FileFormat):
    """``pairs-000000.npz``: the arrays of `Pair`, stacked, ``index`` (n,) and ``info``, a JSON list."""

    suffix = ".npz"

    def write(self, folder: Path, number: int, indices: Sequence[int], batches: Sequence[Pair]) -> None:
        """Write the archive."""
        infos = [info for batch in batches for info in _infos(batch)]
        arrays: dict[str, Array] = {"index": np.array(indices, dtype=np.uint64), "info": np.array(_json(infos))}
        for name in _arrays(batches[0]):
            arrays[name] = np.concatenate([getattr(batch, name) for batch in batches])
        write_archive(folder / self.names(number)[0], arrays)


class TarFormat(FileFormat):
    """``pairs-000000.tar``, a shard of WebDataset: for pair 7 ``000000007.fixed.npy``, ... and ``000000007.json``.

    There is a member per array of `Pair`, named like it, and ``.json`` is its ``info``.
    """

    suffix = ".tar"

    def write(self, folder: Path, number: int, indices: Sequence[int], batches: Sequence[Pair]) -> None:
        """Write the tar."""

        def write(file: IO[bytes]) -> None:
            # The one tar format without extended headers, which may hold times.
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for index, (arrays, info) in zip(indices, _pairs(batches), strict=True):
                    for name, array in arrays.items():
                        member = io.BytesIO()
                        np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
                        _add(tar, f"{index:09d}.{name}.npy", member.getvalue())
                    _add(tar, f"{index:09d}.json", _json(info).encode())

        write_atomically(folder / self.names(number)[0], write)


class ChairsFormat(FileFormat):
    """``000000007_img1.ppm`` (fixed), ``_img2.ppm`` (moving) and ``_flow.flo``, as in the FlyingChairs data set.

    An intensity v is stored as the byte nearest to 255 (v - lowest) / (highest - lowest), clamped to 0 and 255: the
    same for all pairs and channels. Images with one channel are stored as grey, those with three as red, green, blue.
    Weights, landmarks and labels are left out.

    Parameters
    ----------
    lowest, highest
        The intensities that become 0 and 255.
    """

    def __init__(self, lowest: float, highest: float) -> None:
        self._lowest = _checks.number("intensities[0]", lowest)
        self._highest = _checks.number("intensities[1]", highest, above=self._lowest)

    def names(self, number: int) -> tuple[str, ...]:
        """Return the names of a pair's three files."""
        return ("%09d_img1.ppm", "%09d_img2.ppm", "%09d_flow.flo")

    def check(self, pair: Pair) -> None:
        """Accept pairs of 2D images with one or three channels."""
        shape = np.shape(pair.fixed)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ValueError(
                f"format is 'chairs' but images have shape {shape}, channels first, and .ppm holds 2D images with 1 or"
                " 3 channels; pass 'npz' or 'tar'"
            )

    def write(self, folder: Path, number: int, indices: Sequence[int], batches: Sequence[Pair]) -> None:
        """Write three files per pair; all are complete before the first gets its name."""
        with writing(folder):
            make_parent(folder / shard_stem(number))
            temporary = Path(tempfile.mkdtemp(prefix=f".{shard_stem(number)}.", suffix=TEMPORARY, dir=folder))
        try:
            names = []
            for index, (arrays, _) in zip(indices, _pairs(batches), strict=True):
                contents = (self._ppm(arrays["fixed"]), self._ppm(arrays["moving"]), encode_flo(arrays["flow"]))
                for pattern, content in zip(self.names(number), contents, strict=True):
                    names.append(pattern % index)
                    with writing(folder / names[-1]):
                        (temporary / names[-1]).write_bytes(content)
            for name in names:  # after all were written, so that the disk gets them together
                with writing(folder / name), open(temporary / name, "rb+") as file:
                    os.fsync(file.fileno())
            for name in names:
                with writing(folder / name):
                    os.replace(temporary / name, folder / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _ppm(self, image: npt.NDArray[np.float32]) -> bytes:
        """Return an image (c, h, w) as a binary PPM."""
        scaled = (image.astype(np.float64) - self._lowest) * (255 / (self._highest - self._lowest))
        pixels = np.broadcast_to(np.rint(scaled.clip(0, 255)).astype(np.uint8), (3, *image.shape[1:]))
        return b"P6\n%d %d\n255\n" % image.shape[:0:-1] + np.ascontiguousarray(np.moveaxis(pixels, 0, -1)).tobytes()


def _arrays(pair: Pair) -> list[str]:
    """Return the names of the arrays that a pair or batch has."""
    return [name for name in Pair.__dataclass_fields__ if name != "info" and getattr(pair, name) is not None]


def _infos(batch: Pair) -> list[dict[str, Any]]:
    info = cast("dict[str, Sequence[Any]]", batch.info)
    return [{key: values[i] for key, values in info.items()} for i in range(len(batch.fixed))]


def _pairs(batches: Sequence[Pair]) -> Iterator[tuple[dict[str, Array], dict[str, Any]]]:
    """Yield the arrays by name and the info of one pair after another."""
    for batch in batches:
        for i, info in enumerate(_infos(batch)):
            yield {name: getattr(batch, name)[i] for name in _arrays(batch)}, info


def _json(info: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> str:
    return json.dumps(info, default=lambda value: np.asarray(value).tolist())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of owner 0, from 1970
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
