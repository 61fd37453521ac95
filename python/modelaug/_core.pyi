"""
Compiled kernels; use the functions of the package, which check their arguments.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['all_finite', 'bspline_at', 'bspline_on_grid', 'build_config', 'compose', 'correspond', 'count_crossings', 'count_folds', 'evaluate_composition', 'evaluate_composition_on_grid', 'find_inside', 'fit_bspline', 'fit_steps', 'in_blocks', 'invert', 'is_diffeomorphic', 'jacobian_determinant', 'render_fields', 'render_patchwork', 'render_texture', 'sample_field', 'solve_composition', 'warp', 'warp_nearest']
@typing.overload
def all_finite(array: numpy.typing.NDArray[numpy.float32], threads: typing.SupportsInt | typing.SupportsIndex) -> bool:
    """
    whether no element is NaN or infinite
    """
@typing.overload
def all_finite(array: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> bool:
    ...
def bspline_at(coefficients: numpy.typing.NDArray[numpy.float64], grid: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], points: numpy.typing.NDArray[numpy.float64], extrapolate: bool, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    """
    values (p, k) of a spline at points (p, d)
    """
def bspline_on_grid(coefficients: numpy.typing.NDArray[numpy.float64], grid: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    values (k, *grid) of a spline at all voxels
    """
def build_config() -> dict[str, typing.Any]:
    """
    compiler, flags, versions and threads of this build
    """
def compose(u: numpy.typing.NDArray[numpy.float32], v: numpy.typing.NDArray[numpy.float32], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    v(x) + u(x + v(x)), (d, *grid)
    """
def correspond(fixed: numpy.typing.NDArray[numpy.float32], steps: list[numpy.typing.NDArray[numpy.float64]], affine: numpy.typing.NDArray[numpy.float64], tolerance: typing.SupportsFloat | typing.SupportsIndex, max_iterations: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, out: numpy.typing.NDArray[numpy.float32] | None = None) -> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.float32]]:
    """
    (flow (d, *grid), residual (*grid)): moving(x + flow(x)) = x + fixed(x) for a displacement fixed and a composition
    """
def count_crossings(points: numpy.typing.NDArray[numpy.float64], starts: numpy.typing.NDArray[numpy.int64], ends: numpy.typing.NDArray[numpy.int64], contours: numpy.typing.NDArray[numpy.int64]) -> numpy.typing.NDArray[numpy.int64]:
    """
    crossings (contours, contours), above and on the diagonal, of segments between points (m, 2)
    """
def count_folds(u: numpy.typing.NDArray[numpy.float32], threads: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    voxels at which det(I + grad u) is not positive
    """
def evaluate_composition(steps: list[numpy.typing.NDArray[numpy.float64]], affine: numpy.typing.NDArray[numpy.float64], grid: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], points: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64]]:
    """
    (values (p, d), determinants (p,)) of a composition of displacements (d, *nodes) and an affine map (d, d + 1)
    """
