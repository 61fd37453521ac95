// Where a displacement's control points alone tell that it does not fold. A part of kernels.cpp.
#pragma once

#include "modelaug/simd.hpp"
#include "portable.hpp"
#include "sixteen.hpp"

namespace modelaug {
namespace {

template <typename Value>
inline float largest_of(size count, const Value& value_at) {
    Sixteen result = sixteen(0.0f);
    for (size x = 0; x < count; x += kSixteen) {
        const Sixteen value = value_at(x, count - x);
        result = larger(result, larger(value, sixteen(0.0f) - value));
    }
    float all[kSixteen], top = 0.0f;
    store(all, result);
    for (float value : all) top = value > top ? value : top;
    return top;
}

float largest(const float* values, size count) {
    return largest_of(count, [&](size x, size left) { return load_sixteen(values + x, left); });
}

float largest_difference(const float* a, const float* b, size count) {
    return largest_of(count, [&](size x, size left) { return load_sixteen(a + x, left) - load_sixteen(b + x, left); });
}

// Ranges that hold a number each.
struct SixteenRanges {
    Sixteen low, high;
};

inline SixteenRanges operator*(const SixteenRanges& a, const SixteenRanges& b) {
    const Sixteen ll = a.low * b.low, lh = a.low * b.high, hl = a.high * b.low, hh = a.high * b.high;
    return {smaller(smaller(ll, lh), smaller(hl, hh)), larger(larger(ll, lh), larger(hl, hh))};
}
inline SixteenRanges operator-(const SixteenRanges& a, const SixteenRanges& b) {
    return {a.low - b.high, a.high - b.low};
}
inline SixteenRanges operator+(const SixteenRanges& a, const SixteenRanges& b) {
    return {a.low + b.low, a.high + b.high};
}

inline Sixteen lowest_determinant(const SixteenRanges (&m)[2][2]) {
    return (m[0][0] * m[1][1] - m[0][1] * m[1][0]).low;
}

inline Sixteen lowest_determinant(const SixteenRanges (&m)[3][3]) {
    return (m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
            m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]))
        .low;
}

// See injectivity.cpp.
template <int D>
inline Sixteen dominance(const SixteenRanges (&m)[D][D]) {
    Sixteen product = sixteen(1.0f);
    for (int k = 0; k < D; ++k) {
        Sixteen margin = m[k][k].low;
        for (int j = 0; j < D; ++j)
            if (j != k) margin = margin - larger(m[k][j].high, sixteen(0.0f) - m[k][j].low);
        product = product * larger(margin, sixteen(0.0f));
    }
    return product;
}

// The differences along an axis between the control points that count for a row of cells, before they are compared with
// their neighbours in the row.
template <int D>
inline void differences(const FoldRow& row, int k, int axis, float* low, float* high) {
    const size step = axis == D - 1 ? 1 : row.strides[axis];
    const int planes = D == 3 ? (axis == 0 ? 3 : 4) : 1, rows = axis == D - 2 ? 3 : 4;
    for (size x = 0; x < row.cells + 3; x += kSixteen) {
        const float* nodes = row.nodes + k * row.component + x;
        SixteenRanges range{sixteen(3e38f), sixteen(-3e38f)};
        for (int z = 0; z < planes; ++z)
            for (int y = 0; y < rows; ++y) {
                const float* c = nodes + (D == 3 ? z * row.strides[0] : 0) + y * row.strides[D - 2];
                const Sixteen difference = load_sixteen(c + step) - load_sixteen(c);
                range = {smaller(range.low, difference), larger(range.high, difference)};
            }
        store(low + x, range.low);
        store(high + x, range.high);
    }
}

template <int D>
inline void unfolded(const FoldRow& row, float least, std::uint8_t* sure) {
    const size width = row.cells + 3 + kSixteen;
    for (int k = 0; k < D; ++k)
        for (int axis = 0; axis < D; ++axis) {
            float* low = row.scratch + (k * D + axis) * 2 * width;
            differences<D>(row, k, axis, low, low + width);
        }
    for (size x = 0; x < row.cells; x += kSixteen) {
        SixteenRanges jacobian[D][D];
        for (int k = 0; k < D; ++k)
            for (int axis = 0; axis < D; ++axis) {
                const float *low = row.scratch + (k * D + axis) * 2 * width + x, *high = low + width;
                SixteenRanges range{smaller(smaller(load_sixteen(low), load_sixteen(low + 1)), load_sixteen(low + 2)),
                                    larger(larger(load_sixteen(high), load_sixteen(high + 1)), load_sixteen(high + 2))};
                if (axis < D - 1)
                    range = {smaller(range.low, load_sixteen(low + 3)), larger(range.high, load_sixteen(high + 3))};
                const Sixteen diagonal = sixteen(k == axis ? 1.0f : 0.0f);
                jacobian[k][axis] = {diagonal + row.per_voxel[axis] * range.low,
                                     diagonal + row.per_voxel[axis] * range.high};
            }
        std::int32_t exceeds[kSixteen];
        store(exceeds, sixteen(least) < larger(dominance<D>(jacobian), lowest_determinant(jacobian)));
        for (size r = 0; r < kSixteen && x + r < row.cells; ++r) sure[x + r] = exceeds[r] != 0 ? 1 : 0;
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
