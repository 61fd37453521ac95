"""Brains of the LONI Probabilistic Brain Atlas (LPBA40): T1-weighted MRI of 40 subjects with 56 labelled structures.

Shattuck et al., *Construction of a 3D probabilistic atlas of human cortical structures*, NeuroImage 39(3), 2008;
https://resource.loni.usc.edu/resources/atlases-downloads/. For research under LONI's own terms: pass on nothing of the
data, and nothing trained on them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.data.geometry import Geometry
from modelaug.data.preparation import PreparationOptions, slice_at_fraction
from modelaug.data.scans import Scan
from modelaug.datasets import _files
from modelaug.io.files.reading import ModelFileError, check_file, reading

__all__ = ["LABELS", "PREPARATION", "read"]

_PAIRS: Final = {
    21: "superior frontal gyrus",
    23: "middle frontal gyrus",
    25: "inferior frontal gyrus",
    27: "precentral gyrus",
    29: "middle orbitofrontal gyrus",
    31: "lateral orbitofrontal gyrus",
    33: "gyrus rectus",
    41: "postcentral gyrus",
    43: "superior parietal gyrus",
    45: "supramarginal gyrus",
    47: "angular gyrus",
    49: "precuneus",
    61: "superior occipital gyrus",
    63: "middle occipital gyrus",
    65: "inferior occipital gyrus",
    67: "cuneus",
    81: "superior temporal gyrus",
    83: "middle temporal gyrus",
    85: "inferior temporal gyrus",
    87: "parahippocampal gyrus",
    89: "lingual gyrus",
    91: "fusiform gyrus",
    101: "insular cortex",
    121: "cingulate gyrus",
    161: "caudate",
    163: "putamen",
    165: "hippocampus",
}

LABELS: Final = {
    **{code + k: f"{side} {name}" for code, name in _PAIRS.items() for k, side in enumerate(("left", "right"))},
    181: "cerebellum",
    182: "brainstem",
}
"""Names of the labels; odd ones are on the left, even ones on the right. 0 is the background."""

PREPARATION: Final = PreparationOptions(spacing=1.0, shape=(256, 256), center="labels", percentiles=(0.0, 99.9))
"""How slices are prepared by default. The darkest value stays black, as most of a slice is empty."""

_IMAGE: Final = {"delineation": "delineation.skullstripped", "native": "native.mri"}
_LABELS: Final = "delineation.structure.label"
_COMPRESSION: Final = 1032
"""Largest factor by which gzip compresses."""


def read(
    folder: str | Path,
    *,
    space: Literal["delineation", "native"] = "delineation",
    subjects: Sequence[str] | None = None,
    slice: float | None = 0.5,
    options: PreparationOptions | None = None,
) -> list[Scan]:
    """Read subjects of LPBA40, one image of each.

    Files are looked for by name anywhere in `folder`, each as ``.img`` or ``.img.gz`` with an ``.hdr`` (Analyze, with
    or without a fourth axis of length 1), or as ``.nii`` or ``.nii.gz``:

    - ``S01.delineation.skullstripped`` and ``S01.delineation.structure.label`` of LONI's "delineation space": rigidly
      aligned heads without skull, and the labels;
    - ``S01.native.mri`` of LONI's "native space": heads as they were scanned, without labels, as no labels of
      structures in that space are known.

    Copies in public repositories are read as well: NIfTI files of the former names in ``train``, ``test`` and
    ``label``, where the image of S01 is ``fixed.nii.gz``.

    The names are known from public code that reads them. Axes are as in the files. Analyze has no orientation; public
    code assumes that columns point to the left, rows to the back and planes to the head. In the copies, judged by their
    labels, columns point to the right and rows to the front: do not mix the two.

    Parameters
    ----------
    folder
        Into which the data set was unpacked.
    space
        ``"delineation"`` with labels, or ``"native"`` without.
    subjects
        Names such as ``"S01"``. None: all, sorted.
    slice
        Where an axial slice is taken: 0 the first plane of the file, 1 the last. None: the volume, unless `options`
        chooses a slice.
    options
        How the slice is then prepared, `PREPARATION` by default, in native space around the image's middle; it must not
        choose a slice itself, and with ``slice=None`` the default is to do nothing.

    Returns
    -------
    list of Scan
        With labels, see `LABELS`, in delineation space.

    Raises
    ------
    ModelFileError
        If a file is missing or broken, or labels do not fit their image.
    """
    _checks.choice("space", space, tuple(_IMAGE))
    default = PREPARATION if space == "delineation" else replace(PREPARATION, center="image")
    chosen = _checks.options(default if options is None and slice is not None else options, PreparationOptions)
    root = _files.root_folder(folder)
    wanted = _LABELS if space == "delineation" else _IMAGE[space]
    found = _find(root, wanted)
    names = _files.choose_subjects(
        subjects, found, f"{folder} has no files such as S01.{wanted}.img; pass their folder"
    )
    images = _find(root, _IMAGE[space])
    if space == "delineation" and "S01" not in images and (fixed := sorted(root.rglob("fixed.nii.gz"))):
        images["S01"] = fixed[0]
    scans = []
    for name in names:
        if name not in images:
            raise ModelFileError(f"{name}.{_IMAGE[space]}.img, the image of {found[name]}, is missing; copy it there")
        scan = _read_subject(name, images[name], found[name] if space == "delineation" else None, space)
        index = None if slice is None else slice_at_fraction("slice", slice, scan.grid[0])
        scans.append(_files.prepare_slice(scan, index, chosen))
    return scans


def _find(root: Path, kind: str) -> dict[str, Path]:
    """Return the image files of a kind, without headers, by subject."""
    pattern = re.compile(rf"(S\d\d)\.{re.escape(kind)}\.(?:img|img\.gz|nii|nii\.gz)")
    found: dict[str, Path] = {}
    for path in sorted(root.rglob(f"S*.{kind}.*")):
        if match := pattern.fullmatch(path.name):
            before = found.get(match[1])
            # Decompressed files often stay in the folder of the compressed ones, with the same content.
            if before is not None and before.parent != path.parent:
                raise ModelFileError(f"{path} and {before} are of the same subject; pass a folder with one of them")
            found.setdefault(match[1], path)
    return found


def _read_subject(name: str, image_path: Path, labels_path: Path | None, space: str) -> Scan:
    image, geometry = _read(image_path)
    labels = None
    if labels_path is not None:
        labels = _files.as_labels(_read(labels_path, labels=True)[0], labels_path, image_path, image.shape)
    step = {"step": "read", "from": "LPBA40", "file": image_path.name, "space": space}
    return Scan(name, image, geometry=geometry, labels=labels, steps=(step,))


def _read(path: Path, *, labels: bool = False) -> tuple[npt.NDArray[Any], Geometry]:
    """Read a volume (planes, rows, columns) with its geometry, from Analyze or NIfTI."""
    return _read_analyze(path) if ".img" in path.suffixes else _files.read_volume(path, labels=labels)


def _read_analyze(path: Path) -> tuple[npt.NDArray[np.float32], Geometry]:
    """Read an Analyze volume with its spacing; the voxels may be compressed when the header is not."""
    import nibabel

    header = check_file(path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.img')}.hdr"))
    with reading(path, "Analyze", "copy it again") as place:
        files = {"header": nibabel.FileHolder(str(header)), "image": nibabel.FileHolder(str(path))}
        image: Any = nibabel.AnalyzeImage.from_file_map(files)  # type: ignore[no-untyped-call]
        promised = math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
        if not 0 < promised <= place.stat().st_size * (_COMPRESSION if path.suffix == ".gz" else 1):
            raise ValueError(f"its header promises {promised} bytes")
        voxels = np.asarray(image.dataobj)
        geometry = Geometry([float(each) for each in image.header.get_zooms()[:3]][::-1])
    if voxels.ndim < 3 or math.prod(voxels.shape[3:]) != 1:
        raise ModelFileError(f"{path} holds an array of shape {voxels.shape}, not a volume; copy it again")
    volume = voxels.reshape(voxels.shape[:3]).T
    return np.ascontiguousarray(volume, dtype=np.float32), geometry
