"""Slices that are kept as volumes of one plane, as NIfTI does, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("safetensors")
pytest.importorskip("SimpleITK")

import SimpleITK as sitk

from modelaug import learning, phantoms, warp
from modelaug.io import Geometry, read_field, read_image, write_image
from tests.cli.test_cli import succeeds

HEARTS = phantoms.heart(2, shape=(56, 48))


def test_slices_that_are_volumes_of_one_plane(tmp_path: Path) -> None:
    # Its weights are random: what it finds is wrong, but of some pixels.
    net = tmp_path / "net"
    network = learning.FlowNetS(width=0.0625)
    learning.initialize(network, seed=1)
    learning.save_network(network, net)
    turned = [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]]
    for i, name in enumerate(("fixed", "moving")):
        placed = Geometry([8.0, 2.0, 3.0], [5.0, 6.0, 10.0 * i], turned)
        write_image(tmp_path / f"{name}.nii.gz", HEARTS.images[i], geometry=placed)
    files = [tmp_path / f"{name}.nii.gz" for name in ("fixed", "moving")]
    arguments = ["register", "--network", net, *files, "--threads", "1"]
    succeeds(*arguments, "-o", tmp_path / "u.npz", "--warped", tmp_path / "w.mha")
    flat = read_field(tmp_path / "u.npz")[0]
    assert flat.shape == (2, *HEARTS.grid)
    assert np.abs(flat).max() > 0.1
    succeeds(*arguments, "-o", tmp_path / "u.mha")
    # ITK pulls the moving slice onto the fixed one by it, where both are in space.
    found = sitk.DisplacementFieldTransform(sitk.Cast(sitk.ReadImage(str(tmp_path / "u.mha")), sitk.sitkVectorFloat64))
    images = [sitk.ReadImage(str(file)) for file in files]
    pulled = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], found, sitk.sitkLinear))
    expected = warp(HEARTS.images[1, 0], flat)
    inside = pulled[0] > 0
    assert inside.mean() > 0.8
    np.testing.assert_allclose(pulled[0][inside], expected[inside], atol=0.02 * np.ptp(expected))
    written = sitk.ReadImage(str(tmp_path / "w.mha"))
    np.testing.assert_allclose(written.GetOrigin(), images[0].GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(sitk.GetArrayFromImage(written)[0], expected, atol=1e-4)
    # NIfTI says the same, though ITK takes its field for one in the plane.
    succeeds(*arguments, "-o", tmp_path / "u.nii.gz")
    (there, placed), (here, known) = (
        read_field(tmp_path / f"u{ending}", moving=read_image(files[1])[1]) for ending in (".nii.gz", ".mha")
    )
    assert placed is not None
    assert known is not None
    np.testing.assert_allclose(there, here, atol=1e-3)
    np.testing.assert_allclose(there[1:, 0], flat, atol=1e-3)
    np.testing.assert_allclose(there[0], 0, atol=1e-3)
    for name in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(placed, name), getattr(known, name), atol=1e-5)
    pytest.importorskip("matplotlib")
    text = succeeds("show", tmp_path / "u.nii.gz", "--fixed", files[0], "--moving", files[1], "-o", tmp_path / "u.png")
    assert "before and after" in text
