"""Options that check themselves by the annotations of their fields.

Checks, options of the command line, contents of files and lists in the reference all come from these annotations.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from modelaug import _checks

T = TypeVar("T", bound="Checked")
Check = Callable[[str, Any], Any]


class Limits(NamedTuple):
    """Bounds of an int or float in its annotation, as in `_checks.integer` and `_checks.number`."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None


Count = Annotated[int, Limits(minimum=1)]
WholeNumber = Annotated[int, Limits(minimum=0)]
NonNegative = Annotated[float, Limits(minimum=0.0)]
Positive = Annotated[float, Limits(above=0.0)]
Share = Annotated[float, Limits(minimum=0.0, maximum=1.0)]


@dataclass(frozen=True)
class Checked:
    """Base of frozen dataclasses whose fields are checked by their annotations and hold the values that checks return.

    ``Literal`` takes one of its words; ``bool``, ``int``, ``float`` and ``str`` a value of that type, kept as a plain
    one for files; ``tuple[X, ...]`` a tuple or list of X; a subclass its instances; ``X | None`` None as well.
    ``Annotated[X, Limits(...)]`` bounds a number; ``Annotated[X, check]`` holds what ``check(name, value)`` returns.
    Fields of other types are not checked.
    """

    def __post_init__(self) -> None:
        """Check each field, then all together."""
        kind: Any = type(self)
        for name, check in _checks_of(kind).items():
            object.__setattr__(self, name, check(self._field_name(name), getattr(self, name)))
        self._check()

    def _field_name(self, name: str) -> str:
        """Return the name of a field in messages."""
        return name

    def _check(self) -> None:
        """Raise ValueError or TypeError unless the fields, which are valid one by one, fit together."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields in the types of JSON, for files."""
        stored: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return stored

    @classmethod
    def from_json(cls: type[T], stored: Mapping[str, Any]) -> T:
        """Return options from `as_json`; fields missing in older files have their defaults."""
        kinds, values = members(cls), dict(stored)
        for name in kinds.keys() & values.keys():
            values[name] = None if values[name] is None else kinds[name].from_json(values[name])
        return cls(**values)


def hints(kind: type[Any]) -> dict[str, Any]:
    """Return the annotation of each field, by name."""
    known = get_type_hints(kind, include_extras=True)
    return {each.name: known[each.name] for each in fields(kind)}


def choices(kind: type[Any], name: str) -> tuple[str, ...]:
    """Return the words that a field takes."""
    return get_args(hints(kind)[name])


def members(kind: type[Any]) -> dict[str, type[Checked]]:
    """Return the classes of the fields that are options themselves, by name."""
    found = {name: _without_none(each)[0] for name, each in hints(kind).items()}
    return {name: each for name, each in found.items() if isinstance(each, type) and issubclass(each, Checked)}


def differences(options: Checked) -> dict[str, Any]:
    """Return the fields whose values are not the defaults, by name."""
    return {
        each.name: getattr(options, each.name)
        for each in fields(options)
        if each.default is MISSING or getattr(options, each.name) != each.default
    }


def flat(options: Checked, separator: str = ".") -> dict[str, Any]:
    """Return the fields by name, those of nested options by names such as ``residual.amplitude``."""
    found: dict[str, Any] = {}
    for each in fields(options):
        value = found[each.name] = getattr(options, each.name)
        if isinstance(value, Checked):
            found |= {f"{each.name}{separator}{name}": inner for name, inner in flat(value, separator).items()}
    return found


