"""Comparison of registration methods on a cohort by cross-validation: the paper's table 1 for any cohort.

Needs torch for the networks, installed by ``pip install modelaug[train]``, and matplotlib for the report.
"""

from __future__ import annotations

from modelaug.comparison.methods import pretrain_network
from modelaug.comparison.options import ABLATIONS, METHODS, CompareOptions, NetworkOptions, preset_options
from modelaug.comparison.run import compare

__all__ = [
    "ABLATIONS",
    "METHODS",
    "CompareOptions",
    "NetworkOptions",
    "compare",
    "preset_options",
    "pretrain_network",
]
