"""What tests of several formats of images share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from modelaug import ModelFileError
from modelaug.io import read_image
from modelaug.io.images import read_labels
from tests.examples import one_line


def ramp(*shape: int, dtype: str = "<i2") -> npt.NDArray[Any]:
    """Return values that differ along every axis."""
    return (np.arange(np.prod(shape)).reshape(shape) % 100).astype(dtype)


def refused(path: Path, words: str) -> None:
    """Check that a file is refused, as an image and as a label map, in one line with its name and these words."""
    for read in (read_image, read_labels):
        with pytest.raises(ModelFileError, match=words) as caught:
            read(path)
        one_line(caught.value)
        assert path.name in str(caught.value)
