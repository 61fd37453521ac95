"""What lets Sphinx read the package's docstrings as they are written, and find what their names in backticks mean."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pydoc
import re
import sys
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from sphinx.util.nodes import make_refnode

from modelaug._checked import Checked, Limits, hints

__all__ = ["described", "described_elsewhere", "escape_stars", "exists", "mark_arguments", "setup", "with_types"]

_LITERAL = re.compile(r"(``.*?``)")
_STAR = re.compile(r"(?<![\\*\w])\*(?=\w)(?!\w+\*)")
_NAME = re.compile(r"(?<![`:\w])`(\w+)`(?!`)")


def escape_stars(line: str) -> str:
    """Escape the star of shapes such as (d, *grid), which would begin an emphasis, but not within literals."""
    parts = _LITERAL.split(line)
    return "".join(part if k % 2 else _STAR.sub(r"\\*", part) for k, part in enumerate(parts))


def mark_arguments(line: str, names: set[str]) -> str:
    """Make names of arguments in backticks, which are no links, emphases."""
    return _NAME.sub(lambda found: f"*{found[1]}*" if found[1] in names else found[0], line)


def exists(name: str) -> bool:
    """Return whether a dotted name, from anywhere within the package, is one of something, though it has no page."""
    modules = [module for key, module in sys.modules.items() if key.split(".")[0] == "modelaug"]
    return pydoc.locate(name) is not None or any(_has(module, name.split(".")) for module in modules)


def described_elsewhere(reference: str) -> dict[str, str]:
    """Return, of what a module of the reference offers but an earlier one describes already, where that is."""
    first, repeated = {}, {}
    for name in re.findall(r"^   (modelaug[\w.]*)$", reference, re.MULTILINE):
        module = importlib.import_module(name)
        for each in module.__all__:
            value = getattr(module, each)
            if inspect.isclass(value) or inspect.isfunction(value):
                place = first.setdefault(value, f"{name}.{each}")
                repeated |= {f"{name}.{each}": place} if place != f"{name}.{each}" else {}
    return repeated


def _has(value: Any, names: list[str]) -> bool:
    for name in names:
        if not hasattr(value, name) and name not in getattr(value, "__annotations__", ()):
            return False
        value = getattr(value, name, None)
    return True


def _arguments(name: str, value: Any) -> set[str]:
    """Return the arguments and fields of a function or a class, for a method those of its class, too."""
    found = set(getattr(value, "__annotations__", ()))
    found |= (
        {key for key, each in vars(value).items() if isinstance(each, property)} if inspect.isclass(value) else set()
    )
    with contextlib.suppress(TypeError, ValueError):  # for it may be neither a function nor a class
        found |= set(inspect.signature(value).parameters)
    owner = pydoc.locate(name.rpartition(".")[0])
    return found | _arguments("", owner) if inspect.isclass(owner) else found


def described(kind: type[Checked]) -> dict[str, str]:
    """Return what each field of options takes, and its default, in words."""
    defaults = {each.name: each.default for each in fields(kind)}
    found = {}
    for name, annotation in hints(kind).items():
        shown = defaults[name] is not MISSING and not isinstance(defaults[name], Checked)
        found[name] = _words(annotation) + (f", default {defaults[name]!r}" if shown else "")
    return found


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0]) + (_within(arguments[1]) if isinstance(arguments[1], Limits) else "")
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, UnionType):
        return " or ".join("None" if each is NoneType else _words(each) for each in arguments)
    if origin is tuple:
        return f"tuple of {_words(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def _within(limits: Limits) -> str:
    least, most, above = limits
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    lower = f", at least {least:g}" if least is not None else f" above {above:g}" if above is not None else ""
    return lower + ("" if most is None else f", at most {most:g}")


def with_types(lines: list[str], value: Any) -> list[str]:
    """Return a docstring's lines with what fields take behind their names, where `value` is a class of options."""
    if not (inspect.isclass(value) and issubclass(value, Checked)):
        return lines
    said, found = described(value), []
    for line in lines:
        kinds = {said.get(name) for name in line.split(", ")}
        found.append(f"{line} : {kinds.pop()}" if len(kinds) == 1 and None not in kinds else line)
    return found


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    names = _arguments(name, obj)
    lines[:] = [mark_arguments(escape_stars(line), names) for line in with_types(lines, obj)]


def _resolve(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Link to what has a page under a longer name; leave plain what has none; else the name is one of nothing."""
    if node.get("refdomain") != "py" or node.get("reftype") != "obj":
        return None
    target = node["reftarget"]
    found = env.domains["py"].find_obj(env, None, None, target, "obj", 1)
    if found:
        name, entry = min(found, key=lambda each: len(each[0]))
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)
    return content if exists(target) else None


def setup(app: Any) -> dict[str, bool]:
    """Escape before numpydoc, whose priority is 500, takes sections apart."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
