// Scattered-data approximation by multilevel cubic B-splines.
//
// Lee, Wolberg, Shin: Scattered data interpolation with multilevel B-splines. IEEE TVCG 3(3), 1997.
//
// The domain of a grid with N voxels along an axis is [0, N - 1] there, cut into `cells` equal cells; a lattice of
// cells + 3 control points carries the spline. An axis with a single voxel has the domain {0} and keeps one cell.
#pragma once

#include <algorithm>
#include <cassert>
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

// The two-scale relation: control points of the same spline on a lattice of half the step, between two of its control
// points and at the middle one of three.
inline double refined_between(double a, double b) {
    return 0.5 * (a + b);
}

inline double refined_at(double a, double b, double c) {
    return 0.125 * (a + 6.0 * b + c);
}

// Where the control points of a lattice's axis continue: the outermost ones beyond it.
constexpr index_t continued(index_t node, index_t nodes) {
    return std::clamp<index_t>(node, 0, nodes - 1);
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

    // 0 along axes of one voxel.
    double cells_per_voxel(int axis) const {
        assert(cells[axis] >= 1 && grid[axis] >= 1);
        return grid[axis] > 1 ? static_cast<double>(cells[axis]) / static_cast<double>(grid[axis] - 1) : 0.0;
    }
};

// Control points (*nodes) in single precision and `step` floats apart, the outermost ones continued by a margin on each
// side of every axis: (*(nodes + 2 margin)).
template <int D>
void copy_continued(const double* control, const Shape<D>& nodes, const Shape<D>& margin, index_t step, float* out) {
    const Shape<D> from = strides<D>(nodes);
    Shape<D> padded = nodes;
    for (int axis = 0; axis < D; ++axis) padded[axis] += 2 * margin[axis];
    const index_t inner = nodes[D - 1], before = margin[D - 1];
    for (index_t row = 0; row < volume<D>(padded) / padded[D - 1]; ++row, out += padded[D - 1] * step) {
        const Shape<D> at = row_start<D>(padded, row);
        const double* line = control;
        for (int axis = 0; axis < D - 1; ++axis) line += from[axis] * continued(at[axis] - margin[axis], nodes[axis]);
        for (index_t x = 0; x < before; ++x) {
            out[x * step] = static_cast<float>(line[0]);
            out[(before + inner + x) * step] = static_cast<float>(line[inner - 1]);
        }
        for (index_t x = 0; x < inner; ++x) out[(before + x) * step] = static_cast<float>(line[x]);
    }
}

// Where a coordinate within the domain falls on an axis: the cell, and the position t in [0, 1] within it.
struct Location {
    index_t cell;
    double t;
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
                         index_t components, const Shape<D>& grid, const FitOptions& options, int threads);

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
