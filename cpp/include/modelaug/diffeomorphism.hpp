// Whether a B-spline displacement is a diffeomorphism.
#pragma once

#include "modelaug/bspline.hpp"

namespace modelaug {

// Whether det(I + grad r) > least everywhere, beyond the grid as well. True is certain: derivatives are within the
// range of the differences of the control points around, and where that does not decide, halves and halves of halves of
// a cell are looked at. False where the determinant is not larger, or hardly.
template <int D>
bool is_diffeomorphic(const Lattice<D>& lattice, double least);

}  // namespace modelaug
