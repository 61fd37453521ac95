"""Random deformations of real images: the baseline that every learned model has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from modelaug import _checks
from modelaug._arrays import Image
from modelaug._checked import Checked, Count, Limits, NonNegative, Positive
from modelaug._random import Stream, generator
from modelaug.baselines.deformed_subjects import DeformedSubjects
from modelaug.data.cohort import Cohort
from modelaug.synthesis.acquisition import Strength
from modelaug.transforms.lattices import InterpolatingLattice
from modelaug.transforms.warping import pull

Nodes = Annotated[int, Limits(2, 64)]  # finer lattices are noise


@dataclass(frozen=True)
class RandomOptions(Checked):
    """Options of the deformations and of the changes of brightness.

    Parameters
    ----------
    points
        Nodes of the displacements' lattice along every axis, corners included.
    sd
        Standard deviation of the nodes' displacements along every axis, in voxels. None: 10/256 of the image's length
        along each axis, which is U-Net's 10 px on an image of 256 x 256.
    brightness
        Standard deviation, at the nodes, of the log of a smooth factor on intensities, measured from the channel's
        smallest in the cohort.
    offset
        Standard deviation, at the nodes, of a smooth offset, as a share of the channel's range in the cohort.
    brightness_points
        Nodes of the lattice of factor and offset along every axis.
    border
        Boundary condition of an image: ``"edge"``, its border continued; ``"constant"``, the channel's smallest
        intensity in the cohort and the label 0. The weight is 0 there either way.
    weight_width
        Distance from the objects at which the weight reaches 0, in `weight_unit`.
    weight_unit
        ``"spacing"``: the mean distance between neighbouring landmarks of the subject; ``"mm"``.
    max_attempts
        Draws of a pair that folds; the last one's displacements are halved until it does not fold.
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


class RandomDeformations(DeformedSubjects):
    """Pairs of two random deformations of one real image; pair i is a pure function of (cohort, seed, options, i).

    Each image is warped by a cubic spline through normal displacements on a coarse lattice, as in Ronneberger, Fischer
    and Brox, *U-Net* (MICCAI 2015), and its brightness changes smoothly. The flow is the correspondence of the two
    deformed images, solved at every voxel, and never folds; images, labels and landmarks move together.

    Parameters
    ----------
    cohort
        The images; the subject of a pair is drawn at random.
    seed
        Non-negative integer.
    options
        Defaults if None.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or subjects have one landmark and the weight's unit is ``"spacing"``.
    """

    options: RandomOptions

    def __init__(self, cohort: Cohort, *, seed: int = 0, options: RandomOptions | None = None) -> None:
        super().__init__(cohort, seed)
        self.options = chosen = _checks.options(options, RandomOptions)
        grid = cohort.grid
        sd = np.array(grid) * (10 / 256) if chosen.sd is None else np.full(len(grid), chosen.sd)
        self._set_deformations([(InterpolatingLattice(grid, chosen.points), sd)])
        self._labels_continue = chosen.border == "edge"
        self._brightness = InterpolatingLattice(grid, chosen.brightness_points)
        flat = np.moveaxis(cohort.images, 1, 0).reshape(cohort.images.shape[1], -1)
        self._low, self._high = flat.min(axis=1), flat.max(axis=1)

    def _content(self, subject: int, rng: np.random.Generator) -> Image:
        """Return the subject's image (c, *grid)."""
        image: Image = self.cohort.images[subject]
        return image

    def _render(self, content: Image, displacement: Image, index: int, i: int, out: Image) -> None:
        """Deform an image (c, *grid) and change its brightness."""
        edge = self.options.border == "edge"
        for channel, pixels in enumerate(content):
            pull(pixels, displacement, out[channel], None if edge else float(self._low[channel]))
        self._brighten(out, generator(self.seed, index, stream=Stream.BRIGHTNESS + i))

    def _brighten(self, image: Image, rng: np.random.Generator) -> None:
        """Change the brightness of an image (c, *grid) smoothly, in place; options do not change the draws."""
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
