// Whether numbers are finite.
#pragma once

#include "modelaug/grid.hpp"

namespace modelaug {

// Whether none of `count` numbers, float or double, is NaN or infinite.
template <typename T>
bool all_finite(const T* values, index_t count, int threads);

}  // namespace modelaug
