"""Label maps deformed at random and painted with random contrasts: pairs that know shapes, but no modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import scipy

from modelaug import _checks
from modelaug._checked import Checked, Count, Limits, Positive
from modelaug._random import Stream, generator
from modelaug.baselines.cohort_source import CohortSource
from modelaug.baselines.deformations import Deformations
from modelaug.data.cohort import Cohort
from modelaug.synthesis.acquisition import UNIT_RANGE, Acquisition, AcquisitionOptions, Strength
from modelaug.synthesis.pairs import Pair, PairInfo
from modelaug.synthesis.weights import SubjectWeights
from modelaug.transforms.lattices import InterpolatingLattice, MultiscaleLattice
from modelaug.transforms.warping import pull, pull_nearest

__all__ = ["LabelShapes", "LabelShapesOptions"]

Image = npt.NDArray[np.float32]
Regions = npt.NDArray[np.uint32]

_SOFTNESS: Final = 0.6  # voxels; standard deviation of the edges' blur before they are deformed
_REGION_LEVELS: Final = 4  # scales of the fields whose largest names the region


def _lattices(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) == 0:
        raise TypeError(f"{name} is {value!r}; pass a tuple of one integer or more")
    return tuple(_checks.integer(name, each, minimum=2, maximum=64) for each in value)


@dataclass(frozen=True)
class LabelShapesOptions(Checked):
    """How label maps are filled, deformed and painted.

    Parameters
    ----------
    regions
        Number of random smooth regions that the background, label 0, is divided into before anything is deformed;
        anew for every pair. 0 leaves it as it is.
    points
        For each scale of the deformation, nodes of its lattice along every axis, corners included.
    strain
        Standard deviation of the nodes' displacements along every axis, as a share of their distance; the same at all
        scales.
    contrast
        ``"independent"``: each image has intensities of its own; ``"shared"``: both have the same.
    variation
        Largest standard deviation of the white noise within a label, before `blur`; each label's own is uniform between
        0 and it. Intensities are uniform between 0 and 1.
    blur
        Largest standard deviation in voxels of a Gaussian blur of the image; each image's own is uniform between 0 and
        it.
    acquisition
        Gamma, contrast, bias field and noise of each image, on the scale from 0 to 1; None leaves them out.
    weight_width
        Distance from the objects' landmarks at which the weight reaches 0, in `weight_unit`. None: it is 1 everywhere,
        as the flow is right everywhere.
    weight_unit
        ``"spacing"``: the mean distance between neighbouring landmarks of the subject; ``"mm"``.
    max_attempts
        How often a draw that folds is made anew; after that its displacements are halved until it does not.
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


