// What debug and sanitizer builds assert of the kernels' arguments and of what they look up. A part of kernels.cpp.
#pragma once

#include <assert.h>

#include "sixteen.hpp"

namespace modelaug {
namespace {

// Whether all are within [low, high].
inline bool within(Ints x, std::int32_t low, std::int32_t high) {
    std::int32_t each[kLanes];
    store(each, x);
    for (std::int32_t value : each)
        if (value < low || value > high) return false;
    return true;
}

inline bool within(const SixteenInts& x, std::int32_t low, std::int32_t high) {
    for (const Ints& part : x.part)
        if (!within(part, low, high)) return false;
    return true;
}

template <int D>
inline size voxels_of(const std::int32_t* shape) {
    size voxels = 1;
    for (int axis = 0; axis < D; ++axis) voxels *= shape[axis];
    return voxels;
}

// Whether a row of voxels begins in a grid that 32 bits can count, and, where that is known, in one of this shape.
template <int D>
inline bool is_row(const WarpRow& row) {
    for (int axis = 0; axis < D; ++axis)
        if (row.shape[axis] < 1 || row.position[axis] < 0) return false;
    return row.voxels >= 1 && row.component >= row.voxels && voxels_of<D>(row.shape) <= 0x7fffffff;
}

template <int D>
inline bool is_row(const FieldRow& row) {
    for (int axis = 0; axis < D; ++axis)
        if (row.position[axis] < 0 || row.position[axis] >= row.shape[axis]) return false;
    return row.position[D - 1] == 0 && row.component == voxels_of<D>(row.shape);
}

}  // namespace
}  // namespace modelaug
