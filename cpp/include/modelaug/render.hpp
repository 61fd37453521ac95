// One sample: parameters -> pixels.
#pragma once

#include "modelaug/grid.hpp"
#include "modelaug/simd.hpp"

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

// Images mixed by smooth random fields: field k is a cubic B-spline with the control points coefficients[k] on a
// lattice as of bspline.hpp, divided pointwise by its standard deviation.
template <int D>
struct FieldMixture {
    // (rows, blocks, count, channels, kBlock): rows of the grid in blocks of kBlock voxels, of which the last may
    // hold fewer; what belongs to one block is one piece of memory.
    const float* images;
    const float* inverse_deviation;  // (*grid): 1 / standard deviation of a field whose control points are drawn
    const float* ranges;             // (channels, 2): lowest and highest value of the result
    index_t count, channels;
    Shape<D> grid, cells;
};

// out = mean + sum_k field_k images_k, (channels, *grid), where mean is (channels, *grid).
template <int D>
void render_fields(const FieldMixture<D>& mixture, const float* mean, const float* coefficients, float* out,
                   int threads);

// out = bias + gain * sum_k share_k images_k, (channels, *grid), where share is the softmax over k of sharpness *
// field_k, in which shares below a thousandth of the largest are 0 and the others smaller by that; gain and bias are
// (channels).
template <int D>
void render_patchwork(const FieldMixture<D>& mixture, float sharpness, const float* gain, const float* bias,
                      const float* coefficients, float* out, int threads);

}  // namespace modelaug
