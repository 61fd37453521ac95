"""The list of mutants fits the package, and the runner tells who is killed; ``make mutants`` does the rest."""

from __future__ import annotations

import pytest

from tests.mutants.lists import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.runner import MutantError, check, mutated, try_mutant

HARMLESS = Mutant(
    "other words",
    "_random.py",
    "The only source of random numbers",
    "The source of random numbers",
    ("test_checks.py",),
)


def test_every_mutant_can_be_made() -> None:
    check(MUTANTS)
    assert len({(each.file, each.old, each.new) for each in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"old": "no such text"}, "holds 'no such text' 0 times"),
        ({"old": "seed"}, r"holds 'seed' \d+ times"),
        ({"new": HARMLESS.old}, "once"),
        ({"file": "nowhere.py"}, "nowhere.py does not exist"),
        ({"old": "import numpy as np\n", "new": "import numpy as\n"}, "is no Python"),
        ({"tests": ()}, "no test is named"),
        ({"tests": ("test_nowhere.py",)}, "tests/test_nowhere.py does not exist"),
        ({"tests": ("test_checks.py::test_nothing",)}, "has no test test_nothing"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(MutantError, match=message):
        check([HARMLESS._replace(**changes)])  # type: ignore[arg-type]


def test_the_runner_tells_who_is_killed() -> None:
    test = ("mutants/test_probe.py",)
    assert try_mutant(HARMLESS._replace(tests=test), limit=120).killer is None
    deadly = HARMLESS._replace(old="stream, attempt, _checks", new="stream, 0, _checks", tests=test)
    assert "attempt" in mutated(deadly)
    assert try_mutant(deadly, limit=120).killer == "mutants/test_probe.py::test_attempts_differ"
    with pytest.raises(MutantError, match="did not run"):
        try_mutant(
            HARMLESS._replace(
                old="class Stream(IntEnum):\n", new="raise ValueError\nclass Stream(IntEnum):\n", tests=test
            ),
            limit=120,
        )
