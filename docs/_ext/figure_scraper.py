"""A scraper for sphinx-gallery: every matplotlib Figure that a block of an example names becomes a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

__all__ = ["scrape_figures"]

_SHOWN = "_figures_already_shown"


def scrape_figures(block: tuple[Any, ...], block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that this block made and return the reStructuredText that shows them."""
    names = block_vars["example_globals"]
    shown: set[int] = names.setdefault(_SHOWN, set())
    paths: Iterator[str] = block_vars["image_path_iterator"]
    saved = []
    for value in list(names.values()):
        if isinstance(value, Figure) and id(value) not in shown:
            shown.add(id(value))
            path = next(paths)
            value.savefig(path, dpi=100)
            saved.append(path)
    return figure_rst(saved, gallery_conf["src_dir"])
