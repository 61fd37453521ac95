"""Training pairs with dense ground-truth correspondences for image registration, learned from few images.

The names here are the public interface; `learning`, `plots` and the command line need optional dependencies and are
imported on demand only.
"""

from __future__ import annotations

import importlib
from typing import Any

from modelaug import locality, quality
from modelaug._core import build_config
from modelaug.alignment import Alignment, procrustes
from modelaug.cohort import Cohort, LandmarkObject
from modelaug.datasets import phantoms
from modelaug.estimator import Augmenter
from modelaug.fields import compose, invert, jacobian_determinant
from modelaug.gaussian import GaussianModel
from modelaug.io.reading import ModelFileError
from modelaug.model import AppearanceModel, ShapeOptions, TextureOptions
from modelaug.splines import BSpline, SplineOptions, fit_bspline
from modelaug.synthesis import (
    AcquisitionOptions,
    Pair,
    PairOptions,
    PairSource,
    PairSynthesizer,
    ResidualOptions,
)
from modelaug.warping import warp, warp_points

__version__: str = build_config()["version"]

__all__ = [
    "AcquisitionOptions",
    "Alignment",
    "AppearanceModel",
    "Augmenter",
    "BSpline",
    "Cohort",
    "GaussianModel",
    "LandmarkObject",
    "ModelFileError",
    "Pair",
    "PairOptions",
    "PairSource",
    "PairSynthesizer",
    "ResidualOptions",
    "ShapeOptions",
    "SplineOptions",
    "TextureOptions",
    "__version__",
    "build_config",
    "compose",
    "fit_bspline",
    "invert",
    "io",
    "jacobian_determinant",
    "locality",
    "phantoms",
    "procrustes",
    "quality",
    "warp",
    "warp_points",
]

_ON_DEMAND = (
    "baselines",
    "comparison",
    "correspondence",
    "evaluation",
    "explorer",
    "io",
    "learning",
    "plots",
    "preparation",
    "registration",
    "scans",
)


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return importlib.import_module(f"modelaug.{name}")
    raise AttributeError(f"module 'modelaug' has no attribute {name!r}")
