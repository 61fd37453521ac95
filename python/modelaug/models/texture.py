"""Engines that draw textures: how the learned images are mixed into a new one.

All engines stand behind `TextureEngine`; what each claims:

``"basis"``
    mean + modes @ numbers, a Gaussian with the covariance of `AppearanceModel.texture`. With one level these are the
    principal components of the cohort; with more, localized eigenimages.
``"fields"``
    The covariance C of the principal components is multiplied, pixel pair by pixel pair, with the correlation W of
    smooth random fields: ``I = mean + sum_k sqrt(variance_k) mode_k(x) g_k(x)`` with independent g_k has the covariance
    C ∘ W exactly, without any basis of its own. Mean and variance at a pixel are those of the principal components.
``"patchwork"``
    ``I = sum_s share_s(x) I_s(x)``, the shares the softmax of smooth fields over the subjects (less a thousandth of the
    largest, so that few are above 0 anywhere), after each subject's gain and bias were taken away; new ones are drawn
    afterwards. Every region comes from one or few real subjects,
    sharp and in range. It makes no claim on the covariance: mixing lowers the variance between subjects where shares
    blend.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core

if TYPE_CHECKING:
    from modelaug.locality.gaussian import GaussianModel
    from modelaug.models.appearance import AppearanceModel

__all__ = [
    "BasisEngine",
    "FieldLattice",
    "FieldsEngine",
    "PatchworkEngine",
    "TextureEngine",
    "in_blocks",
    "texture_engine",
]

_FEW_NODES = 100_000  # control points of a field that are always allowed

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]


class TextureEngine(Protocol):
    """Draws textures of the mean frame."""

    def numbers(self, rng: np.random.Generator) -> list[Array]:
        """Draw the standard normal numbers of one texture; always as many, in the same order."""
        ...

    def render(self, numbers: list[Array]) -> Image:
        """Return the texture that belongs to the numbers, (c, *grid)."""
        ...


def texture_engine(model: AppearanceModel) -> TextureEngine:
    """Return the engine that the model's options name."""
    options = model.texture_options
    if options.engine == "basis":
        return BasisEngine(model)
    lattice = FieldLattice(model.grid, model.spacing, options.levels)
    return FieldsEngine(model, lattice) if options.engine == "fields" else PatchworkEngine(model, lattice)


