"""Files that are no appearance models, or damaged or hostile ones: each is refused by one line."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import AppearanceModel, ModelFileError, ShapeOptions
from tests.examples import one_line, parts_of, plane, plane_model


def _npy(array: npt.ArrayLike) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def _members(tmp_path: Path) -> dict[str, bytes]:
    """Return the parts of a valid model file by name."""
    plane_model().save(tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "good.npz") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _header(members: dict[str, bytes]) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(str(np.load(io.BytesIO(members["header.npy"]))))
    return header


def _refused(path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        AppearanceModel.load(path)
    assert str(path) in one_line(caught.value)


def test_a_rebuilt_file_loads(tmp_path: Path) -> None:
    # The other tests break files that are put together like this one.
    members = _members(tmp_path)
    members["header.npy"] = _npy(json.dumps(_header(members)))
    again, expected = parts_of(AppearanceModel.load(_zip(tmp_path / "again.npz", members))), parts_of(plane_model())
    assert again.keys() == expected.keys()
    assert all(np.array_equal(array, expected[name]) for name, array in again.items())


def test_options_are_objects_that_are_read_by_name_as_well(tmp_path: Path) -> None:
    options = plane_model().options
    members = _members(tmp_path)
    header = _header(members)
    assert header["options"] == {name: json.loads(json.dumps(options[name])) for name in ("shape", "texture", "spline")}
    assert {**options} == {name: asdict(getattr(options, name)) for name in ("shape", "texture", "spline")}
    assert options["shape"]["levels"] == options.shape.levels
    with pytest.raises(KeyError, match="pose"):
        options["pose"]
    assert (list(options), len(options), "shape" in options) == (["shape", "texture", "spline"], 3, True)
    assert dict(options.items()) == {**options}
    with pytest.raises(TypeError, match=r"^options is \{.*zzz.*; pass ModelOptions") as caught:
        replace(plane_model(), options={**options, "zzz": 1})  # type: ignore[arg-type]
    one_line(caught.value)
    # As options were once kept, and may have been replaced.
    changed = replace(plane_model(), options={**options, "shape": {"levels": 2}})  # type: ignore[arg-type]
    assert changed.options == replace(options, shape=ShapeOptions(levels=2))
    # An option that a file does not name has its default.
    del header["options"]["spline"]["max_steps"]
    members["header.npy"] = _npy(json.dumps(header))
    assert AppearanceModel.load(_zip(tmp_path / "older.npz", members)).options == options


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    _members(tmp_path)
    content = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "bad.npz").write_bytes(content[: int(share * len(content))])
    _refused(tmp_path / "bad.npz")


def test_a_cohort_is_no_model(tmp_path: Path) -> None:
    plane().save(tmp_path / "cohort.npz")
    _refused(tmp_path / "cohort.npz")
    _refused(tmp_path / "missing.npz")


HEADERS: dict[str, Any] = {
    "another format": {"format": "else"},
    "a later version": {"version": 3},
    "no version": {"version": None},
    "another grid": {"grid": [44, 27]},
    "a grid of words": {"grid": "ab"},
    "a negative grid": {"grid": [-44, -26]},
    "one axis": {"grid": [1144]},
    "three axes": {"grid": [44, 26, 1]},
    "a huge grid": {"grid": [10**30, 26]},
    "a grid whose size overflows": {"grid": [2**32, 2**32]},
    "no objects": {"objects": []},
    "objects that are none": {"objects": 5},
    "an object without a name": {"objects": [{"kind": "closed", "indices": list(range(16))}]},
    "an object of another kind": {"objects": [{"name": "a", "kind": "cube", "indices": list(range(16))}]},
    "a landmark too many": {"objects": [{"name": "a", "kind": "closed", "indices": list(range(17))}]},
    "a landmark too few": {"objects": [{"name": "a", "kind": "closed", "indices": list(range(15))}]},
    "no options": {"options": {}},
    "options that are none": {"options": None},
    "an unknown option": {"options": {"shape": {"magic": 1}, "texture": {}, "spline": {}}},
    "a bad option": {"options": {"shape": {}, "texture": {}, "spline": {"tolerance": -1}}},
    "another taper": {"options": {"shape": {"taper": "soft"}, "texture": {}, "spline": {}}},
    "too many levels": {"options": {"shape": {"levels": 10**9}, "texture": {}, "spline": {}}},
    "another engine": {"options": {"shape": {}, "texture": {"engine": "magic"}, "spline": {}}},
    "too many levels of textures": {"options": {"shape": {}, "texture": {"levels": 10**9}, "spline": {}}},
    "a sharpness that is no number": {"options": {"shape": {}, "texture": {"sharpness": float("nan")}, "spline": {}}},
    "options of more": {"options": {"shape": {}, "texture": {}, "spline": {}, "more": {}}},
    "options of numbers": {"options": {"shape": 1, "texture": {}, "spline": {}}},
    "options beyond integers": {"options": {"shape": {}, "texture": {}, "spline": {"max_steps": 2**31}}},
    "indices beyond integers": {"objects": [{"name": "a", "kind": "closed", "indices": [*range(15), 2**63]}]},
    "a deep provenance": {"provenance": {"subjects": ["a"] * 12, "deep": json.loads("[" * 90 + "]" * 90)}},
    "subjects that are one word": {"provenance": {"subjects": "abcdefghijkl"}},
    "subjects that are numbers": {"provenance": {"subjects": list(range(12))}},
    "no provenance": {"provenance": None},
    "no subjects": {"provenance": {}},
    "a single subject": {"provenance": {"subjects": ["a"]}},
    "a number of subjects": {"provenance": {"subjects": 12}},
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS.keys())
def test_a_hostile_header_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    members = _members(tmp_path)
    members["header.npy"] = _npy(json.dumps(_header(members) | change))
    _refused(_zip(tmp_path / "bad.npz", members))


def test_a_grid_whose_size_overflows_is_refused_with_arrays_to_match(tmp_path: Path) -> None:
    # 2^32 * 2^32 is 0 in 64 bits.
    members = _members(tmp_path)
    members |= {
        "header.npy": _npy(json.dumps(_header(members) | {"grid": [2**32, 2**32]})),
        "texture_mean.npy": _npy(np.zeros(0, np.float32)),
        "texture_modes.npy": _npy(np.zeros((1, 0), np.float32)),
        "texture_variances.npy": _npy(np.zeros(1)),
    }
    del members["labels.npy"]
    _refused(_zip(tmp_path / "bad.npz", members))


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "5", "null", "{}", '"text"', "[" * 100_000], ids=lambda t: t[:8] or "empty"
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    _refused(_zip(tmp_path / "bad.npz", _members(tmp_path) | {"header.npy": _npy(text)}))


def test_every_key_of_the_header_is_needed(tmp_path: Path) -> None:
    members = _members(tmp_path)
    header = _header(members)
    for key in header:
        rest = {name: value for name, value in header.items() if name != key}
        _refused(_zip(tmp_path / "bad.npz", members | {"header.npy": _npy(json.dumps(rest))}))


def _object_array(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.array([None, *range(array.size)], dtype=object)


CHANGES: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "another axis": lambda a: a[None],
    "twice as long": lambda a: np.concatenate([a, a]),
    "shorter": lambda a: a[:-1],
    "empty": lambda a: a[:0],
    "a single number": lambda a: np.zeros((), a.dtype),
    "complex": lambda a: a.astype(complex),
    "text": lambda a: a.astype(str),
    "records": lambda a: np.zeros(a.shape, [("a", "f4")]),
    "times": lambda a: np.zeros(a.shape, "M8[s]"),
    "pickled objects": _object_array,
    "not finite": lambda a: np.full(a.shape, np.nan),
}
ARRAYS = [f"{part}_{name}" for part in ("shape", "texture", "pose") for name in ("mean", "modes", "variances")]


OTHERS = ["reference", "center", "spacing", "intensities", "background", "texture_coefficients", "labels", "crossings"]


@pytest.mark.parametrize("name", [*ARRAYS, *OTHERS])
def test_an_array_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    members = _members(tmp_path)
    array = np.load(io.BytesIO(members[f"{name}.npy"]))
    for change in CHANGES.values():
        file = io.BytesIO()
        np.save(file, change(array), allow_pickle=True)
        _refused(_zip(tmp_path / "bad.npz", members | {f"{name}.npy": file.getvalue()}))
    del members[f"{name}.npy"]
    if name != "labels":
        _refused(_zip(tmp_path / "bad.npz", members))
    _refused(_zip(tmp_path / "bad.npz", members | {name: b"no array"}))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("intensities", lambda a: a[:, ::-1]),
        ("intensities", lambda a: a[:, :1]),
        ("reference", lambda a: a + 100),
        ("reference", lambda a: -a),
        ("reference", lambda a: a + 1e-3),
        ("shape_mean", lambda a: 0 * a),
        ("shape_mean", lambda a: a + 1e-3),
        ("shape_modes", lambda a: 2 * a),
        ("shape_modes", lambda a: 0 * a),
        ("shape_modes", lambda a: a[[0, *range(len(a) - 1)]]),
        ("texture_modes", lambda a: 1.01 * a),
        ("pose_modes", lambda a: a + 0.01),
        ("pose_mean", lambda a: a + np.eye(4)[0]),
        ("pose_mean", lambda a: a + 1e6 * np.eye(4)[2]),
        ("pose_mean", lambda a: a + 1e6 * np.eye(4)[0]),
        ("center", lambda a: a + 1e300),
        ("shape_variances", lambda a: 1e300 * a),
        ("shape_variances", lambda a: np.full_like(a, np.inf)),
        ("texture_variances", lambda a: a * [1e300, *[1] * (len(a) - 1)]),
        ("texture_variances", lambda a: np.full_like(a, np.nan)),
        ("texture_mean", lambda a: np.full_like(a, np.finfo(np.float32).max)),
        ("texture_coefficients", lambda a: np.full_like(a, 1e300)),
        ("background", lambda a: a.astype(float) + 1e300),
        ("spacing", lambda a: 1e-300 * a),
        ("spacing", lambda a: 1e300 * a),
        ("spacing", lambda a: -a),
        ("spacing", lambda a: 0 * a),
        ("shape_variances", lambda a: -a),
        ("texture_variances", lambda a: a[::-1]),
        ("texture_coefficients", lambda a: a[:, :-1]),
        ("texture_coefficients", lambda a: a.T),
        ("texture_coefficients", lambda a: a[:1]),
        ("texture_mean", lambda a: a.astype(np.float64)),
        ("shape_modes", lambda a: a.astype(np.float32)),
        ("pose_mean", lambda a: a.astype(int)),
        ("labels", lambda a: a.astype(np.uint64) + np.uint64(2**63)),
        ("crossings", lambda a: a - 1),
        ("crossings", lambda a: a + 2**62),
        ("crossings", lambda a: a.astype(np.uint64) + np.uint64(2**63)),
        ("crossings", lambda a: a.astype(bool)),
        ("crossings", lambda a: a.astype(np.float64)),
    ],
)
def test_values_that_make_no_model_are_refused(
    tmp_path: Path, name: str, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> None:
    members = _members(tmp_path)
    array = np.load(io.BytesIO(members[f"{name}.npy"]))
    _refused(_zip(tmp_path / "bad.npz", members | {f"{name}.npy": _npy(change(array))}))
