"""Scans, and cohorts, out of folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug.cohort import Cohort
from modelaug.io.descriptions import DESCRIPTION_NAME, CohortDescription, read_description
from modelaug.io.geometry import Geometry, in_plane, voxels_apart
from modelaug.io.images import read_labels, read_voxels
from modelaug.io.landmarks import read_named_landmarks
from modelaug.io.matching import SubjectFiles, match_folder, match_patterns
from modelaug.io.reading import ModelFileError
from modelaug.preparation import prepare
from modelaug.scans import Scan, cohort_from_scans

__all__ = ["describe", "is_history", "read_cohort", "read_scans"]


def read_scans(path: str | Path) -> list[Scan]:
    """Read the images of several subjects, with labels and landmarks where there are files of them.

    Parameters
    ----------
    path
        A folder, or a ``cohort.toml``, or a folder with one; docs/files.md says what may be in it. Without one, the
        files that belong together are known by their names: ``NAME.nii.gz``, ``NAME_labels.nii.gz`` and ``NAME.csv``,
        or the same names in folders ``images``, ``labels`` and ``landmarks``.

    Returns
    -------
    list of Scan
        Prepared as the ``cohort.toml`` says; what was done is in their ``steps``. Volumes of a single plane are planes.
        Landmarks that have the same names for all subjects are in the order of the first one's.

    Raises
    ------
    ModelFileError
        If there are no images, files are missing or ambiguous, or one cannot be read; the message names the subject.
    TypeError, ValueError
        If files do not fit each other, or the preparation does not suit the images.
    """
    return _read(describe(path))


def read_cohort(path: str | Path) -> Cohort:
    """Read the cohort of a folder or a ``cohort.toml``; see `read_scans`.

    Raises
    ------
    ModelFileError, TypeError, ValueError
        As `read_scans` and `modelaug.scans.cohort_from_scans`.
    """
    description = describe(path)
    return cohort_from_scans(_read(description), objects=description.objects)


def describe(path: str | Path) -> CohortDescription:
    """Return the description of a folder, which may be there or not, or that of a ``cohort.toml``."""
    path = Path(path)
    if not path.is_dir():
        return read_description(path)
    written = path / DESCRIPTION_NAME
    return read_description(written) if written.exists() else CohortDescription(path)


def _read(description: CohortDescription) -> list[Scan]:
    if description.images is None:
        files = match_folder(description.folder, description.subjects)
    else:
        files = match_patterns(
            description.folder,
            description.images,
            labels=description.labels,
            landmarks=description.landmarks,
            subjects=description.subjects,
        )
    history = _history(description)
    read = [_read_subject(each, description, history.get(each.name, ())) for each in files]
    return [prepare(scan, description.preparation) for scan in _in_one_order(read)]


def _history(description: CohortDescription) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return what had been done to the subjects' images before, as the description's file has it."""
    if description.history is None:
        return {}
    path = description.folder / description.history
    try:
        history = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist; add it, or take history out of the description") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read as JSON ({error}); correct it") from error
    if not isinstance(history, dict) or not all(is_history(steps) for steps in history.values()):
        raise ModelFileError(f"{path} is no history; write a JSON object with a list of steps for each subject")
    return history


def is_history(steps: Any) -> bool:
    """Return whether this may be the steps of a scan."""
    return isinstance(steps, list) and all(isinstance(step, dict) for step in steps)


