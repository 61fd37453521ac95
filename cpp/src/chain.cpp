#include "modelaug/chain.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "modelaug/parallel.hpp"
#include "modelaug/rows.hpp"

namespace modelaug {
namespace {

// One step x -> x + r(x), its control points with the D components of each side by side.
template <int D>
class Step {
  public:
    explicit Step(const Lattice<D>& lattice) : nodes_(lattice.nodes()), cells_(lattice.cells) {
        strides_ = strides<D>(nodes_);
        const index_t total = volume<D>(nodes_);
        data_.resize(total * D);
        for (int k = 0; k < D; ++k)
            for (index_t node = 0; node < total; ++node) data_[node * D + k] = lattice.data[k * total + node];
        for (int axis = 0; axis < D; ++axis)
            per_voxel_[axis] = lattice.grid[axis] > 1 ? static_cast<double>(lattice.cells[axis]) /
                                                            static_cast<double>(lattice.grid[axis] - 1)
                                                      : 0.0;
    }

    // x -> x + r(x); jacobian: I + grad r, if wanted.
    template <bool WithJacobian>
    void apply(Point<D>& x, [[maybe_unused]] Matrix<D>& jacobian) const {
        index_t offsets[D][4];
        double w[D][4], slope[D][4];
        for (int axis = 0; axis < D; ++axis) {
            // Four cells beyond the domain all control points are the same.
            const double cells = static_cast<double>(cells_[axis]);
            const double scaled = std::clamp(x[axis] * per_voxel_[axis], -4.0, cells + 4.0);
            const double floor = std::floor(scaled);
            const index_t cell = static_cast<index_t>(floor);
            cubic_weights(scaled - floor, w[axis]);
            if constexpr (WithJacobian) {
                cubic_derivative_weights(scaled - floor, slope[axis]);
                for (double& s : slope[axis]) s *= per_voxel_[axis];
            }
            for (index_t i = 0; i < 4; ++i)
                offsets[axis][i] = std::clamp<index_t>(cell + i, 0, nodes_[axis] - 1) * strides_[axis] * D;
        }
        Point<D> value{};
        Matrix<D> gradient{};
        constexpr int kRows = D == 2 ? 4 : 16;
        for (int row = 0; row < kRows; ++row) {
            const int a = D == 2 ? row : row / 4, b = row % 4;
            const double* c = data_.data() + offsets[0][a] + (D == 3 ? offsets[1][b] : 0);
            Point<D> sum{}, along{};
            for (int i = 0; i < 4; ++i)
                for (int k = 0; k < D; ++k) {
                    const double node = c[offsets[D - 1][i] + k];
                    sum[k] += w[D - 1][i] * node;
                    if constexpr (WithJacobian) along[k] += slope[D - 1][i] * node;
                }
            const double outer = D == 2 ? w[0][a] : w[0][a] * w[1][b];
            for (int k = 0; k < D; ++k) value[k] += outer * sum[k];
            if constexpr (WithJacobian) {
                for (int k = 0; k < D; ++k) {
                    gradient[k][D - 1] += outer * along[k];
                    gradient[k][0] += (D == 2 ? slope[0][a] : slope[0][a] * w[1][b]) * sum[k];
                    if constexpr (D == 3) gradient[k][1] += w[0][a] * slope[1][b] * sum[k];
                }
            }
        }
        for (int k = 0; k < D; ++k) x[k] += value[k];
        if constexpr (WithJacobian) {
            jacobian = gradient;
            for (int k = 0; k < D; ++k) jacobian[k][k] += 1.0;
        }
    }

  private:
    Shape<D> nodes_, strides_{}, cells_;
    Point<D> per_voxel_{};
    std::vector<double> data_;
};

template <int D>
class Map {
  public:
    explicit Map(const Chain<D>& chain) : matrix_(chain.matrix), offset_(chain.offset) {
        for (const Lattice<D>& lattice : chain.steps) steps_.emplace_back(lattice);
    }

