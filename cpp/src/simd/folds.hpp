// Where a displacement's control points alone tell that it does not fold. A part of kernels.cpp.
//
// Worth: with one number at a time (MODELAUG_SCALAR) is_diffeomorphic takes 2.4 times as many instructions in the plane
// (v3). In space, where most cells of the counted case are cut into pieces in double precision, 1.05.
#pragma once

#include "assertions.hpp"
#include "modelaug/simd.hpp"
#include "portable.hpp"
#include "ranges.hpp"
#include "sixteen.hpp"

namespace modelaug {
namespace {

template <typename Value>
inline float max_of(size count, const Value& value_at) {
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

float max_absolute(const float* values, size count) {
    return max_of(count, [&](size x, size left) { return load_sixteen(values + x, left); });
}

float max_difference(const float* a, const float* b, size count) {
    return max_of(count, [&](size x, size left) { return load_sixteen(a + x, left) - load_sixteen(b + x, left); });
}

// The differences along an axis between the control points that count for a row of cells, before they are compared with
// their neighbours in the row.
template <int D>
inline void differences(const FoldRow& row, int k, int axis, float* low, float* high) {
    const size step = axis == D - 1 ? 1 : row.strides[axis];
    const int planes = D == 3 ? (axis == 0 ? 3 : 4) : 1, rows = axis == D - 2 ? 3 : 4;
    for (size x = 0; x < row.cells + 3; x += kSixteen) {
        const float* nodes = row.nodes + k * row.component + x;
        Range<Sixteen> range{sixteen(3e38f), sixteen(-3e38f)};
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
void find_fold_free(const FoldRow& row, float least, std::uint8_t* fold_free) {
    assert(row.cells >= 1 && row.component > 0);
    for (int axis = 0; axis < D - 1; ++axis) assert(row.strides[axis] >= row.cells + 3);
    const size width = row.cells + 3 + kSixteen;
    for (int k = 0; k < D; ++k)
        for (int axis = 0; axis < D; ++axis) {
            float* low = row.scratch + (k * D + axis) * 2 * width;
            differences<D>(row, k, axis, low, low + width);
        }
    for (size x = 0; x < row.cells; x += kSixteen) {
        Range<Sixteen> jacobian[D][D];
        for (int k = 0; k < D; ++k)
            for (int axis = 0; axis < D; ++axis) {
                const float *low = row.scratch + (k * D + axis) * 2 * width + x, *high = low + width;
                Range<Sixteen> range{
                    smaller(smaller(load_sixteen(low), load_sixteen(low + 1)), load_sixteen(low + 2)),
                    larger(larger(load_sixteen(high), load_sixteen(high + 1)), load_sixteen(high + 2))};
                if (axis < D - 1)
                    range = {smaller(range.low, load_sixteen(low + 3)), larger(range.high, load_sixteen(high + 3))};
                const Sixteen diagonal = sixteen(k == axis ? 1.0f : 0.0f);
                jacobian[k][axis] = {diagonal + row.per_voxel[axis] * range.low,
                                     diagonal + row.per_voxel[axis] * range.high};
            }
        std::int32_t exceeds[kSixteen];
        store(exceeds, sixteen(least) < larger(dominance(jacobian), lowest_determinant(jacobian)));
        for (size r = 0; r < kSixteen && x + r < row.cells; ++r) fold_free[x + r] = exceeds[r] != 0 ? 1 : 0;
    }
}

}  // namespace
}  // namespace modelaug
