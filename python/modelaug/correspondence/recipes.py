"""Recipes: rules for the placement of landmarks on structures of label maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final

from modelaug import _checks
from modelaug._checked import Checked
from modelaug.correspondence.anchors import ANCHORS, Anchor, Contact, Extreme, Midline, Nearest, Ray
from modelaug.correspondence.contours import ContourOptions, LabelValues
from modelaug.data.cohort import ObjectKind
from modelaug.io.files.reading import ModelFileError, read_toml


def _rules(name: str, value: Iterable[Any]) -> tuple[Anchor, ...]:
    anchors = tuple(value)
    for anchor in anchors:
        if not isinstance(anchor, tuple(ANCHORS.values())):
            raise TypeError(f"{name} hold {anchor!r}; pass rules such as Ray(...)")
    return anchors


def _landmark_counts(name: str, value: Any) -> tuple[int, ...] | int:
    # A total is checked later, with the number of parts.
    several = isinstance(value, (tuple, list))
    return tuple(_checks.integer(name, each, minimum=1) for each in value) if several else value


@dataclass(frozen=True)
class ObjectRecipe(Checked):
    """The placement of the landmarks of one object.

    Parameters
    ----------
    name
        The object's name.
    labels
        The label values of its structure; all but 0 if empty.
    anchors
        The rules for its anchors, in their order along the contour, clockwise on the screen.
    counts
        Landmarks from each anchor up to the next, the anchor itself included; from the last to the first if the object
        is closed. One number is the total, distributed among the parts by their mean lengths, at least one each.
    kind
        ``"closed"``: around the contour; ``"open"``: from the first anchor to the last, which is a landmark too;
        ``"points"``: the anchors themselves, without counts.
    contour
        Cleaning of the structure before its outline is traced.
    """

    name: Annotated[str, _checks.word]
    labels: LabelValues = ()
    anchors: Annotated[tuple[Anchor, ...], _rules] = ()
    counts: Annotated[tuple[int, ...] | int, _landmark_counts] = ()
    kind: ObjectKind = "closed"
    contour: ContourOptions = ContourOptions()

    def _field_name(self, name: str) -> str:
        return "name of an object" if name == "name" else f"{name} of object {self.name!r}"

    def _check(self) -> None:
        for anchor in self.anchors:
            if self.kind == "points" and anchor.needs_contour:
                rule = type(anchor).__name__
                raise ValueError(
                    f"anchors of object {self.name!r} hold {rule}, which needs a contour, not kind 'points'"
                )
        self._check_counts()

    def _check_counts(self) -> None:
        least = 2 if self.kind == "open" else 1
        if len(self.anchors) < least:
            raise ValueError(f"anchors of object {self.name!r} are {len(self.anchors)}; name at least {least}")
        if isinstance(self.counts, tuple):
            if len(self.counts) != self.parts:
                raise ValueError(
                    f"counts of object {self.name!r} are {list(self.counts)}; pass {self.parts}, one per part of the "
                    "contour"
                )
        else:
            if self.kind == "points":
                raise ValueError(f"counts of object {self.name!r} is {self.counts}; leave it out for kind 'points'")
            _checks.integer(f"counts of object {self.name!r}", self.counts, minimum=self.parts)
        if self.kind == "closed" and self.size < 3:
            raise ValueError(
                f"counts of object {self.name!r} make {self.size} landmarks; a closed object has at least 3"
            )

    @property
    def parts(self) -> int:
        """The number of parts of the contour between anchors."""
        return {"closed": len(self.anchors), "open": len(self.anchors) - 1, "points": 0}[self.kind]

    @property
    def size(self) -> int:
        """The number of landmarks."""
        if self.kind == "points":
            return len(self.anchors)
        total = self.counts if isinstance(self.counts, int) else sum(self.counts)
        return total + (self.kind == "open")


def _own_objects(name: str, value: Iterable[Any]) -> tuple[ObjectRecipe, ...]:
    objects = tuple(value)
    if not objects or not all(isinstance(each, ObjectRecipe) for each in objects):
        raise TypeError(f"{name} is {objects!r}; pass at least one ObjectRecipe")
    return objects


@dataclass(frozen=True)
class Recipe(Checked):
    """The placement of landmarks in correspondence in label maps.

    Parameters
    ----------
    objects
        The objects, in the order of their landmarks; rules refer to anchors of previous objects only.
    """

    objects: Annotated[tuple[ObjectRecipe, ...], _own_objects]

    def _check(self) -> None:
        anchors: dict[str, int] = {}
        for each in self.objects:
            if each.name in anchors:
                raise ValueError(f"objects hold two named {each.name!r}; give each a name of its own")
            for anchor in each.anchors:
                for name, place in anchor.references:
                    if place >= anchors.get(name, 0):
                        raise ValueError(
                            f"anchors of object {each.name!r} refer to anchor {place} of {name!r}, which no object "
                            "before it has; name the object first, or count its anchors from 0"
                        )
            anchors[each.name] = len(each.anchors)


def hearts() -> Recipe:
    """Return the recipe for hearts in short-axis slices: 1 right ventricle, 2 left ventricular myocardium, 3 cavity.

    104 landmarks on the left ventricle's epicardium (40) and endocardium (32) and the right ventricle's endocardium
    (32). Anchors are the two insertions of the right ventricle, the ends of its contact with the myocardium: first the
    end of the contact, clockwise along the contour (the anterior one in the usual orientation), then its start.
    """
    epicardium = ObjectRecipe("lv_epicardium", (2, 3), (Contact((1,), "end"), Contact((1,), "start")), (27, 13))
    first, second = ("lv_epicardium", 0), ("lv_epicardium", 1)
    endocardium = ObjectRecipe("lv_endocardium", (3,), (Ray(through=first), Ray(through=second)), (21, 11))
    # Along the right ventricle's contour the septum comes first, as it runs the other way there.
    right = ObjectRecipe("rv_endocardium", (1,), (Nearest(first), Nearest(second)), (11, 21))
    return Recipe((epicardium, endocardium, right))


def brains() -> Recipe:
    """Return the recipe for axial slices of brains with the labels of LPBA40, anterior at the top, left at the left.

    112 landmarks: 100 on the common outline of all structures, whose anchors are the anterior and posterior
    intersections with the midline, and 12 inner ones: the front and rear ends of caudate, putamen and insula, left
    before right.
    """
    pairs = tuple((left, left + 1) for left in range(21, 93, 2))
    crossings = (Midline(pairs, (-1.0, 0.0), least=60), Midline(pairs, (1.0, 0.0), least=60))
    outline = ObjectRecipe("brain", (), crossings, (50, 50), contour=ContourOptions(smoothing=2.5, close=8.0))
    structures = ((161,), (162,), (163,), (164,), (101,), (102,))
    ends = tuple(Extreme(towards, labels) for labels in structures for towards in ((-1.0, 0.0), (1.0, 0.0)))
    return Recipe((outline, ObjectRecipe("inner", (), ends, kind="points")))


RECIPES: Final = {"hearts": hearts, "brains": brains}
"""The recipes by name."""


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    The file holds a list ``[[objects]]`` with the fields of `ObjectRecipe`; ``anchors`` is a list of tables with
    ``rule`` (``"contact"``, ``"extreme"``, ``"ray"``, ``"nearest"``, ``"midline"``, ``"center"`` or ``"given"``) and
    the fields of that rule, ``contour`` a table with those of `ContourOptions`.

    Raises
    ------
    ModelFileError
        If the file is missing, is no TOML, lacks a field, or holds an unknown one.
    TypeError, ValueError
        If a value does not fit.
    """
    content = read_toml(path)
    tables = _known(content, {"objects"}, str(path)).get("objects")
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ModelFileError(f"{path} holds no list [[objects]]; write one with name, labels, anchors and counts")
    try:
        return Recipe(tuple(_object(table, f"object {k} of {path}") for k, table in enumerate(tables)))
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{path} holds no recipe: {error}") from error


