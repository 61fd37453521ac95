"""``modelaug landmarks``: what it writes, prints and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("contourpy")

from modelaug import Cohort, phantoms
from modelaug.correspondence import hearts, landmarks_from_labels
from tests.cli.test_cli import fails, modelaug, succeeds


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of images and label maps, with landmarks that are not to be used."""
    folder = tmp_path_factory.mktemp("landmarks")
    cohort = phantoms.heart(4, shape=(64, 64), seed=4)
    cohort.save(folder / "scans.npz")
    return folder / "scans.npz"


def test_hearts(scans: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = tmp_path / "hearts.png"
    text = succeeds("landmarks", scans, "-o", tmp_path / "it.npz", "--recipe", "hearts", "--figure", figure)
    assert "4 subjects" in text
    assert "lv_epicardium" in text
    assert "72 83" in text
    source, made = Cohort.load(scans), Cohort.load(tmp_path / "it.npz")
    expected = landmarks_from_labels(source.labels, hearts(), spacing=source.spacing)
    np.testing.assert_array_equal(made.landmarks, expected.landmarks)
    np.testing.assert_array_equal(made.images, source.images)
    np.testing.assert_array_equal(made.labels, source.labels)
    np.testing.assert_array_equal(made.spacing, source.spacing)
    assert made.names == source.names
    assert made.objects == source.objects
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_labels_of_which_nothing_is_known(scans: Path, tmp_path: Path) -> None:
    source = Cohort.load(scans)
    np.savez(tmp_path / "bare.npz", images=source.images[:, 0], labels=source.labels)
    result = modelaug("landmarks", tmp_path / "bare.npz", "-o", tmp_path / "it.npz")
    assert result.exit_code == 0, result.output
    made = Cohort.load(tmp_path / "it.npz")
    assert [each.name for each in made.objects] == ["label_1", "label_2", "label_3"]
    assert made.names == ("000", "001", "002", "003")


def test_recipe_and_points_from_files(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        '[[objects]]\nname = "cavity"\nlabels = [3]\ncounts = 12\nanchors = [{ rule = "given", name = "top" }]\n'
    )
    source = Cohort.load(scans)
    tops = source.landmarks[:, 40]
    lines = [f"{name}, top, {r}, {c}\n" for name, (r, c) in zip(source.names, tops, strict=True)]
    (tmp_path / "points.csv").write_text("subject, point, row, column\n" + "".join(reversed(lines)))
    arguments = ["landmarks", scans, "-o", tmp_path / "it.npz", "--recipe", tmp_path / "mine.toml"]
    succeeds(*arguments, "--points", tmp_path / "points.csv")
    made = Cohort.load(tmp_path / "it.npz")
    assert made.landmarks.shape == (4, 12, 2)
    assert np.linalg.norm(made.landmarks[:, 0] - tops, axis=1).max() < 1
    assert "needs the point 'top'" in fails(*arguments)
    (tmp_path / "points.csv").write_text("subject,point,row,column\n" + "".join(lines[:3]))
    assert "lacks the point 'top' of subject '003'" in fails(*arguments, "--points", tmp_path / "points.csv")
    (tmp_path / "points.csv").write_text("subject,point,row,column\n" + lines[0] * 2)
    assert "twice" in fails(*arguments, "--points", tmp_path / "points.csv")
    (tmp_path / "points.csv").write_text("subject,row,column\n1,2,3\n")
    assert "line 2" in fails(*arguments, "--points", tmp_path / "points.csv")
    assert "cannot be read" in fails(*arguments, "--points", tmp_path / "none.csv")


def test_subjects_can_be_skipped(scans: Path, tmp_path: Path) -> None:
    source = Cohort.load(scans)
    labels = source.labels.copy()
    labels[1][labels[1] == 1] = 0
    np.savez(tmp_path / "it.npz", images=source.images, labels=labels, names=["a", "b", "c", "d"])
    arguments = ["landmarks", tmp_path / "it.npz", "-o", tmp_path / "out.npz", "--recipe", "hearts"]
    assert "subject 'b'" in fails(*arguments)
    assert not (tmp_path / "out.npz").exists()
    result = modelaug(*arguments, "--skip")
    assert result.exit_code == 0
    assert "left out: subject 'b'" in result.stderr
    assert Cohort.load(tmp_path / "out.npz").names == ("a", "c", "d")


def test_wrong_arguments(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "it.npz"
    assert "ends in .npz" in fails("landmarks", scans, "-o", tmp_path / "it.txt")
    assert "ends in .png" in fails("landmarks", scans, "-o", out, "--figure", tmp_path / "it.gif")
    assert "recipe is 'livers'; pass hearts, brains, generic" in fails(
        "landmarks", scans, "-o", out, "--recipe", "livers"
    )
    assert "does not exist" in fails("landmarks", tmp_path / "none.npz", "-o", out)
    np.savez(tmp_path / "bare.npz", images=np.zeros((2, 9, 9)))
    assert "lacks the array 'labels'" in fails("landmarks", tmp_path / "bare.npz", "-o", out)
    np.savez(tmp_path / "bare.npz", images=np.zeros((3, 9, 9)), labels=np.zeros((2, 9, 9), int))
    assert "images" in fails("landmarks", tmp_path / "bare.npz", "-o", out)
    assert not out.exists()


def test_a_folder_of_scans_of_other_tools(scans: Path, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    pytest.importorskip("SimpleITK")
    source = Cohort.load(scans)
    folder = tmp_path / "scans"
    folder.mkdir()
    affine = np.diag([-source.spacing[1], -source.spacing[0], 1.0, 1.0])
    for name, image, labels in zip(source.names, source.images, source.labels, strict=True):
        for ending, array in (("", image[0]), ("_labels", labels.astype(np.int16))):
            nibabel.save(nibabel.Nifti1Image(array.T[..., None], affine), folder / f"{name}{ending}.nii.gz")
    (folder / "cohort.toml").write_text("[preparation]\npercentiles = [1, 99]\n")
    succeeds("landmarks", folder, "-o", tmp_path / "it.npz", "--recipe", "hearts")
    made = Cohort.load(tmp_path / "it.npz")
    expected = landmarks_from_labels(source.labels, hearts(), spacing=source.spacing)
    np.testing.assert_allclose(made.landmarks, expected.landmarks, atol=1e-4)
    assert made.objects == source.objects
    assert (made.images.min(), made.images.max()) == (0, 1)
    steps = made.preparation[source.names[0]]
    assert [each["step"] for each in steps][-2:] == ["intensities", "landmarks"]

    # And once more from the file that was made, which keeps what was done.
    succeeds("landmarks", tmp_path / "it.npz", "-o", tmp_path / "again.npz", "--recipe", "hearts")
    again = Cohort.load(tmp_path / "again.npz")
    np.testing.assert_array_equal(again.landmarks, made.landmarks)
    assert again.preparation[source.names[0]] == [*steps, {"step": "landmarks", "recipe": "hearts"}]

    (folder / f"{source.names[1]}_labels.nii.gz").unlink()
    message = fails("landmarks", folder, "-o", tmp_path / "it.npz", "--recipe", "hearts")
    assert source.names[1] in message
