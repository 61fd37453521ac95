"""Rejection of invalid draws: repeated attempts, then shrinking draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

Drawn = TypeVar("Drawn")

_SMALLEST: Final = 1e-3  # factor below which draws become 0


def attempts(
    draw: Callable[[int], Drawn], shrunk: Callable[[Drawn, float], Drawn], most: int
) -> Iterator[tuple[Drawn, int, float]]:
    """Yield draws until the caller accepts one, each with the number of the attempt, from 1 on, and its factor.

    Parameters
    ----------
    draw
        Returns draw k, from 0 on.
    shrunk
        Returns a draw multiplied with a factor.
    most
        Number of attempts of full size; then the last draw is halved repeatedly, and multiplied with 0 in the end.
    """
    for attempt in range(most):
        drawn = draw(attempt)
        yield drawn, attempt + 1, 1.0
    factor = 1.0
    while factor > 0.0:
        factor = factor / 2 if factor > _SMALLEST else 0.0
        yield shrunk(drawn, factor), most, factor
