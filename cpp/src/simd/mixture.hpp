// Splines along rows, and images mixed by them. A part of kernels.cpp.
#pragma once

#include "modelaug/simd.hpp"
#include "portable.hpp"

namespace modelaug {
namespace {

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
    if (axis.run_count > voxels / 6) {
        // Few voxels in a cell: look the control points up for each.
        for (size x = 0; x < voxels; ++x) {
            const std::int32_t cell = cells[x];
            out[x] = w0[x] * line[cell] + w1[x] * line[cell + 1] + w2[x] * line[cell + 2] + w3[x] * line[cell + 3];
        }
        return;
    }
    for (size run = 0; run < axis.run_count; ++run) {
        const std::int32_t begin = axis.runs[run], end = axis.runs[run + 1], cell = cells[begin];
        const float a = line[cell], b = line[cell + 1], c = line[cell + 2], d = line[cell + 3];
        for (std::int32_t x = begin; x < end; ++x) out[x] = a * w0[x] + b * w1[x] + c * w2[x] + d * w3[x];
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

}  // namespace
}  // namespace modelaug
