"""Types of arrays, by what they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]
"""Of displacements, (d, *grid)."""
Image = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
Real = npt.NDArray[np.floating[Any]]
"""In single or double precision."""
