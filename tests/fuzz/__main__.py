"""``python -m tests.fuzz``: damage files and see whether they are read or refused; status 1 if one did neither."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import running
from tests.fuzz.kinds import KINDS


def main() -> int:
    """Run the inputs that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many in all, 10000 by default")
    parser.add_argument("--kind", action="append", help="only kinds whose name holds this; may be given again")
    parser.add_argument("--first", type=int, default=0, help="the first seed, 0 by default")
    parser.add_argument("--seed", type=int, help="only this one, of one kind, read here and with its traceback")
    parser.add_argument("--keep", type=Path, help="with --seed: where the damaged files are put")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work is not None:
        # Libraries write to standard output as they please.
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        running.work(given.work, answers)
        return 0
    exact = [name for name in KINDS if name in (given.kind or ())]
    names = exact or [name for name in KINDS if not given.kind or any(each in name for each in given.kind)]
    with tempfile.TemporaryDirectory() as valid:
        if given.seed is not None:
            return _single(names[0], given.seed, Path(valid), given.keep)
        return _many(names, given.inputs, given.first, Path(valid))


def _single(name: str, seed: int, valid: Path, keep: Path | None) -> int:
    kind, folder = KINDS[name], keep or valid / "damaged"
    running.prepare([name], valid)
    running.damage(kind, seed, valid, folder)
    print(sorted(str(path) for path in folder.rglob("*") if path.is_file()))
    kind.read(folder)
    print("read")
    return 0


def _many(names: list[str], count: int, first: int, valid: Path) -> int:
    each = -(-count // len(names))
    inputs = [(name, seed) for name in names for seed in range(first, first + each)]
    started = time.monotonic()

    def progress(done: int) -> None:
        if done % 500 == 0:
            print(f"{done}/{len(inputs)} inputs, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    results = running.run(inputs, valid, progress=progress)
    bad = [result for result in results if not result.good]
    for result in bad:
        print(f"{result.outcome}: --kind {result.kind!r} --seed {result.seed}: {result.message}")
    print(running.table(results))
    print(f"{len(results)} inputs in {time.monotonic() - started:.0f} s; {len(bad)} neither read nor refused")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
