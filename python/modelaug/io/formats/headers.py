"""What a file says about the image in it, checked before anything of its size is made, and the voxels that follow.

The readers of the formats, `nifti`, `metaimage` and `nrrd`, each turn a file's beginning into a `Header`. Here is what
they share: where the bytes are, how many there must be, and what they mean.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry
from modelaug.io.files.reading import ModelFileError, check_file

Encoding = Literal["raw", "gzip", "zlib", "text"]

ValueKind = Literal["labels", "displacement", "vectors", "statistics"]
"""What a header can say that its values are, other than intensities."""

Vectors = Literal["displacement in LPS", "displacement in RAS", "positions in RAS"]
"""What the vectors of a field can be, in mm: where a voxel's content lies from it, or where it lies in space."""

LONGEST_HEADER: Final = 2**20
"""Bytes of a header in text; more is no header."""

PLAIN_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_PADDING: Final = 4096
"""Bytes that may follow the voxels."""

_BEST_RATIO: Final = 1040
"""To how many bytes zlib can expand one."""

_SMALLEST: Final = 1e-6
_LARGEST: Final = 1e6
_FARTHEST: Final = 1e9
UNITS: Final = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "nm": 1e-6}
"""Millimetres of what files give lengths in."""
_OTHER_WAY: Final = re.compile(r"\b(to[-_ ]?parent|modell?ing|push|forward)\b", re.IGNORECASE)
_OTHER_VECTORS: Final = re.compile(
    r"\b(absolute|positions|velocity|velocities|momentum|jacobian|coefficients?|control[-_ ]?points?|b-?splines?)\b",
    re.IGNORECASE,
)
_UNKNOWN_UNITS: Final = ("", "?", "???", "unknown", "none")


@dataclass(frozen=True)
class Header:
    """What a file says about the image in it.

    Attributes
    ----------
    path
        The file.
    grid
        Shape in array-axis order: the axis whose voxels follow each other comes last.
    dtype
        Of a value as it is stored, with its byte order.
    geometry
        Where the voxels lie, in mm and LPS.
    components
        Values per voxel; None where a voxel is a single number.
    components_axis
        Where the axis of the components is among those of the grid: 0 before them all, len(grid) after them all.
    data
        The file with the voxels; None means `path`.
    start
        Byte of `data` at which they begin, encoded or not; from the end if negative.
    skip
        How many bytes come first, after decoding.
    encoding
        Of the bytes from `start` on.
    slope, intercept
        What values are multiplied by, and what is then added.
    kind
        What the values are, if the file says it.
    vectors
        What the vectors are, if the file is to be a displacement field.
    no_field
        Why it is none, as a part of a sentence after its name; empty if it may be one.
    oriented
        Whether the file says how its axes run in space; otherwise `geometry` takes them for those of space.
    """

    path: Path
    grid: tuple[int, ...]
    dtype: np.dtype[Any]
    geometry: Geometry
    components: int | None = None
    components_axis: int = 0
    data: Path | None = None
    start: int = 0
    skip: int = 0
    encoding: Encoding = "raw"
    slope: float = 1.0
    intercept: float = 0.0
    kind: ValueKind | None = None
    vectors: Vectors = "displacement in LPS"
    no_field: str = ""
    oriented: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values as they are stored."""
        if self.components is None:
            return self.grid
        return (*self.grid[: self.components_axis], self.components, *self.grid[self.components_axis :])

    @property
    def length(self) -> int:
        """How many bytes the values have, decoded."""
        return math.prod(self.shape) * self.dtype.itemsize


def beginning(path: Path, most: int = LONGEST_HEADER) -> bytes:
    """Return the first bytes of a file."""
    with open(path, "rb") as file:
        return file.read(most)


def beside(path: Path, name: str) -> Path:
    """Return the file that a header names for its voxels, which must lie in the header's own folder.

    Raises
    ------
    ModelFileError
        If it is a path, a pattern, an address or a list, if it leads elsewhere, or if it is no file.
    """
    # Slashes of all systems, drives and addresses, patterns as of printf, and numbers of a list.
    if not name or name in (".", "..") or re.search(r"[/\\:%*?<>|\0]", name) or re.match(r"LIST\b", name):
        raise ModelFileError(
            f"{path} takes its voxels from {name[:80]!r}; only the name of one file in its own folder is read, save "
            "the image in a single file"
        )
    data = path.parent / name
    if data.is_symlink() and data.resolve().parent != path.parent.resolve():
        raise ModelFileError(f"{path} takes its voxels from {name!r}, which leads elsewhere; put the file there itself")
    if data.resolve() == path.resolve():
        raise ModelFileError(f"{path} takes its voxels from itself; save the image in a single file")
    try:
        return check_file(data)
    except ModelFileError as error:
        raise ModelFileError(f"{path} lacks its voxels: {error}") from error


def integers(path: Path, name: str, text: str, count: int | None = None) -> tuple[int, ...]:
    """Return whole numbers between blanks, `count` of them."""
    words = text.split()
    if not words or not all(re.fullmatch(r"[+-]?\d{1,18}", word, re.ASCII) for word in words):
        raise ModelFileError(f"{path} has {name} = {text[:80]!r}, not whole numbers; write it again")
    return _as_many(path, name, [int(word) for word in words], count)


def floats(path: Path, name: str, text: str, count: int | None = None) -> tuple[float, ...]:
    """Return finite numbers between blanks, `count` of them."""
    words = text.split()
    if not words or not all(PLAIN_NUMBER.fullmatch(word) and math.isfinite(float(word)) for word in words):
        raise ModelFileError(f"{path} has {name} = {text[:80]!r}, not finite numbers; write it again")
    return _as_many(path, name, [float(word) for word in words], count)


def _as_many(path: Path, name: str, numbers: list[Any], count: int | None) -> tuple[Any, ...]:
    if count is not None and len(numbers) != count:
        raise ModelFileError(f"{path} has {len(numbers)} numbers in {name}, not {count}; write it again")
    return tuple(numbers)


def sizes(path: Path, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a plane or a volume, or refuse it."""
    if min(grid, default=0) < 1:
        raise ModelFileError(f"{path} says that it has {' x '.join(map(str, grid))} voxels; write it again")
    if len(grid) > 3:
        raise ModelFileError(
            f"{path} has {len(grid)} axes ({' x '.join(map(str, grid))}), so it is not a volume but, say, several "
            "frames; save the one that you mean as a file of its own"
        )
    if len(grid) < 2:
        raise ModelFileError(f"{path} has {len(grid)} axis; pass a plane or a volume")
    return grid


