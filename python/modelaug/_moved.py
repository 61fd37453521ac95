"""Modules by the paths they had before version 0.2; see "Deprecation" in CONTRIBUTING.md."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

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
"""Old paths below `modelaug`, and where their modules are now."""


class _Moved(MetaPathFinder, Loader):
    """Finds a module by its old path: the same module as by the new one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "modelaug" and name in PATHS else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"modelaug.{PATHS[spec.name.partition('.')[2]]}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state  # its own one; the import system put in that of the old path


def keep_old_paths() -> None:
    """Let ``import modelaug.scans`` and the like find modules where they are now."""
    sys.meta_path.append(_Moved())
