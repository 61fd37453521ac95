"""Patterns to paint with: periodic, in range, and sampled as the linear functions that they are said to be."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from modelaug.baselines.patterns import PatternLibrary
from tests.properties.strategies import generator, grids, seeds

SIZES = {2: 24, 3: 17}
dimensions = pytest.mark.parametrize("d", [2, 3])


@functools.cache
def library(d: int) -> PatternLibrary:
    return PatternLibrary(5, SIZES[d], 0, d)


@given(seeds, grids(), st.integers(0, 4), st.floats(0.01, 4.0))
def test_samples_are_linear_and_periodic(seed: int, grid: tuple[int, ...], number: int, scale: float) -> None:
    rng = generator(seed)
    d = len(grid)
    affine = np.column_stack([scale * rng.normal(size=(d, d)), rng.uniform(-100, 100, size=d)])
    corner = rng.integers(0, 200, size=d)
    box = tuple(slice(int(c), int(c) + n) for c, n in zip(corner, grid, strict=True))
    out = np.empty(grid, np.float32)
    library(d).at(number, affine, box, out)
    shape = (-1, *(1 for _ in grid))
    places = np.tensordot(affine[:, :d], np.indices(grid) + corner.reshape(shape), axes=1) + affine[:, d].reshape(shape)
    pattern = library(d).images[number].astype(np.float64)
    expected = ndimage.map_coordinates(pattern, places, order=1, mode="grid-wrap")
    # Coordinates are of single precision, and a voxel's step is at most 1.
    np.testing.assert_allclose(out, expected, atol=1e-3)


@dimensions
def test_patterns_are_seamless_use_the_range_and_differ(d: int) -> None:
    images = library(d).images
    assert images.shape == (5, *(SIZES[d],) * d)
    for image in images:
        assert image.min() == 0
        assert image.max() == 1
        assert image.std() > 0.1
        for axis in range(d):
            steps = np.abs(np.diff(image, axis=axis, append=image.take([0], axis=axis)))
            seam = steps.take(-1, axis=axis).mean()
            assert seam < 2.5 * steps.mean()
    assert not np.allclose(images[0], images[4], atol=0.1)


@dimensions
@pytest.mark.parametrize("size", [1, 2, 7])
def test_tiny_patterns(size: int, d: int) -> None:
    patterns = PatternLibrary(4, size, 1, d)
    assert len(patterns) == 4
    assert patterns.images.shape == (4, *(size,) * d)
    assert np.isfinite(patterns.images).all()
    assert patterns.images.min() >= 0
    assert patterns.images.max() <= 1


@dimensions
def test_patterns_are_a_function_of_the_seed(d: int) -> None:
    again, other = PatternLibrary(2, SIZES[d], 0, d), PatternLibrary(2, SIZES[d], 1, d)
    np.testing.assert_array_equal(again.images, library(d).images[:2])
    assert not np.allclose(other.images, again.images, atol=0.1)


def test_patterns_have_details_for_shapes_of_a_dozen_voxels() -> None:
    starts = (0, 20, 40)
    for image in PatternLibrary(8, 64, 0, 3).images:
        pieces = [image[i : i + 16, j : j + 16, k : k + 16] for i in starts for j in starts for k in starts]
        assert np.mean([piece.std() for piece in pieces]) > 0.1
