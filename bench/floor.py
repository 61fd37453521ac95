"""What the machine can do at best: multiply-adds in registers, bytes read and copied.

    python bench/floor.py [--quick] [--json FILE]

The other benchmarks divide by these rates what a computation needs on paper; the larger quotient is its floor. The
loops are in cpp/bench/floor.cpp, compiled for this very machine when the measurement starts: a C++ compiler (CXX, c++,
g++ or clang++) is all it takes.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import report

SOURCE = Path(__file__).resolve().parent.parent / "cpp" / "bench" / "floor.cpp"
MEMORY_BYTES = 512 << 20
"""Of all threads together: more than the caches hold, or at least what is left to one guest of a shared machine."""
CACHE_BYTES = 128 << 10
"""Of each thread, source and copy alike: more than the first-level cache holds and less than the second."""
LOOP_SECONDS = 0.004
"""So short that now and then all threads run at once for as long, even where others use the machine as well."""


@dataclass(frozen=True)
class Machine:
    """Sustained rates of `threads` threads together.

    A copied byte counts twice, as one read and one written.
    """

    threads: int
    multiply_adds_per_second: float
    """Single precision, in registers."""
    read_bandwidth: float
    """Bytes per second from main memory."""
    copy_bandwidth: float
    """Bytes per second from main memory and back."""
    cache_bandwidth: float
    """Bytes per second copied within the second-level caches."""

    def seconds(self, *, multiply_adds: float = 0.0, bytes: float = 0.0, cached: bool = False) -> float:
        """Return the time below which no program can do so many multiply-adds and move so many bytes.

        cached: what is read and written stays in the second-level caches from call to call.
        """
        bandwidth = self.cache_bandwidth if cached else max(self.read_bandwidth, self.copy_bandwidth)
        return max(multiply_adds / self.multiply_adds_per_second, bytes / bandwidth)


@functools.cache
def _library() -> ctypes.CDLL:
    compiler = (
        shlex.split(os.environ.get("CXX", "")) or [name for name in ("c++", "g++", "clang++") if shutil.which(name)][:1]
    )
    if not compiler or shutil.which(compiler[0]) is None:
        raise SystemExit(f"floor: found no C++ compiler {' '.join(compiler)}: install one or set CXX")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "floor.so"
        command = [*compiler, "-O3", "-march=native", "-ffp-contract=fast", "-fno-trapping-math", "-shared", "-fPIC"]
        subprocess.run([*command, str(SOURCE), "-o", str(path)], check=True)
        library = ctypes.CDLL(str(path))
    size, pointer = ctypes.c_ssize_t, ctypes.c_void_p
    library.multiply_add.argtypes = [size, ctypes.c_float, ctypes.c_float]
    library.multiply_add.restype = ctypes.c_float
    library.read.argtypes = [pointer, size, size]
    library.read.restype = ctypes.c_float
    library.copy.argtypes = [pointer, pointer, size, size]
    library.copy.restype = None
    return library


def _rate(threads: int, work: float, repeats: int, make: Callable[[], Callable[[int], object]]) -> float:
    """Return how much work all threads do in a second, at best.

    make() runs in each thread and returns what to call with a number of rounds; `work` is that of one round of one
    thread. ctypes lets go of the interpreter lock during a call.
    """
    barrier = threading.Barrier(threads)
    rounds = 1

    def sample(function: Callable[[int], object]) -> tuple[float, float]:
        barrier.wait()
        start = time.perf_counter()
        function(rounds)
        return start, time.perf_counter()

    with ThreadPoolExecutor(threads) as pool:
        functions = list(pool.map(lambda _: (make(), barrier.wait())[0], range(threads)))

        def elapsed() -> float:
            starts, ends = zip(*pool.map(sample, functions), strict=True)
            return max(ends) - min(starts)

        while (seconds := elapsed()) < LOOP_SECONDS / 2:
            rounds = max(rounds + 1, min(10 * rounds, round(rounds * LOOP_SECONDS / max(seconds, 1e-9))))
        return threads * rounds * work / min(elapsed() for _ in range(repeats))


def measure(threads: int, *, quick: bool = False) -> Machine:
    """Measure the machine with a number of threads, in about a second."""
    library, repeats = _library(), 5 if quick else 30
    array_bytes = (MEMORY_BYTES // (8 if quick else 1) // 2 // threads) & -4096

    def multiplying() -> Callable[[int], object]:
        return lambda rounds: library.multiply_add(rounds, 0.5, 1.0)

    def reading() -> Callable[[int], object]:
        data = np.ones(array_bytes // 4, np.float32)
        return lambda rounds: library.read(data.ctypes.data, data.nbytes, rounds)

    def copying(size: int) -> Callable[[], Callable[[int], object]]:
        def make() -> Callable[[int], object]:
            source, target = np.ones(size // 4, np.float32), np.ones(size // 4, np.float32)
            return lambda rounds: library.copy(target.ctypes.data, source.ctypes.data, source.nbytes, rounds)

        return make

    return Machine(
        threads,
        _rate(threads, library.multiply_adds_per_round(), repeats, multiplying),
        _rate(threads, array_bytes, repeats, reading),
        _rate(threads, 2 * array_bytes, repeats, copying(array_bytes)),
        _rate(threads, 2 * CACHE_BYTES, repeats, copying(CACHE_BYTES)),
    )


def main() -> None:
    arguments = report.parser(__doc__).parse_args()
    machines = [measure(threads, quick=arguments.quick) for threads in report.thread_counts()]
    print(f"{'threads':>7} {'multiply-adds':>16} {'read':>10} {'copy':>10} {'copy, cached':>14}")
    for m in machines:
        print(
            f"{m.threads:7} {m.multiply_adds_per_second / 1e9:10.1f} 10^9/s {m.read_bandwidth / 1e9:5.1f} GB/s "
            f"{m.copy_bandwidth / 1e9:5.1f} GB/s {m.cache_bandwidth / 1e9:9.1f} GB/s"
        )
    report.write_json(arguments.json, {"machines": [asdict(machine) for machine in machines]})


if __name__ == "__main__":
    main()
