"""Locality: models with far more modes than samples, on the assumption that distant parts vary independently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelaug._old_names import names_elsewhere
from modelaug.locality.correlation import NearestCorrelation, nearest_correlation
from modelaug.locality.distances import (
    contour_distances,
    euclidean_distances,
    expand_distances,
    mesh_distances,
    multi_object_distances,
    thresholds,
)
from modelaug.locality.gaussian import GaussianModel
from modelaug.locality.merging import Rescale, merge_bases, merge_levels
from modelaug.locality.shape import (
    LevelReport,
    LocalityReport,
    LocalizedFit,
    Spread,
    fit_localized,
    kernel_mixture_model,
    localized_model,
)
from modelaug.locality.tapers import Taper, effective_range, taper_weights

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
    "NearestCorrelation",
    "Rescale",
    "Spread",
    "Taper",
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
    "taper_weights",
    "thresholds",
]

__getattr__ = names_elsewhere(
    __name__,
    # They need scipy.sparse, which takes long to import.
    EigenimageReport="eigen.EigenimageReport",
    LocalizedOperator="operator.LocalizedOperator",
    localized_eigenimages="eigen.localized_eigenimages",
    # Public in version 0.1.
    MergedLevels="merging.MergedLevels",
    check_distances="distances.check_distances",
    check_thresholds="tapers.check_thresholds",
    principal_angles="merging.principal_angles",
)
