"""Cohort: everything it checks, what it keeps, and that it and its file are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import Cohort, LandmarkObject, ModelFileError
from tests.cohorts import real_cohort
from tests.examples import hearts, one_line, philox, plane, volume


def _arguments(d: int = 2, *, n: int = 3, m: int = 5, channels: int | None = None) -> dict[str, Any]:
    rng = philox(d)
    grid = (12, 10, 9)[:d]
    lead = (n,) if channels is None else (n, channels)
    return {
        "images": rng.normal(size=(*lead, *grid)).astype(np.float32),
        "landmarks": rng.uniform(size=(n, m, d)) * (np.array(grid) - 1),
        "labels": rng.integers(0, 4, size=(n, *grid)),
        "objects": [
            LandmarkObject("a", (0, 2, 4), "closed"),
            LandmarkObject("b", (3, 1), "points"),
        ],
        "spacing": np.array([0.5, 2.0, 3.0])[:d],
        "names": ["x", "y", "z"][:n],
    }


def _make(arguments: dict[str, Any]) -> Cohort:
    rest = dict(arguments)
    return Cohort(rest.pop("images"), rest.pop("landmarks"), **rest)


def _same(a: Cohort, b: Cohort) -> None:
    for name in ("images", "landmarks", "labels", "spacing"):
        left, right = getattr(a, name), getattr(b, name)
        if left is None:
            assert right is None
        else:
            assert left.dtype == right.dtype
            assert np.array_equal(left, right)
    assert (a.objects, a.names, a.grid) == (b.objects, b.names, b.grid)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_keeps_what_it_is_given(d: int, channels: int | None) -> None:
    arguments = _arguments(d, channels=channels)
    cohort = _make(arguments)
    assert len(cohort) == 3
    assert cohort.grid == (12, 10, 9)[:d]
    assert cohort.images.shape == (3, channels or 1, *cohort.grid)
    assert cohort.images.dtype == np.float32
    assert np.array_equal(cohort.images.reshape(arguments["images"].shape), arguments["images"])
    assert cohort.landmarks.dtype == np.float64
    assert np.array_equal(cohort.landmarks, arguments["landmarks"])
    assert cohort.labels is not None
    assert np.array_equal(cohort.labels, arguments["labels"])
    assert cohort.objects == tuple(arguments["objects"])
    assert np.array_equal(cohort.spacing, arguments["spacing"])
    assert cohort.names == ("x", "y", "z")
    for word in ("3 subjects", str(cohort.grid), "5 landmarks", "a (3 closed)"):
        assert word in repr(cohort)


@pytest.mark.parametrize("d", [2, 3])
def test_defaults(d: int) -> None:
    arguments = _arguments(d)
    cohort = Cohort(arguments["images"], arguments["landmarks"])
    assert cohort.labels is None
    assert cohort.objects == (LandmarkObject("landmarks", (0, 1, 2, 3, 4), "points"),)
    assert cohort.spacing.tolist() == [1.0] * d
    assert len(set(cohort.names)) == 3


def test_lists_and_integer_images_are_converted() -> None:
    cohort = Cohort(np.arange(24, dtype=np.uint8).reshape(2, 3, 4).tolist(), [[[0, 0], [2, 3]], [[1, 1], [2, 2]]])
    assert cohort.images.dtype == np.float32
    assert cohort.images[1, 0, 2, 3] == 23
    assert cohort.landmarks[0].tolist() == [[0, 0], [2, 3]]


def test_a_number_is_the_spacing_of_all_axes() -> None:
    assert _make(_arguments() | {"spacing": 1.5}).spacing.tolist() == [1.5, 1.5]


def test_arrays_are_read_only() -> None:
    cohort = _make(_arguments())
    assert cohort.labels is not None
    for array in (cohort.images, cohort.landmarks, cohort.labels, cohort.spacing):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("channels", [None, 2])
def test_the_callers_arrays_stay_theirs(channels: int | None) -> None:
    arguments = _arguments(channels=channels)
    cohort = _make(arguments)
    kept = {name: getattr(cohort, name).copy() for name in ("images", "landmarks", "labels", "spacing")}
    for name, before in kept.items():
        assert arguments[name].flags.writeable, f"the caller's {name} became read-only"
        arguments[name][...] = 0
        assert np.array_equal(getattr(cohort, name), before), f"{name} changed with the caller's array"


def test_subset() -> None:
    cohort = _make(_arguments(3, channels=2))
    part = cohort.subset(np.array([2, 0]))
    assert cohort.labels is not None
    assert part.labels is not None
    assert part.names == ("z", "x")
    assert np.array_equal(part.images, cohort.images[[2, 0]])
    assert np.array_equal(part.landmarks, cohort.landmarks[[2, 0]])
    assert np.array_equal(part.labels, cohort.labels[[2, 0]])
    assert part.objects == cohort.objects
    assert np.array_equal(part.spacing, cohort.spacing)
    _same(cohort.subset(range(3)), cohort)
    assert len(cohort.subset([1])) == 1


@pytest.mark.parametrize(
    ("indices", "kind"),
    [([], ValueError), ([3], ValueError), ([-1], ValueError), ([0, 0], ValueError), ([0.0], TypeError)],
)
def test_subset_refuses(indices: list[Any], kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        _make(_arguments()).subset(indices)
    one_line(caught.value)


def test_a_mask_is_no_list_of_indices() -> None:
    with pytest.raises(TypeError, match="indices"):
        _make(_arguments()).subset(np.array([True, False, True]))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("channels", [None, 2])
@pytest.mark.parametrize("labelled", [True, False])
def test_file_and_cohort_are_the_same(tmp_path: Path, d: int, channels: int | None, labelled: bool) -> None:
    arguments = _arguments(d, channels=channels) | {"names": ["Ä b", "2", "ü/ß"]}
    cohort = _make(arguments if labelled else arguments | {"labels": None})
    cohort.save(tmp_path / "cohort.npz")
    _same(Cohort.load(tmp_path / "cohort.npz"), cohort)
    assert [path.name for path in tmp_path.iterdir()] == ["cohort.npz"]


def test_a_foreign_file_needs_images_and_landmarks_only(tmp_path: Path) -> None:
    arguments = _arguments()
    np.savez(tmp_path / "bare.npz", images=arguments["images"], landmarks=arguments["landmarks"], other=np.arange(3))
    _same(Cohort.load(tmp_path / "bare.npz"), Cohort(arguments["images"], arguments["landmarks"]))


@pytest.mark.parametrize("cohort", [plane, volume, hearts])
def test_examples_survive_their_file(tmp_path: Path, cohort: Any) -> None:
    cohort().save(tmp_path / "it.npz")
    _same(Cohort.load(tmp_path / "it.npz"), cohort())


@pytest.mark.parametrize(
    ("file", "subjects", "objects"),
    [
        ("acdc32.npz", 32, {"closed"}),
        ("sunnybrook37.npz", 37, {"closed"}),
    ],
)
def test_real_cohorts_load(file: str, subjects: int, objects: set[str]) -> None:
    cohort = Cohort.load(real_cohort(file))
    assert len(cohort) == subjects
    assert cohort.grid == (256, 256)
    assert cohort.landmarks.shape[1:] == (104, 2)
    assert {o.kind for o in cohort.objects} == objects
    assert cohort.labels is not None
    # Landmarks of the left ventricle's endocardium enclose its cavity.
    named = {o.name: o for o in cohort.objects}
    endocardium = next(o for name, o in named.items() if "lv" in name.lower() and "endo" in name.lower())
    centres = np.rint(cohort.landmarks[:, list(endocardium.indices)].mean(axis=1)).astype(int)
    assert (cohort.labels[np.arange(len(cohort)), centres[:, 0], centres[:, 1]] == 3).all()


def _with(name: str, index: Any, value: Any) -> dict[str, Any]:
    arguments = _arguments()
    arguments[name] = arguments[name].astype(np.float64)
    arguments[name][index] = value
    return arguments


A, B = _arguments()["objects"]
TWICE = _arguments()["landmarks"][0, 1]
REFUSED: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (ValueError, r"^images\[1, 2, 3\] is nan", _with("images", (1, 2, 3), np.nan)),
    (ValueError, r"^images\[0, 0, 0\] is inf", _with("images", (0, 0, 0), np.inf)),
    (ValueError, r"^landmarks\[2, 1, 0\] is nan", _with("landmarks", (2, 1, 0), np.nan)),
    (ValueError, "^images has shape", _arguments() | {"images": np.zeros((3, 12))}),
    (ValueError, "^images holds 2", _arguments() | {"images": _arguments()["images"][:2]}),
    (ValueError, "^images is empty", _arguments() | {"images": np.zeros((0, 12, 10))}),
    (TypeError, "^images has dtype", _arguments() | {"images": _arguments()["images"].astype(complex)}),
    (TypeError, "^images has dtype", _arguments() | {"images": np.array([object()])}),
    (ValueError, "^landmarks has shape", _arguments() | {"landmarks": np.zeros((3, 10))}),
    (ValueError, "^landmarks has shape", _arguments() | {"landmarks": np.zeros((3, 5, 4))}),
    (ValueError, "^landmarks has shape", _arguments() | {"landmarks": np.zeros((3, 5, 1))}),
    (ValueError, r"^landmarks\[1, 3\] .*outside", _with("landmarks", (1, 3), (11.01, 0))),
    (ValueError, r"^landmarks\[0, 0\] .*outside", _with("landmarks", (0, 0), (0, -0.01))),
    (ValueError, r"^landmarks\[0, 4\] .*'x' coincides", _with("landmarks", (0, 4), TWICE)),
    (ValueError, r"^images\[2\] .*'z' is constant", _with("images", 2, 7.0)),
    (TypeError, "^labels has dtype float64", _arguments() | {"labels": _arguments()["labels"].astype(float)}),
    (TypeError, "^labels has dtype bool", _arguments() | {"labels": _arguments()["labels"] > 0}),
    (ValueError, "^labels has shape", _arguments() | {"labels": np.zeros((3, 12, 9), int)}),
    (ValueError, "^objects is", _arguments() | {"objects": [A, A]}),
    (TypeError, "^names", _arguments() | {"names": "xyz"}),
    (ValueError, "^objects name landmark 0 0 times", _arguments() | {"objects": []}),
    (ValueError, "^objects name landmark 1 0 times", _arguments() | {"objects": [A]}),
    (
        ValueError,
        "^objects name landmark 0 2 times",
        _arguments() | {"objects": [A, LandmarkObject("c", (0,), "points"), B]},
    ),
    (
        ValueError,
        "^objects name landmark 7 1 times",
        _arguments() | {"objects": [A, B, LandmarkObject("c", (7,), "points")]},
    ),
    (TypeError, "^objects", _arguments() | {"objects": ["a"]}),
    (ValueError, "^spacing", _arguments() | {"spacing": [1.0, 1.0, 1.0]}),
    (ValueError, "^spacing", _arguments() | {"spacing": [1.0, -1.0]}),
    (ValueError, r"^spacing\[1\] is nan", _arguments() | {"spacing": [1.0, np.nan]}),
    (ValueError, "^names", _arguments() | {"names": ["x", "y"]}),
    (ValueError, "^names", _arguments() | {"names": ["x", "y", "x"]}),
]


@pytest.mark.parametrize(("kind", "said", "arguments"), REFUSED)
def test_bad_data_are_refused_in_one_line(kind: type[Exception], said: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(kind, match=said) as caught:
        _make(arguments)
    one_line(caught.value)


def test_landmarks_may_lie_on_the_border() -> None:
    landmarks = np.array([[[0, 0], [11, 9], [0, 9]]] * 2)
    assert len(Cohort(_arguments()["images"][:2], landmarks)) == 2


@pytest.mark.parametrize(
    ("name", "indices", "kind", "error"),
    [
        ("a", (0, 1), "circle", ValueError),
        ("a", (), "points", ValueError),
        ("a", (-1,), "points", ValueError),
        ("a", (0.5,), "points", TypeError),
        ("a", ("0",), "points", TypeError),
    ],
)
def test_objects_are_checked(name: str, indices: tuple[Any, ...], kind: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        LandmarkObject(name, indices, kind)
    one_line(caught.value)


def test_objects_hold_plain_integers() -> None:
    indices = LandmarkObject("a", tuple(np.arange(3)), "open").indices
    assert json.dumps(indices) == "[0, 1, 2]"


def _file(tmp_path: Path, **arrays: Any) -> Path:
    arguments = _arguments()
    path = tmp_path / "cohort.npz"
    np.savez(path, **({"images": arguments["images"], "landmarks": arguments["landmarks"]} | arrays))
    return path


@pytest.mark.parametrize(
    "objects",
    [
        "not json",
        "5",
        "[5]",
        '[{"name": "a"}]',
        '{"a": 1}',
        '[{"name": "a", "kind": "points", "indices": 3}]',
        "[" * 100_000,
    ],
    ids=lambda text: text[:20],
)
def test_a_file_with_bad_objects_is_refused(tmp_path: Path, objects: str) -> None:
    with pytest.raises((ValueError, TypeError, ModelFileError), match="objects") as caught:
        Cohort.load(_file(tmp_path, objects=np.array(objects)))
    one_line(caught.value)


def test_a_file_without_landmarks_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", images=_arguments()["images"])
    with pytest.raises(ModelFileError, match="landmarks") as caught:
        Cohort.load(tmp_path / "half.npz")
    one_line(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.npz does not exist"):
        Cohort.load(tmp_path / "none.npz")


def test_a_file_with_pickled_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        Cohort.load(_file(tmp_path, names=np.array(["x", None, "z"], dtype=object)))