    // chi(x), where the first `done` steps are already taken.
    Point<D> value(Point<D> x, std::size_t done = 0) const {
        Matrix<D> unused;
        for (std::size_t k = done; k < steps_.size(); ++k) steps_[k].template apply<false>(x, unused);
        return affine(x);
    }

    // chi(x) and its Jacobian.
    Point<D> value(Point<D> x, Matrix<D>& jacobian) const {
        Matrix<D> total = identity<D>(), part;
        for (std::size_t k = 0; k < steps_.size(); ++k) {
            steps_[k].template apply<true>(x, part);
            total = k == 0 ? part : product<D>(part, total);
        }
        jacobian = product<D>(matrix_, total);
        return affine(x);
    }

    // Improves y towards chi(y) = target by damped Newton steps; returns the residual.
    double newton(const Point<D>& target, const SolveOptions& options, Point<D>& y) const {
        Matrix<D> jacobian;
        Point<D> f = difference(value(y, jacobian), target);
        double length = norm<D>(f);
        for (int iteration = 0; iteration < options.max_iterations && length > options.tolerance; ++iteration) {
            Point<D> step;
            if (!modelaug::solve<D>(jacobian, f, step)) break;
            bool improved = false;
            for (double scale = 1.0; scale > 0.1 && !improved; scale *= 0.5) {
                Point<D> trial = y;
                for (int k = 0; k < D; ++k) trial[k] -= scale * step[k];
                Matrix<D> trial_jacobian;
                const Point<D> trial_f = difference(value(trial, trial_jacobian), target);
                const double trial_length = norm<D>(trial_f);
                if (trial_length < length) {
                    y = trial;
                    f = trial_f;
                    length = trial_length;
                    jacobian = trial_jacobian;
                    improved = true;
                }
            }
            if (!improved) break;
        }
        return length;
    }

    // The same; where Newton's method does not get there at once, the target moves from chi(y) in small steps. A chain
    // without folds maps space onto space, so the path of y exists.
    double solve(const Point<D>& target, const SolveOptions& options, Point<D>& y) const {
        Point<D> path = y;
        double residual = newton(target, options, y);
        if (residual <= options.tolerance) return residual;
        const Point<D> from = value(path);
        double done = 0.0, step = 0.5;
        while (done < 1.0 && step > 1e-3) {
            const double next = std::min(1.0, done + step);
            Point<D> goal, trial = path;
            for (int k = 0; k < D; ++k) goal[k] = from[k] + next * (target[k] - from[k]);
            const double length = newton(goal, options, trial);
            if (length <= options.tolerance) {
                path = trial;
                done = next;
                step *= 2.0;
                if (done == 1.0) residual = length;
            } else {
                step *= 0.5;
            }
        }
        if (done == 1.0) y = path;
        return residual;
    }

  private:
    Point<D> affine(const Point<D>& x) const {
        Point<D> result = offset_;
        for (int i = 0; i < D; ++i)
            for (int j = 0; j < D; ++j) result[i] += matrix_[i][j] * x[j];
        return result;
    }

    static Point<D> difference(Point<D> a, const Point<D>& b) {
        for (int k = 0; k < D; ++k) a[k] -= b[k];
        return a;
    }

    std::vector<Step<D>> steps_;
    Matrix<D> matrix_;
    Point<D> offset_;
};

// chi along rows of the grid: the first step is evaluated an axis at a time, the others point by point.
template <int D>
class MapRows {
  public:
    MapRows(const Chain<D>& chain, const Map<D>& map, const Shape<D>& grid)
        : map_(map), columns_(grid[D - 1]), first_(D * columns_) {
        if (!chain.steps.empty()) rows_.emplace_back(chain.steps[0]);
    }

