"""Preparation of scans for a cohort: slicing, resampling, cropping and scaling of intensities.

Each step takes a `Scan` with its labels, landmarks and geometry and returns another one, which notes the step. Sizes
and positions are in array-axis order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._checked import Checked, Count, Limits, Positive
from modelaug._old_names import names_elsewhere
from modelaug.data.geometry import Geometry
from modelaug.data.orientation import Turn
from modelaug.data.resampling import resample
from modelaug.data.scans import Scan

Center = Literal["image", "labels", "landmarks"]


def _position(name: str, value: Any) -> int | float:
    """Return the position of a slice: an integer, its number, or a float from 0 to 1."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    return _checks.number(name, value, minimum=0.0, maximum=1.0)


def _limits(name: str, value: Sequence[float]) -> tuple[float, float]:
    """Return two percentiles, the lower first."""
    array = _checks.finite(name, value, ndim=1, dtype=np.float64)
    if array.shape != (2,) or not 0 <= array[0] < array[1] <= 100:
        raise ValueError(f"{name} is {value}; pass two numbers between 0 and 100, the lower first")
    return float(array[0]), float(array[1])


@dataclass(frozen=True)
class PreparationOptions(Checked):
    """Options of `prepare`: its steps in this order; none by default.

    Parameters
    ----------
    slice_axis
        Array axis of a volume across which one slice is taken. None: 0 if `slice_at` or `slice_label` is given,
        otherwise the volume stays.
    slice_at
        The slice: its number, negative from the end, or as a float its position from 0, the first, to 1, the last;
        halfway between two, the later.
    slice_label
        Instead: the slice with most voxels of this label, the first of several.
    spacing
        Millimetres between voxels along every axis after resampling.
    shape
        Shape of the grid to which images are cropped, or padded with their smallest value.
    center
        The centre of the crop: of the ``"image"``, of all ``"labels"`` (their centroid) or of the ``"landmarks"``.
    percentiles
        Two percentiles of each channel's intensities that become 0 and 1; intensities beyond are clipped.
    """

    slice_axis: Annotated[int, Limits(0, 2)] | None = None
    slice_at: Annotated[int | float, _position] | None = None
    slice_label: Count | None = None
    spacing: Positive | None = None
    shape: Annotated[tuple[int, ...], _checks.grid_shape] | None = None
    center: Center = "image"
    percentiles: Annotated[tuple[float, float], _limits] | None = None

    def _check(self) -> None:
        if self.slice_at is not None and self.slice_label is not None:
            raise ValueError(f"slice_at is {self.slice_at} and slice_label {self.slice_label}; pass one of them")
        if self.slice_axis is not None and self.slice_at is None and self.slice_label is None:
            raise ValueError(f"slice_axis is {self.slice_axis}; say which slice by slice_at or slice_label")


def prepare(scan: Scan, options: PreparationOptions | None = None) -> Scan:
    """Prepare a scan for a cohort: slice, resample, crop and scale it, in this order, by options.

    Raises
    ------
    TypeError, ValueError
        If the options do not suit the scan; the message names the subject.
    """
    chosen = _checks.options(options, PreparationOptions)
    if chosen.slice_at is not None or chosen.slice_label is not None:
        scan = take_slice(scan, chosen.slice_axis or 0, at=chosen.slice_at, label=chosen.slice_label)
    if chosen.spacing is not None:
        scan = resample(scan, chosen.spacing)
    if chosen.shape is not None:
        scan = crop(scan, chosen.shape, center=chosen.center)
    if chosen.percentiles is not None:
        scan = scale_percentiles(scan, chosen.percentiles)
    return scan


def take_slice(scan: Scan, axis: int = 0, *, at: int | float | None = None, label: int | None = None) -> Scan:
    """Return one slice of a volume as a scan in the plane of the other two axes.

    Parameters
    ----------
    scan
        In 3D. Its landmarks, if any, must lie in the slice, to less than half a voxel.
    axis
        The array axis across which the slice is taken.
    at, label
        See `PreparationOptions.slice_at` and ``slice_label``; exactly one of them.

    Raises
    ------
    TypeError, ValueError
        If the scan is not in 3D, has no such slice or label, or landmarks outside the slice.
    """
    if len(scan.grid) != 3:
        raise ValueError(f"subject {scan.name!r} has a grid {scan.grid}; slices are taken of volumes only")
    _checks.integer("axis", axis, minimum=0, maximum=2)
    if (at is None) == (label is None):
        raise ValueError(f"at is {at} and label {label}; choose the slice by one of them")
    count = scan.grid[axis]
    if label is not None:
        index = _slice_of_label(scan, axis, label)
    elif isinstance(position := _position("at", at), int):
        index = position + (count if position < 0 else 0)
        if not 0 <= index < count:
            raise ValueError(f"slice {at} of subject {scan.name!r} does not exist; axis {axis} has {count}")
    else:
        index = slice_at_fraction("at", position, count)
    if scan.landmarks is not None:
        away = np.abs(scan.landmarks[:, axis] - index)
        if away.max() >= 0.5:
            worst = int(away.argmax())
            raise ValueError(
                f"landmark {worst} of subject {scan.name!r} lies in slice {scan.landmarks[worst, axis]:g} of axis "
                f"{axis}, not in {index}; choose the slice in which the landmarks are"
            )
    return scan.after(
        {"step": "slice", "axis": axis, "index": index, "of": count},
        image=scan.image.take(index, axis=axis + 1),
        labels=lambda labels: labels.take(index, axis=axis),
        landmarks=lambda landmarks: np.delete(landmarks, axis, axis=1),
        geometry=Geometry(np.delete(scan.geometry.spacing, axis)),
    )


