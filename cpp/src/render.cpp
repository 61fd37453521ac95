#include "modelaug/render.hpp"

#include <algorithm>

#include "modelaug/parallel.hpp"

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

}  // namespace modelaug
