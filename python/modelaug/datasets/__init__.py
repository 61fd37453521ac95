"""Generated phantoms, and readers of public data sets in the form in which their owners distribute them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from modelaug.datasets import phantoms

if TYPE_CHECKING:
    from modelaug.datasets import acdc, lpba40, sunnybrook

__all__ = ["acdc", "lpba40", "phantoms", "sunnybrook"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"modelaug.datasets.{name}")
    raise AttributeError(f"module 'modelaug.datasets' has no attribute {name!r}")
