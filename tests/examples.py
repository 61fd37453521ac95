"""Small cohorts whose truth is known, and models of them; each is made once per session."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from modelaug import AppearanceModel, Cohort, LandmarkObject, Pair, ShapeOptions, TextureOptions, phantoms

Array = npt.NDArray[np.float64]

RADII = (1.0, 0.7, 0.8)
"""Relative radii of the ellipsoids along their own axes."""

FULL: dict[str, Any] = {
    "shape": ShapeOptions(levels=1, coverage=1.0),
    "texture": TextureOptions(engine="basis", levels=1, coverage=1.0),
}
"""Options of the classical model with all its variance: principal components of shape and texture."""


def philox(seed: int) -> np.random.Generator:
    """Return a generator for one test."""
    return np.random.Generator(np.random.Philox(seed))


def rotation(rng: np.random.Generator, d: int, largest: float = np.pi) -> Array:
    """Return a rotation by up to `largest` radians."""
    if d == 3:
        axis = rng.normal(size=3)
        return Rotation.from_rotvec(axis / np.linalg.norm(axis) * rng.uniform(-largest, largest)).as_matrix()
    angle = rng.uniform(-largest, largest)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def directions(d: int, count: int) -> Array:
    """Return unit vectors (count, d) all around, in order around the circle in the plane."""
    steps = np.arange(count) + 0.5
    if d == 2:
        return np.stack([np.sin(2 * np.pi * steps / count), np.cos(2 * np.pi * steps / count)], axis=1)
    height, turn = 1 - 2 * steps / count, steps * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - height**2)
    return np.stack([height, ring * np.cos(turn), ring * np.sin(turn)], axis=1)


def ellipsoids(
    n: int, grid: Sequence[int], spacing: Sequence[float], *, channels: int = 1, size: float = 0.27, seed: int = 0
) -> Cohort:
    """Return posed ellipses or ellipsoids that differ in one mode: how long their first axis is.

    They are rotated by up to 0.3 radians in millimetres. Channel k is 100 (k + 1) inside, 10 k outside, with a soft
    edge that has the mean of both exactly at the landmarks; the label inside is 1.
    """
    rng = philox(seed)
    d, mm = len(grid), np.asarray(spacing, dtype=np.float64)
    extent = (np.array(grid) - 1) * mm
    outline = directions(d, 16 if d == 2 else 30)
    voxels = np.moveaxis(np.indices(tuple(grid)), 0, -1) * mm
    images, landmarks, labels = [], [], []
    for _ in range(n):
        radii = size * extent.min() * np.array(RADII[:d]) * np.array([1 + rng.uniform(-0.2, 0.2), *[1.0] * (d - 1)])
        turn, centre = rotation(rng, d, 0.3), extent / 2 + rng.uniform(-0.05, 0.05, size=d) * extent
        landmarks.append((centre + (outline * radii) @ turn.T) / mm)
        level = np.linalg.norm((voxels - centre) @ turn / radii, axis=-1)
        inside = 1 / (1 + np.exp(8 * (level - 1)))
        images.append([10 * k + (90 * k + 100) * inside for k in range(channels)])
        labels.append(level <= 1)
    whole = LandmarkObject("ellipse", tuple(range(len(outline))), "closed" if d == 2 else "points")
    return Cohort(np.array(images), landmarks, labels=np.array(labels, np.uint8), objects=[whole], spacing=mm)


@functools.cache
def plane() -> Cohort:
    """Return 12 ellipses in the plane with two channels, on pixels twice as wide as high."""
    return ellipsoids(12, (44, 26), (1.0, 2.0), channels=2)


@functools.cache
def volume() -> Cohort:
    """Return 6 ellipsoids in space, on voxels that are no cubes."""
    return ellipsoids(6, (16, 22, 18), (2.5, 1.5, 2.0))


@functools.cache
def hearts() -> Cohort:
    """Return 10 heart phantoms."""
    return phantoms.heart(10, shape=(64, 64), seed=3)


@functools.cache
def plane_model() -> AppearanceModel:
    """Return the classical model of `plane` with all its variance."""
    return AppearanceModel.fit(plane(), **FULL)


@functools.cache
def fields_model() -> AppearanceModel:
    """Return the model of `plane` whose textures are mixed by random fields of three levels."""
    return AppearanceModel.fit(plane(), texture=TextureOptions(engine="fields", levels=3))


@functools.cache
def basis_model() -> AppearanceModel:
    """Return the model of `plane` whose textures are eigenimages of two levels."""
    return AppearanceModel.fit(plane(), texture=TextureOptions(engine="basis", levels=2, max_modes=50))


@functools.cache
def volume_model() -> AppearanceModel:
    """Return the model of `volume` with the default options."""
    return AppearanceModel.fit(volume())


@functools.cache
def heart_model() -> AppearanceModel:
    """Return the model of `hearts` with the default options."""
    return AppearanceModel.fit(hearts())


MODELS = [plane_model, fields_model, basis_model, volume_model, heart_model]
"""All engines of textures, principal components and localized shapes, in the plane and in space."""


def wilder(model: AppearanceModel, factor: float) -> AppearanceModel:
    """Return the model with a multiple of its variances of shape."""
    return replace(model, shape=replace(model.shape, variances=model.shape.variances * factor))


def arrays_of(pair: Pair) -> dict[str, npt.NDArray[np.generic]]:
    """Return all arrays of a pair by name, and the numbers of its info."""
    arrays = {name: getattr(pair, name) for name in Pair.__dataclass_fields__ if name != "info"}
    arrays |= {key: np.asarray(value) for key, value in pair.info.items() if key != "rejected"}
    # Lists of reasons differ in length from pair to pair.
    arrays["rejected"] = np.frombuffer(str(pair.info["rejected"]).encode(), np.uint8)
    return {name: value for name, value in arrays.items() if value is not None}


def same_pairs(a: Pair, b: Pair) -> None:
    """Check that two pairs, or stacks of them, are equal, bit for bit."""
    left, right = arrays_of(a), arrays_of(b)
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype, name
        assert np.array_equal(array, right[name]), name


def digest(pair: Pair) -> str:
    """Return a hash of all that a pair holds."""
    total = hashlib.sha256()
    for name, value in sorted(arrays_of(pair).items()):
        total.update(f"{name} {value.dtype} {value.shape}".encode())
        total.update(np.ascontiguousarray(value).tobytes())
    return total.hexdigest()


def parts_of(model: AppearanceModel) -> dict[str, npt.NDArray[np.generic]]:
    """Return all arrays of a model by name."""
    fixed = (
        "reference",
        "center",
        "spacing",
        "labels",
        "intensities",
        "background",
        "crossings",
        "texture_coefficients",
    )
    arrays = {name: getattr(model, name) for name in fixed}
    for name in ("shape", "texture", "pose"):
        part = getattr(model, name)
        arrays |= {f"{name}_mean": part.mean, f"{name}_basis": part.basis, f"{name}_variances": part.variances}
    return {name: value for name, value in arrays.items() if value is not None}


def same_models(a: AppearanceModel, b: AppearanceModel) -> None:
    """Check that two models are equal, bit for bit."""
    left, right = parts_of(a), parts_of(b)
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype, name
        assert np.array_equal(array, right[name]), name
    for name in ("grid", "channels", "objects", "options", "provenance"):
        assert getattr(a, name) == getattr(b, name), name


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """Return the overlap of two masks."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def one_line(error: BaseException) -> str:
    """Return the message of an error, checked to be a single line."""
    message = str(error)
    assert message
    assert "\n" not in message
    return message
