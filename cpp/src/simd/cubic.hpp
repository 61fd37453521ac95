// Interpolating cubic B-splines: coefficients, and values where a field points. A part of kernels.cpp.
//
// Worth, in the plane and in space: one voxel at a time (MODELAUG_SCALAR) takes 2.4 and 2.3 times as many instructions
// (v3).
#pragma once

#include "warp.hpp"

namespace modelaug {
namespace {

// The filter that gives an axis's coefficients is a scale times 1 / ((1 - z q)(1 - z / q)), q a step of one sample and
// z = sqrt(3) - 2. Both factors are geometric series, summed by doubling: 1 + z q, then two terms more, then four.
// After 16 terms 1e-9 is left. Unlike a recursion it runs along all samples at once, and a black background never
// decays into denormal numbers.
constexpr float kPole = -0.267949192431f;
constexpr size kStages = 4;

// y[i] = middle x[i] + sides (x[i - shift] + x[i + shift]).
inline void symmetric(const float* MODELAUG_RESTRICT x, size shift, size count, float middle, float sides,
                      float* MODELAUG_RESTRICT y) {
    const float *MODELAUG_RESTRICT before = x - shift, *MODELAUG_RESTRICT after = x + shift;
    for (size i = 0; i < count; ++i) y[i] = middle * x[i] + sides * (before[i] + after[i]);
}

inline size mirrored(size i, size n) {
    if (n == 1) return 0;
    const size period = 2 * (n - 1);
    i = (i < 0 ? -i : i) % period;
    return i < n ? i : period - i;
}

inline void copy_rows(const float* from, size from_step, size rows, size width, float* to, size to_step) {
    if (from_step == width && to_step == width) {
        for (size i = 0; i < rows * width; ++i) to[i] = from[i];
    } else if (width == SplineLines::kWidth) {
        for (size r = 0; r < rows; ++r)
            for (size i = 0; i < SplineLines::kWidth; i += kLanes)
                store(to + r * to_step + i, load(from + r * from_step + i));
    } else {
        for (size r = 0; r < rows; ++r)
            for (size i = 0; i < width; ++i) to[r * to_step + i] = from[r * from_step + i];
    }
}

void spline_coefficients(const SplineLines& lines, float* work) {
    assert(lines.samples >= 1 && lines.width >= 1 && lines.width <= SplineLines::kWidth);
    assert(lines.samples == 1 || lines.from_step >= lines.width);
    assert(lines.to_step >= lines.width);
    constexpr size margin = SplineLines::kMargin;
    const size n = lines.samples, width = lines.width, rows = n + 2 * margin;
    // From the beginning of a cache line, so that accesses to full-width rows do not straddle two.
    float *x = work + ((~reinterpret_cast<std::uintptr_t>(work) + 1) / 4 & 15), *y = x + (rows * width + 15) / 16 * 16;
    copy_rows(lines.from, lines.from_step, n, width, x + margin * width, width);
    for (size r = 0; r < margin; ++r) {
        const float *low = x + (margin + mirrored(r - margin, n)) * width,
                    *high = x + (margin + mirrored(n + r, n)) * width;
        for (size i = 0; i < width; ++i) x[r * width + i] = low[i];
        for (size i = 0; i < width; ++i) x[(margin + n + r) * width + i] = high[i];
    }
    if (n > 1) {
        float power = kPole, scale = -6.0f * kPole;
        size reach = 0;  // rows at both ends that are no longer right
        for (size stage = 0, shift = 1; stage < kStages; ++stage, shift *= 2) {
            reach += shift;
            symmetric(x + reach * width, shift * width, (rows - 2 * reach) * width, scale * (1.0f + power * power),
                      scale * power, y + reach * width);
            float* const filtered = y;
            y = x;
            x = filtered;
            power *= power;
            scale = 1.0f;
        }
    }
    copy_rows(x + (margin - 1) * width, width, spline_nodes(n), width, lines.to, lines.to_step);
}

// The sum over k of w[k][i] rows[i][k], for each i.
inline Quad sum_along(const Quad (&w)[4], const Quad (&rows)[4]) {
#ifdef MODELAUG_VECTORS
    const Quad a = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5),
               b = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5),
               c = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7),
               d = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
    return (w[0] * __builtin_shufflevector(a, b, 0, 1, 4, 5) + w[1] * __builtin_shufflevector(a, b, 2, 3, 6, 7)) +
           (w[2] * __builtin_shufflevector(c, d, 0, 1, 4, 5) + w[3] * __builtin_shufflevector(c, d, 2, 3, 6, 7));