class LabelShapes(CohortSource):
    """Pairs painted from label maps with random contrasts; pair i is a pure function of (cohort, seed, options, i).

    In the manner of Hoffmann, Billot, Greve, Iglesias, Fischl and Dalca, *SynthMorph: learning contrast-invariant
    registration without acquired images* (IEEE TMI 2022): the label map of a random subject, its background divided
    into random regions, is deformed twice, and each of the two is painted with intensities, noise, blur and a bias
    field of its own, so that only shapes tell what corresponds. Instead of integrated velocities, displacements at
    several scales follow one another, which do not fold either; the flow is the correspondence of the two, solved for
    at every voxel.

    Parameters
    ----------
    cohort
        Label maps and landmarks; of the images only the number of channels is used.
    seed
        Non-negative integer.
    options
        How pairs are made; defaults if None.
    """

    def __init__(self, cohort: Cohort, *, seed: int = 0, options: LabelShapesOptions | None = None) -> None:
        super().__init__(cohort, seed)
        if cohort.labels is None:
            raise ValueError("cohort has no labels; pass one with label maps")
        self.options = _checks.options(options, LabelShapesOptions)
        chosen, grid = self.options, cohort.grid
        length = np.array(grid) - 1.0
        lattices = [(InterpolatingLattice(grid, n), chosen.strain * length / (n - 1)) for n in chosen.points]
        self._deformations = Deformations(grid, lattices, seed=self.seed, max_attempts=chosen.max_attempts)
        self._labels = cohort.labels
        found, positions = np.unique(cohort.labels, return_inverse=True)
        self._ids = found.tolist()
        # Labels as rows of a table of intensities; those of the regions come behind.
        self._rows = positions.reshape(cohort.labels.shape).astype(np.uint32)
        self._fields = MultiscaleLattice(grid, cohort.spacing, _REGION_LEVELS) if chosen.regions > 0 else None
        acquisition = chosen.acquisition
        self._acquire = None if acquisition is None else Acquisition(acquisition, grid, cohort.spacing, UNIT_RANGE)
        self._everywhere = np.ones(grid, dtype=np.float32)
        self._weights = (
            None if chosen.weight_width is None else SubjectWeights(cohort, chosen.weight_width, chosen.weight_unit)
        )

    def draw(self, index: int) -> Pair:
        """Return pair `index`; its label maps are the subject's, without the regions.

        ``info`` holds ``subject``, ``attempts``, ``shrink``, ``residual``, ``outside`` and ``folds``, see `PairInfo`.
        Landmarks near the border may leave the frame.
        """
        return super().draw(index)

    def _fill(self, index: int, out: Pair) -> PairInfo:
        """Draw pair `index` into arrays; return its info."""
        rng = generator(self.seed, index, stream=Stream.SUBJECT)
        subject = int(rng.integers(len(self.cohort)))
        rows = self._with_regions(self._rows[subject], rng)
        drawn = self._deformations.draw(index, out.flow)
        shared = self.options.contrast == "shared"
        for i, (image, labels) in enumerate(((out.fixed, out.labels_fixed), (out.moving, out.labels_moving))):
            colors = generator(self.seed, index, stream=Stream.CONTRAST + (0 if shared else i))
            numbers = generator(self.seed, index, stream=Stream.PAINT + i)
            self._paint(rows, drawn.displacements[i], colors, numbers, image)
            assert labels is not None
            pull_nearest(self._labels[subject], drawn.displacements[i], labels, edge=True)
        # Beyond the label map nothing is known, nor where something went that is outside the moving image.
        weight = self._everywhere if self._weights is None else self._weights.of(subject)
        pull(weight, drawn.displacements[0], out.weight, 0.0)
        np.multiply(out.weight, drawn.inside, out=out.weight)
        out.landmarks_fixed[:], out.landmarks_moving[:] = drawn.shown(self.cohort.landmarks[subject])
        return {"subject": subject, **drawn.info}

    def _with_regions(self, rows: Regions, rng: np.random.Generator) -> Regions:
        """Return the rows (*grid) of the intensities' table, the background's replaced by those of random regions."""
        if self._fields is None or 0 not in self._ids:
            return rows
        regions = np.argmax(self._fields.on_grid(self._fields.numbers(rng, self.options.regions)), axis=0)
        return np.where(rows == self._ids.index(0), (len(self._ids) + regions).astype(np.uint32), rows)

    def _paint(
        self, rows: Regions, displacement: Image, colors: np.random.Generator, rng: np.random.Generator, out: Image
    ) -> None:
        """Paint an image (c, *grid); all of its numbers are drawn always, in the same order."""
        options = self.options
        size = (self.cohort.images.shape[1], len(self._ids) + options.regions)
        means, deviations = colors.random(size, dtype=np.float32), colors.random(size, dtype=np.float32)
        sigma = options.blur * rng.random()
        deformed = np.empty_like(rows)
        pull_nearest(rows, displacement, deformed, edge=True)
        for channel, mean, deviation in zip(out, means, deviations, strict=True):
            # Softened before it is deformed, so that edges run through voxels.
            pull(scipy.ndimage.gaussian_filter(mean[rows], _SOFTNESS, mode="nearest"), displacement, channel)
            noise = rng.standard_normal(rows.shape, dtype=np.float32)
            channel += np.float32(options.variation) * deviation[deformed] * noise
            scipy.ndimage.gaussian_filter(channel, sigma, mode="nearest", output=channel)
        if self._acquire is not None:
            out[:] = self._acquire(out, rng)