def _object(table: Mapping[str, Any], where: str) -> ObjectRecipe:
    values = dict(_known(table, _fields(ObjectRecipe), where))
    if "name" not in values:
        raise ModelFileError(f"{where} has no name; give it one")
    contour = values.pop("contour", {})
    anchors = values.pop("anchors", [])
    for name, value, kind in (("contour", contour, dict), ("anchors", anchors, list)):
        if not isinstance(value, kind):
            raise ModelFileError(
                f"{name} of {where} is {value!r}; write a {'table' if kind is dict else 'list of tables'}"
            )
    options = ContourOptions(**_known(contour, _fields(ContourOptions), f"contour of {where}"))
    rules = tuple(_anchor(each, f"anchor {k} of {where}") for k, each in enumerate(anchors))
    return ObjectRecipe(**values, anchors=rules, contour=options)


def _anchor(table: Any, where: str) -> Anchor:
    if not isinstance(table, dict) or table.get("rule") not in ANCHORS:
        raise ModelFileError(f"{where} is {table!r}; write a table with rule = one of {', '.join(ANCHORS)}")
    rule = ANCHORS[table["rule"]]
    values = {name: value for name, value in table.items() if name != "rule"}
    _known(values, _fields(rule), where)
    try:
        anchor: Anchor = rule(**values)
    except TypeError as error:
        if "required" not in str(error):
            raise
        raise ModelFileError(f"{where} lacks {str(error).split(': ')[-1]}, which its rule needs") from None
    return anchor


def _fields(kind: type[Any]) -> set[str]:
    return {each.name for each in fields(kind)}


def _known(table: Mapping[str, Any], allowed: set[str], where: str) -> Mapping[str, Any]:
    alien = next((name for name in table if name not in allowed), None)
    if alien is not None:
        raise ModelFileError(f"{where} holds {alien!r}; write only {', '.join(sorted(allowed))}")
    return table
