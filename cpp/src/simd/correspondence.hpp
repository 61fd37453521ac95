// Chains of displacements, and Newton's method on them. A part of kernels.cpp.
#pragma once

#include "modelaug/simd.hpp"
#include "portable.hpp"

namespace modelaug {
namespace {

// Lanes of a vector; compilers with vector types keep them in registers of whatever width there is.
#if defined(__GNUC__)
typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

inline Four sum_of_halves(Eight v) {
    return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
}
#else
template <int N>
struct Lanes {
    float v[N];
    float& operator[](int i) { return v[i]; }
    float operator[](int i) const { return v[i]; }
};
template <int N>
inline Lanes<N> operator*(float a, Lanes<N> b) {
    for (int i = 0; i < N; ++i) b.v[i] *= a;
    return b;
}
template <int N>
inline Lanes<N> operator*(Lanes<N> a, Lanes<N> b) {
    for (int i = 0; i < N; ++i) a.v[i] *= b.v[i];
    return a;
}
template <int N>
inline Lanes<N> operator+(Lanes<N> a, Lanes<N> b) {
    for (int i = 0; i < N; ++i) a.v[i] += b.v[i];
    return a;
}
template <int N>
inline Lanes<N>& operator+=(Lanes<N>& a, Lanes<N> b) {
    for (int i = 0; i < N; ++i) a.v[i] += b.v[i];
    return a;
}
using Eight = Lanes<8>;
using Four = Lanes<4>;

inline Four sum_of_halves(Eight v) {
    return {v[0] + v[4], v[1] + v[5], v[2] + v[6], v[3] + v[7]};
}
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

// The same, each twice: for two components side by side.
inline Eight double_weights(float t) {
    const Eight c0 = {1.0f / 6, 1.0f / 6, 4.0f / 6, 4.0f / 6, 1.0f / 6, 1.0f / 6, 0.0f, 0.0f},
                c1 = {-0.5f, -0.5f, 0.0f, 0.0f, 0.5f, 0.5f, 0.0f, 0.0f},
                c2 = {0.5f, 0.5f, -1.0f, -1.0f, 0.5f, 0.5f, 0.0f, 0.0f},
                c3 = {-1.0f / 6, -1.0f / 6, 0.5f, 0.5f, -0.5f, -0.5f, 1.0f / 6, 1.0f / 6};
    return c0 + t * (c1 + t * (c2 + t * c3));
}

inline Eight double_slopes(float t) {
    const Eight c1 = {-0.5f, -0.5f, 0.0f, 0.0f, 0.5f, 0.5f, 0.0f, 0.0f},
                c2 = {1.0f, 1.0f, -2.0f, -2.0f, 1.0f, 1.0f, 0.0f, 0.0f},
                c3 = {-0.5f, -0.5f, 1.5f, 1.5f, -1.5f, -1.5f, 0.5f, 0.5f};
    return c1 + t * (c2 + t * c3);
}

// Points side by side, a row of voxels each: what they do alike, in vectors; what each looks up, one after the other,
// which leaves the processor free to overlap them.
constexpr int kRows = SolveRow::kTogether;
typedef float PerRow[kRows];

// x -> x + r(x), and the gradient of r.
inline void apply(const StepView& step, PerRow (&x)[2], PerRow (&gradient)[2][2]) {
    std::int32_t cells[2][kRows];
    PerRow t[2], w[4], d[4];
    for (int axis = 0; axis < 2; ++axis)
        for (int r = 0; r < kRows; ++r) {
            float scaled = x[axis][r] * step.per_voxel[axis] + static_cast<float>(StepView::kMargin);
            scaled = scaled > 0.0f ? scaled : 0.0f;  // NaN is no index
            scaled = scaled > step.highest[axis] ? step.highest[axis] : scaled;
            cells[axis][r] = static_cast<std::int32_t>(scaled);
            t[axis][r] = scaled - static_cast<float>(cells[axis][r]);
        }
    for (int r = 0; r < kRows; ++r) {
        const float u = t[0][r], v = 1.0f - u;
        w[0][r] = v * v * v * (1.0f / 6);
        w[1][r] = (4.0f / 6) + u * u * (0.5f * u - 1.0f);
        w[2][r] = (4.0f / 6) + v * v * (0.5f * v - 1.0f);
        w[3][r] = u * u * u * (1.0f / 6);
        d[0][r] = -0.5f * v * v;
        d[1][r] = u * (1.5f * u - 2.0f);
        d[2][r] = v * (2.0f - 1.5f * v);
        d[3][r] = 0.5f * u * u;
    }
    const size stride = step.strides[0];
    for (int r = 0; r < kRows; ++r) {
        // Four control points of two components along the row, summed over the rows.
        const float* nodes = step.nodes + cells[0][r] * stride + cells[1][r] * 2;
        const Eight a0 = *reinterpret_cast<const Eight*>(nodes), a1 = *reinterpret_cast<const Eight*>(nodes + stride),
                    a2 = *reinterpret_cast<const Eight*>(nodes + 2 * stride),
                    a3 = *reinterpret_cast<const Eight*>(nodes + 3 * stride);
        const Eight across = double_weights(t[1][r]), slope = double_slopes(t[1][r]);
        const Eight value = (w[0][r] * a0 + w[1][r] * a1) + (w[2][r] * a2 + w[3][r] * a3);
        const Eight down = (d[0][r] * a0 + d[1][r] * a1) + (d[2][r] * a2 + d[3][r] * a3);
        const Four moved = sum_of_halves(across * value), g0 = sum_of_halves(across * down),
                   g1 = sum_of_halves(slope * value);
        for (int k = 0; k < 2; ++k) {
            x[k][r] += moved[k] + moved[2 + k];
            gradient[k][0][r] = step.per_voxel[0] * (g0[k] + g0[2 + k]);
            gradient[k][1][r] = step.per_voxel[1] * (g1[k] + g1[2 + k]);
        }
    }
}

inline void apply(const StepView& step, PerRow (&x)[3], PerRow (&gradient)[3][3]) {
    for (int r = 0; r < kRows; ++r) {
        const float* nodes = step.nodes;
        float t[3];
        for (int axis = 0; axis < 3; ++axis) {
            float scaled = x[axis][r] * step.per_voxel[axis] + static_cast<float>(StepView::kMargin);
            scaled = scaled > 0.0f ? scaled : 0.0f;  // NaN is no index
            scaled = scaled > step.highest[axis] ? step.highest[axis] : scaled;
            const std::int32_t cell = static_cast<std::int32_t>(scaled);
            t[axis] = scaled - static_cast<float>(cell);
            nodes += cell * step.strides[axis];
        }
        const Four w0 = weights(t[0]), w1 = weights(t[1]), w2 = weights(t[2]);
        const Four d0 = slopes(t[0]), d1 = slopes(t[1]), d2 = slopes(t[2]);
        Four value = {0, 0, 0, 0}, deep = value, down = value, across = value;
        for (int i = 0; i < 4; ++i)
            for (int j = 0; j < 4; ++j) {
                const float* line = nodes + i * step.strides[0] + j * step.strides[1];
                const Four c0 = *reinterpret_cast<const Four*>(line), c1 = *reinterpret_cast<const Four*>(line + 4),
                           c2 = *reinterpret_cast<const Four*>(line + 8),
                           c3 = *reinterpret_cast<const Four*>(line + 12);
                const Four sum = (w2[0] * c0 + w2[1] * c1) + (w2[2] * c2 + w2[3] * c3);
                const Four slope = (d2[0] * c0 + d2[1] * c1) + (d2[2] * c2 + d2[3] * c3);
                const float both = w0[i] * w1[j];
                value += both * sum;
                across += both * slope;
                deep += (d0[i] * w1[j]) * sum;
                down += (w0[i] * d1[j]) * sum;
            }
        for (int k = 0; k < 3; ++k) {
            x[k][r] += value[k];
            gradient[k][0][r] = step.per_voxel[0] * deep[k];
            gradient[k][1][r] = step.per_voxel[1] * down[k];
            gradient[k][2][r] = step.per_voxel[2] * across[k];
        }
    }
}

// x -> the chain's steps one after the other, and the Jacobian of that.
template <int D>
inline void apply_steps(const ChainView& chain, PerRow (&x)[D], PerRow (&jacobian)[D][D]) {
    for (int i = 0; i < D; ++i)
        for (int j = 0; j < D; ++j)
            for (int r = 0; r < kRows; ++r) jacobian[i][j][r] = i == j ? 1.0f : 0.0f;
    for (size s = 0; s < chain.count; ++s) {
        PerRow gradient[D][D], before[D][D];
        apply(chain.steps[s], x, gradient);
        for (int i = 0; i < D; ++i)
            for (int j = 0; j < D; ++j)
                for (int r = 0; r < kRows; ++r) before[i][j][r] = jacobian[i][j][r];
        for (int i = 0; i < D; ++i)
            for (int j = 0; j < D; ++j)
                for (int k = 0; k < D; ++k)
                    for (int r = 0; r < kRows; ++r) jacobian[i][j][r] += gradient[i][k][r] * before[k][j][r];
    }
}

// guess -= jacobian^-1 f where `open`; nothing where that is singular.
inline void subtract_step(const PerRow (&j)[2][2], const PerRow (&f)[2], const std::int32_t* open, PerRow (&guess)[2]) {
    for (int r = 0; r < kRows; ++r) {
        const float det = j[0][0][r] * j[1][1][r] - j[0][1][r] * j[1][0][r];
        const bool regular = (det > 1e-6f) | (det < -1e-6f);
        const float inverse = (open[r] != 0) & regular ? 1.0f / det : 0.0f;
        guess[0][r] -= inverse * (j[1][1][r] * f[0][r] - j[0][1][r] * f[1][r]);
        guess[1][r] -= inverse * (j[0][0][r] * f[1][r] - j[1][0][r] * f[0][r]);
    }
}

inline void subtract_step(const PerRow (&j)[3][3], const PerRow (&f)[3], const std::int32_t* open, PerRow (&guess)[3]) {
    for (int r = 0; r < kRows; ++r) {
        float minor[3][3];
        for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 3; ++b) {
                const int a1 = (a + 1) % 3, a2 = (a + 2) % 3, b1 = (b + 1) % 3, b2 = (b + 2) % 3;
                minor[a][b] = j[a1][b1][r] * j[a2][b2][r] - j[a1][b2][r] * j[a2][b1][r];
            }
        const float det = j[0][0][r] * minor[0][0] + j[0][1][r] * minor[0][1] + j[0][2][r] * minor[0][2];
        const bool regular = (det > 1e-6f) | (det < -1e-6f);
        const float inverse = (open[r] != 0) & regular ? 1.0f / det : 0.0f;
        for (int k = 0; k < 3; ++k)
            guess[k][r] -= inverse * (minor[0][k] * f[0][r] + minor[1][k] * f[1][r] + minor[2][k] * f[2][r]);
    }
}

template <int D>
inline void solve_rows(const ChainView& moving, const SolveRow* rows, size voxels, float tolerance, int iterations,
                       std::uint8_t* hard) {
    const float allowed = tolerance * tolerance;
    PerRow y[D], change[D];
    for (int k = 0; k < D; ++k)
        for (int r = 0; r < kRows; ++r) {
            y[k][r] = rows[r].guess[k];
            change[k][r] = 0.0f;
        }
    for (size x = 0; x < voxels; ++x) {
        PerRow at[D], target[D], guess[D], value[D], jacobian[D][D], f[D], squared;
        std::int32_t open[kRows];
        for (int k = 0; k < D; ++k)
            for (int r = 0; r < kRows; ++r) {
                at[k][r] = rows[r].start[k] + (k == D - 1 ? static_cast<float>(x) : 0.0f);
                target[k][r] = at[k][r] + rows[r].target[k * voxels + x];
                guess[k][r] = y[k][r] + change[k][r];
            }
        for (int r = 0; r < kRows; ++r) open[r] = 1;
        for (int iteration = 0; iteration <= iterations; ++iteration) {
            for (int k = 0; k < D; ++k)
                for (int r = 0; r < kRows; ++r) value[k][r] = guess[k][r];
            apply_steps<D>(moving, value, jacobian);
            for (int k = 0; k < D; ++k)
                for (int r = 0; r < kRows; ++r) f[k][r] = value[k][r] - target[k][r];
            for (int r = 0; r < kRows; ++r) squared[r] = 0.0f;
            for (int i = 0; i < D; ++i)
                for (int r = 0; r < kRows; ++r) {
                    float component = 0.0f;
                    for (int j = 0; j < D; ++j) component += moving.matrix[i][j] * f[j][r];
                    squared[r] += component * component;
                }
            // A row that is there does not move on, so that it does not depend on the others. One step is always taken.
            std::int32_t left = 0;
            for (int r = 0; r < kRows; ++r) {
                open[r] = (iteration == 0) | !(squared[r] <= allowed) ? 1 : 0;
                left += open[r];
            }
            if (left == 0 || iteration == iterations) break;
            subtract_step(jacobian, f, open, guess);
        }
        for (int k = 0; k < D; ++k)
            for (int r = 0; r < kRows; ++r) {
                // Where the method went astray its neighbours had better not follow.
                const float next = open[r] ? y[k][r] + change[k][r] : guess[k][r];
                const float moved = open[r] ? change[k][r] : next - y[k][r];
                change[k][r] = x > 0 ? moved : (k == D - 1 ? 1.0f : 0.0f);
                y[k][r] = next;
                rows[r].flow[k * rows[r].component + x] = next - at[k][r];
            }
        for (int r = 0; r < kRows; ++r) {
            rows[r].residual[x] = square_root(squared[r]);
            hard[r * voxels + x] = static_cast<std::uint8_t>(open[r]);
        }
    }
}

template <int D>
inline void displace_row(const ChainView& chain, const DisplaceRow& row) {
    for (size begin = 0; begin < row.voxels; begin += kRows) {
        const size length = row.voxels - begin < kRows ? row.voxels - begin : kRows;
        PerRow at[D], value[D], unused[D][D];
        for (int k = 0; k < D; ++k)
            for (int r = 0; r < kRows; ++r) {
                const size x = begin + (r < length ? r : 0);
                at[k][r] = row.start[k] + (k == D - 1 ? static_cast<float>(x) : 0.0f);
                value[k][r] = at[k][r] + row.first[k * row.voxels + x];
            }
        apply_steps<D>(chain, value, unused);
        for (int i = 0; i < D; ++i)
            for (int r = 0; r < length; ++r) {
                float moved = chain.offset[i] - at[i][r];
                for (int j = 0; j < D; ++j) moved += chain.matrix[i][j] * value[j][r];
                row.out[i * row.component + begin + r] = moved;
            }
    }
}

void displace_2d(const ChainView& chain, const DisplaceRow& row) {
    displace_row<2>(chain, row);
}

void displace_3d(const ChainView& chain, const DisplaceRow& row) {
    displace_row<3>(chain, row);
}

void solve_2d(const ChainView& moving, const SolveRow* rows, size voxels, float tolerance, int iterations,
              std::uint8_t* hard) {
    solve_rows<2>(moving, rows, voxels, tolerance, iterations, hard);
}

void solve_3d(const ChainView& moving, const SolveRow* rows, size voxels, float tolerance, int iterations,
              std::uint8_t* hard) {
    solve_rows<3>(moving, rows, voxels, tolerance, iterations, hard);
}

}  // namespace
}  // namespace modelaug
