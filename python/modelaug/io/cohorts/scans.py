"""Scans, and cohorts, out of folders."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

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
"""Formats in which axes may be channels or planes."""

Labels = npt.NDArray[np.integer[Any]]


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
        Prepared as the ``cohort.toml`` says; what was done is in their ``steps``. Where files say how their axes run,
        all are stored as the first is. Volumes of a single plane are planes. Landmarks that have the same names for all
        subjects are in the order of the first one's. What is assumed or changed is said in the log ``modelaug.io``.

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
    """Return the description of a folder, which may be there or not, or that of a ``cohort.toml``."""
    path = Path(path)
    if not path.is_dir():
        return read_description(path)
    written = path / DESCRIPTION_NAME
    return read_description(written) if written.exists() else CohortDescription(path)


@dataclass(frozen=True, eq=False)
class _Read:
    """What the files of a subject hold.

    Attributes
    ----------
    files
        These.
    scan
        Before its preparation; of a volume of a single plane, this volume.
    placed
        Whether the format of the image keeps where its voxels lie.
    oriented
        Whether the image's file says how its axes run in space.
    names
        Of the landmarks, None if there are none.
    """

    files: SubjectFiles
    scan: Scan
    placed: bool
    oriented: bool
    names: tuple[str, ...] | None


def read_described(description: CohortDescription) -> list[Scan]:
    """Read the scans that a description names, and prepare them as it says."""
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
    check_segments([(each.name, each.labels) for each in files if each.labels is not None])
    _tell_of_sizes(description, read)
    flat = _flat(_in_one_orientation(description.folder, read))
    ordered = in_one_order([(each.files.landmarks, each.scan, each.names) for each in flat])
    return [prepare(scan, description.preparation) for scan in ordered]


def _history(description: CohortDescription) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return what had been done to the subjects' images before, as the description's file has it."""
    if description.history is None:
        return {}
    path = description.folder / description.history
    history = read_json(path)
    if not isinstance(history, dict) or not all(is_history(steps) for steps in history.values()):
        raise ModelFileError(f"{path} is no history; write a JSON object with a list of steps for each subject")
    return history


def is_history(steps: Any) -> bool:
    """Return whether this may be the steps of a scan."""
    return isinstance(steps, list) and all(isinstance(step, dict) for step in steps)


def _read_subject(files: SubjectFiles, description: CohortDescription, steps: Sequence[Mapping[str, Any]]) -> _Read:
    """Return a subject's scan before its preparation."""
    name, done = files.name, list(steps)
    array, told = read_voxels(files.image)
    labels, labels_told = (None, None) if files.labels is None else _read_label_map(files.labels)
    sizes = description.voxel_size
    placed = told or Geometry(np.ones(_axes_in_space(files, array, labels, sizes)))
    d = len(placed.spacing)
    if d not in (2, 3) or array.ndim not in (d, d + 1):
        raise ValueError(
            f"image of {name!r}, {files.image}, has shape {array.shape} and {d} axes in space; save it as one plane or "
            "volume"
        )
    grid = array.shape[-d:]
    if labels is not None and files.labels is not None:
        labels, step = _fitted(files, grid, told, labels, labels_told)
        done += [step] if step else []
    points, called = None, None
    if files.landmarks is not None:
        # By the geometry of the file, in which they were set, whatever the size of a voxel is corrected to.
        points, called = read_landmark_file(files.landmarks, geometry=placed)
    if sizes is not None:
        placed = _resized(name, placed, sizes, grid)
        if told is not None and not np.allclose(placed.spacing, told.spacing, rtol=1e-4):
            done.append({"step": "voxel_size", "from": told.spacing.tolist(), "to": placed.spacing.tolist()})
    if labels is not None and description.relabel:
        labels = _relabelled(labels, description.relabel)
        done.append({"step": "relabel", "values": {str(old): new for old, new in description.relabel.items()}})
    if d == 3 and 1 in grid and points is not None and points.shape[1] == 2:
        points = np.insert(points, grid.index(1), 0.0, axis=1)
    scan = Scan(name, array, geometry=placed, labels=labels, landmarks=points, steps=done)
    says_place = told is not None and suffix(files.image) not in TIFF_SUFFIXES
    return _Read(files, scan, says_place, says_place and _says_orientation(files.image), called)


