"""Errors of writing, and temporary files that killed processes leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from modelaug.io.files.reading import one_line

TEMPORARY: Final = ".tmp"
"""Ending of files that are being written; their names begin with a dot, the later name and another dot."""


class FolderLostError(OSError):
    """A folder, or what was written into it, was removed or moved while a run was at work there."""

    folder: Path | None = None


@contextmanager
def writing(path: str | Path, *, all: bool = True) -> Iterator[None]:
    """Make any OSError name the file that is being written, in one line; errors of full disks name none.

    Parameters
    ----------
    path
        The file.
    all
        Whether errors that already name a file, such as a temporary one, are changed, too.

    Raises
    ------
    OSError
        An error of the same class and number.
    """
    try:
        yield
    except FolderLostError:
        raise
    except OSError as error:
        if error.filename is not None and not all:
            raise
        # numpy reports a full disk by an error without number.
        reason = error.strerror or f"{one_line(error)}; the disk may be full"
        named = type(error)(f"{path} cannot be written ({reason})")
        named.errno = error.errno
        raise named from error


def remove_leftovers(folder: str | Path, of: Callable[[str], bool]) -> None:
    """Remove temporary files and folders of a killed process; see `hold_folder`.

    Parameters
    ----------
    folder
        The folder.
    of
        Returns whether only the caller writes a file of this name, whose temporary files can be removed.
    """
    for path in list(Path(folder).glob(f".*{TEMPORARY}")):
        name = path.name[1 : -len(TEMPORARY)].rpartition(".")[0]
        if not name or not of(name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
