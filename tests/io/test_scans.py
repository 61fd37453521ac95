"""Scans and cohorts out of folders, by names and by descriptions."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("SimpleITK")
pytest.importorskip("PIL")

from modelaug import Cohort, LandmarkObject, ModelFileError
from modelaug.io import Geometry, read_named_landmarks, read_scans, write_image, write_landmarks
from modelaug.io.cohorts.descriptions import read_description
from tests.examples import one_line, philox
from tests.io.dicoms import write_dicom
from tests.io.test_images import dicom

GRID = (12, 15)
PLACED = Geometry([2.0, 0.5], [3.0, -4.0], [[0.0, 1.0], [-1.0, 0.0]])


def picture(seed: int, grid: tuple[int, ...] = GRID) -> npt.NDArray[np.uint8]:
    return philox(seed).integers(0, 256, size=grid, dtype=np.uint8)


def segments(seed: int, grid: tuple[int, ...] = GRID) -> npt.NDArray[np.uint8]:
    return philox(seed + 100).integers(0, 3, size=grid, dtype=np.uint8)


def points(seed: int, grid: tuple[int, ...] = GRID, m: int = 4) -> npt.NDArray[np.float64]:
    return philox(seed + 200).uniform(0, np.array(grid) - 1, size=(m, len(grid)))


def describe(folder: Path, text: str) -> Path:
    (folder / "cohort.toml").write_text(text)
    return folder


def flat(folder: Path, *, names: tuple[str, ...] = ("anna", "bert")) -> Path:
    for i, name in enumerate(names):
        write_image(folder / f"{name}.nii.gz", picture(i), geometry=PLACED)
        write_image(folder / f"{name}_seg.nii.gz", segments(i), geometry=PLACED)
        write_landmarks(folder / f"{name}.mrk.json", points(i), geometry=PLACED)
    (folder / "participants.csv").write_text("name,age\nanna,40\n")
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def refused(path: Path, message: str) -> None:
    with pytest.raises((ModelFileError, ValueError, TypeError), match=message) as caught:
        read_scans(path)
    one_line(caught.value)


def test_files_side_by_side(tmp_path: Path) -> None:
    scans = read_scans(flat(tmp_path))
    assert [scan.name for scan in scans] == ["anna", "bert"]
    for i, scan in enumerate(scans):
        np.testing.assert_array_equal(scan.image, picture(i)[None])
        np.testing.assert_array_equal(scan.labels, segments(i))
        np.testing.assert_allclose(scan.landmarks, points(i), atol=1e-6)
        np.testing.assert_allclose(scan.geometry.spacing, PLACED.spacing, rtol=1e-6)
        assert scan.steps == ()
    cohort = Cohort.load(tmp_path)
    assert cohort.names == ("anna", "bert")
    np.testing.assert_allclose(cohort.spacing, [2.0, 0.5], rtol=1e-6)
    assert cohort.preparation == {}


@pytest.mark.parametrize("ending", ["labels", "label", "seg", "gt", "mask", "GT"])
def test_names_of_labels_and_landmarks(tmp_path: Path, ending: str) -> None:
    write_image(tmp_path / "a.b.png", picture(0))
    write_image(tmp_path / f"a.b_{ending}.png", segments(0))
    write_landmarks(tmp_path / "a.b_landmarks.npy", points(0))
    (scan,) = read_scans(tmp_path)
    assert scan.name == "a.b"
    np.testing.assert_array_equal(scan.labels, segments(0))
    np.testing.assert_array_equal(scan.landmarks, points(0))


def test_folders_of_images_labels_and_landmarks(tmp_path: Path) -> None:
    for i, name in enumerate(("a_seg", "b")):
        (tmp_path / "labels").mkdir(exist_ok=True)
        write_image(tmp_path / "images" / f"{name}.npy", picture(i))
        write_image(tmp_path / "labels" / f"{name}.png", segments(i))
        write_landmarks(tmp_path / "landmarks" / f"{name}.npy", points(i))
    (tmp_path / "labels" / "b.png").rename(tmp_path / "labels" / "b_gt.png")
    scans = read_scans(tmp_path)
    assert [scan.name for scan in scans] == ["a_seg", "b"]
    for i, scan in enumerate(scans):
        np.testing.assert_array_equal(scan.image, picture(i)[None])
        np.testing.assert_array_equal(scan.labels, segments(i))
        np.testing.assert_array_equal(scan.landmarks, points(i))


def test_images_alone_are_scans_but_no_cohort(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(0))
    (scan,) = read_scans(tmp_path)
    assert scan.labels is None
    assert scan.landmarks is None
    with pytest.raises(ValueError, match="modelaug landmarks"):
        Cohort.load(tmp_path)


def test_missing_and_ambiguous_partners_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, "holds no images")
    refused(tmp_path / "nowhere", "does not exist")
    flat(tmp_path)
    (tmp_path / "bert_seg.nii.gz").rename(tmp_path / "brt_seg.nii.gz")
    refused(tmp_path, r"subject 'bert' in .* has no labels \(brt_seg.nii.gz belongs to no image\)")
    (tmp_path / "brt_seg.nii.gz").rename(tmp_path / "bert_seg.nii.gz")
    (tmp_path / "bert.mrk.json").unlink()
    refused(tmp_path, r"subject 'bert' in .* has no landmarks \(participants.csv belongs to no image\)")
    write_landmarks(tmp_path / "bert.csv", points(1))
    write_landmarks(tmp_path / "bert_landmarks.csv", points(1))
    refused(tmp_path, "subject 'bert' has two files of landmarks")
    (tmp_path / "bert_landmarks.csv").unlink()
    assert len(read_scans(tmp_path)) == 2
    write_image(tmp_path / "anna.png", picture(0))
    refused(tmp_path, "subject 'anna' has two files of images")
    (tmp_path / "anna.png").unlink()
    describe(tmp_path, 'subjects = ["bert", "carl"]')
    refused(tmp_path, "subject 'carl' has no image")


def test_landmark_files_that_fit_no_image_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png", picture(0))
    write_landmarks(tmp_path / "landmarks" / "b.csv", points(0))
    refused(tmp_path, r"subject 'a' in .* has no landmarks \(b.csv belongs to no image\)")


def test_patterns(tmp_path: Path) -> None:
    for i, name in enumerate(("x1", "x2", "x3")):
        write_image(tmp_path / "data" / name / f"{name}_image.nii.gz", picture(i))
        write_image(tmp_path / "data" / name / f"{name}_image_truth.nii.gz", segments(i))
        write_landmarks(tmp_path / "data" / name / "points.csv", points(i))
    (tmp_path / "data" / "x1" / "x2_image.nii.gz").write_bytes(b"another subject's")
    description = tmp_path / "about" / "hearts.toml"
    description.parent.mkdir()
    text = """
        images = "../data/{name}/{name}_image.nii.gz"
        labels = "../data/{name}/{name}_image_truth.nii.gz"
        landmarks = "../data/{name}/points.csv"
        subjects = SUBJECTS
    """
    description.write_text(text.replace("SUBJECTS", '"all"'))
    scans = read_scans(description)
    assert [scan.name for scan in scans] == ["x1", "x2", "x3"]
    np.testing.assert_array_equal(scans[1].image, picture(1)[None])
    description.write_text(text.replace("SUBJECTS", '["x3", "x1"]'))
    assert Cohort.load(description).names == ("x3", "x1")
    description.write_text(text.replace("SUBJECTS", '["x3", "x4"]'))
    refused(description, "subject 'x4' has no image: .* does not exist")
    (tmp_path / "data" / "x2" / "points.csv").unlink()
    description.write_text(text.replace("subjects = SUBJECTS", ""))
    refused(description, "subject 'x2' has no landmarks: .* does not exist")


def test_labels_are_no_images_though_the_pattern_takes_them(tmp_path: Path) -> None:
    flat(tmp_path)
    describe(tmp_path, 'images = "{name}.nii.gz"\nlabels = "{name}_seg.nii.gz"\nlandmarks = "{name}.mrk.json"')
    assert [scan.name for scan in read_scans(tmp_path)] == ["anna", "bert"]
    describe(tmp_path, 'images = "[{name}].png"')
    refused(tmp_path, "no file in .* is like images")
    write_image(tmp_path / "[a].png", picture(0))
    assert [scan.name for scan in read_scans(tmp_path)] == ["a"]
    describe(tmp_path, f'images = "{tmp_path}/[{{name}}].png"')
    assert [scan.name for scan in read_scans(tmp_path)] == ["a"]


def test_everything_a_description_can_say(tmp_path: Path) -> None:
    grid = (3, 12, 15)
    placed = Geometry([5.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    for i in range(2):
        write_image(tmp_path / f"{i}.nii.gz", picture(i, grid), geometry=placed)
        write_image(tmp_path / f"{i}_gt.nii.gz", np.uint16(300) * segments(i, grid), geometry=placed)
        inside = np.column_stack([np.full(4, 2.0), points(i) / 4 + 2])
        write_landmarks(tmp_path / f"{i}.fcsv", inside, geometry=placed)
    (tmp_path / "history.json").write_text(json.dumps({"0": [{"step": "bias field"}]}))
    describe(
        tmp_path,
        """
        voxel_size = [5.0, 1.0, 1.0]
        history = "history.json"

        [relabel]
        300 = 1
        600 = 70000

        [preparation]
        slice_axis = 0
        slice_at = -1
        shape = [10, 14]
        center = "image"
        percentiles = [0, 100]

        [[objects]]
        name = "wall"
        kind = "open"
        landmarks = "0:3"

        [[objects]]
        name = "apex"
        landmarks = [3]
        """,
    )
    cohort = Cohort.load(tmp_path)
    assert cohort.objects == (
        LandmarkObject("wall", (0, 1, 2), "open"),
        LandmarkObject("apex", (3,), "points"),
    )
    assert cohort.grid == (10, 14)
    np.testing.assert_array_equal(cohort.spacing, [1.0, 1.0])
    for i in range(2):
        # 12 x 15 is cut to 10 x 14 by one row and half a column, rounded to the even number 0.
        slab = picture(i, grid)[2, 1:11, 0:14].astype(np.float64)
        np.testing.assert_allclose(cohort.images[i, 0], (slab - slab.min()) / (slab.max() - slab.min()), atol=1e-6)
        assert cohort.labels is not None
        expected = np.array([0, 1, 70000])[segments(i, grid)[2, 1:11, 0:14]]
        np.testing.assert_array_equal(cohort.labels[i], expected)
        # The positions were set on the files as they are, whatever the size of a voxel is corrected to.
        landmarks, _ = read_named_landmarks(tmp_path / f"{i}.fcsv", geometry=placed)
        np.testing.assert_allclose(cohort.landmarks[i], landmarks[:, 1:] - [1, 0], atol=1e-5)
    done = [step["step"] for step in cohort.preparation["0"]]
    assert done == ["bias field", "voxel_size", "relabel", "slice", "crop", "intensities"]
    assert [step["step"] for step in cohort.preparation["1"]] == done[1:]
    cohort.save(tmp_path / "c.npz")
    assert Cohort.load(tmp_path / "c.npz").preparation == cohort.preparation


def test_volumes_of_one_plane_are_planes(tmp_path: Path) -> None:
    turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    for name, direction in (("axial", np.eye(3)), ("coronal", turn)):
        placed = Geometry([8.0, 2.0, 0.5], [10.0, 20.0, 30.0], direction)
        write_image(tmp_path / f"{name}.nii.gz", picture(0)[None], geometry=placed)
        write_image(tmp_path / f"{name}_seg.nii.gz", segments(0)[None], geometry=placed)
        inside = np.column_stack([np.zeros(4), points(0)])
        write_landmarks(tmp_path / f"{name}.mrk.json", inside, geometry=placed)
    for scan in read_scans(tmp_path):
        np.testing.assert_array_equal(scan.image, picture(0)[None])
        np.testing.assert_array_equal(scan.labels, segments(0))
        np.testing.assert_allclose(scan.landmarks, points(0), atol=1e-5)
        np.testing.assert_allclose(scan.geometry.spacing, [2.0, 0.5], rtol=1e-6)
        assert scan.steps == ({"step": "slice", "axis": 0, "index": 0, "of": 1},)
    describe(tmp_path, "voxel_size = [1.0, 0.25]")
    assert read_scans(tmp_path)[0].geometry.spacing.tolist() == [1.0, 0.25]
    describe(tmp_path, "")
    write_landmarks(tmp_path / "axial.mrk.json", inside + np.array([2, 0, 0]), geometry=Geometry([8.0, 2.0, 0.5]))
    refused(tmp_path, r"landmark \d of 'axial' lies .* planes away")


def test_volumes_without_geometry(tmp_path: Path) -> None:
    grid = (4, 5, 6)
    np.save(tmp_path / "a.npy", picture(0, grid))
    assert read_scans(tmp_path)[0].grid == (5, 6)  # three axes may be channels
    describe(tmp_path, "voxel_size = [3.0, 1.0, 1.0]")
    assert read_scans(tmp_path)[0].grid == grid
    describe(tmp_path, "")
    np.save(tmp_path / "a_seg.npy", segments(0, grid))
    (scan,) = read_scans(tmp_path)
    assert scan.grid == grid
    np.testing.assert_array_equal(scan.labels, segments(0, grid))


def test_landmarks_are_ordered_by_their_names(tmp_path: Path) -> None:
    flat(tmp_path)
    write_landmarks(tmp_path / "anna.mrk.json", points(0), geometry=PLACED, names=["a", "b", "c", "d"])
    write_landmarks(tmp_path / "bert.mrk.json", points(1)[[2, 0, 3, 1]], geometry=PLACED, names=["c", "a", "d", "b"])
    anna, bert = read_scans(tmp_path)
    np.testing.assert_allclose(bert.landmarks, points(1), atol=1e-6)
    assert anna.steps == ()
    assert bert.steps == ({"step": "landmarks", "order": [1, 3, 0, 2]},)
    write_landmarks(tmp_path / "bert.mrk.json", points(1), geometry=PLACED, names=["c", "a", "d", "e"])
    refused(tmp_path, "landmark 'b' is in only one of the subjects 'bert' and 'anna'")
    # Names that have nothing in common, or name several, are no reason to take the order of the lines.
    for names, message in (
        (["F-1", "F-2", "F-3", "F-4"], "landmark 'F-1' is in only one of the subjects 'bert' and 'anna'"),
        (["a", "a", "b", "b"], "bert.mrk.json has the landmark 'a' twice"),
    ):
        write_landmarks(tmp_path / "bert.mrk.json", points(1), geometry=PLACED, names=names)
        refused(tmp_path, message)


def test_files_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    flat(tmp_path)
    elsewhere = Geometry([2.0, 0.5], [3.0, -4.0])
    write_image(tmp_path / "bert_seg.nii.gz", segments(1), geometry=elsewhere)
    refused(tmp_path, "labels of 'bert', .* lie up to .* voxels from")
    write_image(tmp_path / "bert_seg.nii.gz", segments(1)[1:], geometry=PLACED)
    refused(tmp_path, "labels of 'bert' have shape")
    write_image(tmp_path / "bert_seg.nii.gz", segments(1) + 0.5, geometry=PLACED)
    refused(tmp_path, "bert_seg.nii.gz holds no labels")
    describe(tmp_path, "voxel_size = [1.0, 1.0, 1.0]")
    refused(tmp_path, "voxel_size is .* but image of 'anna' has 2 axes")
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5, 2), np.float32), np.eye(4)), tmp_path / "anna.nii.gz")
    refused(describe(tmp_path, ""), "anna.nii.gz has 4 axes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image = 3", "'image' is no known key; did you mean 'images'"),
        ("qqq = 3", "'qqq' is no known key; use images, labels"),
        ("[preparation]\nslice = 1", r"in \[preparation\], 'slice' is no known key; did you mean 'slice_a"),
        ("[preparation]\nslice_at = 'a'", "slice_at is 'a'"),
        ("[preparation]\npercentiles = [99, 1]", "percentiles is"),
        ("preparation = 1", "preparation is 1; write a table"),
        ("[[objects]]\nnme = 1", r"in \[\[objects\]\], 'nme' is no known key; did you mean 'name'"),
        ("[[objects]]\nname = 'a'", "an object lacks 'landmarks'"),
        ("[[objects]]\nname = 'a'\nlandmarks = 3", "landmarks of an object is 3"),
        ("[[objects]]\nname = 'a'\nlandmarks = '3:b'", "landmarks of an object is '3:b'"),
        ("[[objects]]\nname = 'a'\nlandmarks = '3:3'", "indices of object 'a' is empty"),
        ("[[objects]]\nname = 'a'\nlandmarks = ['b']", "indices is 'b'"),
        ("[[objects]]\nname = 'a'\nkind = 'round'\nlandmarks = [1]", "kind is 'round'"),
        ("[[objects]]\nname = 1\nlandmarks = [1]", "name of an object is 1"),
        ("objects = 1", r"write a table \[\[objects\]\]"),
        ("objects = [1]", "objects is 1"),
        ("[relabel]\na = 1", "relabel names 'a'"),
        ("[relabel]\n1 = 1.5", "relabel.1 is 1.5"),
        ("relabel = [1]", "write a table"),
        ("images = 'a.png'", "images is 'a.png'; write a path with {name}"),
        ("images = 1", "images is 1"),
        ("labels = '{name}.png'", "labels is '{name}.png' but images is not there"),
        ("subjects = 'anna'", "subjects is 'anna'; write a list"),
        ("subjects = [1]", r"subjects is \[1\]; write a list of names"),
        ("subjects = ['a', 'a']", "name each of them once"),
        ("voxel_size = 1", "voxel_size is 1; write a list"),
        ("voxel_size = [1, -1]", "voxel_size"),
        ("history = 1", "history is 1"),
        ("history = 'nothing.json'", "nothing.json does not exist"),
        ("history = 'cohort.toml'", "cannot be read as JSON"),
        ("history = 'list.json'", "is no history"),
        ("images = ", "cannot be read as TOML"),
        ("a = " + "[" * 50_000, "cannot be read as TOML"),
        ("\x00", "cannot be read as TOML"),
    ],
)
def test_bad_descriptions_are_refused(tmp_path: Path, text: str, message: str) -> None:
    write_image(tmp_path / "anna.png", picture(0))
    (tmp_path / "list.json").write_text("[1]")
    describe(tmp_path, text)
    refused(tmp_path, message)


def test_an_empty_description_changes_nothing(tmp_path: Path) -> None:
    flat(tmp_path)
    before = Cohort.load(tmp_path)
    describe(tmp_path, "\ufeff# nothing")
    after = Cohort.load(tmp_path / "cohort.toml")
    np.testing.assert_array_equal(after.images, before.images)
    np.testing.assert_array_equal(after.landmarks, before.landmarks)
    assert after.preparation == {}


def test_dicom_with_markups_of_slicer(tmp_path: Path) -> None:
    """Landmarks in mm find their pixels also in slices that stand upright."""
    values = philox(9).integers(-1000, 1000, size=GRID, dtype=np.int16)
    # Rows go down along -z, columns along x; pixels are 2 mm high and 0.5 mm wide.
    dicom(tmp_path / "a.dcm", values, "1\\0\\0\\0\\0\\-1")
    position = np.array([[10 + 0.5 * column, 20, 30 - 2 * row] for row, column in points(0)])
    write_landmarks(tmp_path / "a.mrk.json", position[:, ::-1], geometry=Geometry([1.0, 1.0, 1.0]))
    (scan,) = read_scans(tmp_path)
    np.testing.assert_array_equal(scan.image, values[None])
    np.testing.assert_allclose(scan.geometry.spacing, [2.0, 0.5])
    np.testing.assert_allclose(scan.landmarks, points(0), atol=1e-9)


def test_folders_of_dicom_are_subjects(tmp_path: Path) -> None:
    volume = philox(9).integers(-1000, 1000, size=(3, *GRID), dtype=np.int16)
    for name in ("anna.1", "bert"):
        (tmp_path / name).mkdir()
        for k, values in enumerate(volume):
            dicom(tmp_path / name / f"{9 - k}.dcm", values, "1\\0\\0\\0\\1\\0", place=8 * k, series=f"1.2.{len(name)}")
        inside = np.column_stack([np.full(4, 1.0), points(0)])
        write_landmarks(tmp_path / f"{name}.csv", inside)
    for text in ("", 'images = "{name}"\nlandmarks = "{name}.csv"\nsubjects = ["anna.1", "bert"]'):
        describe(tmp_path, text)
        scans = read_scans(tmp_path)
        assert [scan.name for scan in scans] == ["anna.1", "bert"]
        np.testing.assert_array_equal(scans[1].image, volume[None])
        np.testing.assert_array_equal(scans[1].landmarks, inside)


def test_the_documented_description_is_one(tmp_path: Path) -> None:
    document = Path(__file__).parents[2] / "docs" / "files.md"
    if not document.exists():
        pytest.skip("needs the sources")
    text = document.read_text().split("```toml")[1].split("```")[0]
    (tmp_path / "cohort.toml").write_text(text)
    description = read_description(tmp_path / "cohort.toml")
    assert description.subjects == ("anna", "bert")
    assert description.relabel == {500: 1, 600: 0}
    assert description.preparation.shape == (128, 128)
    assert description.preparation.slice_at == 0.5
    assert description.objects == (LandmarkObject("endocardium", tuple(range(32)), "closed"),)


def without_orientation(path: Path, values: npt.NDArray[np.uint8], size: float = 2.0) -> None:
    """Write an image whose header has the sizes of its voxels, but no directions."""
    ending = "".join(path.suffixes)
    axes = values.shape[::-1]
    d = len(axes)
    if ending in (".nii", ".nii.gz"):
        import nibabel

        image = nibabel.Nifti1Image(values.T, None)
        image.header.set_zooms([size] * d)
        image.set_sform(None, code=0)
        image.set_qform(None, code=0)
        nibabel.save(image, path)
        return
    sizes, counts = " ".join([str(size)] * d), " ".join(map(str, axes))
    head = {
        ".nrrd": f"NRRD0004\ntype: uchar\ndimension: {d}\nsizes: {counts}\nspacings: {sizes}\nencoding: raw\n\n",
        ".mha": f"ObjectType = Image\nNDims = {d}\nDimSize = {counts}\nElementSpacing = {sizes}\n"
        "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n",
    }[ending]
    path.write_bytes(head.encode() + values.tobytes())


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("grid", [(4, 5, 6), (5, 6), (1, 5, 6)])
@pytest.mark.parametrize("first", [False, True])
def test_files_that_say_no_orientation_are_taken_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str, grid: tuple[int, ...], first: bool
) -> None:
    values, spot = picture(0, grid), points(0, grid)
    turn = np.diag([-1.0, -1.0, 1.0])
    d = len(grid)
    ras = Geometry(np.full(d, 2.0), [7.0, 8.0, 9.0][:d], turn[:d, :d])
    said, silent = ("bert", "anna") if first else ("anna", "bert")
    for name in (said, "carl"):
        write_image(tmp_path / f"{name}.nii.gz", values, geometry=ras)
        write_landmarks(tmp_path / f"{name}.mrk.json", spot, geometry=ras)
    without_orientation(tmp_path / f"{silent}{ending}", values)
    write_landmarks(tmp_path / f"{silent}.mrk.json", spot, geometry=Geometry(np.full(d, 2.0)))
    with caplog.at_level(logging.INFO, logger="modelaug"):
        scans = read_scans(tmp_path)
    for scan in scans:
        np.testing.assert_array_equal(scan.image[0], np.squeeze(values))
        np.testing.assert_allclose(scan.landmarks, spot[:, -scan.image[0].ndim :], atol=1e-4)
        np.testing.assert_allclose(scan.geometry.spacing, 2.0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(f"taken as stored, since the files do not say how they are oriented: {silent!r}")
    caplog.clear()
    describe(tmp_path, f"subjects = [{silent!r}]")
    with caplog.at_level(logging.INFO, logger="modelaug"):
        (alone,) = read_scans(tmp_path)
    assert caplog.records == []
    np.testing.assert_array_equal(alone.image, next(scan.image for scan in scans if scan.name == silent))


def test_others_are_not_turned_onto_a_file_that_says_no_orientation(tmp_path: Path) -> None:
    grid = (4, 5, 6)
    without_orientation(tmp_path / "anna.nii", picture(0, grid))
    placed = Geometry([2.0] * 3, direction=np.diag([-1.0, -1.0, 1.0]))
    turned = Geometry([2.0] * 3, direction=np.diag([1.0, -1.0, 1.0]))
    write_image(tmp_path / "bert.nii", picture(1, grid), geometry=placed)
    write_image(tmp_path / "carl.nii", picture(2, grid), geometry=turned)
    anna, bert, carl = read_scans(tmp_path)
    np.testing.assert_array_equal(anna.image[0], picture(0, grid))
    np.testing.assert_array_equal(bert.image[0], picture(1, grid))
    np.testing.assert_array_equal(carl.image[0], picture(2, grid)[..., ::-1])


def test_dicom_that_says_no_orientation_is_taken_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = philox(9).integers(0, 1000, size=GRID, dtype=np.int16)
    write_dicom(tmp_path / "anna.dcm", values, ImageOrientationPatient=None, ImagePositionPatient=None)
    turned_by_half = Geometry([1.0, 1.0], direction=-np.eye(2))
    write_image(tmp_path / "bert.nrrd", values.astype(np.float32), geometry=turned_by_half)
    for subjects, told in ((["anna", "bert"], 1), (["bert", "anna"], 1), (["anna"], 0)):
        describe(tmp_path, f"subjects = {json.dumps(subjects)}")
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="modelaug"):
            scans = read_scans(tmp_path)
        for scan in scans:
            np.testing.assert_array_equal(scan.image[0], values)
        lines = [record.getMessage() for record in caplog.records]
        assert [line.endswith("how they are oriented: 'anna'") for line in lines] == [True] * told
