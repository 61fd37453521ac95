"""Augmentation: the rule against index operations, closed forms and landmarks; numbers that depend on nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelaug import warp

pytest.importorskip("torch")

import torch
from torch import Tensor

from modelaug.learning import (
    AffineRanges,
    AugmentOptions,
    FlowNetS,
    TrainOptions,
    estimate_flow,
    multiscale_epe,
    scale_intensity,
    transform_pairs,
)
from modelaug.learning.augmentation import draw_maps, vary_intensity
from modelaug.learning.network import network_input
from tests.learning.runs import ONE, SHORT, WIDTH, rows, run
from tests.learning.toys import Translations

STILL = AffineRanges()
NOTHING = AugmentOptions(common=STILL, relative=STILL, gamma=0, contrast=0, brightness=0, noise=0)
STRONG = AugmentOptions(
    common=AffineRanges(translation=0.1, rotation=30, zoom=0.3),
    relative=AffineRanges(translation=0.02, rotation=5, zoom=0.1),
    flips=(0.5, 0.5),
)
IDENTITY = np.eye(2, 3)[None]
Array = npt.NDArray[np.float64]


def pairs(grid: tuple[int, int], *, b: int = 2, c: int = 1, reach: float = 0.0) -> list[Tensor]:
    """Return random images, flow within `reach` pixels, and weight."""
    rng = np.random.default_rng(5)
    shapes = ((b, c, *grid), (b, c, *grid), (b, 2, *grid), (b, *grid))
    image1, image2, flow, weight = (rng.uniform(size=shape).astype(np.float32) for shape in shapes)
    return [torch.from_numpy(array) for array in (image1, image2, reach * (2 * flow - 1), weight)]


def affine(matrix: npt.ArrayLike, shift: npt.ArrayLike = (0, 0)) -> Array:
    return np.column_stack([np.asarray(matrix, float), np.asarray(shift, float)])[None]


def at(map: Array, points: Array, grid: tuple[int, int]) -> Array:
    """Apply a map (2, 3) about the centre to points (m, 2)."""
    centre = (np.array(grid) - 1) / 2
    return (points - centre) @ map[:, :2].T + map[:, 2] + centre


def there_and_back(flow: Tensor) -> Tensor:
    """Return where the partners lie in the frame, (b, h, w)."""
    h, w = flow.shape[2:]
    x = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")) + flow
    return (x >= -1e-3).all(1) & (x[:, 0] <= h - 1 + 1e-3) & (x[:, 1] <= w - 1 + 1e-3)


INDEXED: list[tuple[Any, Callable[[Tensor], Tensor], Any]] = [
    ((-1, 1), lambda a: a.flip(-2), ((-1, 0), (0, 1))),
    ((1, -1), lambda a: a.flip(-1), ((1, 0), (0, -1))),
    ((-1, -1), lambda a: a.flip(-1, -2), ((-1, 0), (0, -1))),
]


@pytest.mark.parametrize("grid", [(7, 12), (8, 8), (1, 9)])
@pytest.mark.parametrize(("signs", "move", "matrix"), INDEXED)
def test_flips_are_index_operations(grid: tuple[int, int], signs: Any, move: Any, matrix: Any) -> None:
    image1, image2, flow, weight = pairs(grid, c=2, reach=2.0)
    if grid[0] == 1:
        flow[:, 0] = 0  # else all partners lie outside
    maps = np.repeat(affine(matrix), 2, axis=0)
    one, two, new, share = transform_pairs(image1, image2, flow, weight, maps, maps)
    expected = move(flow) * torch.tensor(signs, dtype=torch.float32)[:, None, None]
    torch.testing.assert_close(one, move(image1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(two, move(image2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(new, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(share, move(torch.where(there_and_back(flow), weight, 0)), atol=1e-5, rtol=1e-5)
    assert (share == 0).any()
    assert (share > 0).any()


@pytest.mark.parametrize("n", [8, 9])
def test_quarter_turns_are_index_operations(n: int) -> None:
    image1, image2, flow, weight = pairs((n, n), reach=2.0)
    maps = np.repeat(affine([(0, -1), (1, 0)]), 2, axis=0)
    one, two, new, share = transform_pairs(image1, image2, flow, weight, maps, maps)

    def turn(a: Tensor) -> Tensor:
        return torch.rot90(a, -1, (-2, -1))

    turned = turn(flow)
    torch.testing.assert_close(one, turn(image1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(two, turn(image2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(new, torch.stack([turned[:, 1], -turned[:, 0]], dim=1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(share, turn(torch.where(there_and_back(flow), weight, 0)), atol=1e-5, rtol=1e-5)


def test_whole_pixels_of_translation_of_both_are_shifts_and_leave_the_flow() -> None:
    image1, image2, flow, weight = pairs((9, 11), b=1)
    map = affine(np.eye(2), (2, -3))
    one, two, new, share = transform_pairs(image1, image2, flow, weight, map, map)
    torch.testing.assert_close(one[..., :-2, 3:], image1[..., 2:, :-3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(two[..., :-2, 3:], image2[..., 2:, :-3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(new, flow, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(share[..., :-2, 3:], weight[..., 2:, :-3], atol=1e-5, rtol=1e-5)
    assert share[..., -2:, :].count_nonzero() == share[..., :3].count_nonzero() == 0


def test_an_affine_map_of_the_second_image_only() -> None:
    """w'(x) = A(x + w(x)) - x about the centre, where the second image is pulled by the inverse of A."""
    grid = (13, 10)
    image1, image2, flow, weight = pairs(grid, b=1, reach=1.0)
    pull = affine([(1.1, 0.2), (-0.15, 0.9)], (0.7, -1.2))
    one, two, new, share = transform_pairs(image1, image2, flow, weight, IDENTITY, pull)
    push = np.linalg.inv(np.vstack([pull[0], [0, 0, 1]]))[:2]
    x = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 2).astype(float)
    w = flow[0].numpy().reshape(2, -1).T
    expected = (at(push, x + w, grid) - x).T.reshape(2, *grid)
    np.testing.assert_allclose(new[0].numpy(), expected, atol=1e-4)
    torch.testing.assert_close(one, image1, atol=1e-5, rtol=1e-5)
    displacement = (at(pull[0], x, grid) - x).T.reshape(2, *grid).astype(np.float32)
    inside = there_and_back(torch.from_numpy(displacement)[None])[0].numpy()
    np.testing.assert_allclose(two[0, 0].numpy()[inside], warp(image2[0].numpy(), displacement)[0][inside], atol=1e-4)
    visible = there_and_back(new)[0] & there_and_back(flow)[0]
    torch.testing.assert_close(share[0], torch.where(visible, weight[0], 0), atol=1e-5, rtol=1e-5)


