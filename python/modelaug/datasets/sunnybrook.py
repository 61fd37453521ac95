"""Hearts of the Sunnybrook Cardiac Data: short-axis cine MRI with contours of the left ventricle.

Radau et al., *Evaluation framework for algorithms segmenting short axis cardiac MRI*, The MIDAS Journal, 2009, the data
of the MICCAI 2009 challenge; https://www.cardiacatlas.org/sunnybrook-cardiac-data/. Public domain (CC0 1.0).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.data.geometry import Geometry
from modelaug.data.preparation import PreparationOptions, prepare, slice_at_fraction
from modelaug.data.scans import Scan
from modelaug.datasets import _files
from modelaug.io.files.reading import ModelFileError, read_text, refusing
from modelaug.io.formats.dicom import read_dicom
from modelaug.transforms.polylines import inside_polygon, polygon_area

__all__ = ["LABELS", "PREPARATION", "read", "read_contour"]

LABELS: Final = {2: "myocardium", 3: "left ventricle"}
"""Names of the labels, numbered as in ACDC; papillary muscles belong to the cavity."""

PREPARATION: Final = PreparationOptions(spacing=1.0, shape=(256, 256), center="labels", percentiles=(1.0, 99.0))
"""How slices are prepared by default."""

_CASE: Final = re.compile(r"SC-(HF-I|HF-NI|HYP|N)-0*(\d+)", re.IGNORECASE)
_PATIENT: Final = re.compile(r"SCD\d+", re.IGNORECASE)
_CONTOUR: Final = re.compile(r"IM-\d+-(\d+)-([io])contour-manual\.txt", re.IGNORECASE)
_IMAGE: Final = re.compile(r"IM-(\d+)-(\d+)\.dcm", re.IGNORECASE)
_SAME_SLICE: Final = 1.0  # mm; slices are 8 mm apart or more

Points = npt.NDArray[np.float64]


def read(
    folder: str | Path,
    *,
    phase: Literal["ed", "es"] = "ed",
    subjects: Sequence[str] | None = None,
    slice: float = 0.5,
    options: PreparationOptions | None = None,
) -> list[Scan]:
    """Read cases of the Sunnybrook Cardiac Data, as they are distributed, one image of each.

    Contours are looked for as ``SC-HF-I-01/contours-manual/IRCCI-expert/IM-0001-0048-icontour-manual.txt``, the inner
    contour of image 48, and ``-ocontour-``, the outer one, anywhere in `folder`. Images are looked for

    - as the Cardiac Atlas Project distributes them: ``SCD_IMAGES_01/SCD0000101/CINESAX_300/IM-0003-0048.dcm`` and the
      table ``scd_patientdata.csv``, whose ``PatientID`` and ``OriginalID`` say that SCD0000101 is SC-HF-I-1;
    - as the challenge did, in a folder with the case's name: ``SC-HF-I-1/DICOM/IM-0001-0048.dcm``, or
      ``SC-HF-I-1/IM-0004-0048.dcm``.

    These layouts are known from public code that reads them and from file lists, not from a description by the owners.
    A case's images are the one series that has all images with contours.

    Files do not name the phases. Of the images at one position, end-diastole is the one with an outer contour, which
    was drawn in that phase only, and with the larger inner contour if there are several. End-systole is, of the others,
    the one with the smallest inner contour; it has no myocardium.

    Parameters
    ----------
    folder
        Into which images, contours and table were unpacked, in any folders.
    phase
        End-diastole or end-systole.
    subjects
        Names such as ``"SC-HF-I-1"``, with or without leading zeros. None: all that have contours, sorted.
    slice
        Which of the slices with contours of the phase, in order along the slices' normal: 0 the first, 1 the last.
    options
        How the slice is then prepared, `PREPARATION` by default.

    Returns
    -------
    list of Scan
        2D, with labels, see `LABELS`, and pixel spacing from DICOM. The first of ``steps`` has the phase, the image's
        file and number, and the ``group``: HF-I and HF-NI (heart failure with and without infarction), HYP
        (hypertrophy), N.

    Raises
    ------
    ModelFileError
        If a file is missing or broken, a contour leaves its image, or a case has no contours of the phase.
    """
    _checks.choice("phase", phase, ("ed", "es"))
    chosen = PREPARATION if options is None else _checks.options(options, PreparationOptions)
    root = _files.root_folder(folder)
    content = _Files.of(root)
    wanted = subjects if subjects is None or isinstance(subjects, str) else [_case(each) or each for each in subjects]
    names = _files.choose_subjects(
        wanted, content.contours, f"{folder} has no folders SC-HF-I-01/contours-manual/IRCCI-expert; pass the one above"
    )
    scans = []
    for name in names:
        drawn = _images_of_phase(list(_contoured_images(name, content)), phase)
        if not drawn:
            raise ModelFileError(f"{content.contours[name]} has no contours of phase {phase!r}; leave {name} out")
        scans.append(prepare(drawn[slice_at_fraction("slice", slice, len(drawn))].scan(name, phase), chosen))
    return scans


def read_contour(path: str | Path) -> Points:
    """Read a contour: two numbers a line, x and y in pixels of the image.

    No public description says where the counting starts. On the 96 inner contours of the first five cases, the steepest
    edges of the images lie at the coordinates minus 0.82 (x) and 0.85 (y), standard error 0.08. So the first pixel's
    centre is taken to be (1, 1), not (0, 0), as in MATLAB.

    Returns
    -------
    ndarray, (m, 2), float64
        (row, column), counted from 0, the centre of the first pixel.

    Raises
    ------
    ModelFileError
        If the file is missing, or holds anything else, or fewer than three points.
    """
    lines = read_text(path, "a contour").splitlines()
    with refusing(path, "cannot be read as a contour", "copy it again"):
        points = np.array([[float(each) for each in line.split()] for line in lines if line.strip()])
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise ModelFileError(f"{path} holds no contour, three or more lines of two numbers; copy it again")
    return points[:, ::-1] - 1


def _case(name: object) -> str | None:
    """Return the name of a case without leading zeros, or None for any other name."""
    match = _CASE.fullmatch(name) if isinstance(name, str) else None
    return f"SC-{match[1].upper()}-{int(match[2])}" if match else None


@dataclass(frozen=True)
class _Files:
    """Files of the data set in a folder.

    Attributes
    ----------
    contours
        Folder with contours of each case.
    series
        DICOM files of each case, or patient of the Cardiac Atlas Project: by folder and series, by number.
    tables
        Tables that assign patients to cases.
    """

    contours: dict[str, Path] = field(default_factory=dict)
    series: dict[str, dict[tuple[Path, str], dict[int, Path]]] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)

    @staticmethod
    def of(root: Path) -> _Files:
        content = _Files()
        for where, folders, files in os.walk(root):
            folders.sort()
            path = Path(where)
            if path.name == "IRCCI-expert" and (case := _case(path.parent.parent.name)):
                if case in content.contours:
                    raise ModelFileError(f"{path} and {content.contours[case]} are the same case; pass a folder of one")
                content.contours[case] = path
            content.tables.extend(path / each for each in files if each.lower() == "scd_patientdata.csv")
            images = {each: match for each in files if (match := _IMAGE.fullmatch(each))}
            for owner in _owner_names(path.relative_to(root)) if images else ():
                series = content.series.setdefault(owner, {})
                for each, match in images.items():
                    series.setdefault((path, match[1]), {})[int(match[2])] = path / each
        return content

    def images(self, case: str, numbers: set[int]) -> dict[int, Path]:
        """Return the files of a case's images by number."""
        found = self.series.get(case) or self.series.get(self._patient(case), {})
        complete = [files for files in found.values() if numbers <= files.keys()]
        if len(complete) != 1:
            what = "no series that has" if not complete else f"{len(complete)} series that have"
            raise ModelFileError(
                f"{self.contours[case]}: {case} has {what} all images with contours ({_listed(numbers)}); copy its "
                "images again"
            )
        return complete[0]

    def _patient(self, case: str) -> str:
        """Return the identifier that the Cardiac Atlas Project gave to a case."""
        if not self.tables:
            raise ModelFileError(
                f"{self.contours[case]}: images of {case} are in no folder with its name, and scd_patientdata.csv, "
                "which says in which one they are, is missing; copy it there"
            )
        for path in self.tables:
            text = read_text(path, "a table")
            with refusing(path, "cannot be read as a table", "copy it again"):
                rows = list(csv.DictReader(io.StringIO(text, newline="")))
            for row in rows:
                if _case((row.get("OriginalID") or "").strip()) == case and row.get("PatientID"):
                    return str(row["PatientID"]).strip()
        raise ModelFileError(f"{self.tables[0]} has no row with OriginalID {case} and a PatientID; copy it again")


