"""The argument checks: what they let through, in which form, and that each refusal is one line naming the argument."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import modelaug
from modelaug import Cohort, _checks
from modelaug.data.scans import Scan
from tests.examples import one_line


def test_finite_converts_only_where_it_must() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert _checks.finite("x", array, ndim=2, dtype=np.float64) is array
    single = _checks.finite("x", array, ndim=(1, 2), dtype=np.float32)
    assert single.dtype == np.float32
    turned = _checks.finite("x", array.T, ndim=2, dtype=np.float64)
    assert turned.flags.c_contiguous
    assert np.array_equal(turned, array.T)
    assert _checks.finite("x", [[1, 2], [3, 4]], ndim=2, dtype=np.float64).tolist() == [[1, 2], [3, 4]]
    assert _checks.finite("x", [True, False], ndim=1, dtype=np.float64).tolist() == [1, 0]


def test_finite_names_the_first_bad_element() -> None:
    array = np.zeros((3, 4))
    array[1, 2:] = np.nan
    with pytest.raises(ValueError, match=r"^x\[1, 2\] is nan; ") as caught:
        _checks.finite("x", array, ndim=2, dtype=np.float64)
    one_line(caught.value)


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", ">f4", ">f8", np.longdouble])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_finite_finds_one_bad_element_anywhere(kind: Any, bad: float) -> None:
    # The largest numbers are finite, and add up to infinity.
    dtype = np.dtype(kind)
    array = np.full(9000, np.finfo(dtype).max, dtype)
    array[::2] = -np.finfo(dtype).smallest_subnormal
    assert _checks.finite("x", array, ndim=1, dtype=dtype) is array
    for where in (0, 1, 4095, 4096, 8191, 8999):
        spoilt = array.copy()
        spoilt[where] = bad
        with pytest.raises(ValueError, match=rf"^x\[{where}\] is "):
            _checks.finite("x", spoilt, ndim=1, dtype=dtype)


def test_finite_refuses_what_overflows_the_wanted_type() -> None:
    with pytest.raises(ValueError, match=r"^x\[1\] is 1e\+300; ") as caught:
        _checks.finite("x", [0.0, 1e300], ndim=1, dtype=np.float32)
    one_line(caught.value)


def test_grid_shape_returns_plain_integers() -> None:
    shape = _checks.grid_shape("grid", np.array([4, 5, 6]))
    assert shape == (4, 5, 6)
    assert all(type(length) is int for length in shape)


def test_spacing_defaults_and_broadcasts() -> None:
    assert _checks.spacing("spacing", None, 3).tolist() == [1, 1, 1]
    assert _checks.spacing("spacing", 2, 3).tolist() == [2, 2, 2]
    assert _checks.spacing("spacing", [2.5], 2).tolist() == [2.5, 2.5]
    assert _checks.spacing("spacing", (1, 2), 2).tolist() == [1, 2]


def test_numbers_become_plain() -> None:
    assert type(_checks.integer("n", np.int32(3), minimum=0)) is int
    assert _checks.integer("n", np.uint64(2**64 - 1), minimum=0, maximum=2**64 - 1) == 2**64 - 1
    assert type(_checks.number("x", np.float32(0.5))) is float
    assert _checks.number("x", 1, minimum=1.0, maximum=1.0) == 1


def test_threads_default_to_the_cores_of_this_process() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert _checks.thread_count(None) == cores
    assert _checks.thread_count(3) == 3


def _finite(value: Any, **options: Any) -> Callable[[], object]:
    return lambda: _checks.finite("thing", value, **({"ndim": 2, "dtype": np.float64} | options))


REFUSED: list[tuple[type[Exception], str, Callable[[], object]]] = [
    (TypeError, "complex", _finite([[1j]])),
    (TypeError, "<U1", _finite([["a"]])),
    (TypeError, "object", _finite([[None]])),
    (TypeError, "datetime64", _finite(np.zeros((2, 2), "M8[s]"))),
    (ValueError, "(3,)", _finite(np.zeros(3))),
    (ValueError, "2 or 3 axes", _finite(np.zeros(3), ndim=(2, 3))),
    (ValueError, "empty", _finite(np.zeros((0, 3)))),
    (ValueError, "[0, 0] is inf", _finite([[np.inf]])),
    (ValueError, "", _finite([[1.0], [1.0, 2.0]])),
    (TypeError, "5", lambda: _checks.grid_shape("thing", 5)),  # type: ignore[arg-type]
    (TypeError, "'ab'", lambda: _checks.grid_shape("thing", "ab")),  # type: ignore[arg-type]
    (ValueError, "(4,)", lambda: _checks.grid_shape("thing", (4,))),
    (ValueError, "(4, 4, 4, 4)", lambda: _checks.grid_shape("thing", (4, 4, 4, 4))),
    (ValueError, "(0, 4)", lambda: _checks.grid_shape("thing", (0, 4))),
    (ValueError, "(4.5, 4)", lambda: _checks.grid_shape("thing", (4.5, 4))),  # type: ignore[arg-type]
    (ValueError, "0.0", lambda: _checks.spacing("thing", [1.0, 0.0], 2)),
    (ValueError, "-1", lambda: _checks.spacing("thing", -1, 2)),
    (ValueError, "3 positive", lambda: _checks.spacing("thing", [1.0, 1.0], 3)),
    (ValueError, "nan", lambda: _checks.spacing("thing", [1.0, np.nan], 2)),
    (TypeError, "<U2", lambda: _checks.spacing("thing", "mm", 2)),
    (TypeError, "1.0", lambda: _checks.integer("thing", 1.0, minimum=0)),
    (TypeError, "True", lambda: _checks.integer("thing", True, minimum=0)),
    (TypeError, "None", lambda: _checks.integer("thing", None, minimum=0)),
    (ValueError, "at least 1", lambda: _checks.integer("thing", 0, minimum=1)),
    (ValueError, "between 1 and 3", lambda: _checks.integer("thing", 4, minimum=1, maximum=3)),
    (TypeError, "'1'", lambda: _checks.number("thing", "1")),
    (TypeError, "False", lambda: _checks.number("thing", False)),
    (ValueError, "nan", lambda: _checks.number("thing", float("nan"))),
    (ValueError, "inf", lambda: _checks.number("thing", float("inf"))),
    (ValueError, "a finite number", lambda: _checks.number("thing", 10**400)),
    (ValueError, "at least 0", lambda: _checks.number("thing", -1, minimum=0.0)),
    (ValueError, "greater than 0 and at most 1", lambda: _checks.number("thing", 0.0, above=0.0, maximum=1.0)),
    (ValueError, "at most 1", lambda: _checks.number("thing", 1.5, maximum=1.0)),
    (ValueError, "'a', 'b'", lambda: _checks.choice("thing", "c", ("a", "b"))),
    (ValueError, "'a', 'b'", lambda: _checks.choice("thing", np.array(["a", "b"]), ("a", "b"))),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("kind", "said", "call"), REFUSED)
def test_refusals_name_argument_value_and_remedy(kind: type[Exception], said: str, call: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        call()
    message = one_line(caught.value)
    assert message.startswith("thing")
    assert said in message
    assert ";" in message


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_must_be_positive(threads: int) -> None:
    with pytest.raises(ValueError, match=f"^threads is {threads}; "):
        _checks.thread_count(threads)


@pytest.mark.parametrize("threads", [1025, 100_000, 2**31, 2**63, 10**400])
def test_threads_are_bounded(threads: int) -> None:
    with pytest.raises(ValueError, match=r"^threads is \d+; pass an integer between 1 and 1024$"):
        _checks.thread_count(threads)


def test_as_many_threads_as_are_allowed_work() -> None:
    field = np.zeros((2, 9, 8))
    assert _checks.thread_count(1024) == 1024
    assert (modelaug.jacobian_determinant(field, threads=1024) == 1).all()


@pytest.mark.parametrize("value", [2**31, 2**63, 2**64, 10**400])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("max_iterations", lambda value: modelaug.invert(np.zeros((2, 4, 4)), max_iterations=value)),
        ("max_levels", lambda value: modelaug.SplineOptions(max_levels=value)),
        ("max_steps", lambda value: modelaug.SplineOptions(max_steps=value)),
        ("threads", lambda value: modelaug.warp(np.zeros((4, 4)), np.zeros((2, 4, 4)), threads=value)),
        ("threads", lambda value: modelaug.compose(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), threads=value)),
    ],
)
def test_integers_beyond_those_of_kernels_are_refused(name: str, call: Callable[[int], object], value: int) -> None:
    with pytest.raises(ValueError, match=f"^{name} is ") as caught:
        call(value)
    one_line(caught.value)


def test_threads_must_be_an_integer() -> None:
    with pytest.raises(TypeError, match=r"^threads is 1\.5; "):
        _checks.thread_count(1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("beyond", [2**63, 2**64 - 1])
def test_labels_that_would_become_others_are_refused(beyond: int) -> None:
    labels = np.full((1, 4, 5), beyond, dtype=np.uint64)
    with pytest.raises(ValueError, match=rf"labels holds numbers from {beyond} to {beyond}; renumber them"):
        Cohort(np.zeros((1, 4, 5)), np.zeros((1, 3, 2)), labels=labels)
    with pytest.raises(ValueError, match=r"labels of 'anna' holds numbers"):
        Scan("anna", np.zeros((4, 5)), labels=labels[0])
    kept = Scan("anna", np.zeros((4, 5)), labels=np.full((4, 5), 2**63 - 1, dtype=np.uint64)).labels
    assert kept is not None
    assert int(kept.max()) == 2**63 - 1
