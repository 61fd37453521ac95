"""What a pair takes at least, counted on paper: multiply-adds and bytes of its parts.

The counts are those of the same result by the same mathematics, not of our code: every spline is evaluated along one
axis after the other, every image is read once for both images of a pair, all that is in between stays in the caches,
nothing is checked, and folds are not looked for. `work` lists the parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from floor import Machine

from modelaug import AppearanceModel
from modelaug.synthesis.geometry import PairGeometry
from modelaug.transforms.lattices import MultiscaleLattice

EXPONENTIAL = 10  # multiply-adds
NEWTON_STEPS = 1  # evaluations of the map at each voxel: neighbours start so near that curvature vouches for the rest
DOUBLE = 2  # multiply-adds in double precision count twice
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Work:
    """Multiply-adds in single precision, and bytes from and to main memory."""

    multiply_adds: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.multiply_adds + other.multiply_adds, self.bytes + other.bytes)


def on_grid(grid: Sequence[int], nodes: Sequence[int]) -> float:
    """Return the multiply-adds of one component of a cubic spline at all voxels, four for each axis of each line."""
    return sum(4 * math.prod(grid[: axis + 1]) * math.prod(nodes[axis + 1 :]) for axis in range(len(grid)))


def at_point(d: int, *, gradient: bool) -> float:
    """Return the multiply-adds of a displacement in d axes at one point, with its gradient or without.

    The weights are cubic polynomials, their slopes quadratic ones. The control points are summed along one axis after
    the other; the sums with slopes share what they can.
    """
    if not gradient:
        return float(12 * d + d * sum(4**j for j in range(1, d + 1)))
    return float(20 * d + d * sum((j + 1) * 4 ** (d - j + 1) for j in range(1, d + 1)))


def textures(model: AppearanceModel) -> Work:
    """Return the work of both textures.

    A voxel takes, of each subject's patch: its field, an exponential, and a multiply-add in each channel; of each mode
    with a field: the field and the multiply-adds; of each eigenimage: the multiply-adds. The images are read once.
    """
    options, voxels = model.texture_options, math.prod(model.grid)
    patches = options.engine == "patchwork"
    images = len(model.texture_coefficients) if patches else len(model.texture.variances)
    each = float(model.channels * voxels)
    if options.engine != "basis":
        cells = MultiscaleLattice(model.grid, model.spacing, options.levels).cells[-1]
        each += on_grid(model.grid, [n + 3 for n in cells]) + (EXPONENTIAL * voxels if patches else 0)
    return Work(2 * images * each, images * model.channels * voxels * FLOAT_BYTES)


def maps(model: AppearanceModel, geometry: PairGeometry) -> Work:
    """Return the work of fitting both render maps and of evaluating them at all voxels.

    At each level of a fit a landmark gives to its 4^d control points and is evaluated again; refinement takes 1.5
    multiply-adds for each control point, component and axis. The first step is evaluated along axes, the others at the
    points that it leads to; an affine map follows.
    """
    (m, d), voxels = model.reference.shape, math.prod(model.grid)
    total = 0.0
    for chi in geometry.maps:
        for k, step in enumerate(chi.steps):
            nodes = step.shape[1:]
            levels = math.log2(max(nodes) - 3) + 1
            total += DOUBLE * (levels * m * 4**d * (1 + 2 * d) + 1.5 * math.prod(nodes) * d * d)
            total += d * on_grid(model.grid, nodes) if k == 0 else voxels * at_point(d, gradient=False)
        total += voxels * d * d
    return Work(total)


def correspondence(model: AppearanceModel, geometry: PairGeometry) -> Work:
    """Return the work of Newton's method on the moving map's splines at all voxels.

    An evaluation takes every step's displacement and gradient, the product of their Jacobians, and a linear system.
    """
    d, steps = len(model.grid), len(geometry.maps[1].steps)
    each = steps * at_point(d, gradient=True) + (steps - 1) * d**3 + d**3 + 2 * d * d
    return Work(NEWTON_STEPS * math.prod(model.grid) * each)


def warps(model: AppearanceModel) -> Work:
    """Return the work of pulling both images and the weight map, linearly, and both label maps.

    A linear interpolation between two values takes two multiply-adds. What a pair consists of is written, the map of
    labels and that of weights are read.
    """
    d, voxels = len(model.grid), math.prod(model.grid)
    label_bytes = 0 if model.labels is None else model.labels.itemsize
    lookups = 2 * model.channels + 1
    written = (2 * model.channels + d + 1) * FLOAT_BYTES + 2 * label_bytes
    return Work(lookups * 2 * (2**d - 1) * voxels, voxels * (written + FLOAT_BYTES + label_bytes))


def work(model: AppearanceModel, geometries: Sequence[PairGeometry]) -> dict[str, Work]:
    """Return the parts of a pair; maps and correspondence are means over `geometries`, whose splines they depend on."""

    def mean(works: Sequence[Work]) -> Work:
        return Work(float(np.mean([w.multiply_adds for w in works])), float(np.mean([w.bytes for w in works])))

    return {
        "textures": textures(model),
        "maps": mean([maps(model, g) for g in geometries]),
        "correspondence": mean([correspondence(model, g) for g in geometries]),
        "warps": warps(model),
    }


def seconds(parts: dict[str, Work], machine: Machine) -> float:
    """Return the time of all parts together at the machine's best rates, arithmetic and memory at the same time."""
    total = sum(parts.values(), Work())
    return machine.seconds(multiply_adds=total.multiply_adds, bytes=total.bytes)
