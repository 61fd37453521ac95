// Jacobian determinants of fields along rows. A part of kernels.cpp.
//
// Worth, in the plane and in space: one voxel at a time (MODELAUG_SCALAR) takes 4.5 and 2.6 times as many instructions
// (v3).
#pragma once

#include "assertions.hpp"
#include "lanes.hpp"

namespace modelaug {
namespace {

// Differences along an axis, from `before` voxels back to `after` on, times `scale`.
struct Difference {
    size before, after;
    float scale;
};

// T is a float or a block of them; read(k, offset) gives component k that far from the voxel.
template <typename T, typename Read>
inline T jacobian_at(const Difference (&along)[2], const Read& read) {
    const auto slope = [&](int k, int axis) -> T {
        return along[axis].scale * (read(k, along[axis].after) - read(k, -along[axis].before));
    };
    return (1.0f + slope(0, 0)) * (1.0f + slope(1, 1)) - slope(0, 1) * slope(1, 0);
}

template <typename T, typename Read>
inline T jacobian_at(const Difference (&along)[3], const Read& read) {
    const auto slope = [&](int k, int axis) -> T {
        return along[axis].scale * (read(k, along[axis].after) - read(k, -along[axis].before));
    };
    const T a = 1.0f + slope(0, 0), b = slope(0, 1), c = slope(0, 2);
    const T d = slope(1, 0), e = 1.0f + slope(1, 1), f = slope(1, 2);
    const T g = slope(2, 0), h = slope(2, 1), i = 1.0f + slope(2, 2);
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}

template <int D>
void jacobian_determinant(const FieldRow& row, float* out) {
    assert(is_row<D>(row));
    Difference along[D];
    size step = 1;
    for (int axis = D - 1; axis >= 0; --axis) {
        const bool first = row.position[axis] == 0, last = row.position[axis] == row.shape[axis] - 1;
        along[axis] = {first ? 0 : step, last ? 0 : step, first && last ? 0.0f : first || last ? 1.0f : 0.5f};
        step *= row.shape[axis];
    }
    const size voxels = row.shape[D - 1];
    const auto voxel = [&](size x) {
        const float* u = row.field + x;
        out[x] = jacobian_at<float>(along, [&](int k, size offset) { return u[k * row.component + offset]; });
    };
    voxel(0);
    if (voxels == 1) return;
    along[D - 1] = {1, 1, 0.5f};
    const size inside = voxels - 2;
    for (size x = 1; x <= inside; x += inside < kLanes ? 1 : kLanes) {
        if (inside < kLanes) {
            voxel(x);
            continue;
        }
        // The last block may overlap the one before it.
        const size first = x + kLanes <= inside ? x : inside - kLanes + 1;
        const float* u = row.field + first;
        store(out + first,
              jacobian_at<Floats>(along, [&](int k, size offset) { return load(u + k * row.component + offset); }));
    }
    along[D - 1] = {1, 0, 1.0f};
    voxel(voxels - 1);
}

}  // namespace
}  // namespace modelaug
