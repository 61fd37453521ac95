"""``python -m tests.mutants``: makes all mutants and prints what became of them; status 1 if any survives."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from modelaug import _checks
from tests.mutants.lists import MUTANTS
from tests.mutants.runner import MutantError, Outcome, check, check_tests, try_mutant


def main() -> int:
    """Run mutants as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", metavar="PATTERN", help="number, or part of the file or the description (* and ?)")
    parser.add_argument("--jobs", type=int, default=_checks.thread_count(None), help="at the same time")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds a mutant may take")
    parser.add_argument("--list", action="store_true", help="print the mutants only")
    arguments = parser.parse_args()
    pattern = arguments.only
    chosen = [
        (number, mutant)
        for number, mutant in enumerate(MUTANTS, start=1)
        if pattern is None
        or pattern == str(number)
        or any(fnmatch.fnmatch(text, f"*{pattern}*") for text in (mutant.file, mutant.what))
    ]
    try:
        check(MUTANTS)
        if not chosen:
            raise MutantError(f"no mutant is called {pattern}")
        if arguments.list:
            for number, mutant in chosen:
                print(f"{number:3} {mutant.file:34} {mutant.what}")
            return 0
        start = time.monotonic()
        seconds = check_tests([mutant for _, mutant in chosen], arguments.jobs)
        print(f"their tests pass on the package as it is ({seconds:.0f} s)", flush=True)
        survivors, slow = 0, 0
        with ThreadPoolExecutor(arguments.jobs) as pool:
            outcomes = pool.map(lambda item: try_mutant(item[1], limit=arguments.limit), chosen)
            for (number, mutant), outcome in zip(chosen, outcomes, strict=True):
                survivors += outcome.killer is None
                slow += outcome.killer == "time-out"
                print(_row(number, mutant.file, mutant.what, outcome), flush=True)
    except MutantError as error:
        print(error, file=sys.stderr)
        return 2
    minutes = (time.monotonic() - start) / 60
    print(
        f"{len(chosen)} mutants: {len(chosen) - survivors} killed ({slow} by time), {survivors} survived, "
        f"{minutes:.1f} minutes"
    )
    return 1 if survivors else 0


def _row(number: int, file: str, what: str, outcome: Outcome) -> str:
    return f"{number:3} {file:34} {what:60} {outcome.seconds:5.1f} s  {outcome.killer or 'SURVIVED'}"


if __name__ == "__main__":
    sys.exit(main())
