"""The explorer's state, its pair, and the line of Python that reproduces the pair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelaug import _checks
from modelaug._checked import Checked, Count, WholeNumber, differences
from modelaug.explorer.choice import ModelChoice
from modelaug.explorer.modes import ModePairs
from modelaug.synthesis import Pair, PairOptions, PairSynthesizer


def _coefficients(name: str, value: Iterable[float]) -> tuple[float, ...]:
    return tuple(_checks.number(f"{name}[{k}]", each) for k, each in enumerate(value))


@dataclass(frozen=True)
class ExplorerState(Checked):
    """The settings that determine the pair on display.

    Parameters
    ----------
    source
        ``"pairs"``: pair `index` of `seed`, as training gets it; ``"modes"``: the mean image and one with
        chosen modes.
    seed, index
        Seed and number of the pair.
    shape, texture
        Coefficients of the first modes, in standard deviations.
    level
        Levels of locality of shape, for the models of a cohort; None for a fitted model.
    options
        How pairs are drawn.
    """

    source: Literal["pairs", "modes"] = "pairs"
    seed: WholeNumber = 0
    index: WholeNumber = 0
    shape: Annotated[tuple[float, ...], _coefficients] = ()
    texture: Annotated[tuple[float, ...], _coefficients] = ()
    level: Count | None = None
    options: PairOptions = PairOptions()

    def line(self, choice: ModelChoice) -> str:
        """Return a line of Python that makes the same ``pair``, bit for bit."""
        arguments = [choice.expression(self.level)]
        if self.source == "pairs":
            arguments.append(f"seed={self.seed}")
            module, name, draw = "modelaug", "PairSynthesizer", str(self.index)
        else:
            module, name = "modelaug.explorer", "ModePairs"
            draw = f"shape={_trimmed(self.shape)}, texture={_trimmed(self.texture)}"
        if self.options != PairOptions():
            arguments.append(f"options={_expression(self.options)}")
        return f"import {module}; pair = {module}.{name}({', '.join(arguments)}).draw({draw})"


class PairRenderer:
    """Draws the pairs of states, and keeps the source of pairs from one state to the next.

    Parameters
    ----------
    choice
        The models to choose from.
    """

    def __init__(self, choice: ModelChoice) -> None:
        self._choice = choice
        self._key: tuple[Any, ...] = ()
        self._source: PairSynthesizer | ModePairs | None = None

    def pair(self, state: ExplorerState) -> Pair:
        """Return the pair of a state."""
        key = (state.source, state.level, state.options, state.seed if state.source == "pairs" else None)
        if key != self._key or self._source is None:
            model = self._choice.model(state.level)
            if state.source == "pairs":
                self._source = PairSynthesizer(model, seed=state.seed, options=state.options)
            else:
                self._source = ModePairs(model, options=state.options)
            self._key = key
        if isinstance(self._source, PairSynthesizer):
            return self._source.draw(state.index)
        return self._source.draw(_trimmed(state.shape), _trimmed(state.texture))


def _trimmed(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return the numbers without trailing zeros."""
    last = max((k + 1 for k, value in enumerate(values) if value != 0), default=0)
    return values[:last]


def _expression(options: Checked) -> str:
    """Return a Python expression of options, without default values."""
    given = differences(options).items()
    words = (f"{name}={_expression(value) if isinstance(value, Checked) else repr(value)}" for name, value in given)
    return f"modelaug.{type(options).__name__}({', '.join(words)})"
