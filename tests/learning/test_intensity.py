"""Scaling of intensities: one range, whatever the unit, whatever the outliers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from modelaug.learning import scale_intensity

MEAN = 0.431


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@given(gain=st.floats(1e-3, 1e4), offset=st.floats(-1e4, 1e4), seed=st.integers(0, 9))
def test_units_do_not_matter(gain: float, offset: float, seed: int) -> None:
    images = noise(2, 1, 20, 30, seed=seed).double()
    # The subtraction costs as many digits as the offset exceeds the range.
    tolerance = 1e-5 * (1 + abs(offset) / gain)
    torch.testing.assert_close(
        scale_intensity(gain * images + offset), scale_intensity(images), rtol=0, atol=tolerance, check_dtype=False
    )


def test_percentiles_become_0_and_1() -> None:
    images = torch.arange(10_000.0).reshape(1, 1, 100, 100)
    scaled = scale_intensity(images) + MEAN
    assert ((scaled <= 0).sum(), (scaled >= 1).sum()) == (101, 101)
    torch.testing.assert_close(scaled.flatten().sort().values.diff(), torch.full((9999,), 1 / 9798), rtol=0, atol=1e-6)


def test_outliers_do_not_matter() -> None:
    images = noise(1, 1, 40, 40)
    wild = images.clone()
    wild[0, 0, 0, :5] = 1e6
    wild[0, 0, 1, :5] = -1e6
    scaled = scale_intensity(wild)
    assert scaled.min().item() == pytest.approx(-0.5 - MEAN)
    assert scaled.max().item() == pytest.approx(1.5 - MEAN)
    difference = (scaled - scale_intensity(images))[..., 2:, :]
    assert difference.abs().max() < 0.02


def test_images_and_channels_are_scaled_alone() -> None:
    images = (
        noise(3, 2, 16, 16) * torch.tensor([1.0, 10, 100])[:, None, None, None] + torch.tensor([0.0, 7])[:, None, None]
    )
    together = scale_intensity(images)
    for i in range(3):
        for c in range(2):
            assert torch.equal(together[i, c], scale_intensity(images[i, c]))


def test_constant_becomes_zero() -> None:
    images = torch.full((1, 2, 8, 8), 1234.5)
    images[0, 1] = noise(8, 8)
    scaled = scale_intensity(images)
    assert not scaled[0, 0].any()
    assert scaled[0, 1].std() > 0.1


def test_a_few_bright_pixels_on_black_are_seen() -> None:
    images = torch.zeros(1, 1, 100, 100)
    images[..., 50, 50:55] = 3.0
    scaled = scale_intensity(images) + MEAN
    assert scaled[..., 50, 50:55].tolist() == [[pytest.approx([1.0] * 5)]]
    assert scaled.sum().item() == pytest.approx(5, abs=1e-2)


def test_integers_and_single_pixels() -> None:
    assert scale_intensity(torch.arange(16, dtype=torch.int16).reshape(4, 4)).dtype == torch.float32
    assert scale_intensity(torch.full((1, 1), 5.0)).item() == 0
