"""Configuration of Sphinx: ``make docs`` builds these pages, without the network, into docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import modelaug

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

from docstrings import described_elsewhere  # noqa: E402

project = "modelaug"
author = "The modelaug developers"
copyright = "the modelaug developers, BSD-3-Clause"
version = release = modelaug.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
    "docstrings",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "gallery", "gallery_output/**/*.py"]
nitpicky = True

# Markdown pages are read on code hosts as well; headings are link targets, as there.
myst_heading_anchors = 3

# A backticked name in a docstring becomes a link where it is one of the package's.
default_role = "py:obj"
nitpick_ignore_regex = [
    ("py:class", r"(torch|scipy|abc)\..*"),  # base classes; links to other projects would need the network
]
autosummary_generate = True
autosummary_ignore_module_all = False  # what is public is what `__all__` names
autosummary_imported_members = True
autosummary_context = {"elsewhere": described_elsewhere((HERE / "api" / "index.rst").read_text(encoding="utf-8"))}
autodoc_typehints = "none"  # numpydoc's sections have types, shapes and units; annotations would only repeat them
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Examples are run on every build. Their figures are matplotlib Figures without pyplot, hence a scraper of their own.
sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["gallery_output"],
    "image_scrapers": ("figure_scraper.scrape_figures",),
    "reset_modules": (),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,  # the page would want the network
    "show_signature": False,
    "plot_gallery": True,
    "abort_on_example_error": True,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "modelaug"
html_copy_source = False
html_show_sourcelink = False
# Pages without others below them have wide tables instead of an empty sidebar.
html_sidebars = {page.stem: [] for page in HERE.glob("*.md")} | {"results/README": []}
html_theme_options = {
    "show_toc_level": 2,
    "navigation_depth": 3,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def setup(app: Any) -> None:
    """Take tables of results, which have no title, for pages outside every table of contents."""

    def mark(app: Any, doctree: Any) -> None:
        if app.env.docname.startswith("results/table_"):
            app.env.metadata[app.env.docname]["orphan"] = True

    app.connect("doctree-read", mark)
