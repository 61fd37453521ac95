"""Where everything is in a pair: landmarks, render maps and flow, drawn until no map folds."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from modelaug import _core
from modelaug._arrays import Array, Field
from modelaug._old_names import names_elsewhere
from modelaug._random import Stream, generator
from modelaug.locality.gaussian import GaussianModel
from modelaug.models.alignment import inverse_pose, pose_matrix
from modelaug.models.appearance import AppearanceModel
from modelaug.models.crossings import count_crossings
from modelaug.synthesis.attempts import attempts
from modelaug.synthesis.options import PairOptions
from modelaug.synthesis.pairs import PairInfo
from modelaug.synthesis.residual import ResidualLattice
from modelaug.transforms.diffeomorphic import LandmarkMap, correspond, fit_map
from modelaug.transforms.splines import SplineOptions

ACCURACY: Final = 0.01
"""Largest residual of a correspondence, in voxels."""


@dataclass(frozen=True, eq=False)
class PairOfMaps:
    """Two maps from the voxels of the fixed and the moving image to the image that both show.

    Attributes
    ----------
    maps : tuple of LandmarkMap
    displacements : tuple of ndarray, (d, *grid), float32
        Those of the maps at all voxels.
    flow : ndarray, (d, *grid), float32
    inside : ndarray, (*grid), bool
        Voxels of the fixed image whose partner lies inside the moving one.
    info : PairInfo
        At least ``attempts``, ``shrink``, ``residual``, ``outside`` and ``folds``.
    """

    maps: tuple[LandmarkMap, LandmarkMap]
    displacements: tuple[Field, Field]
    flow: Field
    inside: npt.NDArray[np.bool_]
    info: PairInfo

    def shown(self, points: Array) -> tuple[Array, Array]:
        """Return where the two images show `points` (m, d) of the image behind them; beyond their frames, perhaps."""
        fixed, moving = (chi.solve(points, points)[0] for chi in self.maps)
        return fixed, moving


@dataclass(frozen=True, eq=False)
class PairGeometry(PairOfMaps):
    """The geometry of a pair; the fixed image first, the moving one second.

    A draw is valid if

    - all landmarks are inside the frame;
    - no two contours cross more often than in any training shape;
    - both render maps are one-to-one, in steps if need be, and miss no landmark by more than
      ``SplineOptions.max_residual``;
    - the Jacobian determinants of both maps and of the flow are positive at all voxels, by finite differences;
    - the flow solves for the correspondence to a hundredth of a voxel, and its interpolation at the fixed landmarks
      misses no moving one by more than ``SplineOptions.max_residual``.

    Attributes
    ----------
    landmarks : tuple of ndarray, (m, d), float64
        Where the landmarks are in the images, in voxels: where the render maps have the mean shape.
    maps, displacements, flow, inside
        As of `PairOfMaps`; the maps are the render maps, to the voxels of the mean frame.
    info : PairInfo
        ``shape``, ``pose``, ``attempts``, ``rejected``, ``shrink``, ``steps``, ``landmark_shift``, ``landmark_error``,
        ``residual`` (in the mean frame), ``outside``, ``folds`` and, with ``flow="direct"``, ``disagreement``.
    numbers : numpy.random.Generator
        Behind the accepted attempt, where the textures' numbers come from.
    """

    landmarks: tuple[Array, Array]
    numbers: np.random.Generator


@dataclass(frozen=True, eq=False)
class Coefficients:
    """What a geometry is made of: a row for the fixed and one for the moving image each.

    Behind `numbers` lie those of the textures.
    """

    shape: Array
    pose: Array
    residual: Array | None
    numbers: np.random.Generator

    def shrunk(self, factor: float) -> Coefficients:
        """Return all coefficients multiplied with a factor; the numbers of the textures stay."""
        residual = None if self.residual is None else factor * self.residual
        return Coefficients(factor * self.shape, factor * self.pose, residual, self.numbers)


class _Invalid(Exception):
    """Says in one word why a draw is not valid."""


@dataclass(eq=False)
class GeometrySource:
    """Draws geometries; number i is a pure function of (model, seed, options, i)."""

    model: AppearanceModel
    seed: int
    options: PairOptions
    _residual: ResidualLattice | None = field(init=False, default=None)
    _spline: SplineOptions = field(init=False)
    _upper: Array = field(init=False)
    _identity: Array = field(init=False)
    _millimetres: Array = field(init=False)

    def __post_init__(self) -> None:
        self._spline = self.model.spline
        self._upper = np.array(self.model.grid) - 1.0
        d, spacing = len(self.model.grid), self.model.spacing
        self._identity = np.eye(d, d + 1)
        # What makes of an affine map of millimetres one of voxels.
        self._millimetres = np.append(spacing, 1.0) / spacing[:, None]
        residual = self.options.residual
        if residual is not None:
            self._residual = ResidualLattice(residual, self.model.grid, self.model.spacing)

    def draw(self, index: int, out: Field | None = None) -> PairGeometry:
        """Return the first valid geometry for `index`, its flow in `out` if that is given."""
        rejected: list[str] = []
        for coefficients, attempt, shrink in self._attempts(index):
            info: PairInfo = {
                "shape": coefficients.shape,
                "pose": coefficients.pose,
                "attempts": attempt,
                "rejected": rejected[: attempt - 1] if shrink == 1.0 else rejected[:attempt],
                "shrink": shrink,
            }
            try:
                return self._geometry(coefficients, info, out)
            except _Invalid as reason:
                rejected.append(str(reason))
        raise RuntimeError(f"the model's mean pose cannot be rendered ({rejected[-1]}); fit the model again")

    def _attempts(self, index: int) -> Iterator[tuple[Coefficients, int, float]]:
        return attempts(functools.partial(self._coefficients, index), Coefficients.shrunk, self.options.max_attempts)

    def _coefficients(self, index: int, attempt: int) -> Coefficients:
        numbers = generator(self.seed, index, attempt)
        # Always all of them and in this order, before the textures', so that no option changes what another number is.
        shape, pose = (
            numbers.standard_normal((2, len(part.variances))) * np.sqrt(part.variances)
            for part in (self.model.shape, self.model.pose)
        )
        if self.options.pose == "none":
            pose[:] = 0.0
        elif self.options.pose_limit is not None:
            limit = self.options.pose_limit * np.sqrt(self.model.pose.variances)
            pose = np.clip(pose, -limit, limit)
        residual = None
        if self._residual is not None:
            optional = generator(self.seed, index, attempt, Stream.RESIDUAL)
            residual = np.stack([self._residual.numbers(optional, len(self.model.grid)) for _ in range(2)])
        return Coefficients(shape, pose, residual, numbers)

    def _geometry(self, coefficients: Coefficients, info: PairInfo, out: Field | None) -> PairGeometry:
        """Return the pair's geometry, or raise _Invalid."""
        strict = not self.options.allow_folds
        poses = [self._pose(coefficients, i) for i in range(2)]
        drawn = [self._inside(self._at(poses[i][0], self._shape(coefficients, i)), 1e-9) for i in range(2)]
        if strict and any((count_crossings(x, self.model.objects) > self.model.crossings).any() for x in drawn):
            raise _Invalid("crossings")
        rendered = [self._render_map(drawn[i], poses[i], coefficients, i) for i in range(2)]
        (landmarks_fixed, fixed), (landmarks_moving, moving) = rendered
        displacements = (fixed.displacement(), moving.displacement())
        if strict and any(_core.count_folds(u, 1) > 0 for u in displacements):
            raise _Invalid("folds")
        flow, inside, facts = self._flow(displacements[0], rendered, out)
        info |= {
            "steps": np.array([len(fixed.steps), len(moving.steps)]),
            "landmark_shift": max(_longest(rendered[i][0] - drawn[i]) for i in range(2)),
            **facts,
        }
        return PairGeometry(
            (fixed, moving),
            displacements,
            flow,
            inside,
            info,
            (landmarks_fixed, landmarks_moving),
            coefficients.numbers,
        )

    def _pose(self, coefficients: Coefficients, i: int) -> tuple[Array, Array]:
        """Return the affine maps (d, d + 1) from the mean frame to image `i` and back, in voxels."""
        if self.options.pose == "none":
            return self._identity, self._identity
        pose, center = _combine(self.model.pose, coefficients.pose[i]), self.model.center
        there, back = pose_matrix(pose, center), inverse_pose(pose, center)
        return np.ascontiguousarray(there * self._millimetres), np.ascontiguousarray(back * self._millimetres)

    def _shape(self, coefficients: Coefficients, i: int) -> Array:
        """Return the shape (m, d) in voxels of the mean frame that the coefficients of image `i` stand for."""
        return _combine(self.model.shape, coefficients.shape[i]).reshape(self.model.reference.shape)

    def _at(self, affine: Array, points: Array) -> Array:
        """Return where an affine map puts points (m, d)."""
        return (
            points
            if affine is self._identity
            else _core.evaluate_composition([], affine, self.model.grid, points, 1)[0]
        )

    def _inside(self, landmarks: Array, slack: float) -> Array:
        inside = np.minimum(np.maximum(landmarks, 0.0), self._upper)
        if not np.abs(landmarks - inside).max() <= slack:  # nor if they are NaN
            raise _Invalid("frame")
        return inside

    def _render_map(
        self, drawn: Array, pose: tuple[Array, Array], coefficients: Coefficients, i: int
    ) -> tuple[Array, LandmarkMap]:
        """Return the landmarks of image `i` and the map that renders it: residual deformation, shape, pose."""
        model, options = self.model, self.options
        before: tuple[Array, ...] = ()
        if coefficients.residual is not None and self._residual is not None:
            before = (self._residual.coefficients(coefficients.residual[i]),)
        # A render map pulls the mean frame onto an image: from drawn landmarks to the mean ones.
        chi = fit_map(
            drawn,
            self._at(pose[0], model.reference),
            self._spline,
            model.grid,
            affine=pose[1],
            before=before,
            folds=options.allow_folds,
        )
        if not options.allow_folds and chi.residuals.max() > self._spline.max_residual:
            raise _Invalid("map")
        # What the image shows at the mean landmarks is the truth, not where a spline was to put them.
        landmarks, missed = chi.solve(model.reference, drawn)
        if missed.max() > ACCURACY:
            if not options.allow_folds:
                raise _Invalid("map")
            landmarks = drawn
        return self._inside(landmarks, ACCURACY), chi

    def _flow(
        self, shown: Field, rendered: list[tuple[Array, LandmarkMap]], out: Field | None
    ) -> tuple[Field, npt.NDArray[np.bool_], PairInfo]:
        """Return the flow, where its partners are inside, and facts about it, or raise _Invalid.

        `shown` is the displacement of the fixed image.
        """
        (landmarks_fixed, fixed), (landmarks_moving, moving) = rendered
        spline = self._spline
        strict, composed = not self.options.allow_folds, self.options.flow == "composed"
        facts: PairInfo = {}
        if composed:
            flow, residual = correspond(shown, moving, out=out)
        else:
            direct = fit_map(landmarks_fixed, landmarks_moving, spline, self.model.grid, folds=not strict)
            flow = direct.displacement()
            if out is not None:
                out[:] = flow
                flow = out
            residual = _disagreement(fixed, moving, flow)
        solved = float(residual.max()) <= ACCURACY  # False if it is NaN
        inside, outside = _core.find_inside(flow, 1)
        if not composed:
            facts["disagreement"] = np.percentile(residual[inside] if inside.any() else [0.0], [50, 95, 100])
        facts |= {
            "landmark_error": _longest(
                landmarks_fixed + _core.sample_field(flow, landmarks_fixed, 1) - landmarks_moving
            ),
            "residual": float(np.multiply(residual, inside, out=residual).max()),
            "outside": outside,
            "folds": _core.count_folds(flow, 1),
        }
        if strict and facts["folds"]:
            raise _Invalid("folds")
        if strict and (facts["landmark_error"] > spline.max_residual or (composed and not solved)):
            raise _Invalid("flow")
        return flow, inside, facts


def _disagreement(fixed: LandmarkMap, moving: LandmarkMap, flow: Field) -> Field:
    """Return |moving(x + flow(x)) - fixed(x)| at all voxels, (*grid)."""
    voxels = np.indices(fixed.grid).reshape(len(flow), -1).T.astype(np.float64)
    partners = voxels + flow.reshape(len(flow), -1).T
    distances: Array = np.sqrt(((moving.at(partners) - fixed.at(voxels)) ** 2).sum(axis=1))
    return np.asarray(distances, dtype=np.float32).reshape(fixed.grid)


def _longest(vectors: Array) -> float:
    return float(np.sqrt((vectors**2).sum(axis=-1)).max())


def _combine(model: GaussianModel, coefficients: Array) -> Array:
    """Return mean + P b. Not a BLAS product, whose rounding may depend on the number of its threads."""
    return np.asarray(model.mean + np.einsum("pk,k->p", model.basis, coefficients))


__getattr__ = names_elsewhere(__name__, Geometry="PairGeometry")
