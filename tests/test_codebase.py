"""The sources themselves: style, types, and the committed stub of the extension."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
