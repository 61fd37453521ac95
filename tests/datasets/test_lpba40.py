"""Reading LPBA40, on generated files of the same layouts, names and headers."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import ModelFileError
from modelaug.data.preparation import PreparationOptions
from modelaug.datasets import lpba40
from tests.examples import one_line, philox

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("SimpleITK")

GRID = (21, 25, 9)  # columns, rows, planes
SPACING = (0.75, 1.25, 2.0)
NOTHING = PreparationOptions()


def head(subject: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Return an image without skull and labels (columns, rows, planes), the labels near the middle."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in GRID), indexing="ij")
    away = np.hypot(np.hypot(x - 11, y - 13), 2 * (z - 4))
    image = np.where(away < 9, philox(subject).integers(50, 200, size=GRID), 0).astype(np.int16)
    labels = np.where(away < 7, np.where(x < 11, 22, 21), 0).astype(np.uint8)
    labels[(away < 3)] = 182
    return image, labels


def write_analyze(path: Path, array: npt.NDArray[np.generic], *, packed: bool = True, axes: int = 4) -> None:
    """Write an Analyze image whose header stays plain when its voxels are packed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.AnalyzeImage(array.reshape(*array.shape, *[1] * (axes - 3)), np.diag([*SPACING, 1.0]))
    image.header.set_zooms((*SPACING, *[1.0] * (axes - 3)))
    nibabel.save(image, path)
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def write_nifti(path: Path, array: npt.NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*SPACING, 1.0])), path)


def delineation(root: Path, subject: int = 1, *, packed: bool = True, axes: int = 4) -> Path:
    name = f"S{subject:02d}"
    image, labels = head(subject)
    folder = root / "LPBA40" / "delineation_space" / name
    write_analyze(folder / f"{name}.delineation.skullstripped.img", image, packed=packed, axes=axes)
    write_analyze(folder / f"{name}.delineation.structure.label.img", labels, packed=packed, axes=axes)
    return root


def check_whole(scan, subject: int, ending: str) -> None:
    image, labels = head(subject)
    np.testing.assert_array_equal(scan.image[0], image.T)
    np.testing.assert_array_equal(scan.labels, labels.T)
    np.testing.assert_allclose(scan.geometry.spacing, SPACING[::-1], rtol=1e-6)
    file = f"S{subject:02d}.delineation.skullstripped{ending}"
    assert scan.steps == ({"step": "read", "from": "LPBA40", "file": file, "space": "delineation"},)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("axes", [3, 4])
def test_analyze(tmp_path: Path, packed: bool, axes: int) -> None:
    delineation(tmp_path, packed=packed, axes=axes)
    (scan,) = lpba40.read(tmp_path, slice=None)
    assert scan.name == "S01"
    check_whole(scan, 1, ".img.gz" if packed else ".img")


def test_packed_and_unpacked_side_by_side(tmp_path: Path) -> None:
    delineation(tmp_path, packed=False)
    for path in list(tmp_path.rglob("*.img")):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    check_whole(lpba40.read(tmp_path, slice=None)[0], 1, ".img")


def test_copies_in_nifti(tmp_path: Path) -> None:
    for subject, where in ((1, "fixed.nii.gz"), (2, "test/S02.delineation.skullstripped.nii.gz"), (11, "train/S11")):
        image, labels = head(subject)
        where = where if where.endswith(".gz") else f"{where}.delineation.skullstripped.nii.gz"
        write_nifti(tmp_path / where, image)
        write_nifti(tmp_path / "label" / f"S{subject:02d}.delineation.structure.label.nii.gz", labels)
    scans = lpba40.read(tmp_path, slice=None)
    assert [each.name for each in scans] == ["S01", "S02", "S11"]
    check_whole(scans[1], 2, ".nii.gz")
    np.testing.assert_array_equal(scans[0].image[0], head(1)[0].T)
    assert scans[0].steps[0]["file"] == "fixed.nii.gz"


