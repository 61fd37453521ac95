"""Headers of images, checked before memory of the image's size is allocated, and the voxels that they describe.

The readers of the formats, `nifti`, `metaimage` and `nrrd`, each turn the beginning of a file into a `Header`. They
share what is here: where the voxels' bytes are, how many there must be, and what they mean.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry
from modelaug.io.files.reading import ModelFileError, check_file, refuse_if

Encoding = Literal["raw", "gzip", "zlib", "text"]

ValueKind = Literal["labels", "displacement", "vectors", "statistics"]
"""Content that a header can declare, other than intensities."""

Vectors = Literal["displacement in LPS", "displacement in RAS", "positions in RAS"]
"""Meaning of a field's vectors, in mm: displacements from the voxel, or positions in space."""

LONGEST_HEADER: Final = 2**20
"""Bytes that a header in text may have."""

PLAIN_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_PADDING: Final = 4096
"""Bytes that may follow the voxels."""

_BEST_RATIO: Final = 1040
"""Bytes to which zlib can expand one byte, at most."""

_SMALLEST, _LARGEST, _FARTHEST = 1e-6, 1e6, 1e9  # mm: sizes of voxels, and the origin
UNITS: Final = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "nm": 1e-6}
"""Millimetres per unit of length."""
_OTHER_WAY: Final = re.compile(r"\b(to[-_ ]?parent|modell?ing|push|forward)\b", re.IGNORECASE)
_OTHER_VECTORS: Final = re.compile(
    r"\b(absolute|positions|velocity|velocities|momentum|jacobian|coefficients?|control[-_ ]?points?|b-?splines?)\b",
    re.IGNORECASE,
)
_UNKNOWN_UNITS: Final = ("", "?", "???", "unknown", "none")


@dataclass(frozen=True)
class Header:
    """The description of an image in its file.

    Attributes
    ----------
    path
        The file.
    grid
        Shape in array-axis order: the axis along which voxels are contiguous comes last.
    dtype
        Type of a stored value, with its byte order.
    geometry
        Spacing, origin and direction, in mm and LPS.
    components
        Values per voxel; None where a voxel is a single number.
    components_axis
        Position of the components' axis among the grid's axes: 0 before them all, len(grid) after them all.
    data
        The file with the voxels; None means `path`.
    start
        Byte of `data` at which the voxels begin, encoded or not; from the end if negative.
    skip
        Bytes before the first voxel, after decoding.
    encoding
        Encoding of the bytes from `start` on.
    slope, intercept
        Factor of the values, and the term added after it.
    kind
        Content of the image, if the file declares it.
    vectors
        Meaning of the vectors, if the file is read as a displacement field.
    field_error
        Why the file is no displacement field, as the end of a sentence after its name; empty if it may be one.
    oriented
        Whether the file gives the orientation of its axes; otherwise `geometry` takes them for the axes of space.
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
    field_error: str = ""
    oriented: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the stored array."""
        if self.components is None:
            return self.grid
        return (*self.grid[: self.components_axis], self.components, *self.grid[self.components_axis :])

    @property
    def length(self) -> int:
        """The number of bytes of all values, decoded."""
        return math.prod(self.shape) * self.dtype.itemsize


def first_bytes(path: str | Path, most: int = LONGEST_HEADER) -> bytes:
    """Return the first bytes of a file, at most `most`."""
    with open(path, "rb") as file:
        return file.read(most)


def voxel_file(path: Path, name: str) -> Path:
    """Return the file of voxels that a header names, which must lie in the header's own folder.

    Raises
    ------
    ModelFileError
        If the name is a path, a pattern, an address or a list, if it links to another folder, or if it is no file.
    """
    # Slashes of all systems, drives and addresses, patterns as in printf, and numbers of a list.
    if not name or name in (".", "..") or re.search(r"[/\\:%*?<>|\0]", name) or re.match(r"LIST\b", name):
        raise ModelFileError(
            f"{path} takes its voxels from {name[:80]!r}; only the name of one file in its own folder is read, save "
            "the image in a single file"
        )
    data = path.parent / name
    if data.is_symlink() and data.resolve().parent != path.parent.resolve():
        raise ModelFileError(f"{path} takes its voxels from {name!r}, which leads elsewhere; put the file there itself")
    same = data.resolve() == path.resolve()
    refuse_if(same, f"{path} takes its voxels from itself; save the image in a single file")
    try:
        return check_file(data)
    except ModelFileError as error:
        raise ModelFileError(f"{path} lacks its voxels: {error}") from error


