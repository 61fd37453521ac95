"""Registration by ANTs' SyN with its own defaults, the usual choice today. Needs antspyx."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.registration._images import image_channels, number_of_axes
from modelaug.transforms.fields import check_field

_SEED: Final = 1


def register_syn(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    spacing: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    affine: bool = True,
    ndim: int | None = None,
) -> npt.NDArray[np.float32]:
    """Return the displacement that pulls a moving image onto a fixed one, by ANTs' SyN.

    B. Avants, C. Epstein, M. Grossman, J. Gee: Symmetric diffeomorphic image registration with cross-correlation,
    Medical Image Analysis 12 (2008), by ``ants.registration``.

    Parameters
    ----------
    fixed, moving : array_like, (*grid) or (1, *grid)
        Images on one grid.
    spacing : array_like, (d,), optional
        Millimetres per voxel; 1 by default.
    mask : array_like, (*grid), optional
        Where it is positive, the fixed image counts; everywhere by default.
    affine
        Whether to estimate an affine map first, ANTs' default. On images that are aligned already it may fail.
    ndim
        Axes of the grid, 2 or 3, where images (1, *grid) may be planes or volumes of one plane; by default those of
        `mask` or `spacing`.

    Returns
    -------
    ndarray, (d, *grid), float32
        Pull displacement in voxels on the fixed grid.

    Raises
    ------
    ModuleNotFoundError
        If antspyx is not installed.
    TypeError, ValueError
        If an image has several channels, or the arrays do not fit.
    """
    try:
        import ants
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("SyN needs antspyx; run: pip install antspyx", name="ants") from error
    d = number_of_axes(fixed, ndim=ndim, spacing=spacing, mask=mask)
    arrays = [_single(name, image, d) for name, image in (("fixed", fixed), ("moving", moving))]
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"moving has shape {arrays[1].shape} and fixed {arrays[0].shape}; resample them to one grid")
    millimetres = _checks.spacing("spacing", spacing, d)
    # ANTs takes the first axis of an array for x, so everything stays in the arrays' order.
    images = [ants.from_numpy(array, spacing=millimetres.tolist()) for array in arrays]
    options: dict[str, Any] = {}
    if mask is not None:
        inside = _checks.finite("mask", mask, ndim=d, dtype=np.float32)
        options["mask"] = ants.from_numpy((inside > 0).astype(np.float32), spacing=millimetres.tolist())
    with tempfile.TemporaryDirectory() as folder:
        prefix = str(Path(folder) / "syn")
        found = ants.registration(
            *images, "SyN" if affine else "SyNOnly", outprefix=prefix, random_seed=_SEED, **options
        )
        composed = ants.apply_transforms(*images, found["fwdtransforms"], compose=prefix)
        field = ants.image_read(composed).numpy()
    voxels = np.moveaxis(field.reshape(*arrays[0].shape, d), -1, 0) / millimetres.reshape(-1, *[1] * d)
    return check_field("the displacement of ANTs", voxels)


def _single(name: str, image: npt.ArrayLike, d: int) -> npt.NDArray[np.float32]:
    channels = image_channels(name, image, d)
    if len(channels) > 1:
        raise ValueError(f"{name} has {len(channels)} channels; pass a grey image")
    return np.asarray(channels[0])
