"""Real pairs in training: which they are, what their loss is, that they teach, and that runs go on exactly."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from modelaug import Cohort, ResidualOptions, phantoms, warp
from modelaug.data.resampling import resize_cohort
from modelaug.learning import (
    AffineRanges,
    AugmentOptions,
    LossOptions,
    PyramidNetwork,
    RealOptions,
    TrainOptions,
    load_network,
    read_card,
    recommended_options,
    register,
    scale_intensity,
    train,
)
from modelaug.learning.augmentation import draw_maps
from modelaug.learning.losses import diffusion, local_correlation, mean_squares, soft_dice
from modelaug.learning.real import RealPairs, alignment_loss, memberships
from modelaug.synthesis import Pair
from tests.learning.runs import Untouchable, check_same

HEARTS = resize_cohort(phantoms.heart(4, shape=(48, 48), seed=2), (32, 32))
BLOBS = resize_cohort(phantoms.blobs3d(3, seed=1), (16, 20, 18))


class Still:
    """Pairs of two noise images that nothing is to be learned from: their weight is 0 but for one voxel."""

    def __init__(self, grid: tuple[int, ...], *, labels: bool = True) -> None:
        self.grid, self.labels = grid, labels

    def draw(self, index: int) -> Pair:
        rng = np.random.Generator(np.random.Philox(key=1, counter=[0, 0, 0, index]))
        fixed, moving = rng.random((2, 1, *self.grid), dtype=np.float32)
        weight = np.zeros(self.grid, np.float32)
        weight[(0,) * len(self.grid)] = 1e-3
        labels: dict[str, Any] = {}
        if self.labels:
            labels = {name: (fixed[0] > 0.5).astype(np.uint8) for name in ("labels_fixed", "labels_moving")}
        points = np.zeros((1, len(self.grid)))
        return Pair(fixed, moving, np.zeros((len(self.grid), *self.grid), np.float32), weight, points, points, **labels)


def small(d: int = 2) -> PyramidNetwork:
    return PyramidNetwork(d, width=0.25, levels=2, radius=2)


def test_pairs_are_two_different_subjects_and_pure_functions_of_their_index() -> None:
    pairs, again, other = RealPairs(HEARTS, seed=3), RealPairs(HEARTS, seed=3), RealPairs(HEARTS, seed=4)
    drawn = [pairs.subjects(i) for i in range(200)]
    assert drawn == [again.subjects(i) for i in range(200)]
    assert drawn != [other.subjects(i) for i in range(200)]
    assert set(drawn) == {(i, j) for i in range(4) for j in range(4) if i != j}
    (image1, image2), (members1, members2) = pairs.batch([5, 7])
    for k, index in enumerate((5, 7)):
        fixed, moving = pairs.subjects(index)
        assert np.array_equal(image1[k], HEARTS.images[fixed])
        assert np.array_equal(image2[k], HEARTS.images[moving])
        for subject, members in ((fixed, members1), (moving, members2)):
            assert HEARTS.labels is not None
            rebuilt = sum(label * members[k, i].numpy() for i, label in enumerate(pairs.label_ids))
            assert np.array_equal(rebuilt, HEARTS.labels[subject])


def test_structures_are_all_labels_but_the_background() -> None:
    assert HEARTS.labels is not None
    labels = np.where(HEARTS.labels == 2, 9, HEARTS.labels)
    pairs = RealPairs(Cohort(HEARTS.images, HEARTS.landmarks, labels=labels))
    assert pairs.label_ids == (1, 3, 9)
    _, members = pairs.batch([3])
    for subject, found in zip(pairs.subjects(3), members, strict=True):
        assert np.array_equal(found[0].numpy(), np.stack([labels[subject] == label for label in (1, 3, 9)]))


MOVING = AugmentOptions(common=AffineRanges(0.1, 20, 0.1), flips=0.5, seed=2)
ELASTIC = ResidualOptions(amplitude=2.5, spacing=7)


def drawn(cohort: Cohort) -> Cohort:
    """Return a cohort whose images are its labels."""
    assert cohort.labels is not None
    images = cohort.labels[:, None].astype(np.float32)
    return Cohort(images, cohort.landmarks, labels=cohort.labels, spacing=cohort.spacing)


@pytest.mark.parametrize("cohort", [HEARTS, BLOBS], ids=["plane", "space"])
@pytest.mark.parametrize(
    "how",
    [{"augment": MOVING}, {"residual": ELASTIC}, {"augment": MOVING, "residual": ELASTIC}],
    ids=lambda h: "+".join(h),
)
def test_images_and_structures_move_alike(cohort: Cohort, how: dict[str, Any]) -> None:
    pairs = RealPairs(drawn(cohort), seed=1)
    still, whole = pairs.batch([4, 9]), pairs.batch([4, 9], **how)
    (alone, _), (alone_members, _) = pairs.batch([9], **how)
    assert torch.equal(whole[0][0][1:], alone)
    assert torch.equal(whole[1][0][1:], alone_members)
    ids = torch.tensor(pairs.label_ids).reshape(1, -1, *(1 for _ in cohort.grid))
    for image, before, members in zip(whole[0], still[0], whole[1], strict=True):
        # Interpolation is linear, so what holds in the cohort holds everywhere.
        torch.testing.assert_close(image, (ids * members).sum(1, keepdim=True))
        assert not torch.equal(image, before)


@pytest.mark.parametrize("cohort", [HEARTS, BLOBS], ids=["plane", "space"])
def test_deformations_come_before_the_other_movement(cohort: Cohort) -> None:
    """``image(g(x + u(x)))``, with u the B-spline of uniform numbers, no larger than the amplitude."""
    pairs, d = RealPairs(cohort), len(cohort.grid)
    coordinates = np.stack(np.meshgrid(*(np.arange(float(n)) for n in cohort.grid), indexing="ij")).astype(np.float32)
    ramps = Cohort(np.stack([coordinates] * len(cohort)), cohort.landmarks, spacing=cohort.spacing)
    seen = RealPairs(ramps).batch([6], residual=ELASTIC)[0]
    centre = (np.array(cohort.grid).reshape(-1, *(1 for _ in cohort.grid)) - 1) / 2
    maps = draw_maps(MOVING, [6], cohort.grid)
    both = pairs.batch([6], augment=MOVING, residual=ELASTIC)[0]
    reach = ELASTIC.amplitude / np.asarray(cohort.spacing)
    for i, subject in enumerate(pairs.subjects(6)):
        # An image of coordinates shows x + u(x), as far as that lies inside.
        u = seen[i][0].numpy() - coordinates
        assert (np.abs(u).reshape(d, -1).max(axis=1) <= reach + 1e-4).all()
        assert np.abs(u).max() > 0.2 * reach.min()
        m = maps[i][0]
        points = np.einsum("ij,j...->i...", m[:, :d], coordinates + u - centre)
        points += m[:, d].reshape(centre.shape) + centre
        expected = warp(cohort.images[subject], (points - coordinates).astype(np.float32))
        inner = (slice(None), *(slice(4, n - 4) for n in cohort.grid))  # where nothing was cut off at the border
        np.testing.assert_allclose(both[i][0].numpy()[inner], expected[inner], atol=2e-3 * np.ptp(expected))
    assert not torch.equal(seen[0], seen[1])


def test_deformations_that_would_fold_are_refused() -> None:
    pairs = RealPairs(HEARTS)
    with pytest.raises(ValueError, match="amplitude is 390 mm"):
        pairs.batch([0], residual=ResidualOptions(amplitude=390, spacing=1000))
    with pytest.raises(TypeError, match="residual is 3; pass ResidualOptions"):
        RealOptions(residual=3)  # type: ignore[arg-type]


def test_memberships_of_ids_that_do_not_follow_each_other() -> None:
    found = memberships(torch.tensor([[[0, 7], [200, 7]]]), torch.tensor([7, 200]))
    assert found.tolist() == [[[[0, 1], [0, 1]], [[0, 0], [1, 0]]]]


@pytest.mark.parametrize("cohort", [HEARTS, BLOBS], ids=["plane", "space"])
def test_the_loss_is_the_sum_of_its_parts(cohort: Cohort) -> None:
    (image1, image2), (members1, members2) = RealPairs(cohort).batch([0, 1])
    d = len(cohort.grid)
    image1, image2 = (scale_intensity(image, ndim=d) for image in (image1, image2))
    u = 0.5 * torch.randn(2, d, *cohort.grid, generator=torch.Generator().manual_seed(0))
    warped = torch.stack([torch.from_numpy(warp(i.numpy(), v.numpy())) for i, v in zip(image2, u, strict=True)])
    moved = torch.stack([torch.from_numpy(warp(m.numpy(), v.numpy())) for m, v in zip(members2, u, strict=True)])
    options = RealOptions(similarity_weight=2, overlap=3, smoothness=5, radius=2)
    expected = 2 * local_correlation(image1, warped, 2) + 3 * soft_dice(members1, moved) + 5 * diffusion(u)
    found = alignment_loss((image1, image2), (members1, members2), u, options)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    squares = dataclasses.replace(options, similarity="squares", overlap=0, smoothness=0)
    found = alignment_loss((image1, image2), (members1, members2), u, squares)
    torch.testing.assert_close(found, 2 * mean_squares(image1, warped), rtol=1e-4, atol=1e-4)
    none = (members1[:, :0], members2[:, :0])
    found = alignment_loss((image1, image2), none, u, squares)
    torch.testing.assert_close(found, 2 * mean_squares(image1, warped), rtol=1e-4, atol=1e-4)


def overlap(network: PyramidNetwork) -> float:
    """Return the mean share of the hearts' structures that overlap after registration, of all ordered pairs."""
    labels, values = HEARTS.labels, []
    assert labels is not None
    for i in range(4):
        for j in range(4):
            if i != j:
                moved = warp(labels[j], register(network, HEARTS.images[i], HEARTS.images[j]), order=0)
                values.append(np.mean((moved == labels[i])[labels[i] > 0]))
    return float(np.mean(values))


