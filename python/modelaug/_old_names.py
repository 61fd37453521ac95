"""Old names, which keep working; see "Names that change" in CONTRIBUTING.md."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, Final

PATHS: Final = {
    "alignment": "models.alignment",
    "cohort": "data.cohort",
    "crossings": "models.crossings",
    "fields": "transforms.fields",
    "gaussian": "locality.gaussian",
    "maps": "transforms.diffeomorphic",
    "model": "models.appearance",
    "normalization": "models.normalization",
    "orientation": "data.orientation",
    "preparation": "data.preparation",
    "quality": "models.quality",
    "resizing": "data.resampling",
    "scans": "data.scans",
    "splines": "transforms.splines",
    "texture": "models.texture",
    "warping": "transforms.warping",
    "weights": "synthesis.weights",
}
"""Paths below `modelaug` before version 0.2, and where the modules are now."""


def keep_old_paths() -> None:
    """Let ``import modelaug.scans`` and the like give the modules at their present paths."""
    for old, new in PATHS.items():
        sys.modules[f"modelaug.{old}"] = importlib.import_module(f"modelaug.{new}")


def names_elsewhere(module: str, **places: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module with names that are found elsewhere when they are used.

    Parameters
    ----------
    module
        Its ``__name__``.
    **places
        By name: a new name in the same module, or the path of an object in a submodule, ``"submodule.name"``.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        path, _, found = f"{module}.{places[name]}".rpartition(".")
        return getattr(importlib.import_module(path), found)

    return get
