"""The package's rooms, read from its imports: what imports what, and whether data flows one way.

``make structure`` draws the page in CONTRIBUTING.md; ``python -m tests.structure --lines`` counts lines of code.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "python" / "modelaug"
PAGE: Final = ROOT / "CONTRIBUTING.md"

GROUND: Final = "(ground)"
"""The room of modules whose names begin with an underscore: what all others may use."""
NAMES: Final = "(names)"
"""The room of the package's own names."""
FLOORS: Final = (
    GROUND,
    "transforms",
    "data",
    "locality",
    "models",
    "synthesis",
    "io",
    "registration",
    "correspondence",
    "baselines",
    "learning",
    "evaluation",
    "plots",
    "comparison",
    "explorer",
    "datasets",
    "estimator",
    "demo",
    NAMES,
    "cli",
)
"""From the ground up; a module imports from its own room and from those before it."""

_BEGIN: Final = "<!-- drawn by `make structure` -->\n"
_END: Final = "<!-- end -->\n"


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Return the modules by their names below the package; subpackages count; the package itself is ``""``."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        *folders, stem = path.relative_to(package).with_suffix("").parts
        found[".".join(folders if stem == "__init__" else [*folders, stem])] = path
    return found


def room(module: str) -> str:
    """Return the room of a module."""
    first = module.partition(".")[0]
    if not first:
        return NAMES
    if first == "__main__":
        return "cli"
    return GROUND if first.startswith("_") else first


def imports(source: str, known: Mapping[str, object], package: str = "modelaug") -> Iterator[tuple[int, str]]:
    """Yield the line and the module of each import of the package's own, wherever in the source it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            # Without `as`, what is bound is the package, by which all of it could be reached.
            own = [alias for alias in node.names if alias.name.split(".")[0] == package]
            named = [alias.name if alias.asname else package for alias in own]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            named = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # What is imported may be a module itself, or a name in one.
            named = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            raise ValueError(
                f"line {node.lineno} imports from {'.' * node.level}{node.module or ''}; write the whole path"
            )
        else:
            continue
        for name in named:
            if name.split(".")[0] != package:
                continue
            below = name.partition(".")[2]
            while below and below not in known and below != "_core":
                below = below.rpartition(".")[0]
            yield node.lineno, below


def graph(package: Path = PACKAGE) -> dict[str, dict[str, int]]:
    """Return for each module which others it imports, with a line in which it does so."""
    known = modules(package)
    return {
        name: {target: line for line, target in imports(path.read_text(), known) if target != name}
        for name, path in known.items()
    }


def faults(edges: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what is wrong with the imports: those from a higher floor, of a room that is on no floor, and circles."""
    wrong = [f"{name}: room {room(name)!r} is on no floor" for name in edges if room(name) not in FLOORS]
    if not wrong:
        for name, targets in edges.items():
            wrong += [
                f"{name}, line {line}: imports {target or 'modelaug'}, which is on a higher floor"
                for target, line in targets.items()
                if FLOORS.index(room(target)) > FLOORS.index(room(name))
            ]
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        wrong.append("a circle: " + " <- ".join(error.args[1]))
    return wrong


def rooms(edges: Mapping[str, Mapping[str, int]]) -> dict[str, set[str]]:
    """Return for each room which others it imports from."""
    found: dict[str, set[str]] = {floor: set() for floor in FLOORS}
    for name, targets in edges.items():
        found[room(name)] |= {room(target) for target in targets} - {room(name)}
    return found


def drawn(package: Path = PACKAGE) -> str:
    """Return the page's part about the rooms: a table, floor by floor from the ground up."""
    known, uses = modules(package), rooms(graph(package))
    rows = []
    for floor in FLOORS:
        names = sorted(name for name in known if room(name) == floor)
        about = f"`{floor}`" if floor in known else floor.strip("()")
        if floor in known:
            first = (ast.get_docstring(ast.parse(known[floor].read_text())) or "").partition("\n")[0]
        else:
            first = ", ".join(f"`{name or '__init__'}`" for name in names)
        count = sum(1 for name in names if known[name].name != "__init__.py")
        used = ", ".join(f"`{each}`" for each in FLOORS if each in uses[floor] and each != GROUND) or "-"
        rows.append(f"| {about} | {first} | {used} | {count} |\n")
    return (
        "| room | what is in it | imports from, besides the ground | modules |\n| --- | --- | --- | --- |\n"
        + "".join(rows)
    )


def with_rooms(page: str, part: str) -> str:
    """Return a page whose part about the rooms is this one."""
    before, _, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"the page lacks {_BEGIN.strip()} and {_END.strip()}")
    return before + _BEGIN + part + _END + after


def code_lines(source: str) -> int:
    """Return how many lines of a source hold code: no docstring, comment, import or blank."""
    lines: set[int] = set()
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if text or isinstance(node, (ast.Import, ast.ImportFrom)):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", action="store_true", help="print lines of code by room instead of drawing the page")
    if parser.parse_args().lines:
        counts = dict.fromkeys(FLOORS, 0)
        for name, path in modules().items():
            counts[room(name)] += code_lines(path.read_text())
        print(*(f"{count:6} {floor}" for floor, count in counts.items()), f"{sum(counts.values()):6} in all", sep="\n")
        return
    PAGE.write_text(with_rooms(PAGE.read_text(), drawn()))
    print(*faults(graph()) or [f"{PAGE.name}: no circle, no import from a higher floor"], sep="\n")


if __name__ == "__main__":
    main()
