"""Correspondence of landmarks between subjects by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelaug.data.scans import Scan
from modelaug.io.files.reading import ModelFileError, refuse_if
from modelaug.io.landmarks import numbered

Named = tuple[Path | None, Scan, tuple[str, ...] | None]
"""A file of landmarks, the scan they are in, and their names, None if the file has none."""


def in_one_order(read: Sequence[Named]) -> list[Scan]:
    """Reorder the landmarks of scans as in the first one, by names where files have them.

    Names that differ only in blanks or case are the same unless that makes two of a file equal. Files with the same
    names in the same order may name a landmark twice. Where no file has names, or only numbers in their order,
    landmarks correspond by their order.

    Raises
    ------
    ModelFileError
        If only some of the files have names, the names differ, or one is given twice; with the names of both subjects.
    """
    marked = [(path, scan, names) for path, scan, names in read if path is not None]
    if not marked:
        return [scan for _, scan, _ in read]
    bare = next((path for path, _, names in marked if names is None), None)
    if bare is not None:
        for path, _, names in marked:
            if names is not None and names != numbered(len(names)):  # numbers are written where there were no names
                raise ModelFileError(
                    f"{path} has names of landmarks, such as {names[0]!r}, but {bare} has none; name them in all "
                    "files, or in none"
                )
        return [scan for _, scan, _ in read]
    keys = _keys([(path, scan.name, names) for path, scan, names in marked if names is not None])
    orders = iter(keys)
    reference = keys[0]
    scans = []
    for place, scan, _ in read:
        own = reference if place is None else next(orders)
        if own == reference or scan.landmarks is None:
            scans.append(scan)
            continue
        order = [own.index(key) for key in reference]
        scans.append(scan.after({"step": "landmarks", "order": order}, landmarks=scan.landmarks[order]))
    return scans


def _keys(named: Sequence[tuple[Path | None, str, tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """Return the landmarks' keys in each file, the same set for all files: names, exact or normalized."""
    exact = [names for _, _, names in named]
    if all(each == exact[0] for each in exact):
        return exact
    for keys in (exact, [tuple(map(_normalized, names)) for names in exact]):
        if all(len(set(each)) == len(each) and set(each) == set(keys[0]) for each in keys):
            return keys
    for path, _, names in named:
        twice = next((name for name in names if names.count(name) > 1), None)
        refuse_if(twice is not None, f"{path} has the landmark {twice!r} twice; give each a name of its own")
    _, first, _ = named[0]
    tidy = [set(map(_normalized, names)) for _, _, names in named]
    k = next((k for k, each in enumerate(tidy) if each != tidy[0]), None)
    if k is None:
        k = next(k for k, (_, _, names) in enumerate(named) if set(names) != set(named[0][2]))
    path, subject, names = named[k]
    stranger = min(
        (name for name in {*names, *named[0][2]} if (_normalized(name) in tidy[k]) != (_normalized(name) in tidy[0])),
        default=min({*names} ^ {*named[0][2]}),
    )
    raise ModelFileError(
        f"landmark {stranger!r} is in only one of the subjects {subject!r} and {first!r}; give all subjects the same "
        "landmarks"
    )


def _normalized(name: str) -> str:
    """Normalize the blanks and the case of a name."""
    return " ".join(name.split()).casefold()
