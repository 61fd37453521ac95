// Compiled once for each instruction set, with MODELAUG_ISA naming it. Raw pointers and functions of this file only: a
// template or inline function of another header, compiled here for a new instruction set, could be the copy that the
// linker keeps for everybody, old processors included.
#include <math.h>

#include "modelaug/simd.hpp"

#define MODELAUG_JOIN_(a, b) a##b
#define MODELAUG_JOIN(a, b) MODELAUG_JOIN_(a, b)

#if defined(_MSC_VER)
#define MODELAUG_RESTRICT __restrict
#else
#define MODELAUG_RESTRICT __restrict__
#endif

namespace modelaug {
namespace {

using size = std::ptrdiff_t;

inline float square_root(float x) {
#if defined(__GNUC__)
    return __builtin_sqrtf(x);
#else
    return static_cast<float>(sqrt(static_cast<double>(x)));
#endif
}

// --- splines along rows

void collapse(const float* w, size step, const float* MODELAUG_RESTRICT slabs, size inner,
              float* MODELAUG_RESTRICT out) {
    const float a = w[0], b = w[step], c = w[2 * step], d = w[3 * step];
    const float *second = slabs + inner, *third = second + inner, *fourth = third + inner;
    for (size i = 0; i < inner; ++i) out[i] = a * slabs[i] + b * second[i] + c * third[i] + d * fourth[i];
}

void expand(const AxisView& axis, const float* MODELAUG_RESTRICT line, float* MODELAUG_RESTRICT out) {
    const std::int32_t* MODELAUG_RESTRICT cells = axis.cells;
    const float *MODELAUG_RESTRICT w0 = axis.weights, *MODELAUG_RESTRICT w1 = w0 + axis.voxels,
                                   *MODELAUG_RESTRICT w2 = w1 + axis.voxels, *MODELAUG_RESTRICT w3 = w2 + axis.voxels;
    const size voxels = axis.voxels;
    if (cells[voxels - 1] + 1 > voxels / 6) {
        // Few voxels in a cell: look the control points up for each.
        for (size x = 0; x < voxels; ++x) {
            const std::int32_t cell = cells[x];
            out[x] = w0[x] * line[cell] + w1[x] * line[cell + 1] + w2[x] * line[cell + 2] + w3[x] * line[cell + 3];
        }
        return;
    }
    for (size begin = 0; begin < voxels;) {
        const std::int32_t cell = cells[begin];
        size end = begin + 1;
        while (end < voxels && cells[end] == cell) ++end;
        const float a = line[cell], b = line[cell + 1], c = line[cell + 2], d = line[cell + 3];
        for (size x = begin; x < end; ++x) out[x] = a * w0[x] + b * w1[x] + c * w2[x] + d * w3[x];
        begin = end;
    }
}

// --- mixtures

// e^x for x <= 0 to 3e-7 relative, without a branch, so that loops over it vectorize: 2^n by the exponent's bits, times
// a polynomial in the rest.
inline float exponential(float x) {
    const float bounded = x < -80.0f ? -80.0f : x;
    const float scaled = bounded * 1.44269504f;
    const std::int32_t whole = static_cast<std::int32_t>(scaled - 0.5f);  // scaled <= 0: rounds to the nearest
    const float t = (scaled - static_cast<float>(whole)) * 0.693147181f;
    const float p = 1.0f + t * (1.0f + t * (0.5f + t * (0.166666667f + t * (0.0416666667f + t * 0.00833333333f))));
    union {
        std::int32_t bits;
        float value;
    } power;
    power.bits = (whole + 127) << 23;
    return p * power.value;
}

void shares(const MixtureRow& row, float sharpness, float* MODELAUG_RESTRICT shares, float* MODELAUG_RESTRICT total) {
    const size voxels = row.voxels;
    // The largest of each voxel, kept in `total` for a while.
    for (size x = 0; x < voxels; ++x) total[x] = shares[x];
    for (size k = 1; k < row.count; ++k) {
        const float* MODELAUG_RESTRICT share = shares + k * voxels;
        for (size x = 0; x < voxels; ++x) total[x] = share[x] > total[x] ? share[x] : total[x];
    }
    constexpr size kBlock = 64;
    float scale[kBlock], highest[kBlock], sum[kBlock];
    for (size begin = 0; begin < voxels; begin += kBlock) {
        const size length = voxels - begin < kBlock ? voxels - begin : kBlock;
        for (size x = 0; x < length; ++x) {
            scale[x] = sharpness * row.inverse_deviation[begin + x];
            highest[x] = total[begin + x];
            sum[x] = 0.0f;
        }
        for (size k = 0; k < row.count; ++k) {
            float* MODELAUG_RESTRICT share = shares + k * voxels + begin;
            for (size x = 0; x < length; ++x) {
                share[x] = exponential(scale[x] * (share[x] - highest[x]));
                sum[x] += share[x];
            }
        }
        for (size x = 0; x < length; ++x) total[begin + x] = sum[x];
    }
}

void mix(const MixtureRow& row, size c, const float* MODELAUG_RESTRICT factors, float* MODELAUG_RESTRICT out) {
    const size voxels = row.voxels;
    const float* MODELAUG_RESTRICT images = row.images + c * row.channel;
    for (size x = 0; x < voxels; ++x) out[x] = factors[x] * images[x];
    size k = 1;
    for (; k + 3 < row.count; k += 4) {
        const float *MODELAUG_RESTRICT f0 = factors + k * voxels, *MODELAUG_RESTRICT f1 = f0 + voxels,
                                       *MODELAUG_RESTRICT f2 = f1 + voxels, *MODELAUG_RESTRICT f3 = f2 + voxels;
        const float *MODELAUG_RESTRICT i0 = images + k * row.subject, *MODELAUG_RESTRICT i1 = i0 + row.subject,
                                       *MODELAUG_RESTRICT i2 = i1 + row.subject,
                                       *MODELAUG_RESTRICT i3 = i2 + row.subject;
        for (size x = 0; x < voxels; ++x)
            out[x] = out[x] + f0[x] * i0[x] + f1[x] * i1[x] + f2[x] * i2[x] + f3[x] * i3[x];
    }
    for (; k < row.count; ++k) {
        const float *MODELAUG_RESTRICT f = factors + k * voxels, *MODELAUG_RESTRICT image = images + k * row.subject;
        for (size x = 0; x < voxels; ++x) out[x] += f[x] * image[x];
    }
}

// --- warps

// A coordinate as voxel and fraction. The displacement's own fraction is exact, so positions far along an axis lose
// nothing.
struct Position {
    std::int32_t low;
    float t;
    bool outside;
};

inline Position locate(std::int32_t at, float displacement, std::int32_t length) {
    float u = displacement < -1e6f ? -1e6f : displacement;
    u = u > 1e6f ? 1e6f : u;
    std::int32_t whole = static_cast<std::int32_t>(u);
    whole -= static_cast<float>(whole) > u ? 1 : 0;
    float t = u - static_cast<float>(whole);
    std::int32_t low = at + whole;
    const bool below = low < 0, above = low >= length - 1;
    const bool outside = below | (low > length - 1) | (above & (t > 0.0f));
    t = below ? 0.0f : t;
    low = below ? 0 : low;
    const std::int32_t last = length > 1 ? length - 2 : 0;
    t = low > last ? (length > 1 ? 1.0f : 0.0f) : t;
    low = low > last ? last : low;
    t = length > 1 ? t : 0.0f;
    return {low, t, outside};
}

// Exactly a at t = 0 and b at t = 1.
inline float between(float a, float b, float t) {
    return (1.0f - t) * a + t * b;
}

void warp_linear_2d(const WarpRow& row, float* MODELAUG_RESTRICT out) {
    const float* MODELAUG_RESTRICT image = row.image;
    const float *MODELAUG_RESTRICT down = row.displacement, *MODELAUG_RESTRICT across = down + row.component;
    const std::int32_t h = row.shape[0], w = row.shape[1], y = row.position[0], first = row.position[1];
    const std::int32_t below = h > 1 ? w : 0, right = w > 1 ? 1 : 0;
    const bool constant = row.constant;
    const float fill = row.fill;
    const std::int32_t voxels = static_cast<std::int32_t>(row.voxels);
    for (std::int32_t x = 0; x < voxels; ++x) {
        const Position r = locate(y, down[x], h), c = locate(first + x, across[x], w);
        const std::int32_t at = r.low * w + c.low;
        const float top = between(image[at], image[at + right], c.t);
        const float bottom = between(image[at + below], image[at + below + right], c.t);
        const float value = between(top, bottom, r.t);
        out[x] = constant & (r.outside | c.outside) ? fill : value;
    }
}

void warp_linear_3d(const WarpRow& row, float* MODELAUG_RESTRICT out) {
    const float* MODELAUG_RESTRICT image = row.image;
    const float *MODELAUG_RESTRICT deep = row.displacement, *MODELAUG_RESTRICT down = deep + row.component,
                                   *MODELAUG_RESTRICT across = down + row.component;
    const std::int32_t n = row.shape[0], h = row.shape[1], w = row.shape[2];
    const std::int32_t z = row.position[0], y = row.position[1], first = row.position[2];
    const std::int32_t behind = n > 1 ? h * w : 0, below = h > 1 ? w : 0, right = w > 1 ? 1 : 0;
    const bool constant = row.constant;
    const float fill = row.fill;
    const std::int32_t voxels = static_cast<std::int32_t>(row.voxels);
    for (std::int32_t x = 0; x < voxels; ++x) {
        const Position p = locate(z, deep[x], n), r = locate(y, down[x], h), c = locate(first + x, across[x], w);
        const std::int32_t at = (p.low * h + r.low) * w + c.low, far = at + behind;
        const float a = between(image[at], image[at + right], c.t);
        const float b = between(image[at + below], image[at + below + right], c.t);
        const float e = between(image[far], image[far + right], c.t);
        const float f = between(image[far + below], image[far + below + right], c.t);
        const float near = between(a, b, r.t), other = between(e, f, r.t);
        const float value = between(near, other, p.t);
        out[x] = constant & (p.outside | r.outside | c.outside) ? fill : value;
    }
}

// --- correspondence

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

#define MODELAUG_STRING_(name) #name
#define MODELAUG_STRING(name) MODELAUG_STRING_(name)

}  // namespace

extern const Simd MODELAUG_JOIN(simd_, MODELAUG_ISA);
const Simd MODELAUG_JOIN(simd_, MODELAUG_ISA) = {MODELAUG_STRING(MODELAUG_ISA),
                                                 collapse,
                                                 expand,
                                                 shares,
                                                 mix,
                                                 warp_linear_2d,
                                                 warp_linear_3d,
                                                 displace_2d,
                                                 displace_3d,
                                                 solve_2d,
                                                 solve_3d};

}  // namespace modelaug
