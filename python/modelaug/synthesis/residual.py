"""Residual deformations: small random deformations between the landmarks, on top of the model's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelaug._arrays import Array
from modelaug._checked import Checked, NonNegative, Positive
from modelaug.transforms.lattices import Lattice

_INJECTIVE = 0.4
"""Largest control displacement, in cells, at which a cubic B-spline lattice cannot fold: 0.4888 in the plane, 0.4033 in
space (Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, 2000)."""
_MOST_NODES = 2.0**24


@dataclass(frozen=True)
class ResidualOptions(Checked):
    """Options of a smooth random deformation of each image, independent of its landmarks.

    The control points of a cubic B-spline lattice have independent uniform displacements. Landmarks move along.

    Parameters
    ----------
    amplitude
        Largest displacement along an axis, in mm; typical ones are a quarter of it. At most 0.4 times `spacing`, so
        that no draw folds.
    spacing
        Smallest distance of the control points, in mm.
    """

    amplitude: NonNegative
    spacing: Positive

    def _check(self) -> None:
        if self.amplitude > _INJECTIVE * self.spacing:
            raise ValueError(
                f"amplitude is {self.amplitude:g} mm; pass at most {_INJECTIVE:g} times the spacing "
                f"({_INJECTIVE * self.spacing:g} mm), so that no draw folds"
            )


class ResidualLattice(Lattice):
    """Residual deformations on a grid with `spacing` (d,) mm per voxel, one field for each component.

    Attributes
    ----------
    nodes : tuple of int
        Shape of the lattice of control points.

    Raises
    ------
    ValueError
        If the image is so small that its only cell is narrower than the amplitude allows, or so large that the lattice
        would have more than 2^24 control points.
    """

    def __init__(self, options: ResidualOptions, grid: tuple[int, ...], spacing: Array) -> None:
        super().__init__(grid)
        extent = (np.array(grid) - 1) * spacing
        with np.errstate(over="ignore"):
            cells = np.maximum(np.floor(extent / options.spacing), 1)
            if np.prod(cells + 3) > _MOST_NODES:
                size = extent.max()
                raise ValueError(f"spacing is {options.spacing:g} mm, too small for an image of {size:g} mm; pass more")
        cells = cells.astype(int)
        narrowest = float(np.min((extent / cells)[extent > 0], initial=np.inf))
        if options.amplitude > _INJECTIVE * narrowest:
            raise ValueError(
                f"amplitude is {options.amplitude:g} mm, too large for an image of {narrowest:g} mm; pass at most "
                f"{_INJECTIVE * narrowest:g} mm"
            )
        self.nodes = tuple((cells + 3).tolist())
        reach = np.where(np.array(grid) > 1, options.amplitude / spacing, 0.0)
        self._reach = reach.reshape(-1, *(1 for _ in grid))

    def numbers(self, rng: np.random.Generator, count: int) -> Array:
        """Draw the numbers (count, *nodes) of `count` fields, uniform between -1 and 1."""
        return rng.uniform(-1.0, 1.0, size=(count, *self.nodes))

    def coefficients(self, numbers: Array) -> Array:
        """Return the control points (d, *nodes), in voxels, for numbers (d, *nodes)."""
        return numbers * self._reach
