"""A page of HTML that needs no other file, in light and dark, for screens, phones and paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from matplotlib.figure import Figure

__all__ = ["add", "add_picture", "add_section", "add_table", "new_page", "page_bytes"]

_SHOWN_DPI: Final = 96  # pixels of a page in an inch

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d5dae0; --page: #ffffff; --tint: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #9da7b3; --line: #3a424c; --page: #14181d; --tint: #1e242b; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.75rem; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.5rem 0 0.5rem; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: 0.5rem 2rem; margin: 0; }
dt, .note, figcaption, footer { color: var(--soft); font-size: 0.875rem; }
dd { margin: 0; font-weight: 600; }
.lead { font-size: 1.1rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.75rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; white-space: normal; color: var(--soft); border-bottom-width: 2px; }
tr > th:first-child { text-align: left; font-weight: 600; position: sticky; left: 0; background: var(--page); }
tbody th { white-space: normal; min-width: 8rem; max-width: 22rem; overflow-wrap: anywhere; }
tbody tr:hover > * { background: var(--tint); }
li { margin: 0.25rem 0; overflow-wrap: anywhere; }
figure { margin: 1rem 0; }
figure .scroll { background: #ffffff; border: 1px solid var(--line); border-radius: 6px; padding: 0.75rem; }
img { display: block; margin: 0 auto; max-width: 100%; min-width: min(40rem, 100vw * 2); height: auto; }
figcaption { margin-top: 0.4rem; max-width: 60rem; }
footer { margin-top: 3rem; }
@media print {
  :root { color-scheme: light; --ink: #000000; --soft: #444444; --line: #bbbbbb; --page: #ffffff; --tint: #ffffff; }
  html { font-size: 10px; }
  body { font-size: 1rem; }
  main { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  th, td { padding: 0.2rem 0.4rem; }
  tbody th { min-width: 0; }
  tr, li { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  img { min-width: 0; max-height: 80vh; width: auto; }
}
"""


def new_page(title: str) -> tuple[Element, Element]:
    """Return a page with a title, and the element that its content goes into."""
    root = Element("html", lang="en")
    head = SubElement(root, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    add(head, "title", title)
    add(head, "style", _STYLE)
    main = SubElement(SubElement(root, "body"), "main")
    add(main, "h1", title)
    return root, main


def page_bytes(root: Element) -> bytes:
    """Return the file's content."""
    text = "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"
    return text.encode("utf-8", "backslashreplace")


def add(parent: Element, tag: str, text: str | None = None, *, class_: str = "", **attributes: str) -> Element:
    """Append an element; text and attributes are escaped when the tree is written."""
    element = SubElement(parent, tag, {"class": class_} if class_ else {}, **attributes)
    element.text = text
    return element


def add_section(main: Element, title: str) -> Element:
    """Append a section with a heading, and return it."""
    section = add(main, "section")
    add(section, "h2", title)
    return section


def add_table(section: Element, head: Sequence[str]) -> Element:
    """Append a table that scrolls if it is too wide, and return its body."""
    table = add(add(section, "div", class_="scroll", tabindex="0"), "table")
    line = add(add(table, "thead"), "tr")
    for title in head:
        add(line, "th", title, scope="col")
    return add(table, "tbody")


def add_picture(section: Element, figure: Figure, alternative: str, text: str, *, dpi: int = 150) -> None:
    """Append a figure as a picture inside the page, with a caption."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    width, height = (round(inches * _SHOWN_DPI) for inches in figure.get_size_inches())
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    element = add(section, "figure")
    frame = add(element, "div", class_="scroll", tabindex="0")
    add(frame, "img", src=source, alt=alternative, width=str(width), height=str(height))
    add(element, "figcaption", text)