    // out[x] = chi at the voxels of a row.
    void row(const Shape<D>& start, index_t y, Point<D>* out) {
        for (std::size_t r = 0; r < rows_.size(); ++r)
            for (index_t k = 0; k < D; ++k) rows_[r].row(k, y, first_.data() + k * columns_);
        for (index_t x = 0; x < columns_; ++x) {
            Point<D> point;
            for (int k = 0; k < D; ++k) point[k] = static_cast<double>(start[k]) + first_[k * columns_ + x];
            point[D - 1] += static_cast<double>(x);
            out[x] = map_.value(point, rows_.size());
        }
    }

  private:
    const Map<D>& map_;
    index_t columns_;
    std::vector<double> first_;
    std::vector<LatticeRows<D>> rows_;  // of the first step, if there is one
};

// The first voxel of row y.
template <int D>
Shape<D> row_start(const Shape<D>& grid, index_t y) {
    Shape<D> start{};
    for (int axis = D - 2; axis >= 0; --axis) {
        start[axis] = y % grid[axis];
        y /= grid[axis];
    }
    return start;
}

}  // namespace

template <int D>
void chain_at(const Chain<D>& chain, const double* points, index_t count, double* out, double* determinants,
              int threads) {
    const Map<D> map(chain);
    parallel_for(count, threads, [&](index_t begin, index_t end) {
        for (index_t p = begin; p < end; ++p) {
            Point<D> x;
            std::copy_n(points + p * D, D, x.begin());
            Matrix<D> jacobian;
            const Point<D> value = map.value(x, jacobian);
            std::copy_n(value.begin(), D, out + p * D);
            if (determinants) determinants[p] = determinant(jacobian);
        }
    });
}

template <int D>
void chain_on_grid(const Chain<D>& chain, const Shape<D>& grid, float* out, int threads) {
    const index_t pixels = volume<D>(grid), columns = grid[D - 1];
    const Map<D> map(chain);
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        MapRows<D> rows(chain, map, grid);
        std::vector<Point<D>> values(columns);
        for (index_t y = begin; y < end; ++y) {
            Shape<D> position = row_start<D>(grid, y);
            rows.row(position, y, values.data());
            for (index_t x = 0; x < columns; ++x) {
                position[D - 1] = x;
                for (int k = 0; k < D; ++k)
                    out[k * pixels + y * columns + x] =
                        static_cast<float>(values[x][k] - static_cast<double>(position[k]));
            }
        }
    });
}

template <int D>
void chain_solve(const Chain<D>& chain, const double* targets, index_t count, const SolveOptions& options, double* y,
                 double* residuals, int threads) {
    const Map<D> map(chain);
    parallel_for(count, threads, [&](index_t begin, index_t end) {
        for (index_t p = begin; p < end; ++p) {
            Point<D> target, point;
            std::copy_n(targets + p * D, D, target.begin());
            std::copy_n(y + p * D, D, point.begin());
            residuals[p] = map.solve(target, options, point);
            std::copy_n(point.begin(), D, y + p * D);
        }
    });
}

template <int D>
void correspond(const Chain<D>& fixed, const Chain<D>& moving, const Shape<D>& grid, const SolveOptions& options,
                float* flow, float* residual, int threads) {
    const index_t pixels = volume<D>(grid), columns = grid[D - 1];
    const Map<D> fixed_map(fixed), moving_map(moving);
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        MapRows<D> rows(fixed, fixed_map, grid);
        std::vector<Point<D>> targets(columns);
        for (index_t row = begin; row < end; ++row) {
            Shape<D> position = row_start<D>(grid, row);
            rows.row(position, row, targets.data());
            // A row starts where the affine parts lead, so that it does not depend on the rows before it; from then on
            // the flow is continued along the row.
            Point<D> y{}, before{}, start{}, shifted = targets[0];
            for (int k = 0; k < D; ++k) {
                start[k] = static_cast<double>(position[k]);
                shifted[k] -= moving.offset[k];
            }
            if (!solve<D>(moving.matrix, shifted, y)) y = start;
            for (index_t x = 0; x < columns; ++x) {
                Point<D> guess = y;
                if (x == 1) guess[D - 1] += 1.0;
                if (x > 1)
                    for (int k = 0; k < D; ++k) guess[k] += y[k] - before[k];
                before = y;
                double length = moving_map.newton(targets[x], options, guess);
                if (length > options.tolerance) {
                    guess = y;
                    length = moving_map.solve(targets[x], options, guess);
                }
                y = guess;
                const index_t index = row * columns + x;
                position[D - 1] = x;
                for (int k = 0; k < D; ++k)
                    flow[k * pixels + index] = static_cast<float>(y[k] - static_cast<double>(position[k]));
                residual[index] = static_cast<float>(length);
            }
        }
    });
}

