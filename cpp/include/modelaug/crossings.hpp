// How often contours cross: themselves and each other.
#pragma once

#include <cstdint>

#include "modelaug/grid.hpp"

namespace modelaug {

// Segments of all contours, one contour after the other.
struct Segments {
    const std::int64_t *starts, *ends, *contours;  // indices of points, and of the contour; (count)
    index_t count;
};

// counts (contours, contours), zero on entry: crossings of contour i with contour j > i at [i, j], of i with itself at
// [i, i]. Where a segment's end lies on another segment they touch and do not cross. points: (., 2).
void count_crossings(const double* points, const Segments& segments, index_t contours, std::int64_t* counts);

}  // namespace modelaug
