// Linear interpolation on a grid, in double precision.
#pragma once

#include <algorithm>
#include <cassert>
#include <cmath>

#include "modelaug/grid.hpp"

namespace modelaug {

// The 2^D voxels around a point and their weights. Coordinates outside the grid are moved to its border.
template <int D>
struct LinearStencil {
    static constexpr int kCorners = 1 << D;
    index_t offsets[kCorners];
    double weights[kCorners];

    LinearStencil(const Point<D>& point, const Shape<D>& shape) {
        const Shape<D> step = strides<D>(shape);
        offsets[0] = 0;
        weights[0] = 1.0;
        int filled = 1;
        for (int axis = 0; axis < D; ++axis) {
            const double x = std::clamp(point[axis], 0.0, static_cast<double>(shape[axis] - 1));
            const index_t low = std::min(static_cast<index_t>(x), std::max<index_t>(shape[axis] - 2, 0));
            const double t = x - static_cast<double>(low);
            assert(low >= 0 && low < shape[axis]);
            const index_t next = shape[axis] > 1 ? step[axis] : 0;
            for (int i = 0; i < filled; ++i) {
                offsets[i] += low * step[axis];
                offsets[filled + i] = offsets[i] + next;
                weights[filled + i] = weights[i] * t;
                weights[i] *= 1.0 - t;
            }
            filled *= 2;
        }
    }

    template <typename T>
    double value(const T* data) const {
        double sum = 0.0;
        for (int i = 0; i < kCorners; ++i) sum += weights[i] * static_cast<double>(data[offsets[i]]);
        return sum;
    }
};

}  // namespace modelaug
