#include "modelaug/bspline.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "modelaug/parallel.hpp"
#include "modelaug/rows.hpp"

namespace modelaug {

Location locate(double x, index_t voxels, index_t cells) {
    const double upper = static_cast<double>(voxels - 1);
    const double inside = std::clamp(x, 0.0, upper);
    if (voxels == 1) return {0, 0.0, x - inside};
    const double scaled = inside * (static_cast<double>(cells) / upper);
    const index_t cell = std::min(static_cast<index_t>(scaled), cells - 1);
    return {cell, std::min(scaled - static_cast<double>(cell), 1.0), x - inside};
}

namespace {

constexpr index_t kMaxNodes = index_t{1} << 26;

template <int D>
struct Stencil {
    index_t base;          // first control point
    double weights[D][4];  // per axis
};

template <int D>
Stencil<D> stencil_at(const double* point, const Shape<D>& grid, const Shape<D>& cells, const Shape<D>& node_strides) {
    Stencil<D> stencil{};
    for (int axis = 0; axis < D; ++axis) {
        const Location where = locate(point[axis], grid[axis], cells[axis]);
        stencil.base += where.cell * node_strides[axis];
        cubic_weights(where.t, stencil.weights[axis]);
    }
    return stencil;
}

// Calls visit(node, weight) for the 4^D control points of the stencil.
template <int D, typename Visit>
void for_stencil(const Stencil<D>& stencil, const Shape<D>& node_strides, const Visit& visit) {
    if constexpr (D == 2) {
        for (int a = 0; a < 4; ++a)
            for (int b = 0; b < 4; ++b)
                visit(stencil.base + a * node_strides[0] + b, stencil.weights[0][a] * stencil.weights[1][b]);
    } else {
        for (int a = 0; a < 4; ++a)
            for (int b = 0; b < 4; ++b) {
                const double outer = stencil.weights[0][a] * stencil.weights[1][b];
                const index_t row = stencil.base + a * node_strides[0] + b * node_strides[1];
                for (int c = 0; c < 4; ++c) visit(row + c, outer * stencil.weights[2][c]);
            }
    }
}

template <int D>
Shape<D> node_shape(const Shape<D>& cells) {
    return Lattice<D>{nullptr, 0, cells, {}}.nodes();
}

template <int D>
Shape<D> doubled(const Shape<D>& cells, const Shape<D>& grid) {
    Shape<D> result = cells;
    for (int axis = 0; axis < D; ++axis)
        if (grid[axis] > 1) result[axis] *= 2;
    return result;
}

// The same spline on a lattice with twice the cells along one axis: two-scale relation of the cubic B-spline, stencil
// (1, 4, 6, 4, 1) / 8. data is (outer, cells + 3, inner).
std::vector<double> refine_axis(const std::vector<double>& coarse, index_t outer, index_t cells, index_t inner) {
    const index_t coarse_nodes = cells + 3, fine_nodes = 2 * cells + 3;
    std::vector<double> fine(outer * fine_nodes * inner);
    for (index_t o = 0; o < outer; ++o)
        for (index_t j = 0; j < fine_nodes; ++j) {
            // Control point j sits at index j - 1; odd j are the even, "vertex" positions.
            const double* c = coarse.data() + (o * coarse_nodes + j / 2) * inner;
            double* f = fine.data() + (o * fine_nodes + j) * inner;
            if (j % 2 == 0)
                for (index_t i = 0; i < inner; ++i) f[i] = 0.5 * (c[i] + c[i + inner]);
            else
                for (index_t i = 0; i < inner; ++i) f[i] = 0.125 * (c[i] + 6.0 * c[i + inner] + c[i + 2 * inner]);
        }
    return fine;
}

template <int D>
std::vector<double> refine(std::vector<double> coefficients, index_t components, const Shape<D>& cells,
                           const Shape<D>& grid) {
    Shape<D> nodes = node_shape<D>(cells);
    for (int axis = 0; axis < D; ++axis) {
        if (grid[axis] == 1) continue;
        const index_t outer = std::accumulate(nodes.begin(), nodes.begin() + axis, components,
                                              [](index_t a, index_t b) { return a * b; });
        const index_t inner = std::accumulate(nodes.begin() + axis + 1, nodes.end(), index_t{1},
                                              [](index_t a, index_t b) { return a * b; });
        coefficients = refine_axis(coefficients, outer, cells[axis], inner);
        nodes[axis] = 2 * cells[axis] + 3;
    }
    return coefficients;
}

// Sites, values and weights in the order of their coordinates.
struct Data {
    std::vector<double> sites, values, weights;
    std::vector<index_t> order;  // order[i]: where sorted site i stood

