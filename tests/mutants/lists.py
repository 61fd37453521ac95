"""All mutants."""

from __future__ import annotations

from typing import Final

from tests.mutants import arguments, files, formats, foundations, learning, measures, methods, surroundings
from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *foundations.MUTANTS,
    *arguments.MUTANTS,
    *learning.MUTANTS,
    *methods.MUTANTS,
    *measures.MUTANTS,
    *surroundings.MUTANTS,
    *files.MUTANTS,
    *formats.MUTANTS,
)
