"""The documentation: links lead somewhere, examples in docstrings are true, and the code of the pages runs.

Python blocks of a page run one after the other in one namespace, lines of its shell blocks in between; what takes long
is made shorter by replacements that are listed here and nowhere else.
"""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("safetensors")
pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

from typer.testing import CliRunner

from modelaug import AppearanceModel, phantoms
from modelaug.cli import app
from modelaug.correspondence import read_recipe
from modelaug.io.cohorts.descriptions import read_description

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "results").glob("*.md")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "python").with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "python").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)

SHORTER = {
    "docs/getting_started.md": {
        "register --network": "register --threads 1 --network",
        "modelaug demo": "modelaug demo --quick --steps 1 --threads 1",
        "-n 100": "-n 3 --threads 1",
        "--steps 300": "--steps 2 --batch-size 2 --threads 1",
        "heart(24, shape=(64, 64))": "heart(18, shape=(48, 48))",
    },
    "docs/index.md": {"heart(24)": "heart(6, shape=(64, 64))"},
    "README.md": {
        "recommended_options(steps=3000)": "recommended_options(steps=2, batch_size=2, validation_pairs=2)",
    },
}
"""What is replaced before a page's code is run; each must occur in it."""

INSTALLS = ("pip ", "make ")
"""Beginnings of shell lines that are not run: they would change the environment of the tests."""

pytestmark = pytest.mark.skipif(not PAGES, reason="needs the sources")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """Yield language and content of each fenced block of a page."""
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S):
        yield match[1], match[2]


def anchors(path: Path) -> set[str]:
    """Return the anchors that a code host gives a page's headings."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]
    broken = []
    for link in links:
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


def test_links_are_found() -> None:
    assert "docs/method.md" in re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert "axis-order" in anchors(ROOT / "docs" / "conventions.md")


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def run_shell(line: str) -> None:
    """Run a line that starts with ``modelaug``, in this process."""
    program, *arguments = shlex.split(line, comments=True)
    assert program == "modelaug", line
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"


def run_page(page: Path, names: dict[str, Any]) -> None:
    """Run a page's python and shell blocks in their order."""
    shorter = SHORTER.get(name_of(page), {})
    found = list(blocks(page))
    for long in shorter:
        assert any(long in block for _, block in found), f"{long!r} is replaced but not in {name_of(page)}"
    for language, block in found:
        for long, short in shorter.items():
            block = block.replace(long, short)
        if language == "python":
            exec(compile(block, f"{name_of(page)}: {block[:40]}", "exec"), names)
        elif language == "shell":
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith(INSTALLS):
                    run_shell(line)


def test_getting_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "getting_started.md"
    run_page(page, {})
    for name in set(re.findall(r"`([\w/]+\.(?:npz|png|flo|safetensors|json|csv))`", page.read_text(encoding="utf-8"))):
        assert (tmp_path / name).is_file(), f"{name} is said to be written"


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/choosing_options.md",
        "docs/conventions.md",
        "docs/ecosystem.md",
        "docs/index.md",
        "docs/landmarks.md",
        "docs/own_data.md",
    ],
)
def test_python_of_pages(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the python blocks of pages that take a cohort, images and fields for granted."""
    monkeypatch.chdir(tmp_path)
    hearts = phantoms.heart(6, shape=(64, 64))
    hearts.save("hearts.npz")
    fixed, moving = hearts.images[:2]
    grid = hearts.grid
    sites, values = hearts.landmarks[0], hearts.landmarks[1] - hearts.landmarks[0]
    u, v = (np.full((2, *grid), shift, np.float32) for shift in (0.5, -1.5))
    taken = {"cohort": hearts, "fixed": fixed, "moving": moving, "image": moving, "sites": sites, "values": values}
    text = [block for language, block in blocks(ROOT / name) if language == "python"]
    assert text
    shell = {language for language, _ in blocks(ROOT / name)} & {"shell"}
    assert not shell, "shell blocks of this page would be run; use another language, or test the page by itself"
    taken |= {"model": AppearanceModel.fit(hearts)} if name == "docs/ecosystem.md" else {}
    run_page(ROOT / name, taken | {"grid": grid, "displacement": u, "u": u, "v": v})


def test_recipes_and_descriptions_of_pages(tmp_path: Path) -> None:
    """Read every block of TOML as what its page says that it is."""
    counts = {"docs/landmarks.md": 0, "docs/files.md": 0, "docs/own_data.md": 0}
    for name in counts:
        for language, block in blocks(ROOT / name):
            if language == "toml":
                path = tmp_path / f"{counts[name]}.toml"
                path.write_text(block, encoding="utf-8")
                _ = read_recipe(path) if name == "docs/landmarks.md" else read_description(path)
                counts[name] += 1
    assert all(counts.values())
