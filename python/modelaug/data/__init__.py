"""Training data: scans as files hold them, their preparation, and checked cohorts with landmarks in correspondence."""

from __future__ import annotations

from modelaug._old_names import names_elsewhere
from modelaug.data.cohort import Cohort, LandmarkObject
from modelaug.data.geometry import Geometry
from modelaug.data.preparation import PreparationOptions, crop, prepare, scale_percentiles, take_slice
from modelaug.data.resampling import resample
from modelaug.data.scans import Scan, cohort_from_scans

__all__ = [
    "Cohort",
    "Geometry",
    "LandmarkObject",
    "PreparationOptions",
    "Scan",
    "cohort_from_scans",
    "crop",
    "prepare",
    "resample",
    "scale_percentiles",
    "take_slice",
]

__getattr__ = names_elsewhere(__name__, scale_intensities="scale_percentiles")
