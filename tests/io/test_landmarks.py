"""Landmarks in files of this package and of other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug import ModelFileError
from modelaug.io import Geometry, read_landmarks, read_named_landmarks, write_landmarks
from tests.examples import one_line, philox, rotation

Points = npt.NDArray[np.float64]
SUFFIXES = [".csv", ".mrk.json", ".fcsv", ".pts", ".npy"]

names_of_points = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


def oblique(d: int, seed: int, *, mirrored: bool = False) -> Geometry:
    rng = philox(seed)
    turn = rotation(rng, d)
    turn[:, 0] *= -1 if mirrored else 1
    return Geometry(rng.uniform(0.3, 3, size=d), rng.normal(scale=50, size=d), turn)


def in_space(points: Points, where: Geometry) -> Points:
    """The slow way: origin + direction @ (spacing * index), each in (x, y[, z]) order."""
    return np.array([where.origin + where.direction @ (where.spacing * p)[::-1] for p in points])


@given(
    d=st.sampled_from([2, 3]),
    seed=st.integers(0, 2**20),
    mirrored=st.booleans(),
    names=st.lists(names_of_points, min_size=1, max_size=5),
    ending=st.sampled_from(SUFFIXES),
)
def test_round_trips(
    tmp_path_factory: pytest.TempPathFactory, d: int, seed: int, mirrored: bool, names: list[str], ending: str
) -> None:
    points = philox(seed).uniform(-10, 200, size=(len(names), d))
    where = oblique(d, seed, mirrored=mirrored)
    path = tmp_path_factory.mktemp("points") / f"a{ending}"
    write_landmarks(path, points, names=names, geometry=where)
    read, called = read_named_landmarks(path, geometry=where)
    assert read.dtype == np.float64
    if ending in (".csv", ".npy"):
        np.testing.assert_array_equal(read, points)
    else:
        np.testing.assert_allclose(read, points, atol=1e-9)
    assert called == tuple(map(str, range(len(names))) if ending in (".pts", ".npy") else names)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@given(d=st.sampled_from([2, 3]), seed=st.integers(0, 2**20), mirrored=st.booleans())
def test_space_and_voxels(d: int, seed: int, mirrored: bool) -> None:
    where, points = oblique(d, seed, mirrored=mirrored), philox(seed).normal(scale=40, size=(4, d))
    np.testing.assert_allclose(where.to_space(points), in_space(points, where), atol=1e-9)
    np.testing.assert_allclose(where.to_voxels(in_space(points, where)), points, atol=1e-9)


def test_simpleitk_agrees_on_where_voxels_are() -> None:
    sitk = pytest.importorskip("SimpleITK")
    where = oblique(3, 5)
    image = sitk.Image(4, 5, 6, sitk.sitkUInt8)
    image.SetSpacing(where.spacing[::-1].tolist())
    image.SetOrigin(where.origin.tolist())
    image.SetDirection(where.direction.ravel().tolist())
    point = np.array([1.25, 3.5, 2.0])
    theirs = image.TransformContinuousIndexToPhysicalPoint(point[::-1].tolist())
    np.testing.assert_allclose(where.to_space(point[None])[0], theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "points", "names"),
    [
        ("name,row,column\nbase,1.5,2\napex,3,4\n", [[1.5, 2], [3, 4]], ("base", "apex")),
        (",row,column\n0,1.5,2.0\n1,3.0,4.0\n", [[1.5, 2], [3, 4]], ("0", "1")),  # pandas with its index
        ("row,column\n1,2\n", [[1, 2]], ("0",)),
        ("Column ; Row ; Label\n2,5;1;a\n", [[1, 2.5]], ("a",)),  # a spreadsheet with decimal commas
        ("x,y\n2,1\n", [[1, 2]], ("0",)),
        ("label\tx\ty\tz\tremark\na\t3\t2\t1\tgood, really\n", [[1, 2, 3]], ("a",)),
        ("name,slice,row,col\na,1,2,3\n", [[1, 2, 3]], ("a",)),
        ("name,plane,x,y\n", None, ()),
        ("1,2\n3,4\n\n", [[1, 2], [3, 4]], ("0", "1")),
        ("1,2,3\n", [[1, 2, 3]], ("0",)),
        ("x,1,2\ny,2,3\n", [[1, 2], [2, 3]], ("x", "y")),
        ("# voxels\r\nname,row,column\r\na,1,2\r\n", [[1, 2]], ("a",)),
        ("\ufeffname,row,column\na,1e1,-2\n", [[10, -2]], ("a",)),
        ('"a, b",1,2\n', [[1, 2]], ("a, b",)),
    ],
)
def test_tables_of_others(tmp_path: Path, text: str, points: list[list[float]] | None, names: tuple[str, ...]) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    if points is None:
        with pytest.raises(ModelFileError, match="no landmarks"):
            read_named_landmarks(tmp_path / "a.csv")
        return
    read, called = read_named_landmarks(tmp_path / "a.csv")
    np.testing.assert_array_equal(read, points)
    assert called == names


def test_csv_is_as_documented(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "a.csv", [[1.0, 2.5]], names=["a"])
    assert (tmp_path / "a.csv").read_text() == "name,row,column\na,1.0,2.5\n"
    write_landmarks(tmp_path / "a.csv", [[1, 2, 3]])
    assert (tmp_path / "a.csv").read_text() == "name,plane,row,column\n0,1.0,2.0,3.0\n"


def slicer(**changes: Any) -> dict[str, Any]:
    """A file as Slicer 5.6 saves it."""
    control = {
        "id": "1",
        "label": "F-1",
        "description": "",
        "associatedNodeID": "vtkMRMLScalarVolumeNode1",
        "position": [10.0, -20.0, 30.0],
        "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
    }
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": 2,
        "controlPoints": [control, control | {"id": "2", "label": "F-2", "position": [11, -20, 30]}],
        "measurements": [],
        "display": {"visibility": False, "opacity": 1.0, "color": [0.4, 1.0, 1.0]},
    }
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    return {"@schema": f"{schema}markups-schema-v1.0.3.json#", "markups": [markup | changes]}


SLICER_4 = """# Markups fiducial file version = 4.6
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,{x},{y},30.000,0.000,0.000,0.000,1.000,1,1,0,F-1,,vtkMRMLScalarVolumeNode1
vtkMRMLMarkupsFiducialNode_1,{x},{y},31.000,0.000,0.000,0.000,1.000,1,1,0,"F, 2",,
"""


def test_markups_of_slicer(tmp_path: Path) -> None:
    where = oblique(3, 7)
    for system, units in (("LPS", "mm"), ("RAS", ["mm", "UCUM", "millimeter"])):
        (tmp_path / "a.mrk.json").write_text(json.dumps(slicer(coordinateSystem=system, coordinateUnits=units)))
        points, names = read_named_landmarks(tmp_path / "a.mrk.json", geometry=where)
        sign = [1, 1, 1] if system == "LPS" else [-1, -1, 1]
        np.testing.assert_allclose(in_space(points, where), np.array([[10, -20, 30], [11, -20, 30]]) * sign)
        assert names == ("F-1", "F-2")


@pytest.mark.parametrize(("system", "sign"), [("0", -1), ("RAS", -1), ("1", 1), ("LPS", 1)])
def test_fiducials_of_slicer(tmp_path: Path, system: str, sign: int) -> None:
    where = oblique(3, 7)
    for ending in ("\n", "\r\n"):
        text = SLICER_4.format(system=system, x="10.000", y="-20.000").replace("\n", ending)
        (tmp_path / "a.fcsv").write_bytes(text.encode())
        points, names = read_named_landmarks(tmp_path / "a.fcsv", geometry=where)
        np.testing.assert_allclose(in_space(points, where), [[10 * sign, -20 * sign, z] for z in (30, 31)])
        assert names == ("F-1", "F, 2")


def test_what_is_written_has_what_the_schema_demands(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "a.mrk.json", [[1, 2]], names=["apex"], geometry=Geometry([3.0, 2.0], [5.0, 7.0]))
    values = json.loads((tmp_path / "a.mrk.json").read_text())
    assert values["@schema"].endswith("/markups-schema-v1.0.3.json#")
    (markup,) = values["markups"]
    assert (markup["type"], markup["coordinateSystem"], markup["coordinateUnits"]) == ("Fiducial", "LPS", "mm")
    # Column 2 lies 2 x 2 mm to the right of 5, row 1 lies 3 mm below 7.
    (control,) = markup["controlPoints"]
    assert control == {"id": "1", "label": "apex", "position": [9.0, 10.0, 0.0], "positionStatus": "defined"}


def test_landmarks_of_a_plane_lose_a_third_coordinate_that_is_constant(tmp_path: Path) -> None:
    flat = slicer()
    for control, height in zip(flat["markups"][0]["controlPoints"], (30.0, 30.004), strict=True):
        control["position"] = [10, -20, height]
    (tmp_path / "a.mrk.json").write_text(json.dumps(flat))
    points, _ = read_named_landmarks(tmp_path / "a.mrk.json", geometry=Geometry([2.0, 5.0], [0.0, -30.0]))
    np.testing.assert_allclose(points, [[5, 2], [5, 2]])
    (tmp_path / "a.fcsv").write_text(SLICER_4.format(system="LPS", x="1", y="2"))
    with pytest.raises(ValueError, match=r"from 30 to 31 mm but geometry is that of a plane") as caught:
        read_named_landmarks(tmp_path / "a.fcsv", geometry=Geometry([2.0, 5.0]))
    one_line(caught.value)


def test_points_of_faces(tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    path.write_text("version: 1\nn_points:  2\n{\n212.5 499.75\n1 1\n}\n")
    np.testing.assert_array_equal(read_named_landmarks(path)[0], [[498.75, 211.5], [0, 0]])
    path.write_text("212.5 499.75\n\n1 1\n")
    np.testing.assert_array_equal(read_named_landmarks(path)[0], [[499.75, 212.5], [1, 1]])
    path.write_text("3 2 1\n")
    np.testing.assert_array_equal(read_named_landmarks(path)[0], [[1, 2, 3]])
    write_landmarks(path, [[498.75, 211.5]])
    assert path.read_text() == "version: 1\nn_points: 1\n{\n212.5 499.75\n}\n"


BAD: list[tuple[str, str | bytes, str]] = [
    ("a.csv", "", "empty"),
    ("a.csv", "name,row,column\n", "no landmarks"),
    ("a.csv", "name,row,column\na,1\n", "2 of 3 columns"),
    ("a.csv", "name,row,column\na,1,two\n", "'two' where a number"),
    ("a.csv", "name,row,column\na,1,nan\n", "not finite"),
    ("a.csv", "name,row,height\na,1,2\n", "has the columns"),
    ("a.csv", "1,2,3,4\n", "has 4 coordinate"),
    ("a.csv", "1 2\n", "has the columns"),
    ("a.csv", b"name,row,column\n\xff\xfe,1,2\n", "no text in UTF-8"),
    ("a.csv", "name,row,column\n" + '"' + "a" * 200_000 + ",1,2\n", "cannot be read as a table"),
    ("a.mrk.json", "", "cannot be read as a markup"),
    ("a.mrk.json", json.dumps(slicer())[:-30], "cannot be read as a markup"),
    ("a.mrk.json", "[" * 100_000, "cannot be read as a markup"),
    ("a.mrk.json", '{"markups":' * 50_000, "cannot be read as a markup"),
    ("a.mrk.json", "[]", "cannot be read as a markup"),
    ("a.mrk.json", "{}", "lacks 'markups'"),
    ("a.mrk.json", '{"markups": []}', "0 markups"),
    ("a.mrk.json", '{"markups": 3}', "cannot be read as a markup"),
    ("a.mrk.json", '{"markups": ["a"]}', "cannot be read as a markup"),
    ("a.mrk.json", json.dumps(slicer(controlPoints=[])), "no landmarks"),
    ("a.mrk.json", json.dumps(slicer(controlPoints=[{"position": [1, 2]}])), "positions in space are 3"),
    ("a.mrk.json", json.dumps(slicer(controlPoints=[{"position": [1, 2, "x"]}])), "no landmarks"),
    ("a.mrk.json", json.dumps(slicer(controlPoints=[{"position": [1, 2, float("nan")]}])), "not finite"),
    ("a.mrk.json", json.dumps(slicer(controlPoints=[{"position": [1, 2, 3]}, {"position": [1, 2]}])), "no landmarks"),
    ("a.mrk.json", json.dumps(slicer(controlPoints=[{"label": "F-1"}])), "lacks 'position'"),
    (
        "a.mrk.json",
        json.dumps(slicer(controlPoints=[{"label": "apex", "position": [0, 0, 0], "positionStatus": "undefined"}])),
        "no position for 'apex'",
    ),
    ("a.mrk.json", json.dumps(slicer(coordinateSystem="IJK")), "'IJK'"),
    ("a.mrk.json", json.dumps(slicer(coordinateUnits="um")), "'um'"),
    ("a.mrk.json", json.dumps(slicer(coordinateUnits=[])), "the unit"),
    ("a.fcsv", SLICER_4.format(system="2", x="1", y="2"), "'2'"),
    ("a.fcsv", SLICER_4.format(system="0", x="one", y="2"), "'one'"),
    ("a.fcsv", "# CoordinateSystem = LPS\n", "no landmarks"),
    ("a.fcsv", "# columns = a,b\n1,2\n", "has the columns"),
    ("a.fcsv", "a,1,2\n", "too short"),
    ("a.pts", "version: 1\nn_points: 3\n{\n1 2\n}\n", "1 of 3 landmarks"),
    ("a.pts", "version: 1\nn_points: 1\n{\n1 2\n", "closing brace"),
    ("a.pts", "1 2\n3\n", "no landmarks"),
    ("a.pts", "1 b\n", "'b' where a number"),
    ("a.pts", "", "no landmarks"),
    ("a.npy", b"", "cannot be read"),
    ("a.npy", b"hello" * 20, "cannot be read"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=range(len(BAD)))
def test_bad_files_are_refused(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelFileError, match=message) as caught:
        read_named_landmarks(tmp_path / name, geometry=oblique(3, 0))
    one_line(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("ending", SUFFIXES)
def test_missing_files_are_refused(tmp_path: Path, ending: str) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        read_named_landmarks(tmp_path / f"a{ending}", geometry=oblique(3, 0))


def test_arrays_that_are_no_landmarks_are_refused(tmp_path: Path) -> None:
    for array in (np.zeros((3, 4)), np.zeros(3), np.array([["a", "b"]]), np.zeros((0, 2)), np.full((1, 2), np.inf)):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(ModelFileError, match=r"a\.npy"):
            read_named_landmarks(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_named_landmarks(tmp_path / "a.npy")


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no known format"):
        read_named_landmarks(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="no known format"):
        write_landmarks(tmp_path / "a.json", [[1, 2]])
    for ending in (".mrk.json", ".fcsv"):
        with pytest.raises(ValueError, match="geometry is None"):
            read_named_landmarks(tmp_path / f"a{ending}")
        with pytest.raises(ValueError, match="geometry is None"):
            write_landmarks(tmp_path / f"a{ending}", [[1, 2]])
        with pytest.raises(ValueError, match="3 dimensions but points 2"):
            write_landmarks(tmp_path / f"a{ending}", [[1, 2]], geometry=oblique(3, 0))
    for points in ([[1.0]], [1.0, 2.0], [[np.nan, 0.0]], np.zeros((0, 2))):
        with pytest.raises(ValueError, match="points"):
            write_landmarks(tmp_path / "a.csv", points)
    with pytest.raises(ValueError, match="2 names for 1"):
        write_landmarks(tmp_path / "a.csv", [[1, 2]], names=["a", "b"])
    with pytest.raises(ValueError, match="one line"):
        write_landmarks(tmp_path / "a.csv", [[1, 2]], names=["a\nb"])
    with pytest.raises(TypeError, match="one string per landmark"):
        write_landmarks(tmp_path / "a.csv", [[1, 2]], names="a")
    assert not list(tmp_path.iterdir())


def test_points_alone(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "a.csv", [[1.5, 2.0], [3.0, 4.25]], names=["base", "apex"])
    assert read_landmarks(tmp_path / "a.csv").tolist() == [[1.5, 2.0], [3.0, 4.25]]


@pytest.mark.parametrize(("state", "is_set"), [("0", False), ("1", True), ("2", True), ("3", False), (" 3", False)])
@pytest.mark.parametrize("titled", [False, True])
def test_fiducials_of_slicer_5_have_a_state(tmp_path: Path, state: str, is_set: bool, titled: bool) -> None:
    head = ["# Markups fiducial file version = 5.6", "# CoordinateSystem = LPS"]
    columns = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
    head.append(f"# columns = {columns}{',positionStatus,autoCreated' if titled else ''}")
    rows = ["1,1.5,2,3,0,0,0,1,1,1,0,base,,node,2,0", f"2,0,0,0,0,0,0,1,1,1,0,apex,,,{state},0"]
    path = tmp_path / "a.fcsv"
    path.write_text("\n".join([*head, *rows]) + "\n")
    unit = Geometry(np.ones(3))
    if is_set:
        np.testing.assert_allclose(read_landmarks(path, geometry=unit), [[3, 2, 1.5], [0, 0, 0]])
        return
    with pytest.raises(ModelFileError, match=r"a\.fcsv has no position for 'apex'; set or delete") as caught:
        read_landmarks(path, geometry=unit)
    one_line(caught.value)


def test_other_cells_of_fiducials_are_no_state(tmp_path: Path) -> None:
    path = tmp_path / "a.fcsv"
    path.write_text("# CoordinateSystem = LPS\n# columns = x,y,z\n1,2,3,0,0\n")
    np.testing.assert_allclose(read_landmarks(path, geometry=Geometry(np.ones(3))), [[3, 2, 1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\nn_points: 1\n{\n1 2\n}\nversion: 1\nn_points: 1\n{\n3 4\n}\n", "goes on after the closing brace"),
        ("version: 1\nn_points: 1\n{\n1 2\n}\n3 4\n", "goes on after the closing brace"),
        ("3\n1 2\n3 4\n", "has 2 of 3 landmarks"),
        ("1\n1 2\n3 4\n", "has 2 of 1 landmarks"),
        ("12\n", "has 0 of 12 landmarks"),
        ("0\n", "holds no landmarks"),
        ("1 2\n3 4 5\n", r"holds no landmarks \(one has 2 numbers, another 3\)"),
        ("12.5\n1 2\n", r"holds no landmarks \(one has 1 numbers, another 2\)"),
    ],
)
def test_points_that_are_not_as_promised_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.pts"
    path.write_text(text)
    with pytest.raises(ModelFileError, match=message) as caught:
        read_landmarks(path)
    one_line(caught.value)
    assert "a.pts" in str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 12])
def test_points_after_their_count(tmp_path: Path, count: int) -> None:
    points = philox(count).uniform(0, 9, size=(count, 2))
    path = tmp_path / "a.pts"
    lines = "".join(f"{x!r} {y!r}\n" for y, x in points.tolist())
    path.write_text(f"{count}\n{lines}")
    np.testing.assert_array_equal(read_landmarks(path), points)
    path.write_text(f"version: 1\nn_points: {count}\n{{\n{lines}}}\n \n\n")
    np.testing.assert_array_equal(read_landmarks(path), points - 1)
