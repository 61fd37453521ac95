"""``cohort.toml``: paths of a cohort's files, and the preparation of its images; docs/files.md is the reference."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from modelaug import _checks
from modelaug._checked import differences
from modelaug.data.cohort import LandmarkObject
from modelaug.data.preparation import PreparationOptions
from modelaug.io.files.archives import write_atomically
from modelaug.io.files.reading import ModelFileError, read_toml, refuse_if

DESCRIPTION_NAME: Final = "cohort.toml"

_UNFINISHED: Final = "unfinished"
_PATTERNS: Final = ("images", "labels", "landmarks")
_OBJECT_KEYS: Final = ("name", "kind", "landmarks")
_MOST_LANDMARKS: Final = 10**6
"""More than any cohort has; bounds the memory of a range."""

_shown: Final = reprlib.Repr()
_shown.maxstring = _shown.maxother = _shown.maxlong = 100


@dataclass(frozen=True)
class CohortDescription:
    """The content of a ``cohort.toml``.

    Parameters
    ----------
    folder
        Folder of the file, to which paths are relative.
    images, labels, landmarks
        Paths with ``{name}`` in place of the subject's name. Without ``images`` files are matched by their names.
    subjects
        Names of the subjects; None means all.
    voxel_size
        Millimetres per voxel along each array axis, in place of those in the images' files.
    relabel
        New values of labels, by the old ones.
    objects
        Groups of the landmarks.
    preparation
        Steps that prepare each image.
    history
        A JSON file with the steps by which each subject's image had been prepared before it was written.
    """

    folder: Path
    images: str | None = None
    labels: str | None = None
    landmarks: str | None = None
    subjects: tuple[str, ...] | None = None
    voxel_size: tuple[float, ...] | None = None
    relabel: Mapping[int, int] = field(default_factory=dict)
    objects: tuple[LandmarkObject, ...] | None = None
    preparation: PreparationOptions = PreparationOptions()
    history: str | None = None

    def __post_init__(self) -> None:
        for key in _PATTERNS:
            pattern = getattr(self, key)
            if pattern is None:
                continue
            if not isinstance(pattern, str) or "{name}" not in pattern:
                raise ValueError(
                    f"{key} is {_shown.repr(pattern)}; write a path with {{name}} in place of the subject's name"
                )
            if self.images is None:
                raise ValueError(f"{key} is {pattern!r} but images is not there; say where the images are, too")
        if self.subjects is not None:
            if not all(isinstance(name, str) and name for name in self.subjects) or not self.subjects:
                raise TypeError(f"subjects is {_shown.repr(list(self.subjects))}; write a list of names")
            if len(set(self.subjects)) < len(self.subjects):
                raise ValueError(f"subjects is {list(self.subjects)!r}; name each of them once")
        if self.voxel_size is not None:
            sizes = _checks.finite("voxel_size", self.voxel_size, ndim=1, dtype=float)
            object.__setattr__(self, "voxel_size", tuple(_checks.spacing("voxel_size", sizes, len(sizes)).tolist()))
        if self.history is not None and not isinstance(self.history, str):
            raise TypeError(f"history is {_shown.repr(self.history)}; write the path of a JSON file")


def read_description(path: str | Path) -> CohortDescription:
    """Read a ``cohort.toml``.

    Raises
    ------
    ModelFileError
        If the file is missing, is no TOML, has an unknown key or an invalid value, or if the folder was not written to
        its end.
    """
    path = Path(path)
    values = read_toml(path)
    unfinished = bool(values.pop(_UNFINISHED, False))
    refuse_if(unfinished, f"{path} is of a folder that was not written to its end; write it again, or remove it")
    known = [each.name for each in fields(CohortDescription) if each.name != "folder"]
    readers: Mapping[str, Callable[[Any], Any]] = {
        "subjects": lambda value: (
            None if value == "all" else _list("subjects", value, "names, or leave it out for all")
        ),
        "voxel_size": lambda value: _list("voxel_size", value, "numbers"),
        "relabel": _relabel,
        "objects": _objects,
        "preparation": _preparation,
    }
    try:
        _refuse_unknown("", values, known)
        arguments = {key: readers[key](value) if key in readers else value for key, value in values.items()}
        return CohortDescription(path.parent, **arguments)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ModelFileError(f"{path}: {error}") from error


def _refuse_unknown(where: str, values: Iterable[str], known: Iterable[str]) -> None:
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            remedy = f"did you mean {close[0]!r}?" if close else f"use {', '.join(known)}"
            raise ValueError(f"{where}{key!r} is no known key; {remedy}")


def _list(name: str, value: Any, items: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{name} is {_shown.repr(value)}; write a list of {items}")
    return tuple(value)


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {_shown.repr(value)}; write a table, [{name}]")
    return value


def _relabel(value: Any) -> dict[int, int]:
    changes: dict[int, int] = {}
    for old, new in _table("relabel", value).items():
        try:
            before = int(old)
        except ValueError:
            raise ValueError(f"relabel names {old!r}; write OLD = NEW with integers") from None
        changes[before] = _checks.integer(f"relabel.{old}", new, minimum=-(2**63), maximum=2**63 - 1)
    return changes


def _objects(value: Any) -> tuple[LandmarkObject, ...]:
    if not isinstance(value, list):
        raise TypeError(f"objects is {_shown.repr(value)}; write a table [[objects]] for each")
    objects = []
    for each in value:
        table = _table("objects", each)
        _refuse_unknown("in [[objects]], ", table, _OBJECT_KEYS)
        missing = [key for key in ("name", "landmarks") if key not in table]
        if missing:
            raise ValueError(f"an object lacks {missing[0]!r}; write name, kind and landmarks")
        objects.append(LandmarkObject(table["name"], _indices(table["landmarks"]), table.get("kind", "points")))
    return tuple(objects)


def _indices(value: Any) -> tuple[int, ...]:
    """Return the landmarks of a list of numbers, or of a range such as ``"0:32"`` without its end."""
    if isinstance(value, list):
        return tuple(value)
    try:
        start, stop = (int(end) for end in value.split(":"))
    except (AttributeError, ValueError):
        shown = _shown.repr(value)
        raise ValueError(f'landmarks of an object is {shown}; write "FIRST:END", END excluded, or a list') from None
    if max(stop, stop - start) > _MOST_LANDMARKS:
        raise ValueError(
            f"landmarks of an object is {_shown.repr(value)}, more than any cohort has; write those of this one"
        )
    return tuple(range(start, stop))


def _preparation(value: Any) -> PreparationOptions:
    table = _table("preparation", value)
    _refuse_unknown("in [preparation], ", table, [each.name for each in fields(PreparationOptions)])
    return PreparationOptions(**table)


def write_description(description: CohortDescription, *, finished: bool = True) -> Path:
    """Write a ``cohort.toml`` into its folder; `read_description` refuses one that is not finished."""
    data = encode_description(description, finished=finished)
    path = description.folder / DESCRIPTION_NAME
    write_atomically(path, data)
    return path


def encode_description(description: CohortDescription, *, finished: bool) -> bytes:
    """Return the bytes of a ``cohort.toml``; values that are defaults are left out."""
    import tomli_w

    values: dict[str, Any] = {} if finished else {_UNFINISHED: True}
    values |= {key: getattr(description, key) for key in (*_PATTERNS, "subjects", "voxel_size", "history")}
    values["relabel"] = {str(old): new for old, new in description.relabel.items()}
    values["preparation"] = differences(description.preparation)
    values["objects"] = [
        {"name": each.name, "kind": each.kind, "landmarks": _encode_indices(each.indices)}
        for each in description.objects or ()
    ]
    return tomli_w.dumps({key: value for key, value in values.items() if value not in (None, {}, [])}).encode()


def _encode_indices(indices: tuple[int, ...]) -> str | tuple[int, ...]:
    first, end = indices[0], indices[0] + len(indices)
    return f"{first}:{end}" if indices == tuple(range(first, end)) else indices
