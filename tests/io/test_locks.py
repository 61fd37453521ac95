"""One run at a time in a folder; leftovers of dead ones; a folder that is taken away meanwhile."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelaug.io.files import locks
from modelaug.io.files.locks import LOCK, hold_folder
from modelaug.io.files.writing import FolderLostError, remove_leftovers
from tests.examples import one_line

HOLDING = """
import sys
from modelaug.io.files.locks import hold_folder
with hold_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a folder."""
    command = [sys.executable, "-c", HOLDING, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with other_run(tmp_path / "a") as process:
        before = (tmp_path / "a" / LOCK).read_bytes()
        with pytest.raises(BlockingIOError) as caught, hold_folder(tmp_path / "a"):
            pass
        one_line(caught.value)
        host = re.escape(os.uname().nodename) if hasattr(os, "uname") else ".*"
        said = (
            rf"{re.escape(str(tmp_path))}/a is in use by process {process.pid} on {host} since 20\d\d-\d\d-\d\d .* \("
        )
        assert re.match(said, str(caught.value)), caught.value
        assert (tmp_path / "a" / LOCK).read_bytes() == before
        with hold_folder(tmp_path / "b"):  # another folder is free
            pass
        process.communicate()
        assert process.returncode == 0
    assert not (tmp_path / "a").exists()  # which the run had made, and left empty


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    with other_run(tmp_path) as process:
        process.kill()
        process.wait()
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == process.pid
        with hold_folder(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff" * 100, b'{"pid": 1}', b'{"pid": "\\n"}'])
def test_a_damaged_note_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK).write_bytes(content)
    with hold_folder(tmp_path):
        (tmp_path / LOCK).write_bytes(content)
        refused = one_of_a_thread(tmp_path)
    assert "is in use by another run; wait" in str(refused)
    one_line(refused)


def one_of_a_thread(folder: Path) -> BaseException:
    """Return what another thread is told that wants to hold a folder."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with hold_folder(folder):
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return errors[0]


def test_the_same_thread_may_hold_a_folder_again_another_may_not(tmp_path: Path) -> None:
    with hold_folder(tmp_path) as hold:
        with hold_folder(tmp_path) as again:
            assert again is hold
        assert isinstance(one_of_a_thread(tmp_path), BlockingIOError)
    with hold_folder(tmp_path) as other:
        assert other is not hold


def test_many_threads_one_at_a_time(tmp_path: Path) -> None:
    """Locks are made and removed all the time; never do two hold the folder."""
    inside, most, done = [0], [0], [0]
    guard = threading.Lock()

    def work() -> None:
        for _ in range(40):
            with hold_folder(tmp_path, patience=60.0):
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with guard:
                    inside[0] -= 1
                    done[0] += 1

    monkey = pytest.MonkeyPatch()
    monkey.setattr(locks, "_PAUSE", 0.0)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads meet in the middle of things
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    monkey.undo()
    assert (most[0], done[0]) == (1, 240)


def test_waiting_for_another_run(tmp_path: Path) -> None:
    with other_run(tmp_path) as process:
        timer = threading.Timer(0.4, process.kill)
        timer.start()
        with hold_folder(tmp_path, patience=30.0):
            assert process.wait() == -signal.SIGKILL if hasattr(signal, "SIGKILL") else True


@pytest.mark.parametrize("way", ["removed", "moved", "made anew"])
def test_a_folder_that_is_lost(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "a"

    def lose() -> None:
        folder.rename(tmp_path / "b") if way == "moved" else shutil.rmtree(folder)
        if way == "made anew":
            folder.mkdir()
            (folder / LOCK).write_text("of another run")

    def work() -> None:
        with hold_folder(folder, contents=lambda: "2 of 3 are in it") as hold:
            hold.check()
            lose()
            with pytest.raises(FolderLostError, match="2 of 3 are in it"):
                hold.check()
            raise KeyError("whatever this leads to")

    with pytest.raises(FolderLostError, match="was removed or moved while it was written to; 2 of 3") as caught:
        work()
    one_line(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)
    if way == "made anew":
        assert (folder / LOCK).read_text() == "of another run"  # is left alone
    elif way == "moved":
        assert [path.name for path in (tmp_path / "b").iterdir()] == [LOCK]
    else:
        assert list(tmp_path.iterdir()) == []


def test_success_in_a_lost_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(FolderLostError, match="what was written is not in it"), hold_folder(tmp_path / "a"):
        shutil.rmtree(tmp_path / "a")


def test_a_folder_within_a_lost_one(tmp_path: Path) -> None:
    def work() -> None:
        with hold_folder(tmp_path / "a", contents=lambda: "1 of 9"), hold_folder(tmp_path / "a" / "b"):
            shutil.rmtree(tmp_path / "a")

    with pytest.raises(FolderLostError, match=r"/a was removed .*; 1 of 9"):
        work()


def test_other_errors_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold_folder(tmp_path / "a"):
        raise KeyError
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="file is a file; pass a folder"), hold_folder(tmp_path / "file"):
        pass


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fcntl = pytest.importorskip("fcntl")
    import errno

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with hold_folder(tmp_path / "a"):
        assert (tmp_path / "a" / LOCK).exists()
    assert "has no locks (No locks available)" in caplog.text


def test_leftovers_are_known_by_the_names_of_their_files(tmp_path: Path) -> None:
    names = [".a.csv.x1_z.tmp", ".b.csv.x1_z.tmp", ".a.csv.tmp", "a.csv.x1_z.tmp", ".a.csv.x1_z.tmp2", ".x1_z.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".a.csv.y.tmp").mkdir()
    (tmp_path / ".a.csv.y.tmp" / "part").write_bytes(b"half")
    remove_leftovers(tmp_path, {"a.csv"}.__contains__)
    assert {path.name for path in tmp_path.iterdir()} == set(names) - {".a.csv.x1_z.tmp"}
    remove_leftovers(tmp_path / "not there", {"a.csv"}.__contains__)


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(ValueError, match="is a link, not the file of a run; remove it"), hold_folder(tmp_path / "a"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a" / LOCK).is_symlink()