namespace {

// The lattice with its border continued by three control points on each side of every axis of more than one voxel, then
// refined until a cell is at most `widest` voxels wide: bounds by control points get tighter.
template <int D>
struct Continued {
    Shape<D> cells, grid;
    Point<D> per_voxel;
    std::vector<double> coefficients;

    Continued(const Lattice<D>& lattice, double widest) : cells(lattice.cells), grid(lattice.grid) {
        const Shape<D> inner = lattice.nodes();
        for (int axis = 0; axis < D; ++axis) {
            per_voxel[axis] =
                grid[axis] > 1 ? static_cast<double>(cells[axis]) / static_cast<double>(grid[axis] - 1) : 0.0;
            if (grid[axis] > 1) cells[axis] += 6;
        }
        const Shape<D> nodes = shape();
        const Shape<D> step = strides<D>(inner);
        coefficients.resize(D * volume<D>(nodes));
        for (int k = 0; k < D; ++k)
            for_rows<D>(nodes, 0, volume<D>(nodes) / nodes[D - 1], [&](const Shape<D>& node, index_t index) {
                index_t source = k * volume<D>(inner);
                for (int axis = 0; axis < D; ++axis)
                    source +=
                        step[axis] * std::clamp<index_t>(node[axis] - (grid[axis] > 1 ? 3 : 0), 0, inner[axis] - 1);
                coefficients[k * volume<D>(nodes) + index] = lattice.data[source];
            });
        const auto wide = [&] {
            for (int axis = 0; axis < D; ++axis)
                if (grid[axis] > 1 && per_voxel[axis] * widest < 1.0) return true;
            return false;
        };
        while (wide()) {
            coefficients = refine<D>(std::move(coefficients), D, cells, grid);
            for (int axis = 0; axis < D; ++axis)
                if (grid[axis] > 1) {
                    cells[axis] *= 2;
                    per_voxel[axis] *= 2.0;
                }
        }
    }

    Shape<D> shape() const { return Lattice<D>{nullptr, D, cells, grid}.nodes(); }
};

// Replaces values by the lowest (or highest) of `length` neighbours from there on along an axis; the last ones keep
// what is left of theirs.
template <bool Lowest>
void slide(std::vector<double>& values, index_t outer, index_t nodes, index_t inner, index_t length) {
    for (index_t o = 0; o < outer; ++o)
        for (index_t i = 0; i < nodes; ++i)
            for (index_t next = 1; next < length && i + next < nodes; ++next) {
                double* target = values.data() + (o * nodes + i) * inner;
                const double* other = target + next * inner;
                for (index_t x = 0; x < inner; ++x)
                    target[x] = Lowest ? std::min(target[x], other[x]) : std::max(target[x], other[x]);
            }
}

struct Range {
    double low, high;
};

Range operator*(Range a, Range b) {
    const auto [low, high] = std::minmax({a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high});
    return {low, high};
}

Range operator-(Range a, Range b) {
    return {a.low - b.high, a.high - b.low};
}

Range operator+(Range a, Range b) {
    return {a.low + b.low, a.high + b.high};
}

template <int D>
using Ranges = std::array<std::array<Range, D>, D>;

double lowest_determinant(const Ranges<2>& m) {
    return (m[0][0] * m[1][1] - m[0][1] * m[1][0]).low;
}

double lowest_determinant(const Ranges<3>& m) {
    return (m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
            m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]))
        .low;
}

}  // namespace

