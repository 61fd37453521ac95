"""Training pairs with known correspondence, drawn from an appearance model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._random import generator
from modelaug.alignment import apply_pose
from modelaug.fields import jacobian_determinant
from modelaug.gaussian import GaussianModel
from modelaug.model import AppearanceModel
from modelaug.texture import texture_engine
from modelaug.warping import warp
from modelaug.weights import landmark_spacing, weight_map

__all__ = ["Pair", "PairOptions", "PairSource", "PairSynthesizer", "stack_pairs"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pair:
    """A fixed and a moving image and the correspondence between them; stacked along a first axis in a batch.

    Attributes
    ----------
    fixed, moving : ndarray, (c, *grid), float32
        The images, ``fixed(x) ~ moving(x + flow(x))``.
    flow : ndarray, (d, *grid), float32
        Pull displacement in voxels on the fixed grid, components in array-axis order.
    weight : ndarray, (*grid), float32
        Confidence in the flow, between 0 and 1.
    landmarks_fixed, landmarks_moving : ndarray, (m, d), float64
        Corresponding landmarks in voxels; fixed landmarks plus flow land on moving landmarks.
    labels_fixed, labels_moving : ndarray, (*grid), integer, or None
        Label maps of the two images.
    info : dict
        How the pair came about; keys depend on the source.
    """

    fixed: npt.NDArray[np.float32]
    moving: npt.NDArray[np.float32]
    flow: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    landmarks_fixed: npt.NDArray[np.float64]
    landmarks_moving: npt.NDArray[np.float64]
    labels_fixed: npt.NDArray[np.integer[Any]] | None = None
    labels_moving: npt.NDArray[np.integer[Any]] | None = None
    info: dict[str, Any] = field(default_factory=dict)


class PairSource(Protocol):
    """Whatever makes training pairs. ``draw(i)`` is a pure function of i: same index, same bits."""

    def draw(self, index: int) -> Pair:
        """Return pair `index`, a non-negative integer."""
        ...


def stack_pairs(pairs: Sequence[Pair]) -> Pair:
    """Return one `Pair` whose arrays are those of `pairs`, stacked; ``info`` holds a list per key."""
    if not pairs:
        raise ValueError("pairs is empty; pass at least one pair")

    def stack(name: str) -> Any:
        values = [getattr(pair, name) for pair in pairs]
        return None if values[0] is None else np.stack(values)

    arrays = {name: stack(name) for name in Pair.__dataclass_fields__ if name != "info"}
    return Pair(**arrays, info={key: [pair.info[key] for pair in pairs] for key in pairs[0].info})


@dataclass(frozen=True)
class PairOptions:
    """How pairs are drawn.

    Parameters
    ----------
    flow
        ``"direct"``: a spline fitted between the two sets of landmarks, as in the paper. It agrees with the images at
        the landmarks; away from them it approximates.
    texture
        ``"independent"``: each image has a texture of its own, as in the paper; ``"shared"``: both have the same.
    pose
        ``"cohort"``: each image is posed like a subject of the cohort; ``"none"``: both are in the mean frame.
    weight_width
        Distance from the objects at which the weight reaches 0, as a multiple of the mean distance between neighbouring
        landmarks.
    max_attempts
        How often a draw is made anew whose landmarks leave the frame or whose maps fold; after that it is shrunk
        towards the mean until it does neither.
    """

    flow: Literal["direct"] = "direct"
    texture: Literal["independent", "shared"] = "independent"
    pose: Literal["cohort", "none"] = "cohort"
    weight_width: float = 4.0
    max_attempts: int = 20

    def __post_init__(self) -> None:
        _checks.choice("flow", self.flow, ("direct",))
        _checks.choice("texture", self.texture, ("independent", "shared"))
        _checks.choice("pose", self.pose, ("cohort", "none"))
        _checks.number("weight_width", self.weight_width, above=0.0)
        _checks.integer("max_attempts", self.max_attempts, minimum=1)


@dataclass(frozen=True, eq=False)
class _Coefficients:
    """Shape and pose of a pair: a row for the fixed and one for the moving image each."""

    shape: Array
    pose: Array


@dataclass(frozen=True, eq=False)
class _Geometry:
    """Where everything is in a pair: landmarks (m, d) and render maps (d, *grid) of both images, and the flow."""

    landmarks: list[Array]
    maps: list[npt.NDArray[np.float32]]
    flow: npt.NDArray[np.float32]
    residual: float


class PairSynthesizer:
    """Draws pairs from an appearance model; pair i is a pure function of (model, seed, options, i).

    Parameters
    ----------
    model
        A fitted or loaded model.
    seed
        Non-negative integer.
    options
        How pairs are drawn; defaults if None.
    """

    def __init__(self, model: AppearanceModel, *, seed: int = 0, options: PairOptions | None = None) -> None:
        self.model = model
        self.seed = _checks.integer("seed", seed, minimum=0)
        self.options = options or PairOptions()
        self._engine = texture_engine(model)
        self._textures = 1 if self.options.texture == "shared" else 2
        width = self.options.weight_width * landmark_spacing(model.reference, model.spacing)
        self._weight = weight_map(model.reference, model.objects, model.grid, model.spacing, width)

    def draw(self, index: int) -> Pair:
        """Return pair `index`.

        ``info`` holds the coefficients ``shape`` and ``pose`` that were used (a row for each image), ``attempts``,
        ``shrink`` (the factor on shape and pose, 1 unless every attempt failed), ``residual`` (largest distance in
        voxels at which a fixed landmark plus the flow misses its moving landmark) and ``folds`` (voxels at which the
        flow or a render map folds: 0).

        Raises
        ------
        TypeError, ValueError
            If `index` is not an integer from 0 to 2^64 - 1.
        """
        model = self.model
        coefficients, geometry, rng, attempts, shrink = self._accepted(index)
        textures = [self._engine.render(self._engine.numbers(rng)) for _ in range(self._textures)]
        fixed, moving = (model.render(textures[i % self._textures], geometry.maps[i]) for i in range(2))
        labels = [
            None if model.labels is None else warp(model.labels, u, order=0, border="constant", threads=1)
            for u in geometry.maps
        ]
        # A voxel whose partner lies outside the moving image teaches nothing.
        inside = np.ones(model.grid, dtype=np.float32)
        visible = warp(inside, geometry.flow, order=0, border="constant", threads=1)
        weight = visible * warp(self._weight, geometry.maps[0], threads=1)
        info = {
            "shape": coefficients.shape,
            "pose": coefficients.pose,
            "attempts": attempts,
            "shrink": shrink,
            "residual": geometry.residual,
            "folds": 0,
        }
        return Pair(
            fixed,
            moving,
            geometry.flow,
            weight,
            landmarks_fixed=geometry.landmarks[0],
            landmarks_moving=geometry.landmarks[1],
            labels_fixed=labels[0],
            labels_moving=labels[1],
            info=info,
        )

    def batch(self, indices: Sequence[int], threads: int | None = None) -> Pair:
        """Return the pairs at `indices`, stacked; the same bits as one by one.

        Parameters
        ----------
        indices
            Non-negative integers.
        threads
            Pairs to draw at the same time; None means as many as there are cores.
        """
        if len(indices) == 0:
            raise ValueError("indices is empty; name at least one pair")
        count = min(_checks.thread_count(threads), len(indices))
        if count == 1:
            return stack_pairs([self.draw(i) for i in indices])
        with ThreadPoolExecutor(count) as pool:
            return stack_pairs(list(pool.map(self.draw, indices)))

    def _accepted(self, index: int) -> tuple[_Coefficients, _Geometry, np.random.Generator, int, float]:
        """Return the first coefficients of valid geometry, this, the generator behind them, attempts and shrinkage."""
        for coefficients, rng, attempts, shrink in self._attempts(index):
            geometry = self._geometry(coefficients)
            if geometry is not None:
                return coefficients, geometry, rng, attempts, shrink
        raise RuntimeError("the model's mean pose folds; fit the model again")

    def _attempts(self, index: int) -> Iterator[tuple[_Coefficients, np.random.Generator, int, float]]:
        """Yield coefficients to try, with the number of the attempt and the shrinkage; in the end, the mean itself."""
        for attempt in range(self.options.max_attempts):
            rng = generator(self.seed, index, attempt)
            drawn = self._numbers(rng)
            yield drawn, rng, attempt + 1, 1.0
        shrink = 1.0
        while shrink > 0.0:
            shrink = shrink / 2 if shrink > 1e-3 else 0.0
            shrunk = _Coefficients(shrink * drawn.shape, shrink * drawn.pose)
            yield shrunk, rng, self.options.max_attempts, shrink

    def _numbers(self, rng: np.random.Generator) -> _Coefficients:
        # Always all of them and in this order, before the textures', so that no option changes what another number is.
        shape, pose = (
            rng.standard_normal((2, len(part.variances))) * np.sqrt(part.variances)
            for part in (self.model.shape, self.model.pose)
        )
        if self.options.pose == "none":
            pose[:] = 0.0
        return _Coefficients(shape, pose)

    def _geometry(self, coefficients: _Coefficients) -> _Geometry | None:
        """Return the pair's geometry, or None if a landmark leaves the frame or a map folds."""
        model, spline = self.model, self.model.spline
        upper = np.array(model.grid) - 1
        landmarks: list[Array] = []
        maps: list[npt.NDArray[np.float32]] = []
        for i in range(2):
            points = self._landmarks(coefficients, i)
            inside = np.clip(points, 0, upper)
            if np.abs(points - inside).max() > 1e-9:
                return None
            landmarks.append(inside)
        for points in landmarks:
            # A render map pulls the mean frame onto an image: from drawn landmarks to the mean ones.
            maps.append(spline.displacement(points, model.reference, model.grid).on_grid(threads=1))
            if _folds(maps[-1]):
                return None
        fitted = spline.displacement(landmarks[0], landmarks[1], model.grid)
        flow = fitted.on_grid(threads=1)
        return None if _folds(flow) else _Geometry(landmarks, maps, flow, float(fitted.residuals.max()))

    def _landmarks(self, coefficients: _Coefficients, i: int) -> Array:
        """Return the landmarks (m, d) of image `i` in voxels."""
        model = self.model
        points = _combine(model.shape, coefficients.shape[i]).reshape(model.reference.shape)
        if self.options.pose == "none":
            return points
        pose = _combine(model.pose, coefficients.pose[i])
        return apply_pose(pose, model.center, points * model.spacing) / model.spacing


def _folds(displacement: npt.NDArray[np.float32]) -> bool:
    return bool((jacobian_determinant(displacement, threads=1) <= 0).any())


def _combine(model: GaussianModel, coefficients: Array) -> Array:
    """Return mean + P b. Not a BLAS product, whose rounding may depend on the number of its threads."""
    return np.asarray(model.mean + np.einsum("pk,k->p", model.basis, coefficients))
