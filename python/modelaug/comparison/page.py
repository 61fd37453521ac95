"""A self-contained page of HTML, light and dark, for screens, phones and paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from modelaug import _core

_SHOWN_DPI: Final = 96  # pixels of a page in an inch


@dataclass(frozen=True)
class Picture:
    """A figure embedded in the page, with an optional heading and a caption."""

    figure: Figure
    alternative: str
    caption: str
    heading: str = ""
    dpi: int = 150

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=self.dpi)
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

    @property
    def width(self) -> int:
        """Width in pixels of the page."""
        return round(self.figure.get_figwidth() * _SHOWN_DPI)

    @property
    def height(self) -> int:
        """Height in pixels of the page."""
        return round(self.figure.get_figheight() * _SHOWN_DPI)


@dataclass(frozen=True)
class Section:
    """A section of the page: a sentence, a list of sentences, a table, a note and pictures, in this order.

    Parameters
    ----------
    title, lead, sentences, note
        Texts.
    head, rows
        Titles of the table's columns, and the cells of a row by its name.
    best
        Rows and cells in bold.
    pictures
        Consumed one by one, so that only one figure is in memory.
    """

    title: str
    lead: str = ""
    sentences: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Mapping[str, Sequence[str]] | None = None
    best: Collection[tuple[str, int]] = ()
    note: str = ""
    pictures: Iterable[Picture] = ()


def render_page(title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> bytes:
    """Render the page as the bytes of a file; all texts are escaped."""
    text = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    page = environment.from_string(text).render(
        title=title, facts=facts, sections=sections, version=_core.build_config()["version"]
    )
    return page.encode("utf-8", "backslashreplace")
