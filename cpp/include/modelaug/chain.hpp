// The maps that render images: small B-spline displacements one after the other, then an affine map,
// chi(x) = A f_K(... f_2(f_1(x))) + b with f_k(x) = x + r_k(x).
//
// Beyond the domain of a lattice its outermost control points continue, so every f_k is twice continuously
// differentiable everywhere, and a translation of each border far away from it.
#pragma once

#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/linear.hpp"

namespace modelaug {

template <int D>
struct Chain {
    std::vector<Lattice<D>> steps;  // all on one grid, D components each
    Matrix<D> matrix;
    Point<D> offset;
};

// chi (count, D) and the determinant of its Jacobian (count) at points (count, D).
template <int D>
void chain_at(const Chain<D>& chain, const double* points, index_t count, double* out, double* determinants,
              int threads);

// Displacement chi(x) - x at all voxels of the grid, (D, *grid).
template <int D>
void chain_on_grid(const Chain<D>& chain, const Shape<D>& grid, float* out, int threads);

struct SolveOptions {
    double tolerance;  // on chi, in the unit of its values
    int max_iterations;
};

// Points y (count, D) with chi(y) = target (count, D), by Newton's method from the starts (count, D) that y holds.
// residuals: |chi(y) - target|, (count).
template <int D>
void chain_solve(const Chain<D>& chain, const double* targets, index_t count, const SolveOptions& options, double* y,
                 double* residuals, int threads);

// The correspondence of two images rendered by chains: fixed (D, *grid) is the displacement of the fixed image's chain
// at all voxels. flow (D, *grid): moving(x + flow(x)) = x + fixed(x), and a bound of the residual, (*grid), by which it
// misses. Newton's method in single precision, in double precision where that does not reach the tolerance. Where a
// bound of the second derivatives tells that a step ends within the tolerance, no evaluation is spent on seeing it.
template <int D>
void correspond(const float* fixed, const Chain<D>& moving, const Shape<D>& grid, const SolveOptions& options,
                float* flow, float* residual, int threads);

}  // namespace modelaug
