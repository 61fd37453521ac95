"""Landmarks in correspondence from label maps in 2D, and checks of a correspondence in 2D and 3D.

Needs contourpy for outlines, and on Python 3.10 tomli for recipes in files, installed by ``pip install modelaug[io]``.
"""

from __future__ import annotations

from modelaug.correspondence.anchors import Anchor, Center, Contact, Extreme, Given, Midline, Nearest, Ray
from modelaug.correspondence.checks import check_correspondence
from modelaug.correspondence.contours import ContourOptions
from modelaug.correspondence.generic import generic_recipe
from modelaug.correspondence.landmarks import Correspondence, landmarks_from_labels
from modelaug.correspondence.recipes import RECIPES, ObjectRecipe, Recipe, brains, hearts, read_recipe

__all__ = [
    "RECIPES",
    "Anchor",
    "Center",
    "Contact",
    "ContourOptions",
    "Correspondence",
    "Extreme",
    "Given",
    "Midline",
    "Nearest",
    "ObjectRecipe",
    "Ray",
    "Recipe",
    "brains",
    "check_correspondence",
    "generic_recipe",
    "hearts",
    "landmarks_from_labels",
    "read_recipe",
]
