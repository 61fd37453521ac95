"""Label maps deformed at random and painted with random contrasts: pairs of shapes without a modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._arrays import Image
from modelaug._checked import Checked, Count, Limits, Positive
from modelaug._random import Stream, generator
from modelaug.baselines.deformed_subjects import DeformedSubjects
from modelaug.data.cohort import Cohort
from modelaug.synthesis.acquisition import UNIT_RANGE, Acquisition, AcquisitionOptions, Strength
from modelaug.transforms.lattices import InterpolatingLattice, MultiscaleLattice
from modelaug.transforms.warping import pull, pull_nearest

Regions = npt.NDArray[np.uint32]

_SOFTNESS: Final = 0.6  # voxels; standard deviation of the edges' blur before they are deformed
_REGION_LEVELS: Final = 4  # scales of the random fields of the regions; at each voxel the largest field wins


def _lattices(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) == 0:
        raise TypeError(f"{name} is {value!r}; pass a tuple of one integer or more")
    return tuple(_checks.integer(name, each, minimum=2, maximum=64) for each in value)


@dataclass(frozen=True)
class LabelShapesOptions(Checked):
    """Options of the division, deformation and painting of label maps.

    Parameters
    ----------
    regions
        Number of random smooth regions into which each pair's background, label 0, is divided before the deformation.
        0 leaves it undivided.
    points
        For each scale of the deformation, nodes of its lattice along every axis, corners included.
    strain
        Standard deviation of the nodes' displacements along every axis, as a share of their distance; the same at all
        scales.
    contrast
        ``"independent"``: each image has intensities of its own; ``"shared"``: both have the same.
    variation
        Largest standard deviation of the white noise within a label, before `blur`; drawn uniformly from 0 on for each
        label. Intensities are uniform between 0 and 1.
    blur
        Largest standard deviation in voxels of a Gaussian blur of the image; drawn uniformly from 0 on for each image.
    acquisition
        Gamma, contrast, bias field and noise of each image, on the scale from 0 to 1; None leaves them out.
    weight_width
        Distance from the objects' landmarks at which the weight reaches 0, in `weight_unit`. None: it is 1 everywhere,
        as the flow is right everywhere.
    weight_unit
        ``"spacing"``: the mean distance between neighbouring landmarks of the subject; ``"mm"``.
    max_attempts
        Draws of a pair that folds; the last one's displacements are halved until it does not fold.
    """

    regions: Annotated[int, Limits(0, 1000)] = 8
    points: Annotated[tuple[int, ...], _lattices] = (3, 6, 11)
    strain: Strength = 0.08
    contrast: Literal["independent", "shared"] = "independent"
    variation: Strength = 0.15
    blur: Annotated[float, Limits(0.0, 100.0)] = 1.0
    acquisition: AcquisitionOptions | None = AcquisitionOptions(gamma=0.25, bias=0.3, noise=0.03)
    weight_width: Positive | None = None
    weight_unit: Literal["spacing", "mm"] = "spacing"
    max_attempts: Count = 20


class LabelShapes(DeformedSubjects):
    """Pairs painted from label maps with random contrasts; pair i is a pure function of (cohort, seed, options, i).

    After Hoffmann, Billot, Greve, Iglesias, Fischl and Dalca, *SynthMorph: learning contrast-invariant registration
    without acquired images* (IEEE TMI 2022): the label map of a random subject, its background divided into random
    regions, is deformed twice, and each deformed map is painted with intensities, noise, blur and a bias field of its
    own, so that only shapes correspond. Deformations are compositions of displacements at several scales instead of
    integrated velocities, without folds as well; the flow is the exact correspondence of the two images, solved at
    every voxel. Label maps of a pair are those of the subject, without the regions.

    Parameters
    ----------
    cohort
        Label maps and landmarks; of the images only the number of channels is used.
    seed
        Non-negative integer.
    options
        Defaults if None.
    """

    options: LabelShapesOptions

    def __init__(self, cohort: Cohort, *, seed: int = 0, options: LabelShapesOptions | None = None) -> None:
        super().__init__(cohort, seed)
        if cohort.labels is None:
            raise ValueError("cohort has no labels; pass one with label maps")
        self.options = chosen = _checks.options(options, LabelShapesOptions)
        grid = cohort.grid
        length = np.array(grid) - 1.0
        self._set_deformations(
            [(InterpolatingLattice(grid, n), chosen.strain * length / (n - 1)) for n in chosen.points]
        )
        found, positions = np.unique(cohort.labels, return_inverse=True)
        self._ids = found.tolist()
        # Labels as rows of a table of intensities, followed by the rows of the background's regions.
        self._rows = positions.reshape(cohort.labels.shape).astype(np.uint32)
        self._fields = MultiscaleLattice(grid, cohort.spacing, _REGION_LEVELS) if chosen.regions > 0 else None
        acquisition = chosen.acquisition
        self._acquire = None if acquisition is None else Acquisition(acquisition, grid, cohort.spacing, UNIT_RANGE)

    def _content(self, subject: int, rng: np.random.Generator) -> Regions:
        """Return the rows (*grid) of the table of intensities, with random regions in the background."""
        rows: Regions = self._rows[subject]
        if self._fields is None or 0 not in self._ids:
            return rows
        regions = np.argmax(self._fields.on_grid(self._fields.numbers(rng, self.options.regions)), axis=0)
        return np.where(rows == self._ids.index(0), (len(self._ids) + regions).astype(np.uint32), rows)

    def _render(self, content: Regions, displacement: Image, index: int, i: int, out: Image) -> None:
        """Paint an image (c, *grid) with intensities, noise, blur and bias."""
        colors = generator(self.seed, index, stream=Stream.CONTRAST + (0 if self.options.contrast == "shared" else i))
        numbers = generator(self.seed, index, stream=Stream.PAINT + i)
        self._paint(content, displacement, colors, numbers, out)

    def _paint(
        self, rows: Regions, displacement: Image, colors: np.random.Generator, rng: np.random.Generator, out: Image
    ) -> None:
        """Paint an image (c, *grid); options do not change the draws."""
        options = self.options
        size = (len(out), len(self._ids) + options.regions)
        means, deviations = colors.random(size, dtype=np.float32), colors.random(size, dtype=np.float32)
        sigma = options.blur * rng.random()
        deformed = np.empty_like(rows)
        pull_nearest(rows, displacement, deformed, edge=True)
        for channel, mean, deviation in zip(out, means, deviations, strict=True):
            # Blurred before the deformation, so that edges run through voxels.
            pull(scipy.ndimage.gaussian_filter(mean[rows], _SOFTNESS, mode="nearest"), displacement, channel)
            noise = rng.standard_normal(rows.shape, dtype=np.float32)
            channel += np.float32(options.variation) * deviation[deformed] * noise
            scipy.ndimage.gaussian_filter(channel, sigma, mode="nearest", output=channel)
        if self._acquire is not None:
            out[:] = self._acquire(out, rng)
