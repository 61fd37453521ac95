"""register: signs, axes, sizes, and a network that is left as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

pytest.importorskip("torch")

import torch
from torch import Tensor

from modelaug import compose
from modelaug.learning import FlowNetS, PyramidNetwork, estimate_flow, load_network, register, to_flownet
from modelaug.learning.losses import average_cells
from tests.learning.toys import Translations


class Fixed(FlowNetS):
    """Puts out a given flow, (2, h, w) in the network's convention, whatever it sees."""

    def __init__(self, output: Tensor) -> None:
        super().__init__(width=0.01)
        self.output = output

    def forward(self, images: Tensor) -> Tensor:
        return self.output.expand(len(images), -1, -1, -1)


def picture(h: int, w: int, seed: int = 0) -> npt.NDArray[np.float32]:
    rng = np.random.Generator(np.random.Philox(seed))
    return rng.normal(size=(h, w)).astype(np.float32)


def test_x_moves_columns_and_y_moves_rows() -> None:
    output = torch.zeros(2, 8, 8)
    output[0] = 3 / 20  # x: 3 pixels to the right
    output[1] = -2 / 20  # y: 2 pixels up
    moving = picture(32, 32)
    flow = register(Fixed(output), moving, moving)
    np.testing.assert_allclose(flow[0], -2, atol=1e-6)
    np.testing.assert_allclose(flow[1], 3, atol=1e-6)
    warped = ndimage.map_coordinates(moving, np.indices(moving.shape) + flow, order=1, mode="nearest")
    np.testing.assert_allclose(warped[2:, :-3], moving[:-2, 3:], atol=1e-4)


@pytest.mark.parametrize(("h", "w"), [(64, 64), (50, 71)])
def test_no_shift_between_the_scales(h: int, w: int) -> None:
    rows, columns = np.indices((h, w), dtype=np.float32)
    truth = np.stack([0.3 * rows - 0.1 * columns, 0.2 * columns + 4])
    output = average_cells(to_flownet(torch.from_numpy(truth)[None]), 4)[0]
    flow = register(Fixed(output), picture(h, w), picture(h, w, 1))
    inside = np.s_[:, 2 : h - 6, 2 : w - 6]
    np.testing.assert_allclose(flow[inside], truth[inside], atol=1e-4)


@given(h=st.integers(1, 90), w=st.integers(2, 90))
def test_any_size(h: int, w: int) -> None:
    flow = register(FlowNetS(width=0.03), picture(h, w), picture(h, w, 1))
    assert flow.shape == (2, h, w)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()


def test_trained_network_undoes_translations(trained: Path) -> None:
    network = load_network(trained)
    source = Translations(seed=1)
    before, after = [], []
    for i in range(8):
        pair = source.draw(i)
        flow = register(network, pair.fixed, pair.moving)
        at = np.rint(pair.landmarks_fixed).astype(int).T
        error = pair.landmarks_fixed + flow[:, at[0].clip(0, 63), at[1].clip(0, 63)].T - pair.landmarks_moving
        before.append(np.linalg.norm(pair.landmarks_fixed - pair.landmarks_moving, axis=1).mean())
        after.append(np.linalg.norm(error, axis=1).mean())
    assert np.mean(after) < 0.8 * np.mean(before)


def test_units_of_the_images_do_not_matter(trained: Path) -> None:
    network = load_network(trained)
    pair = Translations(seed=1).draw(0)
    flow = register(network, pair.fixed, pair.moving)
    np.testing.assert_allclose(register(network, 100 * pair.fixed + 7, pair.moving[0]), flow, atol=1e-2)


def test_grey_images_in_a_network_for_colour() -> None:
    network = FlowNetS(width=0.03, image_channels=3)
    fixed, moving = picture(40, 40), picture(40, 40, 1)
    colour = [np.repeat(image[None], 3, axis=0) for image in (fixed, moving)]
    np.testing.assert_array_equal(register(network, fixed, moving), register(network, *colour))


@pytest.mark.parametrize("training", [True, False])
def test_network_is_left_as_it_was(training: bool) -> None:
    network = FlowNetS(width=0.03, batch_norm=True).train(training)
    network.conv1.eval()
    modes = [module.training for module in network.modules()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flow = estimate_flow(network, *(torch.rand(2, 1, 1, 20, 20, generator=torch.Generator())))
    assert not flow.requires_grad
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())

    class Broken(FlowNetS):
        def forward(self, images: Tensor) -> Tensor:
            raise ArithmeticError

    broken = Broken(width=0.03).train(training)
    with pytest.raises(ArithmeticError):
        register(broken, picture(9, 9), picture(9, 9))
    assert broken.training == training


def test_inputs_are_left_as_they_were() -> None:
    images = [picture(20, 20), picture(20, 20, 1)]
    copies = [image.copy() for image in images]
    for image in images:
        image.setflags(write=False)
    register(FlowNetS(width=0.03), *images)
    for image, copy in zip(images, copies, strict=True):
        np.testing.assert_array_equal(image, copy)


GOOD = picture(20, 20)
HOLE = GOOD.copy()
HOLE[3, 4] = np.nan


