"""Consoles, progress, tables, and errors in one line, for all commands."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from modelaug.io.files.reading import ModelFileError
from modelaug.io.files.writing import FolderLostError

out = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
"""Results."""

err = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
"""Progress and messages."""

_EXPECTED: Final = (ModelFileError, ValueError, TypeError, OSError, ArithmeticError, MemoryError)
_INTERRUPTED: Final = 130
_EXTRAS: Final = {
    "train": ("torch", "safetensors", "tqdm"),
    "plot": ("matplotlib", "jinja2", "PIL"),
    "explore": ("panel",),
    "io": ("SimpleITK", "nibabel", "pydicom", "tifffile", "imagecodecs", "tomli", "contourpy", "tomli_w"),
    "distributed": ("dask", "distributed"),
}
"""Packages by the extra that installs them."""

# Newer releases of typer ship click under another name.
_UsageError: Final[type[Any]] = typer.BadParameter.__bases__[0]


class Commands(TyperGroup):
    """Commands that report expected errors in one line on stderr, with exit code 2, or 1 if results are lost."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line, and report an interruption in one line."""
        try:
            return super().main(*arguments, **options)
        except SystemExit as error:
            if error.code == _INTERRUPTED:
                err.print("modelaug: interrupted")
            raise

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command."""
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            if not args:
                raise  # shows the help
            _report_misuse(error)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            _report_misuse(error)
        except BrokenPipeError:
            raise  # the reader of the output has closed it; end silently
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            extra = next((name for name, packages in _EXTRAS.items() if package in packages), None)
            if extra is None or ctx.params.get("debug"):
                raise
            _exit_with(f"this command needs {error.name}; pip install 'modelaug[{extra}]'")
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except _EXPECTED as error:
            if ctx.params.get("debug"):
                raise
            _exit_with(str(error) or type(error).__name__, 1 if isinstance(error, FolderLostError) else 2)


def _report_misuse(error: Any) -> NoReturn:
    command = error.ctx.command_path if error.ctx is not None else "modelaug"
    _exit_with(f"{error.format_message().rstrip('.')}; see {command} --help")


def _exit_with(message: str, status: int = 2) -> NoReturn:
    err.print(f"modelaug: {' '.join(message.split())}")
    raise typer.Exit(status)


@contextmanager
def messages_on_stderr() -> Iterator[None]:
    """Show the package's log messages and warnings as plain lines while a command runs."""
    logger = logging.getLogger("modelaug")
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    shown = warnings.showwarning
    warnings.showwarning = _show_warning
    try:
        yield
    finally:
        warnings.showwarning = shown
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress by a function of (done, total): as a bar on a terminal, as plain lines elsewhere."""
    if not err.is_terminal:
        yield _line_progress(label)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print a warning for users; those for programmers are not shown."""
    if issubclass(category, UserWarning):
        err.print(f"modelaug: {' '.join(str(message).split())}")


def _line_progress(label: str) -> Callable[[int, int], None]:
    """Return a function that prints a line every 10 %, at most once a second and at least every 5 s, and at the end."""
    printed, tenths = time.monotonic(), 0

    def report(done: int, total: int) -> None:
        nonlocal printed, tenths
        now, reached = time.monotonic(), 10 * done // total
        due = now - printed >= 5 or (reached > tenths and now - printed >= 1)
        if due or done == total:
            err.print(f"{label}: {done}/{total}")
            printed, tenths = now, reached

    return report


def print_table(rows: Mapping[str, Any] | Sequence[Sequence[str]], *, title: str, header: Sequence[str] = ()) -> None:
    """Print a table of names and values, or of rows below a header, with numbers aligned to the right."""
    table = Table(title=title, title_justify="left", show_header=bool(header))
    lines = rows.items() if isinstance(rows, Mapping) else rows
    for k in range(len(header) or 2):
        table.add_column(header[k] if header else "", justify="right" if header and k else "left", overflow="fold")
    for line in lines:
        # Surrogates without their partner, which JSON can hold, cannot be printed.
        table.add_row(*(str(each).encode(errors="backslashreplace").decode() for each in line))
    out.print(table)


def grid_text(grid: Sequence[int]) -> str:
    """Return the shape of a grid in words: 256 x 256."""
    return " x ".join(map(str, grid))


def output_file(path: Path, *suffixes: str) -> Path:
    """Return the path of a result, or raise ValueError if it ends in none of the suffixes."""
    if not path.name.lower().endswith(suffixes):
        raise ValueError(f"{path} is to hold the result; use a name that ends in {' or '.join(suffixes)}")
    return path
