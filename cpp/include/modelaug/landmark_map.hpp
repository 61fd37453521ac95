// Compositions of displacements without folds that move landmarks.
#pragma once

#include <vector>

#include "modelaug/bspline.hpp"

namespace modelaug {

struct MapOptions {
    FitOptions spline;
    double least;  // Jacobian determinant that every step exceeds
    int max_steps;
    double max_residual;  // at which no further step is taken
    bool folds;           // take the first spline as it is, even if it folds
};

template <int D>
struct MapSteps {
    std::vector<FitResult<D>> steps;
    std::vector<double> residuals;  // distances by which the steps miss the targets, (count)
};

// Steps that move sites (count, D), inside the domain of the grid, to targets (count, D), or as near as steps without
// folds get. A step is a spline from where the landmarks are to the targets; if it folds, to half the way, and so on.
template <int D>
MapSteps<D> fit_steps(const double* sites, const double* targets, index_t count, const Shape<D>& grid,
                      const MapOptions& options);

}  // namespace modelaug
