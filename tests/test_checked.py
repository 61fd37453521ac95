"""Options that check themselves: by their annotations, by name, and in what is written about them."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pickle
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import numpy as np
import pytest

import modelaug
from modelaug._checked import (
    Checked,
    Count,
    Limits,
    NonNegative,
    Positive,
    Share,
    WholeNumber,
    choices,
    differences,
    flat,
    hints,
    members,
    with_values,
)
from tests.examples import one_line

DOCS = Path(__file__).resolve().parent.parent / "docs"


def even(name: str, value: int) -> int:
    if value % 2:
        raise ValueError(f"{name} is {value}; pass an even number")
    return value // 2 * 2


@dataclass(frozen=True)
class Inner(Checked):
    size: Positive
    share: Share = 0.5


@dataclass(frozen=True)
class Outer(Checked):
    word: Literal["one", "two"] = "one"
    flag: bool = False
    perhaps: bool | None = None
    count: Count = 1
    level: Annotated[int, Limits(2, 4)] = 3
    any_integer: int = 0
    number: float = 0.0
    weight: NonNegative | None = None
    steep: Annotated[float, Limits(above=1.0, maximum=8.0)] = 2.0
    weights: tuple[NonNegative, ...] = (1.0,)
    sizes: tuple[WholeNumber, ...] | None = None
    name: str = "x"
    half: Annotated[int, even] = 2
    inner: Inner | None = None
    other: Inner = Inner(1.0)
    free: Any = None
    path: Path | None = None

    def _check(self) -> None:
        if self.weight is not None and self.weight > self.number + 10:
            raise ValueError(f"weight is {self.weight:g}; pass less")


class TestFields:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"word": "three"}, "word is 'three'; pass one of 'one', 'two'"),
            ({"word": None}, "word is None; pass one of"),
            ({"flag": 1}, "flag is 1; pass True or False"),
            ({"perhaps": "no"}, "perhaps is 'no'; pass True, False or None"),
            ({"count": 0}, "count is 0; pass an integer at least 1"),
            ({"count": 1.0}, "count is 1.0; pass an integer"),
            ({"count": True}, "count is True; pass an integer"),
            ({"level": 5}, "level is 5; pass an integer between 2 and 4"),
            ({"any_integer": "1"}, "any_integer is '1'; pass an integer"),
            ({"number": "1"}, "number is '1'; pass a number"),
            ({"number": float("nan")}, "number is nan; pass a finite number"),
            ({"weight": -1}, "weight is -1; pass a finite number at least 0"),
            ({"steep": 1}, "steep is 1; pass a finite number greater than 1 and at most 8"),
            ({"weights": 1.0}, "weights is 1.0; pass a tuple of numbers"),
            ({"weights": (1.0, -2.0)}, "weights is -2.0; pass a finite number at least 0"),
            ({"sizes": (1, -2)}, "sizes is -2; pass an integer at least 0"),
            ({"name": 3}, "name is 3; pass a string"),
            ({"half": 3}, "half is 3; pass an even number"),
            ({"inner": 3}, "inner is 3; pass Inner(...) or None"),
            ({"other": None}, "other is None; pass Inner(...)"),
            ({"weight": 11}, "weight is 11; pass less"),
        ],
    )
    def test_that_do_not_fit(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises((TypeError, ValueError)) as caught:
            Outer(**arguments)
        assert one_line(caught.value).startswith(message)

    def test_become_plain_values(self) -> None:
        made = Outer(
            count=np.int32(4),  # type: ignore[arg-type]
            number=3,
            weight=np.float32(0.5),  # type: ignore[arg-type]
            weights=[1, np.float64(2)],  # type: ignore[arg-type]
            sizes=[np.int64(3)],  # type: ignore[arg-type]
        )
        kinds = [type(each) for each in (made.count, made.number, made.weight, made.weights[1], made.sizes)]
        assert kinds == [int, float, float, float, tuple]
        assert made.as_json()["weights"] == [1.0, 2.0]
        assert Outer.from_json(made.as_json()) == made
        assert Outer.from_json({"inner": {"size": 2}}) == Outer(inner=Inner(2))
        with pytest.raises(TypeError, match="magic"):
            Outer.from_json({"inner": {"magic": 2}})

    def test_of_other_kinds_stay_what_they_are(self) -> None:
        free = object()
        made = Outer(free=free, path=Path("a"))
        assert made.free is free
        assert made.path == Path("a")

    def test_stay_those_of_a_dataclass(self) -> None:
        made = Outer(count=2, inner=Inner(3))
        assert replace(made, count=1, inner=None) == Outer()
        assert hash(replace(made)) == hash(made)
        assert pickle.loads(pickle.dumps(made)) == made
        assert asdict(made)["inner"] == {"size": 3.0, "share": 0.5}
        assert eval(repr(made)) == made
        with pytest.raises(FrozenInstanceError):
            made.count = 3  # type: ignore[misc]
        with pytest.raises(ValueError, match="count is 0"):
            replace(made, count=0)


class TestByName:
    def test_listed(self) -> None:
        assert choices(Outer, "word") == ("one", "two")
        assert members(Outer) == {"inner": Inner, "other": Inner}
        assert differences(Outer(count=2, inner=Inner(3.0))) == {"count": 2, "inner": Inner(3.0)}
        assert differences(Inner(3.0)) == {"size": 3.0}  # which has no default
        found = flat(Outer(), "__")
        assert found["count"] == 1
        assert found["inner"] is None
        assert found["other__size"] == 1.0
        assert "inner__size" not in found

    def test_set(self) -> None:
        made = with_values(Outer(inner=Inner(3.0)), {"inner.share": 0.25, "count": 2})
        assert made == Outer(count=2, inner=Inner(3.0, 0.25))
        assert with_values(made, {"inner__size": 4.0, "inner": Inner(1.0)}, separator="__").inner == Inner(4.0)
        # Of a class the others have their defaults, and what is None by default is made.
        assert with_values(Outer, {"inner.size": 2, "other.share": 1}) == Outer(inner=Inner(2), other=Inner(1.0, 1))

    @pytest.mark.parametrize(
        ("what", "values", "message"),
        [
            (Outer, {"inner.share": 1}, "inner.size=VALUE is missing; inner needs size"),
            (Outer(), {"inner.share": 1}, "inner is None; set it to options before what is within them"),
            (Outer(), {"count.share": 1}, "count is 1; set it to options"),
            (Outer, {"inner.more": 1}, "'inner.more' is no parameter; inner has size, share"),
            (Outer, {"more": 1}, "'more' is no parameter; Outer has word, flag"),
            (Outer, {"inner.size": 0}, "inner: size is 0; pass a finite number greater than 0"),
            (Outer(), {"count": 0}, "count is 0"),
        ],
    )
    def test_that_do_not_fit(self, what: Any, values: dict[str, Any], message: str) -> None:
        with pytest.raises((TypeError, ValueError)) as caught:
            with_values(what, values)
        assert one_line(caught.value).startswith(message)


def every_class() -> list[type[Checked]]:
    """Return the package's own classes of options."""
    for module in pkgutil.walk_packages(modelaug.__path__, "modelaug."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)

    def below(kind: type[Checked]) -> Iterator[type[Checked]]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    return [kind for kind in below(Checked) if kind.__module__.startswith("modelaug.")]


