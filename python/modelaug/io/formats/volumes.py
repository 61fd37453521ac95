"""Images in NIfTI, MetaImage and NRRD: headers and voxels.

ITK does not read them, since it rounds rescaled values, fills in missing metadata, opens other files that a header
names, and can end the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug.data.geometry import Geometry, in_plane
from modelaug.io.files.paths import suffix
from modelaug.io.files.reading import reading, refuse_if
from modelaug.io.formats.headers import Header, voxels
from modelaug.io.formats.itk import NIFTI_SUFFIXES
from modelaug.io.formats.metaimage import read_metaimage_header
from modelaug.io.formats.nifti import read_nifti_header
from modelaug.io.formats.nrrd import read_nrrd_header

_KINDS: Final = {"displacement": "a displacement field", "vectors": "vectors", "statistics": "statistics"}


def read_header(path: str | Path) -> Header:
    """Read the header of an image, in the format that the file's ending names.

    Raises
    ------
    ModelFileError
        If there is no such file, it is of another format, or it declares what cannot be honoured.
    """
    ending = suffix(path)
    if ending in NIFTI_SUFFIXES:
        return read_nifti_header(Path(path))
    return read_metaimage_header(Path(path)) if ending in (".mha", ".mhd") else read_nrrd_header(Path(path))


def read_values(header: Header) -> npt.NDArray[Any]:
    """Read the values of an image as `headers.voxels` does, with the file's name in all errors."""
    with reading(header.path, "an image", "copy it again"):
        return voxels(header)


def read_volume(path: str | Path, *, labels: bool | None = False) -> tuple[npt.NDArray[Any], Geometry]:
    """Read an image, (*grid) or (c, *grid), and its geometry.

    Parameters
    ----------
    path
        A file in NIfTI, MetaImage or NRRD.
    labels
        Whether the image must be a label map, or an image of intensities; None: either may be.

    Raises
    ------
    ModelFileError
        If the file cannot be read, or declares other content than what is wanted.
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
    """Refuse a label map as intensities, a displacement field as an image, and anything but a label map as labels."""
    path, kind = header.path, header.kind
    intensities = labels is False and kind == "labels"
    refuse_if(intensities, f"{path} says that it is a label map; pass it as labels, or an image of intensities")
    refuse_if(not labels and kind == "displacement", f"{path} says that it is a displacement field; pass an image")
    if labels:
        refuse_if(kind in _KINDS, f"{path} says that it holds {_KINDS.get(str(kind))}; pass a label map")
        several = header.components is not None
        refuse_if(several, f"{path} has {header.components} values per voxel, pass a label map with one")
