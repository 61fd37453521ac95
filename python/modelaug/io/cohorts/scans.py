"""Reading of the scans of several subjects from folders."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug._arrays import Labels
from modelaug.data.geometry import Geometry
from modelaug.data.orientation import Turn, turn_onto
from modelaug.data.preparation import prepare, reorient
from modelaug.data.scans import Scan
from modelaug.io.cohorts.descriptions import DESCRIPTION_NAME, CohortDescription, read_description
from modelaug.io.cohorts.matching import SubjectFiles, match_folder, match_patterns
from modelaug.io.cohorts.names import in_one_order
from modelaug.io.cohorts.segments import check_segments, on_grid
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError, read_json
from modelaug.io.formats.dicom import is_oriented
from modelaug.io.formats.itk import ITK_READ_SUFFIXES
from modelaug.io.formats.tiff import TIFF_SUFFIXES
from modelaug.io.formats.volumes import read_header
from modelaug.io.images import read_labels, read_voxels
from modelaug.io.landmarks import PHYSICAL_SUFFIXES, read_landmark_file

_LOG: Final = logging.getLogger("modelaug.io")
_ARRAYS: Final = (".npy", ".npz")
"""Formats in which an axis may be of channels or of planes."""


def read_scans(path: str | Path) -> list[Scan]:
    """Read the images of several subjects, with labels and landmarks where there are files of them.

    Parameters
    ----------
    path
        A folder, or a ``cohort.toml``, or a folder with one; docs/files.md describes it. Without one, files belong
        together by their names: ``NAME.nii.gz``, ``NAME_labels.nii.gz`` and ``NAME.csv``, or the same names in folders
        ``images``, ``labels`` and ``landmarks``.

    Returns
    -------
    list of Scan
        Prepared as in the ``cohort.toml``; the steps are in their ``steps``. Where files give an orientation, all scans
        are in that of the first. Volumes of a single plane are planes. Landmarks that have the same names for all
        subjects are in the order of the first one's. The log ``modelaug.io`` lists all assumptions and changes.

    Raises
    ------
    ModelFileError
        If there are no images, files are missing, ambiguous or belong to no image, or one cannot be read; or if
        landmarks have different names; the message names the subject.
    TypeError, ValueError
        If files do not fit each other, or the preparation does not suit the images.
    """
    return read_described(describe(path))


def describe(path: str | Path) -> CohortDescription:
    """Return the description of a folder, with or without a ``cohort.toml``, or of a ``cohort.toml`` itself."""
    path = Path(path)
    if not path.is_dir():
        return read_description(path)
    written = path / DESCRIPTION_NAME
    return read_description(written) if written.exists() else CohortDescription(path)


@dataclass(frozen=True, eq=False)
class _Read:
    """A subject's scan as its files have it.

    Attributes
    ----------
    files
        The subject's files.
    scan
        The scan before its preparation; a single plane may be a volume.
    placed
        Whether the format of the image keeps its geometry.
    oriented
        Whether the image's file gives the orientation of its axes.
    names
        Names of the landmarks, None if there are none.
    """

    files: SubjectFiles
    scan: Scan
    placed: bool
    oriented: bool
    names: tuple[str, ...] | None


def read_described(description: CohortDescription) -> list[Scan]:
    """Read the scans of a description, and prepare them."""
    if description.images is None:
        files = match_folder(description.folder, description.subjects)
    else:
        patterns = {"image": description.images, "labels": description.labels, "landmarks": description.landmarks}
        files = match_patterns(description.folder, patterns, description.subjects)
    history = _history(description)
    read = [_read_subject(each, description, history.get(each.name, ())) for each in files]
    check_segments([(each.name, each.labels) for each in files if each.labels is not None])
    _warn_of_sizes(description, read)
    flat = _flat(_in_one_orientation(description.folder, read))
    ordered = in_one_order([(each.files.landmarks, each.scan, each.names) for each in flat])
    return [prepare(scan, description.preparation) for scan in ordered]


def _history(description: CohortDescription) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Read the steps by which the subjects' images had been prepared before, by name."""
    if description.history is None:
        return {}
    path = description.folder / description.history
    history = read_json(path)
    if not isinstance(history, dict) or not all(is_history(steps) for steps in history.values()):
        raise ModelFileError(f"{path} is no history; write a JSON object with a list of steps for each subject")
    return history


