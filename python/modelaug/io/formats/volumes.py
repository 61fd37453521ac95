"""Images in NIfTI, MetaImage and NRRD: what their headers say, and their voxels.

They are read here and not through ITK, which rounds what a file rescales, makes up what it lacks, follows it to other
files, and can end the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry, in_plane
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import ModelFileError, reading
from modelaug.io.formats.headers import Header, voxels
from modelaug.io.formats.itk import NIFTI_SUFFIXES
from modelaug.io.formats.metaimage import read_metaimage_header
from modelaug.io.formats.nifti import read_nifti_header
from modelaug.io.formats.nrrd import read_nrrd_header

_KINDS: Final = {"displacement": "a displacement field", "vectors": "vectors", "statistics": "statistics"}


def read_header(path: str | Path) -> Header:
    """Return what a file says about its image; its ending says in which format.

    Raises
    ------
    ModelFileError
        If there is no such file, it is of another format, or it says what cannot be honoured.
    """
    ending = suffix(path)
    if ending in NIFTI_SUFFIXES:
        return read_nifti_header(Path(path))
    return read_metaimage_header(Path(path)) if ending in (".mha", ".mhd") else read_nrrd_header(Path(path))


def read_values(header: Header) -> npt.NDArray[Any]:
    """Return the values of an image as `headers.voxels` does, with the file's name in all errors."""
    with reading(header.path, "an image", "copy it again"):
        return voxels(header)


def read_volume(path: str | Path, *, labels: bool | None = False) -> tuple[npt.NDArray[Any], Geometry]:
    """Return an image, (*grid) or (c, *grid), and where its voxels lie.

    Parameters
    ----------
    path
        A file in NIfTI, MetaImage or NRRD.
    labels
        Whether the image is to be a label map; None: either may be.

    Raises
    ------
    ModelFileError
        If the file cannot be read, or says that it is something other than what is wanted.
    """
    header = read_header(path)
    _refuse_as(header, labels=labels)
    array = read_values(header)
    if header.components is None:
        return array, header.geometry
    channels = np.moveaxis(array, -1, 0)
    if suffix(path) in NIFTI_SUFFIXES and header.kind == "vectors" and channels.shape[1:-2] == (1,):
        return channels[:, 0], in_plane(header.geometry)
    return channels, header.geometry


def _refuse_as(header: Header, *, labels: bool | None) -> None:
    """Refuse labels as intensities, and what is no label map as labels."""
    path = header.path
    if labels is False and header.kind == "labels":
        raise ModelFileError(f"{path} says that it is a label map; pass it as labels, or an image of intensities")
    if not labels and header.kind == "displacement":
        raise ModelFileError(f"{path} says that it is a displacement field; pass an image")
    if labels and header.kind not in (None, "labels"):
        raise ModelFileError(f"{path} says that it holds {_KINDS[header.kind]}; pass a label map")
    if labels and header.components is not None:
        raise ModelFileError(f"{path} has {header.components} values per voxel, pass a label map with one")
