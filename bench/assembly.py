"""What one would put together instead of this package, from the fastest parts that can be had.

Peers of whole pairs: a linear appearance model as a matrix product, three displacement fields fitted to landmarks (two
to render by, one for the flow), two images pulled. They get by with less: no weights, no labels, no check for folds,
and a flow that agrees with the images at the landmarks only. Random elastic deformations do far less still.

Peers run in processes of their own, one thread each: that is how they are fastest. Their results stay there.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelaug import AppearanceModel, Cohort
from modelaug.models.alignment import apply_pose

Field = npt.NDArray[np.float32]  # (d, *grid)
Batch = Callable[[Sequence[int]], object]
"""Makes the pairs, or deformed images, of these numbers."""

TOGETHER = 32  # textures in a matrix product
LEVELS = {2: 8, 3: 6}  # lattices of the fit: in 2D those that our own fit needs, in 3D one fewer
CONTROL_POINTS = 8  # along an axis of a random elastic deformation


def ants_field(sites: npt.NDArray[np.float64], values: npt.NDArray[np.float64], grid: tuple[int, ...]) -> Field:
    """Fit multilevel B-splines by ITK, through antspyx."""
    import ants

    d = len(grid)
    fitted = ants.fit_bspline_object_to_scattered_data(
        values, sites, [0.0] * d, [1.0] * d, list(grid), number_of_fitting_levels=LEVELS[d], mesh_size=1
    )
    return np.ascontiguousarray(np.moveaxis(fitted.numpy(), -1, 0), dtype=np.float32)


def scipy_field(sites: npt.NDArray[np.float64], values: npt.NDArray[np.float64], grid: tuple[int, ...]) -> Field:
    """Fit thin-plate splines by scipy."""
    from scipy.interpolate import RBFInterpolator

    voxels = np.indices(grid).reshape(len(grid), -1).T.astype(np.float64)
    return np.asarray(RBFInterpolator(sites, values)(voxels).T.reshape(-1, *grid), dtype=np.float32)


def cv2_warp(grid: tuple[int, ...]) -> Callable[[Field, Field], Field]:
    """Return a function that pulls an image (*grid) through a displacement field, linearly, by OpenCV."""
    import cv2

    cv2.setNumThreads(1)
    rows, columns = np.indices(grid, dtype=np.float32)
    return lambda image, u: cv2.remap(
        image, columns + u[1], rows + u[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )


def torch_warp(grid: tuple[int, ...]) -> Callable[[Field, Field], Field]:
    """Return the same for images (..., *grid) and fields (..., d, *grid), by torch."""
    import torch
    from torch.nn.functional import grid_sample

    torch.set_num_threads(1)
    d = len(grid)
    voxels = torch.from_numpy(np.indices(grid, dtype=np.float32))
    scale = torch.tensor([2 / (n - 1) for n in grid]).reshape(d, *(1,) * d)

    def warp(image: Field, u: Field) -> Field:
        fields = torch.from_numpy(u).reshape(-1, d, *grid)
        places = ((voxels + fields) * scale - 1).movedim(1, -1).flip(-1)  # the last axis first, in [-1, 1]
        images = torch.from_numpy(image).reshape(-1, 1, *grid).expand(len(fields), -1, *grid)
        return grid_sample(images, places, align_corners=True).numpy()

    return warp


def assembled(fit: Callable[..., Field], warp: Callable[..., Callable[[Field, Field], Field]], folder: Path) -> Batch:
    """Return the assembly: a matrix product, fitted fields, warps."""
    model = AppearanceModel.load(folder / "model.npz")
    modes = np.ascontiguousarray(model.texture.basis.T)
    pull, deviations = warp(model.grid), np.sqrt(model.texture.variances)
    upper = np.array(model.grid) - 1.0

    def landmarks(rng: np.random.Generator) -> npt.NDArray[np.float64]:
        shape, pose = (
            part.mean + part.basis @ (np.sqrt(part.variances) * rng.standard_normal(len(part.variances)))
            for part in (model.shape, model.pose)
        )
        points = shape.reshape(model.reference.shape) * model.spacing
        return np.clip(apply_pose(pose, model.center, points) / model.spacing, 0.0, upper)

    def pair(textures: Field, rng: np.random.Generator) -> tuple[list[Field], Field]:
        fixed, moving = landmarks(rng), landmarks(rng)
        displacements = [fit(x, model.reference - x, model.grid) for x in (fixed, moving)]
        images = [
            np.stack([pull(channel, u) for channel in texture])
            for texture, u in zip(textures, displacements, strict=True)
        ]
        return images, fit(fixed, moving - fixed, model.grid)

    def batch(indices: Sequence[int]) -> object:
        rng = np.random.default_rng(indices[0])
        numbers = (deviations * rng.standard_normal((2 * len(indices), len(deviations)))).astype(np.float32)
        products = [
            model.texture.mean + numbers[start : start + TOGETHER] @ modes for start in range(0, len(numbers), TOGETHER)
        ]
        textures = np.concatenate(products).reshape(-1, 2, model.channels, *model.grid)
        return [pair(both, rng) for both in textures]

    return batch


def menpofit_instances(folder: Path) -> Batch:
    """Return menpofit's active appearance model: two instances of its images, no flow."""
    from menpo.feature import no_op
    from menpo.image import Image
    from menpo.shape import PointCloud
    from menpofit.aam import HolisticAAM

    cohort = Cohort.load(folder / "cohort.npz")
    images = [Image(image.astype(np.float64)) for image in cohort.images]
    for image, points in zip(images, cohort.landmarks, strict=True):
        image.landmarks["contours"] = PointCloud(points)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small triangles
        aam = HolisticAAM(images, group="contours", holistic_features=no_op, scales=1)
    modes = len(cohort) - 2

    def batch(indices: Sequence[int]) -> object:
        rng = np.random.default_rng(indices[0])
        return [aam.instance(*rng.standard_normal((2, modes))) for _ in range(2 * len(indices))]

    return batch


