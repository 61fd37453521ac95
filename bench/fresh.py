"""Measurements that need a fresh interpreter: the time of an import, peak memory."""

from __future__ import annotations

import subprocess
import sys
import time

# The peak that getrusage tells of begins with that of the process which started this one, so Linux is asked itself.
_PEAK = """
try:
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
except OSError:
    import resource, sys
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1))
"""


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"a fresh interpreter failed at\n{code}\n{done.stderr}")
    return done.stdout


def import_seconds(repeats: int) -> float:
    """Return what ``import modelaug`` adds to the start of an interpreter: the least of several runs of each."""
    least = {"pass": float("inf"), "import modelaug": float("inf")}
    for _ in range(repeats):
        for code in least:
            start = time.perf_counter()
            run(code)
            least[code] = min(least[code], time.perf_counter() - start)
    return least["import modelaug"] - least["pass"]


def peak_mebibytes(code: str) -> float:
    """Return the largest resident memory of an interpreter that runs `code`, which prints nothing."""
    return float(run(code + _PEAK)) / 1024