def integers(path: Path, name: str, text: str, count: int | None = None) -> tuple[int, ...]:
    """Parse `count` integers that are separated by blanks."""
    words = text.split()
    valid = words and all(re.fullmatch(r"[+-]?\d{1,18}", word, re.ASCII) for word in words)
    refuse_if(not valid, f"{path} has {name} = {text[:80]!r}, not whole numbers; write it again")
    return _counted(path, name, map(int, words), count)


def integer(path: Path, fields: Mapping[str, str], name: str, default: str = "") -> int:
    """Parse the integer in a field of a header."""
    return integers(path, name, fields.get(name, default), 1)[0]


def floats(path: Path, name: str, text: str, count: int | None = None) -> tuple[float, ...]:
    """Parse `count` finite numbers that are separated by blanks."""
    words = text.split()
    valid = words and all(PLAIN_NUMBER.fullmatch(word) and math.isfinite(float(word)) for word in words)
    refuse_if(not valid, f"{path} has {name} = {text[:80]!r}, not finite numbers; write it again")
    return _counted(path, name, map(float, words), count)


def _counted(path: Path, name: str, parsed: Iterable[Any], count: int | None) -> tuple[Any, ...]:
    numbers = tuple(parsed)
    wrong = count is not None and len(numbers) != count
    refuse_if(wrong, f"{path} has {len(numbers)} numbers in {name}, not {count}; write it again")
    return numbers


def require(path: Path, fields: Mapping[str, str], *names: str) -> None:
    """Raise ModelFileError unless a header has these fields."""
    missing = next((name for name in names if name not in fields), None)
    refuse_if(missing is not None, f"{path} has no {missing!r} in its header; write it again")


def add_field(path: Path, fields: dict[str, str], name: str, value: str) -> None:
    """Add a field to those of a header, which may not have it yet."""
    refuse_if(name in fields, f"{path} says {name[:40]!r} twice; write it again")
    fields[name] = value


def axis_count(path: Path, fields: Mapping[str, str], name: str, most: int) -> int:
    """Return the number of axes that a header declares, from 1 to `most`."""
    count = integer(path, fields, name)
    refuse_if(not 1 <= count <= most, f"{path} says that it has {count} axes; write it again")
    return count


def check_lengths(path: Path, lengths: Sequence[int]) -> None:
    """Raise ModelFileError if an axis has no voxels."""
    wrong = min(lengths, default=0) < 1
    refuse_if(wrong, f"{path} says that it has {' x '.join(map(str, lengths))} voxels; write it again")


def checked_grid(path: Path, grid: tuple[int, ...], note: str = "") -> tuple[int, ...]:
    """Return the shape of a plane or a volume, or refuse it; the message lists the axes and `note`."""
    check_lengths(path, grid)
    if len(grid) > 3:
        raise ModelFileError(
            f"{path} has {len(grid)} axes ({' x '.join(map(str, grid))}{note}), so it is not a volume but, say, "
            "several frames; save the one that you mean as a file of its own"
        )
    refuse_if(len(grid) < 2, f"{path} has {len(grid)} axis; pass a plane or a volume")
    return grid


def mm_per_unit(path: Path, unit: str) -> float:
    """Return the millimetres of a unit of length; an unnamed one is mm."""
    word = unit.strip().strip('"').lower()
    refuse_if(word not in (*UNITS, *_UNKNOWN_UNITS), f"{path} has lengths in {unit[:20]!r}; save it in mm")
    return UNITS.get(word, 1.0)


