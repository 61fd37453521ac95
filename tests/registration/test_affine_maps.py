"""The map of an affine registration in voxels, as a displacement, and in space: against points moved one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from modelaug.io import Geometry
from modelaug.registration import estimate_affine
from modelaug.registration.affine import AffineMap
from tests.examples import philox


def geometries(d: int) -> tuple[Geometry, Geometry]:
    """Return two geometries with directions that no axis of space has, and voxels that are no cubes."""
    turns = [Rotation.from_rotvec(v).as_matrix() for v in ([0.4, -0.2, 0.7], [-0.3, 0.5, 0.1])]
    if d == 2:
        turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in (0.5, -0.3)]
    fixed, moving = turns
    return (
        Geometry((3.0, 1.5, 0.8)[:d], (10.0, -4.0, 7.0)[:d], fixed),
        Geometry((2.0, 0.9, 1.1)[:d], (-3.0, 12.0, 1.0)[:d], moving),
    )


@pytest.mark.parametrize("d", [2, 3])
def test_in_space_the_map_leads_to_the_same_places(d: int) -> None:
    rng, grid = philox(d), (6, 5, 7)[:d]
    fixed, moving = geometries(d)
    matrix = np.column_stack([np.eye(d) + 0.3 * rng.normal(size=(d, d)), rng.normal(size=d)])
    found = AffineMap(matrix, grid, 1.0, "overlay")
    u, in_space = found.displacement(), found.in_space(fixed, moving)
    for index in np.ndindex(*grid):
        target = matrix[:, :d] @ np.array(index) + matrix[:, d]
        np.testing.assert_allclose(index + u[(slice(None), *index)], target, atol=1e-5)
        here, there = fixed.to_space([index])[0], moving.to_space([target])[0]
        np.testing.assert_allclose(in_space[:, :d] @ here + in_space[:, d], there, atol=1e-9)


def test_images_that_lie_in_the_same_place_are_left_there() -> None:
    """One picture on two grids, turned against each other: the map between voxels is that of their geometries."""

    def centred(spacing: tuple[float, float], grid: tuple[int, int], angle: float) -> Geometry:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = (np.array(spacing) * (np.array(grid) - 1) / 2)[::-1]
        return Geometry(spacing, -turn @ middle, turn)

    fixed_geometry, moving_geometry = centred((1.4, 1.1), (36, 44), 0.3), centred((1.0, 1.2), (54, 46), -0.1)

    centres, heights = 24 * (philox(1).random((40, 2)) - 0.5), philox(2).normal(size=40)

    def picture(geometry: Geometry, grid: tuple[int, int]) -> np.ndarray:
        positions = geometry.to_space(np.indices(grid).reshape(2, -1).T)
        away = np.linalg.norm(positions[:, None] - centres, axis=2)
        return np.asarray(np.exp(-(away**2) / 18) @ heights).reshape(grid)

    fixed, moving = picture(fixed_geometry, (36, 44)), picture(moving_geometry, (54, 46))
    found = estimate_affine(fixed, moving, geometry=fixed_geometry, moving_geometry=moving_geometry, transform="rigid")
    voxels = np.array([(10, 12), (18, 30), (25, 20)], float)
    expected = moving_geometry.to_voxels(fixed_geometry.to_space(voxels))
    np.testing.assert_allclose(voxels @ found.matrix[:, :2].T + found.matrix[:, 2], expected, atol=0.3)
