"""Motions: how large they are, in the plane and in space, and what they keep."""

from __future__ import annotations

import numpy as np
import pytest

from modelaug._random import generator
from modelaug.baselines import Motion

CENTER = np.array([30.0, 20.0, 25.0])


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_motions_have_the_deviations_asked_for(power: float, d: int) -> None:
    motion = Motion(translation=0.05, rotation=6.0, zoom=0.1, stretch=0.0, power=power, limit=20.0)
    center, size = CENTER[:d], 64.0
    drawn = np.array([motion.draw(generator(0, i), center, size) for i in range(6000)])
    moved = drawn[:, :, :d] @ center + drawn[:, :, d] - center
    zooms = np.log(np.linalg.det(drawn[:, :, :d])) / d
    turns = drawn[:, :, :d] / np.exp(zooms)[:, None, None]
    if d == 2:
        angles = np.arctan2(turns[:, 1, 0], turns[:, 0, 0])
    else:
        # The parts of the vectors along the axes have a third of the angles' variance.
        angles = np.sqrt(3) * 0.5 * (turns[:, 1, 0] - turns[:, 0, 1])
    for values, sd in ((moved[:, 0], 3.2), (moved[:, d - 1], 3.2), (zooms, 0.1), (np.degrees(angles), 6.0)):
        assert values.mean() == pytest.approx(0.0, abs=0.06 * sd)
        assert values.std() == pytest.approx(sd, rel=0.1 if power < 3 else 0.3)
    # The median of |z|^power over its deviation: the larger the power, the more are small.
    z = np.abs(np.random.Generator(np.random.Philox(1)).standard_normal(100_000)) ** power
    total = np.degrees(np.arccos(np.clip((np.trace(turns, axis1=1, axis2=2) - d + 2) / 2, -1, 1)))
    for values, sd in ((moved[:, 0], 3.2), (zooms, 0.1), (total, 6.0)):
        assert np.median(np.abs(values)) == pytest.approx(sd * np.median(z) / np.sqrt((z**2).mean()), rel=0.2)


@pytest.mark.parametrize("d", [2, 3])
def test_a_stretch_is_along_one_direction_and_keeps_volumes(d: int) -> None:
    motion = Motion(translation=0.0, rotation=0.0, zoom=0.0, stretch=0.1, power=1.0)
    strains, directions = [], []
    for index in range(3000):
        linear = motion.draw(generator(2, index), CENTER[:d], 64.0)[:, :d]
        np.testing.assert_allclose(linear, linear.T, atol=1e-12)
        values, vectors = np.linalg.eigh(linear)
        assert np.prod(values) == pytest.approx(1.0)
        # In space the one that is longer or shorter than the two others, which are equal.
        along = np.argmax(np.abs(np.log(values)))
        across = np.delete(values, along)
        np.testing.assert_allclose(across, values[along] ** (-1 / (d - 1)), rtol=1e-9)
        strains.append(np.log(values[along]))
        directions.append(vectors[:, along])
    assert np.std(strains) == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(np.transpose(directions) @ directions / 3000, np.eye(d) / d, atol=0.05)


@pytest.mark.parametrize("d", [2, 3])
def test_no_motion_is_beyond_its_limit(d: int) -> None:
    motion = Motion(translation=0.1, rotation=20.0, zoom=0.2, stretch=0.2, power=4.0, limit=1.5)
    for index in range(300):
        drawn = motion.draw(generator(1, index), CENTER[:d], 10.0)
        moved = drawn[:, :d] @ CENTER[:d] + drawn[:, d] - CENTER[:d]
        assert np.abs(moved).max() <= 1.5 + 1e-9
        values = np.linalg.svd(drawn[:, :d], compute_uv=False)
        assert np.abs(np.log(values)).max() <= 0.6 + 1e-9
        assert abs(np.log(values).mean()) <= 0.3 + 1e-9


@pytest.mark.parametrize("d", [2, 3])
def test_no_motion_at_all_is_the_identity(d: int) -> None:
    still = Motion(translation=0.0, rotation=0.0, zoom=0.0, stretch=0.0).draw(generator(3, 0), CENTER[:d], 64.0)
    np.testing.assert_array_equal(still, np.eye(d, d + 1))