def is_history(steps: Any) -> bool:
    """Return whether a value from JSON may be the steps of a scan."""
    return isinstance(steps, list) and all(isinstance(step, dict) for step in steps)


def _read_subject(files: SubjectFiles, description: CohortDescription, steps: Sequence[Mapping[str, Any]]) -> _Read:
    """Read a subject's scan without preparing it."""
    name, done = files.name, list(steps)
    array, stored = read_voxels(files.image)
    labels, labels_stored = (None, None) if files.labels is None else _read_label_map(files.labels)
    sizes = description.voxel_size
    placed = stored or Geometry(np.ones(_axes_in_space(files, array, labels, sizes)))
    d = len(placed.spacing)
    if d not in (2, 3) or array.ndim not in (d, d + 1):
        raise ValueError(
            f"image of {name!r}, {files.image}, has shape {array.shape} and {d} axes in space; save it as one plane or "
            "volume"
        )
    grid = array.shape[-d:]
    if labels is not None and files.labels is not None:
        labels, step = _fitted(files, grid, stored, labels, labels_stored)
        done += [step] if step else []
    points, called = None, None
    if files.landmarks is not None:
        # In the geometry of the file, in which they were set, before its voxel size is corrected.
        points, called = read_landmark_file(files.landmarks, geometry=placed)
    if sizes is not None:
        placed = _resized(name, placed, sizes, grid)
        if stored is not None and not np.allclose(placed.spacing, stored.spacing, rtol=1e-4):
            done.append({"step": "voxel_size", "from": stored.spacing.tolist(), "to": placed.spacing.tolist()})
    if labels is not None and description.relabel:
        labels = _relabelled(labels, description.relabel)
        done.append({"step": "relabel", "values": {str(old): new for old, new in description.relabel.items()}})
    if d == 3 and 1 in grid and points is not None and points.shape[1] == 2:
        points = np.insert(points, grid.index(1), 0.0, axis=1)
    scan = Scan(name, array, geometry=placed, labels=labels, landmarks=points, steps=done)
    has_place = stored is not None and suffix(files.image) not in TIFF_SUFFIXES
    return _Read(files, scan, has_place, has_place and _has_orientation(files.image), called)


def _has_orientation(path: Path) -> bool:
    """Return whether an image's file, in a format with geometry, gives the orientation of its axes."""
    return read_header(path).oriented if suffix(path) in ITK_READ_SUFFIXES else is_oriented(path)


def _read_label_map(path: Path) -> tuple[Labels, Geometry | None]:
    labels, stored = read_labels(path)
    if stored is not None and labels.ndim != len(stored.spacing):
        raise ModelFileError(
            f"{path} holds {len(labels)} channels or overlapping segments, not labels; save one label map"
        )
    return labels, stored


def _fitted(
    files: SubjectFiles, grid: tuple[int, ...], image: Geometry | None, labels: Labels, stored: Geometry | None
) -> tuple[Labels, dict[str, Any] | None]:
    """Bring a label map onto its image's grid, and return the step that did it."""
    assert files.labels is not None
    step = None
    if image is not None and stored is not None:
        labels, step = on_grid(files.name, files.labels, grid, image, labels, stored)
    labels = _with_axes_of(labels, grid)
    if labels.shape != grid:
        raise ValueError(
            f"labels of {files.name!r} have shape {labels.shape} but its image {grid}; save {files.labels} on the grid "
            f"of {files.image}"
        )
    return labels, step


