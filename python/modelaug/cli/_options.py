"""``--set NAME=VALUE``: options of pairs on the command line, those within others by a dot."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import typer

from modelaug import PairOptions
from modelaug._checked import Checked, choices, hints, members, with_values

Options = TypeVar("Options", bound=Checked)

PairSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="An option of the pairs, e.g. flow=direct, texture=shared, pose=none, residual.amplitude=2, "
        "residual.spacing=20 or acquisition.noise=0.03; may be repeated.",
        metavar="NAME=VALUE",
        show_default=False,
    ),
]


def words(kind: type[Checked], name: str) -> str:
    """Return the words that an option takes, for its help."""
    *others, last = choices(kind, name)
    return f"{', '.join(others)} or {last}"


def parse_pair_options(settings: Sequence[str] | None) -> PairOptions:
    """Return the options of pairs that settings stand for, see `parse_settings`."""
    return parse_settings(PairOptions, settings, "--set")


def parse_settings(kind: type[Options], settings: Sequence[str] | None, flag: str, **defaults: Any) -> Options:
    """Return the options that settings such as ``"flow=direct"`` or ``"residual.amplitude=2"`` stand for.

    Parameters
    ----------
    kind
        Class of the options.
    settings
        NAME=VALUE each.
    flag
        By which they were passed.
    **defaults
        Values of options that are not set.

    Raises
    ------
    ValueError, TypeError
        If a setting is not of this form, or names no option, or its value does not fit.
    """
    names = _names(kind)
    values: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, text = setting.partition("=")
        if not equals or name not in names:
            group, dot, _ = name.partition(".")
            within = [each.removeprefix(group + dot) for each in names if dot and each.startswith(group + dot)]
            known = ", ".join(within or names)
            raise ValueError(f"{flag} {setting!r} names no option; pass NAME=VALUE with one of {known}")
        values[name] = _value(text)
    try:
        return with_values(kind, {**defaults, **values})
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{flag} {error}") from None


def _names(kind: type[Checked]) -> list[str]:
    """Return what can be set, options within options behind the others."""
    parts = members(kind)
    own = [name for name in hints(kind) if name not in parts]
    return own + [f"{group}.{name}" for group, part in parts.items() for name in hints(part)]


def _value(text: str) -> Any:
    """Return a number, True, False or None where the text is one, else the text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if value is None or isinstance(value, (bool, int, float)) else text
