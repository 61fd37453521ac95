"""What lets Sphinx read the package's docstrings as they are written."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["escape_stars", "setup"]

_LITERAL = re.compile(r"(``.*?``)")
_STAR = re.compile(r"(?<![\\*\w])\*(?=\w)(?!\w+\*)")


def escape_stars(line: str) -> str:
    """Escape the star of shapes such as (d, *grid), which would begin an emphasis, but not within literals."""
    parts = _LITERAL.split(line)
    return "".join(part if k % 2 else _STAR.sub(r"\\*", part) for k, part in enumerate(parts))


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [escape_stars(line) for line in lines]


def setup(app: Any) -> dict[str, bool]:
    """Escape before numpydoc, whose priority is 500, takes sections apart."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
