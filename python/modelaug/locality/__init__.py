"""Locality: models with far more modes than samples, because distant parts are taken to vary independently."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from modelaug.locality.correlation import NearestCorrelation, nearest_correlation
from modelaug.locality.distances import (
    check_distances,
    contour_distances,
    euclidean_distances,
    expand_distances,
    mesh_distances,
    multi_object_distances,
    thresholds,
)
from modelaug.locality.gaussian import GaussianModel
from modelaug.locality.merging import MergedLevels, Rescale, merge_bases, merge_levels, principal_angles
from modelaug.locality.shape import (
    LevelReport,
    LocalityReport,
    LocalizedFit,
    Spread,
    fit_localized,
    kernel_mixture_model,
    localized_model,
)
from modelaug.locality.tapers import Taper, check_thresholds, effective_range, taper_weights

if TYPE_CHECKING:
    from modelaug.locality.eigen import EigenimageReport, localized_eigenimages
    from modelaug.locality.operator import LocalizedOperator

__all__ = [
    "EigenimageReport",
    "GaussianModel",
    "LevelReport",
    "LocalityReport",
    "LocalizedFit",
    "LocalizedOperator",
    "MergedLevels",
    "NearestCorrelation",
    "Rescale",
    "Spread",
    "Taper",
    "check_distances",
    "check_thresholds",
    "contour_distances",
    "effective_range",
    "euclidean_distances",
    "expand_distances",
    "fit_localized",
    "kernel_mixture_model",
    "localized_eigenimages",
    "localized_model",
    "merge_bases",
    "merge_levels",
    "mesh_distances",
    "multi_object_distances",
    "nearest_correlation",
    "principal_angles",
    "taper_weights",
    "thresholds",
]

# On demand, since they need scipy.sparse, which takes long to import.
_ON_DEMAND = {"EigenimageReport": "eigen", "LocalizedOperator": "operator", "localized_eigenimages": "eigen"}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(importlib.import_module(f"modelaug.locality.{_ON_DEMAND[name]}"), name)
    raise AttributeError(f"module 'modelaug.locality' has no attribute {name!r}")