def test_real_pairs_teach_where_no_truth_is_known(tmp_path: Path) -> None:
    network = small()
    before = overlap(network)
    options = recommended_options(
        120, batch_size=1, seed=0, learning_rate=4e-3, validation_pairs=1, validate_every=120, ema=None, keep="last"
    )
    train(Still((32, 32)), network=network, options=options, out=tmp_path, real=HEARTS, threads=1, progress=False)
    assert overlap(network) > before + 0.05


OPTIONS = TrainOptions(
    6,
    batch_size=1,
    learning_rate=1e-3,
    augment=AugmentOptions(common=AffineRanges(0.1, 20, 0.1), flips=0.5),
    loss=LossOptions(overlap=0.5, folds=1.0),
    real=RealOptions(pairs=2, residual=ResidualOptions(amplitude=1.5, spacing=6)),
    ema=0.5,
    seed=1,
    validation_pairs=1,
    validate_every=3,
    checkpoint_every=2,
    log_every=1,
)


@pytest.mark.parametrize("cohort", [HEARTS, BLOBS], ids=["plane", "space"])
def test_an_interrupted_run_goes_on_exactly(cohort: Cohort, tmp_path: Path) -> None:
    class Interrupted(Still):
        def draw(self, index: int) -> Pair:
            if index == 4 and not (tmp_path / "again").exists():
                raise KeyError("stop")
            return super().draw(index)

    def go(source: Still, out: Path) -> PyramidNetwork:
        network = small(len(cohort.grid))
        train(source, network=network, options=OPTIONS, out=out, real=cohort, threads=1, progress=False)
        return network

    whole = go(Still(cohort.grid), tmp_path / "whole")
    with pytest.raises(KeyError):
        go(Interrupted(cohort.grid), tmp_path / "broken")
    (tmp_path / "again").mkdir()
    check_same(tmp_path / "broken", go(Interrupted(cohort.grid), tmp_path / "broken"), (tmp_path / "whole", whole))
    assert load_network(tmp_path / "broken").seen == whole.seen
    assert read_card(tmp_path / "broken")["images"]["grid"] == list(cohort.grid)


