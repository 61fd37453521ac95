"""The sources under test, small, and a comparison of pairs, bit for bit."""

from __future__ import annotations

import functools
from dataclasses import fields

import numpy as np

from modelaug import Cohort, Pair
from modelaug.baselines import (
    LabelShapes,
    LabelShapesOptions,
    MovingShapes,
    MovingShapesOptions,
    RandomDeformations,
    RandomOptions,
)
from modelaug.synthesis import BatchedSource
from tests.examples import ellipsoids, plane, volume


@functools.cache
def unlabelled() -> Cohort:
    """Return `plane` without its labels."""
    return Cohort(plane().images, plane().landmarks, objects=plane().objects, spacing=plane().spacing)


@functools.cache
def small_volume() -> Cohort:
    """Return two of the ellipsoids of `volume`."""
    return volume().subset([0, 1])


@functools.cache
def odd() -> Cohort:
    """Return ellipses whose image has a pixel in the very middle."""
    return ellipsoids(4, (33, 27), (1.0, 1.0))


def random_plane() -> BatchedSource:
    return RandomDeformations(plane(), seed=3)


def random_volume() -> BatchedSource:
    return RandomDeformations(
        small_volume(), seed=1, options=RandomOptions(points=4, border="constant", weight_unit="mm")
    )


def random_unlabelled() -> BatchedSource:
    return RandomDeformations(unlabelled(), seed=4)


def labels_plane() -> BatchedSource:
    return LabelShapes(plane(), seed=3)


def labels_volume() -> BatchedSource:
    return LabelShapes(
        small_volume(), seed=1, options=LabelShapesOptions(points=(3,), acquisition=None, weight_width=3.0)
    )


def moving() -> BatchedSource:
    return MovingShapes((40, 28), seed=2, options=MovingShapesOptions(patterns=4, channels=2))


def moving_masked() -> BatchedSource:
    return MovingShapes((31, 33), options=MovingShapesOptions(patterns=4, acquisition=None, occluded="masked"))


def moving_volume() -> BatchedSource:
    return MovingShapes((18, 24, 21), seed=2, options=MovingShapesOptions(patterns=2, channels=2))


def moving_slice() -> BatchedSource:
    return MovingShapes((1, 40, 28), seed=2, options=MovingShapesOptions(patterns=4, occluded="masked"))


SOURCES = [
    random_plane,
    random_volume,
    random_unlabelled,
    labels_plane,
    labels_volume,
    moving,
    moving_masked,
    moving_volume,
    moving_slice,
]


def same_bits(a: Pair, b: Pair) -> None:
    """Check that two pairs, or stacks of them, are equal, bit for bit."""
    for name in (field.name for field in fields(Pair) if field.name != "info"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert left.dtype == right.dtype, name
            assert np.array_equal(left, right), name
    assert a.info.keys() == b.info.keys()
    for key, value in a.info.items():
        for left, right in zip(*((x if isinstance(x, list) else [x]) for x in (value, b.info[key])), strict=True):
            assert np.array_equal(left, right), key
