"""Hearts of the Automated Cardiac Diagnosis Challenge (ACDC): short-axis cine MRI with labels of both ventricles.

Bernard et al., *Deep learning techniques for automatic MRI cardiac multi-structures segmentation and diagnosis: is the
problem solved?*, IEEE Transactions on Medical Imaging 37(11), 2018; https://www.creatis.insa-lyon.fr/Challenge/acdc/.
The data are distributed under CC BY-NC-SA 4.0: nothing of them, and nothing trained on them, belongs in a repository
under another licence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from modelaug import _checks
from modelaug.data.preparation import PreparationOptions
from modelaug.data.scans import Scan
from modelaug.datasets import _files
from modelaug.io.files.reading import ModelFileError, read_text

__all__ = ["LABELS", "PREPARATION", "read"]

LABELS: Final = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
"""Names of the labels: cavities and left-ventricular wall; 0 is the background. Papillary muscles belong to
the cavity."""

PREPARATION: Final = PreparationOptions(spacing=1.0, shape=(256, 256), center="labels", percentiles=(1.0, 99.0))
"""How slices are prepared by default."""

_PATIENT: Final = re.compile(r"patient\d+")


def read(
    folder: str | Path,
    *,
    phase: Literal["ed", "es"] = "ed",
    subjects: Sequence[str] | None = None,
    slice: float | None = 0.5,
    options: PreparationOptions | None = None,
) -> list[Scan]:
    """Read patients of ACDC, as it is distributed, one image of each.

    A patient's folder holds ``Info.cfg`` and, for each of both phases, ``patient001_frame01.nii.gz`` and
    ``patient001_frame01_gt.nii.gz`` (also without ``.gz``). Such folders are found in `folder` and up to two folders
    further down, as in ``training/`` and ``testing/`` of the distribution since 2022. The test patients of the
    distribution of 2017 have no labels and cannot be read.

    Parameters
    ----------
    folder
        Into which the data set was unpacked.
    phase
        End-diastole or end-systole, by the frame numbers in ``Info.cfg``.
    subjects
        Names such as ``"patient001"``. None: all, sorted.
    slice
        Which of the slices that contain the left ventricle: 0 the first in the file, 1 the last, 0.5 the middle one.
        None: the volume, unless `options` chooses a slice.
    options
        How the slice is then prepared, `PREPARATION` by default; it must not choose a slice itself, and with
        ``slice=None`` the default is to do nothing.

    Returns
    -------
    list of Scan
        With labels, see `LABELS`. Axes are as in the files: (slice,) row, column. The first of ``steps`` has the phase,
        frame, ``group`` (``NOR``, ``MINF``, ``DCM``, ``HCM`` or ``RV``) and whatever else ``Info.cfg`` says.

    Raises
    ------
    ModelFileError
        If a file is missing or broken, ``Info.cfg`` lacks the phase, or labels do not fit their image.
    """
    _checks.choice("phase", phase, ("ed", "es"))
    chosen = _checks.options(PREPARATION if options is None and slice is not None else options, PreparationOptions)
    patients = _patients(_files.root_folder(folder))
    names = _files.choose_subjects(
        subjects, patients, f"{folder} has no folders named patient001 and so on; pass the one with the patients"
    )
    scans = []
    for name in names:
        scan = _read_patient(patients[name], phase)
        index = None if slice is None else _files.slice_with(scan, 3, slice)
        scans.append(_files.prepare_slice(scan, index, chosen))
    return scans


def _patients(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for pattern in ("*", "*/*", "*/*/*"):
        for path in sorted(root.glob(pattern)):
            if _PATIENT.fullmatch(path.name) and path.is_dir():
                if path.name in found:
                    raise ModelFileError(f"{path} and {found[path.name]} are the same patient; pass the folder of one")
                found[path.name] = path
    return found


def _read_patient(folder: Path, phase: str) -> Scan:
    info = _read_info(folder / "Info.cfg")
    entry = info.get(phase.upper(), "")
    if not entry.isdecimal():
        raise ModelFileError(f"{folder / 'Info.cfg'} does not say which frame is {phase.upper()}; copy it again")
    stem = f"{folder.name}_frame{int(entry):02d}"
    image_path, labels_path = _file(folder, stem), _file(folder, f"{stem}_gt")
    image, geometry = _files.read_volume(image_path)
    step: dict[str, Any] = {"step": "read", "from": "ACDC", "file": image_path.name, "phase": phase}
    step |= {key.lower(): value for key, value in info.items()}
    labels = _files.as_labels(_files.read_volume(labels_path, labels=True)[0], labels_path, image_path, image.shape)
    return Scan(folder.name, image, geometry=geometry, labels=labels, steps=(step,))


def _file(folder: Path, stem: str) -> Path:
    """Return the path of a NIfTI file, uncompressed if there is one."""
    plain = folder / f"{stem}.nii"
    return plain if plain.is_file() else folder / f"{stem}.nii.gz"


def _read_info(path: Path) -> dict[str, str]:
    """Return the entries of ``Info.cfg``, one ``key: value`` a line."""
    pairs = (line.partition(":") for line in read_text(path).splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}
