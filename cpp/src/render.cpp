#include "modelaug/render.hpp"

#include <algorithm>
#include <vector>

#include "modelaug/parallel.hpp"
#include "modelaug/rows.hpp"

namespace modelaug {
void render_texture(const LinearTexture& texture, const double* coefficients, float* out, int threads) {
    constexpr index_t kTile = 2048;  // the sum stays in the first-level cache while the modes stream by
    const index_t tiles = (texture.pixels + kTile - 1) / kTile, total = texture.channels * texture.pixels;
    parallel_for(texture.channels * tiles, threads, [&](index_t first, index_t last) {
        for (index_t tile = first; tile < last; ++tile) {
            const index_t channel = tile / tiles, start = channel * texture.pixels;
            const index_t begin = start + tile % tiles * kTile;
            const index_t end = std::min(begin + kTile, start + texture.pixels);
            std::copy(texture.mean + begin, texture.mean + end, out + begin);
            for (index_t j = 0; j < texture.count; ++j) {
                const float* mode = texture.modes + j * total;
                const float coefficient = static_cast<float>(coefficients[j]);
                for (index_t i = begin; i < end; ++i) out[i] += coefficient * mode[i];
            }
            const float low = texture.ranges[2 * channel], high = texture.ranges[2 * channel + 1];
            for (index_t i = begin; i < end; ++i) out[i] = std::clamp(out[i], low, high);
        }
    });
}

namespace {

// The rows of a mixture, from the first voxel of row y on.
template <int D>
MixtureRow mixture_row(const FieldMixture<D>& mixture, index_t y) {
    const index_t pixels = volume<D>(mixture.grid), columns = mixture.grid[D - 1];
    return {mixture.images + y * columns,
            mixture.channels * pixels,
            pixels,
            mixture.inverse_deviation + y * columns,
            mixture.count,
            columns};
}

}  // namespace

template <int D>
void render_fields(const FieldMixture<D>& mixture, const float* mean, const float* coefficients, float* out,
                   int threads) {
    const index_t pixels = volume<D>(mixture.grid), columns = mixture.grid[D - 1];
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        LatticeRows<D> fields(coefficients, mixture.count, mixture.cells, mixture.grid);
        std::vector<float> values(mixture.count * columns), sum(columns);
        for (index_t y = begin; y < end; ++y) {
            for (index_t k = 0; k < mixture.count; ++k) fields.row(k, y, values.data() + k * columns);
            const MixtureRow row = mixture_row<D>(mixture, y);
            for (index_t c = 0; c < mixture.channels; ++c) {
                simd().mix(row, c, values.data(), sum.data());
                const float low = mixture.ranges[2 * c], high = mixture.ranges[2 * c + 1];
                const index_t offset = c * pixels + y * columns;
                for (index_t x = 0; x < columns; ++x)
                    out[offset + x] = std::clamp(mean[offset + x] + row.inverse_deviation[x] * sum[x], low, high);
            }
        }
    });
}

template <int D>
void render_patchwork(const FieldMixture<D>& mixture, float sharpness, const float* gain, const float* bias,
                      const float* coefficients, float* out, int threads) {
    const index_t pixels = volume<D>(mixture.grid), columns = mixture.grid[D - 1];
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        LatticeRows<D> fields(coefficients, mixture.count, mixture.cells, mixture.grid);
        std::vector<float> shares(mixture.count * columns), total(columns), sum(columns);
        for (index_t y = begin; y < end; ++y) {
            for (index_t k = 0; k < mixture.count; ++k) fields.row(k, y, shares.data() + k * columns);
            const MixtureRow row = mixture_row<D>(mixture, y);
            simd().shares(row, sharpness, shares.data(), total.data());
            for (index_t c = 0; c < mixture.channels; ++c) {
                simd().mix(row, c, shares.data(), sum.data());
                const float low = mixture.ranges[2 * c], high = mixture.ranges[2 * c + 1];
                float* target = out + c * pixels + y * columns;
                for (index_t x = 0; x < columns; ++x)
                    target[x] = std::clamp(bias[c] + gain[c] * (sum[x] / total[x]), low, high);
            }
        }
    });
}

#define MODELAUG_INSTANTIATE(D)                                                                                        \
    template void render_fields<D>(const FieldMixture<D>&, const float*, const float*, float*, int);                   \
    template void render_patchwork<D>(const FieldMixture<D>&, float, const float*, const float*, const float*, float*, \
                                      int);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
