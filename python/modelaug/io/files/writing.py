"""Writing a user's file: what an error means, and what a process leaves that is killed meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from modelaug.io.files.reading import one_line

TEMPORARY: Final = ".tmp"
"""Ending of files that are being written; they begin with a dot, their later name and another dot."""


class FolderLostError(OSError):
    """A folder, or what was written into it, was removed or moved while a run was at work there."""

    folder: Path | None = None


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
    except FolderLostError:
        raise
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
    for path in list(Path(folder).glob(f".*{TEMPORARY}")):
        name = path.name[1 : -len(TEMPORARY)].rpartition(".")[0]
        if not name or not of(name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