matrices = st.lists(st.floats(-0.4, 0.4), min_size=6, max_size=6).map(
    lambda v: affine(np.eye(2) + np.reshape(v[:4], (2, 2)), 5 * np.array(v[4:]))
)


@settings(max_examples=30, deadline=None)
@given(matrices, matrices, matrices, st.tuples(st.integers(1, 14), st.integers(2, 14)))
def test_the_rule_and_landmarks(first: Array, second: Array, motion: Array, grid: tuple[int, int]) -> None:
    """For an affine motion interpolation is exact: partners land where the maps put them, at every pixel inside."""
    x = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 2).astype(float)
    flow = (at(motion[0], x, grid) - x).T.reshape(1, 2, *grid)
    image = torch.zeros(1, 1, *grid)
    tensors = image, image, torch.from_numpy(flow).float(), torch.ones(1, *grid)
    _, _, new, share = transform_pairs(*tensors, first, second)
    source = at(first[0], x, grid)  # the landmark in the first image as given
    partner = at(motion[0], source, grid)
    back = np.linalg.inv(np.vstack([second[0], [0, 0, 1]]))[:2]
    expected = at(back, partner, grid)
    edge = np.array(grid) - 1.0

    def within(p: Array, slack: float) -> Any:
        return ((p >= -slack) & (p <= edge + slack)).all(axis=1)

    found = x + new[0].numpy().reshape(2, -1).T
    inside = within(source, 0)
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-3)
    visible = share[0].numpy().ravel() > 0
    for slack, tell in ((0.01, visible), (-0.01, ~visible)):
        everywhere = within(source, slack) & within(partner, slack) & within(expected, slack)
        assert everywhere[tell].all() if slack > 0 else not everywhere[tell].any()


