"""Rival and additional sources of training pairs; each is a `PairSource` like `PairSynthesizer`."""

from __future__ import annotations

from modelaug.baselines.label_shapes import LabelShapes, LabelShapesOptions
from modelaug.baselines.motion import Motion
from modelaug.baselines.moving_shapes import MovingShapes, MovingShapesOptions
from modelaug.baselines.random_deformations import RandomDeformations, RandomOptions
from modelaug.baselines.registered_pairs import RegisteredPairs
from modelaug.registration.syn import register_syn
from modelaug.registration.variational import (
    VariationalOptions,
    choose_options,
    region_of_interest,
    register_variational,
)

__all__ = [
    "LabelShapes",
    "LabelShapesOptions",
    "Motion",
    "MovingShapes",
    "MovingShapesOptions",
    "RandomDeformations",
    "RandomOptions",
    "RegisteredPairs",
    "VariationalOptions",
    "choose_options",
    "region_of_interest",
    "register_syn",
    "register_variational",
]
