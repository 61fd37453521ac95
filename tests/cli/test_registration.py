"""What ``modelaug register`` and ``apply`` are made of: places in space, devices, the picture of a volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("torch")

import torch

from modelaug import warp
from modelaug.cli._pictures import Pair, Picture, as_picture, leads_inside, led_into
from modelaug.cli._registration import choose_device, parse_grid
from modelaug.io import Geometry
from tests.cli.test_register import blobs


def a_geometry(d: int, rng: np.random.Generator, direction: npt.NDArray[np.float64] | None = None) -> Geometry:
    if direction is None:
        direction = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return Geometry(rng.uniform(0.5, 4, d), rng.normal(scale=30, size=d), direction)


def an_image(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@given(seed=st.integers(0, 2**32 - 1), d=st.sampled_from([2, 3]), one=st.booleans())
def test_there_and_back_in_space(seed: int, d: int, one: bool) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    grid = tuple(int(n) for n in rng.integers(1, 8, d)) if not one else (1,) * d
    fixed, moving = a_geometry(d, rng), a_geometry(d, rng)
    pair = Pair.of(
        *(Picture(Path(name), an_image(grid), d, place) for name, place in (("fixed", fixed), ("moving", moving)))
    )
    inside = rng.normal(scale=2, size=(d, *grid)).astype(np.float32)
    led = led_into(inside, fixed, moving)
    np.testing.assert_allclose(pair.in_fixed_voxels(led), inside, atol=1e-2)
    # Voxel by voxel, without the arrays of whole fields.
    points = np.indices(grid).reshape(d, -1).T
    reached = moving.to_voxels(fixed.to_space(points + inside.reshape(d, -1).T))
    np.testing.assert_allclose((points + led.reshape(d, -1).T), reached, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(
        points + pair.in_place().reshape(d, -1).T, moving.to_voxels(fixed.to_space(points)), rtol=1e-5, atol=1e-3
    )


@given(seed=st.integers(0, 2**32 - 1), turned=st.booleans(), flipped=st.booleans(), axial=st.booleans())
def test_parallel_planes_keep_their_places(seed: int, turned: bool, flipped: bool, axial: bool) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    direction = np.eye(3) if axial else Rotation.from_rotvec(rng.normal(size=3)).as_matrix()
    within = Rotation.from_rotvec([0, 0, rng.uniform(-3, 3)]).as_matrix() if turned else np.eye(3)
    if flipped:
        within = within @ np.diag([1.0, -1.0, -1.0])
    volumes = a_geometry(3, rng, direction), a_geometry(3, rng, direction @ within)
    fixed, moving = (
        as_picture(Path(name), an_image((1, 5, 7)), place, 2, wanted_by="the network")
        for name, place in zip(("fixed", "moving"), volumes, strict=True)
    )
    pair = Pair.of(fixed, moving)
    assert pair.as_volume
    points = np.indices((5, 7)).reshape(2, -1).T
    reached = volumes[1].to_voxels(volumes[0].to_space(np.column_stack([np.zeros(len(points)), points])))
    np.testing.assert_allclose(points + pair.in_place().reshape(2, -1).T, reached[:, 1:], rtol=1e-5, atol=1e-3)


def test_planes_without_a_common_place() -> None:
    rng = np.random.Generator(np.random.Philox(1))
    oblique, other = (a_geometry(3, rng) for _ in range(2))
    for first, second in ((oblique, other), (Geometry([1.0, 2.0], [3.0, 4.0]), oblique)):
        shapes = [(1, 5, 7) if len(each.spacing) == 3 else (5, 7) for each in (first, second)]
        pair = Pair.of(
            *(
                as_picture(Path("image"), an_image(shape), each, 2, wanted_by="it")
                for shape, each in zip(shapes, (first, second), strict=True)
            )
        )
        # First pixels coincide, and a step along an axis is one along the same.
        ratio = first.spacing[-2:] / second.spacing[-2:]
        index = np.indices((5, 7))
        np.testing.assert_allclose(index + pair.in_place(), index * ratio[:, None, None], atol=1e-4)
    # What a plane lies in is told by its file where the volume's axis is that of space.
    axial = Geometry([5.0, 1.0, 2.0], [3.0, 4.0, 100.0])
    pair = Pair.of(
        as_picture(Path("a"), an_image((5, 7)), Geometry([1.0, 2.0], [1.0, 4.0]), 2, wanted_by="it"),
        as_picture(Path("b"), an_image((1, 5, 7)), axial, 2, wanted_by="it"),
    )
    np.testing.assert_allclose(pair.in_place()[1], -1)


@given(seed=st.integers(0, 2**32 - 1))
def test_where_a_displacement_leads_inside(seed: int) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    d = int(rng.integers(2, 4))
    grid, other = (tuple(int(n) for n in rng.integers(1, 7, d)) for _ in range(2))
    field = rng.normal(scale=3, size=(d, *grid)).astype(np.float32)
    found = leads_inside(field, other)
    for voxel in np.ndindex(*grid):
        reached = [field[(k, *voxel)] + voxel[k] for k in range(d)]
        assert found[voxel] == all(-0.5 <= x <= n - 0.5 for x, n in zip(reached, other, strict=True))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(None) == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="'cuda' but there are 0 GPUs"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(None) == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    for name in ("cuda:2", "cuda:", "cuda:-1", "CPU", ""):
        with pytest.raises(ValueError, match="--device is"):
            choose_device(name)


def test_shapes() -> None:
    assert parse_grid(None) is None
    assert parse_grid("96x96x80") == (96, 96, 80)
    for text in ("", "96", "96x", "96x-1", "96 x 96", "1x2x3x4", "9.5x3", "٣x٣"):
        with pytest.raises(ValueError, match="--grid is"):
            parse_grid(text)


def test_picture_of_the_plane_in_the_middle_of_what_moves() -> None:
    pytest.importorskip("matplotlib")
    from modelaug.cli._registration_figure import draw

    rng = np.random.Generator(np.random.Philox(2))
    fixed, moving = blobs((9, 16, 14), 1), blobs((9, 16, 14), 2)
    pair = Pair.of(*(Picture(Path(name), image, 3, None) for name, image in (("fixed", fixed), ("moving", moving))))
    field = np.zeros((3, 9, 16, 14), np.float32)
    field[:, 5:8] = rng.uniform(-0.4, 0.4, (3, 1, 16, 14))
    field[0, 0], field[0, 1] = -20, -20  # out of the image
    figure = draw(pair, field, field)
    shown = [axes for axes in figure.axes if axes.texts]
    assert shown[0].texts[0].get_text() == "fixed, plane 6 of 9"
    for axes, plane in zip(shown[:3], (fixed[6], moving[6], warp(moving, field)[6]), strict=True):
        pixels = np.asarray(axes.images[0].get_array())
        between = (pixels > 0) & (pixels < 1)
        assert between.mean() > 0.7
        assert np.corrcoef(pixels[between], plane[between])[0, 1] > 0.9999
    still = np.zeros_like(field)
    assert draw(pair, still, still).axes[0].texts[0].get_text() == "fixed, plane 4 of 9"
