"""Training pairs, and the protocols of their sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypedDict, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

Layout = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]

HELD_OUT: Final = 2**40
"""Training validates on the pairs just below this index, which training pairs do not reach."""


class PairInfo(TypedDict, total=False):
    """Information on a pair, as far as its source provides it; in a batch, each entry is a list.

    Other sources may add entries. In pairs from files the values have the types of JSON.

    Attributes
    ----------
    shape, pose : ndarray, (2, k), float64
        Coefficients of the modes, a row for each image.
    attempts : int
        Draws until one was valid.
    rejected : list of str
        Reasons why earlier attempts failed: ``"frame"``, ``"crossings"``, ``"map"``, ``"folds"`` or ``"flow"``.
    shrink : float
        Factor on the coefficients, 1 unless every attempt failed.
    steps : ndarray, (2,)
        Number of splines of each image's map.
    landmark_shift : float
        Largest distance in voxels between a landmark and its position by the coefficients.
    landmark_error : float
        Largest distance in voxels between a fixed landmark plus the flow and its moving landmark.
    residual : float
        An upper bound, in voxels of the image that both show, of the distance between the points shown at corresponding
        voxels.
    outside : int
        Number of voxels whose partner is outside the moving image; they do not count for the residual.
    folds : int
        Number of voxels at which the flow folds.
    disagreement : ndarray, (3,)
        Median, 95th percentile and maximum of the distances bounded by `residual`, with ``flow="direct"``.
    shared : bool
        Whether both images have the same texture.
    subject : int
        The subject whose image or label map both show.
    fixed, moving : int
        The subjects of the images.
    motions : ndarray, (shapes + 1, d, d + 1)
        By label, affine maps from the voxels of the fixed to those of the moving image.
    occluded : int
        Number of voxels whose partner is inside the moving image, but hidden.
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
        Information on the pair, a dict whose keys depend on the source.
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
    """A source of training pairs. ``draw(i)`` is a pure function of i: same index, same bits on one kind of machine.

    Training draws batches if the source is a `BatchSource` as well, and networks store the ``spacing`` of a source that
    has it, in millimetres per voxel along each axis.
    """

    def draw(self, index: int) -> Pair:
        """Return pair `index`, a non-negative integer."""
        ...


@runtime_checkable
class BatchSource(PairSource, Protocol):
    """A source that draws several pairs at once, with the same bits as one by one."""

    def batch(self, indices: Sequence[int], threads: int | None = None) -> Pair:
        """Return the pairs at `indices`, stacked, drawn by several threads."""
        ...


@runtime_checkable
class InPlaceSource(BatchSource, Protocol):
    """A source that draws into the arrays of the caller, so that batches cost no copies."""

    def layout(self) -> Layout:
        """Return the shape and type of each array of a pair, by its name in `Pair`."""
        ...

    def batch(self, indices: Sequence[int], threads: int | None = None, out: Pair | None = None) -> Pair:
        """Return the pairs at `indices`, stacked, in the arrays of `out` if given."""
        ...


def check_source(source: object) -> PairSource:
    """Return a checked source of pairs."""
    # Not by isinstance, which from Python 3.12 on misses a draw that an object forwards to another.
    if not callable(getattr(source, "draw", None)):
        raise TypeError(f"source is {type(source).__name__}, which has no draw(index); pass a source of pairs")
    return cast(PairSource, source)


def draw_pairs(source: PairSource, indices: Sequence[int], threads: int | None = None) -> Pair:
    """Draw pairs of a source, stacked: as a batch if the source can, otherwise one by one."""
    if isinstance(source, BatchSource):
        return source.batch(indices, threads=threads)
    return stack_pairs([source.draw(i) for i in indices])


def stack_pairs(pairs: Sequence[Pair]) -> Pair:
    """Stack pairs to one `Pair` of stacked arrays, whose ``info`` has a list for each key."""
    if not pairs:
        raise ValueError("pairs is empty; pass at least one pair")
    for i, pair in enumerate(pairs):
        if _parts(pair) != _parts(pairs[0]):
            odd = ", ".join(sorted(_parts(pair) ^ _parts(pairs[0])))
            raise ValueError(f"pairs[{i}] and pairs[0] do not both have {odd}; stack pairs of one source")

    names = [name for name in Pair.__dataclass_fields__ if name != "info" and getattr(pairs[0], name) is not None]
    arrays: dict[str, Any] = {name: np.stack([getattr(pair, name) for pair in pairs]) for name in names}
    return Pair(**arrays, info=stack_infos([pair.info for pair in pairs]))


def stack_infos(infos: Sequence[PairInfo]) -> PairInfo:
    """Return the info of a batch, with a list for each key."""
    entries = cast("Sequence[dict[str, Any]]", infos)
    return cast("PairInfo", {key: [each[key] for each in entries] for key in entries[0]})


def _parts(pair: Pair) -> set[str]:
    """Return the names of the arrays and of the info of a pair."""
    return {name for name in Pair.__dataclass_fields__ if getattr(pair, name) is not None} | set(pair.info)
