"""The statistical shape and appearance model: a mean image with Gaussian shape, texture and pose.

H. Uzunova, M. Wilms, H. Handels, J. Ehrhardt: Training CNNs for image registration from few samples with model-based
data augmentation. MICCAI 2017, section 2.1.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks, _core
from modelaug.alignment import Transform, apply_pose, pose_parameter_count, procrustes
from modelaug.cohort import Cohort, LandmarkObject
from modelaug.gaussian import GaussianModel
from modelaug.io.models import read_model, write_model
from modelaug.normalization import Progress, normalize
from modelaug.splines import SplineOptions
from modelaug.warping import warp

__all__ = ["AppearanceModel", "ShapeOptions", "TextureOptions"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ShapeOptions:
    """How shapes become a Gaussian model.

    Parameters
    ----------
    levels
        Levels of locality; 1 is principal component analysis.
    coverage
        Fraction of the variance to keep.
    transform
        What alignment takes away and the pose model keeps, see `procrustes`.
    """

    levels: int = 1
    coverage: float = 0.95
    transform: Transform = "similarity"

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _checks.integer("levels", self.levels, minimum=1, maximum=1))
        object.__setattr__(self, "coverage", _checks.number("coverage", self.coverage, above=0.0, maximum=1.0))
        _checks.choice("transform", self.transform, ("similarity", "rigid", "translation", "none"))


@dataclass(frozen=True)
class TextureOptions:
    """How shape-normalized images become a Gaussian model.

    Parameters
    ----------
    levels
        Levels of locality; 1 is principal component analysis.
    engine
        ``"basis"``: explicit eigenimages.
    coverage
        Fraction of the variance to keep.
    """

    levels: int = 1
    engine: Literal["basis"] = "basis"
    coverage: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _checks.integer("levels", self.levels, minimum=1, maximum=1))
        _checks.choice("engine", self.engine, ("basis",))
        object.__setattr__(self, "coverage", _checks.number("coverage", self.coverage, above=0.0, maximum=1.0))


@dataclass(frozen=True, eq=False)
class AppearanceModel:
    """Gaussian shape, texture and pose on the frame of the mean shape.

    Attributes
    ----------
    shape : GaussianModel
        Aligned landmarks, m * d entries, point by point, in voxels of the mean frame.
    texture : GaussianModel
        Shape-normalized images, c * prod(grid) entries, float32.
    pose : GaussianModel
        Similarities against the mean frame, parameters as in `apply_pose`, in mm about `center`.
    reference : ndarray, (m, d)
        Mean landmarks in voxels.
    center : ndarray, (d,)
        The point that poses scale and rotate about, in mm.
    labels : ndarray, (*grid), or None
        Label map of the mean frame: the commonest label at each voxel of the shape-normalized label maps.
    intensities : ndarray, (c, 2), float32
        Range of the training images in each channel; drawn textures are clamped to it.
    background : ndarray, (c,), float32
        Intensity beyond the frame: the median of the training images' borders.
    grid, spacing, objects
        As in the cohort.
    options : dict
        The options of the fit: ``shape``, ``texture`` and ``spline``.
    provenance : dict
        Names of the subjects, version, the fraction of the variance that the modes of shape and texture keep, and the
        largest landmark residual of each subject's normalization in voxels.
    """

    shape: GaussianModel
    texture: GaussianModel
    pose: GaussianModel
    reference: Array
    center: Array
    labels: npt.NDArray[np.integer[Any]] | None
    intensities: npt.NDArray[np.float32]
    background: npt.NDArray[np.float32]
    grid: tuple[int, ...]
    spacing: Array
    objects: tuple[LandmarkObject, ...]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return len(self.background)

    @property
    def spline(self) -> SplineOptions:
        """How the model turns landmarks into dense maps."""
        return SplineOptions(**self.options["spline"])

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
        """Learn the model of a cohort.

        Shapes are aligned to their mean; every image is pulled onto the mean shape by a B-spline fitted from the mean
        landmarks to its own; principal components of the shapes and of the normalized images follow. Where a normalized
        image looks beyond its own frame it takes the mean of the subjects that do not.

        Parameters
        ----------
        cohort
            At least 2 subjects.
        shape, texture, spline
            Options; defaults if None.
        threads
            Threads to use; None means all cores.
        progress
            Called with (subjects done, subjects in all) as images are normalized.

        Raises
        ------
        ValueError
            If the cohort has fewer than 2 subjects, all shapes or all textures are equal, or the mean shape leaves the
            grid.
        """
        shape, texture, spline = shape or ShapeOptions(), texture or TextureOptions(), spline or SplineOptions()
        if len(cohort) < 2:
            raise ValueError(f"cohort holds {len(cohort)} subject; pass at least 2")
        alignment = procrustes(cohort.landmarks * cohort.spacing, transform=shape.transform)
        shapes = alignment.shapes / cohort.spacing
        reference = shapes.mean(axis=0)
        if (reference < 0).any() or (reference > np.array(cohort.grid) - 1).any():
            raise ValueError(
                f"the cohort's mean shape leaves the grid {cohort.grid}; pass images centred on the objects"
            )

        normalized = normalize(cohort, reference, spline, threads=_checks.thread_count(threads), progress=progress)
        samples: dict[str, npt.NDArray[Any]] = {
            "shape": shapes.reshape(len(cohort), -1),
            "texture": normalized.textures.reshape(len(cohort), -1),
        }
        models = {
            "shape": GaussianModel.from_samples(samples["shape"], coverage=shape.coverage),
            "texture": GaussianModel.from_samples(samples["texture"], coverage=texture.coverage),
        }
        channels = np.moveaxis(cohort.images, 1, 0).reshape(cohort.images.shape[1], -1)
        model = cls(
            **models,
            pose=_pose_model(alignment.poses),
            reference=reference,
            center=alignment.center,
            labels=normalized.labels,
            intensities=np.stack([channels.min(axis=1), channels.max(axis=1)], axis=1),
            background=np.median(_borders(cohort.images), axis=1).astype(np.float32),
            grid=cohort.grid,
            spacing=cohort.spacing,
            objects=cohort.objects,
            options={"shape": asdict(shape), "texture": asdict(texture), "spline": asdict(spline)},
            provenance={
                "subjects": list(cohort.names),
                "version": _core.build_config()["version"],
                "variance_kept": {
                    name: float(models[name].variances.sum() / x.var(axis=0, ddof=1, dtype=np.float64).sum())
                    for name, x in samples.items()
                },
                "normalization_residuals": normalized.residuals.tolist(),
            },
        )
        if not model.mean_fits():
            raise ValueError(
                f"the mean shape leaves the grid {cohort.grid} in its mean pose; centre the images on the objects"
            )
        return model

    def render(
        self, texture: npt.NDArray[np.float32], displacement: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Pull a texture of the mean frame through a displacement field; beyond the frame lies the background.

        Parameters
        ----------
        texture : ndarray, (c, *grid), float32
        displacement : ndarray, (d, *grid), float32
            Voxels, from the image to the mean frame.

        Returns
        -------
        ndarray, (c, *grid), float32
        """
        channels = zip(texture, self.background.tolist(), strict=True)
        return np.stack([warp(part, displacement, border="constant", fill=fill, threads=1) for part, fill in channels])

    def save(self, path: str | Path) -> None:
        """Write the model to one ``.npz`` file, under a temporary name until it is complete."""
        write_model(path, self)

    @classmethod
    def load(cls, path: str | Path) -> AppearanceModel:
        """Read a model written by `save`, bit for bit.

        Raises
        ------
        ModelFileError
            If the file is missing, truncated, of another kind or version, or its arrays do not fit together.
        """
        return read_model(path, cls)

    def mean_fits(self) -> bool:
        """Return whether the mean shape lies on the grid, in the mean frame and in the mean pose."""
        posed = apply_pose(self.pose.mean, self.center, self.reference * self.spacing) / self.spacing
        both = np.concatenate([self.reference, posed])
        return bool(((both > -1e-9) & (both < np.array(self.grid) - 1 + 1e-9)).all())

    def check(self) -> None:
        """Raise ValueError or TypeError unless all parts fit together, so that no hostile file can reach a kernel."""
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
        if d != len(self.grid) or self.center.shape != (d,):
            raise ValueError(f"reference has {d} coordinates for the grid {self.grid}")
        if self.spacing.shape != (d,) or self.spacing.min() <= 0:
            raise ValueError(f"spacing is {self.spacing}")
        if not self.mean_fits():
            raise ValueError(f"reference leaves the grid {self.grid}")
        if sorted(i for o in self.objects for i in o.indices) != list(range(m)):
            raise ValueError("objects do not name every landmark once")
        if self.labels is not None and (self.labels.shape != self.grid or self.labels.dtype.kind not in "iu"):
            raise ValueError(f"labels has shape {self.labels.shape} and dtype {self.labels.dtype}")
        if self.intensities.shape != (self.channels, 2) or (self.intensities[:, 0] > self.intensities[:, 1]).any():
            raise ValueError(f"intensities is {self.intensities.tolist()}")
        ShapeOptions(**self.options["shape"])
        TextureOptions(**self.options["texture"])
        SplineOptions(**self.options["spline"])


def _borders(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the values of images (n, c, *grid) on the border of the grid, (c, values)."""
    rim = np.ones(images.shape[2:], dtype=bool)
    if min(rim.shape) > 2:
        rim[(slice(1, -1),) * rim.ndim] = False
    return np.moveaxis(images[:, :, rim], 1, 0).reshape(images.shape[1], -1)


def _pose_model(poses: Array) -> GaussianModel:
    """Return the Gaussian of the poses; one mode of variance 0 if they are all equal."""
    if np.ptp(poses, axis=0).max() < 1e-12:
        q = poses.shape[1]
        return GaussianModel(poses.mean(axis=0), np.eye(q)[:, :1], np.zeros(1))
    return GaussianModel.from_samples(poses)
