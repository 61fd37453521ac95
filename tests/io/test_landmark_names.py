"""Landmarks correspond by their names, or are refused; and what else is assumed of a cohort is said."""

from __future__ import annotations

import json
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

GRID = (12, 14)
Points = npt.NDArray[np.float64]


def points(seed: int) -> Points:
    return philox(seed).uniform(1, 10, size=(4, 2))


def table(path: Path, values: Points, names: tuple[str, ...] | None) -> None:
    if names is None:
        np.save(path.with_name(f"{path.stem}_landmarks.npy"), values)
        return
    rows = [f"{name},{row!r},{column!r}" for name, (row, column) in zip(names, values.tolist(), strict=True)]
    path.write_text("\n".join(["name,row,column", *rows]) + "\n")


def folder(path: Path, *names: tuple[str, ...] | None) -> Path:
    """Write a subject for each list of names."""
    for i, each in enumerate(names):
        name = "abcdef"[i]
        write_image(path / f"{name}.nrrd", philox(i).normal(size=GRID).astype(np.float32))
        table(path / f"{name}.csv", points(i), each)
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises((ModelFileError, ValueError)) as caught:
        Cohort.load(path)
    one_line(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "order"),
    [
        (("w", "x", "y", "z"), ("z", "y", "x", "w"), [3, 2, 1, 0]),
        (("Wall top", "x", "y", "z"), (" wall  TOP ", "y", "x", "z"), [0, 2, 1, 3]),
        (("A", "a", "y", "z"), ("a", "A", "y", "z"), [1, 0, 2, 3]),
        (("0", "1", "2", "3"), ("3", "0", "1", "2"), [1, 2, 3, 0]),
        (("F-1", "F-2", "F-3", "F-4"), ("F-2", "F-1", "F-3", "F-4"), [1, 0, 2, 3]),
        (("epi", "epi", "endo", "endo"), ("epi", "epi", "endo", "endo"), [0, 1, 2, 3]),
        (None, None, [0, 1, 2, 3]),
        (None, ("0", "1", "2", "3"), [0, 1, 2, 3]),
        (("0", "1", "2", "3"), None, [0, 1, 2, 3]),
    ],
)
def test_names_that_match(
    tmp_path: Path, first: tuple[str, ...] | None, second: tuple[str, ...] | None, order: list[int]
) -> None:
    cohort = Cohort.load(folder(tmp_path, first, second, first))
    np.testing.assert_allclose(cohort.landmarks[0], points(0))
    np.testing.assert_allclose(cohort.landmarks[1], points(1)[order])
    np.testing.assert_allclose(cohort.landmarks[2], points(2))


@pytest.mark.parametrize("title", ["point", "Landmark Name", "landmarks", "structure", "Bezeichnung"])
def test_names_match_whatever_their_column_is_called(tmp_path: Path, title: str) -> None:
    folder(tmp_path, ("w", "x", "y", "z"), ("z", "y", "x", "w"))
    for name in "ab":
        text = (tmp_path / f"{name}.csv").read_text()
        (tmp_path / f"{name}.csv").write_text(text.replace("name", title if name == "a" else title.upper()))
    cohort = Cohort.load(tmp_path)
    np.testing.assert_allclose(cohort.landmarks, [points(0), points(1)[::-1]])


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (("w", "x", "y", "z"), ("w", "x", "y", "q"), ("landmark 'q' is in only one of the subjects 'c' and 'a'",)),
        (("w", "x", "y", "z"), ("k", "l", "m", "n"), ("landmark 'k' is in only one", "'c' and 'a'")),
        (("w", "x", "y", "z"), ("1", "2", "3", "4"), ("landmark '1' is in only one",)),
        (("w", "x", "y", "z"), ("0", "1", "2", "3"), ("landmark '0' is in only one",)),
        (("0", "1", "2", "3"), ("1", "2", "3", "4"), ("landmark '0' is in only one",)),
        (("w", "x", "y", "z"), ("w", "x", "x", "z"), ("c.csv has the landmark 'x' twice",)),
        (("w", "w", "y", "z"), ("w", "y", "w", "z"), ("a.csv has the landmark 'w' twice",)),
        (("A", "a", "y", "z"), ("a ", "A", "y", "z"), ("landmark 'a' is in only one",)),
        (("w", "x", "y", "z"), None, ("a.csv has names of landmarks, such as 'w', but", "c_landmarks.npy has none")),
        (None, ("1", "0", "2", "3"), ("c.csv has names of landmarks, such as '1', but", "a_landmarks.npy has none")),
    ],
)
def test_names_that_do_not_match_are_refused(
    tmp_path: Path, first: tuple[str, ...] | None, second: tuple[str, ...] | None, words: tuple[str, ...]
) -> None:
    refused(folder(tmp_path, first, first, second), *words)


