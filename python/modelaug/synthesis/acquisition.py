"""Random acquisition effects: contrast, bias field and noise, without any change of geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt

from modelaug._arrays import Image
from modelaug._checked import Checked, Limits
from modelaug.transforms.lattices import MultiscaleLattice

UNIT_RANGE: Final[Image] = np.array([[0.0, 1.0]], dtype=np.float32)
"""Range (1, 2) of images with intensities from 0 to 1 in all channels."""

Strength = Annotated[float, Limits(0.0, 10.0)]


@dataclass(frozen=True)
class AcquisitionOptions(Checked):
    """Random changes of intensities after rendering, independent for the two images of a pair.

    Intensities are scaled to [0, 1] by the model's range of each channel, changed in the order of the parameters,
    clipped to [0, 1], and scaled back. All parameters are 0 by default, which changes nothing, and at most 10, which
    keeps all numbers in the range of float32.

    Parameters
    ----------
    gamma
        Standard deviation of log gamma, the exponent of the intensities.
    contrast
        Standard deviation of the log contrast about the middle of the range.
    bias
        Standard deviation of the log of a bias field, a smooth factor; half of it is common to the whole image.
    noise
        Standard deviation of white Gaussian noise, as a fraction of the range.
    """

    gamma: Strength = 0.0
    contrast: Strength = 0.0
    bias: Strength = 0.0
    noise: Strength = 0.0


class Acquisition:
    """Acquisition effects on images (c, *grid) within `ranges`, (c, 2) or (1, 2) for all channels."""

    def __init__(
        self, options: AcquisitionOptions, grid: tuple[int, ...], spacing: npt.NDArray[np.float64], ranges: Image
    ) -> None:
        self._options = options
        self._lattice = MultiscaleLattice(grid, spacing, 2)
        low, high = (ranges[:, k].reshape(-1, *(1 for _ in grid)) for k in range(2))
        self._low, self._span = low, high - low
        self._scale = np.where(self._span > 0, self._span, 1.0).astype(np.float32)

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """Apply the effects to an image; its numbers are always drawn, in one order, noise last."""
        options = self._options
        gamma, contrast = np.exp(np.array([options.gamma, options.contrast]) * rng.standard_normal(2)).tolist()
        numbers = self._lattice.numbers(rng, 1)
        x = np.clip((image - self._low) / self._scale, 0.0, 1.0)
        if options.gamma > 0:
            x = x ** np.float32(gamma)
        if options.contrast > 0:
            x = np.float32(0.5) + np.float32(contrast) * (x - np.float32(0.5))
        if options.bias > 0:
            field = self._lattice.on_grid(numbers)[0] * self._lattice.inverse_deviation
            x = x * np.exp(np.float32(options.bias) * field)
        if options.noise > 0:
            x = x + np.float32(options.noise) * rng.standard_normal(x.shape, dtype=np.float32)
        return np.asarray(self._low + self._span * np.clip(x, 0.0, 1.0), dtype=np.float32)
