"""Masks of ``modelaug register`` that say of themselves what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nibabel")
pytest.importorskip("typer")

import nibabel as nib

from modelaug.cli._pictures import as_picture, mask_of
from modelaug.io import read_image, write_image
from tests.examples import philox


def test_a_mask_may_be_a_label_map(tmp_path: Path) -> None:
    write_image(tmp_path / "fixed.nii.gz", philox(0).random((4, 5, 6), dtype=np.float32))
    weights = (philox(1).random((4, 5, 6)) > 0.5).astype(np.uint8)
    file = nib.Nifti1Image(weights.T, np.diag([-1.0, -1.0, 1.0, 1.0]))
    file.header.set_intent("label")
    nib.save(file, tmp_path / "mask.nii.gz")
    fixed = as_picture(tmp_path / "fixed.nii.gz", *read_image(tmp_path / "fixed.nii.gz"), 3, wanted_by="the network")
    mask = mask_of(tmp_path / "mask.nii.gz", fixed)
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask, weights)
