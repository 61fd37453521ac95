"""Registration without learning: the displacement that pulls a moving image onto a fixed one."""

from __future__ import annotations

from modelaug.registration.affine import AffineMap, estimate_affine, register_affine
from modelaug.registration.refinement import refine
from modelaug.registration.syn import register_syn
from modelaug.registration.variational import (
    VariationalOptions,
    choose_options,
    region_of_interest,
    register_variational,
)

__all__ = [
    "AffineMap",
    "VariationalOptions",
    "choose_options",
    "estimate_affine",
    "refine",
    "region_of_interest",
    "register_affine",
    "register_syn",
    "register_variational",
]