class FieldLattice:
    """Smooth random fields of unit variance with correlations at several scales.

    A field is a cubic B-spline: independent standard normal numbers as control points of lattices with halved spacing,
    one per level, and a single number for the first, global level; every level adds the same average variance, and the
    sum is divided by its standard deviation at each voxel. The covariance is therefore known in closed form
    (`covariance`), positive definite, and beyond the first level's constant part exactly 0 at distances of more than
    half the largest one along any axis.

    Parameters
    ----------
    grid
        Shape of the fields, 2 or 3 axes.
    spacing : ndarray, (d,)
        Millimetres per voxel.
    levels
        Number of levels l. Level l > 1 correlates nothing at distances, along an axis, of ``diagonal / 2^(l - 1)`` and
        more: four times the spacing of its control points.

    Attributes
    ----------
    cells : list of tuple of int
        Cells of the lattice along each axis, for levels 2 and on; at least one entry.
    inverse_deviation : ndarray, (*grid), float32
    """

    def __init__(self, grid: tuple[int, ...], spacing: Array, levels: int) -> None:
        self.grid = _checks.grid_shape("grid", grid)
        self.levels = _checks.integer("levels", levels, minimum=1, maximum=12)
        extent = (np.array(self.grid) - 1) * spacing
        step = float(np.linalg.norm(extent)) / 8
        # Where an axis is shorter than a cell, one cell covers it; each level has twice the cells of the one before.
        coarsest = tuple(max(1, round(length / step)) if length > 0 else 1 for length in extent.tolist())
        self.cells = [coarsest]
        for _ in range(3, self.levels + 1):
            self.cells.append(tuple(2 * n if g > 1 else 1 for n, g in zip(self.cells[-1], self.grid, strict=True)))
            if math.prod(n + 3 for n in self.cells[-1]) > max(2 * math.prod(self.grid), _FEW_NODES):
                raise ValueError(
                    f"levels is {levels}, finer than the grid {self.grid}; pass {len(self.cells)} or fewer"
                )
        local = range(len(self.cells)) if self.levels > 1 else range(0)
        self._axes = [[_basis_matrix(g, n) for g, n in zip(self.grid, self.cells[i], strict=True)] for i in local]
        variances = [math.prod(float((b**2).sum(axis=1).mean()) for b in axes) for axes in self._axes]
        self._amplitudes = [1 / math.sqrt(self.levels * variance) for variance in variances]
        self._global = 1 / math.sqrt(self.levels)
        total = np.full(self.grid, self._global**2)
        for amplitude, axes in zip(self._amplitudes, self._axes, strict=True):
            total += amplitude**2 * _outer([(b**2).sum(axis=1) for b in axes])
        self.inverse_deviation = (1 / np.sqrt(total)).astype(np.float32)

    def numbers(self, rng: np.random.Generator, count: int) -> list[Array]:
        """Draw the numbers of `count` fields: one array per level, (count, *nodes)."""
        shapes = [tuple(n + 3 for n in self.cells[i]) for i in range(len(self._axes))]
        return [rng.standard_normal(count), *(rng.standard_normal((count, *shape)) for shape in shapes)]

    def coefficients(self, numbers: list[Array]) -> Image:
        """Return control points (count, *nodes) on the finest lattice for the numbers of all levels."""
        # A spline whose control points are all equal is constant.
        total: Array = (self._global * numbers[0]).reshape(-1, *(1 for _ in self.grid))
        for level, (amplitude, normals) in enumerate(zip(self._amplitudes, numbers[1:], strict=True)):
            if level > 0:
                for axis, length in enumerate(self.grid):
                    total = _refined(total, axis + 1) if length > 1 else total
            total = total + amplitude * normals
        if not self._amplitudes:
            total = np.broadcast_to(total, (len(total), *(n + 3 for n in self.cells[0])))
        return np.ascontiguousarray(total, dtype=np.float32)

    def covariance(self) -> Array:
        """Return the covariance of a field between all pairs of voxels, (voxels, voxels); for small grids only."""
        voxels = math.prod(self.grid)
        total = np.full((voxels, voxels), self._global**2)
        for amplitude, axes in zip(self._amplitudes, self._axes, strict=True):
            part: Array = np.ones((1, 1))
            for b in axes:
                part = np.asarray(np.kron(part, b @ b.T), dtype=np.float64)
            total += amplitude**2 * part
        scale = self.inverse_deviation.astype(np.float64).ravel()
        return np.asarray(total * scale[:, None] * scale)


class BasisEngine:
    """mean + modes @ numbers."""

    def __init__(self, model: AppearanceModel) -> None:
        self._mean, self._modes = _planes(model.texture, model)
        self._deviations = np.sqrt(model.texture.variances)
        self._ranges = model.intensities
        self._shape = (model.channels, *model.grid)

    def numbers(self, rng: np.random.Generator) -> list[Array]:
        """Draw one number per mode."""
        return [rng.standard_normal(len(self._deviations))]

    def render(self, numbers: list[Array]) -> Image:
        """Return the texture (c, *grid)."""
        coefficients = self._deviations * numbers[0]
        return _core.render_texture(self._mean, self._modes, self._ranges, coefficients, 1).reshape(self._shape)


class FieldsEngine:
    """mean + sum over modes of sqrt(variance) * mode * field."""

    def __init__(self, model: AppearanceModel, lattice: FieldLattice) -> None:
        mean, modes = _planes(model.texture, model)
        shape = (model.channels, *model.grid)
        self.lattice = lattice
        self._mean = mean.reshape(shape)
        deviations = np.sqrt(model.texture.variances).astype(np.float32)
        self._count = len(modes)
        self._factors = in_blocks((modes * deviations[:, None, None]).reshape(-1, *shape))
        self._ranges = model.intensities

    def numbers(self, rng: np.random.Generator) -> list[Array]:
        """Draw the numbers of one field per mode."""
        return self.lattice.numbers(rng, self._count)

    def render(self, numbers: list[Array]) -> Image:
        """Return the texture (c, *grid)."""
        coefficients = self.lattice.coefficients(numbers)
        deviation = self.lattice.inverse_deviation
        return _core.render_fields(self._factors, deviation, self._ranges, self._mean, coefficients, 1)