def said(path: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="modelaug"):
        read_scans(path)
    return [record.getMessage() for record in caplog.records]


def test_sizes_that_no_file_gives_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abc":
        write_image(tmp_path / f"{name}.png", philox(1).integers(0, 255, GRID, dtype=np.uint8))
    (line,) = said(tmp_path, caplog)
    assert line.endswith(
        "a.png and 2 more do not say how large their pixels are: 1 mm is assumed, unless a cohort.toml has voxel_size"
    )
    (tmp_path / "cohort.toml").write_text("voxel_size = [1, 1]")
    assert said(tmp_path, caplog) == []
    (tmp_path / "cohort.toml").write_text('subjects = ["b"]')
    assert said(tmp_path, caplog)[0].endswith(
        "b.png does not say how large its pixels are: 1 mm is assumed, unless a cohort.toml has voxel_size"
    )
    (tmp_path / "cohort.toml").write_text("")
    for name in "abc":
        (tmp_path / f"{name}.png").unlink()
        write_image(tmp_path / f"{name}.nrrd", philox(1).normal(size=GRID).astype(np.float32))
    assert said(tmp_path, caplog) == []


def test_landmarks_in_mm_of_pictures_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_image(tmp_path / "a.png", philox(1).integers(0, 255, GRID, dtype=np.uint8))
    write_landmarks(tmp_path / "a.mrk.json", points(0), geometry=Geometry([1.0, 1.0]))
    for text in ("voxel_size = [0.5, 0.5]", "voxel_size = [2, 1]"):
        (tmp_path / "cohort.toml").write_text(text)
        (line,) = said(tmp_path, caplog)
        assert "a.png does not say where its voxels lie; landmarks in mm are counted" in line
        np.testing.assert_allclose(read_scans(tmp_path)[0].landmarks, points(0), atol=1e-9)


@pytest.mark.parametrize("ending", [".mrk.json", ".fcsv", ".csv"])
@pytest.mark.parametrize("image", [".nii.gz", ".nrrd", ".mha"])
def test_a_corrected_size_moves_no_landmark(tmp_path: Path, ending: str, image: str) -> None:
    stored = Geometry([3.0, 1.0, 0.8], [5.0, -7.0, 11.0])
    inside = philox(3).uniform(0, 4, size=(5, 3))
    write_image(tmp_path / f"a{image}", philox(2).normal(size=(5, 6, 7)).astype(np.float32), geometry=stored)
    write_landmarks(tmp_path / f"a{ending}", inside, geometry=stored)
    for text, spacing in (("", stored.spacing), ("voxel_size = [4.0, 0.5, 0.4]", [4.0, 0.5, 0.4])):
        (tmp_path / "cohort.toml").write_text(text)
        (scan,) = read_scans(tmp_path)
        np.testing.assert_allclose(scan.landmarks, inside, atol=1e-4)
        np.testing.assert_allclose(scan.geometry.spacing, spacing, rtol=1e-6)


def test_channels_are_never_planes(tmp_path: Path) -> None:
    colours = philox(0).integers(0, 255, size=(3, *GRID), dtype=np.uint8)
    labels = philox(1).integers(0, 3, size=GRID, dtype=np.uint8)
    write_image(tmp_path / "a.png", colours)
    write_image(tmp_path / "a_seg.nii.gz", labels[None], geometry=Geometry([5.0, 1.0, 1.0]))
    (scan,) = read_scans(tmp_path)
    assert scan.grid == GRID
    np.testing.assert_array_equal(scan.image, colours)
    np.testing.assert_array_equal(scan.labels, labels)
    (tmp_path / "cohort.toml").write_text("voxel_size = [3, 1, 1]\n[preparation]\nslice_at = 0\n")
    refused(tmp_path, "voxel_size is [3.0, 1.0, 1.0] but image of 'a' has 2 axes", "write 2 numbers")
    (tmp_path / "cohort.toml").write_text("[preparation]\nslice_at = 0\n")
    write_image(tmp_path / "a_seg.png", colours)
    (tmp_path / "a_seg.nii.gz").unlink()
    refused(tmp_path, "a_seg.png holds colours, not labels")
    (tmp_path / "a_seg.png").unlink()
    np.save(tmp_path / "a_seg.npy", colours)
    refused(tmp_path, "labels of 'a' have shape (3, 12, 14) but its image (12, 14)", "a_seg.npy")


