"""Training pairs drawn from an appearance model."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._random import generator
from modelaug.model import AppearanceModel
from modelaug.synthesis.acquisition import Acquisition
from modelaug.synthesis.geometry import Geometry, GeometrySource
from modelaug.synthesis.options import PairOptions
from modelaug.synthesis.pairs import Pair, stack_pairs
from modelaug.texture import texture_engine
from modelaug.warping import pull, pull_nearest
from modelaug.weights import landmark_spacing, weight_map

__all__ = ["PairSynthesizer"]

# Of random numbers; geometry.py has one of its own.
_MIXING_STREAM = 2
_ACQUISITION_STREAM = 3  # and 4 for the moving image


class PairSynthesizer:
    """Draws pairs from an appearance model; pair i is a pure function of (model, seed, options, i).

    Parameters
    ----------
    model
        A fitted or loaded model.
    seed
        Non-negative integer.
    options
        How pairs are drawn; defaults if None.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or the options do not fit the model.
    """

    def __init__(self, model: AppearanceModel, *, seed: int = 0, options: PairOptions | None = None) -> None:
        if not isinstance(model, AppearanceModel):
            raise TypeError(f"model is {type(model).__name__}; pass an AppearanceModel, fitted or loaded")
        if options is not None and not isinstance(options, PairOptions):
            raise TypeError(f"options is {options!r}; pass PairOptions(...) or None")
        self.model = model
        self.seed = _checks.integer("seed", seed, minimum=0)
        self.options = PairOptions() if options is None else options
        self._geometry = GeometrySource(model, self.seed, self.options)
        self._engine = texture_engine(model)
        acquisition = self.options.acquisition
        self._acquire = (
            None if acquisition is None else Acquisition(acquisition, model.grid, model.spacing, model.intensities)
        )
        width = self.options.weight_width
        if self.options.weight_unit == "spacing":
            width *= landmark_spacing(model.reference, model.spacing)
        self._weight = weight_map(model.reference, model.objects, model.grid, model.spacing, width)[None]
        self._labels = None if model.labels is None else np.ascontiguousarray(model.labels)[None]

    def geometry(self, index: int) -> Geometry:
        """Return landmarks, maps and flow of pair `index` without rendering it."""
        return self._geometry.draw(index)

    def draw(self, index: int) -> Pair:
        """Return pair `index`.

        ``info`` is that of its `Geometry` and ``shared``, whether both images have the same texture.

        Raises
        ------
        TypeError, ValueError
            If `index` is not an integer from 0 to 2^64 - 1.
        """
        geometry = self._geometry.draw(index)
        shared = self._is_shared(index)
        textures = [self._engine.render(self._engine.numbers(geometry.numbers)) for _ in range(1 if shared else 2)]
        fixed, moving = (self._image(textures[i % len(textures)], geometry, index, i) for i in range(2))
        labels = [None if self._labels is None else pull_nearest(self._labels, u)[0] for u in geometry.displacements]
        return Pair(
            fixed,
            moving,
            geometry.flow,
            # A voxel whose partner lies outside the moving image teaches nothing.
            weight=geometry.inside * pull(self._weight, geometry.displacements[0])[0],
            landmarks_fixed=geometry.landmarks[0],
            landmarks_moving=geometry.landmarks[1],
            labels_fixed=labels[0],
            labels_moving=labels[1],
            info=geometry.info | {"shared": shared},
        )

    def batch(self, indices: Sequence[int], threads: int | None = None) -> Pair:
        """Return the pairs at `indices`, stacked; the same bits as one by one.

        Parameters
        ----------
        indices
            Non-negative integers.
        threads
            Pairs to draw at the same time; None means as many as there are cores.
        """
        if not hasattr(indices, "__len__") or not hasattr(indices, "__getitem__"):
            raise TypeError(f"indices is {indices!r}; pass a sequence of integers")
        if len(indices) == 0:
            raise ValueError("indices is empty; name at least one pair")
        count = min(_checks.thread_count(threads), len(indices))
        if count == 1:
            return stack_pairs([self.draw(i) for i in indices])
        with ThreadPoolExecutor(count) as pool:
            return stack_pairs(list(pool.map(self.draw, indices)))

    def _image(
        self, texture: npt.NDArray[np.float32], geometry: Geometry, index: int, i: int
    ) -> npt.NDArray[np.float32]:
        image = self.model.render(texture, geometry.displacements[i])
        if self._acquire is None:
            return image
        return self._acquire(image, generator(self.seed, index, stream=_ACQUISITION_STREAM + i))

    def _is_shared(self, index: int) -> bool:
        if self.options.texture != "mixed":
            return self.options.texture == "shared"
        return bool(generator(self.seed, index, stream=_MIXING_STREAM).random() < self.options.shared_probability)
