"""Pairs of real subjects: every one once an epoch, registered once, cached by what they are made of."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import Cohort, ModelFileError, warp, warp_points
from modelaug.baselines import RegisteredPairs, VariationalOptions, register_syn, registered_pairs
from modelaug.baselines.registered_pairs import affine_displacement
from modelaug.evaluation import landmark_error
from tests.examples import hearts, one_line, philox, plane, volume

QUICK = VariationalOptions(levels=2, iterations=6)
THREE = hearts().subset(range(3))


@pytest.mark.parametrize("cohort", [plane().subset(range(4)), volume().subset(range(3))], ids=["plane", "volume"])
def test_pairs_are_real_and_flow_leads_from_fixed_to_moving(cohort: Cohort) -> None:
    source = RegisteredPairs(cohort, options=VariationalOptions(alpha=2.0, iterations=20))
    for index in range(3):
        pair = source.draw(index)
        fixed, moving = pair.info["fixed"], pair.info["moving"]
        np.testing.assert_array_equal(pair.fixed, cohort.images[fixed])
        np.testing.assert_array_equal(pair.moving, cohort.images[moving])
        np.testing.assert_array_equal(pair.landmarks_moving, cohort.landmarks[moving])
        assert cohort.labels is not None
        np.testing.assert_array_equal(pair.labels_fixed, cohort.labels[fixed])
        before = landmark_error(pair.landmarks_fixed, pair.landmarks_moving)
        after = landmark_error(warp_points(pair.landmarks_fixed, pair.flow), pair.landmarks_moving)
        assert after < 0.5 * before
        shown = np.stack([warp(channel, pair.flow) for channel in pair.moving])
        assert np.abs(shown - pair.fixed).mean() < 0.7 * np.abs(pair.moving - pair.fixed).mean()
        assert 0 <= pair.weight.min() < pair.weight.max() == 1


def test_an_epoch_has_every_pair_once_and_another_order() -> None:
    source = RegisteredPairs(THREE, options=QUICK, seed=4)
    infos = [source.draw(i).info for i in range(12)]
    drawn = [(info["fixed"], info["moving"]) for info in infos]
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == sorted(permutations(range(3), 2))
    assert drawn[:6] != drawn[6:]
    other = RegisteredPairs(THREE, options=QUICK, seed=5)
    assert drawn != [tuple(other.draw(i).info.values()) for i in range(12)]


def test_a_pair_is_a_function_of_its_index() -> None:
    source = RegisteredPairs(THREE, options=QUICK)
    indices = [2**40 - 1, 0, 7, 3]
    batch = source.batch(indices, threads=2)
    for k, index in enumerate(indices):
        alone = RegisteredPairs(THREE, options=QUICK).draw(index)
        for name in ("fixed", "moving", "flow", "weight", "landmarks_fixed", "labels_moving"):
            np.testing.assert_array_equal(getattr(batch, name)[k], getattr(alone, name))


def test_weight_is_nothing_where_the_partner_is_outside() -> None:
    cohort = THREE
    source = RegisteredPairs(cohort, options=QUICK)
    pair = source.draw(0)
    at = np.indices(cohort.grid) + pair.flow
    outside = (at < 0).any(axis=0) | (at > np.array(cohort.grid).reshape(2, 1, 1) - 1).any(axis=0)
    assert (pair.weight[outside] == 0).all()


def test_the_cache_is_shared_by_folds_and_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hearts().subset(range(4))
    first = RegisteredPairs(whole.subset([0, 1, 2]), options=QUICK, cache=tmp_path, threads=2)
    seen: list[tuple[int, int]] = []
    first.register(lambda done, total: seen.append((done, total)))
    assert seen == [(k, 6) for k in range(1, 7)]
    assert len(list(tmp_path.iterdir())) == 6
    registered = []
    original = registered_pairs.register_variational

    def counting(*images: Any, **options: Any) -> Any:
        registered.append(1)
        return original(*images, **options)

    monkeypatch.setattr(registered_pairs, "register_variational", counting)
    second = RegisteredPairs(whole.subset([3, 2, 1]), options=QUICK, cache=tmp_path)
    second.register()
    assert len(registered) == 4  # those of the new subject
    np.testing.assert_array_equal(first.displacement((1, 2)), second.displacement((2, 1)))
    RegisteredPairs(whole.subset([3, 2, 1]), options=VariationalOptions(iterations=2), cache=tmp_path).draw(0)
    assert len(registered) == 5  # other options, other files


def test_a_broken_cache_is_one_line(tmp_path: Path) -> None:
    source = RegisteredPairs(THREE, options=QUICK, cache=tmp_path)
    source.displacement((0, 1))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    for broken in (content[:50], content[: len(content) // 2], b""):
        path.write_bytes(broken)
        with pytest.raises(ModelFileError, match="remove it") as caught:
            source.displacement((0, 1))
        one_line(caught.value)
    np.save(path, np.zeros((2, 3, 3), np.float32))
    with pytest.raises(ModelFileError, match="no such displacement"):
        source.displacement((0, 1))


@pytest.mark.parametrize("d", [2, 3])
def test_affine_maps_are_found_exactly(d: int) -> None:
    rng = philox(d)
    points = rng.uniform(0, 20, size=(12, d))
    matrix, shift = np.eye(d) + rng.normal(scale=0.1, size=(d, d)), rng.normal(size=d)
    grid = (9, 12, 7)[:d]
    found = affine_displacement(points, points @ matrix.T + shift, grid)
    x = np.moveaxis(np.indices(grid), 0, -1)
    np.testing.assert_allclose(np.moveaxis(found, 0, -1), x @ matrix.T + shift - x, atol=1e-5)


def test_affine_maps_of_other_landmarks_are_least_squares() -> None:
    rng = philox(0)
    fixed, moving = rng.uniform(0, 9, size=(2, 15, 2))
    field = affine_displacement(fixed, moving, (10, 10))

    def cost(extra: np.ndarray) -> float:
        found = warp_points(fixed, field) + fixed @ extra[:2] + extra[2]
        return float(((found - moving) ** 2).sum())

    best = cost(np.zeros((3, 2)))
    assert all(cost(rng.normal(scale=1e-3, size=(3, 2))) >= best - 1e-6 for _ in range(50))


def test_bad_input() -> None:
    line = Cohort(THREE.images, np.stack([np.stack([np.arange(3.0), np.arange(3.0)], 1)] * 3))
    for call in (
        lambda: RegisteredPairs(THREE.subset([0])),
        lambda: RegisteredPairs(line),
        lambda: RegisteredPairs(THREE, seed=-1),
        lambda: RegisteredPairs(THREE, options=QUICK).draw(-1),
    ):
        with pytest.raises(ValueError, match=r"pass|needs") as caught:
            call()
        one_line(caught.value)
    for call in (lambda: RegisteredPairs(THREE.images), lambda: RegisteredPairs(THREE, options={"alpha": 1})):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="pass"):
            call()


@pytest.mark.parametrize("affine", [True, False])
def test_syn_finds_a_shift_in_the_same_convention(affine: bool) -> None:
    pytest.importorskip("ants")
    image = hearts().images[0, 0]
    shift = np.stack([np.full(image.shape, 3.0), np.full(image.shape, -2.0)]).astype(np.float32)
    found = register_syn(warp(image, shift), image, spacing=(1.5, 1.0), affine=affine)
    inside = np.s_[:, 12:-12, 12:-12]
    assert np.abs(found - shift)[inside].mean() < 0.5


def test_syn_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ants", None)
    with pytest.raises(ModuleNotFoundError, match="pip install antspyx"):
        register_syn(np.eye(8), np.eye(8))