def test_runs_with_other_subjects_are_others(tmp_path: Path) -> None:
    def go(real: Cohort | None, source: Any) -> None:
        train(source, network=small(), options=OPTIONS, out=tmp_path, real=real, threads=1, progress=False)

    go(HEARTS, Still((32, 32)))
    go(HEARTS, Untouchable())  # finished
    for real in (None, HEARTS.subset([0, 1, 2])):
        with pytest.raises(ValueError, match="holds a run with real"):
            go(real, Untouchable())


def test_runs_with_other_options_of_real_pairs_are_others(tmp_path: Path) -> None:
    def go(real: RealOptions, source: Any, subjects: Cohort | None = HEARTS, folder: str = "net") -> None:
        options = dataclasses.replace(OPTIONS, real=real)
        out = tmp_path / folder
        train(source, network=small(), options=options, out=out, real=subjects, threads=1, progress=False)

    before = RealOptions(pairs=1)
    go(before, Still((32, 32)))
    for name, value in {"pairs": 2, "overlap": 3.0, "residual": ELASTIC}.items():
        with pytest.raises(ValueError, match=f"holds a run with real.{name} "):
            go(dataclasses.replace(before, **{name: value}), Untouchable())
    card = json.loads((tmp_path / "net" / "net.json").read_text())
    del card["options"]["real"]["residual"]  # as it was noted before there was one
    (tmp_path / "net" / "net.json").write_text(json.dumps(card))
    go(before, Untouchable())
    go(before, Still((32, 32)), None, "without")  # where there are no real pairs, their options do not matter
    go(RealOptions(pairs=2), Untouchable(), None, "without")


def test_bad_cohorts_and_pairs_are_refused(tmp_path: Path) -> None:
    def go(real: Any, source: Any, options: TrainOptions = OPTIONS) -> None:
        train(source, network=small(), options=options, out=tmp_path / "net", real=real, threads=1, progress=False)

    with pytest.raises(TypeError, match="real is list; pass a Cohort"):
        go([HEARTS], Still((32, 32)))
    with pytest.raises(ValueError, match="real has 1 subject; pass a cohort of at least 2"):
        go(HEARTS.subset([0]), Still((32, 32)))
    assert not (tmp_path / "net").exists()
    with pytest.raises(ValueError, match=r"real has images of \(32, 32\) and source pairs of \(32, 40\); pass"):
        go(HEARTS, Still((32, 40)))
    with pytest.raises(ValueError, match=r"overlap is positive but pairs of source have no labels; pass LossOptions"):
        go(None, Still((32, 32), labels=False))
    plain = dataclasses.replace(OPTIONS, loss=LossOptions())
    go(None, Still((32, 32), labels=False), plain)
