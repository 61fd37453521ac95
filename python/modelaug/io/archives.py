"""``.npz`` archives, written whole or not at all, read without ever unpickling."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.io.arrays import open_archive
from modelaug.io.reading import one_line

__all__ = ["read_archive", "remove_leftovers", "write_archive", "write_atomically", "writing"]

_TEMPORARY: Final = ".tmp"
_ASKING: Final = threading.Lock()  # the mask can only be read by setting it, which two threads must not do at once


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it, so that `path` is never half-written.

    Raises
    ------
    OSError
        If the file cannot be written; the message names it, not the temporary one.
    """
    target = Path(path)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=_TEMPORARY, dir=target.parent)
    try:
        with writing(target, all=False), os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        with writing(target):
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: str | Path, *, all: bool = True) -> Iterator[None]:
    """Let an OSError name the file that is being written, in one line; by themselves those of full disks name none.

    Parameters
    ----------
    path
        The file.
    all
        Whether also errors that name a file do, such as a temporary one, or only those that name none.

    Raises
    ------
    OSError
        Of the same kind and number.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and not all:
            raise
        # numpy tells of a full disk by an error without number.
        reason = error.strerror or f"{one_line(error)}; the disk may be full"
        told = type(error)(f"{path} cannot be written ({reason})")
        told.errno = error.errno
        raise told from error


def remove_leftovers(folder: str | Path, of: Callable[[str], bool]) -> None:
    """Remove temporary files, and folders, that a killed process left of the files `of` holds for; see `hold_folder`.

    Parameters
    ----------
    folder
        Where they lie.
    of
        Whether what is named so is written by none but the caller.
    """
    for path in list(Path(folder).glob(f".*{_TEMPORARY}")):
        name = path.name[1 : -len(_TEMPORARY)].rpartition(".")[0]
        if not name or not of(name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


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
        If the file is missing, is no ``.npz``, is damaged, holds anything but numbers and text, or lacks a required
        array.
    """
    with open_archive(path) as archive:
        archive.require(*required)
        return {name: archive.read(name) for name in archive.headers}