def _owner_names(path: Path) -> Iterator[str]:
    """Yield the names of the case or patient to which images in a folder belong."""
    parts = path.parts
    for index, part in enumerate(parts):
        if case := _case(part):
            yield case
        elif _PATIENT.fullmatch(part) and any(each.upper().startswith("CINESAX") for each in parts[index + 1 :]):
            yield part


def _listed(numbers: set[int]) -> str:
    first = [str(each) for each in sorted(numbers)[:3]]
    return ", ".join(first) + (" ..." if len(numbers) > 3 else "")


@dataclass(frozen=True, eq=False)
class _ContouredImage:
    """An image with its contours, in pixels.

    Attributes
    ----------
    path, number
        File of the image, and its number.
    image : ndarray, (rows, columns)
    spacing : ndarray, (2,)
    position
        In mm along the normal of the slices.
    inner, outer : ndarray, (m, 2)
        (row, column); `outer` may be missing.
    """

    path: Path
    number: int
    image: npt.NDArray[np.float32]
    spacing: Points
    position: float
    inner: Points
    outer: Points | None

    @property
    def area(self) -> float:
        """Area of the cavity in pixels."""
        return abs(polygon_area(self.inner))

    def scan(self, name: str, phase: str) -> Scan:
        labels = np.zeros(self.image.shape, np.int32)
        if self.outer is not None:
            labels[inside_polygon(self.outer, self.image.shape)] = 2
        labels[inside_polygon(self.inner, self.image.shape)] = 3
        group = name.removeprefix("SC-").rpartition("-")[0]
        step: dict[str, Any] = {
            "step": "read",
            "from": "Sunnybrook",
            "file": f"{self.path.parent.name}/{self.path.name}",
        }
        step |= {"image": self.number, "phase": phase, "group": group}
        return Scan(name, self.image, geometry=Geometry(self.spacing), labels=labels, steps=(step,))