def field_error(notes: Mapping[str, str], *, unit_of_space: float = 1.0) -> str:
    """Return why vectors are no pull displacements in mm, by the notes in their header; empty if they may be.

    Parameters
    ----------
    notes
        Names and values of entries that are no part of the format itself: descriptions, and those of other programs.
    unit_of_space
        Millimetres per unit of length in the file.
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


def geometry_of(path: Path, steps: npt.NDArray[np.float64], origin: npt.ArrayLike) -> Geometry:
    """Return the geometry of an affine matrix: the steps along the file's axes, x first, as columns, in mm and LPS.

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
    near = bool((np.abs(start) <= _FARTHEST).all())
    refuse_if(not near, f"{path} says that it begins at {start.tolist()} mm; correct its header")
    try:
        return Geometry(lengths[::-1], start, steps / lengths)
    except ValueError as error:
        raise ModelFileError(
            f"{path} has axes that are not perpendicular to each other; resample it to a grid that is not sheared"
        ) from error


def voxels(header: Header) -> npt.NDArray[Any]:
    """Return the values of an image, (*grid) or (*grid, components), in the machine's byte order.

    They have the stored type, or float64 where the header rescales them.

    Raises
    ------
    ModelFileError
        If the file has fewer bytes than its header declares, many more, or damaged ones.
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
    """Read the bytes of the values; no more are decoded than the header declares."""
    expected = header.skip + header.length
    if expected > stored * (1 if header.encoding == "raw" else _BEST_RATIO):
        raise _too_short(path, stored, expected)
    source = _decoded(file, header.encoding)
    if header.skip:  # not in zlib, which cannot seek
        source.seek(header.skip, io.SEEK_CUR)
    values = np.empty(header.length, dtype=np.uint8)
    view, done = values.data, 0
    while done < len(values):
        count = source.readinto(view[done : done + 2**24])
        if not count:
            raise _too_short(path, source.tell() if header.skip else done, expected)
        done += count
    # To the end, where a compressed stream has its checksum.
    rest = 0
    while rest <= _PADDING and (more := source.read(_PADDING)):
        rest += len(more)
    if rest > _PADDING:
        raise ModelFileError(
            f"{path} holds more than the {expected} bytes that {header.path.name} says; its sizes are wrong, write it "
            "again"
        )
    return values


def _too_short(path: str, held: int, expected: int) -> ModelFileError:
    return ModelFileError(f"{path} holds {held} of {expected} bytes; copy it again")


def _decoded(file: IO[bytes], encoding: Encoding) -> Any:
    if encoding == "gzip":
        return gzip.GzipFile(fileobj=file)
    return io.BufferedReader(_Inflated(file)) if encoding == "zlib" else file


class _Inflated(io.RawIOBase):
    """A zlib stream that is decoded only as far as it is read."""

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
    """Read values that are written as numbers between blanks."""
    count = math.prod(header.shape)
    size = file.seek(0, io.SEEK_END)
    file.seek(header.start)
    refuse_if(size - header.start > 64 * count + _PADDING, f"{path} holds more than {count} numbers; write it again")
    words = file.read().decode("ascii").split()
    refuse_if(len(words) != count, f"{path} holds {len(words)} of {count} numbers; write it again")
    if header.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.array(words, dtype=np.float64).astype(header.dtype).reshape(header.shape)
    whole = [int(word) for word in words]
    limits = np.iinfo(header.dtype)
    wrong = min(whole) < limits.min or max(whole) > limits.max
    refuse_if(wrong, f"{path} holds numbers beyond its type, {header.dtype.name}; write it again")
    return np.array(whole, dtype=header.dtype).reshape(header.shape)


def value_type(path: Path, name: str, known: dict[str, str], big_endian: bool) -> np.dtype[Any]:
    """Return the dtype of the values by its name in a format."""
    unread = f"{path} has voxels of type {name[:40]!r}, which is not read; save them as numbers"
    refuse_if(name not in known, unread)
    return np.dtype(known[name]).newbyteorder(">" if big_endian else "<")
