"""What gamma and contrast leave as it is: black and white, and the middle of the range."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from modelaug.learning import AffineRanges, AugmentOptions, scale_intensity
from modelaug.learning.augmentation import vary_intensity

MEAN = 0.431  # subtracted by scale_intensity
NOTHING = AugmentOptions(common=AffineRanges(), relative=AffineRanges(), gamma=0, contrast=0, brightness=0, noise=0)
RAMP = np.linspace(0, 1, 41)


def varied(options: AugmentOptions, index: int) -> np.ndarray:
    """Return what becomes of a ramp from black to white, on the scale from 0 to 1, in both images of a pair."""
    image = torch.from_numpy(RAMP - MEAN).float().reshape(1, 1, 1, -1)
    return np.stack([each.numpy().ravel() + MEAN for each in vary_intensity(image, image, options, [index])])


@pytest.mark.parametrize("index", range(5))
def test_gamma_is_an_exponent_on_the_scale_from_black_to_white(index: int) -> None:
    options = dataclasses.replace(NOTHING, gamma=0.4)
    for found in varied(options, index):
        exponent = np.log(found[20]) / np.log(0.5)
        assert abs(np.log(exponent)) > 1e-3
        np.testing.assert_allclose(found, RAMP**exponent, atol=1e-5)


@pytest.mark.parametrize("index", range(5))
def test_contrast_is_about_the_middle_of_the_range(index: int) -> None:
    options = dataclasses.replace(NOTHING, contrast=0.4)
    for found in varied(options, index):
        factor = found[-1] - found[0]
        assert abs(np.log(factor)) > 1e-3
        np.testing.assert_allclose(found, 0.5 + factor * (RAMP - 0.5), atol=1e-5)


def test_the_scale_is_that_of_the_network() -> None:
    ramp = torch.linspace(0, 100, 10001).reshape(1, 1, 73, 137)  # percentiles 1 and 99 become 0 and 1
    scaled = scale_intensity(ramp).flatten().numpy() + MEAN
    np.testing.assert_allclose(scaled, (np.linspace(0, 100, 10001) - 1) / 98, atol=1e-3)
