"""Training pairs with known correspondence, drawn from an appearance model."""

from __future__ import annotations

from modelaug.synthesis.acquisition import AcquisitionOptions
from modelaug.synthesis.batching import BatchedSource
from modelaug.synthesis.geometry import Geometry
from modelaug.synthesis.options import PairOptions
from modelaug.synthesis.pairs import Pair, PairSource, stack_pairs
from modelaug.synthesis.residual import ResidualOptions
from modelaug.synthesis.synthesizer import PairSynthesizer

__all__ = [
    "AcquisitionOptions",
    "BatchedSource",
    "Geometry",
    "Pair",
    "PairOptions",
    "PairSource",
    "PairSynthesizer",
    "ResidualOptions",
    "stack_pairs",
]
