"""Arguments and options of several commands, and options by name: ``--set NAME=VALUE``."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from typer import Argument, Option

from modelaug import PairOptions
from modelaug._checked import Checked, choices, hints, members, with_values
from modelaug._checks import MOST_THREADS, thread_count

Options = TypeVar("Options", bound=Checked)


def _check_threads(threads: int | None) -> int | None:
    return None if threads is None else thread_count(threads)


Model = Annotated[Path, Argument(help="Model of `modelaug fit`.")]
CohortFile = Annotated[Path, Argument(help="Cohort, images with landmarks: .npz, a folder, or its cohort.toml.")]
Threads = Annotated[
    int | None,
    Option(
        help=f"Threads to use, 1 to {MOST_THREADS}.", callback=_check_threads, metavar="N", show_default="all cores"
    ),
]
Seed = Annotated[int, Option(min=0, help="Seed of all random numbers.", metavar="N")]
Scheduler = Annotated[
    str | None,
    Option(
        help="Let the workers of this Dask scheduler do the work, best with one thread each; they must see all files.",
        metavar="ADDRESS",
    ),
]
PairSettings = Annotated[
    list[str] | None,
    Option(
        "--set",
        help="An option of the pairs, e.g. flow=direct, texture=shared, pose=none, residual.amplitude=2, "
        "residual.spacing=20 or acquisition.noise=0.1; may be repeated.",
        metavar="NAME=VALUE",
    ),
]


def words(kind: type[Checked], name: str) -> str:
    """Return the words that an option takes, for its help."""
    *others, last = choices(kind, name)
    return f"{', '.join(others)} or {last}"


def parse_pair_options(settings: Sequence[str] | None) -> PairOptions:
    """Parse the settings of ``--set`` to options of pairs, see `parse_settings`."""
    return parse_settings(PairOptions, settings, "--set")


def parse_settings(kind: type[Options], settings: Sequence[str] | None, flag: str, **defaults: Any) -> Options:
    """Parse settings such as ``"flow=direct"`` or ``"residual.amplitude=2"`` to options.

    Parameters
    ----------
    kind
        Class of the options.
    settings
        NAME=VALUE each.
    flag
        The command line's option that takes them, for messages.
    **defaults
        Values of options that are not set.

    Raises
    ------
    ValueError, TypeError
        If a setting has another form, names no option, or has a wrong value.
    """
    parts = members(kind)
    names = [name for name in hints(kind) if name not in parts]
    names += [f"{group}.{name}" for group, part in parts.items() for name in hints(part)]
    values: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, text = setting.partition("=")
        if not equals or name not in names:
            group = f"{name.partition('.')[0]}."
            within = [each.removeprefix(group) for each in names if "." in name and each.startswith(group)]
            known = ", ".join(within or names)
            raise ValueError(f"{flag} {setting!r} names no option; pass NAME=VALUE with one of {known}")
        values[name] = _parse_value(text)
    try:
        return with_values(kind, {**defaults, **values})
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{flag} {error}") from None


def _parse_value(text: str) -> Any:
    """Parse a number, True, False or None; return any other text as it is."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if value is None or isinstance(value, (bool, int, float)) else text
