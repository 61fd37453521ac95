"""``--set NAME=VALUE``: options of pairs on the command line, those within others by a dot."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

import typer

from modelaug import AcquisitionOptions, PairOptions, ResidualOptions

Options = TypeVar("Options")

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

_NESTED: Final[dict[str, Any]] = {"residual": ResidualOptions, "acquisition": AcquisitionOptions}


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
    fields = [each.name for each in dataclasses.fields(kind)]  # type: ignore[arg-type]
    parts = {group: [each.name for each in dataclasses.fields(_NESTED[group])] for group in fields if group in _NESTED}
    names = [name for name in fields if name not in parts]
    names += [f"{group}.{member}" for group, members in parts.items() for member in members]
    plain: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for setting in settings or ():
        name, equals, text = setting.partition("=")
        group, dot, member = name.partition(".")
        if not equals or name not in names:
            known = parts[group] if dot and group in parts and member not in parts[group] else names
            raise ValueError(f"{flag} {setting!r} names no option; pass NAME=VALUE with one of {', '.join(known)}")
        if dot:
            nested.setdefault(group, {})[member] = _value(text)
        else:
            plain[name] = _value(text)
    for group, members in nested.items():
        part = _NESTED[group]
        needed = [each.name for each in dataclasses.fields(part) if each.default is dataclasses.MISSING]
        missing = [each for each in needed if each not in members]
        if missing:
            raise ValueError(f"{flag} {group}.{missing[0]}=VALUE is missing; {group} needs {' and '.join(needed)}")
        plain[group] = _made(part, members, f"{flag} {group}:")
    return _made(kind, {**defaults, **plain}, flag)


def _made(kind: type[Options], values: dict[str, Any], said: str) -> Options:
    """Return options with values; what is wrong with one of them is said of what the user typed."""
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{said} {error}") from None


def _value(text: str) -> Any:
    """Return a number, True, False or None where the text is one, else the text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if value is None or isinstance(value, (bool, int, float)) else text
