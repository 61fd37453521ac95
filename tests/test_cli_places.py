"""``modelaug register`` and ``apply`` where only one of the files says where its voxels lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("lightning")
pytest.importorskip("SimpleITK")
pytest.importorskip("PIL")

from modelaug import warp
from modelaug.io import Geometry, read_field, read_image, write_image
from tests.test_cli import modelaug, succeeds
from tests.test_cli_register import FAST, a_network, blobs

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
