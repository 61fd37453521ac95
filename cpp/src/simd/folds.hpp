// Where a displacement's control points alone tell that it does not fold. A part of kernels.cpp.
#pragma once

#include "lanes.hpp"
#include "modelaug/simd.hpp"
#include "portable.hpp"

namespace modelaug {
namespace {

float largest(const float* values, size count) {
    Lanes result = lanes(0.0f);
    for (size x = 0; x < count; x += kLanes) {
        const Lanes value = load(values + x, count - x);
        result = highest(result, highest(value, lanes(0.0f) - value));
    }
    float all[kLanes], top = 0.0f;
    store(result, all);
    for (float value : all) top = value > top ? value : top;
    return top;
}

// Ranges that hold a number each.
struct LaneRange {
    Lanes low, high;
};

inline LaneRange operator*(const LaneRange& a, const LaneRange& b) {
    const Lanes ll = a.low * b.low, lh = a.low * b.high, hl = a.high * b.low, hh = a.high * b.high;
    return {lowest(lowest(ll, lh), lowest(hl, hh)), highest(highest(ll, lh), highest(hl, hh))};
}
inline LaneRange operator-(const LaneRange& a, const LaneRange& b) {
    return {a.low - b.high, a.high - b.low};
}
inline LaneRange operator+(const LaneRange& a, const LaneRange& b) {
    return {a.low + b.low, a.high + b.high};
}

inline Lanes lowest_determinant(const LaneRange (&m)[2][2]) {
    return (m[0][0] * m[1][1] - m[0][1] * m[1][0]).low;
}

inline Lanes lowest_determinant(const LaneRange (&m)[3][3]) {
    return (m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
            m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]))
        .low;
}

// See injectivity.cpp.
template <int D>
inline Lanes dominance(const LaneRange (&m)[D][D]) {
    Lanes product = lanes(1.0f);
    for (int k = 0; k < D; ++k) {
        Lanes margin = m[k][k].low;
        for (int j = 0; j < D; ++j)
            if (j != k) margin = margin - highest(m[k][j].high, lanes(0.0f) - m[k][j].low);
        product = product * highest(margin, lanes(0.0f));
    }
    return product;
}

// The differences along an axis between the control points that count for a row of cells, before they are compared with
// their neighbours in the row.
template <int D>
inline void differences(const FoldRow& row, int k, int axis, float* low, float* high) {
    const size step = axis == D - 1 ? 1 : row.strides[axis];
    const int planes = D == 3 ? (axis == 0 ? 3 : 4) : 1, rows = axis == D - 2 ? 3 : 4;
    for (size x = 0; x < row.cells + 3; x += kLanes) {
        const float* nodes = row.nodes + k * row.component + x;
        LaneRange range{lanes(3e38f), lanes(-3e38f)};
        for (int z = 0; z < planes; ++z)
            for (int y = 0; y < rows; ++y) {
                const float* c = nodes + (D == 3 ? z * row.strides[0] : 0) + y * row.strides[D - 2];
                const Lanes difference = load(c + step) - load(c);
                range = {lowest(range.low, difference), highest(range.high, difference)};
            }
        store(range.low, low + x);
        store(range.high, high + x);
    }
}

template <int D>
inline void unfolded(const FoldRow& row, float least, std::uint8_t* sure) {
    const size width = row.cells + 3 + kLanes;
    for (int k = 0; k < D; ++k)
        for (int axis = 0; axis < D; ++axis) {
            float* low = row.scratch + (k * D + axis) * 2 * width;
            differences<D>(row, k, axis, low, low + width);
        }
    for (size x = 0; x < row.cells; x += kLanes) {
        LaneRange jacobian[D][D];
        for (int k = 0; k < D; ++k)
            for (int axis = 0; axis < D; ++axis) {
                const float *low = row.scratch + (k * D + axis) * 2 * width + x, *high = low + width;
                LaneRange range{lowest(lowest(load(low), load(low + 1)), load(low + 2)),
                                highest(highest(load(high), load(high + 1)), load(high + 2))};
                if (axis < D - 1) range = {lowest(range.low, load(low + 3)), highest(range.high, load(high + 3))};
                const Lanes diagonal = lanes(k == axis ? 1.0f : 0.0f);
                jacobian[k][axis] = {diagonal + row.per_voxel[axis] * range.low,
                                     diagonal + row.per_voxel[axis] * range.high};
            }
        std::int32_t exceeds[kLanes];
        store(lanes(least) < highest(dominance<D>(jacobian), lowest_determinant(jacobian)), exceeds);
        for (size r = 0; r < kLanes && x + r < row.cells; ++r) sure[x + r] = exceeds[r] != 0 ? 1 : 0;
    }
}

void unfolded_2d(const FoldRow& row, float least, std::uint8_t* sure) {
    unfolded<2>(row, least, sure);
}

void unfolded_3d(const FoldRow& row, float least, std::uint8_t* sure) {
    unfolded<3>(row, least, sure);
}

}  // namespace
}  // namespace modelaug
