"""Rival and additional sources of training pairs, each a `PairSource` like `PairSynthesizer`."""

from __future__ import annotations

from modelaug.baselines.label_shapes import LabelShapes, LabelShapesOptions
from modelaug.baselines.moving_shapes import Motion, MovingShapes, MovingShapesOptions
from modelaug.baselines.random_deformations import RandomDeformations, RandomOptions

__all__ = [
    "LabelShapes",
    "LabelShapesOptions",
    "Motion",
    "MovingShapes",
    "MovingShapesOptions",
    "RandomDeformations",
    "RandomOptions",
]
