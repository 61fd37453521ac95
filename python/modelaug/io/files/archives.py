"""Atomic writing of files and of ``.npz`` archives."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.io.files.arrays import open_archive
from modelaug.io.files.locks import make_parent
from modelaug.io.files.writing import TEMPORARY, writing

Content = bytes | bytearray | memoryview

_MASK_LOCK: Final = threading.Lock()  # reading the mask sets it, which two threads must not do at once


def write_atomically(path: str | Path, content: Content | Callable[[IO[bytes]], object]) -> None:
    """Write bytes, or what a function writes, to a temporary file beside `path`, then rename it.

    So `path` is never half-written.

    Raises
    ------
    OSError
        If the file cannot be written; the message names it, not the temporary one.
    FolderLostError
        If it would lie in a folder that this process holds, and that was removed.
    """
    target = Path(path)
    with writing(target):
        make_parent(target)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=TEMPORARY, dir=target.parent)
    try:
        with writing(target, all=False), os.fdopen(handle, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with writing(target):
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    with _MASK_LOCK:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def write_archive(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays to an uncompressed ``.npz`` file, atomically."""
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def write_npy(path: str | Path, array: npt.NDArray[Any]) -> None:
    """Write an array to a ``.npy`` file, atomically."""
    write_atomically(path, lambda file: np.save(file, array, allow_pickle=False))


def read_archive(path: str | Path, *, required: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an ``.npz`` file.

    Raises
    ------
    ModelFileError
        If the file is missing, is no ``.npz``, is damaged, holds anything but numbers and text, or lacks a required
        array.
    """
    with open_archive(path) as archive:
        archive.require(*required)
        return {name: archive.read(name, text=True) for name in archive.headers}
