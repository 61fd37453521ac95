"""Options that check themselves: what a field takes stands once, in its annotation.

The checks, the words of the command line, what files hold and the reference's lists all come from there.
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
    """Between which numbers an int or float must lie, in its annotation; as `_checks.integer` and `_checks.number`."""

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
    """Base of frozen dataclasses whose fields are checked by their annotations, and keep what the checks return.

    ``Literal`` takes one of its words; ``bool``, ``int``, ``float`` and ``str`` a value of that kind, as a plain one,
    which a file can hold; ``tuple[X, ...]`` a tuple or list of X; a class of this kind its instances; ``X | None`` None
    as well. ``Annotated[X, Limits(...)]`` narrows a number; ``Annotated[X, check]`` takes whatever
    ``check(name, value)`` returns. Fields of other types are kept as they are.
    """

    def __post_init__(self) -> None:
        """Check every field, then all together."""
        kind: Any = type(self)
        for name, check in _checks_of(kind).items():
            object.__setattr__(self, name, check(self._called(name), getattr(self, name)))
        self._check()

    def _called(self, name: str) -> str:
        """Return what messages call a field."""
        return name

    def _check(self) -> None:
        """Raise ValueError or TypeError unless the fields, each of which is right, fit together."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields in the form in which they are noted in files."""
        noted: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return noted

    @classmethod
    def from_json(cls: type[T], noted: Mapping[str, Any]) -> T:
        """Return what `as_json` noted; fields that were not there yet have their defaults."""
        kinds, values = members(cls), dict(noted)
        for name in kinds.keys() & values.keys():
            values[name] = None if values[name] is None else kinds[name].from_json(values[name])
        return cls(**values)


def hints(kind: type[Any]) -> dict[str, Any]:
    """Return the annotation of each field."""
    known = get_type_hints(kind, include_extras=True)
    return {each.name: known[each.name] for each in fields(kind)}


def choices(kind: type[Any], name: str) -> tuple[str, ...]:
    """Return the words that a field takes."""
    return get_args(hints(kind)[name])


def members(kind: type[Any]) -> dict[str, type[Checked]]:
    """Return the fields that hold options of their own, and of which class."""
    found = {name: _without_none(each)[0] for name, each in hints(kind).items()}
    return {name: each for name, each in found.items() if isinstance(each, type) and issubclass(each, Checked)}


def differences(options: Checked) -> dict[str, Any]:
    """Return the fields that are not as by default."""
    return {
        each.name: getattr(options, each.name)
        for each in fields(options)
        if each.default is MISSING or getattr(options, each.name) != each.default
    }


def flat(options: Checked, separator: str = ".") -> dict[str, Any]:
    """Return the fields by name, and behind options those within them, under names such as ``residual.amplitude``."""
    found: dict[str, Any] = {}
    for each in fields(options):
        value = found[each.name] = getattr(options, each.name)
        if isinstance(value, Checked):
            found |= {f"{each.name}{separator}{name}": inner for name, inner in flat(value, separator).items()}
    return found


def grouped(values: Mapping[str, Any], separator: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return values under plain names, and those under names such as ``residual.amplitude`` by what comes first."""
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
    """Return options with other values, of options within them by names such as ``residual.amplitude``.

    Parameters
    ----------
    what
        Options, or a class of them: then the others have their defaults, and options that are None by default are made.
    values
        By name.
    separator
        Between the names of options and of what is within them.
    where
        What messages call `what`, if it is itself within others.

    Raises
    ------
    TypeError, ValueError
        If there is no field of a name, one has no value, or a value does not fit.
    """
    if not isinstance(what, (Checked, type)):
        raise TypeError(f"{where} is {what!r}; set it to options before what is within them")
    kind: Any = what if isinstance(what, type) else type(what)
    plain, within = grouped(values, separator)
    known = fields(kind)
    prefix = f"{where}{separator}" if where else ""
    for name in (*plain, *within):
        if name not in [each.name for each in known]:
            names = ", ".join(each.name for each in known)
            raise ValueError(f"{prefix + name!r} is no parameter; {where or kind.__name__} has {names}")
    for name, inner in within.items():
        now = plain.get(name, getattr(what, name, None))
        if now is None and isinstance(what, type):
            now = members(kind).get(name)
        plain[name] = with_values(now, inner, separator=separator, where=prefix + name)
    needed = [each.name for each in known if each.default is MISSING]
    missing = [name for name in needed if isinstance(what, type) and name not in plain]
    if missing:
        raise ValueError(
            f"{prefix}{missing[0]}=VALUE is missing; {where or kind.__name__} needs {' and '.join(needed)}"
        )
    try:
        return what(**plain) if isinstance(what, type) else replace(what, **plain)
    except (TypeError, ValueError) as error:
        said = f"{where}: {error}" if where else str(error)
        raise (TypeError if isinstance(error, TypeError) else ValueError)(said) from None


@functools.cache
def _checks_of(kind: type[Any]) -> dict[str, Check]:
    found = {name: _check_of(each) for name, each in hints(kind).items()}
    return {name: check for name, check in found.items() if check is not None}


def _check_of(annotation: Any) -> Check | None:
    """Return the check that an annotation asks for."""
    inner, optional = _without_none(annotation)
    if optional:
        check = _simple_check(inner, " or None")
        return None if check is None else lambda name, value: None if value is None else check(name, value)
    return _simple_check(inner, "")


def _simple_check(kind: Any, otherwise: str) -> Check | None:
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
        return functools.partial(_tuple_of, check=_check_of(arguments[0]) or _as_it_is)
    if kind in (int, float):
        return functools.partial(_checks.integer if kind is int else _checks.number, **limits)
    if kind is bool:
        return functools.partial(
            _checks.instance, kind=bool, wanted=f"True{',' if otherwise else ' or'} False{otherwise}"
        )
    if kind is str:
        return functools.partial(_checks.instance, kind=str, wanted="a string")
    if isinstance(kind, type) and issubclass(kind, Checked):
        return functools.partial(_checks.instance, kind=kind, wanted=f"{kind.__name__}(...){otherwise}")
    return None


def _tuple_of(name: str, value: Any, check: Check) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} is {value!r}; pass a tuple of numbers")
    return tuple(check(name, each) for each in value)


def _as_it_is(name: str, value: Any) -> Any:
    return value


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Return X of ``X | None``, and whether there was None."""
    if get_origin(annotation) in (Union, UnionType):
        others = [each for each in get_args(annotation) if each is not NoneType]
        return (others[0] if len(others) == 1 else None), True
    return annotation, False
