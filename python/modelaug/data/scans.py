"""Scans: images of one subject each as files hold them, each on its own grid, with or without labels and landmarks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.data.cohort import Cohort, LandmarkObject, label_map
from modelaug.data.geometry import Geometry
from modelaug.data.orientation import turn_onto


@dataclass(frozen=True, eq=False)
class Scan:
    """An image of one subject with its geometry, labels and landmarks; see `cohort_from_scans` for several.

    Parameters
    ----------
    name
        Name of the subject.
    image : array_like, (*grid) or (c, *grid)
        In as many dimensions as `geometry`; stored as float32 with channels.
    geometry
        Positions of the voxels. None: 1 mm apart, in 3D if the image has four axes, otherwise in 2D.
    labels : array_like of integers, (*grid), optional
    landmarks : array_like, (m, d), optional
        In voxels, components in array-axis order; they may lie outside the image until they are in a cohort.
    steps
        Processing steps of the image since it was read, in the types of JSON.

    Attributes
    ----------
    image : ndarray, (c, *grid), float32
    labels : ndarray, (*grid), integer, or None
    landmarks : ndarray, (m, d), float64, or None
    """

    name: str
    image: npt.NDArray[np.float32]
    geometry: Geometry
    labels: npt.NDArray[np.integer[Any]] | None = None
    landmarks: npt.NDArray[np.float64] | None = None
    steps: tuple[Mapping[str, Any], ...] = ()

    def __init__(
        self,
        name: str,
        image: npt.ArrayLike,
        *,
        geometry: Geometry | None = None,
        labels: npt.ArrayLike | None = None,
        landmarks: npt.ArrayLike | None = None,
        steps: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        array = _checks.finite(f"image of {name!r}", image, ndim=(2, 3, 4), dtype=np.float32)
        d = len(geometry.spacing) if geometry is not None else 3 if array.ndim == 4 else 2
        if array.ndim not in (d, d + 1):
            raise ValueError(f"image of {name!r} has shape {array.shape} but {d} axes in space; pass another geometry")
        channels = array[None] if array.ndim == d else array
        set_field = object.__setattr__
        set_field(self, "name", str(name))
        set_field(self, "image", channels)
        set_field(self, "geometry", Geometry(np.ones(d)) if geometry is None else geometry)
        called, grid = f"labels of {name!r}", channels.shape[1:]
        set_field(self, "labels", None if labels is None else label_map(called, labels, grid))
        set_field(self, "landmarks", None if landmarks is None else _landmarks(name, landmarks, d))
        set_field(self, "steps", tuple(steps))

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the image's grid."""
        return self.image.shape[1:]

    def after(self, step: Mapping[str, Any], **changes: Any) -> Scan:
        """Return the scan after a processing step, which is noted.

        Parameters
        ----------
        step
            The step, in the types of JSON.
        **changes
            New values of fields, or functions of the present ones, which stay None where they are.
        """
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        for name, new in changes.items():
            if not callable(new):
                fields[name] = new
            elif fields[name] is not None:
                fields[name] = new(fields[name])
        return Scan(**{**fields, "steps": (*self.steps, step)})


def _landmarks(name: str, landmarks: npt.ArrayLike, d: int) -> npt.NDArray[np.float64]:
    points = _checks.finite(f"landmarks of {name!r}", landmarks, ndim=2, dtype=np.float64)
    if points.shape[1] != d:
        raise ValueError(f"landmarks of {name!r} have shape {points.shape}; pass {d} coordinates each")
    return points


def cohort_from_scans(scans: Sequence[Scan], *, objects: Sequence[LandmarkObject] | None = None) -> Cohort:
    """Return the cohort of scans on a common grid; their processing steps become its ``preparation``.

    Parameters
    ----------
    scans
        All with landmarks and of one grid, spacing and number of channels; all with labels, or none.
    objects
        Groups of the landmarks.

    Raises
    ------
    ValueError
        If the scans do not fit together; the message names the subject and the remedy.
    """
    if not scans:
        raise ValueError("scans is empty; pass one per subject")
    first = scans[0]
    shapes = []
    for each in scans:
        if each.landmarks is None:
            raise ValueError(f"subject {each.name!r} has no landmarks; add them, or make them by `modelaug landmarks`")
        shapes.append(each.landmarks)
        if len(each.landmarks) != len(shapes[0]):
            raise ValueError(
                f"subject {each.name!r} has {len(each.landmarks)} landmarks but {first.name!r} "
                f"{len(shapes[0])}; give all the same ones"
            )
        check_common_grid(each, first)
        if (each.labels is None) != (first.labels is None):
            lacking = each.name if each.labels is None else first.name
            raise ValueError(f"subject {lacking!r} has no labels but others do; add them, or leave them out for all")
    return Cohort(
        np.stack([each.image for each in scans]),
        np.stack(shapes),
        labels=None if first.labels is None else np.stack([each.labels for each in scans if each.labels is not None]),
        objects=objects,
        spacing=first.geometry.spacing,
        names=[each.name for each in scans],
        preparation={each.name: list(each.steps) for each in scans if each.steps},
    )


def check_common_grid(scan: Scan, other: Scan) -> None:
    """Raise ValueError unless two scans have the same grid, spacing and channels, and in 3D the same orientation."""
    if scan.image.shape != other.image.shape:
        raise ValueError(
            f"image of subject {scan.name!r} has shape {scan.image.shape} but that of {other.name!r} "
            f"{other.image.shape}; bring all to one shape and spacing, see PreparationOptions"
        )
    # Files keep spacings in single precision.
    if not np.allclose(scan.geometry.spacing, other.geometry.spacing, rtol=1e-4):
        raise ValueError(
            f"spacing of subject {scan.name!r} is {scan.geometry.spacing.tolist()} mm but that of {other.name!r} "
            f"{other.geometry.spacing.tolist()}; bring all to one spacing, see PreparationOptions"
        )
    # Planes have coordinates of their own, so their orientation is unknown.
    if len(scan.grid) == 3:
        turn = turn_onto(scan.geometry, other.geometry, scan.grid)
        if turn.degrees is None or (turn.clear and not turn.identity):
            raise ValueError(
                f"image of subject {scan.name!r} is stored in another orientation than that of {other.name!r}: "
                f"{turn.description()}; store both alike, see modelaug.data.orientation"
            )
