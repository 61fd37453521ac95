"""Training pairs with dense ground-truth correspondence for image registration, learned from few images.

The names here are the public interface; `learning`, `plots`, `Augmenter` and the command line need optional
dependencies and are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from modelaug import _old_names, io, locality
from modelaug._core import build_config
from modelaug.data import Cohort, LandmarkObject
from modelaug.datasets import phantoms
from modelaug.io.files.reading import ModelFileError
from modelaug.models import (
    Alignment,
    AppearanceModel,
    GaussianModel,
    ShapeOptions,
    TextureOptions,
    procrustes,
    quality,
)
from modelaug.synthesis import (
    AcquisitionOptions,
    Pair,
    PairOptions,
    PairSource,
    PairSynthesizer,
    ResidualOptions,
)
from modelaug.transforms import (
    BSpline,
    SplineOptions,
    compose,
    fit_bspline,
    invert,
    jacobian_determinant,
    warp,
    warp_points,
)

if TYPE_CHECKING:
    from modelaug.estimator import Augmenter as Augmenter

__version__: str = build_config()["version"]

__all__ = [
    "AcquisitionOptions",
    "Alignment",
    "AppearanceModel",
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

_LAZY = (
    *("baselines", "comparison", "correspondence", "estimator", "evaluation", "explorer", "learning", "plots"),
    "registration",
)

_old_names.keep_old_paths()


def __getattr__(name: str) -> Any:
    if name == "Augmenter":
        return importlib.import_module("modelaug.estimator").Augmenter
    if name in _LAZY or name in _old_names.PATHS:
        return importlib.import_module(f"modelaug.{name}")
    raise AttributeError(f"module 'modelaug' has no attribute {name!r}")
