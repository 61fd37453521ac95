"""What a mutant is."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A mistake.

    Attributes
    ----------
    what
        The mistake, in a few words.
    file
        Of the package, from its folder.
    old
        Text that occurs exactly once in the file.
    new
        What is written instead.
    tests
        Files of tests from the folder `tests`, or single tests of them (``file::test``): one of them must fail.
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
