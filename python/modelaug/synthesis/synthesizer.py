"""Synthesis of training pairs from an appearance model."""

from __future__ import annotations

import numpy as np

from modelaug import _checks
from modelaug._arrays import Image
from modelaug._random import Stream, generator
from modelaug.models.appearance import AppearanceModel
from modelaug.models.texture import texture_engine
from modelaug.synthesis.acquisition import Acquisition
from modelaug.synthesis.batching import BatchedSource, pair_layout
from modelaug.synthesis.geometry import GeometrySource, PairGeometry
from modelaug.synthesis.options import PairOptions
from modelaug.synthesis.pairs import Layout, Pair, PairInfo
from modelaug.synthesis.weights import landmark_spacing, weight_map
from modelaug.transforms.warping import pull, pull_nearest


def mean_weight(model: AppearanceModel, options: PairOptions) -> Image:
    """Return the weight map (*grid) of the reference space, by options."""
    width = options.weight_width
    if options.weight_unit == "spacing":
        width *= landmark_spacing(model.reference, model.spacing)
    return weight_map(model.reference, model.objects, model.grid, model.spacing, width)


class PairSynthesizer(BatchedSource):
    """Source of pairs from an appearance model; pair i is a pure function of (model, seed, options, i).

    It has the same bits alone, in a batch, in any order, with any number of threads and in any process. With another
    instruction set or other versions of the libraries, see `modelaug.io.bits_here`, it differs by rounding.

    Parameters
    ----------
    model
        A fitted or loaded model.
    seed
        Non-negative integer.
    options
        Options of the synthesis; defaults if None.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import AppearanceModel, PairOptions, PairSynthesizer, phantoms, warp
    >>> model = AppearanceModel.fit(phantoms.heart(6, shape=(48, 48)))
    >>> pairs = PairSynthesizer(model, seed=0, options=PairOptions(texture="shared"))
    >>> pair = pairs.draw(7)
    >>> pair.fixed.shape, pair.flow.shape
    ((1, 48, 48), (2, 48, 48))
    >>> missed = np.abs(warp(pair.moving, pair.flow) - pair.fixed)[0][pair.weight > 0]
    >>> bool(missed.mean() < 0.2 * np.abs(pair.moving - pair.fixed)[0][pair.weight > 0].mean())
    True
    >>> batch = pairs.batch([3, 7], threads=2)  # stacked; the same bits
    >>> bool((batch.fixed[1] == pair.fixed).all())
    True
    """

    _origin = "model"

    def __init__(self, model: AppearanceModel, *, seed: int = 0, options: PairOptions | None = None) -> None:
        self.model = _checks.instance("model", model, AppearanceModel, "a fitted or loaded AppearanceModel", large=True)
        self.seed = _checks.integer("seed", seed, minimum=0)
        self.options = _checks.options(options, PairOptions)
        self._geometry = GeometrySource(model, self.seed, self.options)
        self._engine = texture_engine(model)
        self._acquire: Acquisition | None = None
        if self.options.acquisition is not None:
            self._acquire = Acquisition(self.options.acquisition, model.grid, model.spacing, model.intensities)
        self._weight = mean_weight(model, self.options)
        self._labels = None if model.labels is None else np.ascontiguousarray(model.labels)

    def geometry(self, index: int) -> PairGeometry:
        """Return the landmarks, maps and flow of pair `index` without rendering it."""
        return self._geometry.draw(index)

    def draw(self, index: int) -> Pair:
        """Return pair `index`.

        Its ``info`` has the entries of its `PairGeometry` and ``shared``, see `PairInfo`.
        """
        return super().draw(index)

    def layout(self) -> Layout:
        """Return the shape and type of each array of a pair, by its name in `Pair`."""
        model, labels = self.model, None if self._labels is None else self._labels.dtype
        return pair_layout(model.grid, channels=model.channels, landmarks=len(model.reference), labels=labels)

    def _fill(self, index: int, out: Pair) -> PairInfo:
        """Draw pair `index` into arrays and return its info."""
        geometry = self._geometry.draw(index, out.flow)
        fixed, moving = geometry.displacements
        shared = self._is_shared(index)
        texture = self._engine.render(self._engine.numbers(geometry.numbers))
        self._render(texture, fixed, index, 0, out.fixed)
        if not shared:
            texture = self._engine.render(self._engine.numbers(geometry.numbers))
        self._render(texture, moving, index, 1, out.moving)
        # A voxel whose partner lies outside the moving image has no weight.
        pull(self._weight, fixed, out.weight)
        np.multiply(out.weight, geometry.inside, out=out.weight)
        for displacement, labels in ((fixed, out.labels_fixed), (moving, out.labels_moving)):
            if self._labels is not None and labels is not None:
                pull_nearest(self._labels, displacement, labels)
        out.landmarks_fixed[:], out.landmarks_moving[:] = geometry.landmarks
        return {**geometry.info, "shared": shared}

    def _render(self, texture: Image, displacement: Image, index: int, i: int, out: Image) -> None:
        self.model.render(texture, displacement, out)
        if self._acquire is not None:
            out[:] = self._acquire(out, generator(self.seed, index, stream=Stream.ACQUISITION + i))

    def _is_shared(self, index: int) -> bool:
        if self.options.texture != "mixed":
            return self.options.texture == "shared"
        drawn = generator(self.seed, index, stream=Stream.SHARED_TEXTURE).random()
        return bool(drawn < self.options.shared_probability)
