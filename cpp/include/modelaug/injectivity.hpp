// Whether a B-spline displacement folds.
#pragma once

#include "modelaug/bspline.hpp"

namespace modelaug {

// Whether det(I + grad r) > least everywhere. First by a bound that holds for all points of a cell: derivatives are
// within the range of the differences of the control points around. Where that is not conclusive, at points at most a
// voxel apart.
template <int D>
bool is_one_to_one(const Lattice<D>& lattice, double least);

}  // namespace modelaug
