"""The oracles themselves, against scipy, numpy and their own definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import BSpline as ScipyBSpline

from tests.reference import bspline, fields, warp


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def test_basis_is_the_cubic_cardinal_spline() -> None:
    cardinal = ScipyBSpline.basis_element(np.arange(5.0), extrapolate=False)
    for t in np.linspace(0, 1, 9)[:-1]:
        np.testing.assert_allclose(bspline.basis(t), cardinal(t + np.array([3.0, 2.0, 1.0, 0.0])), atol=1e-15)
        step = 1e-6
        slope = (bspline.basis(t + step) - bspline.basis(t - step)) / (2 * step)
        np.testing.assert_allclose(bspline.basis_derivative(t), slope, atol=1e-9)


@pytest.mark.parametrize("grid", [(7, 10), (5, 4, 6), (1, 6)])
def test_refined_lattice_evaluates_identically(grid: tuple[int, ...]) -> None:
    rng = _rng(1)
    cells = tuple(1 if n == 1 else 3 for n in grid)
    lattice = rng.normal(size=(2, *(n + 3 for n in cells)))
    refined = lattice
    for axis, length in enumerate(grid):
        if length > 1:
            refined = bspline.refine(refined, axis + 1)
    corners = np.array(list(np.ndindex(*(2 for _ in grid)))) * (np.array(grid) - 1.0)
    points = np.concatenate([corners, rng.uniform(size=(30, len(grid))) * (np.array(grid) - 1.0)])
    np.testing.assert_allclose(
        bspline.evaluate(refined, points, grid), bspline.evaluate(lattice, points, grid), atol=1e-12
    )


def test_one_datum_is_interpolated_with_the_least_coefficients() -> None:
    site, value = np.array([[2.3, 4.0]]), np.array([[1.5, -2.0]])
    lattice = bspline.approximate(site, value, (6, 5), (2, 2), np.ones(1))
    np.testing.assert_allclose(bspline.evaluate(lattice, site, (6, 5)), value, atol=1e-14)
    row = np.array([bspline.evaluate(unit, site, (6, 5))[0, 0] for unit in np.eye(25).reshape(25, 1, 5, 5)])
    np.testing.assert_allclose(lattice.reshape(2, -1), value.T * row / (row @ row), atol=1e-14)


def test_gradient_of_the_spline_is_its_slope() -> None:
    rng = _rng(2)
    grid, step = (9, 6), 1e-6
    lattice = rng.normal(size=(1, 7, 7))
    points = rng.uniform(0.1, 4.9, size=(20, 2))
    for axis in range(2):
        shift = step * np.eye(2)[axis]
        difference = bspline.evaluate(lattice, points + shift, grid) - bspline.evaluate(lattice, points - shift, grid)
        np.testing.assert_allclose(
            bspline.evaluate(lattice, points, grid, derivative=axis), difference / (2 * step), atol=1e-8
        )


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("grid", [(6, 7), (4, 3, 5), (2, 5)])
def test_warp_agrees_with_scipy_inside(grid: tuple[int, ...], order: int) -> None:
    rng = _rng(order)
    image = rng.normal(size=(1, *grid))
    target = rng.uniform(size=(len(grid), *grid)) * (np.array(grid) - 1.0).reshape(-1, *(1 for _ in grid))
    expected = ndimage.map_coordinates(image[0], target, order=order, mode="mirror")
    np.testing.assert_allclose(warp.warp(image, target - np.indices(grid), order=order)[0], expected, atol=1e-12)


def test_warp_border_agrees_with_scipy() -> None:
    rng = _rng(4)
    image = rng.normal(size=(1, 5, 6))
    displacement = rng.uniform(-4, 4, size=(2, 5, 6))
    expected = ndimage.map_coordinates(image[0], np.indices((5, 6)) + displacement, order=1, mode="nearest")
    np.testing.assert_allclose(warp.warp(image, displacement)[0], expected, atol=1e-12)


def test_jacobian_determinant_is_that_of_numpy_gradient() -> None:
    u = _rng(5).normal(size=(3, 4, 5, 2))
    matrix = np.stack([np.stack(np.gradient(component), axis=-1) for component in u], axis=-2)
    np.testing.assert_allclose(fields.jacobian_determinant(u), np.linalg.det(matrix + np.eye(3)), atol=1e-12)


def test_inverse_of_a_contraction_is_an_inverse() -> None:
    u = _rng(6).uniform(-0.2, 0.2, size=(2, 6, 5))
    assert fields.inversion_residual(u, fields.invert(u)).max() < 1e-12
