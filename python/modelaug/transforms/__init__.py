"""Transformations in the plane and in space: B-splines, displacement fields, warps, diffeomorphic maps of landmarks."""

from __future__ import annotations

from modelaug.transforms.fields import compose, invert, jacobian_determinant
from modelaug.transforms.splines import BSpline, SplineOptions, fit_bspline
from modelaug.transforms.warping import warp, warp_points

__all__ = [
    "BSpline",
    "SplineOptions",
    "compose",
    "fit_bspline",
    "invert",
    "jacobian_determinant",
    "warp",
    "warp_points",
]
