#include "modelaug/render.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "modelaug/axis_table.hpp"
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

namespace {

// Calls body(row, y) for all rows y of a mixture, with all fields' control points along the row at hand.
template <int D, typename Body>
void for_mixture_rows(const FieldMixture<D>& mixture, const float* coefficients, float* out, int threads,
                      const Body& body) {
    const Shape<D> nodes = Lattice<D>{nullptr, 0, mixture.cells, mixture.grid}.nodes();
    const index_t pixels = volume<D>(mixture.grid), columns = mixture.grid[D - 1], width = nodes[D - 1];
    const index_t lines = volume<D>(nodes) / width, line = mixture.count * width;
    const index_t blocks = (columns + kBlock - 1) / kBlock;
    // The fields' lines side by side: one pass collapses those of all.
    std::vector<float> arranged(lines * line);
    for (index_t k = 0; k < mixture.count; ++k)
        for (index_t i = 0; i < lines; ++i)
            std::copy_n(coefficients + (k * lines + i) * width, width, arranged.data() + i * line + k * width);
    std::vector<AxisTable> tables;
    for (int axis = 0; axis < D; ++axis) tables.emplace_back(mixture.grid[axis], mixture.cells[axis]);
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        std::vector<float> plane(D == 3 ? nodes[D - 2] * line : 0), interpolated(2 * line),
            fields(mixture.count * kBlock), maxima(blocks * kBlock);
        std::vector<std::int32_t> selected(mixture.count);
        MixtureRow row{tables[D - 1].view(),
                       nullptr,
                       nullptr,
                       nullptr,
                       mixture.ranges,
                       width,
                       mixture.count,
                       mixture.channels,
                       fields.data(),
                       selected.data(),
                       maxima.data(),
                       std::numeric_limits<float>::infinity(),
                       nullptr,
                       pixels};
        for (index_t y = begin, current = -1; y < end; ++y) {
            const float* lattice = arranged.data();
            if constexpr (D == 3) {
                const index_t z = y / mixture.grid[1];
                if (z != current) tables[0].interpolate_slabs(z, lattice, nodes[1] * line, plane.data());
                current = z;
                lattice = plane.data();
            }
            float* const here = interpolated.data() + y % 2 * line;
            tables[D - 2].interpolate_slabs(y % mixture.grid[D - 2], lattice, line, here);
            // Fields are averages of their control points, and change no more than those.
            if (row.lines) row.max_change = 1.0001f * simd().max_difference(here, row.lines, line) + 1e-4f;
            row.lines = here;
            row.images = mixture.images + y * blocks * mixture.count * mixture.channels * kBlock;
            row.inverse_deviation = mixture.inverse_deviation + y * columns;
            row.out = out + y * columns;
            body(row, y);
        }
    });
}

}  // namespace

template <int D>
void render_fields(const FieldMixture<D>& mixture, const float* mean, const float* coefficients, float* out,
                   int threads) {
    for_mixture_rows<D>(mixture, coefficients, out, threads, [&](const MixtureRow& row, index_t y) {
        simd().mix_fields(row, mean + y * mixture.grid[D - 1]);
    });
}

template <int D>
void render_patchwork(const FieldMixture<D>& mixture, float sharpness, const float* gain, const float* bias,
                      const float* coefficients, float* out, int threads) {
    for_mixture_rows<D>(mixture, coefficients, out, threads,
                        [&](const MixtureRow& row, index_t) { simd().mix_patchwork(row, sharpness, gain, bias); });
}

#define MODELAUG_INSTANTIATE(D)                                                                                        \
    template void render_fields<D>(const FieldMixture<D>&, const float*, const float*, float*, int);                   \
    template void render_patchwork<D>(const FieldMixture<D>&, float, const float*, const float*, const float*, float*, \
                                      int);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