def lengths_in_mm(path: Path, unit: str) -> float:
    """Return how many mm a unit is; a file that does not name one means mm."""
    word = unit.strip().strip('"').lower()
    if word in _UNKNOWN_UNITS:
        return 1.0
    if word not in UNITS:
        raise ModelFileError(f"{path} has lengths in {unit[:20]!r}; save it in mm")
    return UNITS[word]


def no_field(notes: Mapping[str, str], *, unit_of_space: float = 1.0) -> str:
    """Return why vectors are no pull displacement in mm, from what a header notes about them; else nothing.

    Parameters
    ----------
    notes
        Names and values of what is no part of the format itself: descriptions and other programs' own entries.
    unit_of_space
        Millimetres of a length in the file.
    """
    if unit_of_space != 1:
        return "gives lengths in another unit than mm, so that those of its vectors are not clear"
    for name, value in notes.items():
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", f"{name}: {value}")
        direction = _OTHER_WAY.search(value) if "direction" in name.lower() else None
        found = direction or _OTHER_VECTORS.search(words)
        if "unit" in name.lower() and value.strip().strip('"').lower() not in ("", "mm", "millimeter", "millimetre"):
            return f"holds vectors in other units than mm ({name} is {value[:40]!r})"
        if found:
            return f"holds something other than pull displacements ({name} is {value[:40]!r})"
    return ""


