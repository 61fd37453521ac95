"""Arrays in ``.npz`` and ``.npy``; their headers are checked before memory is allocated or anything unpacked."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from modelaug.io.files.reading import ModelFileError, check_format, parse_json, reading

ArchiveKind = Literal["cohort", "field", "model"]
"""Content of an archive of this package."""

_KINDS: Final = {"cohort": "it is a cohort", "field": "it is a displacement field", "model": "it is a model"}

_READERS: Final = {
    (1, 0): (np.lib.format.read_array_header_1_0, 2),
    (2, 0): (np.lib.format.read_array_header_2_0, 4),
}
"""Readers of headers by their version, and the bytes of the length before them."""

_NUMBERS: Final = "biuf"
_WIDEST: Final = 8  # bytes of a number; long doubles differ from machine to machine
_MEMBERS: Final = 256
_LONGEST_HEADER: Final = 10_000  # bytes, numpy's limit
_LONGEST_TEXT: Final = 2**24
"""Characters of a note in JSON or a list of names."""


class ArrayHeader(NamedTuple):
    """Shape and type of a stored array, checked against its number of bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


class Archive:
    """An open ``.npz`` whose arrays have checked headers and are not yet unpacked.

    Attributes
    ----------
    path
        The file.
    headers
        Shape and type of each array, by its name.
    """

    def __init__(self, path: str | Path, archive: zipfile.ZipFile, headers: Mapping[str, ArrayHeader]) -> None:
        self.path, self.headers = path, headers
        self._archive = archive

    @property
    def kind(self) -> ArchiveKind | None:
        """The content of the archive by the names of its arrays; None if unknown."""
        if {"images", "landmarks"} <= set(self.headers):
            return "cohort"
        if "displacement" in self.headers:
            return "field"
        return "model" if "header" in self.headers else None

    def require(self, *names: str) -> None:
        """Raise ModelFileError unless the archive holds these arrays."""
        missing = next((name for name in names if name not in self.headers), None)
        if missing is not None:
            what = "it holds " + ", ".join(sorted(self.headers)) if self.kind is None else _KINDS[self.kind]
            raise ModelFileError(f"{self.path} lacks the array {missing!r} ({what}); pass another file")

    def know(self, *names: str) -> None:
        """Raise ModelFileError if the archive holds other arrays than these."""
        alien = next((name for name in self.headers if name not in names), None)
        if alien is not None:
            raise ModelFileError(f"{self.path} holds the array {alien!r}, which does not belong there; write it again")

    def read(self, name: str, *, most: int | None = None, text: bool = False) -> npt.NDArray[Any]:
        """Return an array.

        Parameters
        ----------
        name
            Its name.
        most
            Number of values that it may have; a larger array is refused before it is unpacked.
        text
            Whether it may hold text.

        Raises
        ------
        ModelFileError
            If there is no such array, it is too large, holds text without `text`, or is damaged.
        """
        self.require(name)
        header = self.headers[name]
        if header.dtype.kind == "U" and not text:
            raise ModelFileError(f"{self.path} holds text as {name!r}, not numbers; write it again")
        long = header.dtype.kind == "U" and header.size * header.dtype.itemsize > 4 * _LONGEST_TEXT
        if long or (most is not None and header.size > most):
            raise ModelFileError(
                f"{self.path} holds {name!r} of shape {header.shape} and type {header.dtype}, more than belongs to its "
                "other arrays; write it again"
            )
        with reading(self.path, ".npz"), self._archive.open(f"{name}.npy") as member:
            array: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
            return array

    def read_header(self, *, format: str, version: int, wanted: str) -> dict[str, Any]:
        """Return the header of a file of this package, see `check_format`; `wanted` is what to pass instead."""
        self.require("header")
        header = self.read_json("header")
        found = header.get("format") if isinstance(header, dict) else header
        otherwise = f"holds {found!r}; pass {wanted}"
        return check_format(self.path, header, format=format, version=version, otherwise=otherwise)

    def read_json(self, name: str) -> Any:
        """Parse the JSON in an array that is one string.

        Raises
        ------
        ModelFileError
            If there is no such array, it is no string, or no JSON.
        """
        array = self.read(name, most=1, text=True)
        with reading(self.path, ".npz"):
            if array.dtype.kind != "U" or array.ndim:
                raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}, not that of one string")
            try:
                return parse_json(str(array))
            except ValueError as error:
                raise ValueError(f"{name} is no JSON: {error}") from error


@contextmanager
def open_archive(path: str | Path) -> Iterator[Archive]:
    """Open an ``.npz`` and check its directory and the headers of its members.

    Raises
    ------
    ModelFileError
        If there is no such file, it is no ``.npz``, or it holds anything but arrays of numbers or text, one of another
        size than in its header, encrypted or with the name of another, or more than fits into memory.
    """
    with ExitStack() as stack:
        with reading(path, ".npz"):
            file = stack.enter_context(open(path, "rb"))
            archive = stack.enter_context(zipfile.ZipFile(file))
            headers = _headers(archive)
        yield Archive(path, archive, headers)


def read_npy(path: str | Path, remedy: str = "write it again") -> npt.NDArray[Any]:
    """Read the numbers, or text, in a ``.npy``, in their type; errors end with `remedy`.

    Raises
    ------
    ModelFileError
        If there is no such file, or it holds anything else, or another number of bytes than its header declares.
    """
    with reading(path, ".npy", remedy), open(path, "rb") as file:
        _read_header(file, os.fstat(file.fileno()).st_size)
        file.seek(0)
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _headers(archive: zipfile.ZipFile) -> dict[str, ArrayHeader]:
    members = archive.infolist()
    if len(members) > _MEMBERS:
        raise ValueError(f"it has {len(members)} members, {_MEMBERS} at most make sense")
    if sum(member.file_size for member in members) > _memory():
        raise ValueError("it does not fit into the memory of this machine")
    headers: dict[str, ArrayHeader] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise ValueError(f"it holds {name!r}, which is no array")
        if name in headers:
            raise ValueError(f"it holds the array {name!r} twice")
        if member.flag_bits & 1:
            raise ValueError(f"its array {name!r} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its array {name!r} is packed as numpy does not")
        with archive.open(member) as file:
            try:
                headers[name] = _read_header(file, member.file_size)
            except ValueError as error:
                raise ValueError(f"array {name!r}: {error}") from error
    return headers


def _read_header(file: IO[bytes], size: int) -> ArrayHeader:
    """Read the header of a stored array of `size` bytes in all, or raise nearly any exception."""
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"its version {version} is not known")
    read, width = _READERS[version]
    start = file.tell()
    if int.from_bytes(file.read(width), "little") > _LONGEST_HEADER:  # which numpy would allocate
        raise ValueError("its header is no header")
    file.seek(start)
    shape, _, dtype = read(file)
    wide = dtype.kind in _NUMBERS and dtype.itemsize > _WIDEST
    if dtype.kind not in f"{_NUMBERS}U" or wide or not dtype.itemsize:
        what = "Python objects, which are never unpickled" if dtype.hasobject else f"values of type {dtype}"
        raise ValueError(f"it holds {what}, not real numbers of up to {8 * _WIDEST} bits or text")
    header = ArrayHeader(tuple(map(int, shape)), dtype)
    promised = file.tell() + header.size * dtype.itemsize
    if min(header.shape, default=0) < 0 or promised != size:
        raise ValueError(f"it has {size} bytes, but shape {header.shape} and type {dtype} make {promised}")
    return header


def _memory() -> int:
    """Return the bytes of memory of this machine, 2^40 if unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 1 << 40
