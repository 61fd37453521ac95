"""What a training pair is, and where pairs come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["HELD_OUT", "Pair", "PairSource", "stack_pairs"]

HELD_OUT: Final = 2**40
"""Training validates on the pairs just below this index, which it does not reach."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A fixed and a moving image and the correspondence between them; stacked along a first axis in a batch.

    Attributes
    ----------
    fixed, moving : ndarray, (c, *grid), float32
        The images, ``fixed(x) ~ moving(x + flow(x))``.
    flow : ndarray, (d, *grid), float32
        Pull displacement in voxels on the fixed grid, components in array-axis order.
    weight : ndarray, (*grid), float32
        Confidence in the flow, between 0 and 1.
    landmarks_fixed, landmarks_moving : ndarray, (m, d), float64
        Corresponding landmarks in voxels; fixed landmarks plus flow land on moving landmarks.
    labels_fixed, labels_moving : ndarray, (*grid), integer, or None
        Label maps of the two images.
    info : dict
        How the pair came about; keys depend on the source.
    """

    fixed: npt.NDArray[np.float32]
    moving: npt.NDArray[np.float32]
    flow: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    landmarks_fixed: npt.NDArray[np.float64]
    landmarks_moving: npt.NDArray[np.float64]
    labels_fixed: npt.NDArray[np.integer[Any]] | None = None
    labels_moving: npt.NDArray[np.integer[Any]] | None = None
    info: dict[str, Any] = field(default_factory=dict)


class PairSource(Protocol):
    """Whatever makes training pairs. ``draw(i)`` is a pure function of i: same index, same bits on such a machine.

    A source that also has ``batch(indices, threads=None)``, a stacked `Pair`, is asked for batches; one that has
    ``layout()`` and ``batch(indices, threads=None, out=None)`` as well, as `PairSynthesizer`, fills the arrays they are
    trained from. Where it has ``spacing``, millimetres per voxel along each axis, networks remember what they were
    trained at.
    """

    def draw(self, index: int) -> Pair:
        """Return pair `index`, a non-negative integer."""
        ...


def stack_pairs(pairs: Sequence[Pair]) -> Pair:
    """Return one `Pair` whose arrays are those of `pairs`, stacked; ``info`` holds a list per key."""
    if not pairs:
        raise ValueError("pairs is empty; pass at least one pair")
    for i, pair in enumerate(pairs):
        if _parts(pair) != _parts(pairs[0]):
            odd = ", ".join(sorted(_parts(pair) ^ _parts(pairs[0])))
            raise ValueError(f"pairs[{i}] and pairs[0] do not both have {odd}; stack pairs of one source")

    def stack(name: str) -> Any:
        values = [getattr(pair, name) for pair in pairs]
        return None if values[0] is None else np.stack(values)

    arrays = {name: stack(name) for name in Pair.__dataclass_fields__ if name != "info"}
    return Pair(**arrays, info={key: [pair.info[key] for pair in pairs] for key in pairs[0].info})


def _parts(pair: Pair) -> set[str]:
    """Return the names of the arrays and facts that a pair has."""
    return {name for name in Pair.__dataclass_fields__ if getattr(pair, name) is not None} | set(pair.info)
