"""fit_bspline and BSpline: the contract by example, and every bad input refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import modelaug

SITES = np.array([[0.0, 0.0], [3.5, 2.0], [7.0, 9.0], [1.0, 8.0], [6.0, 1.5]])
VALUES = np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.0], [-3.0, 1.0], [1.0, 4.0]])
GRID = (8, 10)


def _fit(**changes: Any) -> modelaug.BSpline:
    arguments: dict[str, Any] = {"sites": SITES, "values": VALUES, "grid": GRID, "tolerance": 0.01} | changes
    return modelaug.fit_bspline(arguments.pop("sites"), arguments.pop("values"), arguments.pop("grid"), **arguments)


def test_lists_and_single_precision_are_taken() -> None:
    where = np.array([[2.0, 2.0], [7.0, 9.0]])
    from_lists = modelaug.fit_bspline(SITES.tolist(), VALUES.tolist(), list(GRID), tolerance=0.01)
    single = modelaug.fit_bspline(SITES.astype(np.float32), VALUES.astype(np.float32), GRID, tolerance=0.01)
    assert np.array_equal(from_lists.at(where.tolist()), _fit().at(where))
    assert np.array_equal(single.at(where), _fit().at(where))


def test_inputs_are_left_alone() -> None:
    sites, values, weights = SITES.copy(), VALUES.copy(), np.ones(5)
    spline = _fit(sites=sites, values=values, weights=weights)
    assert np.array_equal(sites, SITES)
    assert np.array_equal(values, VALUES)
    assert np.array_equal(weights, np.ones(5))
    before = spline.at(SITES)
    sites += 100
    assert np.array_equal(spline.at(SITES), before)


def test_strided_inputs_are_taken() -> None:
    where = SITES[::2]
    found = _fit(sites=SITES[:, ::-1][::-1], values=VALUES[::-1], grid=GRID[::-1]).at(where[:, ::-1])
    np.testing.assert_allclose(found, _fit().at(where), atol=1e-12)


def test_one_site_gives_a_constant() -> None:
    spline = modelaug.fit_bspline([[3.0, 4.0]], [[2.5, -1.0]], GRID, tolerance=1e-12)
    assert spline.levels == 0
    assert spline.converged
    np.testing.assert_allclose(spline.on_grid()[1], np.full(GRID, -1), atol=1e-6)


def test_sites_on_a_line_are_continued_by_constants_across_it() -> None:
    along = np.linspace(0, 7, 6)
    sites = np.column_stack([along, np.full(6, 4.0)])
    spline = modelaug.fit_bspline(sites, 2 * along[:, None] - 1, GRID, tolerance=1e-9)
    assert spline.levels == 0
    np.testing.assert_allclose(spline.on_grid()[0], np.repeat(2 * np.arange(8.0)[:, None] - 1, 10, axis=1), atol=1e-5)


@pytest.mark.parametrize("site", [[0.0, 3.0], [0.1, 0.7], [7.0, 9.0]])
@pytest.mark.parametrize("weights", [None, [0.3, 1.7, 0.9, 5.0, 2.2]])
def test_sites_all_at_one_place_give_their_mean(site: list[float], weights: list[float] | None) -> None:
    # The centroid is off the site by a rounding error, which must not be taken for a direction to fit a slope along.
    values = np.array([1.0, 2.0, 4.0, -3.0, 0.5])
    spline = modelaug.fit_bspline([site] * 5, values[:, None], GRID, tolerance=1e-9, max_levels=1, weights=weights)
    assert not spline.converged
    np.testing.assert_allclose(spline.on_grid(), np.average(values, weights=weights), atol=1e-6)


def test_without_affine_part_a_single_datum_falls_off() -> None:
    # In closed form: per axis (1, 4, 1, 0) . (0, 1, 4, 1) / |(1, 4, 1, 0)|^2 = 4/9 at the other end.
    spline = modelaug.fit_bspline([[0.0, 0.0]], [[1.0]], (65, 65), tolerance=1e-12, max_levels=3, affine=False)
    assert spline.levels == 1
    np.testing.assert_allclose(spline.at([[0, 0], [64, 0], [64, 64]]), [[1], [4 / 9], [16 / 81]], atol=1e-12)


def test_stops_at_the_first_level_that_is_good_enough() -> None:
    reached = [float(_fit(tolerance=0.0, max_levels=n).residuals.max()) for n in range(1, 7)]
    assert reached[-1] < reached[0]
    for n, largest in enumerate(reached, start=1):
        spline = _fit(tolerance=largest * (1 + 1e-9))
        assert spline.converged
        assert spline.levels <= n
        assert all(earlier > largest for earlier in reached[: max(spline.levels - 1, 0)])


def test_upper_corner_belongs_to_the_domain() -> None:
    corner = [[7.0, 9.0]]
    assert np.isfinite(_fit().at(corner)).all()
    with pytest.raises(ValueError, match="points"):
        _fit().at([[7.0, np.nextafter(9, 10)]])


def test_upper_corner_is_interpolated_in_3d() -> None:
    sites = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 6.0], [4.0, 2.0, 6.0]])
    values = np.array([[1.0], [-2.0], [5.0]])
    spline = modelaug.fit_bspline(sites, values, (5, 3, 7), tolerance=1e-9, affine=False)
    assert spline.converged
    np.testing.assert_allclose(spline.at(sites), values, atol=1e-8)


BAD_FITS: list[tuple[str, dict[str, Any]]] = [
    ("sites", {"sites": np.where(SITES == 3.5, np.nan, SITES)}),
    ("sites", {"sites": np.where(SITES == 3.5, np.inf, SITES)}),
    ("sites", {"sites": np.where(SITES == 3.5, -0.001, SITES)}),
    ("sites", {"sites": np.where(SITES == 7.0, 7.001, SITES)}),
    ("sites", {"sites": np.zeros((0, 2)), "values": np.zeros((0, 2))}),
    ("sites", {"sites": SITES[:, :1]}),
    ("sites", {"sites": SITES[:, 0]}),
    ("sites", {"sites": np.hstack([SITES, SITES[:, :1]])}),
    ("sites", {"sites": SITES.astype(str)}),
    ("sites", {"sites": SITES.astype(complex)}),
    ("sites", {"grid": (8, 1)}),
    ("values", {"values": VALUES[:-1]}),
    ("values", {"values": VALUES[:, 0]}),
    ("values", {"values": VALUES[:, :0]}),
    ("values", {"values": np.where(VALUES == 4.0, np.nan, VALUES)}),
    ("values", {"values": VALUES.astype(object)}),
    ("grid", {"grid": (8, 0)}),
    ("grid", {"grid": (8,)}),
    ("grid", {"grid": (8, 10, 4, 4)}),
    ("grid", {"grid": (8, 10.5)}),
    ("grid", {"grid": "wide"}),
    ("tolerance", {"tolerance": -0.1}),
    ("tolerance", {"tolerance": float("nan")}),
    ("tolerance", {"tolerance": "tight"}),
    ("max_levels", {"max_levels": 0}),
    ("max_levels", {"max_levels": 2.5}),
    ("weights", {"weights": np.ones(4)}),
    ("weights", {"weights": np.ones((5, 1))}),
    ("weights", {"weights": np.array([1.0, 1.0, 0.0, 1.0, 1.0])}),
    ("weights", {"weights": np.array([1.0, 1.0, -1.0, 1.0, 1.0])}),
    ("weights", {"weights": np.array([1.0, 1.0, np.nan, 1.0, 1.0])}),
    ("threads", {"threads": 0}),
    ("threads", {"threads": 1.5}),
]


@pytest.mark.parametrize(("argument", "changes"), BAD_FITS)
def test_bad_input_is_refused_by_name(argument: str, changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b") as caught:
        _fit(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "changes"),
    [
        ("points", {"points": [[8.0, 0.0]]}),
        ("points", {"points": [[0.0, -1e-9]]}),
        ("points", {"points": [[np.nan, 0.0]], "outside": "clamp"}),
        ("points", {"points": [[0.0, 0.0, 0.0]]}),
        ("points", {"points": [0.0, 0.0]}),
        ("outside", {"points": [[0.0, 0.0]], "outside": "wrap"}),
    ],
)
def test_bad_points_are_refused_by_name(argument: str, changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b") as caught:
        _fit().at(changes.pop("points"), **changes)
    assert "\n" not in str(caught.value)


def test_bad_thread_count_of_on_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="threads"):
        _fit().on_grid(threads=0)


# The child raises SIGALRM, which ends it even inside a kernel, if threads that fork did not copy are waited for.
FORK_PROGRAM = """
import os, signal, sys
import numpy as np
import modelaug

rng = np.random.Generator(np.random.Philox(7))
sites = rng.uniform(0, 95, size=(300, 2))
values = rng.normal(size=(300, 2))
image = rng.normal(size=(4, 96, 96)).astype(np.float32)

def run():
    spline = modelaug.fit_bspline(sites, values, (96, 96), tolerance=0.0, max_levels=6, threads=2)
    field = spline.on_grid(threads=2)
    return np.concatenate([
        field,
        modelaug.warp(image, field, threads=2),
        modelaug.compose(field, field, threads=2),
        modelaug.invert(field, max_iterations=3, threads=2),
        modelaug.jacobian_determinant(field, threads=2)[None],
    ])

before = run()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if np.array_equal(run(), before) else 1)
_, status = os.waitpid(child, 0)
after = np.array_equal(run(), before)
sys.exit(f"child ended with {status}, parent afterwards equal: {after}" if status or not after else 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_kernels_run_in_a_forked_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK_PROGRAM], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