def _says_orientation(path: Path) -> bool:
    """Return whether an image's file, of a format that can, says how its axes run in space."""
    return read_header(path).oriented if suffix(path) in ITK_READ_SUFFIXES else is_oriented(path)


def _read_label_map(path: Path) -> tuple[Labels, Geometry | None]:
    labels, told = read_labels(path)
    if told is not None and labels.ndim != len(told.spacing):
        raise ModelFileError(
            f"{path} holds {len(labels)} channels or overlapping segments, not labels; save one label map"
        )
    return labels, told


def _fitted(
    files: SubjectFiles, grid: tuple[int, ...], image: Geometry | None, labels: Labels, told: Geometry | None
) -> tuple[Labels, dict[str, Any] | None]:
    """Return a label map on its image's grid, and what was done for that."""
    assert files.labels is not None
    step = None
    if image is not None and told is not None:
        labels, step = on_grid(files.name, files.labels, grid, image, labels, told)
    labels = _with_axes_of(labels, grid)
    if labels.shape != grid:
        raise ValueError(
            f"labels of {files.name!r} have shape {labels.shape} but its image {grid}; save {files.labels} on the grid "
            f"of {files.image}"
        )
    return labels, step


def _with_axes_of(labels: Labels, grid: tuple[int, ...]) -> Labels:
    """Return labels of a single plane with or without their third axis, as the image has it."""
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
    """Return how many axes of an image that does not say it are axes in space; the first of three may be of channels.

    Pictures are planes. An array is a volume if it has four axes, if labels are one on its grid, or if there are three
    sizes of its voxels.
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


def _tell_of_sizes(description: CohortDescription, read: Sequence[_Read]) -> None:
    """Say once what is assumed where files do not say where their voxels lie, or how large they are."""
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
    """Return the first part of a sentence about files, and its pronoun."""
    first = which[0].files.image
    return (f"{first} does not", "its") if len(which) == 1 else (f"{first} and {len(which) - 1} more do not", "their")


def _in_one_orientation(folder: Path, read: Sequence[_Read]) -> list[_Read]:
    """Return scans stored as the first one of which it is known how its axes run; say of which others it was not so."""
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
            changed.append(f"{scan.name!r} ({turn.told()})")
        elif turn is None and len(scan.grid) == 3:  # of which nothing is known: as the others
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
        _LOG.warning("%s: stored anew as %r is: %s", folder, first.scan.name, ", ".join(changed))
    if askew:
        _LOG.warning("%s: taken as stored, though askew to %r: %s", folder, first.scan.name, ", ".join(askew))
    return result


def _is_cut_alike(scan: Scan, turn: Turn, other: Scan) -> bool:
    """Return whether a plane, once it is turned, lies across the same axis as another one, if both are planes."""
    grid, wanted = _space(scan)[1], _space(other)[1]
    return 1 not in grid or 1 not in wanted or turn.axes.index(grid.index(1)) == wanted.index(1)


def _turn(scan: Scan, other: Geometry) -> Turn:
    """Return how a scan is to be stored to lie as another one, as a turn in space."""
    geometry, grid = _space(scan)
    return turn_onto(geometry, other, grid)


def _space(scan: Scan) -> tuple[Geometry, tuple[int, ...]]:
    """Return where a scan lies in space, and its grid; a plane as a volume of this plane, among x and y."""
    geometry = scan.geometry
    if len(scan.grid) == 3:
        return geometry, scan.grid
    direction = np.eye(3)
    direction[:2, :2] = geometry.direction
    return Geometry([1.0, *geometry.spacing], [*geometry.origin, 0.0], direction), (1, *scan.grid)


def _flat(read: Sequence[_Read]) -> list[_Read]:
    """Return scans whose volumes of a single plane are planes, with coordinates of their own."""
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
    """Return the only plane of a volume, across axis k."""
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
