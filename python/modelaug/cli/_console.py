"""What all commands share: consoles, progress, errors in one line, and options."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from modelaug._checks import MOST_THREADS
from modelaug.io.files.reading import ModelFileError
from modelaug.io.files.writing import FolderLostError

out = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
"""Results."""

err = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
"""Progress and messages."""

ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=MOST_THREADS, help="Threads to use.", show_default="all cores", metavar="N"),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of all random numbers.", metavar="N")]

_EXPECTED: Final = (ModelFileError, ValueError, TypeError, OSError, ArithmeticError, MemoryError)
_INTERRUPTED: Final = 130
_EXTRAS: Final = {
    "torch": "train",
    "safetensors": "train",
    "tqdm": "train",
    "matplotlib": "plot",
    "jinja2": "plot",
    "PIL": "plot",
    "panel": "explore",
    "SimpleITK": "io",
    "nibabel": "io",
    "pydicom": "io",
    "tifffile": "io",
    "imagecodecs": "io",
    "tomli": "io",
    "contourpy": "io",
    "tomli_w": "io",
    "dask": "distributed",
    "distributed": "distributed",
}


# Of click, which newer releases of typer bring along under another name.
_UsageError: Final[type[Any]] = typer.BadParameter.__bases__[0]


class Commands(TyperGroup):
    """Commands whose expected errors end with one line on standard error and exit code 2; 1 if results were lost."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line; wherever it is interrupted, it ends with one line."""
        try:
            return super().main(*arguments, **options)
        except SystemExit as error:
            if error.code == _INTERRUPTED:
                err.print("modelaug: interrupted")
            raise

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options that come before the command."""
        if not args:
            return super().parse_args(ctx, args)  # shows the help
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            _misused(error)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            _misused(error)
        except BrokenPipeError:
            raise  # whoever reads the output has had enough; ends without a word
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get((error.name or "").split(".")[0])
            if extra is None or ctx.params.get("debug"):
                raise
            _fail(f"this command needs {error.name}; pip install 'modelaug[{extra}]'")
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except _EXPECTED as error:
            if ctx.params.get("debug"):
                raise
            _fail(str(error) or type(error).__name__, 1 if isinstance(error, FolderLostError) else 2)


def _misused(error: Any) -> NoReturn:
    command = error.ctx.command_path if error.ctx is not None else "modelaug"
    _fail(f"{error.format_message().rstrip('.')}; see {command} --help")


def _fail(message: str, status: int = 2) -> NoReturn:
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
    """Give a function to be called with (done, total): a bar on a terminal, plain lines elsewhere."""
    if not err.is_terminal:
        yield _PlainProgress(label)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print what a user is to know; of others, which are for programmers, nothing."""
    if issubclass(category, UserWarning):
        err.print(f"modelaug: {' '.join(str(message).split())}")


class _PlainProgress:
    """Prints a line every 10 %, but not more often than once a second, and every 5 s; and one at the end."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._since = time.monotonic()
        self._tenth = 0

    def __call__(self, done: int, total: int) -> None:
        now, tenth = time.monotonic(), 10 * done // total
        due = now - self._since >= 5 or (tenth > self._tenth and now - self._since >= 1)
        if due or done == total:
            err.print(f"{self._label}: {done}/{total}")
            self._since, self._tenth = now, tenth


def print_table(rows: Mapping[str, Any] | Sequence[Sequence[str]], *, title: str, header: Sequence[str] = ()) -> None:
    """Print names and values, or rows below a header with numbers to the right."""
    table = Table(title=title, title_justify="left", show_header=bool(header))
    lines = rows.items() if isinstance(rows, Mapping) else rows
    for k in range(len(header) or 2):
        table.add_column(header[k] if header else "", justify="right" if header and k else "left", overflow="fold")
    for line in lines:
        # Halves of characters, which JSON can hold, cannot be printed.
        table.add_row(*(str(each).encode(errors="backslashreplace").decode() for each in line))
    out.print(table)


def grid_text(grid: Sequence[int]) -> str:
    """Return the shape of a grid in words: 256 x 256."""
    return " x ".join(map(str, grid))


def output_file(path: Path, *suffixes: str) -> Path:
    """Return the path of a result, or raise ValueError if it ends in none of the suffixes; before any work is done."""
    if not path.name.lower().endswith(suffixes):
        raise ValueError(f"{path} is to hold the result; use a name that ends in {' or '.join(suffixes)}")
    return path
