// Displacements by cubic B-splines at sixteen points at a time. A part of kernels.cpp.
#pragma once

#include "assertions.hpp"
#include "modelaug/simd.hpp"
#include "portable.hpp"
#include "sixteen.hpp"

namespace modelaug {
namespace {

// Cells and fractions along an axis.
inline Sixteen locate(const StepView& step, int axis, Sixteen x, SixteenInts& cells) {
    Sixteen scaled = step.per_voxel[axis] * x + sixteen(static_cast<float>(StepView::kMargin));
    scaled = smaller(larger(scaled, sixteen(0.0f)), sixteen(step.highest[axis]));  // NaN becomes 0
    cells = to_ints(scaled);
    assert(within(cells, 0, static_cast<std::int32_t>(step.highest[axis])));
    return scaled - to_floats(cells);
}

// Pairs of components, four of each point: pairs[j] has those of control point j, point after point.
#ifdef MODELAUG_VECTORS
constexpr int kPoints = kLanes / 2;  // whose pairs fill a register

inline void transpose_pairs(const float* values, Floats (&pairs)[4]) {
#if defined(__AVX512F__)
    typedef double Pairs __attribute__((vector_size(64)));
    Pairs in[4], half[4];
    for (int i = 0; i < 4; ++i) {
        // As they were stored, point by point: a load across two stores waits until both are through.
        typedef double HalfPairs __attribute__((vector_size(32)));
        const HalfPairs a = reinterpret_cast<HalfPairs>(load<Octet>(values + 16 * i)),
                        b = reinterpret_cast<HalfPairs>(load<Octet>(values + 16 * i + 8));
        in[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
    }
    for (int i = 0; i < 2; ++i) {
        half[i] = __builtin_shufflevector(in[2 * i], in[2 * i + 1], 0, 4, 8, 12, 1, 5, 9, 13);
        half[2 + i] = __builtin_shufflevector(in[2 * i], in[2 * i + 1], 2, 6, 10, 14, 3, 7, 11, 15);
    }
    for (int i = 0; i < 2; ++i) {
        pairs[2 * i] =
            reinterpret_cast<Floats>(__builtin_shufflevector(half[2 * i], half[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11));
        pairs[2 * i + 1] =
            reinterpret_cast<Floats>(__builtin_shufflevector(half[2 * i], half[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15));
    }
#elif defined(__AVX2__)
    typedef double Pairs __attribute__((vector_size(32)));
    Pairs in[4];
    for (int i = 0; i < 4; ++i) in[i] = reinterpret_cast<Pairs>(load(values + 8 * i));
    const Pairs a = __builtin_shufflevector(in[0], in[1], 0, 4, 2, 6),
                b = __builtin_shufflevector(in[0], in[1], 1, 5, 3, 7),
                c = __builtin_shufflevector(in[2], in[3], 0, 4, 2, 6),
                d = __builtin_shufflevector(in[2], in[3], 1, 5, 3, 7);
    pairs[0] = reinterpret_cast<Floats>(__builtin_shufflevector(a, c, 0, 1, 4, 5));
    pairs[1] = reinterpret_cast<Floats>(__builtin_shufflevector(b, d, 0, 1, 4, 5));
    pairs[2] = reinterpret_cast<Floats>(__builtin_shufflevector(a, c, 2, 3, 6, 7));
    pairs[3] = reinterpret_cast<Floats>(__builtin_shufflevector(b, d, 2, 3, 6, 7));
#else
    for (int j = 0; j < 4; ++j) {
        const float *first = values + 2 * j, *second = first + 8;
        pairs[j] = Floats{first[0], first[1], second[0], second[1]};
    }
#endif
}

// Each number twice.
inline Floats twice(const float* values) {
#if defined(__AVX512F__)
    const Octet half = load<Octet>(values);
    return __builtin_shufflevector(half, half, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
#elif defined(__AVX2__)
    const Quad half = load<Quad>(values);
    return __builtin_shufflevector(half, half, 0, 0, 1, 1, 2, 2, 3, 3);
#else
    return Floats{values[0], values[0], values[1], values[1]};
#endif
}

#endif

// Sums over the four control points along the row: of value (points, 4, 2) with the B-splines at t and with their
// derivatives, and of down with the B-splines.
template <bool Gradient>
inline void sum_along(const float* value, const float* down, const float* t, Sixteen (&sums)[3][2]) {
#ifdef MODELAUG_VECTORS
    for (int p = 0; p < kParts; ++p) {
        Floats pairs[3][2];
        for (int half = 0; half < 2; ++half) {
            const int first = p * kLanes + half * kPoints;
            const Floats u = twice(t + first);
            Floats w[4], d[4], c[4];
            spline_weights(u, w);
            transpose_pairs(value + 8 * first, c);
            pairs[0][half] = (w[0] * c[0] + w[1] * c[1]) + (w[2] * c[2] + w[3] * c[3]);
            if (!Gradient) continue;
            spline_slopes(u, d);
            pairs[2][half] = (d[0] * c[0] + d[1] * c[1]) + (d[2] * c[2] + d[3] * c[3]);
            transpose_pairs(down + 8 * first, c);
            pairs[1][half] = (w[0] * c[0] + w[1] * c[1]) + (w[2] * c[2] + w[3] * c[3]);
        }
        for (int i = 0; i < (Gradient ? 3 : 1); ++i)
            split_pairs(pairs[i][0], pairs[i][1], sums[i][0].part[p], sums[i][1].part[p]);
    }
#else
    float found[3][2][kSixteen] = {};
    for (int r = 0; r < kSixteen; ++r) {
        float w[4], d[4];
        spline_weights(t[r], w);
        spline_slopes(t[r], d);
        for (int k = 0; k < 2; ++k)
            for (int i = 0; i < 4; ++i) {
                found[0][k][r] += w[i] * value[8 * r + 2 * i + k];
                if (!Gradient) continue;
                found[1][k][r] += w[i] * down[8 * r + 2 * i + k];
                found[2][k][r] += d[i] * value[8 * r + 2 * i + k];
            }
    }
    for (int i = 0; i < 3; ++i)
        for (int k = 0; k < 2; ++k) sums[i][k] = load_sixteen(found[i][k]);
#endif
}

// Of the four control points around sixteen points along an axis, and slopes if wanted.
template <bool Slopes>
inline void store_weights(Sixteen t, float (&weights)[4][kSixteen], float (&slopes)[4][kSixteen]) {
    for (int p = 0; p < kParts; ++p) {
        Floats w[4], d[4];
        spline_weights(t.part[p], w);
        if (Slopes) spline_slopes(t.part[p], d);
        for (int i = 0; i < 4; ++i) {
            store(weights[i] + p * kLanes, w[i]);
            if (Slopes) store(slopes[i] + p * kLanes, d[i]);
        }
    }
}

// x -> x + r(x), and the gradient of r if wanted: what points do alike, in vectors; what each looks up, one after the
// other, which leaves the processor free to overlap them.
template <bool Gradient>
inline void apply(const StepView& step, Sixteen (&x)[2], Sixteen (&gradient)[2][2]) {
    std::int32_t offsets[kSixteen];
    float w[4][kSixteen], d[4][kSixteen], across[kSixteen], value[8 * kSixteen], down[8 * kSixteen];
    const std::int32_t stride = static_cast<std::int32_t>(step.strides[0]);
    SixteenInts rows, columns;
    store_weights<Gradient>(locate(step, 0, x[0], rows), w, d);
    store(across, locate(step, 1, x[1], columns));
    store(offsets, stride * rows + 2 * columns);
    for (int r = 0; r < kSixteen; ++r) {
        // Four control points of two components along the row, summed over the rows.
        const float* nodes = step.nodes + offsets[r];
        const Octet a0 = load<Octet>(nodes), a1 = load<Octet>(nodes + stride), a2 = load<Octet>(nodes + 2 * stride),
                    a3 = load<Octet>(nodes + 3 * stride);
        store(value + 8 * r, (w[0][r] * a0 + w[1][r] * a1) + (w[2][r] * a2 + w[3][r] * a3));
        if (Gradient) store(down + 8 * r, (d[0][r] * a0 + d[1][r] * a1) + (d[2][r] * a2 + d[3][r] * a3));
    }
    Sixteen sums[3][2];
    sum_along<Gradient>(value, down, across, sums);
    for (int k = 0; k < 2; ++k) {
        x[k] = x[k] + sums[0][k];
        for (int axis = 0; Gradient && axis < 2; ++axis) gradient[k][axis] = step.per_voxel[axis] * sums[1 + axis][k];
    }
}

template <bool Gradient>
inline void apply(const StepView& step, Sixteen (&x)[3], Sixteen (&gradient)[3][3]) {
    std::int32_t cells[3][kSixteen];
    float w[3][4][kSixteen], d[3][4][kSixteen], found[4][3][kSixteen];
    for (int axis = 0; axis < 3; ++axis) {
        SixteenInts cell;
        store_weights<Gradient>(locate(step, axis, x[axis], cell), w[axis], d[axis]);
        store(cells[axis], cell);
    }
    for (int r = 0; r < kSixteen; ++r) {
        const float* nodes = step.nodes;
        for (int axis = 0; axis < 3; ++axis) nodes += cells[axis][r] * step.strides[axis];
        // Four control points of four components along the row, summed over rows and planes, and then along it.
        float value[kSixteen], deep[kSixteen], down[kSixteen], sums[4][4];
        Sixteen total = sixteen(0.0f), total_deep = total, total_down = total;
        for (int i = 0; i < 4; ++i) {
            const float* line = nodes + i * step.strides[0];
            Sixteen plane = sixteen(0.0f), slope = plane;
            for (int j = 0; j < 4; ++j, line += step.strides[1]) {
                const Sixteen c = load_sixteen(line);
                plane = plane + w[1][j][r] * c;
                if (Gradient) slope = slope + d[1][j][r] * c;
            }
            total = total + w[0][i][r] * plane;
            if (!Gradient) continue;
            total_deep = total_deep + d[0][i][r] * plane;
            total_down = total_down + w[0][i][r] * slope;
        }
        const auto along = [&](const float* lines, const float (&weights)[4][kSixteen], float* out) {
            store(out, (weights[0][r] * load<Quad>(lines) + weights[1][r] * load<Quad>(lines + 4)) +
                           (weights[2][r] * load<Quad>(lines + 8) + weights[3][r] * load<Quad>(lines + 12)));
        };
        store(value, total);
        along(value, w[2], sums[0]);
        if (Gradient) {
            store(deep, total_deep);
            store(down, total_down);
            along(deep, w[2], sums[1]);
            along(down, w[2], sums[2]);
            along(value, d[2], sums[3]);
        }
        for (int k = 0; k < 3; ++k)
            for (int part = 0; part < (Gradient ? 4 : 1); ++part) found[part][k][r] = sums[part][k];
    }
    for (int k = 0; k < 3; ++k) {
        x[k] = x[k] + load_sixteen(found[0][k]);
        for (int axis = 0; Gradient && axis < 3; ++axis)
            gradient[k][axis] = step.per_voxel[axis] * load_sixteen(found[1 + axis][k]);
    }
}

}  // namespace
}  // namespace modelaug
