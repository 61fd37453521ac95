"""``modelaug convert``: cohorts, landmarks and fields from one format to another, and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("SimpleITK")
pytest.importorskip("PIL")

from modelaug import Cohort, io
from modelaug.data.preparation import PreparationOptions
from modelaug.io.cohorts.descriptions import CohortDescription, read_description, write_description
from modelaug.io.cohorts.folders import write_cohort_folder
from tests.cli.test_cli import fails, succeeds
from tests.examples import hearts, philox, plane, rotation, volume


def same(a: Cohort, b: Cohort) -> None:
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.landmarks, b.landmarks)
    np.testing.assert_array_equal(a.spacing, b.spacing)
    assert (a.labels is None) == (b.labels is None)
    if a.labels is not None and b.labels is not None:
        np.testing.assert_array_equal(a.labels, b.labels)
        assert a.labels.dtype == b.labels.dtype
    assert a.objects == b.objects
    assert a.names == b.names
    assert a.preparation == b.preparation


def like(cohort: Cohort, n: int = 2, **changes: object) -> Cohort:
    """Return the first subjects, with other names and spacings that single precision does not hold."""
    first = cohort.subset(range(n))
    arguments = {
        "labels": first.labels,
        "objects": first.objects,
        "spacing": first.spacing * 0.7 + 1 / 3,
        "names": [f"subject {i}.seg_mask ö" for i in range(n)][::-1],
        "preparation": {f"subject {0}.seg_mask ö": [{"step": "crop", "start": [1, 2], "nested": {"a": None}}]},
    }
    return Cohort(first.images, first.landmarks, **(arguments | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("make", [plane, volume, hearts], ids=["plane", "volume", "hearts"])
def test_cohorts_come_back_as_they_were(tmp_path: Path, make: object, ending: str) -> None:
    cohort = like(make())  # type: ignore[operator]
    cohort.save(tmp_path / "a.npz")
    succeeds("convert", tmp_path / "a.npz", "-o", tmp_path / "folder", "--images", ending)
    assert len(list((tmp_path / "folder" / "images").glob(f"*{ending}"))) == 2
    same(Cohort.load(tmp_path / "folder"), cohort)
    printed = succeeds("convert", tmp_path / "folder", "-o", tmp_path / "b.npz")
    assert "2 subjects" in printed
    same(Cohort.load(tmp_path / "b.npz"), cohort)
    succeeds("convert", tmp_path / "folder" / "cohort.toml", "-o", tmp_path / "c.npz")
    same(Cohort.load(tmp_path / "c.npz"), cohort)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_keep_bytes(tmp_path: Path, channels: int) -> None:
    images = philox(0).integers(0, 256, size=(2, channels, 12, 15)).astype(np.float32)
    labels = philox(1).integers(0, 5, size=(2, 12, 15), dtype=np.uint8)
    cohort = like(Cohort(images, philox(2).uniform(0, 11, size=(2, 3, 2))), labels=labels)
    write_cohort_folder(tmp_path / "folder", cohort, images=".png")
    same(Cohort.load(tmp_path / "folder"), cohort)
    bare = like(cohort, labels=None, preparation=None)
    write_cohort_folder(tmp_path / "bare", bare, images=".png")
    assert not (tmp_path / "bare" / "labels").exists()
    same(Cohort.load(tmp_path / "bare"), bare)


def test_what_a_folder_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    cohort, folder = like(plane()), tmp_path / "folder"
    for changed, images, message in (
        (cohort, ".png", "pictures are planes with 1 or 3 channels"),
        (like(hearts()), ".png", "integers from 0 to 255"),
        (cohort, ".jpg", "images is '.jpg'"),
        (like(cohort, names=["a/b", "c"]), ".nii", "'a/b' has a name"),
        (like(cohort, names=["..", "c"]), ".nii", "'..' has a name"),
        (like(cohort, names=["a\n", "c"]), ".nii", "has a name"),
    ):
        with pytest.raises(ValueError, match=message.replace(".", r"\.")):
            write_cohort_folder(folder, changed, images=images)
        assert not folder.exists()
    thin = Cohort(
        philox(0).normal(size=(2, 1, 5, 6)), np.pad(philox(1).uniform(0, 4, (2, 3, 2)), ((0, 0), (0, 0), (1, 0)))
    )
    with pytest.raises(ValueError, match="read as a plane"):
        write_cohort_folder(folder, thin)
    folder.mkdir()
    (folder / "something").write_text("precious")
    with pytest.raises(ValueError, match="not empty"):
        write_cohort_folder(folder, cohort)


def test_descriptions_come_back_as_they_were(tmp_path: Path) -> None:
    description = CohortDescription(
        tmp_path,
        images='a "quoted" \\ {name}\x7f.png',
        landmarks="{name}.csv",
        subjects=("é", "b"),
        voxel_size=(0.1, 1e-3),
        relabel={3: -4, 5: 6},
        objects=tuple(replace(each, name=f"{each.name}\t'\"") for each in hearts().objects),
        preparation=PreparationOptions(slice_axis=1, slice_at=0.5, spacing=1.5, shape=(3, 4), percentiles=(1.0, 99.0)),
        history="h.json",
    )
    assert read_description(write_description(description)) == description
    assert read_description(write_description(CohortDescription(tmp_path))) == CohortDescription(tmp_path)


def test_landmarks(tmp_path: Path) -> None:
    rng = philox(5)
    placed = io.Geometry([3.0, 1.0, 0.5], [10, -20, 30], rotation(rng, 3))
    io.write_image(tmp_path / "scan.nii.gz", rng.normal(size=(4, 5, 6)).astype(np.float32), geometry=placed)
    points = rng.uniform(0, 4, size=(5, 3))
    io.write_landmarks(tmp_path / "a.csv", points, names=list("abcde"))
    of = ("--geometry-of", tmp_path / "scan.nii.gz")
    assert "5 landmarks" in succeeds("convert", tmp_path / "a.csv", "-o", tmp_path / "b.mrk.json", *of)
    succeeds("convert", tmp_path / "b.mrk.json", "-o", tmp_path / "c.fcsv")
    succeeds("convert", tmp_path / "c.fcsv", "-o", tmp_path / "d.csv", *of)
    succeeds("convert", tmp_path / "d.csv", "-o", tmp_path / "e.npy")
    read, names = io.read_named_landmarks(tmp_path / "d.csv")
    np.testing.assert_allclose(read, points, atol=1e-5)
    assert names == tuple("abcde")
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), read)
    # What Slicer shows is where the image's file says that the voxel is.
    where = io.read_image(tmp_path / "scan.nii.gz")[1]
    assert where is not None
    shown = [
        each["position"] for each in json.loads((tmp_path / "b.mrk.json").read_text())["markups"][0]["controlPoints"]
    ]
    np.testing.assert_allclose(shown, where.to_space(points), atol=1e-9)


def test_fields(tmp_path: Path) -> None:
    rng = philox(6)
    fixed = io.Geometry([2.0, 0.5], [3.0, -4.0], rotation(rng, 2))
    moving = io.Geometry([1.0, 1.0], [0.0, 1.0], rotation(rng, 2))
    for name, placed in (("fixed", fixed), ("moving", moving)):
        io.write_image(tmp_path / f"{name}.nrrd", rng.normal(size=(8, 9)).astype(np.float32), geometry=placed)
    u = rng.normal(size=(2, 8, 9)).astype(np.float32)
    io.write_flo(tmp_path / "a.flo", u)
    of = ("--geometry-of", tmp_path / "fixed.nrrd")
    into = ("--moving-geometry-of", tmp_path / "moving.nrrd")
    assert "8 x 9 voxels" in succeeds("convert", tmp_path / "a.flo", "-o", tmp_path / "b.nii.gz", *of, *into)
    np.testing.assert_allclose(io.read_field(tmp_path / "b.nii.gz", moving=moving)[0], u, atol=1e-4)
    succeeds("convert", tmp_path / "b.nii.gz", "-o", tmp_path / "c.npz", *into)
    read, where = io.read_field(tmp_path / "c.npz")
    np.testing.assert_allclose(read, u, atol=1e-4)
    assert where is not None
    np.testing.assert_allclose(where.spacing, fixed.spacing, rtol=1e-6)
    succeeds("convert", tmp_path / "c.npz", "-o", tmp_path / "d.flo")
    np.testing.assert_array_equal(io.read_flo(tmp_path / "d.flo"), read)


def test_bad_arguments_end_with_one_line(tmp_path: Path) -> None:
    like(plane()).save(tmp_path / "a.npz")
    io.write_landmarks(tmp_path / "a.csv", [[1, 2]])
    io.write_flo(tmp_path / "a.flo", np.zeros((2, 4, 5)))
    io.write_image(tmp_path / "a.png", np.zeros((4, 5)))
    io.write_image(tmp_path / "a.nii", np.zeros((4, 5), np.float32))
    of = ("--geometry-of", tmp_path / "a.nii")
    assert "does not exist" in fails("convert", tmp_path / "none.npz", "-o", tmp_path / "b")
    assert "holds no images" in fails("convert", _empty(tmp_path), "-o", tmp_path / "b.npz")
    assert "ends in .npz" in fails("convert", _empty(tmp_path), "-o", tmp_path / "b.nii")
    assert "is a cohort already" in fails("convert", tmp_path / "a.npz", "-o", tmp_path / "b.npz")
    assert "--geometry-of says nothing" in fails("convert", tmp_path / "a.npz", "-o", tmp_path / "b", *of)
    assert "is in mm" in fails("convert", tmp_path / "a.csv", "-o", tmp_path / "b.mrk.json")
    assert "is in mm" in fails("convert", tmp_path / "a.flo", "-o", tmp_path / "b.nii")
    assert "no known format" in fails("convert", tmp_path / "a.flo", "-o", tmp_path / "b.xyz")
    assert "no known format" in fails("convert", tmp_path / "a.csv", "-o", tmp_path / "b.npz")
    png = ("--geometry-of", tmp_path / "a.png")
    assert "does not say where" in fails("convert", tmp_path / "a.csv", "-o", tmp_path / "b.fcsv", *png)
    succeeds("convert", tmp_path / "a.flo", "-o", tmp_path / "b.nii", *of)
    assert "says nothing about" in fails("convert", tmp_path / "b.nii", "-o", tmp_path / "c.npz", *of)
    moving = ("--moving-geometry-of", tmp_path / "a.nii")
    assert "--moving-geometry-of says nothing" in fails(
        "convert", tmp_path / "a.csv", "-o", tmp_path / "b.npy", *moving
    )


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir(exist_ok=True)
    return folder / "empty"


def _single_plane(folder: Path, axis: int) -> tuple[Path, io.Geometry, tuple[int, ...]]:
    """Write a volume of one plane across an axis, and return its file, where it lies, and its shape."""
    grid = tuple(np.insert((8, 9), axis, 1).tolist())
    placed = io.Geometry([3.0, 2.0, 0.5], [10, -20, 30], rotation(philox(7), 3))
    io.write_image(folder / f"thin{axis}.nrrd", np.zeros(grid, np.float32), geometry=placed)
    return folder / f"thin{axis}.nrrd", placed, grid


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_landmarks_of_a_single_plane_lie_in_it(tmp_path: Path, axis: int) -> None:
    image, placed, _ = _single_plane(tmp_path, axis)
    points = philox(5).uniform(0, 7, size=(5, 2))
    io.write_landmarks(tmp_path / "a.csv", points)
    succeeds("convert", tmp_path / "a.csv", "-o", tmp_path / "b.mrk.json", "--geometry-of", image)
    there = placed.to_space(np.insert(points, axis, 0.0, axis=1))
    control = json.loads((tmp_path / "b.mrk.json").read_text())["markups"][0]["controlPoints"]
    np.testing.assert_allclose([each["position"] for each in control], there, atol=1e-9)
    succeeds("convert", tmp_path / "b.mrk.json", "-o", tmp_path / "c.csv", "--geometry-of", image)
    np.testing.assert_allclose(io.read_landmarks(tmp_path / "c.csv"), np.insert(points, axis, 0.0, axis=1), atol=1e-6)
    succeeds("convert", tmp_path / "b.mrk.json", "-o", tmp_path / "d.pts", "--geometry-of", image)
    np.testing.assert_allclose(io.read_landmarks(tmp_path / "d.pts"), points, atol=1e-6)


def test_landmarks_of_another_image_are_refused(tmp_path: Path) -> None:
    image, placed, grid = _single_plane(tmp_path, 0)
    io.write_landmarks(tmp_path / "plane.csv", [[1, 2], [3, 4]])
    io.write_landmarks(tmp_path / "space.csv", [[4, 1, 2], [4, 3, 4]])
    io.write_image(tmp_path / "thick.nrrd", np.zeros((3, *grid[1:]), np.float32), geometry=placed)
    io.write_image(tmp_path / "flat.nrrd", np.zeros(grid[1:], np.float32), geometry=io.Geometry([1.0, 1.0]))
    of_thick = ("--geometry-of", tmp_path / "thick.nrrd")
    said = fails("convert", tmp_path / "plane.csv", "-o", tmp_path / "b.fcsv", *of_thick)
    assert "plane.csv has landmarks with 2 coordinates" in said
    assert "3 x 8 x 9 voxels" in said
    of_flat = ("--geometry-of", tmp_path / "flat.nrrd")
    assert "with 3 coordinates" in fails("convert", tmp_path / "space.csv", "-o", tmp_path / "b.fcsv", *of_flat)
    succeeds("convert", tmp_path / "space.csv", "-o", tmp_path / "b.fcsv", *of_thick)
    off = fails("convert", tmp_path / "b.fcsv", "-o", tmp_path / "b.pts", "--geometry-of", image)
    assert "planes away from" in off
    assert "b.fcsv" in off


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_fields_of_a_single_plane(tmp_path: Path, axis: int) -> None:
    image, placed, grid = _single_plane(tmp_path, axis)
    u = philox(8).normal(size=(2, 8, 9)).astype(np.float32)
    io.write_flo(tmp_path / "a.flo", u)
    of = ("--geometry-of", image)
    for ending in (".nii.gz", ".mha", ".nrrd"):
        assert "voxels" in succeeds("convert", tmp_path / "a.flo", "-o", tmp_path / f"b{ending}", *of)
        read, where = io.read_field(tmp_path / f"b{ending}")
        assert read.shape == (3, *grid)
        assert where is not None
        np.testing.assert_allclose(where.to_space([[1, 2, 3]]), placed.to_space([[1, 2, 3]]), atol=1e-4)
        inside = [k for k in range(3) if k != axis]
        np.testing.assert_allclose(np.squeeze(read, axis=1 + axis)[inside], u, atol=1e-4)
        assert np.abs(read[axis]).max() < 1e-4
        succeeds("convert", tmp_path / f"b{ending}", "-o", tmp_path / "c.flo")
        np.testing.assert_allclose(io.read_flo(tmp_path / "c.flo"), u, atol=1e-4)
    # Where only voxels count, what is a plane for cohorts and registration stays one.
    succeeds("convert", tmp_path / "a.flo", "-o", tmp_path / "d.npz", *of)
    assert io.read_field(tmp_path / "d.npz")[0].shape == ((2, 8, 9) if axis == 0 else (3, *grid))
    across = np.zeros((3, *grid), np.float32)
    across[axis] = 0.2
    io.write_field(tmp_path / "e.npz", across, geometry=placed)
    assert "leaves its plane by up to 0.2" in fails("convert", tmp_path / "e.npz", "-o", tmp_path / "e.flo")


def test_fields_of_another_image_are_refused(tmp_path: Path) -> None:
    image, placed, grid = _single_plane(tmp_path, 0)
    io.write_flo(tmp_path / "a.flo", np.zeros((2, 9, 8)))
    io.write_flo(tmp_path / "b.flo", np.zeros((2, 8, 9)))
    io.write_image(tmp_path / "thick.nrrd", np.zeros((3, *grid[1:]), np.float32), geometry=placed)
    io.write_image(tmp_path / "flat.nrrd", np.zeros(grid[1:], np.float32), geometry=io.Geometry([1.0, 1.0]))
    for other, shape in (("flat.nrrd", "8 x 9"), ("thin0.nrrd", "1 x 8 x 9"), ("thick.nrrd", "3 x 8 x 9")):
        for ending in (".nii", ".npz"):
            said = fails(
                "convert", tmp_path / "a.flo", "-o", tmp_path / f"c{ending}", "--geometry-of", tmp_path / other
            )
            assert f"{other} has {shape} voxels but the field of" in said
            assert "a.flo 9 x 8" in said
    said = fails(
        *("convert", tmp_path / "b.flo", "-o", tmp_path / "c.nii"),
        *("--geometry-of", image, "--moving-geometry-of", tmp_path / "flat.nrrd"),
    )
    assert "flat.nrrd has 8 x 9 voxels but the field of" in said
    assert list(tmp_path.glob("c.*")) == []


def test_label_maps_say_where_landmarks_lie(tmp_path: Path) -> None:
    """The geometry of a file does not depend on what its values are."""
    nibabel = pytest.importorskip("nibabel")
    stored = nibabel.Nifti1Image(np.ones((5, 6, 7), np.int16), np.diag([1.5, 2, 3, 1]))
    stored.header["intent_code"] = 1002
    nibabel.save(stored, tmp_path / "seg.nii.gz")
    io.write_landmarks(tmp_path / "a.csv", [[1, 2, 3]])
    succeeds("convert", tmp_path / "a.csv", "-o", tmp_path / "a.fcsv", "--geometry-of", tmp_path / "seg.nii.gz")
    where = io.Geometry([1.0, 1.0, 1.0])
    np.testing.assert_allclose(io.read_landmarks(tmp_path / "a.fcsv", geometry=where), [[3, -4, -4.5]])
