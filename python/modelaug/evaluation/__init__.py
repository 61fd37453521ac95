"""Evaluation of registration: metrics, cross-validation, statistical tests, tables."""

from __future__ import annotations

from modelaug.evaluation.contours import contour_distance, landmark_error
from modelaug.evaluation.cross_validation import (
    Register,
    cross_validate,
    no_registration,
    score_pairs,
    split_folds,
    test_pairs,
)
from modelaug.evaluation.deformation import (
    folded_percentage,
    inverse_consistency,
    log_jacobian_sd,
    mean_end_point_error,
)
from modelaug.evaluation.overlap import dice, jaccard, scored_labels
from modelaug.evaluation.records import read_records, write_records
from modelaug.evaluation.scoring import METRICS, Metric, metric_info, score_registration
from modelaug.evaluation.statistics import compare_methods, summarize
from modelaug.evaluation.surfaces import hausdorff_distance, surface_distance
from modelaug.evaluation.table import make_table, table_markdown

__all__ = [
    "METRICS",
    "Metric",
    "Register",
    "compare_methods",
    "contour_distance",
    "cross_validate",
    "dice",
    "folded_percentage",
    "hausdorff_distance",
    "inverse_consistency",
    "jaccard",
    "landmark_error",
    "log_jacobian_sd",
    "make_table",
    "mean_end_point_error",
    "metric_info",
    "no_registration",
    "read_records",
    "score_pairs",
    "score_registration",
    "scored_labels",
    "split_folds",
    "summarize",
    "surface_distance",
    "table_markdown",
    "test_pairs",
    "write_records",
]
