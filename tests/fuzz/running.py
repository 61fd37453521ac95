"""Reading damaged files in a process that is watched: what came of each."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np

from modelaug import ModelFileError
from tests.fuzz.kinds import KINDS, Kind, make
from tests.fuzz.mutations import damaged
from tests.memory import peak_memory

__all__ = ["OUTCOMES", "Result", "damage", "prepare", "run", "table", "try_one", "work"]

OUTCOMES: Final = ("read", "refused", "unclear", "foreign", "crash", "hang", "memory")
"""``read`` and ``refused`` are right; ``unclear`` is a refusal of several lines or that does not name the file."""

_SECONDS: Final = 20.0
"""For which one input may be read; most take some milliseconds."""

_MOST_MEMORY: Final = 512 << 20
"""Bytes that reading one input, of some kilobytes, may need."""

_ADDRESSES: Final = 6 << 30
"""Bytes of address space for a worker beyond what it has when it begins, so that the machine is safe."""

_RECYCLED: Final = 2000  # inputs after which a worker is replaced
_SLOW_START: Final = 180.0  # seconds for the imports of a worker


@dataclass(frozen=True)
class Result:
    """What came of one input.

    Attributes
    ----------
    kind, seed
        Which input.
    outcome
        One of `OUTCOMES`.
    message
        Of the exception or the end of the process.
    """

    kind: str
    seed: int
    outcome: str
    message: str = ""

    @property
    def good(self) -> bool:
        """Whether this is what should be."""
        return self.outcome in ("read", "refused")


def damage(kind: Kind, seed: int, valid: Path, folder: Path) -> None:
    """Copy the valid example of a kind into a new folder, with damage to one or two of its files."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(valid / kind.name, folder)
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(kind.name.encode())]))
    files = _files(folder)
    donors = [path.read_bytes() for name in (kind.name, *_alike(kind)) for path in _files(valid / name)]
    for k in rng.permutation(len(files))[: 2 if rng.random() < 0.1 else 1]:
        path = files[int(k)]
        if len(files) > 1 and rng.random() < 0.03:
            path.unlink()
        else:
            path.write_bytes(damaged(path.read_bytes(), rng, donors))


def prepare(names: Sequence[str], valid: Path) -> None:
    """Write the examples that damage to these kinds needs, unless they are there."""
    for name in {each for one in names for each in (one, *_alike(KINDS[one]))}:
        if not (valid / name).exists():
            make(KINDS[name], valid / name)


