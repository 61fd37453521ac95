// One sample: parameters -> pixels.
#pragma once

#include "modelaug/grid.hpp"

namespace modelaug {

// A linear model of an image: mean + sum_j coefficients[j] * modes[j], each channel clamped to its own range.
struct LinearTexture {
    const float* mean;    // (channels, pixels)
    const float* modes;   // (count, channels, pixels)
    const float* ranges;  // (channels, 2): lowest and highest value
    index_t count, channels, pixels;
};

// out: (channels, pixels). Modes are added in their order for every pixel, so the bits do not depend on the thread
// count.
void render_texture(const LinearTexture& texture, const double* coefficients, float* out, int threads);

}  // namespace modelaug
