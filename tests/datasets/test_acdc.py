"""Reading ACDC, on generated files of the same layout, names and headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import ModelFileError
from modelaug.data.preparation import PreparationOptions
from modelaug.data.scans import Scan
from modelaug.datasets import acdc
from tests.examples import one_line, philox

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("SimpleITK")

SPACING = (1.5, 1.25, 10.0)  # x, y, z as in the header
GRID = (30, 40, 6)  # columns, rows, slices


def hearts(seed: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Return an image and labels (columns, rows, slices); the left ventricle is in slices 1 to 4."""
    rng = philox(seed)
    image = rng.integers(1, 400, size=GRID).astype(np.int16)
    x, y = np.meshgrid(np.arange(GRID[0]), np.arange(GRID[1]), indexing="ij")
    labels = np.zeros(GRID, np.uint8)
    for z in range(1, 5):
        away = np.hypot(x - 12 - z, y - 18)
        labels[..., z][away < 8] = 2
        labels[..., z][away < 5] = 3
        labels[..., z][(away >= 8) & (np.hypot(x - 22, y - 18) < 4)] = 1
    return image, labels


def write_patient(folder: Path, number: int, *, ed: int = 1, es: int = 12, ending: str = ".nii.gz") -> Path:
    name = f"patient{number:03d}"
    patient = folder / name
    patient.mkdir(parents=True)
    (patient / "Info.cfg").write_text(f"ED: {ed}\nES: {es}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")
    affine = np.diag([*SPACING, 1.0])
    for frame in (ed, es):
        image, labels = hearts(1000 * frame + number)
        for array, part in ((image, ""), (labels, "_gt")):
            nifti = nibabel.Nifti1Image(array, affine)
            nifti.header.set_zooms(SPACING)
            nibabel.save(nifti, patient / f"{name}_frame{frame:02d}{part}{ending}")
    return patient


@pytest.mark.parametrize("inside", [".", "training", "database/training"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_a_volume_is_what_the_files_hold(tmp_path: Path, inside: str, ending: str) -> None:
    write_patient(tmp_path / inside, 7, es=9, ending=ending)
    for phase, frame in (("ed", 1), ("es", 9)):
        (scan,) = acdc.read(tmp_path, phase=phase, slice=None)
        image, labels = hearts(1000 * frame + 7)
        np.testing.assert_array_equal(scan.image[0], image.T)
        np.testing.assert_array_equal(scan.labels, labels.T)
        np.testing.assert_allclose(scan.geometry.spacing, SPACING[::-1], rtol=1e-6)
        assert scan.name == "patient007"
        assert scan.steps[0] == {
            "step": "read",
            "from": "ACDC",
            "file": f"patient007_frame{frame:02d}{ending}",
            "phase": phase,
            "ed": "1",
            "es": "9",
            "group": "DCM",
            "height": "184.0",
            "nbframe": "30",
            "weight": "95.0",
        }


@pytest.mark.parametrize(("fraction", "index"), [(0, 1), (0.5, 3), (1 / 3, 2), (1, 4)])
def test_slice_is_a_fraction_of_those_with_the_left_ventricle(tmp_path: Path, fraction: float, index: int) -> None:
    write_patient(tmp_path, 1)
    (scan,) = acdc.read(tmp_path, slice=fraction, options=PreparationOptions())
    image, labels = hearts(1001)
    np.testing.assert_array_equal(scan.image[0], image[..., index].T)
    np.testing.assert_array_equal(scan.labels, labels[..., index].T)
    np.testing.assert_allclose(scan.geometry.spacing, SPACING[1::-1], rtol=1e-6)


def test_slices_are_prepared_alike(tmp_path: Path) -> None:
    for number in (1, 2, 101):
        write_patient(tmp_path / ("testing" if number > 100 else "training"), number)
    scans = acdc.read(tmp_path)
    assert [each.name for each in scans] == ["patient001", "patient002", "patient101"]
    for each in scans:
        assert each.grid == (256, 256)
        assert each.geometry.spacing.tolist() == [1.0, 1.0]
        assert each.labels is not None
        assert set(np.unique(each.labels)) == {0, *acdc.LABELS}
        np.testing.assert_allclose(np.argwhere(each.labels).mean(axis=0), 127.5, atol=0.51)
        assert each.image.min() == 0.0
        assert [step["step"] for step in each.steps] == ["read", "slice", "resample", "crop", "intensities"]
        before = (hearts(1001)[1][..., 3] == 3).sum() * SPACING[0] * SPACING[1]
        assert (each.labels == 3).sum() == pytest.approx(before, rel=0.04)


def test_subjects_are_read_in_the_order_given(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_patient(tmp_path, number)
    names = ["patient003", "patient001"]
    scans = acdc.read(tmp_path, subjects=names)
    assert [each.name for each in scans] == names
    (alone,) = acdc.read(tmp_path, subjects=["patient001"])
    np.testing.assert_array_equal(alone.image, scans[1].image)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def other_shape(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((30, 40, 5), np.uint8), np.eye(4)), path)


def fractions(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.full(GRID, 0.5, np.float32), np.eye(4)), path)


def four_dimensional(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((30, 40, 6, 2), np.uint8), np.eye(4)), path)


