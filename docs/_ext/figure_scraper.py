"""A scraper for sphinx-gallery: every matplotlib Figure that a block of an example names becomes a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

__all__ = ["scrape_figures"]

_LABEL = "in the gallery"


def scrape_figures(block: tuple[Any, ...], block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that this block made and return the reStructuredText that shows them."""
    paths: Iterator[str] = block_vars["image_path_iterator"]
    saved = []
    for value in block_vars["example_globals"].values():
        if isinstance(value, Figure) and value.get_label() != _LABEL:
            value.set_label(_LABEL)  # marked itself, since a figure that follows it may get its id
            path = next(paths)
            value.savefig(path, dpi=100)
            saved.append(path)
    return figure_rst(saved, gallery_conf["src_dir"])