def evaluate_composition_on_grid(steps: list[numpy.typing.NDArray[numpy.float64]], affine: numpy.typing.NDArray[numpy.float64], grid: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    displacement (d, *grid) of a composition at all voxels
    """
def find_inside(u: numpy.typing.NDArray[numpy.float32], threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.bool], int]:
    """
    (whether x + u(x) is inside the grid, (*grid), voxels for which it is not)
    """
def fit_bspline(sites: numpy.typing.NDArray[numpy.float64], values: numpy.typing.NDArray[numpy.float64], weights: numpy.typing.NDArray[numpy.float64] | None, grid: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], tolerance: typing.SupportsFloat | typing.SupportsIndex, max_levels: typing.SupportsInt | typing.SupportsIndex, affine: bool, threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64], int, bool]:
    """
    (coefficients (k, *nodes), residuals (m,), levels, converged) of splines.fit_bspline
    """
def fit_steps(sites: numpy.typing.NDArray[numpy.float64], targets: numpy.typing.NDArray[numpy.float64], grid: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], tolerance: typing.SupportsFloat | typing.SupportsIndex, max_levels: typing.SupportsInt | typing.SupportsIndex, least: typing.SupportsFloat | typing.SupportsIndex, max_steps: typing.SupportsInt | typing.SupportsIndex, max_residual: typing.SupportsFloat | typing.SupportsIndex, folds: bool) -> tuple[list[numpy.typing.NDArray[numpy.float64]], numpy.typing.NDArray[numpy.float64]]:
    """
    (displacements (d, *nodes) that move sites (m, d) to targets without folds, residuals (m,))
    """
def in_blocks(images: numpy.typing.NDArray[numpy.float32]) -> numpy.typing.NDArray[numpy.float32]:
    """
    images (k, c, *grid) as (rows, blocks, k, c, voxels): what kernels mix at once is one piece of memory
    """
def invert(u: numpy.typing.NDArray[numpy.float32], tolerance: typing.SupportsFloat | typing.SupportsIndex, max_iterations: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.float32]]:
    """
    (inverse (d, *grid), residual (*grid))
    """
def is_diffeomorphic(step: numpy.typing.NDArray[numpy.float64], grid: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], least: typing.SupportsFloat | typing.SupportsIndex) -> bool:
    """
    whether the Jacobian determinant of a displacement (d, *nodes) exceeds `least` everywhere
    """
def jacobian_determinant(u: numpy.typing.NDArray[numpy.float32], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    det(I + grad u), (*grid)
    """
def render_fields(images: numpy.typing.NDArray[numpy.float32], inverse_deviation: numpy.typing.NDArray[numpy.float32], ranges: numpy.typing.NDArray[numpy.float32], mean: numpy.typing.NDArray[numpy.float32], coefficients: numpy.typing.NDArray[numpy.float32], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    mean (c, *grid) + sum over k of field k times image k, clamped; images of in_blocks
    """
def render_patchwork(images: numpy.typing.NDArray[numpy.float32], inverse_deviation: numpy.typing.NDArray[numpy.float32], ranges: numpy.typing.NDArray[numpy.float32], sharpness: typing.SupportsFloat | typing.SupportsIndex, gain: numpy.typing.NDArray[numpy.float32], bias: numpy.typing.NDArray[numpy.float32], coefficients: numpy.typing.NDArray[numpy.float32], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    bias + gain * images of in_blocks in softmax shares of the fields, clamped
    """
def render_texture(mean: numpy.typing.NDArray[numpy.float32], modes: numpy.typing.NDArray[numpy.float32], ranges: numpy.typing.NDArray[numpy.float32], coefficients: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    mean (c, p) + coefficients (k,) @ modes (k, c, p), each channel clamped to its range (c, 2)
    """
def sample_field(u: numpy.typing.NDArray[numpy.float32], points: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    """
    displacements (p, d) at points (p, d)
    """
def solve_composition(steps: list[numpy.typing.NDArray[numpy.float64]], affine: numpy.typing.NDArray[numpy.float64], grid: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], targets: numpy.typing.NDArray[numpy.float64], starts: numpy.typing.NDArray[numpy.float64], tolerance: typing.SupportsFloat | typing.SupportsIndex, max_iterations: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64]]:
    """
    (points (p, d) that a composition maps to targets, residuals (p,))
    """
def warp(images: numpy.typing.NDArray[numpy.float32], displacements: numpy.typing.NDArray[numpy.float32], cubic: bool, constant: bool, fill: typing.SupportsFloat | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, out: numpy.typing.NDArray[numpy.float32] | None = None) -> numpy.typing.NDArray[numpy.float32]:
    """
    images (b, c, *grid) through fields (b or 1, d, *grid), order 1 or 3
    """
@typing.overload
def warp_nearest(images: numpy.typing.NDArray[numpy.uint8], displacements: numpy.typing.NDArray[numpy.float32], constant: bool, fill: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, out: numpy.typing.NDArray[numpy.uint8] | None = None) -> numpy.typing.NDArray[numpy.uint8]:
    """
    images (b, c, *grid) through fields, order 0
    """
@typing.overload
def warp_nearest(images: numpy.typing.NDArray[numpy.uint16], displacements: numpy.typing.NDArray[numpy.float32], constant: bool, fill: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, out: numpy.typing.NDArray[numpy.uint16] | None = None) -> numpy.typing.NDArray[numpy.uint16]:
    """
    images (b, c, *grid) through fields, order 0
    """
@typing.overload
def warp_nearest(images: numpy.typing.NDArray[numpy.uint32], displacements: numpy.typing.NDArray[numpy.float32], constant: bool, fill: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, out: numpy.typing.NDArray[numpy.uint32] | None = None) -> numpy.typing.NDArray[numpy.uint32]:
    """
    images (b, c, *grid) through fields, order 0
    """
@typing.overload
def warp_nearest(images: numpy.typing.NDArray[numpy.uint64], displacements: numpy.typing.NDArray[numpy.float32], constant: bool, fill: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, out: numpy.typing.NDArray[numpy.uint64] | None = None) -> numpy.typing.NDArray[numpy.uint64]:
    """
    images (b, c, *grid) through fields, order 0
    """
