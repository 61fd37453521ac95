"""Residual deformations: bounded, without folds, on the lattice they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug import PairOptions, PairSynthesizer, ResidualOptions
from modelaug._random import generator as samples
from modelaug.synthesis.residual import ResidualLattice
from modelaug.transforms.diffeomorphic import LandmarkMap
from tests.examples import one_line, plane_model, volume_model
from tests.properties.strategies import generator, grids, seeds
from tests.reference import bspline


@given(grids(smallest=2), seeds, st.floats(0.0, 1.0), st.sampled_from(["corners", "uniform"]))
def test_no_draw_folds_or_goes_farther_than_its_amplitude(
    grid: tuple[int, ...], seed: int, share: float, kind: str
) -> None:
    rng = generator(seed)
    spacing = rng.uniform(0.5, 2.0, size=len(grid))
    narrowest = ((np.array(grid) - 1) * spacing).min()
    distance = rng.uniform(0.2, 1.0) * narrowest
    options = ResidualOptions(amplitude=0.4 * share * distance, spacing=distance)
    lattice = ResidualLattice(options, grid, spacing)
    numbers = lattice.numbers(rng, len(grid))
    if kind == "corners":
        numbers = np.sign(numbers)
    step = lattice.coefficients(numbers)
    chi = LandmarkMap((step,), np.eye(len(grid), len(grid) + 1), grid, np.zeros(1))
    assert chi.is_one_to_one()
    moved = chi.displacement() * spacing.reshape(-1, *(1 for _ in grid))
    assert np.abs(moved).max() <= options.amplitude + 1e-5


def test_control_points_are_at_least_a_spacing_apart() -> None:
    options = ResidualOptions(1.0, 10.0)
    assert ResidualLattice(options, (101, 58, 1), np.array([1.0, 0.5, 3.0])).nodes == (13, 5, 4)
    assert ResidualLattice(options, (3, 9), np.array([4.0, 4.0])).nodes == (4, 6)


@pytest.mark.parametrize("model", [plane_model, volume_model], ids=["plane", "space"])
def test_images_are_deformed_before_the_model_moves_them(model: Any) -> None:
    """An image shows what the plain one does at x + r(x), r the lattice's B-spline of uniform numbers in mm."""
    fitted = model()
    d, grid, mm = len(fitted.grid), fitted.grid, fitted.spacing
    extent = float(((np.array(grid) - 1) * mm).min())
    options = ResidualOptions(amplitude=0.1 * extent, spacing=0.4 * extent)
    plain = PairSynthesizer(fitted, seed=2)
    deformed = PairSynthesizer(fitted, seed=2, options=PairOptions(residual=options))
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, size=(40, d)) * (np.array(grid) - 1)
    nodes = ResidualLattice(options, grid, mm).nodes
    # At the first attempt nothing but the residual's own numbers may differ.
    index = next(
        i for i in range(50) if plain.geometry(i).info["attempts"] == deformed.geometry(i).info["attempts"] == 1
    )
    numbers = samples(2, index, stream=1).uniform(-1, 1, size=(2, d, *nodes))
    for i in range(2):
        control = numbers[i] * (options.amplitude / mm).reshape(-1, *(1 for _ in grid))
        r = bspline.evaluate(control, points, grid)
        before, after = (each.geometry(index).maps[i] for each in (plain, deformed))
        np.testing.assert_allclose(after.at(points), before.at(points + r), atol=1e-3)
        last = before.at(points) + r
        assert np.abs(after.at(points) - last).max() > 0.05


@pytest.mark.parametrize(
    ("amplitude", "spacing", "start"),
    [
        (-1, 10, "amplitude is -1"),
        (1, 0, "spacing is 0"),
        (4.1, 10, "amplitude is 4.1 mm"),
        ("1", 10, "amplitude is '1'"),
    ],
)
def test_bad_options_are_refused_in_one_line(amplitude: Any, spacing: Any, start: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        ResidualOptions(amplitude, spacing)
    assert one_line(caught.value).startswith(start)


@pytest.mark.parametrize("spacing", [1e-3, 1e-9, 1e-300])
def test_a_lattice_that_is_too_fine_is_refused(spacing: float) -> None:
    with pytest.raises(ValueError, match=r"^spacing is .* too small for an image of") as caught:
        PairSynthesizer(plane_model(), options=PairOptions(residual=ResidualOptions(0.0, spacing)))
    one_line(caught.value)


def test_an_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"too large for an image of") as caught:
        PairSynthesizer(plane_model(), options=PairOptions(residual=ResidualOptions(30.0, 100.0)))
    one_line(caught.value)
