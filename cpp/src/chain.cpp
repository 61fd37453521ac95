#include "modelaug/chain.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "modelaug/parallel.hpp"
#include "modelaug/rows.hpp"
#include "modelaug/step.hpp"

namespace modelaug {
namespace {

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

#define MODELAUG_INSTANTIATE(D)                                                                                        \
    template void chain_at<D>(const Chain<D>&, const double*, index_t, double*, double*, int);                         \
    template void chain_on_grid<D>(const Chain<D>&, const Shape<D>&, float*, int);                                     \
    template void chain_solve<D>(const Chain<D>&, const double*, index_t, const SolveOptions&, double*, double*, int); \
    template void correspond<D>(const Chain<D>&, const Chain<D>&, const Shape<D>&, const SolveOptions&, float*,        \
                                float*, int);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