template <int D>
bool is_one_to_one(const Lattice<D>& lattice, double least) {
    const Continued<D> fine(lattice, 4.0);
    const Shape<D> nodes = fine.shape();
    const Shape<D> step = strides<D>(nodes);
    const index_t total = volume<D>(nodes);

    // For each derivative the range, over the control points of each cell, of their differences along its axis.
    std::array<std::array<std::array<std::vector<double>, 2>, D>, D> ranges;
    for (int k = 0; k < D; ++k)
        for (int axis = 0; axis < D; ++axis) {
            std::vector<double> slope(total);
            const double* c = fine.coefficients.data() + k * total;
            for (index_t i = 0; i + step[axis] < total; ++i)
                slope[i] = (c[i + step[axis]] - c[i]) * fine.per_voxel[axis];
            auto& [low, high] = ranges[k][axis];
            low = slope;
            high = std::move(slope);
            for (int other = 0; other < D; ++other) {
                const index_t outer = total / (step[other] * nodes[other]), length = other == axis ? 3 : 4;
                slide<true>(low, outer, nodes[other], step[other], length);
                slide<false>(high, outer, nodes[other], step[other], length);
            }
        }

    const Step<D> exact(lattice);
    Shape<D> cells = fine.cells;
    for (int axis = 0; axis < D; ++axis)
        if (fine.grid[axis] == 1) cells[axis] = 1;
    bool folded = false;
    for_rows<D>(cells, 0, volume<D>(cells) / cells[D - 1], [&](const Shape<D>& cell, index_t) {
        if (folded) return;
        index_t node = 0;
        for (int axis = 0; axis < D; ++axis) node += cell[axis] * step[axis];
        Ranges<D> jacobian;
        for (int k = 0; k < D; ++k)
            for (int axis = 0; axis < D; ++axis) {
                const double diagonal = k == axis ? 1.0 : 0.0;
                jacobian[k][axis] = {diagonal + ranges[k][axis][0][node], diagonal + ranges[k][axis][1][node]};
            }
        if (lowest_determinant(jacobian) > least) return;
        // Corners of the cell and points between them, at most a voxel apart.
        Shape<D> samples;
        for (int axis = 0; axis < D; ++axis)
            samples[axis] = fine.grid[axis] == 1 ? 1 : 1 + static_cast<index_t>(std::ceil(1.0 / fine.per_voxel[axis]));
        for_rows<D>(samples, 0, volume<D>(samples) / samples[D - 1], [&](const Shape<D>& sample, index_t) {
            Point<D> x{};
            for (int axis = 0; axis < D; ++axis) {
                if (fine.grid[axis] == 1) continue;
                const double t = static_cast<double>(sample[axis]) / static_cast<double>(samples[axis] - 1);
                // Three cells of the lattice as it came lie before the first voxel.
                const double before =
                    3.0 * static_cast<double>(fine.cells[axis]) / static_cast<double>(lattice.cells[axis] + 6);
                x[axis] = (static_cast<double>(cell[axis]) + t - before) / fine.per_voxel[axis];
            }
            Matrix<D> j;
            exact.template apply<true>(x, j);
            folded = folded || !(determinant(j) > least);
        });
    });
    return !folded;
}

#define MODELAUG_INSTANTIATE(D)                                                                                        \
    template void chain_at<D>(const Chain<D>&, const double*, index_t, double*, double*, int);                         \
    template void chain_on_grid<D>(const Chain<D>&, const Shape<D>&, float*, int);                                     \
    template void chain_solve<D>(const Chain<D>&, const double*, index_t, const SolveOptions&, double*, double*, int); \
    template void correspond<D>(const Chain<D>&, const Chain<D>&, const Shape<D>&, const SolveOptions&, float*,        \
                                float*, int);                                                                          \
    template bool is_one_to_one<D>(const Lattice<D>&, double);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