def placed(path: Path, steps: npt.NDArray[np.float64], origin: npt.ArrayLike) -> Geometry:
    """Return where voxels lie whose steps along the file's axes, x first, are the columns of a matrix, in mm and LPS.

    Raises
    ------
    ModelFileError
        If voxels have no size or an absurd one, or the axes are not perpendicular.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths, start = np.linalg.norm(steps, axis=0), np.asarray(origin, dtype=np.float64)
    if not (np.isfinite(lengths).all() and (lengths >= _SMALLEST).all() and (lengths <= _LARGEST).all()):
        raise ModelFileError(
            f"{path} says that its voxels are {' x '.join(f'{each:.3g}' for each in lengths)} mm; correct its header"
        )
    if not (np.abs(start) <= _FARTHEST).all():
        raise ModelFileError(f"{path} says that it begins at {start.tolist()} mm; correct its header")
    try:
        return Geometry(lengths[::-1], start, steps / lengths)
    except ValueError as error:
        raise ModelFileError(
            f"{path} has axes that are not perpendicular to each other; resample it to a grid that is not sheared"
        ) from error


def voxels(header: Header) -> npt.NDArray[Any]:
    """Return the values of an image, (*grid) or (*grid, components), in the machine's byte order.

    They have the type that they are stored in, or float64 where the header says that they are rescaled.

    Raises
    ------
    ModelFileError
        If the file has fewer bytes than its header says, many more, or damaged ones.
    """
    place = header.data or header.path
    path = str(place) if place == header.path else f"{place}, which {header.path.name} names,"
    with open(place, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        start = header.start if header.start >= 0 else size + header.start
        if not 0 <= start <= size:
            raise _too_short(path, size, abs(header.start))
        file.seek(start)
        if header.encoding == "text":
            array = _from_text(path, file, header)
        else:
            array = _bytes(path, file, header, size - start).view(header.dtype).reshape(header.shape)
    if header.components is not None:
        array = np.moveaxis(array, header.components_axis, -1)
    if (header.slope, header.intercept) != (1.0, 0.0):
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(np.float64) * header.slope + header.intercept
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _bytes(path: str, file: IO[bytes], header: Header, stored: int) -> npt.NDArray[np.uint8]:
    """Return the bytes of the values, no more of which are decoded than the header says."""
    expected = header.skip + header.length
    if expected > stored * (1 if header.encoding == "raw" else _BEST_RATIO):
        raise _too_short(path, stored, expected)
    source = _decoded(file, header.encoding)
    if header.encoding == "raw":
        source.seek(header.skip, io.SEEK_CUR)
    else:
        _skip(path, source, header.skip, expected)
    values = np.empty(header.length, dtype=np.uint8)
    view, done = values.data, 0
    while done < len(values):
        count = source.readinto(view[done : done + 2**24])
        if not count:
            raise _too_short(path, header.skip + done, expected)
        done += count
    # To the end, where there is a sum to be checked.
    rest = 0
    while rest <= _PADDING and (more := source.read(_PADDING)):
        rest += len(more)
    if rest > _PADDING:
        raise ModelFileError(
            f"{path} holds more than the {expected} bytes that {header.path.name} says; its sizes are wrong, write it "
            "again"
        )
    return values


def _skip(path: str, source: Any, count: int, expected: int) -> None:
    left = count
    while left > 0:
        chunk = source.read(min(left, 2**20))
        if not chunk:
            raise _too_short(path, count - left, expected)
        left -= len(chunk)


def _too_short(path: str, held: int, expected: int) -> ModelFileError:
    return ModelFileError(f"{path} holds {held} of {expected} bytes; copy it again")


def _decoded(file: IO[bytes], encoding: Encoding) -> Any:
    if encoding == "gzip":
        return gzip.GzipFile(fileobj=file)
    return io.BufferedReader(_Inflated(file)) if encoding == "zlib" else file


class _Inflated(io.RawIOBase):
    """A stream of zlib, decoded as far as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._decoder = file, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._decoder.eof:
            stored = self._decoder.unconsumed_tail or self._file.read(2**16)
            if not stored:
                raise EOFError("the compressed voxels end too early")
            chunk = self._decoder.decompress(stored, len(buffer))
            if chunk:
                buffer[: len(chunk)] = chunk
                return len(chunk)
        return 0


def _from_text(path: str, file: IO[bytes], header: Header) -> npt.NDArray[Any]:
    """Return values that are written as numbers between blanks."""
    count = math.prod(header.shape)
    size = file.seek(0, io.SEEK_END)
    file.seek(header.start)
    if size - header.start > 64 * count + _PADDING:
        raise ModelFileError(f"{path} holds more than {count} numbers; write it again")
    words = file.read().decode("ascii").split()
    if len(words) != count:
        raise ModelFileError(f"{path} holds {len(words)} of {count} numbers; write it again")
    if header.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.array(words, dtype=np.float64).astype(header.dtype).reshape(header.shape)
    whole = [int(word) for word in words]
    limits = np.iinfo(header.dtype)
    if min(whole) < limits.min or max(whole) > limits.max:
        raise ModelFileError(f"{path} holds numbers beyond its type, {header.dtype.name}; write it again")
    return np.array(whole, dtype=header.dtype).reshape(header.shape)


def elements(path: Path, name: str, known: dict[str, str], big: bool) -> np.dtype[Any]:
    """Return the type of a value by its name in a format."""
    if name not in known:
        raise ModelFileError(f"{path} has voxels of type {name[:40]!r}, which is not read; save them as numbers")
    return np.dtype(known[name]).newbyteorder(">" if big else "<")
