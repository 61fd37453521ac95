"""A test so small that the runner of mutants is tried on it."""

from __future__ import annotations

from modelaug._random import generator


def test_attempts_differ() -> None:
    assert generator(1, 2, attempt=0).random() != generator(1, 2, attempt=1).random()
