"""Affine registration of two images, also on different grids, by the correlation of their intensities.

The search starts from the images' positions in space, and from maps that align the centres of the fields of view, the
centres of mass, or the principal axes. All starts are optimized on coarse images, the better half of them on each finer
level. `modelaug.registration.correlation` has the score and its optimization.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from modelaug import _checks
from modelaug._arrays import Array, Field, Image
from modelaug.data.geometry import Geometry
from modelaug.registration._images import image_channels, mask_weights, number_of_axes
from modelaug.registration.correlation import AffineKind, Overlay, Picture, climb

_COARSEST: Final = 16
"""Voxels along the longest axis, at least."""
_FINEST: Final = 2**18
"""Voxels, at most."""
_WINDOW: Final = 0.4
"""Standard deviation of the weights that prefer the centre, in half fields of view."""
_BACKGROUND: Final = 0.05
"""Share of the voxels that are background, without mass."""


@dataclass(frozen=True, eq=False)
class AffineMap:
    """An affine map from the voxels of a fixed image to those of a moving one.

    Attributes
    ----------
    matrix : ndarray, (d, d + 1), float64
        Voxel i of the fixed image corresponds to voxel ``matrix[:, :d] @ i + matrix[:, d]`` of the moving one, in
        array-axis order.
    grid
        Shape of the fixed image.
    correlation
        Correlation of the standardized intensities in the overlap, -1 to 1; see `estimate_affine`.
    start
        The start that led to the map: ``"overlay"``, ``"centres"``, ``"mass"`` or ``"axes"``; ``"none"`` if no map was
        better than the images' positions in space.
    """

    matrix: Array
    grid: tuple[int, ...]
    correlation: float
    start: str

    def displacement(self) -> Field:
        """Return the map as a pull displacement in voxels on the fixed grid, (d, *grid) float32."""
        d = len(self.grid)
        change = self.matrix[:, :d] - np.eye(d)
        field = change @ np.indices(self.grid).reshape(d, -1) + self.matrix[:, d:]
        return np.asarray(field.reshape(d, *self.grid), np.float32)

    def in_space(self, geometry: Geometry, moving_geometry: Geometry | None = None) -> Array:
        """Return the map (d, d + 1) between positions (x, y[, z]) in mm, the convention of ITK's affine transforms.

        Parameters
        ----------
        geometry, moving_geometry
            Of the fixed and the moving image; the moving image's is the fixed one's by default.
        """
        fixed, moving = (_to_space(each) for each in (geometry, moving_geometry or geometry))
        there = moving[:, :-1] @ self.matrix
        linear = there[:, :-1] @ np.linalg.inv(fixed[:, :-1])
        return np.column_stack([linear, there[:, -1] + moving[:, -1] - linear @ fixed[:, -1]])


def register_affine(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    transform: AffineKind = "affine",
    spacing: npt.ArrayLike | None = None,
    geometry: Geometry | None = None,
    moving_geometry: Geometry | None = None,
    mask: npt.ArrayLike | None = None,
    moving_mask: npt.ArrayLike | None = None,
    ndim: int | None = None,
    threads: int | None = None,
) -> Field:
    """Return the displacement of the affine map that aligns a moving image with a fixed one best.

    Parameters
    ----------
    fixed, moving, transform, spacing, geometry, moving_geometry, mask, moving_mask, ndim, threads
        As in `estimate_affine`, which returns the map itself.

    Returns
    -------
    ndarray, (d, *grid), float32
        Pull displacement in voxels: voxel i of the fixed image corresponds to voxel i + u(i) of the moving one, also
        where grids differ, so that `modelaug.warp` shows the moving image on the fixed grid.

    Examples
    --------
    >>> import numpy as np
    >>> from modelaug import phantoms, warp
    >>> from modelaug.registration import register_affine
    >>> moving = phantoms.heart(1, shape=(64, 64)).images[0, 0]
    >>> shift = np.zeros((2, 64, 64))
    >>> shift[0], shift[1] = 3, -5
    >>> u = register_affine(50 + 2 * warp(moving, shift), moving, transform="rigid")
    >>> bool(np.abs(u - shift).max() < 0.2)
    True
    """
    return estimate_affine(
        fixed,
        moving,
        transform=transform,
        spacing=spacing,
        geometry=geometry,
        moving_geometry=moving_geometry,
        mask=mask,
        moving_mask=moving_mask,
        ndim=ndim,
        threads=threads,
    ).displacement()


def estimate_affine(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    transform: AffineKind = "affine",
    spacing: npt.ArrayLike | None = None,
    geometry: Geometry | None = None,
    moving_geometry: Geometry | None = None,
    mask: npt.ArrayLike | None = None,
    moving_mask: npt.ArrayLike | None = None,
    ndim: int | None = None,
    threads: int | None = None,
) -> AffineMap:
    """Return the affine map that aligns a moving image with a fixed one best.

    The map maximizes the correlation of intensities that are standardized in a neighbourhood of each voxel, so that
    gains, offsets and slow changes of brightness do not matter, less a penalty for the distance from the images'
    positions in space. No direction is stretched or shrunk more than twofold, and at least a quarter of the smaller
    image overlaps the other. If no map is better than the images' positions in space, the result is the identity in
    space.

    Weights fall from the centre of the fixed image, or of the bounding box of its mask, to 0.04 in the middle of a
    side, as the anatomy of interest is mostly in the centre.

    Parameters
    ----------
    fixed, moving : array_like, (*grid) or (c, *grid)
        Images, 2D or 3D, of the same modality; several channels count alike. On one grid, unless both geometries are
        given. By default, three axes are a plane with channels if the first has at most 4 entries, and otherwise a
        volume, or refused if that is flat, see `ndim`.
    transform
        ``"affine"``; ``"similarity"``: rotation, shift and one scale; ``"rigid"``: rotation and shift;
        ``"translation"``. All in mm.
    spacing : array_like, (d,), optional
        Millimetres per voxel of both images, in array-axis order; 1 by default.
    geometry, moving_geometry : modelaug.io.Geometry, optional
        Of the images, instead of `spacing`; the moving image's is the fixed one's by default.
    mask, moving_mask : array_like, (*grid), optional
        Weights of an image's voxels from 0 to 1; 0 where there is no image, such as in padding beyond the field of
        view, or where it does not matter. 1 by default.
    ndim
        Axes of the grid, 2 or 3, where images with three axes may be planes with channels or volumes; by default those
        of `geometry`, `spacing` or `mask`.
    threads
        Threads for the kernels; None means all cores. The result does not depend on it.

    Returns
    -------
    AffineMap

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong shape, holds values that are not finite, an image is constant, a mask is empty, a
        geometry has another dimension, or the images overlap from no start; or if three axes may be a plane with
        channels or a flat volume.

    Examples
    --------
    >>> from modelaug import phantoms
    >>> from modelaug.registration import estimate_affine
    >>> fixed, moving = phantoms.heart(2, shape=(64, 64)).images
    >>> found = estimate_affine(fixed, moving, transform="similarity")
    >>> found.matrix.shape
    (2, 3)
    """
    _checks.choice("transform", transform, get_args(AffineKind))
    count = _checks.thread_count(threads)
    if geometry is None:
        if moving_geometry is not None:
            raise ValueError("geometry is missing; pass that of the fixed image, too, or no moving_geometry")
        d = number_of_axes(fixed, ndim=ndim, spacing=spacing, mask=mask)
        geometry = Geometry(_checks.spacing("spacing", spacing, d))
    elif spacing is not None:
        raise ValueError(f"spacing is {spacing!r}, but geometry holds one; pass one of them")
    places = _places(geometry, moving_geometry, ndim)
    target = _picture("fixed", fixed, "mask", mask, places[0])
    source = _picture("moving", moving, "moving_mask", moving_mask, places[1])
    if len(target.channels) != len(source.channels) or (moving_geometry is None and target.grid != source.grid):
        raise ValueError(
            f"moving has shape {np.shape(moving)} and fixed {np.shape(fixed)}; "
            "pass images of one grid or both geometries, and the same channels"
        )
    grid, target, source = target.grid, target.cropped(), source.cropped()
    pictures = [(target.resized(size), source.resized(size)) for size in _sizes(target, source)]
    name, mapping, correlation = _search(pictures, transform, count)
    return AffineMap(_between_voxels(mapping, *places), grid, correlation, name)


def _search(pictures: list[tuple[Picture, Picture]], transform: AffineKind, threads: int) -> tuple[str, Array, float]:
    """Return start, matrix and correlation of the best map between positions over pictures of rising resolution."""
    starts = _starts(*pictures[0], transform)
    place = starts[0][1]
    results: list[tuple[float, str, Array, float]] = []
    # Globally standardized intensities correlate from farther off; their best map joins the starts.
    for level, local in [(0, False), *((level, True) for level in range(len(pictures)))]:
        window = _window(pictures[level][0].grid)
        overlay = Overlay(*pictures[level], window, place, local=local, threads=threads)
        kept = overlay.match(place)
        if kept is None:
            # Images that hardly overlap in space are aligned by their centres instead.
            overlay = Overlay(*pictures[level], window, starts[1][1], local=local, threads=threads)
        begin = [(name, mapping) for _, name, mapping, _ in results]
        climbs = [(name, climb(overlay, m, transform)) for name, m in (begin if level else [*starts, *begin])]
        found = [(climbed[1].score, name, climbed[0], climbed[1].correlation) for name, climbed in climbs if climbed]
        found.sort(key=lambda each: -each[0])
        results = found[: max(1, len(found) // 2) if local else 1] or results
    if not results:
        raise ValueError(
            "fixed and moving have no contrast in common from any start; pass masks that are positive on what both "
            "images show, or crop them to it"
        )
    score, name, mapping, correlation = results[0]
    if kept is not None and kept.score >= score:
        return "none", place, kept.correlation
    return name, mapping, correlation


def _places(geometry: Geometry, moving_geometry: Geometry | None, ndim: int | None) -> tuple[Array, Array]:
    """Return the matrices (d, d + 1) from voxels to positions of both images."""
    for name, each in (("geometry", geometry), ("moving_geometry", moving_geometry or geometry)):
        _checks.instance(name, each, Geometry, "modelaug.io.Geometry(...) or None")
    moving_geometry = moving_geometry or geometry
    d = len(geometry.spacing)
    if d not in (2, 3):
        raise ValueError(f"geometry has {d} axes; pass that of an image in the plane or in space")
    if ndim not in (None, d):
        raise ValueError(f"geometry has {d} axes and ndim is {ndim}; pass equally many, or no ndim")
    if len(moving_geometry.spacing) != d:
        raise ValueError(f"moving_geometry has {len(moving_geometry.spacing)} axes and geometry {d}; pass equally many")
    return _to_space(geometry), _to_space(moving_geometry)


def _to_space(geometry: Geometry) -> Array:
    """Return the matrix (d, d + 1) from voxels, in array-axis order, to positions (x, y[, z]) in mm."""
    return np.column_stack([geometry.matrix[:, ::-1], geometry.origin])


def _between_voxels(mapping: Array, fixed: Array, moving: Array) -> Array:
    """Convert a map (d, d + 1) between positions into a map between the voxels of two images."""
    shift = mapping[:, :-1] @ fixed[:, -1] + mapping[:, -1] - moving[:, -1]
    matrix = np.linalg.solve(moving[:, :-1], np.column_stack([mapping[:, :-1] @ fixed[:, :-1], shift]))
    return matrix.astype(np.float64)


def _picture(name: str, image: npt.ArrayLike, mask_name: str, mask: npt.ArrayLike | None, place: Array) -> Picture:
    channels = image_channels(name, image, len(place))
    weight = np.ones(channels.shape[1:], np.float32)
    if mask is not None:
        weight = mask_weights(mask_name, mask, weight.shape)
        if not weight.any():
            raise ValueError(f"{mask_name} is 0 everywhere; pass weights that are positive where there is an image")
        inside = channels[:, weight > 0]
        if (inside.min(axis=1) == inside.max(axis=1)).all():
            raise ValueError(f"{name} is constant where {mask_name} is positive; pass a mask that holds contrast")
    return Picture(channels, weight, place)


def _sizes(fixed: Picture, moving: Picture) -> list[float]:
    """Return the voxel sizes of all resolutions in mm, coarsest first."""
    spacing, grid = fixed.spacing, np.array(fixed.grid)
    longest = min(float((each.spacing * each.grid).max()) for each in (fixed, moving))
    sizes = [float(spacing[grid > 1].min())]

    def voxels(size: float) -> float:
        return float(np.prod(np.maximum(1, grid * np.minimum(1, spacing / size))))

    while longest / (2 * sizes[-1]) >= _COARSEST or voxels(sizes[-1]) > _FINEST:
        sizes.append(2 * sizes[-1])
    return [size for size in sizes if voxels(size) <= _FINEST][::-1]


def _window(grid: tuple[int, ...]) -> Image:
    """Return Gaussian weights that fall from the centre of a grid outwards."""
    squared = functools.reduce(np.add.outer, [((np.arange(n) - (n - 1) / 2) / (n / 2)) ** 2 for n in grid])
    return np.asarray(np.exp(-squared / (2 * _WINDOW**2)), np.float32)


def _starts(fixed: Picture, moving: Picture, transform: AffineKind) -> list[tuple[str, Array]]:
    """Return the initial maps with their names; the images' positions in space come first."""
    d = len(fixed.grid)
    turns = [("overlay", np.eye(d), np.zeros(d), np.zeros(d)), ("centres", np.eye(d), fixed.centre, moving.centre)]
    (here, spread), (there, other_spread) = _moments(fixed), _moments(moving)
    turns.append(("mass", np.eye(d), here, there))
    if transform != "translation":
        axes, others = np.linalg.eigh(spread)[1], np.linalg.eigh(other_spread)[1]
        rotations = [(others * signs) @ axes.T for signs in itertools.product((1, -1), repeat=d)]
        turns += [("axes", turn, here, there) for turn in rotations if np.linalg.det(turn) > 0]
    return [(name, np.column_stack([turn, to - turn @ at])) for name, turn, at, to in turns]


def _moments(picture: Picture) -> tuple[Array, Array]:
    """Return the centre of mass (d,) in mm and covariance (d, d) in mm^2 of an image's brightness above background."""
    weight = picture.weight * _window(picture.grid)
    dark = np.quantile(picture.channels[:, picture.weight > 0], _BACKGROUND, axis=1)
    bright = np.maximum(picture.channels - dark.reshape(-1, *[1] * weight.ndim), 0)
    mass = (weight * bright.mean(axis=0)).ravel().astype(np.float64)
    if mass.sum() <= 0:
        mass = weight.ravel().astype(np.float64)
    mass = mass / mass.sum()
    positions = picture.positions()
    centre: Array = positions @ mass
    arms = positions - centre[:, None]
    return centre, ((arms * mass) @ arms.T).astype(np.float64)
