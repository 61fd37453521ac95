"""What the explorer shows: its state, the pair that belongs to it, and the line of Python that gives it again."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from modelaug import _checks
from modelaug.explorer.choice import ModelChoice
from modelaug.explorer.modes import ModePairs
from modelaug.synthesis import AcquisitionOptions, Pair, PairOptions, PairSynthesizer, ResidualOptions

__all__ = ["ExplorerState", "PairRenderer"]


@dataclass(frozen=True)
class ExplorerState:
    """Everything that decides what is seen.

    Parameters
    ----------
    source
        ``"pairs"``: pair `index` of `seed`, as training gets it; ``"modes"``: the mean image and one of chosen modes.
    seed, index
        Of the pair.
    shape, texture
        Of the first modes, in standard deviations.
    level
        Levels of locality of shape, of a cohort's models; None for a model, which has only its own.
    options
        How pairs are drawn.
    """

    source: Literal["pairs", "modes"] = "pairs"
    seed: int = 0
    index: int = 0
    shape: tuple[float, ...] = ()
    texture: tuple[float, ...] = ()
    level: int | None = None
    options: PairOptions = field(default_factory=PairOptions)

    def __post_init__(self) -> None:
        _checks.choice("source", self.source, ("pairs", "modes"))
        for name in ("seed", "index"):
            object.__setattr__(self, name, _checks.integer(name, getattr(self, name), minimum=0))
        for name in ("shape", "texture"):
            values = tuple(_checks.number(f"{name}[{k}]", value) for k, value in enumerate(getattr(self, name)))
            object.__setattr__(self, name, values)
        if self.level is not None:
            object.__setattr__(self, "level", _checks.integer("level", self.level, minimum=1))
        if not isinstance(self.options, PairOptions):
            raise TypeError(f"options is {self.options!r}; pass PairOptions(...)")

    def line(self, choice: ModelChoice) -> str:
        """Return one line of Python after which ``pair`` is what is seen, bit for bit."""
        arguments = [choice.expression(self.level)]
        if self.source == "pairs":
            arguments.append(f"seed={self.seed}")
            name, draw = "modelaug.PairSynthesizer", f"draw({self.index})"
        else:
            chosen = [f"{part}={_trimmed(getattr(self, part))}" for part in ("shape", "texture")]
            name, draw = "modelaug.explorer.ModePairs", f"draw({', '.join(chosen)})"
        if self.options != PairOptions():
            arguments.append(f"options={_written(self.options)}")
        module = "modelaug" if self.source == "pairs" else "modelaug.explorer"
        return f"import {module}; pair = {name}({', '.join(arguments)}).{draw}"


class PairRenderer:
    """Draws the pairs of states, and keeps what is costly to make from one to the next.

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
        """Return the pair of a state.

        Raises
        ------
        TypeError, ValueError
            If the state does not fit the model.
        """
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
    """Return the numbers up to the last that is not 0."""
    last = max((k + 1 for k, value in enumerate(values) if value != 0), default=0)
    return values[:last]


def _written(options: PairOptions | ResidualOptions | AcquisitionOptions) -> str:
    """Return options as Python, those that are not the default."""
    given = []
    for each in fields(options):
        value = getattr(options, each.name)
        if each.default is MISSING or value != each.default:
            nested = isinstance(value, ResidualOptions | AcquisitionOptions)
            given.append(f"{each.name}={_written(value) if nested else repr(value)}")
    return f"modelaug.{type(options).__name__}({', '.join(given)})"
