// Displacements by cubic B-splines at sixteen points at a time. A part of kernels.cpp.
#pragma once

#include "modelaug/simd.hpp"
#include "portable.hpp"
#include "sixteen.hpp"

namespace modelaug {
namespace {

// Control points side by side; compilers with vector types keep them in registers of whatever width there is.
#if defined(__GNUC__)
typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

#else
template <int N>
struct Several {
    float v[N];
    float& operator[](int i) { return v[i]; }
    float operator[](int i) const { return v[i]; }
};
template <int N>
inline Several<N> operator*(float a, Several<N> b) {
    for (int i = 0; i < N; ++i) b.v[i] *= a;
    return b;
}
template <int N>
inline Several<N> operator*(Several<N> a, Several<N> b) {
    for (int i = 0; i < N; ++i) a.v[i] *= b.v[i];
    return a;
}
template <int N>
inline Several<N> operator+(Several<N> a, Several<N> b) {
    for (int i = 0; i < N; ++i) a.v[i] += b.v[i];
    return a;
}
template <int N>
inline Several<N>& operator+=(Several<N>& a, Several<N> b) {
    for (int i = 0; i < N; ++i) a.v[i] += b.v[i];
    return a;
}
using Eight = Several<8>;
using Four = Several<4>;

#endif

// The four cubic B-splines at t in [0, 1], as polynomials in t; and their derivatives.
inline Four weights(float t) {
    const Four c0 = {1.0f / 6, 4.0f / 6, 1.0f / 6, 0.0f}, c1 = {-0.5f, 0.0f, 0.5f, 0.0f},
               c2 = {0.5f, -1.0f, 0.5f, 0.0f}, c3 = {-1.0f / 6, 0.5f, -0.5f, 1.0f / 6};
    return c0 + t * (c1 + t * (c2 + t * c3));
}

inline Four slopes(float t) {
    const Four c1 = {-0.5f, 0.0f, 0.5f, 0.0f}, c2 = {1.0f, -2.0f, 1.0f, 0.0f}, c3 = {-0.5f, 1.5f, -1.5f, 0.5f};
    return c1 + t * (c2 + t * c3);
}

// Cells and fractions along an axis.
inline Sixteen locate(const StepView& step, int axis, Sixteen x, SixteenInts& cells) {
    Sixteen scaled = step.per_voxel[axis] * x + sixteen(static_cast<float>(StepView::kMargin));
    scaled = smaller(larger(scaled, sixteen(0.0f)), sixteen(step.highest[axis]));  // NaN becomes 0
    cells = to_ints(scaled);
    return scaled - to_floats(cells);
}

// Pairs of components, four of each point: pairs[j] has those of control point j, point after point.
#if defined(__GNUC__)
constexpr int kPoints = kLanes / 2;  // whose pairs fill a register

inline void transpose_pairs(const float* values, Floats (&pairs)[4]) {
#if defined(__AVX512F__)
    typedef double Pairs __attribute__((vector_size(64)));
    Pairs in[4], half[4];
    for (int i = 0; i < 4; ++i) {
        // As they were stored, point by point: a load across two stores waits until both are through.
        typedef double HalfPairs __attribute__((vector_size(32)));
        const HalfPairs a = reinterpret_cast<HalfPairs>(*reinterpret_cast<const Eight*>(values + 16 * i)),
                        b = reinterpret_cast<HalfPairs>(*reinterpret_cast<const Eight*>(values + 16 * i + 8));
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
    typedef float Half __attribute__((vector_size(32)));
    typedef Half Unaligned __attribute__((aligned(4), may_alias));
    const Half half = *reinterpret_cast<const Unaligned*>(values);
    return __builtin_shufflevector(half, half, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
#elif defined(__AVX2__)
    const Four half = *reinterpret_cast<const Four*>(values);
    return __builtin_shufflevector(half, half, 0, 0, 1, 1, 2, 2, 3, 3);
#else
    return Floats{values[0], values[0], values[1], values[1]};
#endif
}

inline void split_pairs(Floats a, Floats b, Floats& first, Floats& second) {
#if defined(__AVX512F__)
    first = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    second = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
    first = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    second = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    first = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    second = __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}
#endif

// Sums over the four control points along the row: of value (points, 4, 2) with the B-splines at t and with their
// derivatives, and of down with the B-splines.
template <bool Gradient>
inline void sum_along(const float* value, const float* down, const float* t, Sixteen (&sums)[3][2]) {
#if defined(__GNUC__)
    for (int p = 0; p < kParts; ++p) {
        Floats pairs[3][2];
        for (int half = 0; half < 2; ++half) {
            const int first = p * kLanes + half * kPoints;
            const Floats u = twice(t + first), v = 1.0f - u;
            const Floats w[4] = {(1.0f / 6) * (v * v * v), 4.0f / 6 + u * u * (0.5f * u - 1.0f),
                                 4.0f / 6 + v * v * (0.5f * v - 1.0f), (1.0f / 6) * (u * u * u)};
            Floats c[4];
            transpose_pairs(value + 8 * first, c);
            pairs[0][half] = (w[0] * c[0] + w[1] * c[1]) + (w[2] * c[2] + w[3] * c[3]);
            if (!Gradient) continue;
            const Floats d[4] = {-0.5f * (v * v), u * (1.5f * u - 2.0f), v * (2.0f - 1.5f * v), 0.5f * (u * u)};
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
        const Four w = weights(t[r]), d = slopes(t[r]);
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

// x -> x + r(x), and the gradient of r if wanted: what points do alike, in vectors; what each looks up, one after the
// other, which leaves the processor free to overlap them.
template <bool Gradient>
inline void apply(const StepView& step, Sixteen (&x)[2], Sixteen (&gradient)[2][2]) {
    std::int32_t offsets[kSixteen];
    float w[4][kSixteen], d[4][kSixteen], across[kSixteen], value[8 * kSixteen], down[8 * kSixteen];
    const std::int32_t stride = static_cast<std::int32_t>(step.strides[0]);
    SixteenInts rows, columns;
    const Sixteen u = locate(step, 0, x[0], rows), v = 1.0f - u;
    store(across, locate(step, 1, x[1], columns));
    store(offsets, stride * rows + 2 * columns);
    store(w[0], (1.0f / 6) * (v * v * v));
    store(w[1], 4.0f / 6 + u * u * (0.5f * u - 1.0f));
    store(w[2], 4.0f / 6 + v * v * (0.5f * v - 1.0f));
    store(w[3], (1.0f / 6) * (u * u * u));
    if (Gradient) {
        store(d[0], -0.5f * (v * v));
        store(d[1], u * (1.5f * u - 2.0f));
        store(d[2], v * (2.0f - 1.5f * v));
        store(d[3], 0.5f * (u * u));
    }
    for (int r = 0; r < kSixteen; ++r) {
        // Four control points of two components along the row, summed over the rows.
        const float* nodes = step.nodes + offsets[r];
        const Eight a0 = *reinterpret_cast<const Eight*>(nodes), a1 = *reinterpret_cast<const Eight*>(nodes + stride),
                    a2 = *reinterpret_cast<const Eight*>(nodes + 2 * stride),
                    a3 = *reinterpret_cast<const Eight*>(nodes + 3 * stride);
        *reinterpret_cast<Eight*>(value + 8 * r) = (w[0][r] * a0 + w[1][r] * a1) + (w[2][r] * a2 + w[3][r] * a3);
        if (Gradient)
            *reinterpret_cast<Eight*>(down + 8 * r) = (d[0][r] * a0 + d[1][r] * a1) + (d[2][r] * a2 + d[3][r] * a3);
    }
    Sixteen sums[3][2];
    sum_along<Gradient>(value, down, across, sums);
    for (int k = 0; k < 2; ++k) {
        x[k] = x[k] + sums[0][k];
        for (int axis = 0; Gradient && axis < 2; ++axis) gradient[k][axis] = step.per_voxel[axis] * sums[1 + axis][k];
    }
}

// Four numbers four times, each time weighted.
inline Four sum_along(Sixteen values, Four w) {
    float all[kSixteen];
    store(all, values);
    const Four a = *reinterpret_cast<const Four*>(all), b = *reinterpret_cast<const Four*>(all + 4),
               c = *reinterpret_cast<const Four*>(all + 8), d = *reinterpret_cast<const Four*>(all + 12);
    return (w[0] * a + w[1] * b) + (w[2] * c + w[3] * d);
}

template <bool Gradient>
inline void apply(const StepView& step, Sixteen (&x)[3], Sixteen (&gradient)[3][3]) {
    std::int32_t cells[3][kSixteen];
    float t[3][kSixteen], found[4][3][kSixteen];
    for (int axis = 0; axis < 3; ++axis) {
        SixteenInts cell;
        store(t[axis], locate(step, axis, x[axis], cell));
        store(cells[axis], cell);
    }
    for (int r = 0; r < kSixteen; ++r) {
        const float* nodes = step.nodes;
        for (int axis = 0; axis < 3; ++axis) nodes += cells[axis][r] * step.strides[axis];
        const Four w0 = weights(t[0][r]), w1 = weights(t[1][r]), w2 = weights(t[2][r]);
        const Four d0 = slopes(t[0][r]), d1 = slopes(t[1][r]), d2 = slopes(t[2][r]);
        // Four control points of four components along the row, summed over rows and planes.
        Sixteen value = sixteen(0.0f), deep = value, down = value;
        for (int i = 0; i < 4; ++i) {
            const float* line = nodes + i * step.strides[0];
            Sixteen plane = sixteen(0.0f), slope = plane;
            for (int j = 0; j < 4; ++j, line += step.strides[1]) {
                const Sixteen c = load_sixteen(line);
                plane = plane + w1[j] * c;
                if (Gradient) slope = slope + d1[j] * c;
            }
            value = value + w0[i] * plane;
            if (!Gradient) continue;
            deep = deep + d0[i] * plane;
            down = down + w0[i] * slope;
        }
        const Four sums[4] = {sum_along(value, w2), sum_along(deep, w2), sum_along(down, w2), sum_along(value, d2)};
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