def test_labels_of_several_channels_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nrrd", philox(0).normal(size=GRID).astype(np.float32))
    layers = philox(1).integers(0, 2, size=(2, *GRID), dtype=np.uint8)
    write_image(tmp_path / "a.seg.nrrd", layers, geometry=Geometry([1.0, 1.0]))
    refused(tmp_path, "a.seg.nrrd")


def segmentation(path: Path, labels: npt.NDArray[np.uint8], placed: Geometry, names: dict[str, int]) -> None:
    """Write a label map as 3D Slicer does, with its segments in the header."""
    import SimpleITK as sitk

    image: Any = sitk.GetImageFromArray(labels)
    image.SetSpacing(placed.spacing[::-1].tolist())
    image.SetOrigin(placed.origin.tolist())
    image.SetDirection(placed.direction.ravel().tolist())
    for k, (name, value) in enumerate(names.items()):
        for key, text in (("Name", name), ("LabelValue", str(value)), ("Layer", "0")):
            image.SetMetaData(f"Segment{k}_{key}", text)
    sitk.WriteImage(image, str(path))


def test_segmentations_of_slicer_that_are_cropped(tmp_path: Path) -> None:
    grid = (6, 7, 8)
    placed = Geometry([2.0, 1.5, 1.0], [3.0, 4.0, 5.0])
    labels = np.zeros(grid, np.uint8)
    labels[2:4, 1:5, 3:7] = philox(0).integers(1, 3, size=(2, 4, 4))
    write_image(tmp_path / "a.nrrd", philox(1).normal(size=grid).astype(np.float32), geometry=placed)

    def write(start: tuple[float, float, float]) -> None:
        origin = placed.to_space(np.array([start]))[0]
        segmentation(tmp_path / "a.seg.nrrd", labels[2:4, 1:5, 3:7], Geometry(placed.spacing, origin), {"w": 1, "c": 2})

    write((2, 1, 3))
    (scan,) = read_scans(tmp_path)
    np.testing.assert_array_equal(scan.labels, labels)
    assert scan.steps == ({"step": "labels", "start": [2, 1, 3], "shape": [2, 4, 4]},)
    write((2, 1, 6))
    refused(tmp_path, "a.seg.nrrd, reach beyond the image")
    write((2, 1.5, 3))
    refused(tmp_path, "labels of 'a' have shape (2, 4, 4)", "a.seg.nrrd")


def test_segments_mean_the_same_in_all_files(tmp_path: Path) -> None:
    placed = Geometry([1.0, 1.0, 1.0])
    for name, numbers in (("a", {"wall": 1, "cavity": 2}), ("b", {"wall": 1, "cavity": 2})):
        write_image(tmp_path / f"{name}.nrrd", philox(1).normal(size=(3, 4, 5)).astype(np.float32), geometry=placed)
        labels = philox(2).integers(0, 3, size=(3, 4, 5), dtype=np.uint8)
        segmentation(tmp_path / f"{name}.seg.nrrd", labels, placed, numbers)
    assert len(read_scans(tmp_path)) == 2
    segmentation(tmp_path / "b.seg.nrrd", labels, placed, {"cavity": 1, "wall": 2})
    refused(tmp_path, "b.seg.nrrd calls segment 'cavity' 1 but", "a.seg.nrrd calls it 2")


def test_history_is_read_as_any_json(tmp_path: Path) -> None:
    folder(tmp_path, None)
    (tmp_path / "cohort.toml").write_text('history = "h.json"')
    for content, word in (("[" * 10**5, "cannot be read as JSON"), (json.dumps({"a": 1}), "is no history")):
        (tmp_path / "h.json").write_text(content)
        refused(tmp_path, "h.json", word)
    (tmp_path / "h.json").unlink()
    (tmp_path / "h.json").symlink_to("/dev/zero")
    refused(tmp_path, "h.json", "a device or a pipe")
