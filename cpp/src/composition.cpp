#include "modelaug/composition.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "modelaug/evaluator.hpp"
#include "modelaug/newton.hpp"
#include "modelaug/parallel.hpp"
#include "modelaug/simd.hpp"

namespace modelaug {
namespace {

constexpr int kFloatIterations = 4;  // of Newton's method in single precision, before double precision takes over

template <int D>
class CompositionEvaluator {
  public:
    explicit CompositionEvaluator(const Composition<D>& composition)
        : matrix_(composition.matrix), offset_(composition.offset) {
        for (const Lattice<D>& lattice : composition.steps) {
            assert(lattice.components == D);
            steps_.emplace_back(lattice);
        }
    }

    // chi(x).
    Point<D> value(Point<D> x) const {
        Matrix<D> unused;
        for (const SplineEvaluator<D>& step : steps_) step.template displace<false>(x, unused);
        return affine(x);
    }

    // chi(x) and its Jacobian.
    Point<D> value(Point<D> x, Matrix<D>& jacobian) const {
        Matrix<D> total = identity<D>(), part;
        for (std::size_t k = 0; k < steps_.size(); ++k) {
            steps_[k].template displace<true>(x, part);
            total = k == 0 ? part : product<D>(part, total);
        }
        jacobian = product<D>(matrix_, total);
        return affine(x);
    }

    // Improves y towards chi(y) = target by damped Newton steps; returns the residual.
    double newton(const Point<D>& target, const SolveOptions& options, Point<D>& y) const {
        return damped_newton<D>(
            [&](const Point<D>& at, Matrix<D>& jacobian) { return difference(value(at, jacobian), target); },
            [](const Point<D>&, const Point<D>& f, const Matrix<D>& jacobian, Point<D>& step) {
                return modelaug::solve<D>(jacobian, f, step);
            },
            {options.tolerance, options.max_iterations, 0.1}, y);
    }

    // The same; where Newton's method does not converge from y, by continuation: the target moves from chi(y) in small
    // steps. A composition without folds maps space onto space, so the path of y exists.
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

    std::vector<SplineEvaluator<D>> steps_;
    Matrix<D> matrix_;
    Point<D> offset_;
};

// A composition, or what follows its first steps, as the inner loops want it: single precision, borders continued by a
// margin.
template <int D>
class FloatComposition {
  public:
    explicit FloatComposition(const Composition<D>& composition, std::size_t first = 0) {
        for (std::size_t s = first; s < composition.steps.size(); ++s) add(composition.steps[s]);
        for (std::size_t s = 0; s < steps_.size(); ++s) steps_[s].nodes = nodes_[s].data();
        for (int i = 0; i < D; ++i) {
            for (int j = 0; j < D; ++j) view_.matrix[i][j] = static_cast<float>(composition.matrix[i][j]);
            view_.offset[i] = static_cast<float>(composition.offset[i]);
        }
        view_.steps = steps_.data();
        view_.count = static_cast<index_t>(steps_.size());
    }
    FloatComposition(const FloatComposition&) = delete;
    FloatComposition& operator=(const FloatComposition&) = delete;

    const CompositionView& view() const { return view_; }

    // What only solving needs: the inverse of the affine part, and a bound of the second derivative. Derivatives of a
    // spline are averages of its control points' differences: the longest of those bounds how far a step stretches, and
    // how fast its derivative changes. Bounds of the composition follow by the chain rule.
    void set_inverse_and_curvature(const Matrix<D>& matrix) {
        double scale = 0.0, stretch = 1.0, curvature = 0.0;
        for (int k = 0; k < D; ++k) {
            Point<D> unit{}, column{};
            unit[k] = 1.0;
            solve<D>(matrix, unit, column);
            for (int i = 0; i < D; ++i) view_.inverse[i][k] = static_cast<float>(column[i]);
            scale += norm<D>(matrix[k]) * norm<D>(matrix[k]);
        }
        for (std::size_t s = 0; s < steps_.size(); ++s) {
            double first = 0.0, second = 0.0;
            for (int i = 0; i < D; ++i) {
                const double along = squared_per_voxel(s, i);
                if (along == 0.0) continue;
                first += along * longest_difference(s, i, -1);
                for (int j = 0; j < D; ++j) second += along * squared_per_voxel(s, j) * longest_difference(s, i, j);
            }
            const double stretched = 1.0 + std::sqrt(first);
            curvature = std::sqrt(second) * stretch * stretch + stretched * curvature;
            stretch *= stretched;
        }
        view_.curvature = static_cast<float>(std::sqrt(scale) * curvature);
    }

