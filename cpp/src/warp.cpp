#include "modelaug/warp.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "modelaug/parallel.hpp"
#include "modelaug/simd.hpp"

namespace modelaug {
namespace {

using RowKernel = void (*)(const WarpRow&, float*);

// The rows of a batch's output.
template <typename T, int D>
struct Rows {
    const WarpBatch<T, D>& batch;
    Border border;
    std::array<std::int32_t, D> shape;
    index_t pixels, columns, count;

    Rows(const WarpBatch<T, D>& all, Border beyond)
        : batch(all),
          border(beyond),
          shape(narrow<D>(all.shape)),
          pixels(volume<D>(all.out_shape)),
          columns(all.out_shape[D - 1]),
          count(pixels / columns) {}

    // Row y of an image of the batch, of whose channels `channel` is one.
    template <typename Visit>
    void visit(const float* channel, index_t image, index_t y, const Visit& body) const {
        const std::array<std::int32_t, D> position = narrow<D>(row_start<D>(batch.out_shape, y));
        const float* field = batch.displacements + (batch.fields == 1 ? 0 : image) * D * pixels;
        body(WarpRow{channel, shape.data(), position.data(), field + y * columns, pixels, columns, border.constant,
                     static_cast<float>(border.fill)});
    }

    void warp(RowKernel kernel, const float* image, index_t channel, index_t y, float* out) const {
        visit(image, channel / batch.channels, y,
              [&](const WarpRow& row) { kernel(row, out + channel * pixels + y * columns); });
    }
};

// The image's extent in spline coefficients.
template <int D>
Shape<D> coefficient_shape(Shape<D> shape) {
    for (index_t& length : shape) length = spline_nodes(length);
    return shape;
}

// c: coefficients of the cubic B-spline that interpolates the image, mirrored about its border voxels. One axis after
// the other, the last from the image; what an axis has in front is skipped, to be filled by the axis itself.
template <int D>
void spline_coefficients(const float* image, const Shape<D>& shape, float* c, int threads) {
    const Shape<D> steps = strides<D>(coefficient_shape<D>(shape));
    for (int axis = D - 1; axis >= 0; --axis) {
        // Lines side by side: the nodes of the axes after this one. They start at the voxels of the axes before it.
        const index_t across = axis == D - 1 ? 1 : steps[axis], width = std::min(across, SplineLines::kWidth);
        const index_t strips = (across + width - 1) / width;
        index_t outer = 1, corner = 0;
        for (int before = 0; before < axis; ++before) {
            outer *= shape[before];
            corner += shape[before] > 1 ? steps[before] : 0;
        }
        parallel_for(outer * strips, threads, [&](index_t begin, index_t end) {
            std::vector<float> work(2 * (shape[axis] + 2 * SplineLines::kMargin) * width + 3 * SplineLines::kWidth);
            for (index_t task = begin; task < end; ++task) {
                const index_t line = task / strips, strip = task % strips * width;
                index_t rest = line;
                float* to = c + corner + strip;
                for (int before = axis - 1; before >= 0; --before) {
                    to += rest % shape[before] * steps[before];
                    rest /= shape[before];
                }
                const float* from =
                    axis == D - 1 ? image + line * shape[D - 1] : to + (shape[axis] > 1 ? steps[axis] : 0);
                const index_t from_step = axis == D - 1 ? 1 : steps[axis];
                simd().spline_coefficients(
                    {from, shape[axis], from_step, std::min(width, across - strip), to, steps[axis]}, work.data());
            }
        });
    }
}

}  // namespace

template <typename T, int D>
void warp_nearest(const WarpBatch<T, D>& batch, bool constant, T fill, T* out, int threads) {
    const index_t inputs = volume<D>(batch.shape), outputs = volume<D>(batch.out_shape);
    const Rows<T, D> rows(batch, Border{constant, 0.0});
    parallel_for(batch.count * rows.count, threads, [&](index_t begin, index_t end) {
        std::vector<std::int32_t> at(rows.columns);
        for (index_t task = begin; task < end; ++task) {
            const index_t image = task / rows.count, y = task % rows.count;
            rows.visit(nullptr, image, y, [&](const WarpRow& row) { simd<D>().warp_nearest(row, at.data()); });
            for (index_t c = 0; c < batch.channels; ++c) {
                const T* from = batch.images + (image * batch.channels + c) * inputs;
                T* to = out + (image * batch.channels + c) * outputs + y * rows.columns;
                for (index_t x = 0; x < rows.columns; ++x) to[x] = at[x] < 0 ? fill : from[at[x]];
            }
        }
    });
}

template <int D>
void warp_linear(const WarpBatch<float, D>& batch, Border border, float* out, int threads) {
    // Channels are the innermost loop: a row of the field is read once.
    const RowKernel kernel = simd<D>().warp_linear;
    const Rows<float, D> rows(batch, border);
    parallel_for(batch.count * rows.count, threads, [&](index_t begin, index_t end) {
        for (index_t task = begin; task < end; ++task)
            for (index_t c = 0; c < batch.channels; ++c) {
                const index_t channel = task / rows.count * batch.channels + c;
                rows.warp(kernel, batch.images + channel * volume<D>(batch.shape), channel, task % rows.count, out);
            }
    });
}

template <int D>
void warp_cubic(const WarpBatch<float, D>& batch, Border border, float* out, int threads) {
    const RowKernel kernel = simd<D>().warp_cubic;
    const Rows<float, D> rows(batch, border);
    const index_t total = batch.count * batch.channels;
    // Whole images to each thread, so that their coefficients stay in its cache, unless there are too few.
    const bool whole = total % threads == 0 || total >= 4 * threads;
    parallel_for(total, whole ? threads : 1, [&](index_t begin, index_t end) {
        std::vector<float> coefficients(volume<D>(coefficient_shape<D>(batch.shape)));
        for (index_t channel = begin; channel < end; ++channel) {
            spline_coefficients<D>(batch.images + channel * volume<D>(batch.shape), batch.shape, coefficients.data(),
                                   whole ? 1 : threads);
            parallel_for(rows.count, whole ? 1 : threads, [&](index_t first, index_t last) {
                for (index_t y = first; y < last; ++y) rows.warp(kernel, coefficients.data(), channel, y, out);
            });
        }
    });
}

#define MODELAUG_NEAREST(T)                                                     \
    template void warp_nearest<T, 2>(const WarpBatch<T, 2>&, bool, T, T*, int); \
    template void warp_nearest<T, 3>(const WarpBatch<T, 3>&, bool, T, T*, int);
MODELAUG_NEAREST(std::uint8_t)
MODELAUG_NEAREST(std::uint16_t)
MODELAUG_NEAREST(std::uint32_t)
MODELAUG_NEAREST(std::uint64_t)
#undef MODELAUG_NEAREST
template void warp_linear<2>(const WarpBatch<float, 2>&, Border, float*, int);
template void warp_linear<3>(const WarpBatch<float, 3>&, Border, float*, int);
template void warp_cubic<2>(const WarpBatch<float, 2>&, Border, float*, int);
template void warp_cubic<3>(const WarpBatch<float, 3>&, Border, float*, int);

}  // namespace modelaug
