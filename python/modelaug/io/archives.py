"""``.npz`` archives, written whole or not at all, read without ever unpickling."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.io.reading import ModelFileError, reading

__all__ = ["read_archive", "write_archive", "write_atomically"]

_ASKING: Final = threading.Lock()  # the mask can only be read by setting it, which two threads must not do at once


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it, so that `path` is never half-written."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    with _ASKING:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def write_archive(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays to an uncompressed ``.npz`` file, atomically."""

    def write(file: IO[bytes]) -> None:
        np.savez(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def read_archive(path: str | Path, *, required: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an ``.npz`` file.

    Raises
    ------
    ModelFileError
        If the file is missing, is no ``.npz``, is truncated, holds pickled objects, or lacks a required array.
    """
    # Opened here: numpy leaves a file open that turns out to be no archive.
    with reading(path, ".npz"), open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ModelFileError(f"{path} holds a single array; pass an .npz file")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    alien = next((name for name, array in arrays.items() if not isinstance(array, np.ndarray)), None)
    if alien is not None:
        raise ModelFileError(f"{path} holds {alien!r}, which is no array; pass another file")
    missing = [name for name in required if name not in arrays]
    if missing:
        raise ModelFileError(f"{path} lacks the array {missing[0]!r} (it holds {sorted(arrays)}); pass another file")
    return arrays
