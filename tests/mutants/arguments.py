"""Checks of arguments and of options."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MUTANTS: Final = (
    Mutant(
        "values that become infinite in single precision pass",
        "_checks.py",
        "if not _all_finite(converted, threads):",
        "if not _all_finite(array, threads):",
        ("test_checks.py",),
    ),
    Mutant(
        "limits that are excluded are taken for allowed",
        "_checks.py",
        "result < minimum or result > maximum or result <= above",
        "result < minimum or result > maximum or result < above",
        ("test_checks.py",),
    ),
    Mutant(
        "a spacing of one number is that of the first axis alone",
        "_checks.py",
        "array = np.full(d, array.item()) if array.size == 1 else array",
        "array = np.append(array, np.ones(d - 1)) if array.size == 1 else array",
        ("test_checks.py",),
    ),
    Mutant(
        "options keep what they were given, not what the checks return",
        "_checked.py",
        "object.__setattr__(self, name, check(self._field_name(name), getattr(self, name)))",
        "check(self._field_name(name), getattr(self, name))",
        ("test_checked.py",),
    ),
    Mutant(
        "fields are not checked together",
        "_checked.py",
        "        self._check()\n",
        "",
        ("test_checked.py",),
    ),
    Mutant(
        "limits are those of the kind alone",
        "_checked.py",
        "_checks.integer if kind is int else _checks.number, **limits)",
        "_checks.integer if kind is int else _checks.number)",
        ("test_checked.py",),
    ),
    Mutant(
        "None is taken where it is not asked for",
        "_checked.py",
        "    if optional:\n",
        "    if True:\n",
        ("test_checked.py",),
    ),
    Mutant(
        "what is within options is set to its default first",
        "_checked.py",
        "now = plain.get(name, getattr(what, name, None))",
        "now = plain.get(name, getattr(kind, name, None))",
        ("test_checked.py",),
    ),
)