def _alike(kind: Kind) -> list[str]:
    """Return the kinds from whose examples pieces are taken: those before and after it."""
    names = [name for name, each in KINDS.items() if each.needs_torch == kind.needs_torch]
    k = names.index(kind.name)
    return names[max(0, k - 1) : k] + names[k + 1 : k + 2]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def try_one(kind: Kind, folder: Path) -> tuple[str, str]:
    """Read what lies in a folder; return the outcome and a message."""
    before = peak_memory(reset=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.read(folder)
        outcome, message = "read", ""
    except (ModelFileError, ValueError, TypeError) as error:
        outcome, message = _judged(error, folder)
    except BaseException as error:  # the worker reports whatever it is
        outcome, message = "foreign", _told(error)
    used = peak_memory() - before
    if used > _MOST_MEMORY or "memory" in message:  # what is in no proportion to the file
        return "memory", f"{used >> 20} MiB more than before; {message}"
    return outcome, message


def _judged(error: Exception, folder: Path) -> tuple[str, str]:
    text = str(error)
    names = {part for path in (folder, *folder.rglob("*")) for part in (path.name, path.name.partition(".")[0])}
    if not text or len(text.splitlines()) > 1 or "\n" in text:
        return "unclear", f"several lines or none: {_told(error)}"
    if len(text) > 2000:
        return "unclear", f"{len(text)} characters: {_told(error)}"
    if not any(name in text for name in names):
        return "unclear", f"names no file: {_told(error)}"
    # Python's own complaints, such as those of a missing argument, say nothing about a file.
    foreign = isinstance(error, TypeError) and ("positional argument" in text or "object is not" in text)
    return ("foreign", _told(error)) if foreign else ("refused", text)


def _told(error: BaseException) -> str:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f" at {Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last is not None else ""
    return f"{type(error).__name__}{place}: {' '.join(str(error).split())[:300]}"


# Processes


def work(valid: Path, answers: IO[str]) -> None:
    """Read inputs, each a line ``seed kind`` on standard input; write a line of JSON about each."""
    for module in ("SimpleITK", "nibabel", "PIL.Image", "tifffile"):
        with contextlib.suppress(ImportError):
            __import__(module)
    lines = [line.rstrip("\n").partition(" ") for line in sys.stdin]
    if any(KINDS[name].needs_torch for _, _, name in lines):
        import modelaug.learning  # noqa: F401
    _limit_memory()
    print("ready", file=answers, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for seed, _, name in lines:
            folder = Path(scratch) / "fuzzed"
            damage(KINDS[name], int(seed), valid, folder)
            outcome, message = try_one(KINDS[name], folder)
            print(json.dumps(asdict(Result(name, int(seed), outcome, message))), file=answers, flush=True)


def _limit_memory() -> None:
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESSES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(
    inputs: Sequence[tuple[str, int]], valid: Path, *, progress: Callable[[int], None] = lambda done: None
) -> list[Result]:
    """Read damaged files of the given kinds and seeds in workers, one after another, and return what came of each."""
    prepare([name for name, _ in inputs], valid)
    results: list[Result] = []
    while len(results) < len(inputs):
        rest = inputs[len(results) : len(results) + _RECYCLED]
        for result in _worker(rest, valid):
            results.append(result)
            progress(len(results))
    return results


def _worker(inputs: Sequence[tuple[str, int]], valid: Path) -> Iterator[Result]:
    """Yield the results of one worker, which may end before all are done; the last one then says how."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryDirectory() as temporary:
        worker = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", "--work", str(valid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment | {"TMPDIR": temporary},
            cwd=Path(__file__).parents[2],
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        done = 0
        try:
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.write("".join(f"{seed} {name}\n" for name, seed in inputs).encode())
                worker.stdin.close()
            lines = _Lines(worker.stdout.fileno())
            if lines.next(_SLOW_START) != "ready":
                raise RuntimeError(f"a worker did not begin: {_tail(errors)}")
            while done < len(inputs) and (line := lines.next(_SECONDS)):
                yield Result(**json.loads(line))
                done += 1
            if done < len(inputs):
                ended = worker.wait(timeout=5) if lines.ended else None
                what = "hang" if ended is None else "crash"
                yield Result(
                    *inputs[done], what, f"status {ended}; {_tail(errors)}" if what == "crash" else "no answer"
                )
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()


class _Lines:
    """Lines from a pipe, waited for no longer than is said."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._buffer = descriptor, b""
        self.ended = False

    def next(self, seconds: float) -> str:
        """Return the next line; an empty string if there is none in time, or the pipe has ended."""
        end = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                return ""
            more = os.read(self._descriptor, 1 << 16)
            if not more:
                self.ended = True
                return ""
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


def _tail(errors: IO[str]) -> str:
    """Return the essence of what a worker said at its end."""
    errors.seek(0)
    lines = [line.strip() for line in errors.read().splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("Fatal")]
    places = [line for line in lines if line.startswith("File") and "modelaug" in line]
    return " ".join((fatal[-1:] or lines[-1:]) + places[:3])[:500]


def table(results: Sequence[Result]) -> str:
    """Return a line per kind with how often what came of it."""
    counts = Counter((result.kind, result.outcome) for result in results)
    kinds = list(dict.fromkeys(result.kind for result in results))
    width = max(map(len, kinds))
    head = f"{'kind':{width}} {'inputs':>7}" + "".join(f"{name:>9}" for name in OUTCOMES)
    rows = [head]
    for kind in (*kinds, "all"):
        row = [sum(n for (k, o), n in counts.items() if o == name and kind in (k, "all")) for name in OUTCOMES]
        rows.append(f"{kind:{width}} {sum(row):>7}" + "".join(f"{n:>9}" for n in row))
    return "\n".join(rows)
