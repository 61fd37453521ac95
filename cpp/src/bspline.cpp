#include "modelaug/bspline.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>

#include "modelaug/axis_table.hpp"
#include "modelaug/evaluator.hpp"
#include "modelaug/parallel.hpp"

namespace modelaug {

Location locate(double x, index_t voxels, index_t cells) {
    const double upper = static_cast<double>(voxels - 1);
    assert(voxels >= 1 && cells >= 1);
    if (voxels == 1) return {0, 0.0};
    const double scaled = std::clamp(x, 0.0, upper) * (static_cast<double>(cells) / upper);
    const index_t cell = std::min(static_cast<index_t>(scaled), cells - 1);
    return {cell, std::min(scaled - static_cast<double>(cell), 1.0)};
}

namespace {

constexpr index_t kMaxNodes = index_t{1} << 26;

template <int D>
struct Stencil {
    index_t base;          // first control point
    index_t slab;          // its index along the first axis
    double weights[D][4];  // per axis
};

template <int D>
Stencil<D> stencil_at(const double* point, const Shape<D>& grid, const Shape<D>& cells, const Shape<D>& node_strides) {
    Stencil<D> stencil{};
    for (int axis = 0; axis < D; ++axis) {
        const Location where = locate(point[axis], grid[axis], cells[axis]);
        stencil.base += where.cell * node_strides[axis];
        if (axis == 0) stencil.slab = where.cell;
        cubic_weights(where.t, stencil.weights[axis]);
    }
    return stencil;
}

// The spline there, at a site of a fit: weights are found once for all components and the next approximation, and sums
// are of pairs, which need not wait for one another. Rounds in another way than the reference.
template <int D>
double spline_value(const Stencil<D>& stencil, const Shape<D>& node_strides, const double* lattice) {
    const auto line = [&](const double* c) {
        const double* w = stencil.weights[D - 1];
        return (w[0] * c[0] + w[1] * c[1]) + (w[2] * c[2] + w[3] * c[3]);
    };
    const auto plane = [&](const double* c) {
        const double* w = stencil.weights[D - 2];
        const index_t step = node_strides[D - 2];
        return (w[0] * line(c) + w[1] * line(c + step)) + (w[2] * line(c + 2 * step) + w[3] * line(c + 3 * step));
    };
    const double* c = lattice + stencil.base;
    if constexpr (D == 2) return plane(c);
    const double* w = stencil.weights[0];
    const index_t step = node_strides[0];
    return (w[0] * plane(c) + w[1] * plane(c + step)) + (w[2] * plane(c + 2 * step) + w[3] * plane(c + 3 * step));
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

// Control points of a lattice, not set to zero first.
using Values = std::unique_ptr<double[]>;

Values new_values(index_t count) {
    return Values(new double[static_cast<std::size_t>(count)]);
}

// The same spline on a lattice with twice the cells along every axis with more than one voxel: two-scale relation of
// the cubic B-spline, stencil (1, 4, 6, 4, 1) / 8.
template <int D>
class Refinement {
  public:
    Refinement(const Shape<D>& cells, const Shape<D>& finer)
        : cells_(cells), coarse_(strides<D>(node_shape<D>(cells))), fine_(strides<D>(node_shape<D>(finer))) {
        for (int axis = 0; axis < D; ++axis) {
            doubled_[axis] = cells[axis] != finer[axis];
            slabs_[axis] = new_values(coarse_[axis]);
        }
    }

    // The slabs [begin, end) across the first axis.
    void operator()(const double* coarse, double* fine, index_t begin, index_t end) const {
        along<0>(coarse, fine, begin, end);
    }

  private:
    template <int Axis>
    index_t lines() const {
        return (doubled_[Axis] ? 2 : 1) * cells_[Axis] + 3;
    }

    // Control point j sits at index j - 1; odd j are the even, "vertex" positions.
    template <int Axis>
    void along(const double* c, double* f, index_t begin, index_t end) const {
        const index_t inner = coarse_[Axis], cells = cells_[Axis];
        if constexpr (Axis == D - 1) {
            if (!doubled_[Axis]) {
                std::copy(c, c + cells + 3, f);
                return;
            }
            for (index_t j = 0; j <= cells; ++j) {
                f[2 * j] = refined_between(c[j], c[j + 1]);
                f[2 * j + 1] = refined_at(c[j], c[j + 1], c[j + 2]);
            }
            f[2 * cells + 2] = refined_between(c[cells + 1], c[cells + 2]);
        } else {
            double* slab = slabs_[Axis].get();
            for (index_t j = begin; j < end; ++j) {
                const double* from = slab;
                const double *first = c + (doubled_[Axis] ? j / 2 : j) * inner, *second = first + inner,
                             *third = second + inner;
                if (!doubled_[Axis])
                    from = first;
                else if (j % 2 == 0)
                    for (index_t i = 0; i < inner; ++i) slab[i] = refined_between(first[i], second[i]);
                else
                    for (index_t i = 0; i < inner; ++i) slab[i] = refined_at(first[i], second[i], third[i]);
                along<Axis + 1>(from, f + j * fine_[Axis], 0, lines<Axis + 1>());
            }
        }
    }

    Shape<D> cells_, coarse_, fine_;
    std::array<bool, D> doubled_;
    std::array<Values, D> slabs_;
};

// Sites, values and weights in the order of their coordinates.
struct Data {
    std::vector<double> sites, values, weights;
    std::vector<index_t> order;  // order[i]: where sorted site i stood

    index_t count() const { return static_cast<index_t>(order.size()); }
};

Data sorted(int d, const double* sites, const double* values, const double* weights, index_t count,
            index_t components) {
    Data data;
    data.sites.reserve(count * d);
    data.values.reserve(count * components);
    data.weights.reserve(count);
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

// One lattice of the hierarchy.
template <int D>
struct Level {
    index_t components;
    Shape<D> cells, steps;
    index_t total;
    std::vector<Stencil<D>> stencils;  // of the sites
    Values values;                     // (components, *nodes)

    Level(const Data& data, index_t all_components, const Shape<D>& grid, const Shape<D>& all_cells)
        : components(all_components),
          cells(all_cells),
          steps(strides<D>(node_shape<D>(cells))),
          total(volume<D>(node_shape<D>(cells))),
          values(new_values(components * total)) {
        stencils.reserve(data.order.size());
        for (index_t i = 0; i < data.count(); ++i)
            stencils.push_back(stencil_at<D>(&data.sites[i * D], grid, cells, steps));
    }
};

// Adds to K components of a level, from `first` on, the B-spline approximation of residuals on its control points in
// the slabs [begin, end) across the first axis (Lee et al. 1997, section 3.2): each control point gets the weighted
// mean of what each site near it asks for. Sites come in the order of their first coordinate, so four slabs are open at
// a time.
template <int D, int K>
void add_approximation(const Data& data, const std::vector<double>& residuals, index_t first, index_t begin,
                       index_t end, Level<D>& level) {
    constexpr int kWidth = K + 1;  // numerators and their common denominator
    const index_t slab = level.steps[0];
    std::vector<double> window(4 * slab * kWidth);
    const auto sums_of = [&](index_t s) { return window.data() + s % 4 * slab * kWidth; };
    const auto close = [&](index_t s) {
        double* sums = sums_of(s);
        double* values = &level.values[first * level.total + s * slab];
        for (index_t node = 0; node < slab; ++node, sums += kWidth) {
            if (!(sums[K] > 0.0)) continue;
            for (int k = 0; k < K; ++k) values[k * level.total + node] += sums[k] / sums[K];
            for (int k = 0; k < kWidth; ++k) sums[k] = 0.0;
        }
    };
    const auto nearby = std::partition_point(level.stencils.begin(), level.stencils.end(),
                                             [&](const Stencil<D>& stencil) { return stencil.slab + 4 <= begin; });
    index_t open = begin, held = begin;  // slabs that hold anything
    for (index_t i = nearby - level.stencils.begin(); i < data.count() && level.stencils[i].slab < end; ++i) {
        const Stencil<D>& stencil = level.stencils[i];
        const index_t from = std::max(stencil.slab, begin), to = std::min(stencil.slab + 4, end);
        while (open < std::min(from, held)) close(open++);
        open = from;
        held = to;
        double squares = 1.0, asked[K];  // the sum over the stencil of w^2 factorizes
        for (const auto& w : stencil.weights) squares *= w[0] * w[0] + w[1] * w[1] + w[2] * w[2] + w[3] * w[3];
        for (int k = 0; k < K; ++k) asked[k] = residuals[i * level.components + first + k] / squares;
        const auto add_line = [&](double* sums, double outer) {
            for (int c = 0; c < 4; ++c, sums += kWidth) {
                const double w = outer * stencil.weights[D - 1][c], confidence = data.weights[i] * w * w;
                for (int k = 0; k < K; ++k) sums[k] += confidence * w * asked[k];
                sums[K] += confidence;
            }
        };
        const auto add_slab = [&](index_t a) {
            double* sums = sums_of(stencil.slab + a) + (stencil.base - stencil.slab * slab) * kWidth;
            if constexpr (D == 2) {
                add_line(sums, stencil.weights[0][a]);
            } else {
                for (int b = 0; b < 4; ++b)
                    add_line(sums + b * level.steps[1] * kWidth, stencil.weights[0][a] * stencil.weights[1][b]);
            }
        };
        if (to - from == 4)  // mostly; what the compiler unrolls
            for (int a = 0; a < 4; ++a) add_slab(a);
        else
            for (index_t s = from; s < to; ++s) add_slab(s - stencil.slab);
    }
    while (open < held) close(open++);
}

// Threads for so many multiplications and additions: few are done sooner than threads start.
int team(index_t operations, int threads) {
    return operations < index_t{1} << 17 ? 1 : threads;
}

template <int D>
void add_approximation(const Data& data, const std::vector<double>& residuals, Level<D>& level, int threads) {
    const index_t operations = data.count() * 8 * (level.components + 1) << 2 * D;
    parallel_for(level.cells[0] + 3, team(operations, threads), [&](index_t begin, index_t end) {
        index_t first = 0;
        for (; first + 3 <= level.components; first += 3)
            add_approximation<D, 3>(data, residuals, first, begin, end, level);
        if (level.components - first == 2) add_approximation<D, 2>(data, residuals, first, begin, end, level);
        if (level.components - first == 1) add_approximation<D, 1>(data, residuals, first, begin, end, level);
    });
}

// residuals = values - spline at the sites, and the squares of their lengths, of which it returns the largest.
template <int D>
double update_residuals(const Data& data, const Level<D>& level, std::vector<double>& residuals,
                        std::vector<double>& squares, int threads) {
    const index_t components = level.components;
    parallel_for(data.count(), team(data.count() * components << 2 * D, threads), [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            double squared = 0.0;
            for (index_t k = 0; k < components; ++k) {
                const index_t at = i * components + k;
                residuals[at] =
                    data.values[at] - spline_value<D>(level.stencils[i], level.steps, &level.values[k * level.total]);
                squared += residuals[at] * residuals[at];
            }
            squares[i] = squared;
        }
    });
    return *std::max_element(squares.begin(), squares.end());
}

// One cell per axis, carrying the affine map: cubic B-splines reproduce linear functions with coefficients taken from
// them.
template <int D>
void set_affine(const double* matrix, const Shape<D>& grid, Level<D>& level) {
    const Shape<D> nodes = node_shape<D>(level.cells);
    double* value = level.values.get();
    for (index_t k = 0; k < level.components; ++k) {
        const double* row = matrix + k * (D + 1);
        for_rows<D>(nodes, 0, level.total / nodes[D - 1], [&](const Shape<D>& node, index_t) {
            *value = row[D];
            for (int axis = 0; axis < D; ++axis)
                *value += row[axis] * static_cast<double>(node[axis] - 1) * static_cast<double>(grid[axis] - 1);
            ++value;
        });
    }
}

}  // namespace

template <int D>
FitResult<D> fit_bspline(const double* sites, const double* values, const double* weights, index_t count,
                         index_t components, const Shape<D>& grid, const FitOptions& options, int threads) {
    const Data data = sorted(D, sites, values, weights, count, components);
    FitResult<D> result;
    std::vector<double> matrix(components * (D + 1));
    if (options.affine)
        fit_affine(D, data.sites.data(), data.values.data(), data.weights.data(), count, components, matrix.data());
    Shape<D> one;
    one.fill(1);
    Level<D> level(data, components, grid, one);
    set_affine<D>(matrix.data(), grid, level);

    std::vector<double> residuals(data.values.size()), squares(count);
    const auto residual = [&] { return std::sqrt(update_residuals<D>(data, level, residuals, squares, threads)); };
    double longest = residual();
    while (longest > options.tolerance && result.levels < options.max_levels) {
        if (result.levels > 0) {
            const Shape<D> cells = doubled<D>(level.cells, grid);
            if (cells == level.cells || volume<D>(node_shape<D>(cells)) > kMaxNodes) break;
            Level<D> finer(data, components, grid, cells);
            parallel_for(cells[0] + 3, team(components * finer.total * 8, threads), [&](index_t begin, index_t end) {
                const Refinement<D> refine(level.cells, cells);
                for (index_t k = 0; k < components; ++k)
                    refine(&level.values[k * level.total], &finer.values[k * finer.total], begin, end);
            });
            level = std::move(finer);
        }
        add_approximation<D>(data, residuals, level, threads);
        longest = residual();
        ++result.levels;
    }
    result.cells = level.cells;
    result.coefficients = std::move(level.values);
    result.converged = longest <= options.tolerance;
    result.residuals.resize(count);
    for (index_t i = 0; i < count; ++i) result.residuals[data.order[i]] = std::sqrt(squares[i]);
    return result;
}

template <int D>
void evaluate_at(const Lattice<D>& lattice, const double* points, index_t count, bool extrapolate, double* out,
                 int threads) {
    const SplineEvaluator<D> spline(lattice);
    parallel_for(count, threads, [&](index_t begin, index_t end) {
        for (index_t p = begin; p < end; ++p) {
            Point<D> nearest, beyond;
            for (int axis = 0; axis < D; ++axis) {
                const double x = points[p * D + axis];
                nearest[axis] = std::clamp(x, 0.0, static_cast<double>(lattice.grid[axis] - 1));
                beyond[axis] = x - nearest[axis];
            }
            for (index_t k = 0; k < lattice.components; ++k) {
                std::array<double, 1> value;
                std::array<Point<D>, 1> gradient{};
                if (extrapolate && beyond != Point<D>{})
                    spline.template evaluate<1, true>(nearest, k, value, gradient);
                else
                    spline.template evaluate<1, false>(nearest, k, value, gradient);
                for (int axis = 0; axis < D; ++axis) value[0] += gradient[0][axis] * beyond[axis];
                out[p * lattice.components + k] = value[0];
            }
        }
    });
}

// The last axis first, where lines are fewest: what comes after are sums of whole rows.
template <int D>
void evaluate_on_grid(const Lattice<D>& lattice, float* out, int threads) {
    const Shape<D> nodes = lattice.nodes();
    const index_t total = volume<D>(nodes), across = nodes[D - 1], lines = total / across,
                  columns = lattice.grid[D - 1];
    std::vector<AxisTable> tables;
    for (int axis = 0; axis < D; ++axis) tables.emplace_back(lattice.grid[axis], lattice.cells[axis]);
    const std::unique_ptr<float[]> rows(new float[lines * columns]);
    for (index_t k = 0; k < lattice.components; ++k) {
        parallel_for(lines, threads, [&](index_t begin, index_t end) {
            std::vector<float> line(across);
            for (index_t i = begin; i < end; ++i) {
                const double* c = lattice.data + k * total + i * across;
                for (index_t x = 0; x < across; ++x) line[x] = static_cast<float>(c[x]);
                simd().interpolate_line(tables[D - 1].view(), line.data(), &rows[i * columns]);
            }
        });
        float* const target = out + k * volume<D>(lattice.grid);
        if constexpr (D == 2) {
            parallel_for(lattice.grid[0], threads, [&](index_t begin, index_t end) {
                for (index_t y = begin; y < end; ++y)
                    tables[0].interpolate_slabs(y, rows.get(), columns, target + y * columns);
            });
        } else {
            parallel_for(lattice.grid[1], threads, [&](index_t begin, index_t end) {
                std::vector<float> slice(nodes[0] * columns);
                for (index_t y = begin; y < end; ++y) {
                    for (index_t z = 0; z < nodes[0]; ++z)
                        tables[1].interpolate_slabs(y, &rows[z * nodes[1] * columns], columns, &slice[z * columns]);
                    for (index_t z = 0; z < lattice.grid[0]; ++z)
                        tables[0].interpolate_slabs(z, slice.data(), columns,
                                                    target + (z * lattice.grid[1] + y) * columns);
                }
            });
        }
    }
}

#define MODELAUG_INSTANTIATE(D)                                                                         \
    template FitResult<D> fit_bspline<D>(const double*, const double*, const double*, index_t, index_t, \
                                         const Shape<D>&, const FitOptions&, int);                      \
    template void evaluate_at<D>(const Lattice<D>&, const double*, index_t, bool, double*, int);        \
    template void evaluate_on_grid<D>(const Lattice<D>&, float*, int);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