@pytest.mark.parametrize(
    ("file", "harm", "message"),
    [
        ("patient001_frame01.nii.gz", Path.unlink, "patient001_frame01.nii.gz does not exist"),
        ("patient001_frame01_gt.nii.gz", Path.unlink, "patient001_frame01_gt.nii.gz does not exist"),
        ("patient001_frame01.nii.gz", truncate, "copy it again"),
        ("patient001_frame01_gt.nii.gz", truncate, "copy it again"),
        ("patient001_frame01_gt.nii.gz", other_shape, r"shape \(5, 40, 30\) but patient001_frame01.nii.gz \(6, 40, 30"),
        ("patient001_frame01_gt.nii.gz", fractions, "no labels"),
        ("patient001_frame01.nii.gz", four_dimensional, "not a volume"),
        ("Info.cfg", Path.unlink, "Info.cfg does not exist"),
        ("Info.cfg", lambda path: path.write_text("ES: 12\nGroup: NOR\n"), "does not say which frame is ED"),
        ("Info.cfg", lambda path: path.write_text("ED: first\n"), "does not say which frame is ED"),
        ("Info.cfg", lambda path: path.write_bytes(b"\xff\xfe\x00ED"), "cannot be read"),
    ],
)
def test_broken_files(tmp_path: Path, file: str, harm, message: str) -> None:
    harm(write_patient(tmp_path, 1) / file)
    with pytest.raises(ModelFileError, match=message) as caught:
        acdc.read(tmp_path)
    one_line(caught.value)


def test_a_heart_without_left_ventricle(tmp_path: Path) -> None:
    patient = write_patient(tmp_path, 1)
    nibabel.save(nibabel.Nifti1Image(np.ones(GRID, np.uint8), np.eye(4)), patient / "patient001_frame01_gt.nii.gz")
    with pytest.raises(ValueError, match="label 3 is nowhere in subject 'patient001'"):
        acdc.read(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"phase": "mid"}, ValueError, "phase is 'mid'"),
        ({"subjects": ["patient009"]}, ValueError, "'patient009', which is not there"),
        ({"subjects": "patient001"}, TypeError, "pass a list of names"),
        ({"subjects": []}, ValueError, "at least one name"),
        ({"subjects": ["patient001", "patient001"]}, ValueError, "each once"),
        ({"slice": 1.5}, ValueError, "slice is 1.5"),
        ({"slice": "middle"}, TypeError, "slice is 'middle'"),
        ({"options": 3}, TypeError, "options is 3"),
        ({"options": PreparationOptions(slice_at=0.5)}, ValueError, "options chooses a slice but so does slice"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict, error: type[Exception], message: str) -> None:
    write_patient(tmp_path, 1)
    with pytest.raises(error, match=message) as caught:
        acdc.read(tmp_path, **arguments)
    one_line(caught.value)


def test_folders_without_patients(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no folders named patient001"):
        acdc.read(tmp_path)
    with pytest.raises(ModelFileError, match="is no folder"):
        acdc.read(tmp_path / "nowhere")
    write_patient(tmp_path / "a", 1)
    write_patient(tmp_path / "b", 1)
    with pytest.raises(ModelFileError, match="are the same patient"):
        acdc.read(tmp_path)


def test_options_may_choose_the_slice(tmp_path: Path) -> None:
    write_patient(tmp_path, 1)
    (scan,) = acdc.read(tmp_path, slice=None, options=PreparationOptions(slice_label=1))
    assert isinstance(scan, Scan)
    assert scan.grid == (40, 30)
