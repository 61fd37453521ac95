"""Random maps: the splines they are made of, what they promise to do and not to do, and their statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelaug
from modelaug.baselines.deformations import Deformations
from modelaug.transforms.lattices import InterpolatingLattice
from tests.properties.strategies import grids, seeds


@given(grids(), seeds, st.integers(1, 2), st.floats(0.0, 0.3))
def test_maps_do_not_fold_and_the_flow_is_their_correspondence(
    grid: tuple[int, ...], seed: int, steps: int, strain: float
) -> None:
    lattices = [InterpolatingLattice(grid, 3 + k) for k in range(steps)]
    parts = [(lattice, strain * (np.array(grid) - 1.0) / (lattice.points[0] + 1)) for lattice in lattices]
    drawn = Deformations(grid, parts, seed=seed, max_attempts=5).draw(0)
    fixed, moving = drawn.maps
    voxels = np.indices(grid).reshape(len(grid), -1).T.astype(np.float64)
    partners = voxels + drawn.flow.reshape(len(grid), -1).T
    np.testing.assert_allclose(moving.at(partners), fixed.at(voxels), atol=0.0101)
    for field in (drawn.flow, *drawn.displacements):
        assert modelaug.jacobian_determinant(field).min() > 0
    upper = np.array(grid) - 1
    inside = ((partners >= -1e-3) & (partners <= upper + 1e-3)).all(axis=1)
    assert inside[drawn.inside.ravel()].all()
    assert drawn.info["outside"] == (~drawn.inside).sum()
    still = np.array(grid) == 1
    assert not drawn.flow[still].any()
    landmarks = np.stack([0.3 * upper, 0.6 * upper])
    for chi, shown in zip(drawn.maps, drawn.shown(landmarks), strict=True):
        np.testing.assert_allclose(chi.at(shown), landmarks, atol=1e-3)


def test_displacements_have_the_deviation_asked_for_at_the_nodes() -> None:
    grid, sd = (17, 25), np.array([0.5, 1.0])
    source = Deformations(grid, [(InterpolatingLattice(grid, 3), sd)], seed=0, max_attempts=5)
    drawn = [source.draw(i) for i in range(300)]
    assert all(pair.info["attempts"] == 1 for pair in drawn)
    nodes = np.stack([u[:, ::8, ::12] for pair in drawn for u in pair.displacements])
    assert nodes.shape == (600, 2, 3, 3)
    # 5400 numbers for each component: their deviation is known to 1 %.
    np.testing.assert_allclose(nodes.std(axis=(0, 2, 3)), sd, rtol=0.04)
    np.testing.assert_allclose(nodes.mean(axis=(0, 2, 3)), 0.0, atol=0.05)


def test_a_rejected_draw_is_made_anew_and_leaves_the_others_alone() -> None:
    grid = (24, 24)
    parts = [(InterpolatingLattice(grid, 4), np.full(2, 1.6))]
    patient, hasty = (Deformations(grid, parts, seed=5, max_attempts=n) for n in (200, 1))
    drawn = [patient.draw(i) for i in range(20)]
    attempts = [pair.info["attempts"] for pair in drawn]
    assert max(attempts) > 1
    assert all(pair.info["shrink"] == 1.0 for pair in drawn)
    for i, pair in enumerate(drawn):
        again = hasty.draw(i)
        assert (again.info["shrink"] == 1.0) == (pair.info["attempts"] == 1)
        assert np.array_equal(again.flow, pair.flow) == (pair.info["attempts"] == 1)


@pytest.mark.parametrize("sd", [50.0, 1e6])
def test_what_always_folds_is_shrunk(sd: float) -> None:
    grid = (20, 13)
    source = Deformations(grid, [(InterpolatingLattice(grid, 5), np.full(2, sd))], seed=0, max_attempts=2)
    pair = source.draw(0)
    assert pair.info["attempts"] == 2
    assert 0.0 <= pair.info["shrink"] < 0.5
    assert modelaug.jacobian_determinant(pair.flow).min() > 0