def test_images_and_flow_still_agree() -> None:
    """What holds before holds after: warping the moving image by the flow gives the fixed one."""
    grid = (48, 56)
    pull = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"))
    flow = np.stack([3 * np.sin(pull[1] / 15), 2 * np.cos(pull[0] / 12)]).astype(np.float32)

    def image(r: Array, c: Array) -> Array:
        return np.sin(r / 6) * np.cos(c / 7) + 0.3 * np.sin((r + c) / 9)

    fixed, moving = image(*(pull + flow)), image(*pull)
    b = 6
    tensors = [
        torch.from_numpy(np.repeat(array[None], b, axis=0).astype(np.float32))
        for array in (fixed[None], moving[None], flow, np.ones(grid))
    ]
    one, two, new, share = transform_pairs(*tensors, *draw_maps(STRONG, range(b), grid))
    assert not np.allclose(new[0].numpy(), flow, atol=0.5)
    for k in range(b):
        again = warp(two[k].numpy(), new[k].numpy())
        where = share[k].numpy() > 0.99
        assert where.mean() > 0.3
        error = np.abs(again - one[k].numpy())[0]
        assert error[where].max() < 0.03
        assert np.abs(two[k].numpy() - one[k].numpy())[0][where].max() > 0.2  # the flow is needed