def test_native_space_has_no_labels(tmp_path: Path) -> None:
    delineation(tmp_path)
    image, _ = head(5)
    write_analyze(tmp_path / "native_space/S01/S01.native.mri.img", image)
    write_analyze(tmp_path / "native_space/S01/S01.native.brain.mask.img", image)
    (scan,) = lpba40.read(tmp_path, space="native", slice=None)
    np.testing.assert_array_equal(scan.image[0], image.T)
    assert scan.labels is None
    (prepared,) = lpba40.read(tmp_path, space="native")
    assert prepared.grid == (256, 256)


@pytest.mark.parametrize(("fraction", "plane"), [(0.0, 0), (0.5, 4), (0.3, 2), (1.0, 8)])
def test_slice_is_a_fraction_of_the_planes(tmp_path: Path, fraction: float, plane: int) -> None:
    (scan,) = lpba40.read(delineation(tmp_path), slice=fraction, options=NOTHING)
    image, labels = head(1)
    np.testing.assert_array_equal(scan.image[0], image[..., plane].T)
    np.testing.assert_array_equal(scan.labels, labels[..., plane].T)


def test_slices_are_prepared_alike(tmp_path: Path) -> None:
    for subject in (1, 2, 40):
        delineation(tmp_path, subject)
    names = ["S40", "S01"]
    scans = lpba40.read(tmp_path, subjects=names)
    assert [each.name for each in scans] == names
    for each in scans:
        assert each.grid == (256, 256)
        assert each.geometry.spacing.tolist() == [1.0, 1.0]
        assert each.labels is not None
        assert set(np.unique(each.labels)) == {0, 21, 22, 182}
        np.testing.assert_allclose(np.argwhere(each.labels).mean(axis=0), 127.5, atol=0.51)
        assert each.image.min() == 0.0
        assert each.image.max() == 1.0


def test_56_labels_in_pairs() -> None:
    assert len(lpba40.LABELS) == 56
    assert lpba40.LABELS[163] == "left putamen"
    assert lpba40.LABELS[164] == "right putamen"
    sides = {code: name.split()[0] for code, name in lpba40.LABELS.items() if code < 181}
    assert {code % 2: side for code, side in sides.items()} == {1: "left", 0: "right"}
    assert len(set(lpba40.LABELS.values())) == 56


def find(name: str, change: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda root: change(next(root.rglob(f"S01.delineation.{name}"))) and None


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def shorten(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))


def reshape(*shape: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        image = nibabel.AnalyzeImage(np.zeros(shape, np.uint8), np.eye(4))
        nibabel.save(image, path.with_name(path.name.removesuffix(".gz")))

    return change


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (find("structure.label.hdr", Path.unlink), "S01.delineation.structure.label.hdr does not exist"),
        (find("skullstripped.img.gz", Path.unlink), "S01.delineation.skullstripped.img, the image of .* is missing"),
        (find("structure.label.img.gz", Path.unlink), "no files such as S01.delineation.structure.label.img"),
        (find("skullstripped.img.gz", truncate), "cannot be read as Analyze"),
        (find("skullstripped.img.gz", shorten), "cannot be read as Analyze"),
        (find("skullstripped.hdr", truncate), "cannot be read as Analyze"),
        (find("structure.label.img.gz", reshape(21, 25, 8)), r"shape \(8, 25, 21\) but S01.* \(9, 25, 21\)"),
        (find("structure.label.img.gz", reshape(21, 25, 9, 2)), r"shape \(21, 25, 9, 2\), not a volume"),
        (lambda root: delineation(root / "again"), "are of the same subject"),
    ],
)
def test_broken_files(tmp_path: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(delineation(tmp_path))
    with pytest.raises(ModelFileError, match=message) as caught:
        lpba40.read(tmp_path)
    one_line(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"space": "mni"}, ValueError, "space is 'mni'"),
        ({"space": "native"}, ModelFileError, "no files such as S01.native.mri.img"),
        ({"subjects": ["S41"]}, ValueError, "'S41', which is not there"),
        ({"slice": 2}, ValueError, "slice is 2"),
        ({"slice": 0.0}, ValueError, "no labels to be centred on"),
        ({"options": {}}, TypeError, "options is {}"),
        ({"options": PreparationOptions(slice_label=21)}, ValueError, "pass slice=None"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        lpba40.read(delineation(tmp_path), **arguments)
    one_line(caught.value)