  private:
    static constexpr index_t kComponents = D == 2 ? 2 : 4;

    void add(const Lattice<D>& lattice) {
        assert(lattice.components == D);
        constexpr index_t kMargin = StepView::kMargin;
        const Shape<D> inner = lattice.nodes();
        Shape<D> padded = inner, margin;
        margin.fill(kMargin);
        for (index_t& length : padded) length += 2 * kMargin;
        const Shape<D> padded_strides = strides<D>(padded);
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
        for (int k = 0; k < D; ++k)
            copy_continued<D>(lattice.data + k * volume<D>(inner), inner, margin, kComponents, nodes.data() + k);
        nodes_.push_back(std::move(nodes));
        padded_.push_back(padded);
        steps_.push_back(step);
    }

    double squared_per_voxel(std::size_t s, int axis) const {
        return static_cast<double>(steps_[s].per_voxel[axis]) * static_cast<double>(steps_[s].per_voxel[axis]);
    }

    // The square of the longest difference between neighbours along axis i, or of those along axis j (-1: none).
    double longest_difference(std::size_t s, int i, int j) const {
        const std::ptrdiff_t (&step)[3] = steps_[s].strides;
        Shape<D> count = padded_[s];
        --count[i];
        if (j >= 0) --count[j];
        float squares[kBlock] = {};
        const index_t planes = volume<D>(count) / (count[D - 2] * count[D - 1]);
        for (index_t plane = 0; plane < planes; ++plane)
            simd().max_squared_differences(nodes_[s].data() + plane * step[0], count[D - 2], step[D - 2],
                                           count[D - 1] * kComponents, step[i], j >= 0 ? step[j] : 0, squares);
        float sum = 0.0f;
        for (index_t k = 0; k < kComponents; ++k) {
            float highest = 0.0f;
            for (index_t lane = k; lane < kBlock; lane += kComponents) highest = std::max(highest, squares[lane]);
            sum += highest;
        }
        return static_cast<double>(sum);
    }

    std::vector<std::vector<float>> nodes_;
    std::vector<Shape<D>> padded_;  // nodes along each axis, with the margins
    std::vector<StepView> steps_;
    CompositionView view_{};
};

}  // namespace

template <int D>
void evaluate_composition(const Composition<D>& composition, const double* points, index_t count, double* out,
                          double* determinants, int threads) {
    const CompositionEvaluator<D> evaluator(composition);
    parallel_for(count, threads, [&](index_t begin, index_t end) {
        for (index_t p = begin; p < end; ++p) {
            Point<D> x;
            std::copy_n(points + p * D, D, x.begin());
            Matrix<D> jacobian;
            const Point<D> value = evaluator.value(x, jacobian);
            std::copy_n(value.begin(), D, out + p * D);
            determinants[p] = determinant(jacobian);
        }
    });
}

template <int D>
void evaluate_composition_on_grid(const Composition<D>& composition, const Shape<D>& grid, float* out, int threads) {
    const index_t pixels = volume<D>(grid), columns = grid[D - 1];
    // The first step is evaluated an axis at a time, the others point by point.
    if (composition.steps.empty())
        std::fill_n(out, D * pixels, 0.0f);
    else
        evaluate_on_grid<D>(composition.steps[0], out, threads);
    const FloatComposition<D> rest(composition, 1);
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        for (index_t y = begin; y < end; ++y) {
            const Shape<D> start = row_start<D>(grid, y);
            DisplaceRow row{{}, out + y * columns, pixels, columns};
            for (int k = 0; k < D; ++k) row.start[k] = static_cast<float>(start[k]);
            simd<D>().displace(rest.view(), row);
        }
    });
}

