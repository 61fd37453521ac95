#include "modelaug/chain.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "modelaug/parallel.hpp"
#include "modelaug/rows.hpp"
#include "modelaug/simd.hpp"
#include "modelaug/step.hpp"

namespace modelaug {
namespace {

constexpr int kQuickSteps = 4;  // of Newton's method in single precision, before the careful one takes over

template <int D>
class Map {
  public:
    explicit Map(const Chain<D>& chain) : matrix_(chain.matrix), offset_(chain.offset) {
        for (const Lattice<D>& lattice : chain.steps) steps_.emplace_back(lattice);
    }

    // chi(x).
    Point<D> value(Point<D> x) const {
        Matrix<D> unused;
        for (const Step<D>& step : steps_) step.template apply<false>(x, unused);
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

// A chain, or what follows its first steps, as the inner loops want it: single precision, borders continued by a
// margin.
template <int D>
class FloatChain {
  public:
    explicit FloatChain(const Chain<D>& chain, std::size_t first = 0) {
        for (std::size_t s = first; s < chain.steps.size(); ++s) add(chain.steps[s]);
        for (std::size_t s = 0; s < steps_.size(); ++s) steps_[s].nodes = nodes_[s].data();
        for (int i = 0; i < D; ++i) {
            for (int j = 0; j < D; ++j) view_.matrix[i][j] = static_cast<float>(chain.matrix[i][j]);
            view_.offset[i] = static_cast<float>(chain.offset[i]);
        }
        view_.steps = steps_.data();
        view_.count = static_cast<index_t>(steps_.size());
    }
    FloatChain(const FloatChain&) = delete;
    FloatChain& operator=(const FloatChain&) = delete;

    const ChainView& view() const { return view_; }

  private:
    static constexpr index_t kComponents = D == 2 ? 2 : 4;

    void add(const Lattice<D>& lattice) {
        constexpr index_t kMargin = StepView::kMargin;
        const Shape<D> inner = lattice.nodes(), inner_strides = strides<D>(inner);
        Shape<D> padded = inner;
        for (index_t& length : padded) length += 2 * kMargin;
        const Shape<D> padded_strides = strides<D>(padded);
        const index_t total = volume<D>(inner);
        StepView step{};
        for (int axis = 0; axis < D; ++axis) {
            step.per_voxel[axis] = lattice.grid[axis] > 1 ? static_cast<float>(lattice.cells[axis]) /
                                                                static_cast<float>(lattice.grid[axis] - 1)
                                                          : 0.0f;
            // The last cell whose four control points exist; all of its are the border's.
            step.highest[axis] = static_cast<float>(lattice.cells[axis] + 2 * kMargin - 1);
            step.strides[axis] = padded_strides[axis] * kComponents;
        }
        std::vector<float> nodes(volume<D>(padded) * kComponents);
        for_rows<D>(padded, 0, volume<D>(padded) / padded[D - 1], [&](const Shape<D>& node, index_t index) {
            index_t source = 0;
            for (int axis = 0; axis < D; ++axis)
                source += inner_strides[axis] * std::clamp<index_t>(node[axis] - kMargin, 0, inner[axis] - 1);
            for (int k = 0; k < D; ++k)
                nodes[index * kComponents + k] = static_cast<float>(lattice.data[k * total + source]);
        });
        nodes_.push_back(std::move(nodes));
        steps_.push_back(step);
    }

    std::vector<std::vector<float>> nodes_;
    std::vector<StepView> steps_;
    ChainView view_{};
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
            determinants[p] = determinant(jacobian);
        }
    });
}

template <int D>
void chain_on_grid(const Chain<D>& chain, const Shape<D>& grid, float* out, int threads) {
    const index_t pixels = volume<D>(grid), columns = grid[D - 1];
    // The first step is evaluated an axis at a time, the others point by point.
    const FloatChain<D> rest(chain, 1);
    const bool any = !chain.steps.empty();
    const std::vector<float> coefficients = any ? float_coefficients<D>(chain.steps[0]) : std::vector<float>{};
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        std::vector<LatticeRows<D>> rows;
        if (any) rows.emplace_back(coefficients.data(), D, chain.steps[0].cells, grid);
        std::vector<float> first(D * columns);
        for (index_t y = begin; y < end; ++y) {
            for (int k = 0; any && k < D; ++k) rows[0].row(k, y, first.data() + k * columns);
            const Shape<D> start = row_start<D>(grid, y);
            DisplaceRow row{{}, first.data(), out + y * columns, pixels, columns};
            for (int k = 0; k < D; ++k) row.start[k] = static_cast<float>(start[k]);
            (D == 2 ? simd().displace_2d : simd().displace_3d)(rest.view(), row);
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
void correspond(const float* fixed, const Chain<D>& moving, const Shape<D>& grid, const SolveOptions& options,
                float* flow, float* residual, int threads) {
    constexpr index_t kTogether = SolveRow::kTogether;
    const index_t pixels = volume<D>(grid), columns = grid[D - 1];
    const Map<D> map(moving);
    const FloatChain<D> chain(moving);
    const auto shown = [&](const Shape<D>& position, index_t index) {
        Point<D> target;
        for (int k = 0; k < D; ++k)
            target[k] = static_cast<double>(position[k]) + static_cast<double>(fixed[k * pixels + index]);
        return target;
    };
    const auto store = [&](const Shape<D>& position, index_t index, const Point<D>& y, double length) {
        for (int k = 0; k < D; ++k)
            flow[k * pixels + index] = static_cast<float>(y[k] - static_cast<double>(position[k]));
        residual[index] = static_cast<float>(length);
    };
    Matrix<D> inverse{};
    for (int k = 0; k < D; ++k) {
        Point<D> unit{}, column{};
        unit[k] = 1.0;
        solve<D>(moving.matrix, unit, column);
        for (int i = 0; i < D; ++i) inverse[i][k] = column[i];
    }
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        std::vector<std::uint8_t> hard(kTogether * columns);
        std::vector<float> targets(kTogether * D * columns);
        SolveRow rows[kTogether];
        for (index_t first = begin; first < end; first += kTogether) {
            const index_t count = std::min(kTogether, end - first);
            for (index_t r = 0; r < count; ++r) {
                Shape<D> position = row_start<D>(grid, first + r);
                const index_t index = (first + r) * columns;
                float* target = targets.data() + r * D * columns;
                // The affine part is undone in the targets, once and for all.
                for (index_t x = 0; x < columns; ++x) {
                    position[D - 1] = x;
                    Point<D> goal = shown(position, index + x);
                    for (int k = 0; k < D; ++k) goal[k] -= moving.offset[k];
                    for (int i = 0; i < D; ++i) {
                        double sum = -static_cast<double>(position[i]);
                        for (int j = 0; j < D; ++j) sum += inverse[i][j] * goal[j];
                        target[i * columns + x] = static_cast<float>(sum);
                    }
                }
                // A row starts where the affine part leads, so that it does not depend on the rows before it; from then
                // on the flow is continued along the row.
                position[D - 1] = 0;
                Point<D> y;
                for (int k = 0; k < D; ++k)
                    y[k] = static_cast<double>(position[k]) + static_cast<double>(target[k * columns]);
                store(position, index, y, map.solve(shown(position, index), options, y));
                rows[r] = {{}, {}, target, flow + index, residual + index, pixels};
                for (int k = 0; k < D; ++k) {
                    rows[r].start[k] = static_cast<float>(position[k]);
                    rows[r].guess[k] = static_cast<float>(y[k]);
                }
            }
            // The last rows may be fewer; the first takes the place of those that are missing.
            for (index_t r = count; r < kTogether; ++r) rows[r] = rows[0];
            (D == 2 ? simd().solve_2d : simd().solve_3d)(
                chain.view(), rows, columns, static_cast<float>(options.tolerance), kQuickSteps, hard.data());
            for (index_t r = 0; r < count; ++r) {
                Shape<D> position = row_start<D>(grid, first + r);
                for (index_t x = 0; x < columns; ++x) {
                    if (!hard[r * columns + x]) continue;
                    const index_t index = (first + r) * columns + x;
                    position[D - 1] = x;
                    const index_t from = x > 0 ? index - 1 : index;
                    Point<D> y;
                    for (int k = 0; k < D; ++k)
                        y[k] = static_cast<double>(position[k]) + static_cast<double>(flow[k * pixels + from]);
                    const double length = map.solve(shown(position, index), options, y);
                    store(position, index, y, length);
                }
            }
        }
    });
}

#define MODELAUG_INSTANTIATE(D)                                                                                        \
    template void chain_at<D>(const Chain<D>&, const double*, index_t, double*, double*, int);                         \
    template void chain_on_grid<D>(const Chain<D>&, const Shape<D>&, float*, int);                                     \
    template void chain_solve<D>(const Chain<D>&, const double*, index_t, const SolveOptions&, double*, double*, int); \
    template void correspond<D>(const float*, const Chain<D>&, const Shape<D>&, const SolveOptions&, float*, float*,   \
                                int);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
