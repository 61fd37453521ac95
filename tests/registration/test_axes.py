"""What an array's axes are: told by what is given with it, never by chance; and intensities far from 0."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelaug import Cohort, phantoms
from modelaug.baselines import RegisteredPairs
from modelaug.comparison import methods
from modelaug.io import Geometry
from modelaug.learning import PyramidNetwork, register
from modelaug.registration import (
    VariationalOptions,
    choose_options,
    estimate_affine,
    refine,
    register_affine,
    register_syn,
    register_variational,
)
from modelaug.registration._images import image_channels, number_of_axes
from tests.examples import one_line, philox

QUICK = VariationalOptions(levels=1, iterations=3)
METHODS = [
    lambda fixed, moving, **given: register_variational(fixed, moving, options=QUICK, **given),
    lambda fixed, moving, **given: register_affine(fixed, moving, transform="translation", **given),
]
NAMES = ["variational", "affine"]


def pictures(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth picture and the same, shifted by a voxel along the last axis."""
    image = phantoms.blobs3d(1, shape=(24, 24, 24), seed=2).images[0, 0]
    image = np.resize(image, (shape[0], 24, 24))[:, : shape[1], : shape[2]]
    image = image + 0.05 * philox(0).normal(size=image.shape)
    return image.astype(np.float32), np.roll(image, 1, axis=-1).astype(np.float32)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_plane_with_many_channels_is_said_to_be_one(method: Any) -> None:
    fixed, moving = pictures(6, 20, 24)
    with pytest.raises(
        ValueError, match=r"fixed has shape \(6, 20, 24\), a plane with 6 channels or a volume of"
    ) as caught:
        method(fixed, moving)
    assert str(caught.value).endswith("pass ndim=2 or 3")
    one_line(caught.value)
    assert method(fixed, moving, ndim=2).shape == (2, 20, 24)
    assert method(fixed, moving, ndim=3).shape == (3, 6, 20, 24)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_a_volume_of_few_planes_is_said_to_be_one(method: Any, planes: int) -> None:
    fixed, moving = pictures(planes, 20, 24)
    assert method(fixed, moving).shape == (2, 20, 24)
    assert method(fixed, moving, ndim=2).shape == (2, 20, 24)
    assert method(fixed, moving, ndim=3).shape == (3, planes, 20, 24)


def test_what_is_said_is_what_is_found() -> None:
    """Channels count together in the plane: noise in five of six does not hide the shift in the sixth."""
    fixed, moving = (np.stack([image[0]] * 6) for image in pictures(1, 24, 24))
    plane = register_affine(fixed[0], moving[0], transform="translation")
    np.testing.assert_allclose(register_affine(fixed, moving, transform="translation", ndim=2), plane, atol=0.02)
    assert np.abs(plane[1] - 1).max() < 0.2


@pytest.mark.parametrize(
    ("given", "d"),
    [
        ({"spacing": (1.5, 1.0)}, 2),
        ({"spacing": (3.0, 1.5, 1.0)}, 3),
        ({"geometry": Geometry((1.5, 1.0))}, 2),
        ({"geometry": Geometry((3.0, 1.5, 1.0))}, 3),
        ({"mask": np.ones((20, 24))}, 2),
        ({"mask": np.ones((6, 20, 24))}, 3),
    ],
)
def test_what_is_given_tells(given: dict[str, Any], d: int) -> None:
    images = pictures(6, 20, 24)
    assert len(estimate_affine(*images, transform="translation", **given).grid) == d
    if "mask" in given:
        assert len(register_variational(*images, options=QUICK, **given)) == d


@pytest.mark.parametrize("d", [2, 3])
def test_a_displacement_tells(d: int) -> None:
    images = pictures(6, 20, 24)
    start = np.zeros((d, *(6, 20, 24)[3 - d :]), np.float32)
    assert register_variational(*images, options=QUICK, initial=start).shape == start.shape
    assert refine(*images, start, options=QUICK).shape == start.shape


def test_networks_tell() -> None:
    images = [philox(k).normal(size=(6, 40, 40)) for k in range(2)]
    plane = PyramidNetwork(2, image_channels=6, width=0.25, levels=2)
    space = PyramidNetwork(3, width=0.25, levels=2)
    assert register(plane, *images).shape == (2, 40, 40)
    assert register(space, *images).shape == (3, 6, 40, 40)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
@pytest.mark.parametrize("wrong", [1, 4, 2.0, "2", True])
def test_other_numbers_of_axes_are_refused(method: Any, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"ndim is .*; pass an integer") as caught:
        method(*pictures(6, 20, 24), ndim=wrong)
    one_line(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"geometry": Geometry((1.0, 1.0)), "ndim": 3}, "geometry has 2 axes and ndim is 3; pass equally many"),
        ({"spacing": (1.0, 1.0), "ndim": 3}, "spacing is .*; pass 3 positive numbers"),
        ({"mask": np.ones((20, 24)), "ndim": 3}, r"mask has shape \(20, 24\); pass weights .* grid \(6, 20, 24\)"),
        ({"spacing": (1.0,) * 5}, "spacing is .* positive numbers"),
    ],
)
def test_what_contradicts_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        register_affine(*pictures(6, 20, 24), **given)
    one_line(caught.value)


