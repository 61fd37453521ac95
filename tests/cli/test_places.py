"""``modelaug register`` and ``apply`` where only one of the files says where its voxels lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("safetensors")
pytest.importorskip("SimpleITK")
pytest.importorskip("PIL")

from modelaug import warp
from modelaug.io import Geometry, read_field, read_image, read_landmarks, write_image, write_landmarks
from tests.cli.test_cli import modelaug, succeeds
from tests.cli.test_register import FAST, a_network, blobs
from tests.io.dicoms import AXIAL, write_dicom

PLACED = Geometry([2.0, 0.5], [30.0, -4.0], [[0.0, 1.0], [-1.0, 0.0]])


def images(folder: Path, fixed: str, moving: str) -> tuple[Path, Path]:
    paths = (folder / f"fixed{fixed}", folder / f"moving{moving}")
    for k, path in enumerate(paths):
        pixels = np.rint(blobs((30, 28), k).clip(0, 200)).astype(np.uint8)
        write_image(path, pixels, geometry=None if path.suffix == ".png" else PLACED)
    return paths


@pytest.mark.parametrize(("fixed", "moving"), [(".png", ".mha"), (".mha", ".png")])
def test_the_other_lies_in_the_same_place_which_is_said(tmp_path: Path, fixed: str, moving: str) -> None:
    net = a_network(tmp_path / "net", (30, 28), None)
    files = images(tmp_path, fixed, moving)
    known, other = sorted(files, key=lambda path: path.suffix)
    said = f"{other} does not say where its voxels lie; they are taken to lie where those of"
    for ending in (".mha", ".npz"):
        field, warped = tmp_path / f"u{ending}", tmp_path / "w.mha"
        result = modelaug("register", *files, "--network", net, *FAST, "-o", field, "--warped", warped)
        assert result.exit_code == 0
        assert f"{said} {known} do\n" in result.stderr
        displacement, geometry = read_field(field)
        expected = warp(read_image(files[1])[0], displacement)
        found, placed = read_image(warped)
        np.testing.assert_allclose(found, expected, atol=0.02)
        for each in (geometry, placed):
            assert each is not None
            np.testing.assert_allclose(each.matrix, PLACED.matrix, atol=1e-5)
            np.testing.assert_allclose(each.origin, PLACED.origin, atol=1e-5)
        # As register did: also into the file that says where it lies, and the other one.
        again = modelaug("apply", field, "--image", files[1], "-o", tmp_path / "again.mha")
        assert again.exit_code == 0
        np.testing.assert_allclose(read_image(tmp_path / "again.mha")[0], expected, atol=0.02)
        assert (f"{said} {field} do\n" in again.stderr) == (ending == ".mha" and moving == ".png")


def test_nothing_is_said_of_pictures_alone(tmp_path: Path) -> None:
    net = a_network(tmp_path / "net", (30, 28), None)
    files = images(tmp_path, ".png", ".png")
    result = modelaug("register", *files, "--network", net, *FAST, "-o", tmp_path / "u.mha")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "moved by" in succeeds("apply", tmp_path / "u.mha", "--image", files[1], "-o", tmp_path / "w.png")
    assert modelaug("apply", tmp_path / "u.mha", "--image", files[1], "-o", tmp_path / "w.png").stderr == ""


CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.0, 0.6, 0.8, 1.0, 0.0, 0.0)


def upright(folder: Path, orientation: tuple[float, ...]) -> dict[str, tuple[Path, Path]]:
    """Write two slices that do not lie across z, 3 mm apart along their rows, as DICOM and as volumes of one plane."""
    pytest.importorskip("pydicom")
    axes = np.array(orientation).reshape(2, 3)
    direction = np.stack([*axes, np.cross(*axes)], axis=1)
    paths: dict[str, tuple[Path, Path]] = {}
    for ending in (".dcm", ".mha"):
        paths[ending] = (folder / f"fixed{ending}", folder / f"moving{ending}")
        for k, path in enumerate(paths[ending]):
            pixels = np.rint(blobs((30, 28), k).clip(0, 200)).astype(np.uint16)
            origin = np.array([10.0, 20.0, 30.0]) + 3.0 * k * axes[0]
            if ending == ".dcm":
                write_dicom(
                    path, pixels, ImagePositionPatient=origin.tolist(), ImageOrientationPatient=list(orientation)
                )
            else:
                write_image(path, pixels[None], geometry=Geometry([1.0, 2.0, 0.5], origin, direction))
    return paths


@pytest.mark.parametrize("orientation", [CORONAL, OBLIQUE, AXIAL], ids=["coronal", "oblique", "axial"])
def test_landmarks_on_a_slice_of_dicom_lie_where_it_does(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    (fixed, _), _ = upright(tmp_path, orientation).values()
    points = np.array([[2.0, 3.0], [5.5, 20.25], [29.0, 0.0]])
    write_landmarks(tmp_path / "p.csv", points)
    succeeds("convert", tmp_path / "p.csv", "-o", tmp_path / "p.mrk.json", "--geometry-of", fixed)
    along, down = np.array(orientation).reshape(2, 3)
    expected = np.array([10.0, 20.0, 30.0]) + points[:, :1] * 2.0 * down + points[:, 1:] * 0.5 * along
    np.testing.assert_allclose(
        read_landmarks(tmp_path / "p.mrk.json", geometry=Geometry(np.ones(3)))[:, ::-1], expected
    )
    succeeds("convert", tmp_path / "p.mrk.json", "-o", tmp_path / "back.csv", "--geometry-of", fixed)
    np.testing.assert_allclose(read_landmarks(tmp_path / "back.csv"), np.insert(points, 0, 0, axis=1), atol=1e-9)


@pytest.mark.parametrize("orientation", [CORONAL, OBLIQUE, AXIAL], ids=["coronal", "oblique", "axial"])
def test_slices_of_dicom_are_registered_where_they_lie(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    net = a_network(tmp_path / "net", (30, 28), None)
    files = upright(tmp_path, orientation)
    results = {}
    for ending, (fixed, moving) in files.items():
        out = (tmp_path / f"u{ending}.mha", tmp_path / f"w{ending}.mha")
        succeeds("register", fixed, moving, "--network", net, *FAST, "-o", out[0], "--warped", out[1])
        succeeds("apply", out[0], "--image", moving, "-o", tmp_path / "again.mha")
        results[ending] = [read_field(out[0]), read_image(out[1]), read_image(tmp_path / "again.mha")]
    for (found, place), (expected, wanted) in zip(results[".dcm"], results[".mha"], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert place is not None
        assert wanted is not None
        np.testing.assert_allclose(place.origin, wanted.origin, atol=1e-6)
        np.testing.assert_allclose(place.matrix[:, :2], wanted.matrix[:, :2], atol=1e-6)
