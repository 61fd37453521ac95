"""Random deformations of real images: the baseline that every learned model has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._checked import Checked, Count, Limits, NonNegative, Positive
from modelaug._random import Stream, generator
from modelaug.baselines.cohort_source import CohortSource
from modelaug.baselines.deformations import Deformations
from modelaug.data.cohort import Cohort
from modelaug.synthesis.acquisition import Strength
from modelaug.synthesis.pairs import Pair, PairInfo
from modelaug.synthesis.weights import SubjectWeights
from modelaug.transforms.lattices import InterpolatingLattice
from modelaug.transforms.warping import pull, pull_nearest

__all__ = ["RandomDeformations", "RandomOptions"]

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Nodes = Annotated[int, Limits(2, 64)]  # finer lattices are noise


@dataclass(frozen=True)
class RandomOptions(Checked):
    """How images are deformed and their brightness is changed.

    Parameters
    ----------
    points
        Nodes of the displacements' lattice along every axis, corners included.
    sd
        Standard deviation of the nodes' displacements along every axis, in voxels. None: 10/256 of the image's length
        along each axis, which is U-Net's 10 px on an image of 256 x 256.
    brightness
        Standard deviation, at the nodes, of the log of a smooth factor on the intensities above the channel's smallest
        in the cohort.
    offset
        Standard deviation, at the nodes, of a smooth addition, as a share of the channel's range in the cohort.
    brightness_points
        Nodes of the lattice of factor and addition along every axis.
    border
        What lies beyond the border of an image: ``"edge"``, its border continued; ``"constant"``, the channel's
        smallest intensity in the cohort and the label 0. There the weight is 0 either way.
    weight_width
        Distance from the objects at which the weight reaches 0, in `weight_unit`.
    weight_unit
        ``"spacing"``: the mean distance between neighbouring landmarks of the subject; ``"mm"``.
    max_attempts
        How often a draw that folds is made anew; after that its displacements are halved until it does not.
    """

    points: Nodes = 3
    sd: NonNegative | None = None
    brightness: Strength = 0.2
    offset: Strength = 0.05
    brightness_points: Nodes = 4
    border: Literal["edge", "constant"] = "edge"
    weight_width: Positive = 4.0
    weight_unit: Literal["spacing", "mm"] = "spacing"
    max_attempts: Count = 20


class RandomDeformations(CohortSource):
    """Pairs of two random deformations of one real image; pair i is a pure function of (cohort, seed, options, i).

    Each image is pulled through a cubic spline through normal displacements on a coarse lattice, as in Ronneberger,
    Fischer and Brox, *U-Net* (MICCAI 2015), and its brightness changes smoothly. The flow is the correspondence of the
    two deformed images, solved for at every voxel, and never folds; images, labels and landmarks move together.

    Parameters
    ----------
    cohort
        The images; the subject of a pair is drawn at random.
    seed
        Non-negative integer.
    options
        How images are deformed; defaults if None.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or subjects have one landmark and the weight's unit is ``"spacing"``.
    """

    def __init__(self, cohort: Cohort, *, seed: int = 0, options: RandomOptions | None = None) -> None:
        super().__init__(cohort, seed)
        self.options = _checks.options(options, RandomOptions)
        chosen, grid = self.options, cohort.grid
        sd = np.array(grid) * (10 / 256) if chosen.sd is None else np.full(len(grid), chosen.sd)
        self._deformations = Deformations(
            grid, [(InterpolatingLattice(grid, chosen.points), sd)], seed=self.seed, max_attempts=chosen.max_attempts
        )
        self._brightness = InterpolatingLattice(grid, chosen.brightness_points)
        flat = np.moveaxis(cohort.images, 1, 0).reshape(cohort.images.shape[1], -1)
        self._low, self._high = flat.min(axis=1), flat.max(axis=1)
        self._weights = SubjectWeights(cohort, chosen.weight_width, chosen.weight_unit)

    def draw(self, index: int) -> Pair:
        """Return pair `index`.

        ``info`` holds ``subject``, ``attempts``, ``shrink``, ``residual``, ``outside`` and ``folds``, see `PairInfo`.
        Landmarks near the border may leave the frame.
        """
        return super().draw(index)

    def _fill(self, index: int, out: Pair) -> PairInfo:
        """Draw pair `index` into arrays; return its info."""
        cohort = self.cohort
        subject = int(generator(self.seed, index, stream=Stream.SUBJECT).integers(len(cohort)))
        drawn = self._deformations.draw(index, out.flow)
        edge = self.options.border == "edge"
        for i, (image, labels) in enumerate(((out.fixed, out.labels_fixed), (out.moving, out.labels_moving))):
            displacement = drawn.displacements[i]
            for channel, pixels in enumerate(cohort.images[subject]):
                pull(pixels, displacement, image[channel], None if edge else float(self._low[channel]))
            self._brighten(image, generator(self.seed, index, stream=Stream.BRIGHTNESS + i))
            if cohort.labels is not None and labels is not None:
                pull_nearest(cohort.labels[subject], displacement, labels, edge=edge)
        # Nothing is known of what lies beyond the real image, nor of where it went if that is outside the moving one.
        pull(self._weights.of(subject), drawn.displacements[0], out.weight, 0.0)
        np.multiply(out.weight, drawn.inside, out=out.weight)
        out.landmarks_fixed[:], out.landmarks_moving[:] = drawn.shown(cohort.landmarks[subject])
        return {"subject": subject, **drawn.info}

    def _brighten(self, image: Image, rng: np.random.Generator) -> None:
        """Change the brightness of an image (c, *grid) smoothly, in place; its numbers are drawn always."""
        options = self.options
        factor, offset = self._brightness.on_grid(self._brightness.numbers(rng, 2))
        if options.brightness > 0:
            factor = np.exp(np.float32(options.brightness) * factor)
        for channel, low, high in zip(image, self._low, self._high, strict=True):
            if options.brightness > 0:
                channel -= low
                channel *= factor
                channel += low
            if options.offset > 0:
                channel += np.float32(options.offset) * (high - low) * offset
