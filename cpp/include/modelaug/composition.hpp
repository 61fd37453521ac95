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
struct Composition {
    std::vector<Lattice<D>> steps;  // all on one grid, D components each
    Matrix<D> matrix;
    Point<D> offset;
};

// chi (count, D) and the determinant of its Jacobian (count) at points (count, D).
template <int D>
void evaluate_composition(const Composition<D>& composition, const double* points, index_t count, double* out,
                          double* determinants, int threads);

// Displacement chi(x) - x at all voxels of the grid, (D, *grid).
template <int D>
void evaluate_composition_on_grid(const Composition<D>& composition, const Shape<D>& grid, float* out, int threads);

struct SolveOptions {
    double tolerance;  // on chi, in the unit of its values
    int max_iterations;
};

// Points y (count, D) with chi(y) = target (count, D), by Newton's method from the starts (count, D) that y holds.
// residuals: |chi(y) - target|, (count).
template <int D>
void solve_composition(const Composition<D>& composition, const double* targets, index_t count,
                       const SolveOptions& options, double* y, double* residuals, int threads);

// The correspondence of two images rendered by compositions: fixed (D, *grid) is the displacement of the fixed image's
// composition at all voxels. flow (D, *grid): moving(x + flow(x)) = x + fixed(x), and a bound of the residual, (*grid),
// by which it misses. Newton's method in single precision, in double precision where that does not converge. A bound of
// the second derivatives shows that a step ends within the tolerance without another evaluation.
template <int D>
void correspond(const float* fixed, const Composition<D>& moving, const Shape<D>& grid, const SolveOptions& options,
                float* flow, float* residual, int threads);

}  // namespace modelaug
