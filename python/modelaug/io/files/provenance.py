"""Provenance of the results in a folder, noted so that no later run adds results of another source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.io.files.archives import write_atomically
from modelaug.io.files.reading import legible, read_own_json, reading, refuse_if

SOURCE: Final = "source.json"
"""Name of the file with a folder's provenance."""

_FORMAT: Final = "modelaug provenance"
_VERSION: Final = 1

_SAME_RESULTS: Final = ("0.1.0", "0.2.0")
"""Versions whose pairs and results are the same, so that one goes on with what another began."""


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with reading(path, "a file", "check the path"), open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()


def array_digest(*arrays: npt.NDArray[Any]) -> str:
    """Return the SHA-256 of the first array's shape and all arrays' bytes in hexadecimal."""
    digest = hashlib.sha256(repr(arrays[0].shape).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def as_json(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a mapping to the form in which it comes back from a JSON file.

    Raises
    ------
    TypeError, ValueError
        If it is no mapping, or holds values that JSON cannot.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} is {values!r}; pass a mapping")
    try:
        converted: dict[str, Any] = json.loads(json.dumps(dict(values), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} cannot be written as JSON ({error}); pass plain numbers, words, lists and dicts") from None
    return converted


def write_json(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, atomically."""
    write_atomically(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def refuse_other(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ValueError if the results in a folder have another provenance than new ones, both as in JSON."""
    for name in {**now, **before}:
        if name == "modelaug" and before.get(name) in _SAME_RESULTS and now.get(name) in _SAME_RESULTS:
            continue
        if before.get(name) != now.get(name):
            old, new = (
                json.dumps(values[name]) if values.get(name) is not None else "none" for values in (before, now)
            )
            raise ValueError(
                legible(f"{folder} holds results of {name} {old}, not {new}; pass another folder, or remove it")
            )


def claim_folder(folder: str | Path, source: Mapping[str, Any]) -> None:
    """Note the source of a folder's results in ``source.json``, or check that the noted one is the same.

    Parameters
    ----------
    folder
        Created if missing.
    source
        Values that identify the source; must be JSON.

    Raises
    ------
    TypeError, ValueError
        If `source` is no JSON, or the folder holds results of another source.
    ModelFileError
        If ``source.json`` cannot be read.
    """
    path = Path(folder) / SOURCE
    now = as_json("source", source)
    if path.exists():
        before = read_own_json(path, format=_FORMAT, version=_VERSION).get("source") or {}
        refuse_if(not isinstance(before, dict), f"{path} names no source but {before!r}; remove it")
        refuse_other(Path(folder), before, now)
    else:
        write_json(path, {"format": _FORMAT, "version": _VERSION, "source": now})