def test_docstrings_name_the_fields() -> None:
    found = every_class()
    assert {"ShapeOptions", "PairOptions", "LandmarkObject", "Recipe"} <= {kind.__name__ for kind in found}
    for kind in (each for each in found if fields(each)):
        section = re.search(r"Parameters\n-+\n(.*?)(\n\w+\n---|\Z)", inspect.getdoc(kind) or "", re.S)
        assert section is not None, kind
        names = [name for line in re.findall(r"^\w.*$", section[1], re.M) for name in line.split(" : ")[0].split(", ")]
        assert names == [each.name for each in fields(kind)], kind


def test_defaults_fit() -> None:
    for kind in every_class():
        assert hints(kind).keys() == {each.name for each in fields(kind)}
        with contextlib.suppress(TypeError):  # of what has no default
            assert differences(kind()) == {}


def test_pages_name_what_there_is() -> None:
    kinds = {kind.__name__: kind for kind in every_class()}
    calls = 0
    for page in DOCS.glob("*.md"):
        for name, inside in re.findall(r"`(\w+Options)\(([^()]*)\)`", page.read_text(encoding="utf-8")):
            for each in filter(None, re.split(r", ?", inside)):
                field, _, value = each.partition("=")
                assert field in hints(kinds[name]), f"{page.name}: {name} has no {field}"
                if get_origin(hints(kinds[name])[field]) is Literal:
                    assert not value or value.strip('"') in choices(kinds[name], field), f"{page.name}: {each}"
                calls += 1
    assert calls > 10


def test_the_table_of_engines_is_that_of_the_options() -> None:
    rows = re.findall(r'^\| `"(\w+)"`( \(default\))? \|', (DOCS / "choosing_options.md").read_text("utf-8"), re.M)
    assert {name for name, _ in rows} == set(choices(modelaug.TextureOptions, "engine"))
    assert [name for name, default in rows if default] == [modelaug.TextureOptions().engine]


def test_the_reference_says_what_fields_take(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    docstrings = importlib.import_module("docstrings")
    said = docstrings.described(Outer)
    assert said["word"] == "'one' or 'two', default 'one'"
    assert said["perhaps"] == "bool or None, default None"
    assert said["count"] == "int, at least 1, default 1"
    assert said["level"] == "int from 2 to 4, default 3"
    assert said["any_integer"] == "int, default 0"
    assert said["steep"] == "float above 1, at most 8, default 2.0"
    assert said["weights"] == "tuple of float, at least 0, default (1.0,)"
    assert said["half"] == "int, default 2"
    assert said["inner"] == "Inner or None, default None"
    assert said["other"] == "Inner"
    lines = ["Parameters", "----------", "word", "    One of two.", "count, any_integer", "    Numbers."]
    assert docstrings.with_types(lines, Outer)[2] == "word : 'one' or 'two', default 'one'"
    assert docstrings.with_types(lines, Outer)[4] == "count, any_integer"  # which take different numbers
    assert docstrings.with_types(lines, object) == lines