def _with_axes_of(labels: Labels, grid: tuple[int, ...]) -> Labels:
    """Add or remove the third axis of a single plane of labels as its image has it."""
    if labels.ndim == 3 and len(grid) == 2 and 1 in labels.shape:
        return np.squeeze(labels, axis=labels.shape.index(1))
    if labels.ndim == 2 and len(grid) == 3 and 1 in grid:
        return np.expand_dims(labels, grid.index(1))
    return labels


def _axes_in_space(
    files: SubjectFiles,
    array: npt.NDArray[Any],
    labels: npt.NDArray[Any] | None,
    sizes: Sequence[float] | None,
) -> int:
    """Return the number of spatial axes of an image without geometry; the first of three may be of channels.

    Pictures are planes. An array is a volume if it has four axes, labels on its grid, or three sizes of voxels.
    """
    if suffix(files.image) not in _ARRAYS:
        return 2
    if sizes is not None:
        return len(sizes)
    return 3 if array.ndim == 4 or (array.ndim == 3 and labels is not None and labels.shape == array.shape) else 2


def _resized(name: str, geometry: Geometry, voxel_size: Sequence[float], grid: Sequence[int]) -> Geometry:
    d = len(grid)
    kept = [k for k in range(d) if k != (grid.index(1) if 1 in grid else None)]
    if len(voxel_size) != d and not (d == 3 and len(voxel_size) == len(kept) == 2):
        raise ValueError(f"voxel_size is {list(voxel_size)} but image of {name!r} has {d} axes; write {d} numbers")
    spacing = geometry.spacing.copy()
    spacing[kept if len(voxel_size) < d else slice(None)] = voxel_size
    return Geometry(spacing, geometry.origin, geometry.direction)


def _warn_of_sizes(description: CohortDescription, read: Sequence[_Read]) -> None:
    """Log once what is assumed where files have no geometry, or no sizes of voxels."""
    unplaced = [each for each in read if not each.placed]
    unsized = [each for each in unplaced if description.voxel_size is None and (each.scan.geometry.spacing == 1).all()]
    in_mm = [each for each in unplaced if each.files.landmarks and suffix(each.files.landmarks) in PHYSICAL_SUFFIXES]
    if unsized:
        units = "pixels" if all(len(each.scan.grid) == 2 for each in unsized) else "voxels"
        who, its = _who_do_not(unsized)
        _LOG.warning(
            "%s say how large %s %s are: 1 mm is assumed, unless a cohort.toml has voxel_size", who, its, units
        )
    if in_mm:
        _LOG.warning(
            "%s say where %s voxels lie; landmarks in mm are counted from the first one, in 1 mm or its size",
            *_who_do_not(in_mm),
        )


def _who_do_not(which: Sequence[_Read]) -> tuple[str, str]:
    """Return the beginning of a sentence about files, and its pronoun."""
    first = which[0].files.image
    return (f"{first} does not", "its") if len(which) == 1 else (f"{first} and {len(which) - 1} more do not", "their")


def _in_one_orientation(folder: Path, read: Sequence[_Read]) -> list[_Read]:
    """Turn scans to the orientation of the first one whose file gives it, and log changes and exceptions."""
    first = next((each for each in read if each.oriented), None)
    if first is None:
        return list(read)
    other, _ = _space(first.scan)
    result, changed, askew = [], [], []
    unknown = [repr(each.scan.name) for each in read if not each.oriented]
    for each in read:
        scan = each.scan
        turn = _turn(scan, other) if each.oriented else None
        if turn is not None and turn.degrees is None:
            raise ModelFileError(
                f"{each.files.image} is stored as a mirror image of {first.files.image} and lies askew to it; resample "
                "it to the directions of the others"
            )
        if turn is not None and not (turn.clear and _is_cut_alike(scan, turn, first.scan)):
            askew.append(repr(scan.name))
        elif turn is not None and not turn.identity:
            scan = reorient(scan, turn if len(scan.grid) == 3 else turn.of_plane())
            changed.append(f"{scan.name!r} ({turn.description()})")
        elif turn is None and len(scan.grid) == 3:  # its orientation is unknown: that of the others is assumed
            placed = Geometry(scan.geometry.spacing, direction=other.direction)
            scan = Scan(
                scan.name, scan.image, geometry=placed, labels=scan.labels, landmarks=scan.landmarks, steps=scan.steps
            )
        result.append(replace(each, scan=scan))
    if unknown:
        _LOG.warning(
            "%s: taken as stored, since the files do not say how they are oriented: %s", folder, ", ".join(unknown)
        )
    if changed:
        _LOG.warning("%s: turned to the orientation of %r: %s", folder, first.scan.name, ", ".join(changed))
    if askew:
        _LOG.warning("%s: taken as stored, though askew to %r: %s", folder, first.scan.name, ", ".join(askew))
    return result


