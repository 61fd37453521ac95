"""The only source of random numbers in a sample."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from modelaug import _checks

__all__ = ["generator"]


def generator(seed: int, index: int, attempt: int = 0, stream: int = 0) -> np.random.Generator:
    """Return the generator of one attempt at one sample, a pure function of its arguments.

    Philox is a counter-based generator: `index`, `attempt` and `stream` are the upper words of its counter, so the
    streams of different samples never overlap and none depends on what was drawn before. What is optional in a sample
    has a stream of its own, so that switching it on changes no other number.
    """
    key = _key(_checks.integer("seed", seed, minimum=0))
    counter = [0, stream, attempt, _checks.integer("index", index, minimum=0, maximum=2**64 - 1)]
    return np.random.Generator(np.random.Philox(key=key, counter=np.array(counter, dtype=np.uint64)))


@lru_cache(maxsize=16)
def _key(seed: int) -> npt.NDArray[np.uint64]:
    return np.random.SeedSequence(seed).generate_state(2, np.uint64).astype(np.uint64)
