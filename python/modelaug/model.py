"""The statistical shape and appearance model: a mean image with Gaussian shape, texture and pose.

H. Uzunova, M. Wilms, H. Handels, J. Ehrhardt: Training CNNs for image registration from few samples with model-based
data augmentation. MICCAI 2017, section 2.1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug.alignment import Transform, pose_parameter_count, procrustes
from modelaug.cohort import Cohort, LandmarkObject
from modelaug.gaussian import GaussianModel
from modelaug.io.archives import ModelFileError, read_archive, write_archive
from modelaug.splines import BSpline, fit_bspline
from modelaug.warping import warp

__all__ = ["AppearanceModel", "ShapeOptions", "SplineOptions", "TextureOptions"]

FORMAT = "modelaug appearance model"
FORMAT_VERSION = 1

Array = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]


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
        _checks.integer("levels", self.levels, minimum=1, maximum=1)
        _checks.number("coverage", self.coverage, above=0.0, maximum=1.0)
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
        _checks.integer("levels", self.levels, minimum=1, maximum=1)
        _checks.choice("engine", self.engine, ("basis",))
        _checks.number("coverage", self.coverage, above=0.0, maximum=1.0)


@dataclass(frozen=True)
class SplineOptions:
    """How landmarks become dense maps, see `fit_bspline`.

    Parameters
    ----------
    tolerance
        Largest residual at a landmark, in voxels.
    max_levels
        Largest number of lattices.
    """

    tolerance: float = 0.25
    max_levels: int = 8

    def __post_init__(self) -> None:
        _checks.number("tolerance", self.tolerance, minimum=0.0)
        _checks.integer("max_levels", self.max_levels, minimum=1)

    def displacement(self, sites: Array, targets: Array, grid: tuple[int, ...]) -> BSpline:
        """Return the spline that moves `sites` to `targets`, both (m, d) in voxels."""
        return fit_bspline(sites, targets - sites, grid, tolerance=self.tolerance, max_levels=self.max_levels)


@dataclass(frozen=True)
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
    intensities : tuple of two floats
        Range of the training images; drawn textures are clamped to it.
    background : float
        Intensity beyond the frame: the median of the training images' borders.
    grid, channels, spacing, objects
        As in the cohort.
    options : dict
        The options of the fit: ``shape``, ``texture`` and ``spline``.
    provenance : dict
        Names of the subjects, version, and the largest landmark residual of each subject's normalization in voxels.
    """

    shape: GaussianModel
    texture: GaussianModel
    pose: GaussianModel
    reference: Array
    center: Array
    labels: npt.NDArray[np.integer[Any]] | None
    intensities: tuple[float, float]
    background: float
    grid: tuple[int, ...]
    channels: int
    spacing: Array
    objects: tuple[LandmarkObject, ...]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

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

        background = float(np.median(np.concatenate([_border(image) for image in cohort.images])))
        textures, labels, residuals = _normalize(cohort, reference, spline, _checks.thread_count(threads), progress)
        return cls(
            shape=GaussianModel.from_samples(shapes.reshape(len(cohort), -1), coverage=shape.coverage),
            texture=GaussianModel.from_samples(textures, coverage=texture.coverage),
            pose=_pose_model(alignment.poses),
            reference=reference,
            center=alignment.center,
            labels=None if labels is None else _commonest(labels),
            intensities=(float(cohort.images.min()), float(cohort.images.max())),
            background=background,
            grid=cohort.grid,
            channels=cohort.images.shape[1],
            spacing=cohort.spacing,
            objects=cohort.objects,
            options={"shape": asdict(shape), "texture": asdict(texture), "spline": asdict(spline)},
            provenance={
                "subjects": list(cohort.names),
                "version": _version(),
                "normalization_residuals": [round(r, 6) for r in residuals],
            },
        )

    def save(self, path: str | Path) -> None:
        """Write the model to one ``.npz`` file, under a temporary name until it is complete."""
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "grid": self.grid,
            "channels": self.channels,
            "objects": [{"name": o.name, "kind": o.kind, "indices": o.indices} for o in self.objects],
            "intensities": self.intensities,
            "background": self.background,
            "options": self.options,
            "provenance": self.provenance,
        }
        arrays: dict[str, npt.NDArray[Any]] = {"header": np.array(json.dumps(header))}
        for name in ("shape", "texture", "pose"):
            part: GaussianModel = getattr(self, name)
            arrays |= {f"{name}_mean": part.mean, f"{name}_modes": part.basis.T, f"{name}_variances": part.variances}
        arrays |= {"reference": self.reference, "center": self.center, "spacing": self.spacing}
        if self.labels is not None:
            arrays["labels"] = self.labels
        write_archive(path, arrays)

    @classmethod
    def load(cls, path: str | Path) -> AppearanceModel:
        """Read a model written by `save`, bit for bit.

        Raises
        ------
        ModelFileError
            If the file is missing, truncated, of another kind or version, or its arrays do not fit together.
        """
        arrays = read_archive(path, required=("header",))
        try:
            header = json.loads(str(arrays["header"]))
            if header["format"] != FORMAT:
                raise ModelFileError(f"{path} holds {header['format']!r}; pass an appearance model")
            if header["version"] != FORMAT_VERSION:
                raise ModelFileError(
                    f"{path} has format version {header['version']}, this program reads {FORMAT_VERSION}; "
                    "fit the model again"
                )
            model = cls(
                **{
                    name: GaussianModel(
                        arrays[f"{name}_mean"],
                        np.ascontiguousarray(arrays[f"{name}_modes"]).T,
                        arrays[f"{name}_variances"],
                    )
                    for name in ("shape", "texture", "pose")
                },
                reference=_checks.finite("reference", arrays["reference"], ndim=2, dtype=np.float64),
                center=_checks.finite("center", arrays["center"], ndim=1, dtype=np.float64),
                labels=arrays.get("labels"),
                intensities=(float(header["intensities"][0]), float(header["intensities"][1])),
                background=_checks.number("background", header["background"]),
                grid=_checks.grid_shape("grid", header["grid"]),
                channels=_checks.integer("channels", header["channels"], minimum=1),
                spacing=arrays["spacing"],
                objects=tuple(LandmarkObject(o["name"], tuple(o["indices"]), o["kind"]) for o in header["objects"]),
                options=header["options"],
                provenance=header["provenance"],
            )
            model._check()
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path} is no valid appearance model ({error!r}); fit the model again") from error
        return model

    def _check(self) -> None:
        """Raise ValueError unless all parts fit together, so that a hostile file cannot reach a kernel."""
        m, d = self.reference.shape
        expected = {
            "shape": (m * d, np.float64),
            "pose": (pose_parameter_count(d), np.float64),
            "texture": (self.channels * int(np.prod(self.grid)), np.float32),
        }
        for name, (length, dtype) in expected.items():
            part: GaussianModel = getattr(self, name)
            if part.mean.shape != (length,) or part.mean.dtype != dtype or part.basis.dtype != dtype:
                raise ValueError(f"{name} has {part.mean.shape} entries of {part.mean.dtype}, not {length} of {dtype}")
        if d != len(self.grid) or self.center.shape != (d,):
            raise ValueError(f"reference has {d} coordinates for the grid {self.grid}")
        if (self.reference < 0).any() or (self.reference > np.array(self.grid) - 1).any():
            raise ValueError(f"reference leaves the grid {self.grid}")
        _checks.spacing("spacing", self.spacing, d)
        if sorted(i for o in self.objects for i in o.indices) != list(range(m)):
            raise ValueError("objects do not name every landmark once")
        if self.labels is not None and (self.labels.shape != self.grid or self.labels.dtype.kind not in "iu"):
            raise ValueError(f"labels has shape {self.labels.shape} and dtype {self.labels.dtype}")
        if not self.intensities[0] <= self.intensities[1]:
            raise ValueError(f"intensities is {self.intensities}")
        ShapeOptions(**self.options["shape"])
        TextureOptions(**self.options["texture"])
        SplineOptions(**self.options["spline"])


