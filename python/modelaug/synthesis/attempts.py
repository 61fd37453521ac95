"""Draw until a draw is valid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

Drawn = TypeVar("Drawn")

_SMALLEST: Final = 1e-3  # factor after which draws shrink to nothing


def attempts(
    draw: Callable[[int], Drawn], shrunk: Callable[[Drawn, float], Drawn], most: int
) -> Iterator[tuple[Drawn, int, float]]:
    """Yield draws to try until one is valid, each with the number of the attempt, from 1 on, and its shrinkage.

    Parameters
    ----------
    draw
        Draws attempt k, from 0 on.
    shrunk
        Multiplies what was drawn with a factor.
    most
        Attempts of full size; then the last one is halved again and again, and multiplied with 0 in the end.
    """
    for attempt in range(most):
        drawn = draw(attempt)
        yield drawn, attempt + 1, 1.0
    factor = 1.0
    while factor > 0.0:
        factor = factor / 2 if factor > _SMALLEST else 0.0
        yield shrunk(drawn, factor), most, factor
