"""Reading the Sunnybrook Cardiac Data, on generated files of the same layouts, names and headers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import ModelFileError
from modelaug.data.preparation import PreparationOptions
from modelaug.datasets import sunnybrook
from tests.examples import one_line, philox

sitk = pytest.importorskip("SimpleITK")

ROWS, COLUMNS = 30, 26
PHASES = 4  # images of a slice, one after the other
NOTHING = PreparationOptions()


def circle(row: float, column: float, radius: float) -> npt.NDArray[np.float64]:
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([row + radius * np.sin(turn), column + radius * np.cos(turn)], axis=1)


def write_dicom(path: Path, image: npt.NDArray[np.int16], position: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = sitk.GetImageFromArray(image[None])
    picture.SetSpacing((1.25, 1.5, 8.0))
    for key, value in {
        "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
        "0008|0060": "MR",
        "0018|0050": "8",
        "0020|0032": f"-3.5\\4\\{position}",
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0028|0030": "1.5\\1.25",
    }.items():
        picture.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(picture)


def write_contour(path: Path, points: npt.NDArray[np.float64]) -> None:
    """Write points (row, column) from 0 as (x, y) from 1, with two decimals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{column + 1:.2f} {row + 1:.2f}\n" for row, column in points))


def pixels(number: int) -> npt.NDArray[np.int16]:
    return philox(number).integers(0, 500, size=(ROWS, COLUMNS)).astype(np.int16)


def contour_folder(root: Path, case: str = "SC-HF-I-01") -> Path:
    return root / "SCD_ManualContours" / case / "contours-manual" / "IRCCI-expert"


def write_case(root: Path, images: str, contours: str = "SC-HF-I-01", *, slices: int = 3) -> None:
    """Write images of a case, and contours of image 2 (end-systole) and 4 (end-diastole) of every slice.

    Slices are stored from the largest position to the smallest, so slice 0 has the images 1 to 4 and comes last.
    """
    for k in range(slices):
        for t in range(PHASES):
            number = 1 + t + PHASES * k
            write_dicom(root / images.format(number), pixels(number), -8.0 * k)
        folder, first = contour_folder(root, contours), PHASES * k
        write_contour(folder / f"IM-0001-{first + 2:04d}-icontour-manual.txt", circle(14, 12, 3 + 0.5 * k))
        write_contour(folder / f"IM-0001-{first + 4:04d}-icontour-manual.txt", circle(14, 12, 5 + 0.5 * k))
        write_contour(folder / f"IM-0001-{first + 4:04d}-ocontour-manual.txt", circle(14, 12, 8 + 0.5 * k))
        write_contour(folder / f"IM-0001-{first + 4:04d}-p1contour-manual.txt", circle(14, 12, 1))


