"""Statistical models of shape and appearance, learned from a cohort, and measures of their quality."""

from __future__ import annotations

from modelaug.locality.gaussian import GaussianModel
from modelaug.models import quality
from modelaug.models.alignment import Alignment, procrustes
from modelaug.models.appearance import AppearanceModel, ModelOptions, ShapeOptions, TextureOptions

__all__ = [
    "Alignment",
    "AppearanceModel",
    "GaussianModel",
    "ModelOptions",
    "ShapeOptions",
    "TextureOptions",
    "procrustes",
    "quality",
]