@pytest.mark.parametrize(
    ("fixed", "moving", "error", "message"),
    [
        (np.ones((20, 20)), GOOD, ValueError, r"fixed is constant \(1\); pass an image with contrast"),
        (GOOD, np.zeros((1, 20, 20)), ValueError, r"moving is constant \(0\)"),
        (GOOD, HOLE, ValueError, r"moving\[3, 4\] is nan"),
        (GOOD, GOOD[:, :19], ValueError, r"moving has shape \(20, 19\) and fixed \(20, 20\); resample"),
        (GOOD, np.stack([GOOD, GOOD]), ValueError, "moving has 2 channels and fixed 1; pass images of"),
        (np.stack([GOOD] * 3), np.stack([GOOD] * 3), ValueError, "fixed has 3 channels but the network takes 1"),
        (GOOD[0], GOOD[0], ValueError, r"fixed has shape \(20,\)"),
        (GOOD[None, None], GOOD, ValueError, r"fixed has shape \(1, 1, 20, 20\)"),
        (GOOD[:0], GOOD, ValueError, "fixed is empty"),
        ("heart.png", GOOD, TypeError, "fixed has dtype <U9; pass an array of real numbers"),
    ],
)
def test_bad_images(fixed: Any, moving: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        register(FlowNetS(width=0.03), fixed, moving)
    assert "\n" not in str(caught.value)


def shift(rows: float, columns: float, n: int) -> FlowNetS:
    """Return a network that always finds the same translation, in pixels of its n x n input."""
    return Fixed(to_flownet(torch.tensor([rows, columns])[:, None, None]).expand(2, n // 4, n // 4).clone())


def test_displacements_come_back_from_the_grid_that_the_network_sees() -> None:
    flow = register(shift(1.5, -2.0, 16), picture(32, 48), picture(32, 48, 1), grid=(16, 16))
    np.testing.assert_allclose(flow, np.broadcast_to(np.array([3.0, -6.0])[:, None, None], (2, 32, 48)), atol=1e-5)


def test_passes_are_composed() -> None:
    flow = register(shift(1.0, 0.5, 32), picture(32, 32), picture(32, 32, 1), passes=3)
    np.testing.assert_allclose(flow[0], 3.0, atol=1e-5)
    np.testing.assert_allclose(flow[1], 1.5, atol=1e-5)


def test_every_pass_sees_the_image_warped_so_far() -> None:
    seen = []

    class Watching(Fixed):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.clone())
            return super().forward(images)

    network = Watching(shift(0.0, 4.0, 32).output)  # type: ignore[arg-type]
    fixed, moving = picture(32, 32), picture(32, 32, 1)
    register(network, fixed, moving, passes=2)
    first, second = (images[0, 1].numpy() for images in seen)
    np.testing.assert_allclose(np.corrcoef(second[:, :28].ravel(), first[:, 4:].ravel())[0, 1], 1, atol=1e-4)
    np.testing.assert_array_equal(seen[0][0, 0], seen[1][0, 0])


def test_symmetric_is_the_mean_of_both_ways() -> None:
    # A network that finds the same in both directions contradicts itself; nothing is left of it.
    flow = register(shift(1.0, -3.0, 32), picture(32, 32), picture(32, 32, 1), symmetric=True)
    np.testing.assert_allclose(flow, 0, atol=1e-5)


def test_symmetric_registration_is_consistent(trained: Path) -> None:
    network = load_network(trained)
    pair = Translations().draw(3)
    there = register(network, pair.fixed, pair.moving, symmetric=True)
    back = register(network, pair.moving, pair.fixed, symmetric=True)
    inside = np.s_[8:-8, 8:-8]
    both = compose(back, there)[(slice(None), *inside)]
    alone = compose(register(network, pair.moving, pair.fixed), register(network, pair.fixed, pair.moving))[
        (slice(None), *inside)
    ]
    assert np.abs(both).mean() < 0.5 * np.abs(alone).mean()


@pytest.mark.parametrize("d", [2, 3])
def test_threads_do_not_change_the_result(d: int) -> None:
    rng = np.random.default_rng(d)
    fixed, moving = rng.random((2, *[18, 26, 20][:d]), dtype=np.float32)
    network = PyramidNetwork(d, width=0.25, levels=2)
    with torch.no_grad():
        for layer in network.increment:
            layer.weight.mul_(300)  # so that there is something to compose
    initial = rng.uniform(-1, 1, (d, *fixed.shape)).astype(np.float32)
    options: dict[str, Any] = {"passes": 2, "symmetric": True, "refine": True, "initial": initial}
    one = register(network, fixed, moving, threads=1, **options)
    assert np.array_equal(one, register(network, fixed, moving, threads=3, **options))
    assert np.array_equal(one, register(network, fixed, moving, **options))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_batches_with_values_that_are_not_finite_are_refused(value: float) -> None:
    fixed, moving = (torch.from_numpy(picture(32, 32, k)).reshape(1, 1, 32, 32) for k in range(2))
    moving[0, 0, 3, 4] = value
    with pytest.raises(ValueError, match="moving holds values that are not finite"):
        estimate_flow(shift(0, 0, 32), fixed, moving)


def test_arguments_of_another_kind_are_refused() -> None:
    images, network = (picture(32, 32), picture(32, 32, 1)), shift(0, 0, 32)
    with pytest.raises(TypeError, match="network is str; pass a RegistrationNetwork"):
        register("net", *images)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="geometry is 'mm'; pass a Geometry, or None"):
        register(network, *images, geometry="mm")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="symmetric is 'no'; pass True or False"):
        register(network, *images, symmetric="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mask is given without refine"):
        register(network, *images, mask=np.ones((32, 32)))
    with pytest.raises(ValueError, match=r"fixed holds intensities up to .*; divide them"):
        register(network, 1e30 * images[0], images[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 0}, "passes is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"grid": (8, 8, 8)}, "grid is"),
        ({"grid": (32,)}, r"grid is \(32,\); pass 2 positive integers, one per axis"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        register(shift(0, 0, 32), picture(32, 32), picture(32, 32, 1), **options)
