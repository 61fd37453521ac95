"""Tables of landmarks as spreadsheets and other programs write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug import ModelFileError
from modelaug.io import Geometry, read_landmarks, read_named_landmarks
from modelaug.io.landmarks import read_landmark_file
from tests.examples import one_line

UNIT = Geometry(np.ones(3))

READ: list[tuple[str, list[list[float]], tuple[str, ...] | None]] = [
    ("7,25;8,5\n9,75;1\n", [[7.25, 8.5], [9.75, 1]], None),
    ("apex;7,25;8,5\nbase;9;1\n", [[7.25, 8.5], [9, 1]], ("apex", "base")),
    ('"Name";"Row";"Column"\n"a";"7,25";"8,5"\n', [[7.25, 8.5]], ("a",)),
    ("sep=;\nname;row;column\na;7,25;8,5\n", [[7.25, 8.5]], ("a",)),
    ('"sep=,"\nrow,column\n7.25,8.5\n', [[7.25, 8.5]], None),
    ("7,25\t8,5\t1\n", [[7.25, 8.5, 1]], None),
    ("name,row,column\ra,7.25,8.5\rb,1,2\r", [[7.25, 8.5], [1, 2]], ("a", "b")),
    ("1,2,\n3,4,\n", [[1, 2], [3, 4]], None),
    ("name;row;column;;\na;1;2;;\n;;;;\nb;3;4;;\n", [[1, 2], [3, 4]], ("a", "b")),
    ("name,row,column,\na,1,2\n", [[1, 2]], ("a",)),
    ("\n\n  \nrow,column\n\n1,2\n\n\n3,4\n", [[1, 2], [3, 4]], None),
    ("name;x,row,column\n;,1.5,2\n", [[1.5, 2]], None),
    ("row,column,remark\n1,2,here; or there\n", [[1, 2]], None),
    ("name,row,column\n,1,2\n,3,4\n", [[1, 2], [3, 4]], None),
    ("name,row,column\n,1,2\nb,3,4\n", [[1, 2], [3, 4]], ("0", "b")),
]


@pytest.mark.parametrize(("text", "points", "names"), READ, ids=range(len(READ)))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_are_read(
    tmp_path: Path, text: str, points: list[list[float]], names: tuple[str, ...] | None, encoding: str
) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    read, called = read_landmark_file(tmp_path / "a.csv")
    np.testing.assert_array_equal(read, points)
    assert called == names
    # Who does not ask whether there are names gets numbers.
    assert read_named_landmarks(tmp_path / "a.csv")[1] == (names or tuple(map(str, range(len(points)))))


@given(
    points=st.lists(st.tuples(st.floats(-999, 999, width=16), st.floats(-999, 999, width=16)), min_size=1, max_size=6),
    delimiter=st.sampled_from(";\t,"),
    comma=st.booleans(),
    titles=st.booleans(),
    named=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    trailing=st.booleans(),
)
def test_any_dialect_says_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    points: list[tuple[float, float]],
    delimiter: str,
    comma: bool,
    titles: bool,
    named: bool,
    ending: str,
    trailing: bool,
) -> None:
    rows = [["row", "column"]] if titles else []
    rows += [[f"{each:.6f}" for each in point] for point in points]
    if comma and delimiter != ",":
        rows = [[cell.replace(".", ",") for cell in row] for row in rows]
    if named:
        rows = [["name" if titles and k == 0 else f"p{k - titles}", *row] for k, row in enumerate(rows)]
    text = "".join(delimiter.join(row) + delimiter * trailing + ending for row in rows)
    path = tmp_path_factory.mktemp("dialect") / "a.csv"
    path.write_bytes(text.encode())
    read, called = read_landmark_file(path)
    np.testing.assert_allclose(read, points, atol=1e-6)
    assert called == (tuple(f"p{k}" for k in range(len(points))) if named else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row;column\n1.234,5;2\n", "'1.234,5' where a number"),
        ("1,5;2.5\n", "'2.5' and '1,5', points and commas in numbers"),
        ('row,column\n"1,234","2"\n', "'1,234' where a number should be; write one with a point"),
        ('"10,5","20,5"\n', "'10,5' where a number should be; write one with a point"),
        ("row,column\n1_000,2\n", "'1_000' where a number"),
        ("row,column,row\n1,2,3\n", "the column 'row' twice"),
        ("10,5,20,25\n", "has 4 coordinate"),
        ("row;column\n1;\n", "has '' where a number"),
        ('row,column\n"1,2\n', "has a line"),
    ],
)
def test_tables_that_say_two_things_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ModelFileError, match=message) as caught:
        read_landmarks(tmp_path / "a.csv")
    one_line(caught.value)
    assert "a.csv" in str(caught.value)


def test_text_that_is_cut_in_utf_16_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("row,column\n1,2\n".encode("utf-16")[:-1])
    with pytest.raises(ModelFileError, match=r"no text in UTF-16"):
        read_landmarks(tmp_path / "a.csv")


def markup(tmp_path: Path, points: list[dict[str, Any]], **changes: Any) -> Path:
    values = {"type": "Curve", "coordinateSystem": "LPS", "controlPoints": points} | changes
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [values]}))
    return tmp_path / "a.mrk.json"


@pytest.mark.parametrize("state", ["defined", "preview", None])
def test_points_with_a_position_are_read(tmp_path: Path, state: str | None) -> None:
    point = {"label": "a", "position": [1.5, 2.0, 3.0]} | ({} if state is None else {"positionStatus": state})
    read, names = read_landmark_file(markup(tmp_path, [point]), geometry=UNIT)
    np.testing.assert_allclose(read, [[3.0, 2.0, 1.5]])
    assert names == ("a",)
    assert read_landmark_file(markup(tmp_path, [point | {"label": ""}]), geometry=UNIT)[1] is None


@pytest.mark.parametrize(
    ("state", "position"),
    [
        ("undefined", [0.0, 0.0, 0.0]),
        ("missing", [0.0, 0.0, 0.0]),
        ("preview", None),
        ("defined", [1.0, None, 2.0]),
    ],
)
def test_points_without_a_position_are_refused(tmp_path: Path, state: str, position: Any) -> None:
    set_ = {"label": "base", "position": [1.0, 2.0, 3.0], "positionStatus": "defined"}
    path = markup(tmp_path, [set_, {"label": "apex", "position": position, "positionStatus": state}])
    with pytest.raises(ModelFileError, match=r"a\.mrk\.json has no position for 'apex'; set or delete"):
        read_landmarks(path, geometry=UNIT)


@pytest.mark.parametrize("unit", ["cm", "m", "um", ["um", "UCUM", "micrometer"], "", 3])
def test_other_units_are_refused_by_name(tmp_path: Path, unit: Any) -> None:
    point = {"label": "a", "position": [1.0, 2.0, 3.0]}
    shown = unit[0] if isinstance(unit, list) else unit
    with pytest.raises(ModelFileError, match=f"has the unit {shown!r}"):
        read_landmarks(markup(tmp_path, [point], coordinateUnits=unit), geometry=UNIT)
    (tmp_path / "a.fcsv").write_text(
        f"# CoordinateSystem = LPS\n# coordinateUnits = {shown}\n# columns = x,y,z\n1,2,3\n"
    )
    with pytest.raises(ModelFileError, match="has the unit"):
        read_landmarks(tmp_path / "a.fcsv", geometry=UNIT)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("point,row,column\na,2,3\nb,5,6\n", ("a", "b")),
        ("Landmark Name;row;column\na;2;3\nb;5;6\n", ("a", "b")),
        ("landmark_name,row,column\na,2,3\nb,5,6\n", ("a", "b")),
        ("row,column,landmarks\n2,3,a\n5,6,b\n", ("a", "b")),
        ("points,row,column\n7,2,3\n8,5,6\n", ("7", "8")),
        ("structure,row,column\na,2,3\nb,5,6\n", ("a", "b")),
        ("structure,row,column\na,2,3\n2,5,6\n", ("a", "2")),
        ("row,column,Struktur\n2,3,a\n5,6,b\n", ("a", "b")),
        ("structure,row,column\na,2,3\na,5,6\nb,7,8\n", ("a", "a", "b")),
        ("patient,structure,row,column\nanna,a,2,3\nanna,b,5,6\n", ("a", "b")),
        (",structure,row,column\n0,a,2,3\n1,b,5,6\n", ("a", "b")),
        ("id,structure,row,column\nF-1,a,2,3\nF-2,b,5,6\n", ("F-1", "F-2")),
        ("id,row,column,remark\n1,2,3,good\n2,5,6,bad\n", ("1", "2")),
        ("intensity,row,column\n7,2,3\n8,5,6\n", None),
        ("row,column,observer\n2,3,kim\n5,6,kim\n", None),
        ("row,column,grade\n2,3,good\n5,6,bad\n7,8,good\n", None),
        ("row,column,remark\n2,3,good\n5,6,bad\n", None),
    ],
)
def test_names_in_columns_of_any_title(tmp_path: Path, text: str, names: tuple[str, ...] | None) -> None:
    (tmp_path / "a.csv").write_text(text)
    read, called = read_landmark_file(tmp_path / "a.csv")
    assert called == names
    np.testing.assert_array_equal(read[:2], [[2, 3], [5, 6]])


@given(title=st.text("abcdefghijklm_ ", min_size=1, max_size=9).filter(str.strip), last=st.booleans())
def test_a_column_of_names_needs_no_known_title(
    tmp_path_factory: pytest.TempPathFactory, title: str, last: bool
) -> None:
    rows = [["row", "column"], ["2", "3"], ["5", "6"]]
    names = [title, "apex", "base"]
    table = [[*row, name] if last else [name, *row] for row, name in zip(rows, names, strict=True)]
    path = tmp_path_factory.mktemp("title") / "a.csv"
    path.write_text("".join(",".join(row) + "\n" for row in table))
    assert read_landmark_file(path)[1] == ("apex", "base")


@pytest.mark.parametrize(
    "titles",
    ["row,col,z", "z,row,column", "plane,x,y", "y,x,Slice", "x,y,depth", "name,row,column,z"],
)
def test_axes_of_two_sets_are_refused_by_name(tmp_path: Path, titles: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{titles}\n{','.join('1234'[: titles.count(',') + 1])}\n")
    with pytest.raises(ModelFileError, match=r"a\.csv holds no landmarks, for its columns .* not of one set") as caught:
        read_landmarks(path)
    one_line(caught.value)
    assert all(f" {each}" in str(caught.value) for each in titles.split(",") if each != "name")


def test_a_whole_second_set_of_axes_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("row,column,x,y,z\n1,2,10.5,20.5,30.5\n")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.csv"), [[1, 2]])
    (tmp_path / "a.csv").write_text("plane,row,column,x,y\n3,1,2,10.5,20.5\n")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.csv"), [[3, 1, 2]])


def test_text_of_excel_says_how_to_save_it(tmp_path: Path) -> None:
    for name, remedy in (("a.csv", "save it as 'CSV UTF-8'"), ("a.pts", "save it in UTF-8")):
        (tmp_path / name).write_bytes("name;row;column\nHöcker;1;2\n".encode("cp1252"))
        with pytest.raises(ModelFileError, match=f"no text in UTF-8 .*; {remedy}"):
            read_landmarks(tmp_path / name)
