"""Real pairs in training: a cohort's images, whose flow is unknown, with losses of similarity and overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from modelaug import _checks
from modelaug._random import Stream, generator
from modelaug.data.cohort import Cohort
from modelaug.io.files.provenance import array_digest
from modelaug.learning.augmentation import AugmentOptions, draw_maps, pull_by_maps
from modelaug.learning.losses import diffusion, local_correlation, mean_squares, soft_dice
from modelaug.learning.options import RealOptions
from modelaug.learning.sampling import warp_images
from modelaug.synthesis.residual import ResidualLattice, ResidualOptions


class RealPairs:
    """Ordered pairs of a cohort's different subjects; pair i is a pure function of (cohort, seed, i).

    Parameters
    ----------
    cohort
        Training subjects, at least 2.
    seed
        Non-negative integer.

    Attributes
    ----------
    label_ids : tuple of int
        The labels whose overlap counts, all but 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or there are fewer than 2 subjects.
    """

    def __init__(self, cohort: Cohort, *, seed: int = 0) -> None:
        _checks.instance("real", cohort, Cohort, large=True)
        if len(cohort) < 2:
            raise ValueError(f"real has {len(cohort)} subject; pass a cohort of at least 2")
        flat = cohort.images.reshape(len(cohort), -1)
        constant = np.flatnonzero(flat.min(axis=1) == flat.max(axis=1))
        if len(constant):
            raise ValueError(f"image of {cohort.names[constant[0]]!r} in real is constant; leave the subject out")
        self.cohort = cohort
        self.seed = _checks.integer("seed", seed, minimum=0)
        labels = np.zeros(0, int) if cohort.labels is None else np.unique(cohort.labels)
        self.label_ids = tuple(int(label) for label in labels if label != 0)

    def subjects(self, index: int) -> tuple[int, int]:
        """Return the fixed and the moving subject of a pair."""
        fixed, moving = generator(self.seed, index, stream=Stream.REAL_SUBJECTS).choice(
            len(self.cohort), 2, replace=False
        )
        return int(fixed), int(moving)

    def batch(
        self,
        indices: Sequence[int],
        *,
        augment: AugmentOptions | None = None,
        residual: ResidualOptions | None = None,
        device: torch.device | str = "cpu",
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return pairs of images and the memberships of their structures.

        Parameters
        ----------
        indices
            Of the pairs.
        augment
            Movement of the images; intensities are not changed.
        residual
            Deformation of each image.
        device
            Of the tensors.

        Returns
        -------
        tuple of tuple of Tensor
            Fixed and moving images (b, c, *grid), and memberships (b, k, *grid) of the structures in both.
        """
        c, grid, d = self.cohort.images.shape[1], self.cohort.grid, len(self.cohort.grid)
        pairs = np.array([self.subjects(index) for index in indices])
        sides = [
            torch.cat([torch.from_numpy(self.cohort.images[side]), self._memberships(side)], dim=1).to(device)
            for side in pairs.T
        ]
        movement = augment if augment is not None and augment.moves else None
        if movement is not None or residual is not None:
            still = np.tile(np.eye(d, d + 1), (len(pairs), 1, 1))
            maps = (still, still) if movement is None else draw_maps(movement, indices, grid)
            for i in range(2):
                u = None if residual is None else self._deformations(indices, i, residual).to(device)
                sides[i] = pull_by_maps(sides[i], maps[i], u)
        first, second = sides
        return (first[:, :c], second[:, :c]), (first[:, c:], second[:, c:])

    def _deformations(self, indices: Sequence[int], image: int, options: ResidualOptions) -> Tensor:
        """Return the displacements (b, d, *grid) in voxels of the pairs' fixed (0) or moving (1) images."""
        grid = self.cohort.grid
        lattice = ResidualLattice(options, grid, np.asarray(self.cohort.spacing))
        fields = np.empty((len(indices), len(grid), *grid), np.float32)
        for k, index in enumerate(indices):
            rng = generator(self.seed, index, stream=Stream.REAL_DEFORMATION + image)
            fields[k] = lattice.on_grid(lattice.numbers(rng, len(grid)))
        return torch.from_numpy(fields)

    def digest(self) -> str:
        """Return a hash of the images and labels, which identifies a run."""
        labels = [] if self.cohort.labels is None else [self.cohort.labels]
        return array_digest(self.cohort.images, *labels)

    def _memberships(self, subjects: npt.NDArray[Any]) -> Tensor:
        if self.cohort.labels is None:
            return torch.zeros((len(subjects), 0, *self.cohort.grid))
        labels = torch.from_numpy(self.cohort.labels[subjects].astype(np.int64))
        return memberships(labels, torch.tensor(self.label_ids, dtype=torch.int64))


def memberships(labels: Tensor, ids: Tensor) -> Tensor:
    """Return the one-hot maps (b, k, *grid) float32 of labels `ids` (k,) in label maps (b, *grid)."""
    return (labels[:, None] == ids.reshape(-1, *(1 for _ in labels.shape[1:]))).float()


def alignment_loss(
    images: tuple[Tensor, Tensor], members: tuple[Tensor, Tensor], displacement: Tensor, options: RealOptions
) -> Tensor:
    """Return the loss of displacements by similarity of images, overlap of structures, and smoothness.

    Parameters
    ----------
    images : tuple of Tensor, (b, c, *grid)
        Fixed and moving, with scaled intensities.
    members : tuple of Tensor, (b, k, *grid)
        Memberships of the structures of both; k may be 0.
    displacement : Tensor, (b, d, *grid)
        In voxels.
    options
        Weights of the parts.

    Returns
    -------
    Tensor, scalar
    """
    c = images[0].shape[1]
    warped = warp_images(torch.cat([images[1], members[1]], dim=1), displacement)
    if options.similarity == "squares":
        likeness = mean_squares(images[0], warped[:, :c])
    else:
        likeness = local_correlation(images[0], warped[:, :c], options.radius)
    loss = options.similarity_weight * likeness + options.smoothness * diffusion(displacement)
    return loss + options.overlap * soft_dice(members[0], warped[:, c:]) if members[0].shape[1] else loss
