// One sample: parameters -> pixels.
#pragma once

#include "modelaug/grid.hpp"

namespace modelaug {

// A linear model of an image: mean + sum_j coefficients[j] * modes[j], clamped to [low, high].
struct LinearTexture {
    const float* mean;   // (pixels)
    const float* modes;  // (count, pixels)
    index_t count, pixels;
    float low, high;
};

// out: (pixels). Modes are added in their order for every pixel, so the bits do not depend on the thread count.
void render_texture(const LinearTexture& texture, const double* coefficients, float* out, int threads);

}  // namespace modelaug