#else
    Quad sum{};
    for (int i = 0; i < 4; ++i)
        for (int k = 0; k < 4; ++k) sum.v[i] += w[k].v[i] * rows[i].v[k];
    return sum;
#endif
}

// Weights of the coefficients around some voxels of a row, and the first coefficient of each. Weights of several blocks
// are there before the first is used, or each would be waited for.
constexpr size kAhead = 64;

template <int D>
struct CubicTaps {
    float weights[D][4][kAhead], value[kAhead];
    std::int32_t first[kAhead], outside[kAhead];

    void find(const WarpRow& row, size begin, size count, const std::int32_t (&steps)[D]) {
        for (size x = 0; x < (count + 3) / 4 * 4; x += kLanes) {
            const Positions<D> p(row, begin + x);
            Ints corner = p.axis[D - 1].low;
            for (int k = 0; k < D; ++k) {
                if (k < D - 1) corner = corner + p.axis[k].low * steps[k];
                Floats w[4];
                spline_weights(p.axis[k].t, w);
                for (int i = 0; i < 4; ++i) store(weights[k][i] + x, w[i]);
            }
            store(first + x, corner);
            if (row.constant) store(outside + x, select(p.outside(), splat(1), splat(0)));
        }
    }
};

// line(taps, i): what the outer axes make of the four coefficients along the row around voxel i.
template <int D, typename Line>
inline void warp_cubic_row(const WarpRow& row, const std::int32_t (&steps)[D], float* out, const Line& line) {
    assert(is_row<D>(row));
    CubicTaps<D> taps;
    for (size begin = 0; begin < row.voxels; begin += kAhead) {
        const size count = row.voxels - begin < kAhead ? row.voxels - begin : kAhead;
        taps.find(row, begin, count, steps);
        for (size i = 0; i < count; i += 4) {
            const Quad lines[4] = {line(taps, i), line(taps, i + 1), line(taps, i + 2), line(taps, i + 3)};
            const auto* w = taps.weights[D - 1];
            const Quad weights[4] = {load<Quad>(w[0] + i), load<Quad>(w[1] + i), load<Quad>(w[2] + i),
                                     load<Quad>(w[3] + i)};
            store(taps.value + i, sum_along(weights, lines));
        }
        for (size i = 0; i < count; ++i) out[begin + i] = row.constant && taps.outside[i] ? row.fill : taps.value[i];
    }
}

template <int D>
void warp_cubic(const WarpRow& row, float* out);

template <>
void warp_cubic<2>(const WarpRow& row, float* out) {
    const std::int32_t steps[2] = {static_cast<std::int32_t>(spline_nodes(row.shape[1])), 1};
    const size step = steps[0];
    warp_cubic_row<2>(row, steps, out, [&](const CubicTaps<2>& taps, size i) {
        const auto* w = taps.weights[0];
        const float* c = row.image + taps.first[i];
        return (w[0][i] * load<Quad>(c) + w[1][i] * load<Quad>(c + step)) +
               (w[2][i] * load<Quad>(c + 2 * step) + w[3][i] * load<Quad>(c + 3 * step));
    });
}

template <>
void warp_cubic<3>(const WarpRow& row, float* out) {
    const auto down = static_cast<std::int32_t>(spline_nodes(row.shape[1])),
               across = static_cast<std::int32_t>(spline_nodes(row.shape[2]));
    const std::int32_t steps[3] = {down * across, across, 1};
    const size slab = steps[0], step = steps[1];
    warp_cubic_row<3>(row, steps, out, [&](const CubicTaps<3>& taps, size i) {
        const auto *v = taps.weights[0], *w = taps.weights[1];
        const auto plane = [&](const float* c) {
            return (w[0][i] * load<Quad>(c) + w[1][i] * load<Quad>(c + step)) +
                   (w[2][i] * load<Quad>(c + 2 * step) + w[3][i] * load<Quad>(c + 3 * step));
        };
        const float* c = row.image + taps.first[i];
        return (v[0][i] * plane(c) + v[1][i] * plane(c + slab)) +
               (v[2][i] * plane(c + 2 * slab) + v[3][i] * plane(c + 3 * slab));
    });
}

}  // namespace
}  // namespace modelaug