def test_nothing_changes_where_all_ranges_are_0(tmp_path: Path) -> None:
    assert not NOTHING.moves
    image1, image2, *_ = pairs((11, 6), reach=3.0)
    one, two = vary_intensity(image1, image2, NOTHING, [3, 4])
    assert torch.equal(one, image1)
    assert torch.equal(two, image2)
    for maps in draw_maps(NOTHING, [3, 4], (11, 6)):
        assert np.array_equal(maps, np.repeat(IDENTITY, 2, axis=0))
    short = dataclasses.replace(SHORT, steps=3)
    plain = run(Translations(), tmp_path / "plain", short)
    same = run(Translations(), tmp_path / "same", dataclasses.replace(short, augment=NOTHING))
    tolerance = 1e-4 if torch.cuda.is_available() else 0.0  # on a GPU sums are in no fixed order
    for a, b in zip(plain.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("batches", [((0, 1, 2, 3, 4),), ((0, 1), (2, 3, 4)), ((4, 3), (0,), (1,), (2,))])
def test_a_pair_is_a_pure_function_of_seed_and_index(batches: tuple[tuple[int, ...], ...]) -> None:
    tensors = pairs((17, 9), b=5, c=2, reach=1.0)

    def apply(indices: tuple[int, ...], options: AugmentOptions) -> list[Tensor]:
        given = [tensor[list(indices)] for tensor in tensors]
        maps = draw_maps(options, [7 + i for i in indices], (17, 9))
        one, two, flow, weight = transform_pairs(*given, *maps)
        return [*vary_intensity(one, two, options, [7 + i for i in indices]), flow, weight]

    whole = apply(tuple(range(5)), STRONG)
    for indices in batches:
        for found, expected in zip(apply(indices, STRONG), whole, strict=True):
            assert torch.equal(found, expected[list(indices)])
    other = apply((0, 1), dataclasses.replace(STRONG, seed=1))
    assert not torch.allclose(other[0], whole[0][:2])
    quiet = apply((0, 1), dataclasses.replace(STRONG, noise=0, gamma=0))
    torch.testing.assert_close(quiet[2], whole[2][:2])  # what is switched off changes no other number


def test_ranges_are_kept() -> None:
    options = AugmentOptions(common=AffineRanges(0.1, 20, 0.2), relative=AffineRanges(0.01, 2, 0.02), flips=(0.25, 0))
    first, second = draw_maps(options, range(4000), (40, 80))
    zooms = np.log(np.abs(np.linalg.det(first[:, :, :2]))) / 2
    assert 0.19 < np.abs(zooms).max() <= 0.2
    shifts = np.abs(first[:, :, 2]).max(axis=0)
    assert (shifts <= (4, 8)).all()
    assert (shifts > (3.9, 7.9)).all()
    mirrored = np.linalg.det(first[:, :, :2]) < 0
    assert 0.22 < mirrored.mean() < 0.28
    assert (first[mirrored, 0, 0] < 0).all()
    angles = np.rad2deg(np.arctan2(first[:, 1, 0], first[:, 1, 1]))[~mirrored]
    assert 19 < np.abs(angles).max() <= 20 + 1e-9
    relative = np.linalg.inv(first[:, :, :2]) @ second[:, :, :2]
    assert 1.9 < np.rad2deg(np.abs(np.arctan2(relative[:, 1, 0], relative[:, 0, 0]))).max() <= 2 + 1e-9
    offset = np.linalg.inv(first[:, :, :2]) @ (second[:, :, 2:] - first[:, :, 2:])
    assert (np.abs(offset[:, :, 0]).max(axis=0) <= (0.4 + 1e-9, 0.8 + 1e-9)).all()


def test_intensities_are_those_of_a_loop() -> None:
    """Flat images tell the numbers: spread, correlation of the two images, and the noise's own."""
    n = 3000
    flat = torch.full((n, 1, 1, 1), 0.75 - 0.431)
    base = dataclasses.replace(NOTHING, shared=0.5)
    one, two = (
        t.flatten().numpy() for t in vary_intensity(flat, flat, dataclasses.replace(base, brightness=0.1), range(n))
    )
    added = np.stack([one, two]) - (0.75 - 0.431)
    assert added.std(axis=1) == pytest.approx([0.1, 0.1], rel=0.06)
    assert np.corrcoef(added)[0, 1] == pytest.approx(0.5, abs=0.05)
    one, _ = vary_intensity(flat, flat, dataclasses.replace(base, gamma=0.2), range(n))
    exponent = np.log(one.flatten().numpy() + 0.431) / np.log(0.75)
    assert np.log(exponent).std() == pytest.approx(0.2, rel=0.06)
    one, two = vary_intensity(flat, flat, dataclasses.replace(base, contrast=0.3, shared=1.0), range(n))
    assert torch.equal(one, two)
    assert np.log((one.flatten().numpy() + 0.431 - 0.5) / 0.25).std() == pytest.approx(0.3, rel=0.06)
    tall = torch.zeros(2, 1, 60, 60)
    one, two = vary_intensity(tall, tall, dataclasses.replace(base, noise=0.5), [1, 2])
    assert ((one.std(dim=(1, 2, 3)) > 0) & (one.std(dim=(1, 2, 3)) < 0.55)).all()
    assert abs(np.corrcoef(one[0].flatten(), two[0].flatten())[0, 1]) < 0.1


def test_training_sees_what_the_functions_make(tmp_path: Path) -> None:
    grid, augment = (40, 28), dataclasses.replace(STRONG, seed=3)
    run(Translations(grid), tmp_path, dataclasses.replace(ONE, augment=augment))
    drawn = [Translations(grid).draw(i) for i in range(2)]
    tensors = [
        torch.from_numpy(np.stack([getattr(pair, name) for pair in drawn]))
        for name in ("fixed", "moving", "flow", "weight")
    ]
    one, two, flow, weight = transform_pairs(*tensors, *draw_maps(augment, [0, 1], grid))
    one, two = vary_intensity(scale_intensity(one), scale_intensity(two), augment, [0, 1])
    outputs = FlowNetS(width=WIDTH)(torch.cat([one, two], dim=1))
    loss = multiscale_epe(outputs, flow, weight, scale_weights=(4, 2, 1, 1, 1), normalize=True).item()
    assert float(rows(tmp_path)[0]["loss"]) == pytest.approx(loss, rel=1e-5)


def test_validation_is_not_augmented(tmp_path: Path) -> None:
    options = dataclasses.replace(SHORT, steps=1, learning_rate=1e-12, weight_decay=0)
    run(Translations(), tmp_path / "plain", options)
    run(Translations(), tmp_path / "varied", dataclasses.replace(options, augment=STRONG))
    errors = [float(rows(tmp_path / name)[0]["validation_epe"]) for name in ("plain", "varied")]
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)
    losses = [float(rows(tmp_path / name)[0]["loss"]) for name in ("plain", "varied")]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_noise_of_a_grey_image_is_grey_for_a_network_in_colour() -> None:
    image = torch.rand(1, 1, 20, 20)
    network = FlowNetS(image_channels=3, width=WIDTH)
    fixed, moving = network_input(image, image, network, lambda a, b: vary_intensity(a, b, STRONG, [0]))
    assert fixed.shape == moving.shape == (1, 3, 20, 20)
    assert torch.equal(fixed[:, 0], fixed[:, 2])
    assert not torch.equal(fixed[:, 0], moving[:, 0])
    assert estimate_flow(network, image, image).shape == (1, 2, 20, 20)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: AffineRanges(translation=1.5), ValueError, "translation is 1.5"),
        (lambda: AffineRanges(rotation=-1), ValueError, "rotation is -1"),
        (lambda: AffineRanges(zoom="a"), TypeError, "zoom is 'a'; pass a number"),
        (lambda: AugmentOptions(common=0.1), TypeError, r"common is 0.1; pass AffineRanges\(...\)"),
        (lambda: AugmentOptions(flips=()), ValueError, r"flips is \(\); pass a probability for each axis, or one"),
        (
            lambda: draw_maps(AugmentOptions(flips=(0.5, 0.5)), [0], (8, 8, 8)),
            ValueError,
            r"flips is \(0.5, 0.5\) for images of shape \(8, 8, 8\); pass one probability or 3",
        ),
        (lambda: AugmentOptions(flips=(0.5, 2)), ValueError, "flips is 2"),
        (lambda: AugmentOptions(gamma=float("nan")), ValueError, "gamma is nan"),
        (lambda: AugmentOptions(noise=-0.1), ValueError, "noise is -0.1"),
        (lambda: AugmentOptions(shared=1.1), ValueError, "shared is 1.1"),
        (lambda: AugmentOptions(seed=-1), ValueError, "seed is -1"),
        (
            lambda: TrainOptions(steps=1, augment=True),
            TypeError,
            r"augment is True; pass AugmentOptions\(...\) or None",
        ),
        (lambda: transform_pairs(*pairs((5, 6)), IDENTITY, IDENTITY), ValueError, r"map1 has shape \(1, 2, 3\); pass"),
        (
            lambda: transform_pairs(*pairs((5, 6), b=1), IDENTITY, np.zeros((1, 2, 3))),
            ValueError,
            r"map2\[0\] has determinant 0; pass maps with an inverse",
        ),
        (
            lambda: transform_pairs(*pairs((5, 6), b=1)[:3], torch.ones(1, 6, 5), IDENTITY, IDENTITY),
            ValueError,
            r"weight \(1, 6, 5\); pass \(b, c, \*grid\) twice",
        ),
        (
            lambda: vary_intensity(*pairs((5, 6))[:2], STRONG, [1]),
            ValueError,
            "indices holds 1 numbers for 2 and 2 images; pass as many",
        ),
    ],
)
def test_bad_arguments(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