    index_t count() const { return static_cast<index_t>(order.size()); }
};

Data sorted(int d, const double* sites, const double* values, const double* weights, index_t count,
            index_t components) {
    Data data;
    data.order.resize(count);
    std::iota(data.order.begin(), data.order.end(), index_t{0});
    const auto compare = [](const double* a, const double* b, index_t length) {
        for (index_t i = 0; i < length; ++i)
            if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
        return 0;
    };
    std::sort(data.order.begin(), data.order.end(), [&](index_t a, index_t b) {
        int sign = compare(sites + a * d, sites + b * d, d);
        if (sign == 0) sign = compare(values + a * components, values + b * components, components);
        if (sign == 0 && weights) sign = compare(weights + a, weights + b, 1);
        return sign < 0;
    });
    for (index_t i : data.order) {
        data.sites.insert(data.sites.end(), sites + i * d, sites + (i + 1) * d);
        data.values.insert(data.values.end(), values + i * components, values + (i + 1) * components);
        data.weights.push_back(weights ? weights[i] : 1.0);
    }
    return data;
}

// Adds to `lattice` the B-spline approximation of the residuals on its control points (Lee et al. 1997, section 3.2):
// each control point gets the weighted mean of what each site near it asks for.
template <int D>
void add_approximation(const Data& data, const std::vector<double>& residuals, index_t components, const Shape<D>& grid,
                       const Shape<D>& cells, std::vector<double>& lattice) {
    const Shape<D> nodes = node_shape<D>(cells);
    const Shape<D> node_strides = strides<D>(nodes);
    const index_t total = volume<D>(nodes);
    std::vector<double> numerator(total * components), denominator(total);
    for (index_t i = 0; i < data.count(); ++i) {
        const Stencil<D> stencil = stencil_at<D>(&data.sites[i * D], grid, cells, node_strides);
        double squares = 1.0;  // the sum over the stencil of w^2 factorizes
        for (const auto& w : stencil.weights) squares *= w[0] * w[0] + w[1] * w[1] + w[2] * w[2] + w[3] * w[3];
        for_stencil<D>(stencil, node_strides, [&](index_t node, double w) {
            const double confidence = data.weights[i] * w * w;
            denominator[node] += confidence;
            for (index_t k = 0; k < components; ++k)
                numerator[k * total + node] += confidence * (w * residuals[i * components + k] / squares);
        });
    }
    for (index_t k = 0; k < components; ++k)
        for (index_t node = 0; node < total; ++node)
            if (denominator[node] > 0.0) lattice[k * total + node] += numerator[k * total + node] / denominator[node];
}

// residuals = values - spline at the sites; returns the length of the longest.
template <int D>
double update_residuals(const Data& data, index_t components, const Shape<D>& grid, const Shape<D>& cells,
                        const std::vector<double>& lattice, std::vector<double>& residuals) {
    const Shape<D> nodes = node_shape<D>(cells);
    const Shape<D> node_strides = strides<D>(nodes);
    const index_t total = volume<D>(nodes);
    double longest = 0.0;
    for (index_t i = 0; i < data.count(); ++i) {
        const Stencil<D> stencil = stencil_at<D>(&data.sites[i * D], grid, cells, node_strides);
        double squared = 0.0;
        for (index_t k = 0; k < components; ++k) {
            double value = 0.0;
            for_stencil<D>(stencil, node_strides,
                           [&](index_t node, double w) { value += w * lattice[k * total + node]; });
            const index_t at = i * components + k;
            residuals[at] = data.values[at] - value;
            squared += residuals[at] * residuals[at];
        }
        longest = std::max(longest, std::sqrt(squared));
    }
    return longest;
}

// One cell per axis, carrying the affine map: cubic B-splines reproduce linear functions with coefficients taken from
// them.
template <int D>
std::vector<double> affine_lattice(const double* matrix, index_t components, const Shape<D>& grid) {
    Shape<D> cells;
    cells.fill(1);
    const Shape<D> nodes = node_shape<D>(cells);
    std::vector<double> lattice;
    for (index_t k = 0; k < components; ++k) {
        const double* row = matrix + k * (D + 1);
        for_rows<D>(nodes, 0, volume<D>(nodes) / nodes[D - 1], [&](const Shape<D>& node, index_t) {
            double value = row[D];
            for (int axis = 0; axis < D; ++axis)
                value += row[axis] * static_cast<double>(node[axis] - 1) * static_cast<double>(grid[axis] - 1);
            lattice.push_back(value);
        });
    }
    return lattice;
}

}  // namespace

template <int D>
FitResult<D> fit_bspline(const double* sites, const double* values, const double* weights, index_t count,
                         index_t components, const Shape<D>& grid, const FitOptions& options) {
    const Data data = sorted(D, sites, values, weights, count, components);
    FitResult<D> result;
    result.cells.fill(1);
    std::vector<double> matrix(components * (D + 1));
    if (options.affine)
        fit_affine(D, data.sites.data(), data.values.data(), data.weights.data(), count, components, matrix.data());
    std::vector<double>& lattice = result.coefficients;
    lattice = affine_lattice<D>(matrix.data(), components, grid);

    std::vector<double> residuals(data.values.size());
    double longest = update_residuals<D>(data, components, grid, result.cells, lattice, residuals);
    while (longest > options.tolerance && result.levels < options.max_levels) {
        if (result.levels > 0) {
            const Shape<D> finer = doubled<D>(result.cells, grid);
            if (finer == result.cells || volume<D>(node_shape<D>(finer)) > kMaxNodes) break;
            lattice = refine<D>(std::move(lattice), components, result.cells, grid);
            result.cells = finer;
        }
        add_approximation<D>(data, residuals, components, grid, result.cells, lattice);
        longest = update_residuals<D>(data, components, grid, result.cells, lattice, residuals);
        ++result.levels;
    }
    result.converged = longest <= options.tolerance;
    result.residuals.resize(count);
    for (index_t i = 0; i < data.count(); ++i) {
        double squared = 0.0;
        for (index_t k = 0; k < components; ++k) {
            const double r = residuals[i * components + k];
            squared += r * r;
        }
        result.residuals[data.order[i]] = std::sqrt(squared);
    }
    return result;
}

template <int D>
void evaluate_at(const Lattice<D>& lattice, const double* points, index_t count, bool extrapolate, double* out,
                 int threads) {
    const Shape<D> nodes = lattice.nodes();
    const Shape<D> node_strides = strides<D>(nodes);
    const index_t total = volume<D>(nodes);
    parallel_for(count, threads, [&](index_t begin, index_t end) {
        for (index_t p = begin; p < end; ++p) {
            const double* point = points + p * D;
            double* values = out + p * lattice.components;
            const Stencil<D> stencil = stencil_at<D>(point, lattice.grid, lattice.cells, node_strides);
            const auto add = [&](const Stencil<D>& at, double factor) {
                for (index_t k = 0; k < lattice.components; ++k) {
                    const double* coefficients = lattice.data + k * total;
                    double value = 0.0;
                    for_stencil<D>(at, node_strides, [&](index_t node, double w) { value += w * coefficients[node]; });
                    values[k] += factor * value;
                }
            };
            std::fill(values, values + lattice.components, 0.0);
            add(stencil, 1.0);
            for (int axis = 0; extrapolate && axis < D; ++axis) {
                const Location where = locate(point[axis], lattice.grid[axis], lattice.cells[axis]);
                if (where.beyond == 0.0 || lattice.grid[axis] == 1) continue;
                Stencil<D> slope = stencil;
                cubic_derivative_weights(where.t, slope.weights[axis]);
                const double per_voxel =
                    static_cast<double>(lattice.cells[axis]) / static_cast<double>(lattice.grid[axis] - 1);
                add(slope, where.beyond * per_voxel);
            }
        }
    });
}

template <int D>
void evaluate_on_grid(const Lattice<D>& lattice, float* out, int threads) {
    const index_t pixels = volume<D>(lattice.grid), columns = lattice.grid[D - 1];
    const std::vector<float> coefficients = float_coefficients<D>(lattice);
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        LatticeRows<D> rows(coefficients.data(), lattice.components, lattice.cells, lattice.grid);
        for (index_t k = 0; k < lattice.components; ++k)
            for (index_t y = begin; y < end; ++y) rows.row(k, y, out + k * pixels + y * columns);
    });
}

#define MODELAUG_INSTANTIATE(D)                                                                         \
    template FitResult<D> fit_bspline<D>(const double*, const double*, const double*, index_t, index_t, \
                                         const Shape<D>&, const FitOptions&);                           \
    template void evaluate_at<D>(const Lattice<D>&, const double*, index_t, bool, double*, int);        \
    template void evaluate_on_grid<D>(const Lattice<D>&, float*, int);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
