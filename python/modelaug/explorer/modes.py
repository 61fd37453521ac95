"""Pairs of the mean image and an image of chosen modes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array
from modelaug._random import generator
from modelaug.locality.gaussian import GaussianModel
from modelaug.models.appearance import AppearanceModel
from modelaug.synthesis import Pair, PairOptions
from modelaug.synthesis.geometry import Coefficients, GeometrySource
from modelaug.synthesis.synthesizer import mean_weight
from modelaug.transforms.warping import warp

_STEPS = 20  # in which modes that fold are shrunk to the mean


class _ChosenGeometry(GeometrySource):
    """The geometry of chosen coefficients, shrunk towards the mean until it is valid."""

    def __init__(self, model: AppearanceModel, options: PairOptions, chosen: Array) -> None:
        super().__init__(model, 0, options)
        self._chosen = chosen

    def _attempts(self, index: int) -> Iterator[tuple[Coefficients, int, float]]:
        pose = np.zeros((2, len(self.model.pose.variances)))
        shape = np.stack([np.zeros_like(self._chosen), self._chosen])
        for step in range(_STEPS + 1):
            shrink = 1 - step / _STEPS
            yield Coefficients(shrink * shape, pose, None, generator(self.seed, index)), step + 1, shrink


class ModePairs:
    """Pairs whose fixed image is the mean, and whose moving one has chosen modes of shape and texture.

    Both are in the mean pose. Nothing is drawn at random. A shape whose map folds is shrunk towards the mean until its
    map is diffeomorphic, see `PairGeometry`; ``info["shrink"]`` is the factor.

    Parameters
    ----------
    model
        A fitted or loaded model.
    options
        How pairs are made. With ``texture="shared"`` the fixed image has the moving one's texture. Residual
        deformations and acquisition, which are random, are left out.
    """

    def __init__(self, model: AppearanceModel, *, options: PairOptions | None = None) -> None:
        self.model = _checks.instance(
            "model", model, AppearanceModel, "an AppearanceModel, fitted or loaded", large=True
        )
        self.options = replace(_checks.options(options, PairOptions), residual=None, acquisition=None)
        self._weight = mean_weight(model, self.options)

    def draw(self, shape: Sequence[float] = (), texture: Sequence[float] = ()) -> Pair:
        """Return the pair of the mean and chosen modes.

        Parameters
        ----------
        shape, texture
            Of the first modes, in standard deviations; the others are 0.

        Returns
        -------
        Pair
            ``info`` is that of its `PairGeometry`.
        """
        model = self.model
        chosen = _coefficients("shape", shape, model.shape)
        geometry = _ChosenGeometry(model, self.options, chosen).draw(0)
        moved = self._texture(_coefficients("texture", texture, model.texture))
        still = moved if self.options.texture == "shared" else self._texture(np.zeros(len(model.texture.variances)))
        fixed, moving = geometry.displacements
        weight = warp(self._weight, fixed, threads=1) * geometry.inside
        labels: Any = (None, None)
        if model.labels is not None:
            labels = [warp(model.labels, u, order=0, border="constant", threads=1) for u in (fixed, moving)]
        images = model.render(still, fixed), model.render(moved, moving)
        return Pair(*images, geometry.flow, weight, *geometry.landmarks, labels[0], labels[1], geometry.info)

    def _texture(self, coefficients: Array) -> npt.NDArray[np.float32]:
        """Return the texture (c, *grid) within the range of the training images."""
        used = np.flatnonzero(coefficients)  # a few of many, for speed
        part = self.model.texture
        flat = part.mean + part.basis[:, used] @ coefficients[used].astype(part.basis.dtype)
        low, high = (limits.reshape(-1, *(1 for _ in self.model.grid)) for limits in self.model.intensities.T)
        image = np.clip(flat.reshape(self.model.channels, *self.model.grid), low, high)
        return np.ascontiguousarray(image, dtype=np.float32)


def _coefficients(name: str, deviations: Sequence[float], part: GaussianModel) -> Array:
    """Return the coefficients (k,) of all modes, given the first ones in standard deviations."""
    given = [_checks.number(f"{name}[{k}]", value) for k, value in enumerate(deviations)]
    if len(given) > len(part.variances):
        raise ValueError(f"{name} has {len(given)} numbers but the model has {len(part.variances)} modes; pass fewer")
    coefficients = np.zeros(len(part.variances))
    coefficients[: len(given)] = given * np.sqrt(part.variances[: len(given)])
    return coefficients
