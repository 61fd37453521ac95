#include "modelaug/landmark_map.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "modelaug/diffeomorphism.hpp"
#include "modelaug/evaluator.hpp"

namespace modelaug {
namespace {

constexpr double kSmallest = 1.0 / 64;  // share of what is left that a step may be cut down to
constexpr double kProgress = 0.9;  // whole steps that leave more than this share of the longest residual lead nowhere

template <int D>
Lattice<D> lattice_of(const FitResult<D>& fit, const Shape<D>& grid) {
    return {fit.coefficients.get(), D, fit.cells, grid};
}

}  // namespace

template <int D>
MapSteps<D> fit_steps(const double* sites, const double* targets, index_t count, const Shape<D>& grid,
                      const MapOptions& options) {
    MapSteps<D> result;
    result.residuals.resize(count);
    std::vector<double> points(sites, sites + count * D), starts(count * D), values(count * D);
    const double infinity = std::numeric_limits<double>::infinity();
    double share = 1.0, longest = infinity;
    while (true) {
        double worst = 0.0;
        for (index_t i = 0; i < count; ++i) {
            Point<D> left;
            for (int k = 0; k < D; ++k) left[k] = targets[i * D + k] - points[i * D + k];
            result.residuals[i] = norm<D>(left);
            worst = std::max(worst, result.residuals[i]);
        }
        const bool stuck = share == 1.0 && worst > kProgress * longest;
        const int taken = static_cast<int>(result.steps.size());
        if (taken > 0 && (options.folds || worst <= options.max_residual || stuck || taken == options.max_steps)) break;
        // Landmarks on their way may leave the domain; there a spline is that of the border.
        for (index_t i = 0; i < count * D; ++i)
            starts[i] = std::clamp(points[i], 0.0, static_cast<double>(grid[i % D] - 1));
        FitResult<D> step;
        while (share >= kSmallest) {
            for (index_t i = 0; i < count * D; ++i) values[i] = share * (targets[i] - points[i]);
            step = fit_bspline<D>(starts.data(), values.data(), nullptr, count, D, grid, options.spline, 1);
            if (options.folds || is_diffeomorphic<D>(lattice_of<D>(step, grid), options.least)) break;
            share /= 2;
        }
        if (share < kSmallest) break;
        // A step that was cut down says nothing about how far whole ones get.
        longest = share == 1.0 ? worst : infinity;
        share = std::min(1.0, 2 * share);
        const SplineEvaluator<D> step_map(lattice_of<D>(step, grid));
        Matrix<D> unused;
        for (index_t i = 0; i < count; ++i) {
            Point<D> x;
            std::copy_n(&points[i * D], D, x.begin());
            step_map.template displace<false>(x, unused);
            std::copy_n(x.begin(), D, &points[i * D]);
        }
        result.steps.push_back(std::move(step));
    }
    return result;
}

template MapSteps<2> fit_steps<2>(const double*, const double*, index_t, const Shape<2>&, const MapOptions&);
template MapSteps<3> fit_steps<3>(const double*, const double*, index_t, const Shape<3>&, const MapOptions&);

}  // namespace modelaug
