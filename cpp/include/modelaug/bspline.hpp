// Scattered-data approximation by multilevel cubic B-splines.
//
// Lee, Wolberg, Shin: Scattered data interpolation with multilevel B-splines. IEEE TVCG 3(3), 1997.
//
// The domain of a grid with N voxels along an axis is [0, N - 1] there, cut into `cells` equal cells; a lattice of
// cells + 3 control points carries the spline. An axis with a single voxel has the domain {0} and keeps one cell.
#pragma once

#include <memory>
#include <vector>

#include "modelaug/grid.hpp"

namespace modelaug {

// Weights of the four control points around t in [0, 1] for the value and the derivative with respect to t.
inline void cubic_weights(double t, double* w) {
    const double s = 1.0 - t;
    constexpr double sixth = 1.0 / 6.0;
    w[0] = s * s * s * sixth;
    w[1] = (3.0 * t * t * t - 6.0 * t * t + 4.0) * sixth;
    w[2] = (3.0 * s * s * s - 6.0 * s * s + 4.0) * sixth;
    w[3] = t * t * t * sixth;
}

inline void cubic_derivative_weights(double t, double* w) {
    const double s = 1.0 - t;
    w[0] = -0.5 * s * s;
    w[1] = 1.5 * t * t - 2.0 * t;
    w[2] = -1.5 * s * s + 2.0 * s;
    w[3] = 0.5 * t * t;
}

// Control points of a spline with several components on the domain of `grid`: data is (components, *(cells + 3)).
template <int D>
struct Lattice {
    const double* data;
    index_t components;
    Shape<D> cells;
    Shape<D> grid;

    Shape<D> nodes() const {
        Shape<D> result = cells;
        for (index_t& length : result) length += 3;
        return result;
    }
};

// A line of control points, the outermost ones continued by a margin, in single precision and `step` floats apart.
inline void continue_line(const double* line, index_t nodes, index_t margin, index_t step, float* out) {
    for (index_t x = 0; x < margin; ++x) {
        out[x * step] = static_cast<float>(line[0]);
        out[(margin + nodes + x) * step] = static_cast<float>(line[nodes - 1]);
    }
    for (index_t x = 0; x < nodes; ++x) out[(margin + x) * step] = static_cast<float>(line[x]);
}

// Where a coordinate falls on an axis: the cell, the position t in [0, 1] within it, and the distance outside the
// domain.
struct Location {
    index_t cell;
    double t;
    double beyond;  // signed, in voxels; 0 inside
};

// The domain is closed: its upper end belongs to the last cell with t = 1.
Location locate(double x, index_t voxels, index_t cells);

struct FitOptions {
    double tolerance;  // stop as soon as no residual is longer
    int max_levels;    // levels l = 1, 2, ... have 2^(l - 1) cells per axis
    bool affine;       // start from the weighted least-squares affine map
};

template <int D>
struct FitResult {
    Shape<D> cells{};
    std::unique_ptr<double[]> coefficients;  // (components, *(cells + 3))
    std::vector<double> residuals;           // length of value minus spline at each site
    int levels = 0;
    bool converged = false;
};

// Fits `components` values at `count` sites, all inside the domain. weights: positive confidences, or null for equal
// ones. Sites are visited in the order of their coordinates, so the result does not depend on the order given. Gives up
// (converged = false) at max_levels or where the next lattice would exceed 2^26 control points.
template <int D>
FitResult<D> fit_bspline(const double* sites, const double* values, const double* weights, index_t count,
                         index_t components, const Shape<D>& grid, const FitOptions& options);

// Values at points, (count, components). A point outside the domain gets the value at the nearest point of the domain,
// plus, if `extrapolate`, the gradient there times the offset.
template <int D>
void evaluate_at(const Lattice<D>& lattice, const double* points, index_t count, bool extrapolate, double* out,
                 int threads);

// Values at all voxels of the grid, (components, *grid).
template <int D>
void evaluate_on_grid(const Lattice<D>& lattice, float* out, int threads);

// Weighted least-squares affine map sites -> values; constant along directions in which the sites spread by less than
// 1e-6 voxels (root mean square). matrix: (components, D + 1), value_k(x) = sum_a matrix[k, a] x_a + matrix[k, D].
void fit_affine(int d, const double* sites, const double* values, const double* weights, index_t count,
                index_t components, double* matrix);

}  // namespace modelaug