def _is_cut_alike(scan: Scan, turn: Turn, other: Scan) -> bool:
    """Return whether a plane, after its turn, is cut across the same axis as another, if both are planes."""
    grid, wanted = _space(scan)[1], _space(other)[1]
    return 1 not in grid or 1 not in wanted or turn.axes.index(grid.index(1)) == wanted.index(1)


def _turn(scan: Scan, other: Geometry) -> Turn:
    """Return the turn in space that brings a scan to another geometry's orientation."""
    geometry, grid = _space(scan)
    return turn_onto(geometry, other, grid)


def _space(scan: Scan) -> tuple[Geometry, tuple[int, ...]]:
    """Return a scan's geometry and grid in space; a plane becomes a volume of this plane, in x and y."""
    geometry = scan.geometry
    if len(scan.grid) == 3:
        return geometry, scan.grid
    direction = np.eye(3)
    direction[:2, :2] = geometry.direction
    return Geometry([1.0, *geometry.spacing], [*geometry.origin, 0.0], direction), (1, *scan.grid)


def _flat(read: Sequence[_Read]) -> list[_Read]:
    """Convert volumes of a single plane to planes, with coordinates of their own."""
    result = []
    first: tuple[int, _Read] | None = None
    for each in read:
        grid = each.scan.grid
        k = grid.index(1) if len(grid) == 3 and 1 in grid else 0 if len(grid) == 2 and each.oriented else None
        if k is not None:
            first = first or (k, each)
            if first[0] != k:
                raise ValueError(
                    f"image of {each.scan.name!r}, {each.files.image}, is a plane across axis {k} but that of "
                    f"{first[1].scan.name!r} across axis {first[0]}; use planes that are cut alike"
                )
        result.append(each if k is None or len(grid) == 2 else replace(each, scan=_plane_of(each.scan, k)))
    return result


def _plane_of(scan: Scan, k: int) -> Scan:
    """Return the single plane of a volume, across axis k, as a scan."""
    points = scan.landmarks
    if points is not None:
        away = np.abs(points[:, k])
        if away.max() > 0.5:
            raise ValueError(
                f"landmark {away.argmax()} of {scan.name!r} lies {away.max():.3g} planes away from its image; check "
                "its position"
            )
        points = np.delete(points, k, axis=1)
    return scan.after(
        {"step": "slice", "axis": k, "index": 0, "of": 1},
        image=np.squeeze(scan.image, axis=k + 1),
        labels=None if scan.labels is None else np.squeeze(scan.labels, axis=k),
        landmarks=points,
        geometry=Geometry(np.delete(scan.geometry.spacing, k)),
    )


def _relabelled(labels: Labels, changes: Mapping[int, int]) -> Labels:
    values, place = np.unique(labels, return_inverse=True)
    new = [changes.get(value, value) for value in values.tolist()]
    kind = np.result_type(labels.dtype, *{np.min_scalar_type(value) for value in new})
    table: Labels = np.array(new, dtype=kind if kind.kind in "iu" else np.int64)
    return table[place].reshape(labels.shape)
