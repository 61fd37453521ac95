"""Scans brought to one orientation: whole turns and flips, whatever the patient's own."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelaug import Cohort, ModelFileError
from modelaug.data.orientation import turn_onto
from modelaug.data.preparation import reorient
from modelaug.data.scans import Scan, check_common_grid, cohort_from_scans
from modelaug.io import Geometry, read_scans, write_image, write_landmarks
from tests.examples import one_line, philox, rotation

Array = npt.NDArray[Any]


def stored(array: Array, geometry: Geometry, order: tuple[int, ...], flips: tuple[int, ...]) -> tuple[Array, Geometry]:
    """Return the same voxels in the same places, in another order: the slow way, by ITK's own arithmetic."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing[::-1].tolist())
    image.SetOrigin(geometry.origin.tolist())
    image.SetDirection(geometry.direction.ravel().tolist())
    d = array.ndim
    image = sitk.PermuteAxes(image, [d - 1 - axis for axis in order[::-1]])
    for axis in flips:
        sizes = list(image.GetSize())
        index = d - 1 - axis
        picks = [slice(None)] * d
        picks[index] = slice(None, None, -1)
        assert sizes[index] > 0
        image = image[tuple(picks)]
    return sitk.GetArrayFromImage(image), Geometry(
        image.GetSpacing()[::-1], image.GetOrigin(), np.reshape(image.GetDirection(), (d, d))
    )


@given(
    d=st.sampled_from([2, 3]),
    seed=st.integers(0, 2**20),
    order=st.integers(0, 5),
    flips=st.sets(st.integers(0, 2)),
    askew=st.floats(0, 25),
)
def test_what_was_stored_otherwise_comes_back(d: int, seed: int, order: int, flips: set[int], askew: float) -> None:
    rng = philox(seed)
    grid = (4, 5, 6)[:d]
    geometry = Geometry(rng.uniform(0.5, 2, d), rng.normal(size=d) * 30, rotation(rng, d))
    array = rng.normal(size=grid).astype(np.float32)
    orders = list(itertools.permutations(range(d)))
    other, placed = stored(array, geometry, orders[order % len(orders)], tuple(k for k in flips if k < d))
    points = geometry.to_space(rng.uniform(0, 3, (3, d)))
    scan = Scan("a", other, geometry=placed, labels=(other > 0).astype(np.uint8), landmarks=placed.to_voxels(points))
    # The one to compare with lies a little askew, as patients do.
    turn = rotation(rng, d, np.radians(askew))
    there = turn_onto(placed, geometry, other.shape)
    np.testing.assert_array_equal(there.inverse().array(array), other)
    back = there.inverse().geometry(geometry, array.shape)
    np.testing.assert_allclose(back.to_space(np.eye(d)), placed.to_space(np.eye(d)), atol=1e-6)
    result = reorient(scan, turn_onto(placed, Geometry(geometry.spacing, None, turn @ geometry.direction), other.shape))
    np.testing.assert_array_equal(result.image[0], array)
    np.testing.assert_array_equal(result.labels, array > 0)
    assert result.landmarks is not None
    np.testing.assert_allclose(result.landmarks, geometry.to_voxels(points), atol=1e-6)
    np.testing.assert_allclose(result.geometry.spacing, geometry.spacing, rtol=1e-9)
    np.testing.assert_allclose(result.geometry.origin, geometry.origin, atol=1e-6)
    np.testing.assert_allclose(result.geometry.direction, geometry.direction, atol=1e-9)


def test_what_lies_alike_is_not_touched() -> None:
    geometry = Geometry([1.0, 2.0, 3.0], None, rotation(philox(1), 3))
    scan = Scan("a", np.zeros((2, 3, 4)) + np.arange(4), geometry=geometry)
    assert reorient(scan, turn_onto(geometry, geometry, scan.grid)) is scan


