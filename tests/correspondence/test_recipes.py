"""Recipes: what they check, and reading them from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelaug import ModelFileError
from modelaug.correspondence import (
    RECIPES,
    Center,
    Contact,
    ContourOptions,
    Extreme,
    Given,
    Midline,
    Nearest,
    ObjectRecipe,
    Ray,
    Recipe,
    read_recipe,
)
from tests.examples import one_line

FILE = """
[[objects]]
name = "outer"
labels = [2, 3]
counts = [27, 13]
contour = { smoothing = 1.5, close = 4, apart = [1], gap = 2.0 }
anchors = [
  { rule = "contact", other = [1], at = "end" },
  { rule = "contact", other = [1], at = "start", reach = 3, farthest = 4.5 },
]

[[objects]]
name = "inner"
labels = [3]
counts = 20
anchors = [
  { rule = "ray", through = ["outer", 0] },
  { rule = "ray", angle = 90, towards = [1] },
  { rule = "nearest", to = ["outer", 1] },
]

[[objects]]
name = "curve"
kind = "open"
counts = [4]
anchors = [
  { rule = "midline", pairs = [[4, 5], [6, 7]] },
  { rule = "midline", pairs = [[4, 5], [6, 7]], direction = [1, 0], least = 5 },
]

[[objects]]
name = "places"
kind = "points"
anchors = [
  { rule = "center", labels = [7] },
  { rule = "extreme", direction = [0, -1], labels = [7], share = 0.2 },
  { rule = "given", name = "apex" },
]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_file_holds_all_that_a_recipe_can(tmp_path: Path) -> None:
    pairs = ((4, 5), (6, 7))
    expected = Recipe(
        (
            ObjectRecipe(
                "outer",
                (2, 3),
                (Contact((1,), "end"), Contact((1,), "start", reach=3.0, farthest=4.5)),
                (27, 13),
                contour=ContourOptions(smoothing=1.5, close=4.0, apart=(1,), gap=2.0),
            ),
            ObjectRecipe("inner", (3,), (Ray(through=("outer", 0)), Ray(90, towards=(1,)), Nearest(("outer", 1))), 20),
            ObjectRecipe("curve", (), (Midline(pairs), Midline(pairs, (1.0, 0.0), 5)), (4,), "open"),
            ObjectRecipe("places", (), (Center((7,)), Extreme((0.0, -1.0), (7,), 0.2), Given("apex")), kind="points"),
        )
    )
    assert read_recipe(write(tmp_path, FILE)) == expected
    assert [each.size for each in expected.objects] == [40, 20, 5, 3]


def test_named_recipes() -> None:
    assert {name: [each.size for each in make().objects] for name, make in RECIPES.items()} == {
        "hearts": [40, 32, 32],
        "brains": [100, 12],
    }


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[[objects]]", "[[objects", "cannot be read as TOML"),
        ("[[objects]]", "[[structures]]", "'structures'"),
        ('name = "outer"', "", "object 0 of .* has no name"),
        ('name = "outer"', 'name = "outer"\nlandmarks = 3', "holds 'landmarks'; write only anchors, contour"),
        ("counts = [27, 13]", "counts = [27]", "counts of object 'outer'"),
        ("counts = [27, 13]", "counts = [27, 0]", "at least 1"),
        ("counts = 20", "counts = 2", "counts of object 'inner'"),
        ("smoothing", "smooth", "contour of object 0"),
        ("{ smoothing = 1.5, close = 4, apart = [1], gap = 2.0 }", "7", "contour of object 0 .* is 7"),
        ('rule = "nearest"', 'rule = "closest"', "rule = one of center, contact"),
        ('other = [1], at = "end"', 'at = "end"', "lacks 'other'"),
        ('through = ["outer", 0]', 'through = ["outer", 2]', "refer to anchor 2 of 'outer'"),
        ('to = ["outer", 1]', 'to = ["places", 1]', "refer to anchor 1 of 'places'"),
        ('name = "curve"', 'name = "inner"', "two named 'inner'"),
        ('kind = "open"', 'kind = "points"', "needs a contour"),
        ('kind = "open"', 'kind = "ring"', "kind of object 'curve'"),
        ("labels = [2, 3]", "labels = [2, 2.5]", "labels of object 'outer'"),
        ("angle = 90", "angle = true", "angle"),
        ("direction = [0, -1]", "direction = [0, 0]", "direction"),
        ('kind = "points"\n', 'kind = "points"\ncounts = 3\n', "counts of object 'places'"),
    ],
)
def test_mistakes_in_files_are_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in FILE
    with pytest.raises((ModelFileError, TypeError, ValueError), match=words) as caught:
        read_recipe(write(tmp_path, FILE.replace(old, new, 1)))
    one_line(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "it.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelFileError, match="cannot be read as TOML"):
        read_recipe(tmp_path / "it.toml")
    with pytest.raises(ModelFileError, match=r"no list \[\[objects\]\]"):
        read_recipe(write(tmp_path, "objects = 3"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Recipe(()), "objects"),
        (lambda: Recipe(("heart",)), "objects"),  # type: ignore[arg-type]
        (lambda: ObjectRecipe("", (1,), (Ray(),), 8), "name"),
        (lambda: ObjectRecipe("a", (1,), (), 8), "name at least 1"),
        (lambda: ObjectRecipe("a", (1,), (Ray(),), (4,), "open"), "name at least 2"),
        (lambda: ObjectRecipe("a", (1,), ("up",), 8), "rules such as Ray"),  # type: ignore[arg-type]
        (lambda: ObjectRecipe("a", (1,), (Ray(),), 2), "at least 3"),
        (lambda: ObjectRecipe("a", (1,), (Ray(),), 8, contour=1.0), "ContourOptions"),  # type: ignore[arg-type]
        (lambda: ObjectRecipe("a", (1,), (Ray(),), 8.0), "counts"),  # type: ignore[arg-type]
    ],
)
def test_recipes_are_checked(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        make()
    one_line(caught.value)
