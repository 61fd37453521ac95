"""Patterns to paint with: periodic, in range, and sampled as the bilinear functions that they are said to be."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from modelaug.baselines.patterns import PatternLibrary
from tests.properties.strategies import generator, seeds


@functools.cache
def library() -> PatternLibrary:
    return PatternLibrary(5, 24, 0)


@given(seeds, st.integers(0, 4), st.integers(1, 9), st.integers(1, 9), st.floats(0.01, 4.0))
def test_samples_are_bilinear_and_periodic(seed: int, number: int, height: int, width: int, scale: float) -> None:
    rng = generator(seed)
    affine = np.column_stack([scale * rng.normal(size=(2, 2)), rng.uniform(-100, 100, size=2)])
    top, left = rng.integers(0, 200, size=2)
    box = (slice(int(top), int(top) + height), slice(int(left), int(left) + width))
    out = np.empty((height, width), np.float32)
    library().at(number, affine, box, out)
    pixels = np.indices((height, width)) + np.reshape([top, left], (2, 1, 1))
    places = np.tensordot(affine[:, :2], pixels, axes=1) + affine[:, 2].reshape(2, 1, 1)
    expected = ndimage.map_coordinates(library().images[number].astype(np.float64), places, order=1, mode="grid-wrap")
    # Coordinates are of single precision, and a pixel's step is at most 1.
    np.testing.assert_allclose(out, expected, atol=1e-3)


def test_patterns_are_seamless_use_the_range_and_differ() -> None:
    images = library().images
    assert images.shape == (5, 24, 24)
    for image in images:
        assert image.min() == 0
        assert image.max() == 1
        assert image.std() > 0.1
        for axis in range(2):
            steps = np.abs(np.diff(image, axis=axis, append=image.take([0], axis=axis)))
            seam = steps.take(-1, axis=axis).mean()
            assert seam < 2.5 * steps.mean()
    assert not np.allclose(images[0], images[4], atol=0.1)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_tiny_patterns(size: int) -> None:
    images = PatternLibrary(4, size, 1).images
    assert np.isfinite(images).all()
    assert images.min() >= 0
    assert images.max() <= 1


def test_patterns_are_a_function_of_the_seed() -> None:
    again, other = PatternLibrary(2, 24, 0), PatternLibrary(2, 24, 1)
    np.testing.assert_array_equal(again.images, library().images[:2])
    assert not np.allclose(other.images, again.images, atol=0.1)