def _mean_image(folder: Path) -> Field:
    model = AppearanceModel.load(folder / "model.npz")
    return np.ascontiguousarray(model.texture.mean.reshape(model.channels, *model.grid)[0], dtype=np.float32)


def cv2_elastic(folder: Path) -> Batch:
    """Return random displacements on 8 x 8 points, enlarged cubically, and an image pulled; by OpenCV."""
    import cv2

    image = _mean_image(folder)
    pull, size = cv2_warp(image.shape), image.shape[::-1]

    def one(rng: np.random.Generator) -> tuple[Field, Field]:
        coarse = rng.normal(0.0, 4.0, (CONTROL_POINTS, CONTROL_POINTS, 2)).astype(np.float32)
        field = np.ascontiguousarray(np.moveaxis(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), -1, 0))
        return pull(image, field), field

    def batch(indices: Sequence[int]) -> object:
        rng = np.random.default_rng(indices[0])
        return [one(rng) for _ in indices]

    return batch


def torch_elastic(folder: Path) -> Batch:
    """Return the same by torch, 16 at a time."""
    import torch
    from torch.nn.functional import interpolate

    image = _mean_image(folder)
    pull = torch_warp(image.shape)

    def some(count: int, rng: np.random.Generator) -> tuple[Field, Field]:
        coarse = rng.normal(0.0, 4.0, (count, 2, CONTROL_POINTS, CONTROL_POINTS)).astype(np.float32)
        fields = interpolate(torch.from_numpy(coarse), image.shape, mode="bicubic", align_corners=True).numpy()
        return pull(image, fields), fields

    def batch(indices: Sequence[int]) -> object:
        rng = np.random.default_rng(indices[0])
        return [some(min(16, len(indices) - start), rng) for start in range(0, len(indices), 16)]

    return batch


@dataclass(frozen=True)
class Peer:
    """What a peer needs, for how many axes it is made, how it is prepared, and whether it makes whole pairs."""

    needs: tuple[str, ...]
    axes: tuple[int, ...]
    make: Callable[[Path], Batch]
    whole: bool = True
    instead_of: str = ""
    """A package without which alone this peer is of interest."""


PEERS = {
    "numpy, antspyx, cv2": Peer(("ants", "cv2"), (2,), functools.partial(assembled, ants_field, cv2_warp)),
    "numpy, antspyx, torch": Peer(("ants", "torch"), (3,), functools.partial(assembled, ants_field, torch_warp)),
    "numpy, scipy, cv2": Peer(("cv2",), (2,), functools.partial(assembled, scipy_field, cv2_warp), instead_of="ants"),
    "menpofit, images only": Peer(("menpofit",), (2,), menpofit_instances),
    "elastic, cv2": Peer(("cv2",), (2,), cv2_elastic, whole=False),
    "elastic, torch": Peer(("torch",), (2,), torch_elastic, whole=False),
}


def available(axes: int) -> tuple[list[str], dict[str, str]]:
    """Return the peers that run here on grids with so many axes, and why others do not."""
    names, missing = [], {}
    for name, peer in PEERS.items():
        absent = [module for module in peer.needs if find_spec(module) is None]
        if axes not in peer.axes or (peer.instead_of and find_spec(peer.instead_of) is not None):
            continue
        if absent:
            missing[name] = f"{', '.join(absent)} not installed"
        else:
            names.append(name)
    return names, missing


_READY: dict[str, Batch] = {}
"""What a worker has prepared, by name."""


def _work(folder: Path, name: str, indices: range) -> None:
    if name not in _READY:
        _READY[name] = PEERS[name].make(folder)
    _READY[name](indices)


class Workers:
    """Processes in which peers run; `folder` holds ``model.npz`` and ``cohort.npz``."""

    def __init__(self, count: int, folder: Path) -> None:
        self.count, self.folder = count, folder
        # Read by libraries as they are loaded: by the workers; here it is too late for that.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
            os.environ[name] = "1"
        self._pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: Any) -> None:
        self._pool.shutdown()

    def batch(self, name: str, pairs: int) -> None:
        """Make so many pairs by a peer, an equal part in each process."""
        each = -(-pairs // self.count)
        parts = [range(start, min(start + each, pairs)) for start in range(0, pairs, each)]
        for done in [self._pool.submit(_work, self.folder, name, part) for part in parts]:
            done.result()
