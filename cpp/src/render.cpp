#include "modelaug/render.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/parallel.hpp"

namespace modelaug {
namespace {

// For every voxel along an axis: its cell and four weights. Weights of one kind lie side by side, so that the voxels of
// a cell are one contiguous run.
struct AxisWeights {
    std::vector<index_t> cells;
    std::array<std::vector<float>, 4> weights;

    AxisWeights(index_t voxels, index_t count) {
        for (index_t x = 0; x < voxels; ++x) {
            const Location where = locate(static_cast<double>(x), voxels, count);
            double w[4];
            cubic_weights(where.t, w);
            cells.push_back(where.cell);
            for (int tap = 0; tap < 4; ++tap) weights[tap].push_back(static_cast<float>(w[tap]));
        }
    }

    // out[i] = the four slabs of `inner` values around voxel x, combined.
    void collapse(index_t x, const float* lattice, index_t inner, float* out) const {
        const float* slab = lattice + cells[x] * inner;
        const float a = weights[0][x], b = weights[1][x], c = weights[2][x], d = weights[3][x];
        for (index_t i = 0; i < inner; ++i)
            out[i] = a * slab[i] + b * slab[i + inner] + c * slab[i + 2 * inner] + d * slab[i + 3 * inner];
    }

    // out[x] = the spline with control points `row` at all voxels of the axis.
    void expand(const float* row, float* out) const {
        const index_t voxels = static_cast<index_t>(cells.size());
        for (index_t begin = 0; begin < voxels;) {
            const index_t cell = cells[begin];
            index_t end = begin + 1;
            while (end < voxels && cells[end] == cell) ++end;
            const float a = row[cell], b = row[cell + 1], c = row[cell + 2], d = row[cell + 3];
            for (index_t x = begin; x < end; ++x)
                out[x] = a * weights[0][x] + b * weights[1][x] + c * weights[2][x] + d * weights[3][x];
            begin = end;
        }
    }
};

// Evaluates fields row by row, each outer axis collapsed once for all that lies inside it.
template <int D>
class FieldRows {
  public:
    FieldRows(const FieldMixture<D>& mixture, const float* coefficients)
        : mixture_(mixture), coefficients_(coefficients) {
        for (int axis = 0; axis < D; ++axis) axes_.emplace_back(mixture.grid[axis], mixture.cells[axis]);
        inner_ = mixture.cells[D - 1] + 3;
        row_.resize(inner_);
        if constexpr (D == 3) {
            planes_.resize(mixture.count * (mixture.cells[1] + 3) * inner_);
            collapsed_.assign(mixture.count, -1);
        }
    }

    // out[x] = field k, not yet divided by its deviation, along row y (numbered in memory order).
    void row(index_t k, index_t y, float* out) {
        const float* lattice = coefficients_ + k * mixture_.nodes();
        if constexpr (D == 2) {
            axes_[0].collapse(y, lattice, inner_, row_.data());
        } else {
            const index_t size = (mixture_.cells[1] + 3) * inner_, plane = y / mixture_.grid[1];
            float* collapsed = planes_.data() + k * size;
            if (collapsed_[k] != plane) axes_[0].collapse(plane, lattice, size, collapsed);
            collapsed_[k] = plane;
            axes_[1].collapse(y % mixture_.grid[1], collapsed, inner_, row_.data());
        }
        axes_[D - 1].expand(row_.data(), out);
    }

  private:
    const FieldMixture<D>& mixture_;
    const float* coefficients_;
    std::vector<AxisWeights> axes_;
    index_t inner_;
    std::vector<float> row_, planes_;
    std::vector<index_t> collapsed_;  // the plane that each field was last collapsed to
};

// e^x for x <= 0 to 3e-7 relative, without a branch, so that loops over it vectorize: 2^n by the exponent's bits, times
// a polynomial in the rest.
inline float exponential(float x) {
    const float scaled = std::max(x, -80.0f) * 1.44269504f;
    const float shifted = scaled + 12582912.0f;  // 1.5 * 2^23: the sum's last bits are the nearest integer
    const float whole = shifted - 12582912.0f;
    const float t = (scaled - whole) * 0.693147181f;
    const float p = 1.0f + t * (1.0f + t * (0.5f + t * (0.166666667f + t * (0.0416666667f + t * 0.00833333333f))));
    const std::int32_t exponent = static_cast<std::int32_t>(whole);
    return p * std::bit_cast<float>((exponent + 127) << 23);
}

}  // namespace

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

template <int D>
void render_fields(const FieldMixture<D>& mixture, const float* mean, const float* coefficients, float* out,
                   int threads) {
    const index_t pixels = volume<D>(mixture.grid), columns = mixture.grid[D - 1];
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        FieldRows<D> fields(mixture, coefficients);
        std::vector<float> field(columns), sums(mixture.channels * columns);
        for (index_t y = begin; y < end; ++y) {
            const index_t start = y * columns;
            std::fill(sums.begin(), sums.end(), 0.0f);
            for (index_t k = 0; k < mixture.count; ++k) {
                fields.row(k, y, field.data());
                for (index_t c = 0; c < mixture.channels; ++c) {
                    const float* image = mixture.images + (k * mixture.channels + c) * pixels + start;
                    float* sum = sums.data() + c * columns;
                    for (index_t x = 0; x < columns; ++x) sum[x] += field[x] * image[x];
                }
            }
            for (index_t c = 0; c < mixture.channels; ++c) {
                const float low = mixture.ranges[2 * c], high = mixture.ranges[2 * c + 1];
                const float* sum = sums.data() + c * columns;
                const index_t offset = c * pixels + start;
                for (index_t x = 0; x < columns; ++x)
                    out[offset + x] =
                        std::clamp(mean[offset + x] + mixture.inverse_deviation[start + x] * sum[x], low, high);
            }
        }
    });
}

template <int D>
void render_patchwork(const FieldMixture<D>& mixture, float sharpness, const float* gain, const float* bias,
                      const float* coefficients, float* out, int threads) {
    const index_t pixels = volume<D>(mixture.grid), columns = mixture.grid[D - 1];
    parallel_for(pixels / columns, threads, [&](index_t begin, index_t end) {
        FieldRows<D> fields(mixture, coefficients);
        std::vector<float> shares(mixture.count * columns), highest(columns), total(columns), sum(columns);
        for (index_t y = begin; y < end; ++y) {
            const index_t start = y * columns;
            for (index_t k = 0; k < mixture.count; ++k) {
                float* share = shares.data() + k * columns;
                fields.row(k, y, share);
                for (index_t x = 0; x < columns; ++x) highest[x] = k == 0 ? share[x] : std::max(highest[x], share[x]);
            }
            std::fill(total.begin(), total.end(), 0.0f);
            for (index_t k = 0; k < mixture.count; ++k) {
                float* share = shares.data() + k * columns;
                for (index_t x = 0; x < columns; ++x) {
                    share[x] = exponential(sharpness * mixture.inverse_deviation[start + x] * (share[x] - highest[x]));
                    total[x] += share[x];
                }
            }
            for (index_t c = 0; c < mixture.channels; ++c) {
                std::fill(sum.begin(), sum.end(), 0.0f);
                for (index_t k = 0; k < mixture.count; ++k) {
                    const float* share = shares.data() + k * columns;
                    const float* image = mixture.images + (k * mixture.channels + c) * pixels + start;
                    for (index_t x = 0; x < columns; ++x) sum[x] += share[x] * image[x];
                }
                const float low = mixture.ranges[2 * c], high = mixture.ranges[2 * c + 1];
                float* target = out + c * pixels + start;
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
