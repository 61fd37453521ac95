"""Kernels execute no more than 5 % more instructions than were recorded: a gate that no noise of the machine passes.

    python tests/test_instruction_counts.py     # or `make instructions`: records the counts anew

cpp/bench/instructions.cpp is built without Python and run under callgrind with the instruction set v3, the best that
valgrind knows. Counts are kept in instruction_counts.json by compiler and processor; with others there is nothing to
compare with, and the tests are skipped.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORDED = Path(__file__).with_name("instruction_counts.json")
BUILD = ROOT / "build" / "instructions"
ALLOWED = 1.05
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("CXXFLAGS", "CPPFLAGS", "LDFLAGS")},
    "MODELAUG_ISA": "v3",
    "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
}
"""Programs of the Python environment come first; flags of the user's would change what is counted."""


def run(*command: str | Path) -> str:
    """Return all a command printed, or fail with it."""
    done = subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}:\n{done.stdout}")
    return done.stdout


def missing() -> str | None:
    """Return what keeps counts from being taken here, or None."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"counts are of x86-64, this is {platform.machine()}"
    for program in ("valgrind", "cmake", "ninja"):
        if shutil.which(program, path=ENVIRONMENT["PATH"]) is None:
            return f"found no {program}; install it to have instructions counted"
    flags = re.search("^flags.*$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    if flags is None or not {"avx2", "bmi2", "fma"} <= set(flags[0].split()):
        return "counts are of the instruction set v3, which this processor lacks"
    return None if (ROOT / "CMakeLists.txt").is_file() else "needs the sources"


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other worker of the tests builds."""
    import fcntl  # where there is valgrind there is this

    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def build() -> tuple[Path, str, list[str]]:
    """Return the program, the compiler and processor that its counts are of, and the kernels it knows."""
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_PREFIX_PATH": ";".join(path for path in sys.path if path.endswith("site-packages")),
        "MODELAUG_COUNTED": "ON",
        "SKBUILD_PROJECT_VERSION": "0",
    }
    settings = [f"-D{name}={value}" for name, value in options.items()]
    program = BUILD / "instructions"
    with one_at_a_time():
        # So that no other environment's Eigen or compiler is kept; what need not be compiled anew still is not.
        (BUILD / "CMakeCache.txt").unlink(missing_ok=True)
        run("cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", *settings)
        run("cmake", "--build", BUILD)
    compiler, *kernels = run(program).splitlines()
    return program, f"{compiler}, {platform.machine()}", kernels


def count(kernel: str) -> int:
    """Return the instructions that a kernel executes, those of its input's making left out."""
    said = run(
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--toggle-collect=measured",
        build()[0],
        kernel,
    )
    assert re.search("^v3$", said, re.MULTILINE) is not None, said
    found = re.search(r"Collected : (\d+)", said)
    assert found is not None, said
    return int(found[1])


def recorded() -> dict[str, dict[str, int]]:
    result: dict[str, dict[str, int]] = json.loads(RECORDED.read_text())
    return result


def expected(kernel: str) -> int:
    """Return a kernel's recorded count, or skip where there are none of this compiler and processor."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    here = build()[1]
    if here not in recorded():
        pytest.skip(f"counts are recorded of {' and '.join(recorded())}, not of {here}; `make instructions` records")
    return recorded()[here][kernel]


@pytest.mark.parametrize("kernel", sorted({name for counts in recorded().values() for name in counts}))
def test_no_more_instructions_than_recorded(kernel: str) -> None:
    before = expected(kernel)
    now = count(kernel)
    assert now <= ALLOWED * before, (
        f"{kernel} executes {now} instructions, {now / before - 1:.1%} more than the {before} recorded. If that buys "
        "something, record it with `make instructions` (python tests/test_instruction_counts.py)"
    )


def test_every_kernel_is_recorded() -> None:
    expected("compose_2d")
    _, here, kernels = build()
    assert set(recorded()[here]) == set(kernels), "run `make instructions`"


def record() -> None:
    """Count all kernels, show what changed, and write the file."""
    reason = missing()
    if reason is not None:
        raise SystemExit(reason)
    counts = recorded() if RECORDED.exists() else {}
    _, here, kernels = build()
    before = counts.get(here, {})
    counts[here] = {}
    for kernel in kernels:
        now = counts[here][kernel] = count(kernel)
        print(f"{kernel:28} {now:12}", f"{now / before[kernel] - 1:+.2%}" if kernel in before else "new")
    RECORDED.write_text(json.dumps(counts, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    record()