def _version() -> str:
    from modelaug import __version__

    return __version__


def _border(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the values of an image (c, *grid) on the border of its grid."""
    rim = np.ones(image.shape[1:], dtype=bool)
    if min(rim.shape) > 2:
        rim[(slice(1, -1),) * rim.ndim] = False
    return image[:, rim].ravel()


def _normalize(
    cohort: Cohort, reference: Array, spline: SplineOptions, threads: int, progress: Progress | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.integer[Any]] | None, list[float]]:
    """Pull all images and labels onto the mean shape.

    Returns textures (n, c * pixels), label maps (n, *grid) or None, and the largest landmark residual of each subject.
    """
    n, c = cohort.images.shape[:2]
    textures = np.empty((n, c, *cohort.grid), dtype=np.float32)
    seen = np.empty((n, *cohort.grid), dtype=bool)
    labels = None if cohort.labels is None else np.empty_like(cohort.labels)
    residuals = [0.0] * n

    def normalize(i: int) -> None:
        fitted = spline.displacement(reference, cohort.landmarks[i], cohort.grid)
        residuals[i] = float(fitted.residuals.max())
        field = fitted.on_grid(threads=1)
        image = cohort.images[i]
        # A cubic spline keeps the sharpness that rendering, a second interpolation, would take; clamped, it does not
        # ring.
        textures[i] = np.clip(warp(image, field, order=3, threads=1), image.min(), image.max())
        inside = np.ones(cohort.grid, dtype=np.uint8)
        seen[i] = warp(inside, field, order=0, border="constant", threads=1)
        if labels is not None and cohort.labels is not None:
            labels[i] = warp(cohort.labels[i], field, order=0, threads=1)

    with ThreadPoolExecutor(threads) as pool:
        for done, _ in enumerate(pool.map(normalize, range(n)), start=1):
            if progress is not None:
                progress(done, n)

    # What one subject's frame does not show, the others' mean fills in; what none shows stays the continued border.
    count = seen.sum(axis=0)
    for channel in range(c):
        mean = np.where(seen, textures[:, channel], 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        for i in range(n):
            missing = ~seen[i] & (count > 0)
            textures[i, channel][missing] = mean[missing]
    return textures.reshape(n, -1), labels, residuals


def _commonest(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """Return the commonest label at each voxel of (n, *grid), the smallest of equally common ones."""
    values = np.unique(labels)
    best = np.zeros(labels.shape[1:], dtype=np.int64)
    result = np.full(labels.shape[1:], values[0], dtype=labels.dtype)
    for value in values:
        votes = (labels == value).sum(axis=0)
        result[votes > best] = value
        best = np.maximum(best, votes)
    return result


def _pose_model(poses: Array) -> GaussianModel:
    """Return the Gaussian of the poses; one mode of variance 0 if they are all equal."""
    if np.ptp(poses, axis=0).max() < 1e-12:
        q = poses.shape[1]
        return GaussianModel(poses.mean(axis=0), np.eye(q)[:, :1], np.zeros(1))
    return GaussianModel.from_samples(poses)
