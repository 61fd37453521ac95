"""Where voxels lie: against loops over all voxels, with rotations, shears of order and voxels that are no cubes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from modelaug.data.geometry import voxels_apart
from modelaug.io import Geometry

GRID = (5, 7, 6)
TURN = Rotation.from_rotvec([0.3, -0.4, 0.5]).as_matrix()


def placed(geometry: Geometry, index: tuple[int, ...]) -> np.ndarray:
    """Return where a voxel (plane, row, column) lies, (x, y, z), step by step."""
    position = geometry.origin.copy()
    for axis, count in enumerate(index):
        column = len(index) - 1 - axis  # the last array axis is x
        position += count * geometry.spacing[axis] * geometry.direction[:, column]
    return position


def test_positions_are_those_of_steps_along_the_axes() -> None:
    geometry = Geometry((3.0, 2.0, 0.5), (10.0, -20.0, 5.0), TURN)
    voxels = np.array(list(np.ndindex(*GRID)))
    expected = np.array([placed(geometry, tuple(each)) for each in voxels])
    np.testing.assert_allclose(geometry.to_space(voxels), expected, atol=1e-9)
    np.testing.assert_allclose(geometry.to_voxels(expected), voxels, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 0.02, -0.3])
def test_how_far_grids_lie_apart_is_the_largest_distance_along_an_axis(angle: float) -> None:
    """Turned about the middle, where nothing moves: what counts is far from there."""
    one = Geometry((3.0, 2.0, 0.5), (10.0, -20.0, 5.0), TURN)
    turn = Rotation.from_rotvec([0, 0, angle]).as_matrix()
    middle = placed(one, GRID) - placed(one, (0, 0, 0))
    middle = one.origin + (middle - one.matrix.sum(axis=1)) / 2
    other = Geometry(one.spacing, middle + turn @ (one.origin - middle), turn @ TURN)
    away = [
        np.abs(np.linalg.solve(other.matrix, placed(one, index) - other.origin)[::-1] - index).max()
        for index in np.ndindex(*GRID)
    ]
    assert voxels_apart(GRID, one, other) == pytest.approx(max(away), abs=1e-9)
    assert (max(away) > 0.05) == (angle != 0)
