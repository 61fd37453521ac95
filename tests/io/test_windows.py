"""Intensities that become bytes: the nearest one, within the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelaug import io

Image: Any = pytest.importorskip("PIL.Image")


@pytest.mark.parametrize("window", [None, (-1.0, 2.0)])
def test_intensities_become_the_nearest_byte(window: tuple[float, float] | None, tmp_path: Path) -> None:
    image = np.random.Generator(np.random.Philox(0)).normal(size=(17, 23))
    io.write_image(tmp_path / "image.png", image, **({} if window is None else {"window": window}))
    low, high = window or (image.min(), image.max())
    expected = 255 * np.clip((image - low) / (high - low), 0, 1)
    with Image.open(tmp_path / "image.png") as picture:
        found = np.asarray(picture).astype(float)
    assert np.abs(found - expected).max() <= 0.5 + 1e-4
    assert abs((found - expected).mean()) < 0.1  # nor is it always the lower one
