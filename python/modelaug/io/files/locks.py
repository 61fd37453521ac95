"""Locks of folders: one run at a time works in a folder, and notices if the folder is removed.

A run holds a lock of the operating system on a file in its folder, with a note of its process. However a process ends,
its lock ends with it, so the folder of a dead run can be continued and a living run is never disturbed.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from modelaug.io.files.writing import FolderLostError, writing

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK: Final = ".modelaug.lock"

_LOG: Final = logging.getLogger(__name__)
_UNSUPPORTED: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_BUSY: Final = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_OPEN: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_BEYOND: Final = 2**30  # the byte that Windows locks; other processes can read all before it
_LONGEST: Final = 4096  # bytes of a note
_SHOWN: Final = 200  # characters of a command
_PAUSE: Final = 0.2  # seconds

_held: Final[dict[tuple[int, str], Hold]] = {}
"""Locks of this process, by thread and file."""


class Hold:
    """A run's lock on a folder, see `hold_folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self._path = folder, folder / name
        self._contents: Callable[[], str] = _nothing
        self._handle = _acquire(folder, self._path)

    @property
    def lost(self) -> bool:
        """Whether the folder was removed or moved since the lock was acquired."""
        return not _is_at(self._path, self._handle)

    def check(self) -> None:
        """Raise FolderLostError if the folder was removed or moved."""
        if self.lost:
            raise self.error()

    def error(self) -> FolderLostError:
        """Return the error for a lost folder."""
        error = FolderLostError(f"{self.folder} was removed or moved while it was written to; {self._contents()}")
        error.folder = self.folder
        return error

    @contextmanager
    def reporting(self, contents: Callable[[], str]) -> Iterator[None]:
        """Raise FolderLostError at the end if the folder is lost, in place of success or any other error."""
        before, self._contents = self._contents, contents
        try:
            yield
            self.check()
        except Exception as error:
            if self.lost and not (isinstance(error, FolderLostError) and error.folder == self.folder):
                raise self.error() from error
            raise
        finally:
            self._contents = before

    def release(self) -> None:
        """Release the lock."""
        if sys.platform == "win32":
            os.close(self._handle)  # an open file cannot be removed
        if sys.platform == "win32" or not self.lost:
            with suppress(OSError):
                self._path.unlink()
        if sys.platform != "win32":
            os.close(self._handle)


def make_parent(path: str | Path) -> None:
    """Create the folder of a file, unless it lies in a folder that this process holds and that was removed or moved.

    Such a folder would exist again, with only a part of its files.

    Raises
    ------
    FolderLostError
        If it is known already that such a folder was removed.
    OSError
        If the folder cannot be made, or that folder is removed just now.
    """
    parent, missing = Path(os.path.abspath(path)).parent, []
    held = {Path(key[1]).parent: (key, hold) for key, hold in tuple(_held.items())}
    for folder in (parent, *parent.parents):
        if folder in held:
            key, hold = held[folder]
            # Another thread may have released it just now, which is no loss.
            if hold.lost and _held.get(key) is hold:
                raise hold.error()
    while parent not in held and not parent.is_dir():
        missing.append(parent)
        parent = parent.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)


def _nothing() -> str:
    return "what was written is not in it"


@contextmanager
def hold_folder(
    folder: str | Path,
    *,
    name: str = LOCK,
    rivals: Callable[[], Iterable[str]] = tuple,
    contents: Callable[[], str] = _nothing,
    patience: float = 0.0,
) -> Iterator[Hold]:
    """Lock a folder against other runs; within, the same thread may lock it again.

    Parameters
    ----------
    folder
        Created if missing; then removed at the end if it is empty.
    name
        Name of the lock's file. Runs with different names may share the folder.
    rivals
        Returns names of other locks in the folder, whose runs must have ended.
    contents
        Returns how much of the output is complete, for the message if the folder is lost.
    patience
        Seconds to wait for another run to end.

    Yields
    ------
    Hold

    Raises
    ------
    BlockingIOError
        If another run holds the folder; the message names it.
    ValueError
        If the lock's file is a link.
    FolderLostError
        At the end, if the folder was removed or moved meanwhile, in place of any other error.
    """
    place = Path(folder)
    key = (threading.get_ident(), os.path.abspath(place / name))
    hold = _held.get(key)
    if hold is not None:
        with hold.reporting(contents):
            yield hold
        return
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(f"{folder} is a file; pass a folder")
    made = not place.is_dir()
    with writing(place):
        make_parent(place / name)
    try:
        hold = _wait(place, name, patience)
        _held[key] = hold
        try:
            for rival in rivals():
                Hold(place, rival).release()
            with hold.reporting(contents):
                yield hold
        finally:
            del _held[key]
            hold.release()
    finally:
        if made:
            with suppress(OSError):
                place.rmdir()


def _wait(folder: Path, name: str, patience: float) -> Hold:
    end = time.monotonic() + patience
    while True:
        try:
            return Hold(folder, name)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(_PAUSE)


def _acquire(folder: Path, path: Path) -> int:
    """Open and lock a lock's file, note this process in it, and return its handle."""
    while True:
        if path.is_symlink():  # to a file of the user's, which would be overwritten
            raise ValueError(f"{path} is a link, not the file of a run; remove it")
        with writing(path):
            handle = os.open(path, _OPEN, 0o666)
        try:
            if not _lock(handle):
                raise BlockingIOError(
                    f"{folder} is in use by {_holder(handle)}; wait until that run ends, or pass another folder"
                )
            if _is_at(path, handle):
                _sign(path, handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the file of a run that has just ended and removed it


def _sign(path: Path, handle: int) -> None:
    """Write a note of this process into a lock's file."""
    try:
        with writing(path):
            os.ftruncate(handle, 0)
            os.write(handle, _note())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _lock(handle: int) -> bool:
    """Lock an open file; return False if another process has locked it."""
    try:
        if sys.platform == "win32":
            os.lseek(handle, _BEYOND, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno not in _UNSUPPORTED:
            raise
        _LOG.warning("this file system has no locks (%s); see that no other run works in the folder", error.strerror)
    return True


def _is_at(path: Path, handle: int) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except OSError:
        return False


def _note() -> bytes:
    program, *arguments = sys.argv or [""]
    name = "modelaug" if Path(program).name == "__main__.py" else Path(program).name
    command = " ".join(shlex.join([name, *arguments]).split())
    note = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "command": command if len(command) <= _SHOWN else f"{command[:_SHOWN]}...",
    }
    return (json.dumps(note) + "\n").encode()


def _holder(handle: int) -> str:
    """Return which process holds a lock, by the note in its file."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        note: dict[str, Any] = json.loads(os.read(handle, _LONGEST))
        process = f"process {note['pid']} on {note['host']} since {note['since']} ({note['command']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just begun
        return "another run"
    return " ".join(process.split())
