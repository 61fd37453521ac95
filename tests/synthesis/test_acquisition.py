"""What a scanner does to intensities: as much as it says, never to the geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelaug import AcquisitionOptions, PairOptions, PairSynthesizer
from modelaug.synthesis.acquisition import Acquisition
from tests.examples import arrays_of, heart_model, one_line, philox, plane_model, volume_model

GRID = (40, 30)
RANGES = np.array([[0.0, 200.0], [-1.0, 1.0]], np.float32)


def acquire(image: np.ndarray, seed: int = 0, **options: float) -> np.ndarray:
    acquisition = Acquisition(AcquisitionOptions(**options), GRID, np.array([1.0, 2.0]), RANGES)
    return acquisition(image.astype(np.float32), philox(seed))


def grey(share: float = 0.5) -> np.ndarray:
    """Return an image at a share of the range of each channel."""
    low, high = RANGES.T[:, :, None, None]
    return np.broadcast_to(low + share * (high - low), (2, *GRID))


@pytest.mark.parametrize("model", [plane_model, heart_model, volume_model])
def test_geometry_is_never_touched(model: Any) -> None:
    options = AcquisitionOptions(gamma=0.2, contrast=0.2, bias=0.2, noise=0.05)
    plain = arrays_of(PairSynthesizer(model(), seed=1).draw(4))
    acquired = arrays_of(PairSynthesizer(model(), seed=1, options=PairOptions(acquisition=options)).draw(4))
    assert plain.keys() == acquired.keys()
    for name, array in plain.items():
        assert np.array_equal(array, acquired[name]) == (name not in ("fixed", "moving")), name
    for name in ("fixed", "moving"):
        for image, (low, high) in zip(acquired[name], model().intensities, strict=True):
            assert image.min() >= low
            assert image.max() <= high


def test_images_of_a_pair_are_acquired_on_their_own() -> None:
    options = PairOptions(acquisition=AcquisitionOptions(noise=0.1), texture="shared", pose="none")
    plain = PairSynthesizer(plane_model(), options=PairOptions(texture="shared", pose="none")).draw(0)
    noisy = PairSynthesizer(plane_model(), options=options).draw(0)
    first, second = (noisy.fixed - plain.fixed).ravel(), (noisy.moving - plain.moving).ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_noise_has_its_deviation() -> None:
    noise = (acquire(grey(), noise=0.05) - grey()) / (RANGES[:, 1] - RANGES[:, 0])[:, None, None]
    assert noise.std() == pytest.approx(0.05, rel=0.06)
    assert abs(noise.mean()) < 0.005
    assert abs(np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]) < 0.1


def test_gamma_and_contrast_are_the_same_everywhere() -> None:
    ramp = np.linspace(0, 1, GRID[1]) * (RANGES[:, 1] - RANGES[:, 0])[:, None, None] + RANGES[:, :1, None]
    ramp = np.broadcast_to(ramp, (2, *GRID))
    for name in ("gamma", "contrast"):
        changed = acquire(ramp, **{name: 0.3})
        assert np.array_equal(changed, np.broadcast_to(changed[:, :1], changed.shape))
        assert not np.allclose(changed, ramp, atol=1e-3)
        assert (np.diff(changed, axis=2) >= 0).all()
    logs = [np.log(np.log(acquire(grey(0.25), seed, gamma=0.3)[0, 0, 0] / 200) / np.log(0.25)) for seed in range(400)]
    assert np.std(logs) == pytest.approx(0.3, rel=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_contrast_is_about_the_middle_and_gamma_keeps_the_ends(seed: int) -> None:
    """In the order of the parameters: 0.5 + k (x^g - 0.5), cut off at 0 and 1, for the share x of a channel's range."""
    low, high = (each[:, None, None] for each in RANGES.T)
    shares = np.broadcast_to(np.linspace(0, 1, GRID[1]), (2, *GRID))
    image = low + shares * (high - low)

    def acquired(**options: float) -> np.ndarray:
        return (acquire(image, seed, **options) - low) / (high - low)

    inside = np.abs(shares - 0.5) < 0.2
    contrast = acquired(contrast=0.3)
    factor = (contrast[0, 0, 18] - contrast[0, 0, 12]) / (shares[0, 0, 18] - shares[0, 0, 12])
    assert abs(np.log(factor)) > 1e-3
    np.testing.assert_allclose(contrast, np.clip(0.5 + factor * (shares - 0.5), 0, 1), atol=1e-4)
    gamma = acquired(gamma=0.3)
    exponent = np.log(gamma[0, 0, 15]) / np.log(shares[0, 0, 15])
    assert abs(np.log(exponent)) > 1e-3
    np.testing.assert_allclose(gamma, shares**exponent, atol=1e-4)
    both = acquired(gamma=0.3, contrast=0.3)
    expected = np.clip(0.5 + factor * (shares**exponent - 0.5), 0, 1)
    np.testing.assert_allclose(both[inside], expected[inside], atol=1e-4)


def test_bias_is_smooth_and_as_strong_as_it_says() -> None:
    fields = np.array([np.log(acquire(grey(), seed, bias=0.1)[0] / 100) for seed in range(300)])
    assert fields.std() == pytest.approx(0.1, rel=0.1)
    assert np.abs(np.diff(fields, axis=1)).max() < 0.05
    assert fields.std(axis=0).min() > 0.08
    # Some of it varies within the image.
    assert (fields - fields.mean(axis=(1, 2), keepdims=True)).std() > 0.02


def test_nothing_changes_without_any() -> None:
    image = grey() + philox(3).uniform(-0.4, 0.4, size=(2, *GRID)) * (RANGES[:, 1] - RANGES[:, 0])[:, None, None]
    np.testing.assert_allclose(acquire(image), image, atol=2e-5 * 200)


@pytest.mark.parametrize("name", ["gamma", "contrast", "bias", "noise"])
def test_images_stay_in_range_however_much_they_change(name: str) -> None:
    image = grey(0.0).copy()
    image[:, :20] = grey(0.5)[:, :20]
    low, high = RANGES.T[:, :, None, None]
    for seed in range(40):
        changed = acquire(image, seed, **{name: 10.0})
        assert ((changed >= low) & (changed <= high)).all()


def test_a_channel_without_range_stays() -> None:
    acquisition = Acquisition(
        AcquisitionOptions(noise=0.1, bias=0.1), GRID, np.ones(2), np.array([[5.0, 5.0]], np.float32)
    )
    assert np.array_equal(acquisition(np.full((1, *GRID), 5.0, np.float32), philox(0)), np.full((1, *GRID), 5.0))


@pytest.mark.parametrize("name", ["gamma", "contrast", "bias", "noise"])
@pytest.mark.parametrize("value", [-0.1, 10.1, float("nan"), "1", None])
def test_bad_options_are_refused_in_one_line(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name} is ") as caught:
        AcquisitionOptions(**{name: value})
    one_line(caught.value)
