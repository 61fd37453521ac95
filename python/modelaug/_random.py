"""The only source of random numbers in a sample: streams of a counter-based generator."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from modelaug import _checks


class Stream(IntEnum):
    """The numbers of all streams of random numbers, by their use.

    Different sources of samples may use the same number, but no number has two uses within a sample. Where a stream
    belongs to the fixed image, the next number is that of the moving image.
    """

    MAIN = 0
    """The numbers that every sample needs, such as the coefficients of shape, pose and texture."""

    # Of `PairSynthesizer`.
    RESIDUAL = 1
    SHARED_TEXTURE = 2
    ACQUISITION = 3  # and 4

    # Of all sources that deform a subject of a cohort.
    SUBJECT = 1
    # Of `RandomDeformations`.
    BRIGHTNESS = 2  # and 3
    # Of `LabelShapes`.
    CONTRAST = 2  # and 3
    PAINT = 4  # and 5
    # Of `RegisteredPairs`.
    SUBJECT_ORDER = 1
    # Of `MovingShapes`; no index of a pair belongs to the library of patterns.
    SHAPE_LANDMARKS = 1
    SHAPE_ACQUISITION = 2  # and 3
    PATTERN = 2**32

    # Of training, in addition to those of any source.
    AUGMENTED_MAPS = 0xA06
    AUGMENTED_INTENSITIES = 0xA07
    AUGMENTED_NOISE = 0xA08  # and 0xA09
    REAL_SUBJECTS = 0xA0A
    REAL_DEFORMATION = 0xA0B  # and 0xA0C

    FOLDS = 0xF01D
    """Of cross-validation: the order of the subjects."""


def generator(seed: int, index: int, attempt: int = 0, stream: int = Stream.MAIN) -> np.random.Generator:
    """Return the generator of one attempt at one sample, a pure function of its arguments.

    Philox is a counter-based generator: `index`, `attempt` and `stream` are the upper words of its counter, so that
    streams of different samples never overlap and none depends on earlier draws. Optional parts of a sample have
    streams of their own, so that no option changes another number.
    """
    key = _key(_checks.integer("seed", seed, minimum=0))
    counter = [0, stream, attempt, _checks.integer("index", index, minimum=0, maximum=2**64 - 1)]
    return np.random.Generator(np.random.Philox(key=key, counter=np.array(counter, dtype=np.uint64)))


@lru_cache(maxsize=16)
def _key(seed: int) -> npt.NDArray[np.uint64]:
    return np.random.SeedSequence(seed).generate_state(2, np.uint64).astype(np.uint64)