def write_table(root: Path, *rows: str) -> None:
    # The owners' table begins with a byte order mark.
    lines = ("PatientID,OriginalID,Gender,Age,Pathology", *rows)
    (root / "scd_patientdata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


PROJECT = "SCD_IMAGES_01/SCD0000101/CINESAX_300/IM-0003-{:04d}.dcm"
CHALLENGE = "TrainingDataDICOM/SC-HF-I-1/DICOM/IM-0001-{:04d}.dcm"
FLAT = "challenge_training/SC-HF-I-1/IM-0004-{:04d}.dcm"


def project(root: Path) -> Path:
    write_case(root, PROJECT)
    write_table(root, "SCD0000201,SC-HF-I-2,Male,55,Heart failure", "SCD0000101,SC-HF-I-1,Male,48,Heart failure")
    return root


@pytest.mark.parametrize("images", [PROJECT, CHALLENGE, FLAT])
def test_layouts(tmp_path: Path, images: str) -> None:
    write_case(tmp_path, images)
    write_table(tmp_path, "SCD0000101,SC-HF-I-1,Male,48,x")
    (scan,) = sunnybrook.read(tmp_path, options=NOTHING)
    np.testing.assert_array_equal(scan.image[0], pixels(8))
    assert scan.name == "SC-HF-I-1"
    assert scan.geometry.spacing.tolist() == [1.5, 1.25]
    rows, columns = np.indices((ROWS, COLUMNS))
    away = np.hypot(rows - 14, columns - 12)
    assert scan.labels is not None
    # The contours are polygons, which lie inside their circles by up to 0.03 pixels.
    for label, near in ((3, away < 5.4), (2, (away > 5.6) & (away < 8.4)), (0, away > 8.6)):
        assert (scan.labels[near] == label).all()
    name = Path(images.format(8))
    assert scan.steps[0] == {
        "step": "read",
        "from": "Sunnybrook",
        "file": f"{name.parent.name}/{name.name}",
        "image": 8,
        "phase": "ed",
        "group": "HF-I",
    }


@pytest.mark.parametrize(("fraction", "first"), [(0, 8), (0.5, 4), (1, 0)])
def test_slices_are_in_the_order_of_their_positions(tmp_path: Path, fraction: float, first: int) -> None:
    project(tmp_path)
    for phase, offset, codes in (("ed", 4, {0, 2, 3}), ("es", 2, {0, 3})):
        (scan,) = sunnybrook.read(tmp_path, phase=phase, slice=fraction, options=NOTHING)
        assert scan.steps[0]["image"] == first + offset
        np.testing.assert_array_equal(scan.image[0], pixels(first + offset))
        assert set(np.unique(scan.labels)) == codes


def test_slices_are_prepared(tmp_path: Path) -> None:
    (scan,) = sunnybrook.read(project(tmp_path), subjects=["SC-HF-I-01"])
    assert scan.grid == (256, 256)
    assert scan.geometry.spacing.tolist() == [1.0, 1.0]
    assert scan.labels is not None
    np.testing.assert_allclose(np.argwhere(scan.labels).mean(axis=0), 127.5, atol=0.51)
    assert (scan.labels == 3).sum() == pytest.approx(np.pi * 5.5**2 * 1.5 * 1.25, rel=0.07)


def test_several_cases(tmp_path: Path) -> None:
    project(tmp_path)
    write_case(tmp_path, "TrainingDataDICOM/SC-N-02/DICOM/IM-0001-{:04d}.dcm", "SC-N-02", slices=1)
    scans = sunnybrook.read(tmp_path)
    assert [each.name for each in scans] == ["SC-HF-I-1", "SC-N-2"]
    assert [each.steps[0]["group"] for each in scans] == ["HF-I", "N"]


def test_one_series_has_the_images(tmp_path: Path) -> None:
    # A second series of the same case is told apart by the images that it lacks.
    project(tmp_path)
    write_dicom(tmp_path / "SCD_IMAGES_01/SCD0000101/CINESAX_301/IM-0004-0001.dcm", pixels(99), 0.0)
    write_dicom(tmp_path / "SCD_IMAGES_01/SCD0000101/CINELAX_301/IM-0005-0001.dcm", pixels(98), 0.0)
    (scan,) = sunnybrook.read(tmp_path, options=NOTHING)
    np.testing.assert_array_equal(scan.image[0], pixels(8))
    write_case(tmp_path, PROJECT.replace("CINESAX_300", "CINESAX_305"))
    with pytest.raises(ModelFileError, match=r"2 series that have all images with contours \(2, 4, 6 \.\.\.\)"):
        sunnybrook.read(tmp_path)


def test_the_phase_of_a_slice_with_one_contour_only(tmp_path: Path) -> None:
    folder = contour_folder(project(tmp_path))
    (folder / "IM-0001-0002-icontour-manual.txt").unlink()  # no end-systole in the last slice
    (folder / "IM-0001-0012-ocontour-manual.txt").unlink()  # no wall at end-diastole in the first
    numbers = {
        phase: [sunnybrook.read(tmp_path, phase=phase, slice=k)[0].steps[0]["image"] for k in (0.0, 1.0)]
        for phase in ("ed", "es")
    }
    assert numbers == {"ed": [8, 4], "es": [10, 6]}


def edit(name: str, change: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda root: change(next(root.rglob(name))) and None


INNER = "IM-0001-0008-icontour-manual.txt"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (edit("scd_patientdata.csv", Path.unlink), "scd_patientdata.csv, .* is missing"),
        (lambda root: write_table(root, "SCD0000101,SC-HF-I-3,Male,48,x"), "no row with OriginalID SC-HF-I-1"),
        (lambda root: write_table(root, "SCD0000901,SC-HF-I-1,Male,48,x"), "no series that has all images"),
        (edit("scd_patientdata.csv", lambda path: path.write_bytes(b"\xff\xff")), "cannot be read as a table"),
        (edit("IM-0003-0008.dcm", Path.unlink), r"SC-HF-I-1 has no series that has all images with contours \(2, 4,"),
        (
            edit("IM-0003-0008.dcm", lambda path: path.write_bytes(path.read_bytes()[:-99])),
            "cannot be read as an image",
        ),
        (edit(INNER, lambda path: path.write_text("1.5 2.5\n3.5\n4 5\n")), "cannot be read as a contour"),
        (edit(INNER, lambda path: path.write_text("1 2\n3 x\n4 5\n")), "cannot be read as a contour"),
        (edit(INNER, lambda path: path.write_text("")), "holds no contour"),
        (edit(INNER, lambda path: path.write_text("1 2\n3 4\n")), "holds no contour"),
        (edit(INNER, lambda path: path.write_text("1 2 3\n3 4 5\n6 7 8\n")), "holds no contour"),
        (edit(INNER, lambda path: path.write_text("1 2\n3 nan\n4 5\n")), "holds no contour"),
        (edit(INNER, lambda path: path.write_text("1 2\n3 31\n4 5\n")), r"leaves its image of \(30, 26\)"),
        (edit(INNER, lambda path: path.write_text("1 2\n0 30\n4 5\n")), r"leaves its image of \(30, 26\)"),
    ],
)
def test_broken_files(tmp_path: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(project(tmp_path))
    with pytest.raises(ModelFileError, match=message) as caught:
        sunnybrook.read(tmp_path)
    one_line(caught.value)


def test_cases_without_contours_or_twice(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no folders SC-HF-I-01/contours-manual"):
        sunnybrook.read(tmp_path)
    project(tmp_path)
    for path in contour_folder(tmp_path).glob("*-ocontour-*"):
        path.unlink()
    with pytest.raises(ModelFileError, match="no contours of phase 'ed'; leave SC-HF-I-1 out"):
        sunnybrook.read(tmp_path)
    contour_folder(tmp_path / "again").mkdir(parents=True)
    with pytest.raises(ModelFileError, match="are the same case"):
        sunnybrook.read(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"phase": "mid"}, ValueError, "phase is 'mid'"),
        ({"subjects": ["SC-N-9"]}, ValueError, "'SC-N-9', which is not there"),
        ({"subjects": ["heart"]}, ValueError, "'heart', which is not there"),
        ({"subjects": [3]}, TypeError, "pass a list of names"),
        ({"subjects": "SC-HF-I-1"}, TypeError, "pass a list of names"),
        ({"slice": -0.5}, ValueError, "slice is -0.5"),
        ({"options": "none"}, TypeError, "options is 'none'"),
        ({"options": PreparationOptions(slice_at=0)}, ValueError, "slices are taken of volumes only"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        sunnybrook.read(project(tmp_path), **arguments)
    one_line(caught.value)


def test_contours_count_from_one(tmp_path: Path) -> None:
    path = tmp_path / "IM-0001-0001-icontour-manual.txt"
    path.write_text("1.00 1.00\n4.50 1.00\n4.50 3.00\r\n\n")
    np.testing.assert_array_equal(sunnybrook.read_contour(path), [[0, 0], [0, 3.5], [2, 3.5]])
    with pytest.raises(ModelFileError, match="does not exist"):
        sunnybrook.read_contour(tmp_path / "nowhere.txt")
