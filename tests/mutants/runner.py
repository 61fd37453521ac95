"""Runs the tests of mutants on copies of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import modelaug
from modelaug import _core
from tests.mutants.mutant import Mutant

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = Path(modelaug.__file__).resolve().parent
PASSED, FAILED = 0, 1  # exit statuses of pytest; all others are errors
BROKEN = 99

# An editable install comes before PYTHONPATH; Python runs this file before all else, in child processes too.
_LOOK_PAST_EDITABLE = """\
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
"""


class MutantError(Exception):
    """The list of mutants, or a test that was to run, is not what it should be."""


class Run(NamedTuple):
    """Tests that were run: pytest's exit status, None after a time-out, its output, and how long it took."""

    status: int | None
    output: str
    seconds: float


class Outcome(NamedTuple):
    """What became of a mutant: the test that killed it, "time-out", or None if it survived."""

    killer: str | None
    seconds: float


def mutated(mutant: Mutant, package: Path = PACKAGE) -> str:
    """Return the text of the mutant's file with its mistake.

    Raises
    ------
    MutantError
        If there is no such file, the text to replace does not occur exactly once, or the mistake is no Python.
    """
    path = package / mutant.file
    if not path.is_file():
        raise MutantError(f"{mutant.file} does not exist ({mutant.what})")
    text = path.read_text(encoding="utf-8")
    count = text.count(mutant.old)
    if count != 1 or mutant.old == mutant.new:
        raise MutantError(
            f"{mutant.file} holds {mutant.old!r} {count} times ({mutant.what}); change what is there once"
        )
    changed = text.replace(mutant.old, mutant.new)
    try:
        compile(changed, mutant.file, "exec")
    except SyntaxError as error:
        raise MutantError(f"{mutant.file} is no Python with {mutant.new!r} ({mutant.what}): {error}") from error
    return changed


def check(mutants: Iterable[Mutant]) -> None:
    """Raise MutantError unless every mutant can be made and its tests' files exist."""
    for mutant in mutants:
        mutated(mutant)
        if not mutant.tests:
            raise MutantError(f"no test is named ({mutant.what})")
        for test in mutant.tests:
            file, *names = test.split("::")
            if not (TESTS / file).is_file():
                raise MutantError(f"tests/{file} does not exist ({mutant.what})")
            if names and f"def {names[-1].partition('[')[0]}(" not in (TESTS / file).read_text(encoding="utf-8"):
                raise MutantError(f"tests/{file} has no test {names[-1]} ({mutant.what})")


@contextmanager
def copy_of_package() -> Iterator[Path]:
    """Give a temporary folder that holds the package with its compiled part, and let go of it."""
    with tempfile.TemporaryDirectory(prefix="modelaug-mutant-") as folder:
        root = Path(folder)
        shutil.copytree(PACKAGE, root / "modelaug", ignore=shutil.ignore_patterns("_core*.so"))
        shutil.copy2(_core.__file__, root / "modelaug")
        (root / "sitecustomize.py").write_text(_LOOK_PAST_EDITABLE, encoding="utf-8")
        yield root


def run_tests(root: Path, tests: Sequence[str], *, limit: float | None = None) -> Run:
    """Run tests on the copy of the package in a folder, until one fails or the time (in seconds) is over."""
    command = [sys.executable, "-c", _COMMAND, "-x", "-q", "-p", "no:cacheprovider"]
    # The options of the project are for people: no more processes, nothing left out.
    command += ["-o", "addopts=-ra --import-mode=importlib", *(f"tests/{test}" for test in tests)]
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(root / "hypothesis"),
    }
    start = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        process = subprocess.Popen(
            command, cwd=TESTS.parent, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(process)
        file.seek(0)
        return Run(status, file.read(), time.monotonic() - start)


# A package that cannot be imported is no mutant.
_COMMAND = f"""\
import os, sys, traceback
try:
    import modelaug, pytest
    assert modelaug.__file__.startswith(os.environ["PYTHONPATH"]), modelaug.__file__
except BaseException:
    traceback.print_exc()
    sys.exit({BROKEN})
sys.exit(pytest.main(sys.argv[1:]))
"""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children, which are a group of their own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 9)
    process.wait()


def check_tests(mutants: Sequence[Mutant], jobs: int) -> float:
    """Run all tests that mutants name on the package as it is, and return how long that took in seconds.

    Raises
    ------
    MutantError
        If one of them fails.
    """
    named = sorted({test for mutant in mutants for test in mutant.tests})
    whole = {test for test in named if "::" not in test}
    named = [test for test in named if test in whole or test.partition("::")[0] not in whole]
    parts = [named[k::jobs] for k in range(min(jobs, len(named)))]

    def one(part: list[str]) -> Run:
        with copy_of_package() as root:
            return run_tests(root, part)

    start = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        for run in pool.map(one, parts):
            if run.status != PASSED:
                raise MutantError(f"tests fail on the package as it is:\n{run.output[-4000:]}")
    return time.monotonic() - start


def try_mutant(mutant: Mutant, *, limit: float) -> Outcome:
    """Make a mutant and run its tests.

    Raises
    ------
    MutantError
        If they neither pass nor fail.
    """
    with copy_of_package() as root:
        path = root / "modelaug" / mutant.file
        path.write_text(mutated(mutant), encoding="utf-8")
        run = run_tests(root, mutant.tests, limit=limit)
    if run.status is None:
        return Outcome("time-out", run.seconds)
    if run.status not in (PASSED, FAILED):
        raise MutantError(f"tests of {mutant.file} ({mutant.what}) did not run:\n{run.output[-4000:]}")
    return Outcome(_killer(run.output) if run.status == FAILED else None, run.seconds)


def _killer(output: str) -> str:
    """Return the test that failed, as pytest's summary names it."""
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", output, re.MULTILINE)
    return found[1] if found else "?"
