"""What a training pair is, and where pairs come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypedDict, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

Layout = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]

HELD_OUT: Final = 2**40
"""Training validates on the pairs just below this index, which it does not reach."""


class PairInfo(TypedDict, total=False):
    """How a pair came about: some of these facts, as its source has them; in a batch, a list of each.

    A source of one's own may add others. In pairs from files they are as JSON has them.

    Attributes
    ----------
    shape, pose : ndarray, (2, k), float64
        Coefficients of the modes, a row for each image.
    attempts : int
        Draws until one was valid.
    rejected : list of str
        Why the attempts before failed: ``"frame"``, ``"crossings"``, ``"map"``, ``"folds"`` or ``"flow"``.
    shrink : float
        The factor on what was drawn, 1 unless every attempt failed.
    steps : ndarray, (2,)
        Splines of each image's map.
    landmark_shift : float
        Largest distance in voxels of a landmark from where the coefficients put it.
    landmark_error : float
        Largest distance in voxels at which a fixed landmark plus the flow misses its moving one.
    residual : float
        An upper bound of the distance in voxels, in what both images show, of what is seen at corresponding voxels.
    outside : int
        Voxels whose partner is outside the moving image; they do not count for the residual.
    folds : int
        Voxels at which the flow folds.
    disagreement : ndarray, (3,)
        Median, 95 % and largest of the distances behind `residual`, with ``flow="direct"``.
    shared : bool
        Whether both images have the same texture.
    subject : int
        Whose image or label map both show.
    fixed, moving : int
        The subjects whose images they are.
    motions : ndarray, (shapes + 1, d, d + 1)
        By label, affine maps from the voxels of the fixed to those of the moving image.
    occluded : int
        Voxels whose partner is inside, but hidden by something.
    """

    shape: npt.NDArray[np.float64]
    pose: npt.NDArray[np.float64]
    attempts: int
    rejected: list[str]
    shrink: float
    steps: npt.NDArray[np.integer[Any]]
    landmark_shift: float
    landmark_error: float
    residual: float
    outside: int
    folds: int
    disagreement: npt.NDArray[np.float64]
    shared: bool
    subject: int
    fixed: int
    moving: int
    motions: npt.NDArray[np.float64]
    occluded: int


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
    info : PairInfo
        How the pair came about, a dict whose keys depend on the source.
    """

    fixed: npt.NDArray[np.float32]
    moving: npt.NDArray[np.float32]
    flow: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    landmarks_fixed: npt.NDArray[np.float64]
    landmarks_moving: npt.NDArray[np.float64]
    labels_fixed: npt.NDArray[np.integer[Any]] | None = None
    labels_moving: npt.NDArray[np.integer[Any]] | None = None
    info: PairInfo = field(default_factory=PairInfo)


@runtime_checkable
class PairSource(Protocol):
    """Whatever makes training pairs. ``draw(i)`` is a pure function of i: same index, same bits on such a machine.

    A source that is a `BatchSource` as well is asked for batches. Where it has ``spacing``, millimetres per voxel along
    each axis, networks remember what they were trained at.
    """

    def draw(self, index: int) -> Pair:
        """Return pair `index`, a non-negative integer."""
        ...


@runtime_checkable
class BatchSource(PairSource, Protocol):
    """A source that draws several pairs at once, with the same bits as one by one."""

    def batch(self, indices: Sequence[int], threads: int | None = None) -> Pair:
        """Return the pairs at `indices`, stacked, drawn by so many threads."""
        ...


@runtime_checkable
class InPlaceSource(BatchSource, Protocol):
    """A source that fills the arrays its pairs are trained from, so that batches cost no copies."""

    def layout(self) -> Layout:
        """Return shape and type of every array of a pair, by its name in `Pair`."""
        ...

    def batch(self, indices: Sequence[int], threads: int | None = None, out: Pair | None = None) -> Pair:
        """Return the pairs at `indices`, stacked, in the arrays of `out` if that is given."""
        ...


def check_source(source: object) -> PairSource:
    """Return a source of pairs, or raise TypeError if it is none."""
    if not isinstance(source, PairSource):
        raise TypeError(f"source is {type(source).__name__}, which has no draw(index); pass a source of pairs")
    return source


def draw_pairs(source: PairSource, indices: Sequence[int], threads: int | None = None) -> Pair:
    """Return the pairs of a source at `indices`, stacked: a batch, if it has such, else one by one."""
    if isinstance(source, BatchSource):
        return source.batch(indices, threads=threads)
    return stack_pairs([source.draw(i) for i in indices])


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
    return Pair(**arrays, info=stack_infos([pair.info for pair in pairs]))


def stack_infos(infos: Sequence[PairInfo]) -> PairInfo:
    """Return the info of a batch: a list of each fact."""
    facts = cast("Sequence[dict[str, Any]]", infos)
    return cast("PairInfo", {key: [each[key] for each in facts] for key in facts[0]})


def _parts(pair: Pair) -> set[str]:
    """Return the names of the arrays and facts that a pair has."""
    return {name for name in Pair.__dataclass_fields__ if getattr(pair, name) is not None} | set(pair.info)
