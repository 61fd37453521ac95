"""Synthesis of training pairs with known correspondence from an appearance model."""

from __future__ import annotations

from modelaug._old_names import names_elsewhere
from modelaug.synthesis.acquisition import AcquisitionOptions
from modelaug.synthesis.batching import BatchedSource
from modelaug.synthesis.geometry import PairGeometry
from modelaug.synthesis.options import PairOptions
from modelaug.synthesis.pairs import BatchSource, InPlaceSource, Pair, PairInfo, PairSource, stack_pairs
from modelaug.synthesis.residual import ResidualOptions
from modelaug.synthesis.synthesizer import PairSynthesizer

__all__ = [
    "AcquisitionOptions",
    "BatchSource",
    "BatchedSource",
    "InPlaceSource",
    "Pair",
    "PairGeometry",
    "PairInfo",
    "PairOptions",
    "PairSource",
    "PairSynthesizer",
    "ResidualOptions",
    "stack_pairs",
]

__getattr__ = names_elsewhere(__name__, Geometry="PairGeometry")
