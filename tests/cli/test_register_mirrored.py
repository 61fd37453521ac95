"""``modelaug register`` of planes that are stored in other orders of axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("safetensors")
pytest.importorskip("SimpleITK")

from modelaug.io import Geometry, read_image, write_image
from tests.cli.test_cli import fails, succeeds
from tests.cli.test_register import FAST, a_network, blobs

GRID = (34, 38)


@pytest.mark.parametrize("degrees", [0, 16])
def test_planes_that_are_stored_mirrored_are_laid_on_each_other_as_they_lie(tmp_path: Path, degrees: float) -> None:
    """One is stored mirrored and on its side, as its header says; of two patients, cut at an angle, too."""
    image = blobs(GRID, 1)
    write_image(tmp_path / "fixed.nii.gz", image[None], geometry=Geometry([8.0, 2.0, 3.0]))
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    tilt = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    # The array's last axis runs along -y of the fixed image, the one before along -x.
    direction = tilt @ np.array([[0, -1.0, 0], [-1.0, 0, 0], [0, 0, 1.0]])
    corner = Geometry([8.0, 2.0, 3.0]).to_space([[0, GRID[0] - 1, GRID[1] - 1]])[0]
    origin = corner if degrees == 0 else np.array([400.0, 0.0, 0.0])
    stored = np.ascontiguousarray(image[::-1, ::-1].T)[None]
    write_image(tmp_path / "moving.nii.gz", stored, geometry=Geometry([8.0, 3.0, 2.0], origin, direction))
    text = succeeds(
        *("register", tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", *FAST),
        *("--network", a_network(tmp_path / "still", GRID, None, strength=0.0)),
        *("-o", tmp_path / "u.mha", "--warped", tmp_path / "w.mha"),
    )
    assert "displacement 0.00 mm on average" in text
    np.testing.assert_allclose(read_image(tmp_path / "w.mha")[0][0], image, atol=1e-3)


def test_a_plane_across_another_array_axis_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "fixed.nii.gz", blobs(GRID, 1)[None], geometry=Geometry([8.0, 2.0, 3.0]))
    write_image(tmp_path / "moving.nii.gz", blobs(GRID, 2)[..., None], geometry=Geometry([2.0, 3.0, 8.0]))
    message = fails(
        *("register", tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", "-o", tmp_path / "u.npz", *FAST),
        *("--network", a_network(tmp_path / "net", GRID, None)),
    )
    assert "moving.nii.gz is a single plane across array axis 2, but the network takes those across axis 0" in message