template <int D>
void solve_composition(const Composition<D>& composition, const double* targets, index_t count,
                       const SolveOptions& options, double* y, double* residuals, int threads) {
    const CompositionEvaluator<D> evaluator(composition);
    parallel_for(count, threads, [&](index_t begin, index_t end) {
        for (index_t p = begin; p < end; ++p) {
            Point<D> target, point;
            std::copy_n(targets + p * D, D, target.begin());
            std::copy_n(y + p * D, D, point.begin());
            residuals[p] = evaluator.solve(target, options, point);
            std::copy_n(point.begin(), D, y + p * D);
        }
    });
}

template <int D>
void correspond(const float* fixed, const Composition<D>& moving, const Shape<D>& grid, const SolveOptions& options,
                float* flow, float* residual, int threads) {
    const index_t pixels = volume<D>(grid), columns = grid[D - 1], rows = grid[D - 2];
    const index_t strips = (columns + kBlock - 1) / kBlock;
    const CompositionEvaluator<D> reference(moving);
    FloatComposition<D> floats(moving);
    floats.set_inverse_and_curvature(moving.matrix);
    // Improves the flow at a voxel in double precision.
    const auto solve_in_double = [&](const Shape<D>& position, index_t index) {
        Point<D> target, y;
        for (int k = 0; k < D; ++k) {
            const double x = static_cast<double>(position[k]);
            target[k] = x + static_cast<double>(fixed[k * pixels + index]);
            y[k] = x + static_cast<double>(flow[k * pixels + index]);
        }
        const double length = reference.solve(target, options, y);
        for (int k = 0; k < D; ++k)
            flow[k * pixels + index] = static_cast<float>(y[k] - static_cast<double>(position[k]));
        residual[index] = static_cast<float>(length);
    };
    // Every strip of every plane starts from where the affine part leads, so that it depends on no other; from then on
    // the flow is continued from row to row.
    parallel_for(pixels / (rows * columns) * strips, threads, [&](index_t begin, index_t end) {
        std::vector<std::uint8_t> fallback(rows * kBlock);
        const auto solve_rows = [&](Shape<D> position, index_t count, index_t known, index_t voxels) {
            const Shape<D> step = strides<D>(grid);
            index_t first = 0;
            for (int axis = 0; axis < D; ++axis) first += position[axis] * step[axis];
            SolveStrip strip{{}, fixed + first, flow + first, residual + first, pixels, columns, count, voxels, known};
            for (int k = 0; k < D; ++k) strip.start[k] = static_cast<float>(position[k]);
            simd<D>().solve_correspondence(floats.view(), strip, static_cast<float>(options.tolerance),
                                           kFloatIterations, fallback.data());
            const Shape<D> origin = position;
            for (index_t y = 0; y < count; ++y)
                for (index_t x = 0; x < voxels; ++x) {
                    if (!fallback[y * kBlock + x]) continue;
                    position[D - 2] = origin[D - 2] + y;
                    position[D - 1] = origin[D - 1] + x;
                    solve_in_double(position, first + y * columns + x);
                }
        };
        for (index_t task = begin; task < end; ++task) {
            Shape<D> position{};
            if constexpr (D == 3) position[0] = task / strips;
            position[D - 1] = task % strips * kBlock;
            const index_t voxels = std::min<index_t>(kBlock, columns - position[D - 1]);
            solve_rows(position, 1, 0, voxels);
            position[D - 2] = 1;
            if (rows > 1) solve_rows(position, rows - 1, 1, voxels);
        }
    });
}

#define MODELAUG_INSTANTIATE(D)                                                                                     \
    template void evaluate_composition<D>(const Composition<D>&, const double*, index_t, double*, double*, int);    \
    template void evaluate_composition_on_grid<D>(const Composition<D>&, const Shape<D>&, float*, int);             \
    template void solve_composition<D>(const Composition<D>&, const double*, index_t, const SolveOptions&, double*, \
                                       double*, int);                                                               \
    template void correspond<D>(const float*, const Composition<D>&, const Shape<D>&, const SolveOptions&, float*,  \
                                float*, int);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
