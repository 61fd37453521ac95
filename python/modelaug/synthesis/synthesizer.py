"""Training pairs drawn from an appearance model."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._random import generator
from modelaug.model import AppearanceModel
from modelaug.synthesis.acquisition import Acquisition
from modelaug.synthesis.geometry import Geometry, GeometrySource
from modelaug.synthesis.options import PairOptions
from modelaug.synthesis.pairs import Pair
from modelaug.texture import texture_engine
from modelaug.warping import pull, pull_nearest
from modelaug.weights import landmark_spacing, weight_map

__all__ = ["PairSynthesizer"]

Image = npt.NDArray[np.float32]

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
        self._weight = weight_map(model.reference, model.objects, model.grid, model.spacing, width)
        self._labels = None if model.labels is None else np.ascontiguousarray(model.labels)

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
        pair = self._empty(())
        return replace(pair, info=self._fill(index, pair))

    def batch(self, indices: Sequence[int], threads: int | None = None, out: Pair | None = None) -> Pair:
        """Return the pairs at `indices`, stacked; the same bits as one by one.

        Parameters
        ----------
        indices
            Non-negative integers.
        threads
            Pairs to draw at the same time; None means as many as there are cores.
        out
            Stacked pairs whose arrays are filled, for example page-locked memory; as of `empty`. New arrays by default.

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer from 0 to 2^64 - 1, there is none, or the arrays of `out` are of another kind.
        """
        if not hasattr(indices, "__len__") or not hasattr(indices, "__getitem__"):
            raise TypeError(f"indices is {indices!r}; pass a sequence of integers")
        if len(indices) == 0:
            raise ValueError("indices is empty; name at least one pair")
        count = min(_checks.thread_count(threads), len(indices))
        pairs = self.empty(len(indices)) if out is None else self._checked(out, len(indices))
        slots = [_slot(pairs, i) for i in range(len(indices))]
        if count == 1:
            infos = [self._fill(index, slot) for index, slot in zip(indices, slots, strict=True)]
        else:
            with ThreadPoolExecutor(count) as pool:
                infos = list(pool.map(self._fill, indices, slots))
        return replace(pairs, info={key: [info[key] for info in infos] for key in infos[0]})

    def empty(self, count: int) -> Pair:
        """Return `count` stacked pairs whose arrays hold anything, to be filled by `batch`."""
        return self._empty((_checks.integer("count", count, minimum=1),))

    def layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and type of every array of a pair, by its name in `Pair`."""
        model = self.model
        image = ((model.channels, *model.grid), np.dtype(np.float32))
        points = (model.reference.shape, np.dtype(np.float64))
        arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
            "fixed": image,
            "moving": image,
            "flow": ((len(model.grid), *model.grid), np.dtype(np.float32)),
            "weight": (model.grid, np.dtype(np.float32)),
            "landmarks_fixed": points,
            "landmarks_moving": points,
        }
        if self._labels is not None:
            arrays |= {name: (model.grid, self._labels.dtype) for name in ("labels_fixed", "labels_moving")}
        return arrays

    def _empty(self, leading: tuple[int, ...]) -> Pair:
        arrays: dict[str, Any] = {n: np.empty((*leading, *shape), dtype) for n, (shape, dtype) in self.layout().items()}
        return Pair(**arrays)

    def _checked(self, pairs: Pair, count: int) -> Pair:
        layout = self.layout()
        for name in (field.name for field in fields(Pair) if field.name != "info"):
            array = getattr(pairs, name)
            if name not in layout:
                if array is not None:
                    raise ValueError(f"out.{name} is an array, but the model has no labels; pass None")
                continue
            shape, dtype = layout[name]
            _checks.output(f"out.{name}", array, (count, *shape), dtype)
        return pairs

    def _fill(self, index: int, out: Pair) -> dict[str, Any]:
        """Draw pair `index` into arrays; return its info."""
        geometry = self._geometry.draw(index, out.flow)
        fixed, moving = geometry.displacements
        shared = self._is_shared(index)
        texture = self._engine.render(self._engine.numbers(geometry.numbers))
        self._render(texture, fixed, index, 0, out.fixed)
        if not shared:
            texture = self._engine.render(self._engine.numbers(geometry.numbers))
        self._render(texture, moving, index, 1, out.moving)
        # A voxel whose partner lies outside the moving image teaches nothing.
        pull(self._weight, fixed, out.weight)
        np.multiply(out.weight, geometry.inside, out=out.weight)
        for displacement, labels in ((fixed, out.labels_fixed), (moving, out.labels_moving)):
            if self._labels is not None and labels is not None:
                pull_nearest(self._labels, displacement, labels)
        out.landmarks_fixed[:], out.landmarks_moving[:] = geometry.landmarks
        return geometry.info | {"shared": shared}

    def _render(self, texture: Image, displacement: Image, index: int, i: int, out: Image) -> None:
        self.model.render(texture, displacement, out)
        if self._acquire is not None:
            out[:] = self._acquire(out, generator(self.seed, index, stream=_ACQUISITION_STREAM + i))

    def _is_shared(self, index: int) -> bool:
        if self.options.texture != "mixed":
            return self.options.texture == "shared"
        return bool(generator(self.seed, index, stream=_MIXING_STREAM).random() < self.options.shared_probability)


def _slot(pairs: Pair, i: int) -> Pair:
    """Return views of pair `i` of stacked ones."""
    views: dict[str, Any] = {}
    for field in fields(Pair):
        array = getattr(pairs, field.name)
        views[field.name] = {} if field.name == "info" else None if array is None else array[i]
    return Pair(**views)
