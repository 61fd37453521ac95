"""The models to explore: one that was fitted, or models of a cohort with several levels of locality."""

from __future__ import annotations

import threading

from modelaug.data.cohort import Cohort
from modelaug.models.appearance import AppearanceModel, ShapeOptions


class ModelChoice:
    """Models to choose from. A model does not keep the level of its modes; so levels need the cohort.

    Parameters
    ----------
    what
        A model; or a cohort, to which a model is fitted on request.
    expression
        Python expression of `what`, for the line that reproduces a pair; by default ``"model"`` or ``"cohort"``.
    threads
        Threads for fitting; None means all cores.
    """

    def __init__(
        self, what: AppearanceModel | Cohort, *, expression: str | None = None, threads: int | None = None
    ) -> None:
        if not isinstance(what, AppearanceModel | Cohort):
            raise TypeError(f"what is {type(what).__name__}; pass an AppearanceModel, fitted or loaded, or a Cohort")
        if len(what.grid) != 2:
            raise ValueError(f"the images have the grid {what.grid}; the explorer needs images in the plane")
        self._what, self._threads = what, threads
        self._expression = expression or ("cohort" if isinstance(what, Cohort) else "model")
        self._fitted: dict[int, AppearanceModel] = {}
        self._fitting = threading.Lock()

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of locality of shape to choose from; empty for a model."""
        return tuple(range(1, ShapeOptions().levels + 1)) if isinstance(self._what, Cohort) else ()

    def model(self, level: int | None = None) -> AppearanceModel:
        """Return the model with a number of levels of locality of shape; None means the given model, or the default."""
        if isinstance(self._what, AppearanceModel):
            if level is not None:
                raise ValueError(
                    f"level is {level} but a fitted model has only its own; pass None, or explore a cohort"
                )
            return self._what
        wanted = ShapeOptions().levels if level is None else level
        if wanted not in self.levels:
            raise ValueError(f"level is {level}; pass one of {', '.join(map(str, self.levels))}")
        with self._fitting:  # sessions of several browsers share the models
            if wanted not in self._fitted:
                shape = ShapeOptions(levels=wanted)
                self._fitted[wanted] = AppearanceModel.fit(self._what, shape=shape, threads=self._threads)
            return self._fitted[wanted]

    def expression(self, level: int | None = None) -> str:
        """Return a Python expression of `model`, bit for bit, for code that imports modelaug."""
        if isinstance(self._what, AppearanceModel):
            return self._expression
        wanted = ShapeOptions().levels if level is None else level
        return f"modelaug.AppearanceModel.fit({self._expression}, shape=modelaug.ShapeOptions(levels={wanted}))"
