"""Old names, which keep working; see "Names that change" in CONTRIBUTING.md."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

_IO: Final = {
    "io.cohorts": ("descriptions", "folders", "matching", "names", "scans", "segments"),
    "io.files": ("archives", "arrays", "locks", "provenance", "reading", "writing"),
    "io.formats": (
        *("dicom", "dicom_pixels", "dicom_planes", "dicom_stacks", "headers", "metaimage", "nifti", "nrrd"),
        *("pictures", "tiff", "tiff_descriptions", "volumes"),
    ),
    "io.shards": ("bits", "distributed", "manifests"),
}

PATHS: Final = {
    **{f"io.{name}": f"{room}.{name}" for room, names in _IO.items() for name in names},
    "io.geometry": "data.geometry",
    "io.sharded": "io.shards.source",
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


class _OldPaths(MetaPathFinder, Loader):
    """Finds a module by its old path: the same module as at its present one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, old = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "modelaug" and old in PATHS else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"modelaug.{PATHS[spec.name.partition('.')[2]]}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state  # the import system has put that of the old path in its place


def keep_old_paths() -> None:
    """Let ``import modelaug.scans`` and the like give the modules at their present paths."""
    sys.meta_path.append(_OldPaths())


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
