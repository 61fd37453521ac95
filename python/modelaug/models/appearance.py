"""The statistical shape and appearance model: a mean image with Gaussian shape, texture and pose.

H. Uzunova, M. Wilms, H. Handels, J. Ehrhardt: Training CNNs for image registration from few samples with model-based
data augmentation. MICCAI 2017, section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core, _storage, locality
from modelaug._arrays import Array, Field, Image
from modelaug._checked import Checked, Count, Limits, NonNegative
from modelaug.data.cohort import Cohort, LandmarkObject, label_map
from modelaug.locality.gaussian import GaussianModel
from modelaug.locality.merging import Rescale
from modelaug.locality.tapers import Taper
from modelaug.models.alignment import Transform, apply_pose, pose_parameter_count, procrustes
from modelaug.models.crossings import contour_pairs, count_crossings
from modelaug.models.normalization import Progress, borders, normalize
from modelaug.transforms.splines import SplineOptions
from modelaug.transforms.warping import pull

Levels = Annotated[int, Limits(1, 12)]
Coverage = Annotated[float, Limits(above=0.0, maximum=1.0)]


@dataclass(frozen=True)
class ShapeOptions(Checked):
    """Options of the Gaussian model of shapes, see `locality.fit_localized`.

    Parameters
    ----------
    levels
        Levels of locality, with thresholds halved from the largest distance; 1 is principal component analysis.
    method
        ``"merge"``: levels are merged one by one; ``"mixture"``: their tapers are averaged for one decomposition.
    taper
        ``"hard"`` (the paper's cut), ``"gaussian"`` or ``"wendland"``.
    coverage
        Fraction of the variance to keep at each level.
    rescale
        Scaling of variances when merging: ``"total"``, ``"tail"`` or ``"none"``.
    distances
        ``"euclidean"``; or ``"objects"``: along contours, with a price for changing the object.
    transform
        What alignment removes and the pose model learns, see `procrustes`.
    """

    levels: Levels = 4
    method: Literal["merge", "mixture"] = "merge"
    taper: Taper = "gaussian"
    coverage: Coverage = 0.99
    rescale: Rescale = "total"
    distances: Literal["euclidean", "objects"] = "euclidean"
    transform: Transform = "similarity"


@dataclass(frozen=True)
class TextureOptions(Checked):
    """Options of the model of shape-normalized textures, see `texture`.

    Parameters
    ----------
    engine
        ``"patchwork"``: subjects side by side with smooth seams; ``"fields"``: principal components, each weighted by a
        smooth random field; ``"basis"``: eigenimages.
    levels
        Levels of locality, with ranges halved from the largest distance; 1 is global. They are levels of random fields,
        or for the basis of eigenimages that are merged.
    coverage
        Fraction of the variance to keep.
    sharpness
        Sharpness of the seams of the patchwork: 0 blends all subjects evenly, a large number puts them side by side.
    taper, rescale, max_modes
        For the basis: as in `ShapeOptions`; and the largest number of eigenimages.
    """

    engine: Literal["fields", "basis", "patchwork"] = "patchwork"
    levels: Levels = 2
    coverage: Coverage = 1.0
    sharpness: NonNegative = 5.0
    taper: Taper = "wendland"
    rescale: Rescale = "total"
    max_modes: Count = 1000


@dataclass(frozen=True)
class ModelOptions(Checked, Mapping[str, dict[str, Any]]):
    """The options of a fitted model, also as a mapping of names to values: ``options["shape"]["levels"]``.

    Parameters
    ----------
    shape, texture, spline
        The options of `AppearanceModel.fit`.
    """

    shape: ShapeOptions
    texture: TextureOptions
    spline: SplineOptions

    def __iter__(self) -> Iterator[str]:
        return iter(("shape", "texture", "spline"))

    def __len__(self) -> int:
        return 3

    def __getitem__(self, name: str) -> dict[str, Any]:
        """Return the options of a group, by name."""
        if name not in list(self):
            raise KeyError(name)
        group: dict[str, Any] = asdict(getattr(self, name))
        return group


@dataclass(frozen=True, eq=False)
class AppearanceModel:
    """Gaussian models of shape, texture and pose, in the reference space of the mean shape.

    Attributes
    ----------
    shape : GaussianModel
        Aligned landmarks, m * d entries, point by point, in voxels of the reference space.
    texture : GaussianModel
        Shape-normalized images, c * prod(grid) entries, float32: principal components, or localized eigenimages if the
        engine is ``"basis"`` and has more than one level.
    texture_coefficients : ndarray, (n, k), float64
        Coefficients of the training subjects in the modes of `texture`.
    pose : GaussianModel
        Similarities from the reference space, with the parameters of `apply_pose`, in mm about `center`.
    reference : ndarray, (m, d)
        Mean landmarks in voxels.
    center : ndarray, (d,)
        Centre of the scaling and rotation of poses, in mm.
    labels : ndarray, (*grid), or None
        Label map of the reference space: the majority vote of the shape-normalized label maps at each voxel.
    intensities : ndarray, (c, 2), float32
        Range of the training images in each channel; drawn textures are clamped to it.
    background : ndarray, (c,), float32
        Intensity outside the reference grid: the median of the training images' borders.
    crossings : ndarray, (pairs,), int64
        Largest number of crossings of each pair of contours, or of one with itself, in the training shapes and their
        mean; in the order of `crossings.contour_pairs`.
    grid, spacing, objects
        As in the cohort.
    options : ModelOptions
        The options of the fit: ``shape``, ``texture`` and ``spline``.
    provenance : dict
        Names of the subjects, version, the variance of the modes of shape and texture relative to the data's, reports
        on their locality, and the largest landmark residual of each subject's normalization in voxels.
    """

    shape: GaussianModel
    texture: GaussianModel
    texture_coefficients: Array
    pose: GaussianModel
    reference: Array
    center: Array
    labels: npt.NDArray[np.integer[Any]] | None
    intensities: npt.NDArray[np.float32]
    background: npt.NDArray[np.float32]
    crossings: npt.NDArray[np.int64]
    grid: tuple[int, ...]
    spacing: Array
    objects: tuple[LandmarkObject, ...]
    options: ModelOptions = field(
        default_factory=lambda: ModelOptions(ShapeOptions(), TextureOptions(), SplineOptions())
    )
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options: Any = self.options
        if isinstance(options, ModelOptions):
            return
        try:  # a mapping, as which they were kept once
            object.__setattr__(self, "options", ModelOptions.from_json(options))
        except (TypeError, ValueError, AttributeError) as error:
            raise TypeError(f"options is {options!r} ({error}); pass ModelOptions(shape, texture, spline)") from error

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return len(self.background)

    @property
    def texture_options(self) -> TextureOptions:
        """Options of the textures."""
        return self.options.texture

    @property
    def spline(self) -> SplineOptions:
        """Options of the dense maps fitted to landmarks."""
        return self.options.spline

    @classmethod
    def fit(
        cls,
        cohort: Cohort,
        *,
        shape: ShapeOptions | None = None,
        texture: TextureOptions | None = None,
        spline: SplineOptions | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> AppearanceModel:
        """Fit the model of a cohort.

        Shapes are aligned to their mean; every image is warped to the mean shape by a B-spline fitted from the mean
        landmarks to its own (`normalization.normalize`); then Gaussian models are fitted to the shapes, with locality,
        and to the normalized images.

        Parameters
        ----------
        cohort
            At least 2 subjects.
        shape, texture, spline
            Options; defaults if None.
        threads
            Threads to use; None means all cores.
        progress
            Called with (subjects normalized, number of subjects) after each subject.

        Raises
        ------
        ValueError
            If the cohort has fewer than 2 subjects, all shapes or all textures are equal, or the mean shape leaves the
            grid.

        Examples
        --------
        >>> from modelaug import AppearanceModel, ShapeOptions, phantoms
        >>> cohort = phantoms.heart(8, shape=(48, 48))
        >>> classical = AppearanceModel.fit(cohort, shape=ShapeOptions(levels=1))
        >>> local = AppearanceModel.fit(cohort, shape=ShapeOptions(levels=3))
        >>> len(classical.shape.variances), len(local.shape.variances) > 7  # modes of shape
        (7, True)
        >>> local.provenance["subjects"][:2]
        ['000', '001']
        """
        options = ModelOptions(shape or ShapeOptions(), texture or TextureOptions(), spline or SplineOptions())
        if len(cohort) < 2:
            raise ValueError(f"cohort holds {len(cohort)} subject; pass at least 2")
        alignment = procrustes(cohort.landmarks * cohort.spacing, transform=options.shape.transform)
        shapes = alignment.shapes / cohort.spacing
        reference = shapes.mean(axis=0)
        if (reference < 0).any() or (reference > np.array(cohort.grid) - 1).any():
            raise ValueError(f"the cohort's mean shape leaves the grid {cohort.grid}; centre the images on the objects")

        count, n, points = _checks.thread_count(threads), len(cohort), reference * cohort.spacing
        normalized = normalize(cohort, reference, options.spline, threads=count, progress=progress)
        samples: dict[str, Any] = {"shape": shapes.reshape(n, -1), "texture": normalized.textures.reshape(n, -1)}
        models, reports = {}, {}
        models["shape"], reports["shape"] = shape_model(samples["shape"], points, cohort.objects, options.shape)
        models["texture"], reports["texture"] = _texture_model(samples["texture"], cohort, options.texture, threads)
        channels = np.moveaxis(cohort.images, 1, 0)
        model = cls(
            **models,
            texture_coefficients=models["texture"].coefficients(samples["texture"]).astype(np.float64),
            pose=_pose_model(alignment.poses),
            reference=reference,
            center=alignment.center,
            labels=normalized.labels,
            intensities=np.stack([[images.min(), images.max()] for images in channels]),
            background=np.array([np.median([borders(x) for x in images]) for images in channels], np.float32),
            crossings=np.max([count_crossings(x, cohort.objects) for x in (*shapes, reference)], axis=0),
            grid=cohort.grid,
            spacing=cohort.spacing,
            objects=cohort.objects,
            options=options,
            provenance={
                "subjects": list(cohort.names),
                "version": _core.build_config()["version"],
                "variance_kept": {
                    name: float(models[name].variances.sum() / x.var(axis=0, ddof=1, dtype=np.float64).sum())
                    for name, x in samples.items()
                },
                "locality": reports,
                "normalization_residuals": normalized.residuals.tolist(),
            },
        )
        if not model.mean_fits():
            raise ValueError(f"the posed mean shape leaves the grid {cohort.grid}; centre the images on the objects")
        return model

    def render(self, texture: Image, displacement: Field, out: Image | None = None) -> Image:
        """Warp a texture of the reference space by a displacement field, with the background outside its grid.

        Parameters
        ----------
        texture : ndarray, (c, *grid), float32
        displacement : ndarray, (d, *grid), float32
            Voxels, from the image to the reference space.
        out : ndarray, (c, *grid), float32, optional
            Array for the image; a new one by default.

        Returns
        -------
        ndarray, (c, *grid), float32
        """
        texture, displacement = (np.ascontiguousarray(a, dtype=np.float32) for a in (texture, displacement))
        image = np.empty_like(texture) if out is None else out
        for part, target, fill in zip(texture, image, self.background.tolist(), strict=True):
            pull(part, displacement, target, fill)
        return image

    def save(self, path: str | Path) -> None:
        """Write the model to one ``.npz`` file, which has a temporary name until it is complete."""
        _storage.save(path, self, AppearanceModel)

    @classmethod
    def load(cls, path: str | Path) -> AppearanceModel:
        """Read a model written by `save`, bit for bit.

        Raises
        ------
        ModelFileError
            If the file is missing, truncated, of another kind or version, or its arrays do not match.
        """
        return _storage.load(AppearanceModel, _checks.path("path", path))

    def mean_fits(self) -> bool:
        """Return whether the mean shape lies on the grid, in the reference space and in the mean pose."""
        posed = apply_pose(self.pose.mean, self.center, self.reference * self.spacing) / self.spacing
        both = np.concatenate([self.reference, posed])
        return bool(((both > -1e-9) & (both < np.array(self.grid) - 1 + 1e-9)).all())

    def check(self) -> None:
        """Raise ValueError or TypeError unless all parts match, so that no hostile file reaches a kernel."""
        self._check_parts()
        subjects = self.provenance["subjects"]
        if not isinstance(subjects, list) or not all(isinstance(each, str) for each in subjects) or len(subjects) < 2:
            raise TypeError("subjects are no list of two names or more")
        wanted = (len(subjects), len(self.texture.variances))
        if self.texture_coefficients.shape != wanted:
            raise ValueError(f"texture_coefficients has shape {self.texture_coefficients.shape}, not {wanted}")
        if not np.abs(self.texture_coefficients).sum(axis=1).max() < np.finfo(np.float32).max:
            raise ValueError("texture_coefficients are beyond single precision")
        self._check_reference()
        if self.labels is not None:
            label_map("labels", self.labels, self.grid)
        if self.intensities.shape != (self.channels, 2) or (self.intensities[:, 0] > self.intensities[:, 1]).any():
            raise ValueError(f"intensities is {self.intensities.tolist()}")

    def _check_parts(self) -> None:
        m, d = self.reference.shape
        expected = {
            "shape": (m * d, np.float64),
            "pose": (pose_parameter_count(d), np.float64),
            "texture": (self.channels * math.prod(self.grid), np.float32),
        }
        for name, (length, dtype) in expected.items():
            part: GaussianModel = getattr(self, name)
            if part.mean.shape != (length,) or part.mean.dtype != dtype or part.basis.dtype != dtype:
                raise ValueError(f"{name} has {part.mean.shape} entries of {part.mean.dtype}, not {length} of {dtype}")
            if not part.is_orthonormal():
                raise ValueError(f"modes of {name} are not orthonormal")
            # Draws must be finite in single precision.
            farthest = np.abs(part.mean).max() + 100 * np.sqrt(part.variances.sum())
            if not farthest < np.finfo(np.float32).max:
                raise ValueError(f"{name} reaches as far as {farthest:g}")

    def _check_reference(self) -> None:
        m, d = self.reference.shape
        if d != len(self.grid) or self.center.shape != (d,):
            raise ValueError(f"reference has {d} coordinates for the grid {self.grid}")
        if self.spacing.shape != (d,):
            raise ValueError(f"spacing has shape {self.spacing.shape} for {d} axes")
        _checks.spacing("spacing", self.spacing, d)
        if not self.mean_fits():
            raise ValueError(f"reference leaves the grid {self.grid}")
        # Shapes are drawn around the one and the mean image has its landmarks at the other: equal up to rounding.
        if np.abs(self.shape.mean - self.reference.ravel()).max() > 1e-6 * max(self.grid):
            raise ValueError("reference is not the mean of shape")
        if sorted(i for o in self.objects for i in o.indices) != list(range(m)):
            raise ValueError("objects do not name every landmark once")
        if self.crossings.shape != (len(contour_pairs(self.objects, d)),):
            raise ValueError(f"crossings has shape {self.crossings.shape}, not one entry per pair of contours")
        if (self.crossings < count_crossings(self.reference, self.objects)).any():
            raise ValueError(f"crossings is {self.crossings.tolist()}, fewer than the mean shape has")
        if (self.crossings > m * m).any():
            raise ValueError(f"crossings is {self.crossings.tolist()}, more than {m} segments can have")


def shape_model(
    shapes: Array, points: Array, objects: Sequence[LandmarkObject], options: ShapeOptions
) -> tuple[GaussianModel, dict[str, Any] | None]:
    """Fit the model of aligned shapes (n, m * d) with mean landmarks `points` in mm; return it and a report."""
    if options.levels == 1:
        return GaussianModel.from_samples(shapes, coverage=options.coverage), None
    euclidean = options.distances == "euclidean"
    between = locality.euclidean_distances(points) if euclidean else locality.multi_object_distances(points, objects)
    distances = locality.expand_distances(between, points.shape[1])
    model, report = locality.fit_localized(
        shapes,
        distances,
        locality.thresholds(distances, options.levels),
        method=options.method,
        taper=options.taper,
        coverage=options.coverage,
        rescale=options.rescale,
    )
    return model, _facts(report)


def _texture_model(
    textures: Image, cohort: Cohort, options: TextureOptions, threads: int | None
) -> tuple[GaussianModel, dict[str, Any] | None]:
    """Fit the model of normalized images (n, c * pixels); return it and its locality report."""
    if options.engine != "basis" or options.levels == 1:
        return GaussianModel.from_samples(textures, coverage=options.coverage), None
    diagonal = float(np.linalg.norm((np.array(cohort.grid) - 1) * cohort.spacing))
    model, report = locality.localized_eigenimages(
        textures,
        cohort.grid,
        diagonal * 0.5 ** np.arange(options.levels),
        taper=options.taper,
        coverage=options.coverage,
        max_modes=min(options.max_modes, textures.shape[1]),
        rescale=options.rescale,
        spacing=cohort.spacing,
        threads=threads,
    )
    return model, _facts(report)


def _facts(report: Any) -> dict[str, Any]:
    """Return a locality report in the types of JSON, so that a model equals its copy from a file."""
    facts = asdict(report)
    # Without the seconds, so that two fits of one cohort are equal, too.
    facts["levels"] = [{key: each for key, each in level.items() if key != "seconds"} for level in facts["levels"]]
    return {name: each._asdict() if isinstance(each, locality.Spread) else each for name, each in facts.items()}


def _pose_model(poses: Array) -> GaussianModel:
    """Return the Gaussian model of poses; equal poses have one mode of variance 0."""
    if np.ptp(poses, axis=0).max() < 1e-12:
        return GaussianModel(poses.mean(axis=0), np.eye(poses.shape[1], 1), np.zeros(1))
    return GaussianModel.from_samples(poses)
