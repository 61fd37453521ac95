"""Order and geometry of the planes of DICOM that make one regular stack; others are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry
from modelaug.io.files.reading import ModelFileError, one_line
from modelaug.io.formats.dicom_planes import ALIKE, REASONS, Plane

_ROUNDED: Final = 1e-4  # difference of rounded direction cosines, and relative one of spacings
_LEAN: Final = 1e-3  # mm aside per mm along the normal, from rounded direction cosines


def stacked(planes: Sequence[Plane], place: str | Path) -> tuple[list[Plane], Geometry]:
    """Return the planes of one stack in the order of their positions, and its geometry.

    Parameters
    ----------
    planes
        In any order; a single one may be anywhere.
    place
        The file or folder, for messages.

    Returns
    -------
    list of Plane
        In order along the normal, the cross product of the directions of columns and rows.
    Geometry
        Of (plane, row, column); 1 mm where a single plane has no pixel spacing.

    Raises
    ------
    ModelFileError
        If the planes do not lie above each other, all alike and equally far apart; the message names one.
    """
    first = planes[0]
    if len(planes) == 1:
        pixels = np.ones(2) if first.spacing is None else first.spacing
        return [first], _geometry(first, pixels, first.thickness)
    _check_alike(planes, place)
    for plane in planes:
        _check_placed(plane, first, place)
    assert first.axes is not None
    assert first.spacing is not None
    positions = np.array([plane.position for plane in planes])
    normal = np.cross(*first.axes)
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [planes[k] for k in order]
    step = _check_regular(ordered, positions[order] - positions[order[0]], normal, place)
    return ordered, _geometry(ordered[0], first.spacing, step)


def _geometry(plane: Plane, pixels: npt.NDArray[np.float64], step: float) -> Geometry:
    axes = np.eye(3)[:2] if plane.axes is None else plane.axes
    direction = np.stack([*axes, np.cross(*axes)], axis=1)
    try:
        return Geometry([step, *pixels], plane.position, direction)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{plane.path} cannot be placed: {one_line(error)}") from error


def _check_alike(planes: Sequence[Plane], place: str | Path) -> None:
    first = planes[0]
    for plane in planes[1:]:
        for keyword in ALIKE:
            if _differ(plane, first, keyword):
                raise ModelFileError(
                    f"{place} is no stack: {plane.name} has {keyword} {_shown(plane, keyword)}, but {first.name} "
                    f"{_shown(first, keyword)}; pass a folder with one kind of slices"
                )
    phases = [phase for plane in planes if (phase := _phase(plane)) is not None]
    if phases and max(phases) - min(phases) >= 2:
        late = next(plane for plane in planes if _phase(plane) == max(phases))
        raise ModelFileError(
            f"{place} is no stack: {late.name} is of another phase of the heart than others (TriggerTime "
            f"{_shown(late, 'TriggerTime')}); pass a folder with one phase"
        )


def _differ(plane: Plane, other: Plane, keyword: str) -> bool:
    """Return whether both planes have an element, with different values."""
    a, b = plane.declared.get(keyword), other.declared.get(keyword)
    if a is None or b is None:
        return False
    try:
        return bool(np.shape(a) != np.shape(b) or not np.allclose(np.float64(a), np.float64(b), rtol=1e-3, atol=0))
    except (TypeError, ValueError):
        return str(a) != str(b)


def _shown(plane: Plane, keyword: str) -> str:
    return str(plane.declared.get(keyword))[:80]


def _phase(plane: Plane) -> float | None:
    """Return the number of a cine's image within its heart beat, where the header suffices for it."""
    keywords = ("TriggerTime", "NominalInterval", "CardiacNumberOfImages")
    try:
        time, interval, images = (float(plane.declared[keyword]) for keyword in keywords)
    except (KeyError, TypeError, ValueError):
        return None
    return images * time / interval if interval > 0 and images > 1 else None


def _check_placed(plane: Plane, first: Plane, place: str | Path) -> None:
    """Raise ModelFileError unless a plane has a position, and the first one's orientation and spacing."""
    largest = 1.0 if first.spacing is None else float(np.max(first.spacing))
    for keyword, value, other, tolerance in (
        ("ImagePositionPatient", plane.position, plane.position, 0.0),
        ("ImageOrientationPatient", plane.axes, first.axes, _ROUNDED),
        ("PixelSpacing", plane.spacing, first.spacing, _ROUNDED * largest),
    ):
        if value is None or other is None:
            lacking = plane if value is None else first
            raise ModelFileError(f"{place} is no stack: {lacking.name} has no {keyword}; save the volume as .nii.gz")
        if np.abs(value - other).max() > tolerance:
            raise ModelFileError(
                f"{place} is no stack: {plane.name} has another {keyword}, {_rounded(value)}, than {first.name}, "
                f"{_rounded(other)}; pass a folder with one kind of slices"
            )


def _rounded(array: npt.NDArray[np.float64]) -> list[float]:
    return [round(float(each), 6) for each in array.ravel()]


def _check_regular(
    planes: Sequence[Plane], offsets: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], place: str | Path
) -> float:
    """Return the distance of neighbouring planes, given their offsets (n, 3) from the first one in order."""
    along = offsets @ normal
    gaps = np.diff(along)
    largest = float(gaps.max())
    if (same := np.flatnonzero(gaps <= max(0.01 * largest, 1e-6))).size:
        a, b = planes[same[0]], planes[same[0] + 1]
        why = [f" ({each} {_shown(a, each)} and {_shown(b, each)})" for each in REASONS if _differ(a, b, each)]
        raise ModelFileError(
            f"{place} is no stack: {b.name} lies at the same place as {a.name}{why[0] if why else ''}; pass a folder "
            "with one slice at each place"
        )
    usual, step = float(np.sort(gaps)[(len(gaps) - 1) // 2]), float(along[-1]) / len(gaps)
    # Positions are rounded, often to 0.01 mm.
    tolerance = max(0.01 * usual, min(0.01, 0.1 * usual))
    if np.abs(along - step * np.arange(len(along))).max() > tolerance:
        k = int(np.abs(gaps - usual).argmax())
        raise ModelFileError(
            f"{place} is no regular stack: from {planes[k].name} to {planes[k + 1].name} it is {gaps[k]:.6g} mm, "
            f"elsewhere {usual:.6g} mm; add slices that are missing, or pass a folder with regular ones"
        )
    aside = np.linalg.norm(offsets - along[:, None] * normal, axis=1)
    if (leaning := np.flatnonzero(aside > np.maximum(tolerance, _LEAN * along))).size:
        k = int(leaning[-1])
        raise ModelFileError(
            f"{place} is no upright stack: {planes[k].name} lies {aside[k]:.6g} mm beside {planes[0].name} (the gantry "
            "was tilted, or slices were shifted); resample it to an upright one"
        )
    return step