def grouped(values: Mapping[str, Any], separator: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split values by name into plain ones and, by their first part, those such as ``residual.amplitude``."""
    plain: dict[str, Any] = {}
    within: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        head, _, rest = name.partition(separator)
        if rest:
            within.setdefault(head, {})[rest] = value
        else:
            plain[name] = value
    return plain, within


def with_values(what: T | type[T], values: Mapping[str, Any], *, separator: str = ".", where: str = "") -> T:
    """Return options with other values, those of nested options by names such as ``residual.amplitude``.

    Parameters
    ----------
    what
        Options, or their class: then other fields have their defaults, and nested options that are None by default are
        constructed.
    values
        The new values, by name.
    separator
        Separator of the names of options and of their fields.
    where
        Name of `what` in messages if it is nested itself.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, a required field has no value, or a value is invalid.
    """
    if not isinstance(what, (Checked, type)):
        raise TypeError(f"{where} is {what!r}; set it to options before what is within them")
    kind: Any = what if isinstance(what, type) else type(what)
    plain, within = grouped(values, separator)
    names, owner = [each.name for each in fields(kind)], where or kind.__name__
    prefix = f"{where}{separator}" if where else ""
    for name in (*plain, *within):
        if name not in names:
            raise ValueError(f"{prefix + name!r} is no parameter; {owner} has {', '.join(names)}")
    for name, inner in within.items():
        now = plain.get(name, getattr(what, name, None))
        if now is None and isinstance(what, type):
            now = members(kind).get(name)
        plain[name] = with_values(now, inner, separator=separator, where=prefix + name)
    needed = [each.name for each in fields(kind) if each.default is MISSING]
    missing = [name for name in needed if isinstance(what, type) and name not in plain]
    if missing:
        raise ValueError(f"{prefix}{missing[0]}=VALUE is missing; {owner} needs {' and '.join(needed)}")
    try:
        return what(**plain) if isinstance(what, type) else replace(what, **plain)
    except (TypeError, ValueError) as error:
        message = f"{where}: {error}" if where else str(error)
        raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from None


@functools.cache
def _checks_of(kind: type[Any]) -> dict[str, Check]:
    """Return the checks of a class's fields, by name."""
    found = {name: _check_of(each) for name, each in hints(kind).items()}
    return {name: check for name, check in found.items() if check is not None}


def _check_of(annotation: Any) -> Check | None:
    """Return the check for an annotation, None if its type is not checked."""
    inner, optional = _without_none(annotation)
    if optional:
        check = _simple_check(inner, " or None")
        return None if check is None else lambda name, value: None if value is None else check(name, value)
    return _simple_check(inner, "")


def _simple_check(kind: Any, otherwise: str) -> Check | None:
    """Return the check for an annotation without None; messages end with `otherwise`, the alternative to a value."""
    origin, arguments = get_origin(kind), get_args(kind)
    limits: dict[str, Any] = {}
    if origin is Annotated:
        kind, mark = arguments
        if not isinstance(mark, Limits):
            check: Check = mark
            return check
        limits = {name: each for name, each in mark._asdict().items() if each is not None}
    if origin is Literal:
        return functools.partial(_checks.choice, allowed=arguments)
    if origin is tuple:
        return functools.partial(_tuple_of, check=_check_of(arguments[0]) or (lambda name, value: value))
    if kind in (int, float):
        return functools.partial(_checks.integer if kind is int else _checks.number, **limits)
    if kind is bool:
        wanted = f"True{',' if otherwise else ' or'} False{otherwise}"
        return functools.partial(_checks.instance, kind=bool, wanted=wanted)
    if kind is str:
        return functools.partial(_checks.instance, kind=str, wanted="a string")
    if isinstance(kind, type) and issubclass(kind, Checked):
        return functools.partial(_checks.instance, kind=kind, wanted=f"{kind.__name__}(...){otherwise}")
    return None


def _tuple_of(name: str, value: Any, check: Check) -> tuple[Any, ...]:
    """Return a tuple or list as a tuple of checked values."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} is {value!r}; pass a tuple of numbers")
    return tuple(check(name, each) for each in value)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Return X of ``X | None``, and whether None is allowed."""
    if get_origin(annotation) in (Union, UnionType):
        others = [each for each in get_args(annotation) if each is not NoneType]
        return (others[0] if len(others) == 1 else None), True
    return annotation, False
