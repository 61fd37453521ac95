"""The sources themselves: style, types, and the committed stub of the extension."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import structure

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file() or shutil.which("clang-format", path=Path(sys.executable).parent) is None,
    reason="needs the sources and the extra 'test'",
)


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff() -> None:
    run(sys.executable, "-m", "ruff", "check", ".")


def test_formatted() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", ".")
    program = shutil.which("clang-format", path=Path(sys.executable).parent)
    sources = sorted(map(str, [*ROOT.glob("cpp/**/*.cpp"), *ROOT.glob("cpp/**/*.hpp")]))
    assert program is not None
    assert sources
    run(program, "--dry-run", "-Werror", *sources)


def test_types() -> None:
    run(sys.executable, "-m", "mypy")


@pytest.mark.parametrize("scanned", [["python"], ["tests", "bench", "docs", "--ignore", "DEP002,DEP004"]])
def test_imports_are_declared(scanned: list[str]) -> None:
    pytest.importorskip("deptry")
    run(sys.executable, "-m", "deptry", "--no-ansi", *scanned)


def test_stub_is_true(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pybind11_stubgen", "modelaug._core", "-o", str(tmp_path))
    generated = (tmp_path / "modelaug" / "_core.pyi").read_text()
    assert (ROOT / "python" / "modelaug" / "_core.pyi").read_text() == generated, "run `make stubs`"


def test_no_file_is_too_long() -> None:
    files = [p for folder in ("cpp", "python", "tests", "bench") for p in (ROOT / folder).rglob("*.*pp")]
    files += [p for folder in ("python", "tests", "bench") for p in (ROOT / folder).rglob("*.py")]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in files}
    assert {name: n for name, n in lengths.items() if n > 500} == {}


def test_no_import_from_a_higher_floor_and_no_circle() -> None:
    assert structure.faults(structure.graph()) == []


def test_faults_of_the_structure_are_found(tmp_path: Path) -> None:
    package = tmp_path / "modelaug"
    for name, text in {
        "__init__.py": "from modelaug.data import cohort",
        "_checks.py": "import numpy",
        "attic.py": "",
        "data/__init__.py": "",
        "data/cohort.py": "from modelaug import _checks\ndef load():\n    from modelaug.io.files import read",
        "io/__init__.py": "import modelaug.data.cohort as cohort",
        "data/late.py": "import importlib\nimportlib.import_module('modelaug.io.more')",
        "data/whole.py": "import modelaug.data\nimport modelaug.data as kept",
        "io/files.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from modelaug.io.more import x",
        "io/more.py": "from modelaug.io import files",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    edges = structure.graph(package)
    assert edges["data.cohort"] == {"_checks": 1, "io.files": 3}
    assert structure.faults(edges)[0] == "attic: room 'attic' is on no floor"
    (package / "attic.py").unlink()
    up, late, whole, circle = structure.faults(structure.graph(package))
    assert late == "data.late, line 2: imports io.more, which is on a higher floor"
    assert whole == "data.whole, line 1: imports modelaug, which is on a higher floor"
    assert up == "data.cohort, line 3: imports io.files, which is on a higher floor"
    assert circle.startswith("a circle: ")
    assert {"io.files", "io.more"} <= set(circle.removeprefix("a circle: ").split(" <- "))


def test_the_drawn_structure_is_that_of_the_imports() -> None:
    page = structure.PAGE.read_text()
    assert page == structure.with_rooms(page, structure.drawn()), "run `make structure`"


def test_all_name_the_same_release() -> None:
    def found(pattern: str, name: str) -> tuple[str, ...]:
        match = re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)
        assert match is not None, f"{name} names no release"
        return match.groups()

    release, day = found(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", "CHANGELOG.md")
    assert found(r'^version = "(.+)"$', "pyproject.toml") == (release,)
    assert found(r'^version: (.+)\ndate-released: "(.+)"$', "CITATION.cff") == (release, day)
