"""Engines that draw textures from the learned images.

All engines implement `TextureEngine`; their properties are:

``"basis"``
    mean + modes @ numbers, a Gaussian with the covariance of `AppearanceModel.texture`. With one level these are the
    principal components of the cohort; with more, localized eigenimages.
``"fields"``
    The covariance C of the principal components is multiplied elementwise with the correlation W of smooth random
    fields: ``I = mean + sum_k sqrt(variance_k) mode_k(x) g_k(x)`` with independent g_k has exactly the covariance
    C ∘ W, without a basis of its own. Mean and variance at a pixel are those of the principal components.
``"patchwork"``
    ``I = sum_s share_s(x) I_s(x)``, where the shares are the softmax of smooth random fields over the subjects (less a
    thousandth of the largest, so that few are above 0 anywhere) and the I_s are without their gain and bias, for which
    new ones are drawn. Every region comes from one or few real subjects, sharp and in range. The covariance is not
    preserved: mixing lowers the variance between subjects where shares blend.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from modelaug import _core
from modelaug._arrays import Array, Image
from modelaug.locality.gaussian import GaussianModel
from modelaug.models.appearance import AppearanceModel
from modelaug.transforms.lattices import MultiscaleLattice


class TextureEngine(Protocol):
    """Draws textures of the reference space."""

    def numbers(self, rng: np.random.Generator) -> list[Array]:
        """Draw the standard normal numbers of one texture; their count and order never change."""
        ...

    def render(self, numbers: list[Array]) -> Image:
        """Return the texture (c, *grid) for the numbers."""
        ...


def texture_engine(model: AppearanceModel) -> TextureEngine:
    """Return the texture engine of a model, by its options."""
    options = model.texture_options
    if options.engine == "basis":
        return BasisEngine(model)
    lattice = MultiscaleLattice(model.grid, model.spacing, options.levels)
    return FieldsEngine(model, lattice) if options.engine == "fields" else PatchworkEngine(model, lattice)


class BasisEngine:
    """Textures mean + modes @ numbers."""

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
    """Textures mean + sum over modes of sqrt(variance) * mode * field."""

    def __init__(self, model: AppearanceModel, lattice: MultiscaleLattice) -> None:
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
    """Mixtures of the subjects' textures, weighted by the softmax of smooth random fields."""

    def __init__(self, model: AppearanceModel, lattice: MultiscaleLattice) -> None:
        self.lattice = lattice
        self._sharpness = model.texture_options.sharpness
        self._ranges = model.intensities
        subjects = _subjects(model)
        flat = subjects.reshape(len(subjects), model.channels, -1)
        gain, bias = flat.std(axis=2, dtype=np.float64), flat.mean(axis=2, dtype=np.float64)
        gain[gain == 0] = 1.0
        self._count = len(subjects)
        scaled = ((flat - bias[..., None]) / gain[..., None]).astype(np.float32)
        self._patches = in_blocks(scaled.reshape(subjects.shape))
        # A Gaussian model of log-gain and bias of all channels, by its factor: samples = mean + numbers @ factor.
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
    """Return images (k, c, *grid) as (rows, blocks, k, c, voxels): what kernels mix at once is one piece of memory."""
    return _core.in_blocks(np.ascontiguousarray(images, dtype=np.float32))


def _planes(texture: GaussianModel, model: AppearanceModel) -> tuple[Image, Image]:
    """Return mean (c, pixels) and modes (k, c, pixels), contiguous for the kernels."""
    pixels = math.prod(model.grid)
    modes = np.ascontiguousarray(texture.basis.T, dtype=np.float32)
    return texture.mean.astype(np.float32).reshape(-1, pixels), modes.reshape(-1, model.channels, pixels)


def _subjects(model: AppearanceModel) -> Image:
    """Return the normalized textures of the training subjects, (n, c, *grid), from their coefficients."""
    mean, modes = _planes(model.texture, model)
    # By the kernel, not by a BLAS product, whose rounding may depend on the number of its threads.
    textures = [_core.render_texture(mean, modes, model.intensities, row, 1) for row in model.texture_coefficients]
    return np.stack(textures).reshape(-1, model.channels, *model.grid)