def test_a_start_that_contradicts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"initial has shape \(2, 20, 24\); pass a displacement on the images' grid"):
        register_variational(*pictures(6, 20, 24), initial=np.zeros((2, 20, 24)), ndim=3)


@given(shape=st.lists(st.integers(1, 80), min_size=3, max_size=3).map(tuple))
def test_what_three_axes_are(shape: tuple[int, int, int]) -> None:
    """Four channels at most are colours; a volume is not flat; the rest is asked about. Two and four axes are clear."""
    image = np.broadcast_to(np.float32(0), shape)
    if shape[0] <= 4:
        assert number_of_axes(image, ndim=None) == 2
    elif 3 * shape[0] < min(shape[1:]):
        with pytest.raises(ValueError, match="pass ndim=2 or 3"):
            number_of_axes(image, ndim=None)
    else:
        assert number_of_axes(image, ndim=None) == 3
    assert number_of_axes(image[0], ndim=None) == 2
    assert number_of_axes(image[None], ndim=None) == 3
    assert [number_of_axes(image, ndim=d) for d in (2, 3)] == [2, 3]
    assert [number_of_axes(image, ndim=None, spacing=(1.0,) * d) for d in (2, 3)] == [2, 3]


def test_callers_in_the_package_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cohorts know how many axes they have; what they ask for does not depend on the number of their channels."""
    hearts = phantoms.heart(4, shape=(48, 48), seed=3)
    channels = np.repeat(hearts.images, 6, axis=1)
    cohort = Cohort(channels, hearts.landmarks, objects=hearts.objects, spacing=hearts.spacing)
    shapes = []
    choose_options(cohort, [QUICK], [(0, 1)], lambda i, j, u: len(shapes.append(u.shape) or shapes), threads=1)
    assert shapes == [(2, 48, 48)]
    assert RegisteredPairs(cohort, options=QUICK).draw(0).flow.shape == (2, 48, 48)
    monkeypatch.setattr(methods, "_variational", lambda fold: QUICK)
    fold: Any = SimpleNamespace(training=cohort, mask=None)
    assert methods.prepare_method("VarReg", fold)["VarReg"](*channels[:2]).shape == (2, 48, 48)


def test_syn_can_be_told() -> None:
    pytest.importorskip("ants")
    image = phantoms.heart(1, shape=(48, 48)).images[0]
    assert register_syn(image, image).shape == (2, 48, 48)
    with pytest.raises(ValueError, match="fixed has 3 channels; pass a grey image"):
        register_syn(np.repeat(image, 3, axis=0), np.repeat(image, 3, axis=0))
    with pytest.raises(ValueError, match="pass ndim=2 or 3"):
        register_syn(np.repeat(image, 6, axis=0), np.repeat(image, 6, axis=0))


@pytest.mark.parametrize("offset", [1e8, -1e8, 1e12])
@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_large_offset_does_not_matter(method: Any, offset: float) -> None:
    fixed, moving = (image[0].astype(np.float64) for image in pictures(1, 24, 24))
    expected = method(fixed - fixed.min(), moving - moving.min())
    np.testing.assert_allclose(method(fixed + offset, moving + offset / 3), expected, atol=1e-3)
    assert np.abs(expected).max() > 0.3


def test_large_integers_keep_their_contrast() -> None:
    steps = np.arange(24, dtype=np.int64).reshape(4, 6)
    np.testing.assert_array_equal(image_channels("fixed", steps + 2**40, 2), steps[None].astype(np.float32))
    two = np.stack([steps + 2**40, 5 * steps])
    np.testing.assert_array_equal(image_channels("fixed", two, 2), np.stack([steps, 5 * steps]).astype(np.float32))


@settings(max_examples=50)
@given(dtype=st.sampled_from(["u1", "i2", "f4", "f8", "i8"]), offset=st.integers(0, 100))
def test_images_near_zero_stay_as_they_are(dtype: str, offset: int) -> None:
    image = (np.arange(12).reshape(3, 4) + offset).astype(dtype)
    np.testing.assert_array_equal(image_channels("fixed", image, 2)[0], image.astype(np.float32))
    np.testing.assert_array_equal(image_channels("fixed", image.tolist(), 2)[0], image.astype(np.float32))


@pytest.mark.parametrize("value", [1e9, -3.0, 0.0])
def test_what_is_constant_is_named_as_it_is(value: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"fixed is constant ({value:g}); pass")):
        image_channels("fixed", np.full((4, 5), value), 2)


def test_intensities_beyond_single_precision_are_named() -> None:
    with pytest.raises(ValueError, match=r"fixed holds intensities up to 1e\+300; divide them") as caught:
        image_channels("fixed", np.eye(4) * 1e300, 2)
    one_line(caught.value)


@pytest.mark.parametrize("spacing", [(1e-6, 1e6), (1e6, 1e-6), (1e-3, 1e3)])
def test_voxels_that_are_no_cubes_at_all_take_no_memory(spacing: tuple[float, float]) -> None:
    fixed, moving = (image[0] for image in pictures(1, 24, 24))
    found = register_affine(fixed, moving, spacing=spacing, threads=1)
    assert np.isfinite(found).all()
