"""Nothing that lies in a folder is left out without being named."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("SimpleITK")
pytest.importorskip("PIL")

from modelaug import Cohort, ModelFileError
from modelaug.io import Geometry, read_scans, write_image, write_landmarks
from tests.examples import one_line, philox
from tests.io.test_images import dicom

GRID = (9, 11)


def picture(seed: int) -> npt.NDArray[Any]:
    return philox(seed).integers(0, 256, size=GRID, dtype=np.uint8)


def points(seed: int) -> npt.NDArray[Any]:
    return philox(seed + 50).uniform(1, 7, size=(3, 2))


def folder(path: Path, names: tuple[str, ...] = ("kim", "lea", "max")) -> Path:
    for i, name in enumerate(names):
        write_image(path / f"{name}.nrrd", picture(i))
        write_image(path / f"{name}_seg.nrrd", picture(i) // 100)
        write_landmarks(path / f"{name}.csv", points(i))
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises((ModelFileError, ValueError)) as caught:
        read_scans(path)
    one_line(caught.value)
    for word in words:
        assert word in str(caught.value)


def said(path: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="modelaug"):
        read_scans(path)
    return [record.getMessage() for record in caplog.records]


def make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".csv", ".mrk", ".fcsv", ".pts"):
        write_landmarks(path, points(9), geometry=Geometry([1.0, 1.0]))
    elif path.suffix in (".nrrd", ".png", ".npy", ".tif"):
        if path.suffix == ".npy":
            np.save(path, points(9))
        else:
            write_image(path, picture(9)) if path.suffix != ".tif" else path.write_bytes(b"II*\0")
    else:
        path.write_bytes(b"something else")


@pytest.mark.parametrize(
    "stray",
    [
        "ned.csv",
        "ned_landmarks.csv",
        "ned_landmarks.npy",
        "ned.fcsv",
        "ned.pts",
        "ned_seg.nrrd",
        "ned-label.nrrd",
        "ned.seg.nrrd",
        "ned_Segmentation.seg.nrrd",
        "ned Segmentation.nrrd",
        "ned_labelmap.png",
        "ned_dseg.nrrd",
        "ned-mask.png",
        "ned_ground_truth.png",
        "ned_annotation.png",
        "ned.mgz",
        "ned.bmp",
        "ned.hdr",
    ],
)
def test_data_of_nobody_are_refused_by_name(tmp_path: Path, stray: str) -> None:
    make(folder(tmp_path) / stray)
    refused(tmp_path, stray)
    (tmp_path / "cohort.toml").write_text('subjects = ["max", "kim"]')
    assert [scan.name for scan in read_scans(tmp_path)] == ["max", "kim"]


def test_the_reason_is_given_if_there_is_one(tmp_path: Path) -> None:
    folder(tmp_path)
    make(tmp_path / "ned.csv")
    (tmp_path / "ned").mkdir()
    make(tmp_path / "ned" / "t1.nrrd")
    refused(tmp_path, "ned.csv belongs to no image", "(ned is none that is read)")


def test_a_folder_without_images_says_what_there_is(tmp_path: Path) -> None:
    make(tmp_path / "kim_seg.nrrd")
    refused(tmp_path, "holds no images", "kim_seg.nrrd is called like labels")
    make(tmp_path / "kim.mgz")
    refused(tmp_path, "holds no images", "kim.mgz is of a format that is not read")


@pytest.mark.parametrize("kind", ["labels", "landmarks"])
def test_data_of_nobody_in_folders_of_their_own(tmp_path: Path, kind: str) -> None:
    for i, name in enumerate(("kim", "lea")):
        write_image(tmp_path / "images" / f"{name}.png", picture(i))
        write_image(tmp_path / "labels" / f"{name}.png", picture(i) // 100)
        (tmp_path / "landmarks").mkdir(exist_ok=True)
        write_landmarks(tmp_path / "landmarks" / f"{name}.csv", points(i))
    assert len(read_scans(tmp_path)) == 2
    make(tmp_path / kind / ("ned.png" if kind == "labels" else "ned.csv"))
    refused(tmp_path, f"{kind}/ned.", "belongs to no image")


@pytest.mark.parametrize("stray", ["kim_seg.png", "kim.csv", "kim.nrrd", "labels/kim.jpg", "images/kim_seg.jpg"])
def test_data_of_a_subject_in_the_wrong_place_are_refused(tmp_path: Path, stray: str) -> None:
    for i, name in enumerate(("kim", "lea")):
        write_image(tmp_path / "images" / f"{name}.png", picture(i))
        (tmp_path / "landmarks").mkdir(exist_ok=True)
        write_landmarks(tmp_path / "landmarks" / f"{name}.csv", points(i))
    place = tmp_path / stray
    place.parent.mkdir(exist_ok=True)
    if place.suffix == ".jpg":
        place.write_bytes(b"\xff\xd8")
    else:
        make(place)
    refused(tmp_path, place.name, "subject 'kim'")


def test_labels_beside_images_though_there_is_a_folder_of_labels(tmp_path: Path) -> None:
    for i, name in enumerate(("kim", "lea")):
        write_image(tmp_path / "images" / f"{name}.png", picture(i))
        write_image(tmp_path / "images" / f"{name}_seg.png", picture(i) // 100)
    (tmp_path / "labels").mkdir()
    assert [(scan.name, scan.labels is None) for scan in read_scans(tmp_path)] == [("kim", False), ("lea", False)]
    write_image(tmp_path / "labels" / "lea.png", picture(0) // 100)
    refused(tmp_path, "subject 'lea' has two files of labels")


def test_strangers_are_named_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder(tmp_path)
    for name in ("README.md", "notes.txt", "run.log", "dataset.json", ".hidden.nrrd", "Thumbs.db", "LICENSE"):
        make(tmp_path / name)
    (tmp_path / "cohort.toml").write_text("")
    assert said(tmp_path, caplog) == []
    (tmp_path / "participants.csv").write_text("name,age\nkim,40\n")
    (tmp_path / "kim.json").write_text("{}")
    make(tmp_path / "old" / "kim.nrrd")
    (line,) = said(tmp_path, caplog)
    assert line.endswith("not read: kim.json, old, participants.csv")
    for k in range(7):
        (tmp_path / f"table{k}.xlsx").write_bytes(b"")
    (line,) = said(tmp_path, caplog)
    assert line.endswith(" and 5 more")
    (tmp_path / "cohort.toml").write_text('subjects = ["lea"]')
    assert said(tmp_path, caplog) == []


def test_what_lies_beside_folders_of_images_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_image(tmp_path / "images" / "kim.nrrd", picture(0))
    make(tmp_path / "atlas.nrrd")
    (tmp_path / "scout").mkdir()
    dicom(tmp_path / "scout" / "1.dcm", picture(1).astype(np.int16), "1\\0\\0\\0\\1\\0")
    (line,) = said(tmp_path, caplog)
    assert line.endswith("not read: atlas.nrrd, scout")


def test_folders_of_dicom_without_endings(tmp_path: Path) -> None:
    for i, name in enumerate(("kim", "lea")):
        for k in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            file = tmp_path / name / f"{k}.dcm"
            dicom(file, picture(i).astype(np.int16) + k, "1\\0\\0\\0\\1\\0", place=8 * k, series=f"1.2.{i}")
            if name == "lea":
                file.rename(file.with_suffix(""))
        write_landmarks(tmp_path / f"{name}.csv", np.column_stack([np.full(3, 1.0), points(i)]))
    scans = read_scans(tmp_path)
    assert [scan.name for scan in scans] == ["kim", "lea"]
    np.testing.assert_array_equal(scans[1].image[0, 2], picture(1).astype(np.float32) + 2)


@pytest.mark.parametrize(
    "ending",
    [
        *("_labels", "_label", "-label", "_seg", "-seg", ".seg", "_Segmentation.seg", " Segmentation", "_segmentation"),
        *("_labelmap", "_label_map", "-label-map", "_gt", "_mask", "-mask", "_Masks", "_annotation", "_dseg"),
        *("_ground_truth", "_groundtruth", "_Segmentation-label"),
    ],
)
def test_names_of_segmentations(tmp_path: Path, ending: str) -> None:
    for i, name in enumerate(("kim_1", "lea.2")):
        write_image(tmp_path / f"{name}.nrrd", picture(i))
        write_image(tmp_path / f"{name}{ending}.nrrd", picture(i) // 100)
    scans = read_scans(tmp_path)
    assert [scan.name for scan in scans] == ["kim_1", "lea.2"]
    for i, scan in enumerate(scans):
        np.testing.assert_array_equal(scan.image[0], picture(i))
        np.testing.assert_array_equal(scan.labels, picture(i) // 100)


def test_folders_of_nnunet(tmp_path: Path) -> None:
    for i, name in enumerate(("case_001", "case_002")):
        write_image(tmp_path / "imagesTr" / f"{name}_0000.nrrd", picture(i))
        write_image(tmp_path / "labelsTr" / f"{name}.nrrd", picture(i) // 100)
    (tmp_path / "dataset.json").write_text("{}")
    scans = read_scans(tmp_path)
    assert [scan.name for scan in scans] == ["case_001", "case_002"]
    np.testing.assert_array_equal(scans[1].labels, picture(1) // 100)
    write_image(tmp_path / "imagesTr" / "case_002_0001.nrrd", picture(1))
    refused(tmp_path, "subject 'case_002' has two files of images", "case_002_0001.nrrd")


def test_folders_of_monai_label(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i, name in enumerate(("kim", "lea")):
        write_image(tmp_path / f"{name}.nrrd", picture(i))
        for state in ("final", "original"):
            write_image(tmp_path / "labels" / state / f"{name}.nrrd", picture(i) // (100 if state == "final" else 50))
    (line,) = said(tmp_path, caplog)
    assert line.endswith("not read: labels/original")
    for i, scan in enumerate(read_scans(tmp_path)):
        np.testing.assert_array_equal(scan.labels, picture(i) // 100)
    (tmp_path / "labels" / "final" / "lea.nrrd").unlink()
    refused(tmp_path, "subject 'lea'", "has no labels")


def patterns(tmp_path: Path, text: str) -> Path:
    for i, name in enumerate(("kim", "lea", "max")):
        write_image(tmp_path / name / "t1.nrrd", picture(i))
        write_image(tmp_path / name / "seg.nrrd", picture(i) // 100)
        write_landmarks(tmp_path / f"{name}.csv", points(i))
    (tmp_path / "cohort.toml").write_text(text)
    return tmp_path


PATTERNS = 'images = "{name}/t1.nrrd"\nlabels = "{name}/seg.nrrd"\nlandmarks = "{name}.csv"\n'


@pytest.mark.parametrize("kept", ["ned/seg.nrrd", "ned.csv"])
def test_patterns_that_find_data_of_nobody(tmp_path: Path, kept: str) -> None:
    patterns(tmp_path, PATTERNS)
    make(tmp_path / kept)
    refused(tmp_path, f"{kept} is like", "subject 'ned' has no image")
    (tmp_path / "cohort.toml").write_text(f'{PATTERNS}subjects = ["kim", "max"]\n')
    assert Cohort.load(tmp_path).names == ("kim", "max")


def test_folders_without_an_image_of_the_pattern_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    patterns(tmp_path, PATTERNS)
    (tmp_path / "participants.csv").write_text("name,age\nkim,40\n")
    assert said(tmp_path, caplog) == []
    write_image(tmp_path / "ned" / "t2.nrrd", picture(8))
    (line,) = said(tmp_path, caplog)
    assert line.endswith("not read: ned")


def test_of_two_patterns_the_one_that_says_more_takes_a_file(tmp_path: Path) -> None:
    for i, name in enumerate(("kim", "lea")):
        write_image(tmp_path / f"{name}_img.nrrd", picture(i))
        write_image(tmp_path / f"{name}.nrrd", picture(i) // 100)
        np.save(tmp_path / f"{name}_points.npy", points(i))
    (tmp_path / "cohort.toml").write_text(
        'images = "{name}_img.nrrd"\nlabels = "{name}.nrrd"\nlandmarks = "{name}_points.npy"\n'
    )
    cohort = Cohort.load(tmp_path)
    assert cohort.names == ("kim", "lea")
    np.testing.assert_array_equal(cohort.images[1, 0], picture(1))


@pytest.mark.parametrize(
    "stray",
    [
        *("kim_landmarks.json", "kim_landmarks.txt", "kim_points.txt", "lea-labels.json", "max.seg.log", "kim.txt"),
        *("kim Segmentation.pdf", "kim_landmarks", "lea.md"),
    ],
)
def test_notes_that_are_called_like_a_subject_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stray: str
) -> None:
    (folder(tmp_path) / stray).write_text("1 2\n")
    (tmp_path / "kimberley.txt").write_text("another one")
    (tmp_path / "lea2_landmarks.json").write_text("{}")
    (line,) = said(tmp_path, caplog)
    assert line.endswith(f"not read: {stray}")


@pytest.mark.parametrize("place", ["labels", "landmarks"])
def test_notes_among_data_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str) -> None:
    for i, name in enumerate(("kim", "lea")):
        write_image(tmp_path / "images" / f"{name}.nrrd", picture(i))
        write_image(tmp_path / "labels" / f"{name}.nrrd", picture(i) // 100)
        (tmp_path / "landmarks").mkdir(exist_ok=True)
        write_landmarks(tmp_path / "landmarks" / f"{name}.csv", points(i))
    for name in ("README", "README.md", "LICENSE.txt", "dataset.json"):
        (tmp_path / place / name).write_text("hello")
    assert said(tmp_path, caplog) == []
    (tmp_path / place / "ned.json").write_text("{}")
    (tmp_path / "images" / "about.json").write_text("{}")
    (line,) = said(tmp_path, caplog)
    assert line.endswith(f"not read: {place}/ned.json")


@pytest.mark.parametrize(
    ("content", "quiet"),
    [
        (bytes(5000), False),
        (b"\x89\xff" * 100, False),
        (b"", True),
        (b"first scan of the day\n", True),
        (("H\xf6rnchen" * 999).encode(), True),
        (("x" + "\xf6" * 4000).encode(), True),
        (b"\0", False),
    ],
)
def test_files_without_an_ending_are_quiet_if_they_are_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, quiet: bool
) -> None:
    (folder(tmp_path) / "ned").write_bytes(content)
    for name in ("LICENSE", "Makefile", "CITATION", "changes"):
        (tmp_path / name).write_bytes(b"\0\xff")
    lines = said(tmp_path, caplog)
    assert [line.rpartition(": ")[2] for line in lines] == ([] if quiet else ["ned"])


def of_nnunet(path: Path, images: list[str], labels: list[str], landmarks: list[str]) -> list[str]:
    for i, name in enumerate(images):
        write_image(path / "imagesTr" / f"{name}.nrrd", picture(i))
    for i, name in enumerate(labels):
        write_image(path / "labelsTr" / f"{name}.nrrd", picture(i) // 100)
    for i, name in enumerate(landmarks):
        (path / "landmarks").mkdir(exist_ok=True)
        write_landmarks(path / "landmarks" / f"{name}.csv", points(i))
    return [scan.name for scan in read_scans(path)]


@pytest.mark.parametrize(
    ("images", "partners", "names"),
    [
        (["amos_0001", "amos_0004"], ["amos_0001", "amos_0004"], ["amos_0001", "amos_0004"]),
        (["amos_0000", "amos_0001"], ["amos_0000", "amos_0001"], ["amos_0000", "amos_0001"]),
        (["amos_0004"], ["amos_0004"], ["amos_0004"]),
        (["amos_0001", "amos_0004"], [], ["amos_0001", "amos_0004"]),
        (["amos_0001_0000", "amos_0004_0000"], ["amos_0001", "amos_0004"], ["amos_0001", "amos_0004"]),
        (["amos_0001_0000", "amos_0004_0000"], [], ["amos_0001", "amos_0004"]),
        (["kim_0000", "lea_0000"], [], ["kim", "lea"]),
        (["kim_0001", "lea_0001"], ["kim", "lea"], ["kim", "lea"]),
        (["amos_0001", "amos_0004", "kim_0000"], ["amos_0001", "amos_0004", "kim"], ["amos_0001", "amos_0004", "kim"]),
        (["amos_0001", "amos_0004"], ["amos_0001_seg", "amos_0004_seg"], ["amos_0001", "amos_0004"]),
    ],
)
def test_numbers_of_nnunet_are_channels_or_of_the_name(
    tmp_path: Path, images: list[str], partners: list[str], names: list[str]
) -> None:
    assert of_nnunet(tmp_path / "labels", images, partners, []) == names
    landmarks = [each.removesuffix("_seg") for each in partners]
    assert of_nnunet(tmp_path / "landmarks", images, [], landmarks) == names
    assert of_nnunet(tmp_path / "both", images, partners, landmarks) == names


def test_several_channels_of_nnunet_are_refused(tmp_path: Path) -> None:
    for place, images, labels, words in (
        ("a", ["kim_0000", "kim_0001"], ["kim"], "subject 'kim' has two files of images"),
        ("b", ["kim_0001", "kim_0002"], ["kim"], "subject 'kim' has two files of images"),
        ("c", ["kim_0000", "kim_0001"], [], "subject 'kim' has two files of images"),
        ("d", ["amos_0001", "amos_0004"], ["amos_0001"], "subject 'amos_0004'"),
        ("e", ["amos_0000", "amos_0001"], ["amos_0000"], "subject 'amos_0001'"),
    ):
        with pytest.raises(ModelFileError, match=words) as caught:
            of_nnunet(tmp_path / place, images, labels, [])
        one_line(caught.value)
