"""Label maps on the grids of their images, and named segments of 3D Slicer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelaug._arrays import Labels
from modelaug.data.geometry import Geometry, voxels_apart
from modelaug.data.orientation import turn_onto
from modelaug.io.files.reading import reading, refuse_if
from modelaug.io.formats.nrrd import read_nrrd_notes

_SEGMENT: Final = re.compile(r"Segment(\d+)_(Name|LabelValue)")
_SAME: Final = 0.05
"""Voxels by which equal grids may differ, from rounding in their headers."""


def on_grid(
    name: str, path: Path, grid: tuple[int, ...], image: Geometry, labels: Labels, geometry: Geometry
) -> tuple[Labels, dict[str, Any] | None]:
    """Bring a label map onto its image's grid, and return the step that did it; nothing is interpolated.

    A label map with axes in another order or direction is turned; a ``.seg.nrrd`` that covers a part of the image is
    padded with 0.

    Parameters
    ----------
    name, path
        Name of the subject, and file of the label map.
    grid, image
        Shape and geometry of the image.
    labels, geometry
        The label map and its geometry.

    Raises
    ------
    ValueError
        If the label map lies more than half a voxel away from its place on the grid.
    """
    if len(image.spacing) != len(geometry.spacing):
        return labels, None  # the caller compares the shapes
    stored, placed, shape = labels, geometry, labels.shape
    turn = turn_onto(geometry, image, shape)
    if turn.clear and not turn.identity:
        labels, geometry = turn.array(labels), turn.geometry(geometry, shape)
    if labels.shape == grid and voxels_apart(grid, image, geometry) <= 0.5:
        same = turn.identity or not turn.clear
        return labels, None if same else {"step": "labels", "axes": list(turn.axes), "reversed": list(turn.reversed)}
    start = image.to_voxels(geometry.to_space(np.zeros((1, len(grid)))))[0]
    begin = np.rint(start).astype(np.int64)
    moved = Geometry(image.spacing, image.to_space(begin[None].astype(np.float64))[0], image.direction)
    if _is_from_slicer(path) and labels.shape != grid and voxels_apart(labels.shape, geometry, moved) <= _SAME:
        whole, inside = np.zeros(grid, labels.dtype), labels
        low, high = np.maximum(begin, 0), np.minimum(begin + labels.shape, grid)
        if (low < high).all():
            part = tuple(slice(*ends) for ends in zip(low - begin, high - begin, strict=True))
            inside = labels[part]
            whole[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = inside
        if np.count_nonzero(whole) == np.count_nonzero(labels):
            return whole, {"step": "labels", "start": begin.tolist(), "shape": list(labels.shape)}
        raise ValueError(f"labels of {name!r}, {path}, reach beyond the image; save them on the image's grid")
    if stored.shape != grid:
        return stored, None  # the caller compares the shapes
    raise ValueError(
        f"labels of {name!r}, {path}, lie up to {voxels_apart(grid, image, placed):.3g} voxels from where its image "
        "lies; save them with the image's spacing, origin and directions"
    )


def _is_from_slicer(path: Path) -> bool:
    """Return whether a label map is a segmentation of 3D Slicer, which may cover only a part of the image."""
    return path.name.lower().endswith(".seg.nrrd")


def check_segments(files: Sequence[tuple[str, Path]]) -> None:
    """Refuse segmentations of 3D Slicer in which the same name stands for different numbers.

    Parameters
    ----------
    files
        Subjects' names and label maps; only those in ``.seg.nrrd`` are checked.

    Raises
    ------
    ModelFileError
        With the files and the name.
    """
    known: dict[str, tuple[int, Path]] = {}
    for _, path in files:
        if _is_from_slicer(path):
            for called, value in _segments(path).items():
                other, before = known.setdefault(called, (value, path))
                differing = f"{path} calls segment {called!r} {value} but {before} calls it {other}"
                refuse_if(other != value, f"{differing}; export all with the same numbers")


def _segments(path: Path) -> Mapping[str, int]:
    """Return the label values of the segments that a file of 3D Slicer names."""
    found: dict[str, dict[str, str]] = {}
    for note, value in read_nrrd_notes(path).items():
        if match := _SEGMENT.fullmatch(note):
            found.setdefault(match[1], {})[match[2]] = value
    with reading(path, "NRRD"):
        return {each["Name"]: int(each["LabelValue"]) for each in found.values() if len(each) == 2}