def _read_subject(
    files: SubjectFiles, description: CohortDescription, steps: Sequence[Mapping[str, Any]]
) -> tuple[Scan, tuple[str, ...]]:
    """Return a subject's scan before its preparation, and the names of its landmarks."""
    name, done = files.name, list(steps)
    array, told = read_voxels(files.image)
    labels, labels_told = (None, None) if files.labels is None else read_labels(files.labels)
    volume = told is None and (array.ndim == 4 or (labels is not None and labels.ndim == 3))
    sizes = description.voxel_size
    placed = told or Geometry(np.ones(len(sizes) if sizes else 3 if volume else 2))
    d = len(placed.spacing)
    if d not in (2, 3) or array.ndim not in (d, d + 1):
        raise ValueError(
            f"image of {name!r}, {files.image}, has shape {array.shape} and {d} axes in space; save it as one plane or "
            "volume"
        )
    if labels is not None and told is not None and labels_told is not None:
        _check_same_place(name, files, array.shape[-d:], told, labels_told)
    if sizes is not None:
        placed = _resized(name, placed, sizes, plane=array.shape[-d] == 1)
        if told is not None and not np.allclose(placed.spacing, told.spacing, rtol=1e-4):
            done.append({"step": "voxel_size", "from": told.spacing.tolist(), "to": placed.spacing.tolist()})
    if labels is not None and description.relabel:
        labels = _relabelled(labels, description.relabel)
        done.append({"step": "relabel", "values": {str(old): new for old, new in description.relabel.items()}})
    points: npt.NDArray[np.float64] | None = None
    called: tuple[str, ...] = ()
    if files.landmarks is not None:
        points, called = read_named_landmarks(files.landmarks, geometry=placed)
    if d == 3 and array.shape[-3] == 1:
        array, placed = np.squeeze(array, axis=-3), in_plane(placed)
        labels = labels[0] if labels is not None and labels.shape[:1] == (1,) and labels.ndim == 3 else labels
        points = _of_plane(name, points)
        done.append({"step": "slice", "axis": 0, "index": 0, "of": 1})
    return Scan(name, array, geometry=placed, labels=labels, landmarks=points, steps=done), called


def _resized(name: str, geometry: Geometry, voxel_size: Sequence[float], *, plane: bool) -> Geometry:
    d = len(geometry.spacing)
    if len(voxel_size) != d and not (plane and d == 3 and len(voxel_size) == 2):
        raise ValueError(f"voxel_size is {list(voxel_size)} but image of {name!r} has {d} axes; write {d} numbers")
    spacing = geometry.spacing.copy()
    spacing[d - len(voxel_size) :] = voxel_size
    return Geometry(spacing, geometry.origin, geometry.direction)


def _check_same_place(name: str, files: SubjectFiles, grid: Sequence[int], image: Geometry, labels: Geometry) -> None:
    """Raise ValueError if labels lie elsewhere in space than their image, by more than half a voxel."""
    if len(image.spacing) != len(labels.spacing):
        return  # their shapes are compared later
    away = voxels_apart(grid, image, labels)
    if away > 0.5:
        raise ValueError(
            f"labels of {name!r}, {files.labels}, lie up to {away:.3g} voxels from where {files.image} lies; save them "
            "with the image's spacing, origin and directions"
        )


def _relabelled(labels: npt.NDArray[np.integer[Any]], changes: Mapping[int, int]) -> npt.NDArray[np.integer[Any]]:
    values, place = np.unique(labels, return_inverse=True)
    new = [changes.get(value, value) for value in values.tolist()]
    kind = np.result_type(labels.dtype, *{np.min_scalar_type(value) for value in new})
    table: npt.NDArray[np.integer[Any]] = np.array(new, dtype=kind if kind.kind in "iu" else np.int64)
    return table[place].reshape(labels.shape)


def _of_plane(name: str, points: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
    """Return landmarks of a volume of one plane without their plane."""
    if points is None or points.shape[1] == 2:
        return points
    away = np.abs(points[:, 0])
    if away.max() > 0.5:
        raise ValueError(
            f"landmark {away.argmax()} of {name!r} lies {away.max():.3g} planes away from its image; check its position"
        )
    return points[:, 1:]


def _in_one_order(read: Sequence[tuple[Scan, tuple[str, ...]]]) -> list[Scan]:
    """Return scans whose landmarks are in the first one's order where all have the same names."""
    scans = []
    reference: tuple[str, ...] = ()
    for scan, names in read:
        reference = reference or names
        if len(set(names)) < len(names) or names == reference or not set(names) & set(reference):
            scans.append(scan)
            continue
        if set(names) != set(reference):
            stranger = min(set(names) ^ set(reference))
            raise ValueError(
                f"landmark {stranger!r} is in only one of the subjects {scan.name!r} and {read[0][0].name!r}; give all "
                "subjects the same landmarks"
            )
        assert scan.landmarks is not None
        order = [names.index(each) for each in reference]
        scans.append(scan.after({"step": "landmarks", "order": order}, landmarks=scan.landmarks[order]))
    return scans
