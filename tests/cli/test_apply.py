"""``modelaug apply``: the same as what ``modelaug register`` moves along, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("safetensors")
pytest.importorskip("SimpleITK")

from modelaug import warp
from modelaug.io import Geometry, read_field, read_image, read_landmarks, write_field, write_image, write_landmarks
from modelaug.io.images import read_labels
from tests.cli.test_cli import fails, modelaug, succeeds
from tests.cli.test_register import FAST, TURN, Case, a_network, blobs, case

__all__ = ["case"]

FIELDS = (".npz", ".mha", ".nii.gz", ".nrrd")


class TestSameAsRegister:
    @pytest.mark.parametrize("ending", FIELDS)
    def test_images_labels_and_points(self, case: Case, tmp_path: Path, ending: str) -> None:
        field, seg = tmp_path / f"u{ending}", case.folder / "moving_seg.nii.gz"
        moving = case.files[1]
        case.register(
            "-o", field, "--warped", tmp_path / "w.mha", "--labels", seg, "--points", case.folder / "points.csv"
        )
        text = succeeds("apply", field, "--image", moving, "-o", tmp_path / "again.mha", "--threads", "1")
        assert text.splitlines() == [f"{tmp_path / 'again.mha'}: {moving}, moved by {field}"]
        (found, placed), (expected, known) = (read_image(tmp_path / name) for name in ("again.mha", "w.mha"))
        # Of a linear image the error is that of the field, some 1e-4 voxels, times the contrast.
        np.testing.assert_allclose(found, expected, atol=0.01)
        assert placed is not None
        assert known is not None
        for name in ("spacing", "origin", "direction"):
            np.testing.assert_allclose(getattr(placed, name), getattr(known, name), atol=1e-4)
        succeeds("apply", field, "--labels", seg, "-o", tmp_path / "seg.nii.gz")
        ending_of_labels = ".nii.gz" if ending == ".npz" else ending
        (again, _), (labels, _) = (
            read_labels(tmp_path / name) for name in ("seg.nii.gz", f"u_labels{ending_of_labels}")
        )
        assert again.dtype == labels.dtype == np.uint16
        assert (again == labels).mean() > 0.998  # where a voxel lies just halfway, rounding decides
        extra = () if ending == ".npz" else ("--moving-geometry-of", moving)
        succeeds("apply", field, "--points", case.folder / "points.csv", "-o", tmp_path / "p.csv", *extra)
        np.testing.assert_allclose(
            read_landmarks(tmp_path / "p.csv"), read_landmarks(tmp_path / "u_points.csv"), atol=1e-3
        )
        assert (tmp_path / "p.csv").read_text().splitlines()[1].startswith("p0,")

    @pytest.mark.parametrize("ending", [".npz", ".mha"])
    def test_points_in_mm(self, case: Case, tmp_path: Path, ending: str) -> None:
        points = case.folder / "points.mrk.json"
        field = tmp_path / f"u{ending}"
        case.register("-o", field, "--points", points)
        extra = ("--moving-geometry-of", case.files[1]) if ending == ".npz" else ()
        succeeds("apply", field, "--points", points, "-o", tmp_path / "p.mrk.json", *extra)
        space = Geometry(np.ones(3))
        found, expected = (
            read_landmarks(tmp_path / name, geometry=space) for name in ("p.mrk.json", "u_points.mrk.json")
        )
        np.testing.assert_allclose(found, expected, atol=1e-3)

    def test_flo_and_pictures(self, tmp_path: Path) -> None:
        pytest.importorskip("PIL")
        net = a_network(tmp_path / "net", (24, 24), None)
        for i, name in enumerate(("fixed", "moving")):
            write_image(tmp_path / f"{name}.png", blobs((30, 28), i), window=(0, 100))
        common = ("register", tmp_path / "fixed.png", tmp_path / "moving.png", "--network", net, *FAST)
        for ending in (".flo", ".npz", ".nii.gz"):
            succeeds(*common, "-o", tmp_path / f"u{ending}", "--warped", tmp_path / "w.png")
            succeeds("apply", tmp_path / f"u{ending}", "--image", tmp_path / "moving.png", "-o", tmp_path / "v.png")
            found, expected = (read_image(tmp_path / f"{name}.png")[0] for name in "vw")
            assert np.abs(found - expected).max() <= (1 if ending == ".nii.gz" else 0)

    @pytest.mark.parametrize(("ending", "origin"), [*itertools.product((".mha", ".nii.gz", ".npz"), (0.0, 16.0))])
    def test_volumes_of_one_plane(self, tmp_path: Path, ending: str, origin: float) -> None:
        net = a_network(tmp_path / "net", (28, 30), None)
        # The second origin is two planes away across the slice.
        across = np.array(TURN[3]) @ np.array([4.0, 2.0, origin])
        for name, corner, seed in (("fixed", np.zeros(3), 1), ("moving", across, 2)):
            placed = Geometry([8.0, 2.0, 3.0], np.array([5.0, 6.0, 7.0]) + corner, TURN[3])
            image = blobs((28, 30), seed)[None]
            write_image(tmp_path / f"{name}.nii.gz", image, geometry=placed)
            write_image(tmp_path / f"{name}_seg.nii.gz", (image > 55).astype(np.uint8), geometry=placed)
        flat = np.array([[3.0, 4.0], [20.5, 20.0]])
        write_landmarks(tmp_path / "flat.csv", flat)
        write_landmarks(
            tmp_path / "space.mrk.json",
            np.column_stack([np.zeros(2), flat]),
            geometry=read_image(tmp_path / "fixed.nii.gz")[1],
        )
        field, moving = tmp_path / f"u{ending}", tmp_path / "moving.nii.gz"
        common = ("register", tmp_path / "fixed.nii.gz", moving, "--network", net, *FAST, "-o", field)
        succeeds(*common, "--warped", tmp_path / "w.mha", "--labels", tmp_path / "moving_seg.nii.gz")
        succeeds("apply", field, "--image", moving, "-o", tmp_path / "v.mha")
        found, expected = (np.squeeze(read_image(tmp_path / f"{name}.mha")[0]) for name in "vw")
        np.testing.assert_allclose(found, expected, atol=0.01)
        succeeds("apply", field, "--labels", tmp_path / "moving_seg.nii.gz", "-o", tmp_path / "seg.mha")
        moved = tmp_path / f"u_labels{'.nii.gz' if ending == '.npz' else ending}"
        pair = [np.squeeze(read_labels(each)[0]) for each in (tmp_path / "seg.mha", moved)]
        assert (pair[0] == pair[1]).mean() > 0.998
        for points in ("flat.csv", "space.mrk.json") if ending != ".npz" else ("flat.csv",):
            succeeds(*common, "--points", tmp_path / points)
            kind = points.partition(".")[2]
            extra = ("--moving-geometry-of", moving) if points == "flat.csv" else ()
            succeeds("apply", field, "--points", tmp_path / points, "-o", tmp_path / f"p.{kind}", *extra)
            led, known = (
                read_landmarks(tmp_path / f"{name}.{kind}", geometry=Geometry(np.ones(3))) for name in ("p", "u_points")
            )
            assert led.shape == known.shape
            np.testing.assert_allclose(led, known, atol=2e-3)


def test_cubic_interpolation(tmp_path: Path) -> None:
    image, field = blobs((20, 22), 1), np.full((2, 20, 22), 0.4, np.float32)
    np.save(tmp_path / "moving.npy", image)
    write_field(tmp_path / "u.npz", field)
    for order in (1, 3):
        succeeds(
            *("apply", tmp_path / "u.npz", "--image", tmp_path / "moving.npy", "-o", tmp_path / "w.npy"),
            *("--order", str(order)),
        )
        np.testing.assert_array_equal(np.load(tmp_path / "w.npy"), warp(image, field, order=order))


def test_colour(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    image = (2 * np.stack([blobs((20, 22), k) for k in range(3)])).clip(0, 255).astype(np.uint8)
    write_image(tmp_path / "moving.png", image)
    field = np.full((2, 20, 22), 1.4, np.float32)
    write_field(tmp_path / "u.flo", field)
    succeeds("apply", tmp_path / "u.flo", "--image", tmp_path / "moving.png", "-o", tmp_path / "w.png")
    np.testing.assert_array_equal(read_image(tmp_path / "w.png")[0], np.rint(warp(image, field)))


@pytest.mark.parametrize("colour", [False, True])
def test_pictures_of_16_bits_keep_them(tmp_path: Path, colour: bool) -> None:
    pytest.importorskip("imagecodecs")
    channels = np.stack([300 * blobs((20, 22), k) + 1000 for k in range(3 if colour else 1)])
    image = channels.clip(0, 65535).astype(np.uint16)
    write_image(tmp_path / "moving.png", image)
    field = np.full((2, 20, 22), 1.4, np.float32)
    write_field(tmp_path / "u.npz", field)
    succeeds("apply", tmp_path / "u.npz", "--image", tmp_path / "moving.png", "-o", tmp_path / "w.png")
    found = read_image(tmp_path / "w.png")[0]
    assert found.max() > 255
    np.testing.assert_array_equal(found, np.rint(warp(image if colour else image[0], field)))
    text = fails("apply", tmp_path / "u.npz", "--image", tmp_path / "moving.png", "-o", tmp_path / "w.jpg")
    assert "in 8 bits; pass a name that ends in .png" in text


def test_intensities_that_a_picture_cannot_hold_are_scaled_which_is_said(tmp_path: Path) -> None:
    image = blobs((20, 22), 1) - 20.5
    np.save(tmp_path / "moving.npy", image)
    field = np.zeros((2, 20, 22), np.float32)
    write_field(tmp_path / "u.npz", field)
    result = modelaug("apply", tmp_path / "u.npz", "--image", tmp_path / "moving.npy", "-o", tmp_path / "w.png")
    assert f"w.png: intensities from {image.min():g} to {image.max():g} became 0 to 255\n" in result.stderr
    scaled = 255 * (image - image.min()) / np.ptp(image)
    np.testing.assert_allclose(read_image(tmp_path / "w.png")[0], scaled, atol=0.51)


class TestRefused:
    BAD: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("0 of --image, --labels, --points are given", ("u.npz", "-o", "w.npy")),
        ("2 of --image", ("u.npz", "--image", "moving.npy", "--labels", "seg.npy", "-o", "w.npy")),
        ("--order is 2", ("u.npz", "--image", "moving.npy", "--order", "2", "-o", "w.npy")),
        ("--order is 1", ("u.npz", "--labels", "seg.npy", "--order", "1", "-o", "w.npy")),
        ("w.txt is to hold the result", ("u.npz", "--image", "moving.npy", "-o", "w.txt")),
        ("w.jpg is to hold the result", ("u.npz", "--labels", "seg.npy", "-o", "w.jpg")),
        ("w.npz is to hold the result", ("u.npz", "--points", "p.csv", "-o", "w.npz")),
        ("to be read, too", ("u.npz", "--image", "moving.npy", "-o", "moving.npy")),
        ("absent.npz does not exist", ("absent.npz", "--image", "moving.npy", "-o", "w.npy")),
        ("no known format of fields", ("p.csv", "--image", "moving.npy", "-o", "w.npy")),
        ("pass a displacement field", ("seg.nii.gz", "--image", "moving.npy", "-o", "w.npy")),
        ("small.npy has shape (8, 9)", ("u.npz", "--image", "small.npy", "-o", "w.npy")),
        ("small.npy has shape (8, 9)", ("u.flo", "--labels", "small.npy", "-o", "w.npy")),
        ("takes a plane", ("u.npz", "--image", "volume.nii.gz", "-o", "w.npy")),
        ("takes a volume", ("v.mha", "--image", "plane.nii.gz", "-o", "w.npy")),
        ("takes a volume", ("v.mha", "--image", "moving.npy", "-o", "w.npy")),
        ("leads nowhere into plane.nii.gz", ("far.mha", "--image", "plane.nii.gz", "-o", "w.npy")),
        ("holds no labels", ("u.npz", "--labels", "moving.npy", "-o", "w.npy")),
        ("pass labels without channels", ("u.npz", "--labels", "channels.npy", "-o", "w.npy")),
        ("cannot hold the labels from 0 to 900", ("u.npz", "--labels", "seg.npy", "-o", "w.png")),
        ("says where voxels lie but u.flo does not", ("u.flo", "--image", "moving.npy", "-o", "w.mha")),
        ("w.mrk.json is in mm but u.npz in voxels", ("u.npz", "--points", "p.csv", "-o", "w.mrk.json")),
        ("w.csv is in voxels but far.mha in mm", ("far.mha", "--points", "p.csv", "-o", "w.csv")),
        ("p.mrk.json is in mm, but u.flo", ("u.flo", "--points", "p.mrk.json", "-o", "w.csv")),
        ("3 coordinates per point", ("u.npz", "--points", "p3.csv", "-o", "w.csv")),
        (
            "moving.npy does not say where",
            ("far.mha", "--points", "p.csv", "-o", "w.csv", "--moving-geometry-of", "moving.npy"),
        ),
        (
            "without --points",
            ("u.npz", "--image", "moving.npy", "-o", "w.npy", "--moving-geometry-of", "plane.nii.gz"),
        ),
    )

    @pytest.fixture
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        still = np.zeros((2, 20, 22))
        for name in ("u.npz", "u.flo"):
            write_field(name, still)
        write_field("v.mha", np.zeros((3, 5, 6, 7)))
        write_field("far.mha", still + 300)
        np.save("moving.npy", blobs((20, 22), 1))
        np.save("small.npy", np.arange(72).reshape(8, 9))
        np.save("seg.npy", np.arange(440).reshape(20, 22) % 10 * 100)
        np.save("channels.npy", np.ones((1, 20, 22), int))
        write_image("seg.nii.gz", np.ones((20, 22), np.uint8))
        write_image("volume.nii.gz", blobs((5, 6, 7), 1), geometry=Geometry(np.ones(3)))
        write_image("plane.nii.gz", blobs((20, 22), 1), geometry=Geometry(np.ones(2)))
        write_landmarks("p.csv", np.ones((2, 2)))
        write_landmarks("p3.csv", np.ones((2, 3)))
        write_landmarks("p.mrk.json", np.ones((2, 2)), geometry=Geometry(np.ones(2)))
        return tmp_path

    @pytest.mark.parametrize(("message", "arguments"), BAD, ids=[f"{k} {bad[0]}" for k, bad in enumerate(BAD)])
    def test_in_one_line(self, here: Path, message: str, arguments: tuple[str, ...]) -> None:
        before = {path: path.stat().st_mtime_ns for path in here.iterdir()}
        assert message in fails("apply", *arguments)
        assert {path: path.stat().st_mtime_ns for path in here.iterdir()} == before

    def test_help_says_which_way(self) -> None:
        text = " ".join(succeeds("apply", "--help").replace("│", " ").split())
        assert "Points of the fixed image to lead to the moving one" in text
        assert "--threads" in text


def test_a_field_of_another_program(tmp_path: Path) -> None:
    """A field in mm that was made for another grid than that of the moving image is honoured in space."""
    geometry = Geometry([2.0, 2.0], [1.0, 2.0])
    write_field(tmp_path / "u.mha", np.zeros((2, 12, 12)), geometry=geometry)
    fine = Geometry([1.0, 1.0], [1.0, 2.0])
    rows, columns = np.indices((24, 24), dtype=np.float32)
    write_image(tmp_path / "moving.mha", 3 * rows + columns, geometry=fine)
    succeeds("apply", tmp_path / "u.mha", "--image", tmp_path / "moving.mha", "-o", tmp_path / "w.mha")
    coarse, placed = read_image(tmp_path / "w.mha")
    np.testing.assert_allclose(coarse, (3 * rows + columns)[::2, ::2], atol=1e-3)
    assert placed is not None
    np.testing.assert_allclose(placed.spacing, [2.0, 2.0])
    assert read_field(tmp_path / "u.mha")[0].shape == (2, 12, 12)
