"""A page of HTML that needs no other file, in light and dark, for screens, phones and paper."""

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
    """A figure as a picture inside the page, below a heading if there is one, with a caption."""

    figure: Figure
    alternative: str
    caption: str
    heading: str = ""
    dpi: int = 150

    @property
    def source(self) -> str:
        """The picture as an address."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=self.dpi)
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

    @property
    def width(self) -> int:
        """Pixels of the page."""
        return round(self.figure.get_figwidth() * _SHOWN_DPI)

    @property
    def height(self) -> int:
        """Pixels of the page."""
        return round(self.figure.get_figheight() * _SHOWN_DPI)


@dataclass(frozen=True)
class Section:
    """A section, of what it has in this order: a sentence, sentences in a list, a table, a note, pictures.

    Parameters
    ----------
    title, lead, sentences, note
        Their content.
    head, rows
        Titles of the table's columns, and by its name what follows it in a row.
    best
        Rows and cells that are printed in bold.
    pictures
        Taken one by one, so that figures made on the way do not all stay.
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
    """Return the file's content; whatever is shown is escaped."""
    text = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    page = environment.from_string(text).render(
        title=title, facts=facts, sections=sections, version=_core.build_config()["version"]
    )
    return page.encode("utf-8", "backslashreplace")
