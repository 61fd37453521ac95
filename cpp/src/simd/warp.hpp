// Linear interpolation. A part of kernels.cpp.
#pragma once

#include "modelaug/simd.hpp"
#include "portable.hpp"

namespace modelaug {
namespace {

// A coordinate as voxel and fraction. The displacement's own fraction is exact, so positions far along an axis lose
// nothing.
struct Position {
    std::int32_t low;
    float t;
    bool outside;
};

constexpr float kSlack = 1e-3f;  // voxels beyond the outermost ones that are not yet outside: fields are not exact

inline Position locate(std::int32_t at, float displacement, std::int32_t length) {
    float u = displacement < -1e6f ? -1e6f : displacement;
    u = u > 1e6f ? 1e6f : u;
    std::int32_t whole = static_cast<std::int32_t>(u);
    whole -= static_cast<float>(whole) > u ? 1 : 0;
    float t = u - static_cast<float>(whole);
    std::int32_t low = at + whole;
    const bool below = low < 0;
    const bool outside =
        (low < -1) | (below & (t < 1.0f - kSlack)) | (low > length - 1) | ((low == length - 1) & (t > kSlack));
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

}  // namespace
}  // namespace modelaug
