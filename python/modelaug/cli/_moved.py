"""Images, labels and points that a displacement has moved, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug import io
from modelaug._arrays import Image, Labels
from modelaug.cli._console import err
from modelaug.data.geometry import Geometry
from modelaug.io.files.paths import stem, suffix
from modelaug.io.formats.itk import ITK_SUFFIXES
from modelaug.io.formats.pictures import JPEG_SUFFIXES, PICTURE_SUFFIXES
from modelaug.io.landmarks import PHYSICAL_SUFFIXES
from modelaug.transforms.warping import warp

FIELD_SUFFIXES: Final = (".npz", ".flo", *ITK_SUFFIXES)
FIGURE_SUFFIXES: Final = (".png", ".pdf", ".svg")
IMAGE_OUTPUTS: Final = (".npy", *PICTURE_SUFFIXES, *ITK_SUFFIXES)
LABEL_OUTPUTS: Final = (".npy", ".png", *ITK_SUFFIXES)


def related_path(path: Path, what: str, ending: str) -> Path:
    """Return the path of a result next to a displacement: ``u_labels.nii.gz`` for ``u.nii.gz`` and ``labels``."""
    return path.with_name(f"{stem(path)}_{what}{ending}")


def label_suffix(displacement: Path, labels: Path) -> str:
    """Return the format of warped labels: that of the displacement if it holds images, else that of the labels."""
    own = suffix(labels)
    if suffix(displacement) in ITK_SUFFIXES:
        return suffix(displacement)
    if own in LABEL_OUTPUTS:
        return own
    return ".npy" if own in (".npz", ".tif", ".tiff") else ".nii.gz"


def warp_labels(labels: Labels, displacement: npt.NDArray[np.float32], threads: int | None) -> Labels:
    """Warp a label map by the nearest voxel, with 0 beyond its border; its type is kept."""
    return np.asarray(warp(labels, displacement, order=0, border="constant", threads=threads))


def check_image_fits(path: Path, image: Image) -> None:
    """Raise ValueError if a format cannot hold the intensities of an image."""
    if suffix(path) in JPEG_SUFFIXES and _is_whole(image) and image.max() > 255:
        raise ValueError(
            f"{path} cannot hold intensities up to {image.max():g} in 8 bits; pass a name that ends in .png or .nii.gz"
        )


def write_warped_image(path: Path, warped: Image, image: Image, geometry: Geometry | None) -> None:
    """Write an image (*grid) or (c, *grid) that was warped, perhaps without the axis of a single plane.

    Pictures hold the intensities of images that have integers from 0 to 65535. Others are scaled to 8 bits, with a
    message.
    """
    if suffix(path) not in PICTURE_SUFFIXES:
        io.write_image(path, warped, geometry=geometry)
    elif _is_whole(image):
        most = 255 if image.max() <= 255 else 65535
        io.write_image(path, np.rint(warped).clip(0, most).astype(np.uint16))
    else:
        io.write_image(path, warped)
        err.print(f"{path}: intensities from {warped.min():g} to {warped.max():g} became 0 to 255")


def _is_whole(image: Image) -> bool:
    """Return whether the intensities are integers that a picture of 16 bits can hold."""
    return bool(image.min() >= 0 and image.max() <= 65535 and (image == np.rint(image)).all())


def check_labels_fit(path: Path, labels: Labels) -> None:
    """Raise ValueError if a format cannot hold these labels."""
    if suffix(path) == ".png" and (labels.min() < 0 or labels.max() > 255):
        raise ValueError(
            f"{path} cannot hold the labels from {labels.min()} to {labels.max()}; pass a name that ends in .nii.gz"
        )


def write_points(
    path: Path, points: npt.NDArray[np.float64], names: tuple[str, ...], geometry: Geometry | None
) -> None:
    """Write points (m, d) in voxels of an image with a geometry.

    A plane and a volume of a single plane take the points of each other.
    """
    if suffix(path) in PHYSICAL_SUFFIXES and geometry is not None:
        d = len(geometry.spacing)
        if points.shape[1] < d:
            points = np.column_stack([np.zeros(len(points)), points])
        points = points[:, -d:]
    io.write_landmarks(path, points, names=names, geometry=geometry)