def slice_at_fraction(name: str, fraction: float | None, count: int) -> int:
    """Return the number of the slice at a fraction of `count` slices: 0 is the first, 1 the last; halves round up."""
    return math.floor(_checks.number(name, fraction, minimum=0.0, maximum=1.0) * (count - 1) + 0.5)


def _slice_of_label(scan: Scan, axis: int, label: int) -> int:
    """Return the number of the slice with most voxels of a label."""
    _checks.integer("label", label, minimum=1)
    if scan.labels is None:
        raise ValueError(f"subject {scan.name!r} has no labels; choose the slice by its position")
    counts = (scan.labels == label).sum(axis=tuple(k for k in range(3) if k != axis))
    if not counts.any():
        raise ValueError(f"label {label} is nowhere in subject {scan.name!r}; choose the slice by another label")
    return int(counts.argmax())


def crop(scan: Scan, shape: Sequence[int], *, center: Center = "image") -> Scan:
    """Crop or pad a scan to a shape around a centre.

    Parameters
    ----------
    scan
        In 2D or 3D.
    shape
        Shape of the new grid.
    center
        See `PreparationOptions.center`; moves are by whole voxels, so nothing is interpolated.

    Raises
    ------
    TypeError, ValueError
        If the shape has another number of axes, or the scan lacks the labels or landmarks to centre it on.
    """
    new = np.array(_checks.grid_shape("shape", shape, axes=len(scan.grid)))
    _checks.choice("center", center, get_args(Center))
    if center == "image":
        middle = (np.array(scan.grid) - 1) / 2
    else:
        points = scan.landmarks if center == "landmarks" else None if scan.labels is None else np.argwhere(scan.labels)
        if points is None or not len(points):
            raise ValueError(f"subject {scan.name!r} has no {center} to be centred on; pass center='image'")
        middle = points.mean(axis=0)
    start = np.rint(middle - (new - 1) / 2).astype(int)
    if not start.any() and tuple(new) == scan.grid:
        return scan
    if (start + new <= 0).any() or (start >= scan.grid).any():
        raise ValueError(
            f"landmarks of subject {scan.name!r} have their centre at {middle.tolist()}, so far outside the grid "
            f"{scan.grid} that nothing of the image is left; check their coordinates"
        )
    inside = [slice(max(0, s), max(0, min(n, s + k))) for s, n, k in zip(start, scan.grid, new, strict=True)]
    target = tuple(slice(part.start - s, part.stop - s) for part, s in zip(inside, start, strict=True))

    def cropped(array: npt.NDArray[Any], fill: float) -> npt.NDArray[Any]:
        padded = np.full(new, fill, array.dtype)
        padded[target] = array[tuple(inside)]
        return padded

    return scan.after(
        {"step": "crop", "start": start.tolist(), "shape": new.tolist(), "center": center},
        image=np.stack([cropped(channel, channel.min()) for channel in scan.image]),
        labels=lambda labels: cropped(labels, 0),
        landmarks=lambda landmarks: landmarks - start,
        geometry=scan.geometry.moved(start),
    )


def scale_percentiles(scan: Scan, percentiles: tuple[float, float] = (1.0, 99.0)) -> Scan:
    """Scale each channel of a scan so that two percentiles become 0 and 1; clip intensities beyond.

    Raises
    ------
    TypeError, ValueError
        If the percentiles are not in order, or a channel is the same at both.
    """
    wanted = _limits("percentiles", percentiles)
    image = np.empty_like(scan.image)
    limits = []
    for k, channel in enumerate(scan.image):
        low, high = (float(each) for each in np.percentile(channel.astype(np.float64), wanted))
        if low == high:
            raise ValueError(f"channel {k} of subject {scan.name!r} is {low:g} at percentiles {wanted}; choose others")
        image[k] = np.clip((channel - low) / (high - low), 0, 1)
        limits.append([low, high])
    return scan.after({"step": "intensities", "percentiles": list(wanted), "limits": limits}, image=image)


def reorient(scan: Scan, turn: Turn) -> Scan:
    """Turn a scan: image, labels and landmarks; every voxel keeps its position in space."""
    if turn.identity:
        return scan
    step = {"step": "orientation", "axes": list(turn.axes), "reversed": list(turn.reversed)}
    return scan.after(
        step,
        image=turn.array,
        labels=turn.array,
        landmarks=lambda landmarks: turn.points(landmarks, scan.grid),
        geometry=lambda geometry: turn.geometry(geometry, scan.grid),
    )


__getattr__ = names_elsewhere(__name__, scale_intensities="scale_percentiles")