def folder(path: Path, odd: tuple[tuple[int, ...], tuple[int, ...]], grid: tuple[int, ...], ending: str) -> Path:
    """Write five subjects with labels and landmarks in mm, the third one stored in another order."""
    path.mkdir()
    for i in range(5):
        rng = philox(i)
        d = len(grid)
        tilt = rotation(rng, d, 0.15)
        geometry = Geometry([2.0, 1.5, 1.0][-d:], rng.normal(size=d) * 20, tilt)
        image = rng.normal(size=grid).astype(np.float32)
        labels = (image > 0).astype(np.uint8)
        points = rng.uniform(0, np.array(grid) - 1, (4, d))
        positions = geometry.to_space(points)
        for name, array in ((f"p{i}", image), (f"p{i}_seg", labels)):
            kept, placed = stored(array, geometry, *odd) if i == 2 else (array, geometry)
            write_image(path / f"{name}{ending}", kept, geometry=placed)
        space = Geometry(np.ones(d))
        write_landmarks(path / f"p{i}.mrk.json", space.to_voxels(positions), geometry=space)
    return path


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("grid", "odd"),
    [
        ((6, 7, 8), ((0, 1, 2), (2,))),
        ((6, 7, 8), ((0, 1, 2), (0, 1, 2))),
        ((6, 7, 8), ((2, 0, 1), (1,))),
        ((1, 7, 8), ((0, 1, 2), (1,))),
        ((1, 7, 8), ((0, 2, 1), ())),
        ((1, 7, 8), ((1, 2, 0), (0,))),
        ((7, 8), ((1, 0), (0,))),
        ((7, 8), ((0, 1), (1,))),
    ],
)
def test_subjects_are_brought_to_one_orientation(
    tmp_path: Path,
    grid: tuple[int, ...],
    odd: tuple[tuple[int, ...], tuple[int, ...]],
    ending: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = Cohort.load(folder(tmp_path / "plain", (tuple(range(len(grid))), ()), grid, ending))
    with caplog.at_level(logging.INFO, logger="modelaug"):
        mixed = Cohort.load(folder(tmp_path / "mixed", odd, grid, ending))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "turned to the orientation of 'p0': 'p2' (" in line
    np.testing.assert_array_equal(mixed.images, plain.images)
    np.testing.assert_array_equal(mixed.labels, plain.labels)
    np.testing.assert_allclose(mixed.landmarks, plain.landmarks, atol=1e-4)
    steps = [[step["step"] for step in each.preparation.get("p2", ())] for each in (mixed, plain)]
    assert steps[0] == ["orientation", *steps[1]]


def test_a_slice_is_taken_along_the_same_axis_of_all(tmp_path: Path) -> None:
    for name, odd in (("plain", ((0, 1, 2), ())), ("mixed", ((1, 2, 0), (1,)))):
        folder(tmp_path / name, odd, (6, 7, 8), ".nrrd")
        for path in (tmp_path / name).glob("*.mrk.json"):
            path.unlink()
        (tmp_path / name / "cohort.toml").write_text("[preparation]\nslice_axis = 0\nslice_at = 1\n")
    for one, other in zip(read_scans(tmp_path / "plain"), read_scans(tmp_path / "mixed"), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_labels_may_be_stored_otherwise_than_their_image(tmp_path: Path) -> None:
    rng = philox(4)
    geometry = Geometry([2.0, 1.0, 0.5], [1.0, 2.0, 3.0])
    labels = rng.integers(0, 4, (4, 5, 6)).astype(np.uint8)
    write_image(tmp_path / "a.nrrd", rng.normal(size=(4, 5, 6)).astype(np.float32), geometry=geometry)
    kept, placed = stored(labels, geometry, (2, 0, 1), (0, 2))
    write_image(tmp_path / "a_seg.nrrd", kept, geometry=placed)
    (scan,) = read_scans(tmp_path)
    np.testing.assert_array_equal(scan.labels, labels)
    assert scan.steps[0]["step"] == "labels"


def turn_about_z(degrees: float) -> Array:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def two(path: Path, direction: Array, grid: tuple[int, ...] = (3, 4, 5)) -> Path:
    for name, axes in (("a", np.eye(3)), ("b", direction)):
        array = philox(ord(name)).normal(size=grid).astype(np.float32)
        write_image(path / f"{name}.nrrd", array, geometry=Geometry(np.ones(3), None, axes))
    return path


def test_patients_that_lie_differently_are_taken_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="modelaug"):
        scans = read_scans(two(tmp_path, turn_about_z(25)))
        assert caplog.records == []
        assert scans[1].steps == ()
        scans = read_scans(two(tmp_path, turn_about_z(45)))
        assert scans[1].steps == ()
    assert "though askew to 'a': 'b'" in caplog.records[0].getMessage()


def test_a_mirror_image_that_lies_askew_is_refused(tmp_path: Path) -> None:
    two(tmp_path, turn_about_z(45) @ np.diag([1, -1, 1]))
    with pytest.raises(
        ModelFileError, match=r"b\.nrrd is stored as a mirror image of .*a\.nrrd and lies askew"
    ) as caught:
        read_scans(tmp_path)
    one_line(caught.value)


def test_planes_that_are_cut_otherwise(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    with caplog.at_level(logging.INFO, logger="modelaug"):
        scans = read_scans(two(tmp_path, upright, (1, 4, 5)))
    assert scans[1].grid == (4, 5)
    assert "askew to 'a': 'b'" in caplog.records[0].getMessage()
    write_image(tmp_path / "b.nrrd", philox(1).normal(size=(4, 5, 1)).astype(np.float32))
    with pytest.raises(ValueError, match=r"'b', .*b\.nrrd, is a plane across axis 2 but that of 'a' across axis 0"):
        read_scans(tmp_path)


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("sizes", [None, "[0.5, 0.25]"])
def test_a_single_plane_across_any_axis(tmp_path: Path, k: int, sizes: str | None) -> None:
    """Sagittal planes of NIfTI, (1, y, z), are arrays (z, y, 1)."""
    nibabel = pytest.importorskip("nibabel")
    grid = tuple(np.insert([6, 7], k, 1).tolist())
    image = philox(0).normal(size=grid).astype(np.float32)
    labels = (image > 0).astype(np.uint8)
    spacing = np.array([3.0, 2.0, 1.5])
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = [10, 20, 30]
    for name, array in (("a", image), ("a_seg", labels)):
        nibabel.save(nibabel.Nifti1Image(array.T, affine), tmp_path / f"{name}.nii.gz")
    points = np.array([[1.0, 2.0], [4.5, 5.25]])
    whole = np.insert(points, k, 0.0, axis=1)
    positions = (affine[:3, :3] @ whole[:, ::-1].T).T + affine[:3, 3]
    files = {
        "space": lambda path: write_landmarks(
            path.with_suffix(".mrk.json"), (positions * [-1, -1, 1])[:, ::-1], geometry=Geometry(np.ones(3))
        ),
        "volume": lambda path: write_landmarks(path.with_suffix(".csv"), whole),
        "plane": lambda path: write_landmarks(path.with_suffix(".csv"), points),
    }
    if sizes is not None:
        (tmp_path / "cohort.toml").write_text(f"voxel_size = {sizes}\n")
    for write in files.values():
        write(tmp_path / "a")
        (scan,) = read_scans(tmp_path)
        np.testing.assert_array_equal(scan.image[0], image.squeeze())
        np.testing.assert_array_equal(scan.labels, labels.squeeze())
        assert scan.landmarks is not None
        np.testing.assert_allclose(scan.landmarks, points, atol=1e-5)
        np.testing.assert_allclose(scan.geometry.spacing, [0.5, 0.25] if sizes else np.delete(spacing, k))
        assert scan.steps[-1] == {"step": "slice", "axis": k, "index": 0, "of": 1}
        for path in (*tmp_path.glob("*.csv"), *tmp_path.glob("*.mrk.json")):
            path.unlink()


def test_volumes_by_hand_are_checked() -> None:
    array = philox(0).normal(size=(3, 4, 5)).astype(np.float32)
    points = np.array([[1.0, 1, 1], [2, 2, 2]])
    one = Scan("one", array, geometry=Geometry(np.ones(3)), landmarks=points)
    mirrored = Scan("two", array, geometry=Geometry(np.ones(3), None, np.diag([-1.0, 1, 1])), landmarks=points)
    askew = Scan(
        "two", array, geometry=Geometry(np.ones(3), None, turn_about_z(45) @ np.diag([-1, 1, 1])), landmarks=points
    )
    for other, words in ((mirrored, "axis 2 reversed"), (askew, "as its mirror image")):
        with pytest.raises(ValueError, match=f"'two' is stored in another orientation than that of 'one': {words}"):
            cohort_from_scans([one, other])
    alike = reorient(mirrored, turn_onto(mirrored.geometry, one.geometry, mirrored.grid))
    check_common_grid(alike, one)
    assert alike.landmarks is not None
    np.testing.assert_array_equal(alike.landmarks, points * [1, 1, -1] + [0, 0, 4])
