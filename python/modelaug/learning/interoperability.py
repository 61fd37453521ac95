"""Pairs as containers of MONAI and TorchIO, for their pipelines.

Their transforms of intensities fit pairs. Their spatial transforms, such as flips, crops or affine maps, do not, as
they would have to change the flow as well, its vectors and their positions: let the source deform, see `PairOptions`,
or use `transform_pairs`, which moves pairs and their flow together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from modelaug import _checks
from modelaug.data.geometry import Geometry
from modelaug.synthesis import Pair

if TYPE_CHECKING:
    import torchio

# The names in MONAI's registration networks and losses.
_KEYS: Final = {
    "fixed_image": "fixed",
    "moving_image": "moving",
    "ddf": "flow",
    "weight": "weight",
    "fixed_label": "labels_fixed",
    "moving_label": "labels_moving",
    "fixed_landmarks": "landmarks_fixed",
    "moving_landmarks": "landmarks_moving",
}
_LABELS: Final = ("fixed_label", "moving_label")
_LANDMARKS: Final = ("fixed_landmarks", "moving_landmarks")
_TENSORS: Final = ("ddf", "weight")
_CHANNELLESS: Final = ("weight", *_LABELS)


def pair_dictionary(pair: Pair) -> dict[str, Tensor]:
    """Return a pair as a dictionary of tensors, for MONAI's dictionary transforms, datasets and ``Warp``.

    Axes and components stay in array-axis order, which is MONAI's, too: ``monai.networks.blocks.Warp()`` warps a batch
    of moving images by ``ddf`` as `warp` does. A dataset of pairs 0 to n - 1 is
    ``monai.data.Dataset(range(n), Compose([source.draw, pair_dictionary, ...]))``, with MONAI's transforms of
    intensities for the dots.

    Parameters
    ----------
    pair
        One pair, not a batch.

    Returns
    -------
    dict of Tensor
        ``fixed_image`` and ``moving_image``, (c, *grid) float32; ``ddf``, the flow, (d, *grid) float32, in voxels;
        ``weight``, (1, *grid) float32; ``fixed_label`` and ``moving_label``, (1, *grid) int64, if the pair has labels;
        ``fixed_landmarks`` and ``moving_landmarks``, (m, d) float64. None shares memory with the pair.

    Raises
    ------
    TypeError, ValueError
        If `pair` is no `Pair`, or a batch.
    """
    return {
        key: torch.from_numpy(array.astype(np.int64) if key in _LABELS else array.copy())
        for key, array in _arrays(pair).items()
    }


def torchio_subject(pair: Pair, *, geometry: Geometry | None = None) -> torchio.Subject:
    """Return a pair as a subject of TorchIO, in its axis order: column before row before plane, and always three axes.

    Parameters
    ----------
    pair
        One pair, not a batch; in the plane its images get a third axis of length 1.
    geometry
        Of the grid; by default 1 mm per voxel, from the origin.

    Returns
    -------
    torchio.Subject
        ``fixed_image`` and ``moving_image`` are a ``ScalarImage``, (c, columns, rows, planes) float32; ``fixed_label``
        and ``moving_label`` a ``LabelMap``, (1, columns, rows, planes) int32, if the pair has labels; with TorchIO's
        affine map from voxels to RAS+ in mm. The rest are tensors, which transforms leave alone: ``ddf``, the flow,
        (d, columns, rows, planes) float32 in voxels, component k along tensor axis 1 + k; ``weight``, (1, columns,
        rows, planes) float32; ``fixed_landmarks`` and ``moving_landmarks``, (m, d) float64 in voxels, column first.

    Raises
    ------
    ModuleNotFoundError
        If TorchIO is not installed.
    TypeError, ValueError
        If `pair` is no `Pair`, or a batch, or `geometry` has another number of axes.
    """
    import torchio

    arrays, d = _arrays(pair), pair.landmarks_fixed.shape[-1]
    where = _checks.instance(
        "geometry", Geometry(np.ones(d)) if geometry is None else geometry, Geometry, "a modelaug.io.Geometry or None"
    )
    if len(where.spacing) != d:
        raise ValueError(f"geometry has {len(where.spacing)} axes, the pair {d}; pass that of the pair's grid")
    affine = _ras_affine(where)
    members: dict[str, Any] = {}
    for key, array in arrays.items():
        if key in _LANDMARKS:
            members[key] = torch.from_numpy(array[:, ::-1].copy())
            continue
        values = array[::-1] if key == "ddf" else array
        if key in _LABELS:
            values = _checks.label_range(_KEYS[key], values, np.int32).astype(np.int32)
        members[key] = tensor = torch.from_numpy(_to_torchio(values))
        if key not in _TENSORS:
            members[key] = (torchio.LabelMap if key in _LABELS else torchio.ScalarImage)(tensor=tensor, affine=affine)
    return torchio.Subject(**members)


def pair_from_subject(subject: torchio.Subject) -> Pair:
    """Convert a subject of `torchio_subject` back to a pair, after transforms of its intensities.

    Parameters
    ----------
    subject
        With all members from `torchio_subject`.

    Returns
    -------
    Pair
        Labels are int32.

    Raises
    ------
    ModuleNotFoundError
        If TorchIO is not installed.
    ValueError
        If a member is missing, or a spatial transform was applied, so that the flow no longer fits the images.
    """
    import torchio

    missing = [key for key in _KEYS if key not in subject and key not in _LABELS]
    if missing:
        raise ValueError(f"subject has no {missing[0]}; pass one made by torchio_subject")
    moved = [type(each).__name__ for each in subject.history if isinstance(each, torchio.SpatialTransform)]
    if moved:
        raise ValueError(
            f"subject was moved by {moved[0]}, which leaves the flow behind; use transforms of intensities only"
        )
    d = subject["fixed_landmarks"].shape[1]
    arrays: dict[str, Any] = {}
    for key, name in _KEYS.items():
        if key not in subject:
            continue
        if key in _LANDMARKS:
            arrays[name] = subject[key].numpy()[:, ::-1].copy()
            continue
        values = _from_torchio((subject[key] if key in _TENSORS else subject[key].data).numpy(), d)
        arrays[name] = values[::-1].copy() if key == "ddf" else values[0] if key in _CHANNELLESS else values
    return Pair(**arrays)


def _arrays(pair: Pair) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that a pair has by their keys, images all with a channel."""
    if not isinstance(pair, Pair):
        raise TypeError(f"pair is a {type(pair).__name__}; pass a Pair, such as from a source's draw")
    if pair.flow.ndim != pair.landmarks_fixed.shape[-1] + 1:
        raise ValueError(f"pair has a flow of shape {pair.flow.shape}, a batch; pass its pairs one by one")
    arrays = {key: getattr(pair, name) for key, name in _KEYS.items() if getattr(pair, name) is not None}
    return {key: array[None] if key in _CHANNELLESS else array for key, array in arrays.items()}


def _to_torchio(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert an array (c, *grid) to TorchIO's (c, columns, rows, planes)."""
    turned = array.transpose(0, *range(array.ndim - 1, 0, -1))
    return np.array(turned if array.ndim == 4 else turned[..., None], order="C")


def _from_torchio(array: npt.NDArray[Any], d: int) -> npt.NDArray[Any]:
    """Convert TorchIO's (c, columns, rows, planes) to an array (c, *grid)."""
    return np.array((array if d == 3 else array[..., 0]).transpose(0, *range(d, 0, -1)), order="C")


def _ras_affine(geometry: Geometry) -> npt.NDArray[np.float64]:
    """Return the matrix (4, 4) from voxels, column first, to RAS+ positions: right, front, head, in mm."""
    d = len(geometry.spacing)
    affine = np.eye(4)
    affine[:d, :d] = geometry.direction * geometry.spacing[::-1]
    affine[:d, 3] = geometry.origin
    affine[:2] *= -1  # from LPS
    return affine