def _contoured_images(case: str, content: _Files) -> Iterator[_ContouredImage]:
    """Yield the images of a case that have an inner contour."""
    folder = content.contours[case]
    contours: dict[str, dict[int, Path]] = {"i": {}, "o": {}}
    for path in sorted(folder.iterdir()):
        if match := _CONTOUR.fullmatch(path.name):
            contours[match[2].lower()][int(match[1])] = path
    images = content.images(case, set(contours["i"])) if contours["i"] else {}
    for number, path in contours["i"].items():
        array, geometry = read_dicom(images[number])
        if array.ndim != 3 or len(array) != 1:
            raise ModelFileError(f"{images[number]} holds an array of shape {array.shape}, not a slice; copy it again")
        image, position = array[0].astype(np.float32), float(geometry.origin @ geometry.direction[:, 2])
        inner = _read_inside(path, image.shape)
        outer = _read_inside(contours["o"][number], image.shape) if number in contours["o"] else None
        yield _ContouredImage(images[number], number, image, geometry.spacing[1:], position, inner, outer)


def _read_inside(path: Path, grid: tuple[int, ...]) -> Points:
    """Read a contour and check that it lies within its image."""
    points = read_contour(path)
    if (points < -0.5).any() or (points > np.array(grid) - 0.5).any():
        raise ModelFileError(f"{path} leaves its image of {grid} pixels; image and contour do not belong together")
    return points


def _images_of_phase(drawn: list[_ContouredImage], phase: str) -> list[_ContouredImage]:
    """Return the image of a phase at each position that has one, ordered by position."""
    found: list[_ContouredImage] = []
    ordered = sorted(drawn, key=lambda each: each.position)
    breaks = [k for k in range(1, len(ordered)) if ordered[k].position - ordered[k - 1].position > _SAME_SLICE]
    for first, last in zip([0, *breaks], [*breaks, len(ordered)], strict=True):
        here = sorted(ordered[first:last], key=lambda each: each.area)
        outlined = [each for each in here if each.outer is not None]
        if phase == "ed":
            found.extend(outlined[-1:])
        elif len(here) > 1:
            found.append(next(each for each in here if each not in outlined[-1:]))
    return found