class PatchworkEngine:
    """The subjects' own textures, each in a share of the softmax of its field."""

    def __init__(self, model: AppearanceModel, lattice: FieldLattice) -> None:
        self.lattice = lattice
        self._sharpness = model.texture_options.sharpness
        self._ranges = model.intensities
        subjects = _subjects(model)
        flat = subjects.reshape(len(subjects), model.channels, -1)
        gain, bias = flat.std(axis=2, dtype=np.float64), flat.mean(axis=2, dtype=np.float64)
        gain[gain == 0] = 1.0
        self._count = len(subjects)
        self._patches = in_blocks(
            ((flat - bias[..., None]) / gain[..., None]).astype(np.float32).reshape(subjects.shape)
        )
        # One Gaussian for log-gain and bias of all channels, by its factor: samples = mean + numbers @ factor.
        style = np.concatenate([np.log(gain), bias], axis=1)
        self._style_mean = style.mean(axis=0)
        self._style_factor = (style - self._style_mean) / math.sqrt(len(style) - 1)

    def numbers(self, rng: np.random.Generator) -> list[Array]:
        """Draw the numbers of gain and bias, then those of one field per subject."""
        style = rng.standard_normal(len(self._style_factor))
        return [style, *self.lattice.numbers(rng, self._count)]

    def render(self, numbers: list[Array]) -> Image:
        """Return the texture (c, *grid)."""
        style = self._style_mean + (numbers[0][:, None] * self._style_factor).sum(axis=0)
        c = len(style) // 2
        return _core.render_patchwork(
            self._patches,
            self.lattice.inverse_deviation,
            self._ranges,
            self._sharpness,
            np.exp(style[:c]).astype(np.float32),
            style[c:].astype(np.float32),
            self.lattice.coefficients(numbers[1:]),
            1,
        )


def in_blocks(images: Image) -> Image:
    """Return images (k, c, *grid) as (rows, blocks, k, c, 16): what the kernels mix at once is one piece of memory."""
    k, c, *_, columns = images.shape
    blocks = -(-columns // 16)
    padded = np.zeros((k, c, math.prod(images.shape[2:-1]), 16 * blocks), dtype=np.float32)
    padded[..., :columns] = images.reshape(k, c, -1, columns)
    return np.ascontiguousarray(padded.reshape(k, c, -1, blocks, 16).transpose(2, 3, 0, 1, 4))


def _planes(texture: GaussianModel, model: AppearanceModel) -> tuple[Image, Image]:
    """Return mean (c, pixels) and modes (k, c, pixels), contiguous as the kernels want them."""
    pixels = math.prod(model.grid)
    modes = np.ascontiguousarray(texture.basis.T, dtype=np.float32)
    return texture.mean.astype(np.float32).reshape(-1, pixels), modes.reshape(-1, model.channels, pixels)


def _subjects(model: AppearanceModel) -> Image:
    """Return the normalized textures of the training subjects, (n, c, *grid), from their coefficients."""
    mean, modes = _planes(model.texture, model)
    shape = (model.channels, *model.grid)
    # By the kernel, not by a BLAS product, whose rounding may depend on the number of its threads.
    return np.stack(
        [
            _core.render_texture(mean, modes, model.intensities, coefficients, 1).reshape(shape)
            for coefficients in model.texture_coefficients
        ]
    )


def _basis_matrix(voxels: int, cells: int) -> Array:
    """Return the values of the cells + 3 cubic B-splines at all voxels of an axis, (voxels, cells + 3)."""
    matrix = np.zeros((voxels, cells + 3))
    positions = np.arange(voxels) * (cells / max(voxels - 1, 1))
    first = np.minimum(positions.astype(int), cells - 1)
    t = positions - first
    weights = (
        np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3], axis=1) / 6
    )
    np.put_along_axis(matrix, first[:, None] + np.arange(4), weights, axis=1)
    return matrix


def _outer(factors: list[Array]) -> Array:
    product = factors[0]
    for factor in factors[1:]:
        product = product[..., None] * factor
    return product


def _refined(lattice: Array, axis: int) -> Array:
    """Return the control points of the same spline with twice the cells along an axis (two-scale relation)."""
    coarse = np.moveaxis(lattice, axis, 0)
    fine = np.empty((2 * len(coarse) - 3, *coarse.shape[1:]))
    fine[0::2] = 0.5 * (coarse[:-1] + coarse[1:])
    fine[1::2] = 0.125 * (coarse[:-2] + 6 * coarse[1:-1] + coarse[2:])
    return np.moveaxis(fine, 0, axis)
