"""Writing of images by SimpleITK, which is imported only when a file needs it."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any, Final

import numpy.typing as npt

from modelaug.data.geometry import Geometry
from modelaug.io.files.archives import write_atomically
from modelaug.io.files.paths import suffix

ITK_SUFFIXES: Final = (".nii", ".nii.gz", ".mha", ".nrrd")
"""Formats of images with their geometry, in a single file."""

ITK_READ_SUFFIXES: Final = (*ITK_SUFFIXES, ".mhd", ".nhdr")
"""The same formats, and headers of voxels in another file, which are only read."""

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")

_NIFTI_HEADER: Final = 352  # bytes
_LEVEL: Final = 6  # of compression, zlib's default


def itk_image(array: npt.NDArray[Any], geometry: Geometry, *, vector: bool) -> Any:
    """Convert an array (*grid) or, with `vector`, (*grid, k) to a ``SimpleITK.Image``."""
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
        # ITK reports no full disk while it writes NIfTI.
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
