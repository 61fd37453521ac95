"""Names that were changed and still work, see "Names that change" in CONTRIBUTING."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any


def old_names(module: str, **names: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module with old names, the keywords, for new ones; each use is warned of."""

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is now {names[name]}", DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], names[name])

    return get
