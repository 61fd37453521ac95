"""The geometry of pairs: landmarks, render maps and flow, drawn until all maps are diffeomorphic."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
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

ACCURACY: Final = 0.01
"""Largest residual of a correspondence, in voxels."""


@dataclass(frozen=True, eq=False)
class PairOfMaps:
    """Two maps from the voxels of a fixed and a moving image to the image that both show, and their flow.

    Attributes
    ----------
    maps : tuple of LandmarkMap
    displacements : tuple of ndarray, (d, *grid), float32
        Displacements of the maps at all voxels.
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
        """Return the positions in the two images, inside or not, of points (m, d) of the image that both show."""
        fixed, moving = (chi.solve(points, points)[0] for chi in self.maps)
        return fixed, moving


@dataclass(frozen=True, eq=False)
class PairGeometry(PairOfMaps):
    """The geometry of a pair, of the fixed image first and the moving image second.

    A draw is valid if

    - all landmarks are inside the grid;
    - no two contours cross more often than in any training shape;
    - both render maps are diffeomorphic, in one or more steps, and miss no landmark by more than
      ``SplineOptions.max_residual``;
    - the Jacobian determinants of both maps and of the flow are positive at all voxels, by finite differences;
    - the flow solves for the correspondence to a hundredth of a voxel, and interpolated at the fixed landmarks it
      misses no moving one by more than ``SplineOptions.max_residual``.

    Attributes
    ----------
    landmarks : tuple of ndarray, (m, d), float64
        Landmarks of the images in voxels: the points that the render maps take to the mean shape.
    maps, displacements, flow, inside
        As in `PairOfMaps`; the maps are the render maps to the reference space, in voxels.
    info : PairInfo
        ``shape``, ``pose``, ``attempts``, ``rejected``, ``shrink``, ``steps``, ``landmark_shift``, ``landmark_error``,
        ``residual`` (in the reference space), ``outside``, ``folds`` and, with ``flow="direct"``, ``disagreement``.
    numbers : numpy.random.Generator
        Generator after the accepted attempt, of the numbers of the textures.
    """

    landmarks: tuple[Array, Array]
    numbers: np.random.Generator


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Coefficients of a geometry, with a row for the fixed and one for the moving image.

    The generator `numbers` goes on with the numbers of the textures.
    """

    shape: Array
    pose: Array
    residual: Array | None
    numbers: np.random.Generator

    def shrunk(self, factor: float) -> Coefficients:
        """Return all coefficients multiplied with a factor; textures stay the same."""
        residual = None if self.residual is None else factor * self.residual
        return Coefficients(factor * self.shape, factor * self.pose, residual, self.numbers)


class _Invalid(Exception):
    """The reason, in one word, why a draw is not valid."""


class GeometrySource:
    """Source of the geometries of pairs; number i is a pure function of (model, seed, options, i)."""

    def __init__(self, model: AppearanceModel, seed: int, options: PairOptions) -> None:
        self.model, self.seed, self.options = model, seed, options
        self._spline, grid, spacing = model.spline, model.grid, model.spacing
        self._upper = np.array(grid) - 1.0
        self._identity = np.eye(len(grid), len(grid) + 1)
        # Factors that convert an affine map from millimetres to voxels.
        self._to_voxels = np.append(spacing, 1.0) / spacing[:, None]
        self._residual = None if options.residual is None else ResidualLattice(options.residual, grid, spacing)

    def draw(self, index: int, out: Field | None = None) -> PairGeometry:
        """Return the first valid geometry for `index`, with its flow in `out` if given."""
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
        """Yield coefficients until a geometry is valid, see `attempts`."""
        return attempts(functools.partial(self._coefficients, index), Coefficients.shrunk, self.options.max_attempts)

    def _coefficients(self, index: int, attempt: int) -> Coefficients:
        """Draw the coefficients of an attempt."""
        numbers = generator(self.seed, index, attempt)
        # Always all of them in this order, before those of the textures, so that no option changes another number.
        deviations = (np.sqrt(part.variances) for part in (self.model.shape, self.model.pose))
        shape, pose = (numbers.standard_normal((2, len(deviation))) * deviation for deviation in deviations)
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
        """Return the geometry for coefficients, or raise _Invalid."""
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
        landmarks = (landmarks_fixed, landmarks_moving)
        return PairGeometry((fixed, moving), displacements, flow, inside, info, landmarks, coefficients.numbers)

    def _pose(self, coefficients: Coefficients, i: int) -> tuple[Array, Array]:
        """Return the affine maps (d, d + 1) from the reference space to image `i` and back, in voxels."""
        if self.options.pose == "none":
            return self._identity, self._identity
        pose, center = _combine(self.model.pose, coefficients.pose[i]), self.model.center
        there, back = pose_matrix(pose, center), inverse_pose(pose, center)
        return np.ascontiguousarray(there * self._to_voxels), np.ascontiguousarray(back * self._to_voxels)

    def _shape(self, coefficients: Coefficients, i: int) -> Array:
        """Return the shape (m, d) of image `i` in voxels of the reference space."""
        return _combine(self.model.shape, coefficients.shape[i]).reshape(self.model.reference.shape)

    def _at(self, affine: Array, points: Array) -> Array:
        """Apply an affine map to points (m, d)."""
        if affine is self._identity:
            return points
        return _core.evaluate_composition([], affine, self.model.grid, points, 1)[0]

    def _inside(self, landmarks: Array, slack: float) -> Array:
        """Return landmarks moved onto the grid, or raise _Invalid if one is farther outside than `slack` voxels."""
        inside = np.minimum(np.maximum(landmarks, 0.0), self._upper)
        if not np.abs(landmarks - inside).max() <= slack:  # nor if they are NaN
            raise _Invalid("frame")
        return inside

    def _render_map(
        self, drawn: Array, pose: tuple[Array, Array], coefficients: Coefficients, i: int
    ) -> tuple[Array, LandmarkMap]:
        """Return the landmarks of image `i` and its render map: residual deformation, shape, pose."""
        model, spline, folds = self.model, self._spline, self.options.allow_folds
        before: tuple[Array, ...] = ()
        if coefficients.residual is not None and self._residual is not None:
            before = (self._residual.coefficients(coefficients.residual[i]),)
        # A render map chi pulls the reference space onto an image: from drawn landmarks to mean landmarks.
        posed = self._at(pose[0], model.reference)
        chi = fit_map(drawn, posed, spline, model.grid, affine=pose[1], before=before, folds=folds)
        if not folds and chi.residuals.max() > spline.max_residual:
            raise _Invalid("map")
        # The true landmarks are those that the image shows, which the spline may have moved.
        landmarks, missed = chi.solve(model.reference, drawn)
        if missed.max() > ACCURACY:
            if not folds:
                raise _Invalid("map")
            landmarks = drawn
        return self._inside(landmarks, ACCURACY), chi

    def _flow(
        self, shown: Field, rendered: list[tuple[Array, LandmarkMap]], out: Field | None
    ) -> tuple[Field, npt.NDArray[np.bool_], PairInfo]:
        """Return the flow, the mask of voxels with a partner inside, and info on both, or raise _Invalid.

        `shown` is the displacement of the fixed image's map.
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
        reached = landmarks_fixed + _core.sample_field(flow, landmarks_fixed, 1)
        facts |= {
            "landmark_error": _longest(reached - landmarks_moving),
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
    """Return the largest length of vectors (..., d)."""
    return float(np.sqrt((vectors**2).sum(axis=-1)).max())


def _combine(model: GaussianModel, coefficients: Array) -> Array:
    """Return mean + P b, not by a BLAS product, whose rounding may depend on the number of its threads."""
    return np.asarray(model.mean + np.einsum("pk,k->p", model.basis, coefficients))


__getattr__ = names_elsewhere(__name__, Geometry="PairGeometry")
