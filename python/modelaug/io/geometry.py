"""Where a grid lies in space, and writing of images through SimpleITK, which is imported only when a file needs it."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.io.archives import write_atomically

__all__ = [
    "ITK_READ_SUFFIXES",
    "ITK_SUFFIXES",
    "NIFTI_SUFFIXES",
    "Geometry",
    "in_plane",
    "is_single_plane",
    "itk_image",
    "stem",
    "suffix",
    "voxels_apart",
    "write_itk",
]

ITK_SUFFIXES: Final = (".nii", ".nii.gz", ".mha", ".nrrd")
"""Formats that keep where the voxels lie, each in a single file."""

ITK_READ_SUFFIXES: Final = (*ITK_SUFFIXES, ".mhd", ".nhdr")
"""Those, and headers whose voxels are in a file beside them, which are read only."""

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")

_NIFTI_HEADER: Final = 352  # bytes
_LEVEL: Final = 6  # of compression, as zlib has it by default
_DOUBLE_SUFFIXES: Final = (".nii.gz", ".mrk.json")


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of a grid lie: ``position = origin + direction @ (spacing * index)``, all in (x, y[, z]) order.

    Parameters
    ----------
    spacing : array_like, (d,)
        Millimetres per voxel, in array-axis order: of the last axis, x, last.
    origin : array_like, (d,), optional
        Position (x, y[, z]) of the first voxel's centre in mm, LPS: x to the patient's left, y to the back, z to the
        head. 0 by default.
    direction : array_like, (d, d), optional
        Column j is the direction in space of ITK's index axis j, which is array axis d - 1 - j. The identity by
        default.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong shape or values that are not finite, or the directions are not orthonormal.
    """

    spacing: npt.NDArray[np.float64]
    origin: npt.NDArray[np.float64]
    direction: npt.NDArray[np.float64]

    def __init__(
        self, spacing: npt.ArrayLike, origin: npt.ArrayLike | None = None, direction: npt.ArrayLike | None = None
    ) -> None:
        lengths = _checks.finite("spacing", spacing, ndim=1, dtype=np.float64)
        d = len(lengths)
        start = np.zeros(d) if origin is None else _checks.finite("origin", origin, ndim=1, dtype=np.float64)
        if start.shape != (d,):
            raise ValueError(f"origin has shape {start.shape}; pass {d} numbers (x, y[, z]) in mm")
        object.__setattr__(self, "spacing", _checks.spacing("spacing", lengths, d))
        object.__setattr__(self, "origin", start)
        object.__setattr__(self, "direction", _direction_matrix(direction, d))

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """What a step along each of ITK's index axes (x, y[, z]) is in space, as columns in mm."""
        return self.direction * self.spacing[::-1]

    def to_space(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return where voxels (m, d), in array-axis order, lie in space, (m, d) in (x, y[, z]) order and mm."""
        return np.asarray(self.origin + np.asarray(points, dtype=np.float64)[:, ::-1] @ self.matrix.T)

    def to_voxels(self, positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the voxels at positions in space; the inverse of `to_space`."""
        offsets = np.asarray(positions, dtype=np.float64) - self.origin
        return np.ascontiguousarray(np.linalg.solve(self.matrix, offsets.T).T[:, ::-1])


def voxels_apart(grid: Sequence[int], one: Geometry, other: Geometry) -> float:
    """Return how far a grid's voxels lie apart in two geometries of its axes, at most, in voxels of the other."""
    corners = np.indices((2,) * len(grid)).reshape(len(grid), -1).T * (np.array(grid) - 1)
    return float(np.abs(other.to_voxels(one.to_space(corners)) - corners).max())


def _direction_matrix(direction: npt.ArrayLike | None, d: int) -> npt.NDArray[np.float64]:
    """Return `direction` as an orthonormal matrix (d, d); None means the identity."""
    if direction is None:
        return np.eye(d)
    matrix = _checks.finite("direction", direction, ndim=2, dtype=np.float64)
    # Files keep directions in single precision.
    if matrix.shape != (d, d) or np.abs(matrix.T @ matrix - np.eye(d)).max() > 1e-4:
        raise ValueError(f"direction is {matrix.tolist()}; pass a {d} x {d} matrix with orthonormal columns")
    return matrix


def suffix(path: str | Path) -> str:
    """Return a path's ending in lower case, ``".nii.gz"`` and ``".mrk.json"`` as one."""
    name = Path(path).name.lower()
    return next((each for each in _DOUBLE_SUFFIXES if name.endswith(each)), Path(name).suffix)


def stem(path: str | Path) -> str:
    """Return a path's name without its folder and its ending, see `suffix`."""
    return Path(path).name[: -len(suffix(path)) or None]


def is_single_plane(image: npt.NDArray[Any], geometry: Geometry | None) -> bool:
    """Return whether an image is a volume of a single plane, without channels."""
    return geometry is not None and len(geometry.spacing) == 3 and image.ndim == 3 and image.shape[0] == 1


def in_plane(geometry: Geometry) -> Geometry:
    """Return where the pixels of a volume's plane across its first array axis lie; of a plane, where its own do.

    Where the plane is that of x and y in space, they are kept; otherwise it has coordinates of its own, from 0 on.
    """
    if len(geometry.spacing) == 2:
        return geometry
    axial = abs(geometry.direction[2, 2]) > 1 - 1e-5
    return Geometry(
        geometry.spacing[1:],
        geometry.origin[:2] if axial else None,
        geometry.direction[:2, :2] if axial else None,
    )


def itk_image(array: npt.NDArray[Any], geometry: Geometry, *, vector: bool) -> Any:
    """Return an array (*grid) or, with `vector`, (*grid, k) as a ``SimpleITK.Image``."""
    import SimpleITK as sitk

    image: Any = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing(geometry.spacing[::-1].tolist())
    image.SetOrigin(geometry.origin.tolist())
    image.SetDirection(geometry.direction.ravel().tolist())
    return image


def write_itk(path: str | Path, image: Any) -> None:
    """Write a ``SimpleITK.Image``, under a temporary name until it is complete.

    Raises
    ------
    OSError
        If it cannot be written; the message names it.
    """
    import SimpleITK as sitk

    # SimpleITK writes to named files only, and takes the format from the name.
    with tempfile.TemporaryDirectory(prefix="modelaug-") as folder:
        temporary = Path(folder) / f"image{suffix(path).removesuffix('.gz')}"
        try:
            sitk.WriteImage(image, str(temporary))
            size = temporary.stat().st_size
        except (RuntimeError, OSError):
            size = 0
        # ITK does not tell of a full disk while it writes NIfTI.
        data = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
        if size < data + (_NIFTI_HEADER if temporary.suffix == ".nii" else 0):
            raise OSError(f"{path} cannot be written ({folder} takes no {data} bytes; make room there, or set TMPDIR)")
        with open(temporary, "rb") as source:
            write_atomically(path, lambda file: _copy(source, file, packed=suffix(path).endswith(".gz")))


def _copy(source: IO[bytes], file: IO[bytes], *, packed: bool) -> None:
    if not packed:
        shutil.copyfileobj(source, file)
        return
    # Without name and time, so that the bytes depend on the image only.
    with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as target:
        shutil.copyfileobj(source, target)
