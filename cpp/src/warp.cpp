#include "modelaug/warp.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/interpolate.hpp"
#include "modelaug/parallel.hpp"
#include "modelaug/simd.hpp"

namespace modelaug {
namespace {

constexpr double kSlack = 1e-3;  // voxels beyond the outermost ones that are not yet outside: fields are not exact

template <int D>
bool outside(const Point<D>& point, const Shape<D>& shape) {
    for (int axis = 0; axis < D; ++axis)
        if (!(point[axis] >= -kSlack && point[axis] <= static_cast<double>(shape[axis] - 1) + kSlack)) return true;
    return false;
}

// Calls sample(image, point) for every output voxel and stores what it gives for each channel, or the fill.
// lookup(image, point, c) reads channel c of an image at a point; prepare(point) does what all channels share.
template <typename T, int D, typename Prepare, typename Lookup>
void warp_rows(const WarpBatch<T, D>& batch, bool constant, T fill, T* out, int threads, const Prepare& prepare,
               const Lookup& lookup) {
    const index_t pixels = volume<D>(batch.out_shape);
    const index_t rows = pixels / batch.out_shape[D - 1];
    parallel_for(batch.count * rows, threads, [&](index_t begin, index_t end) {
        for (index_t first = begin; first < end;) {
            const index_t image = first / rows;
            const index_t last = std::min(end, (image + 1) * rows);
            const Channels<const float, D> field{batch.displacements + (batch.fields == 1 ? 0 : image) * D * pixels, D,
                                                 batch.out_shape};
            T* target = out + image * batch.channels * pixels;
            for_rows<D>(batch.out_shape, first - image * rows, last - image * rows,
                        [&](const Shape<D>& position, index_t index) {
                            const Point<D> point = displaced<D>(field, position, index);
                            if (constant && outside<D>(point, batch.shape)) {
                                for (index_t c = 0; c < batch.channels; ++c) target[c * pixels + index] = fill;
                                return;
                            }
                            const auto stencil = prepare(point);
                            for (index_t c = 0; c < batch.channels; ++c)
                                target[c * pixels + index] = lookup(image * batch.channels + c, stencil);
                        });
            first = last;
        }
    });
}

// In place: values -> coefficients of the interpolating cubic B-spline along one line of n samples.
void prefilter_line(double* c, index_t n, index_t stride) {
    if (n == 1) return;
    const double pole = std::sqrt(3.0) - 2.0;
    for (index_t i = 0; i < n; ++i) c[i * stride] *= 6.0;
    // The causal filter starts from the sum over the mirrored, periodic signal; both directions of it in one pass.
    const double whole = std::pow(pole, static_cast<double>(n - 1));
    double forward = pole, backward = whole * whole / pole;
    double sum = c[0] + whole * c[(n - 1) * stride];
    for (index_t i = 1; i < n - 1; ++i) {
        sum += (forward + backward) * c[i * stride];
        forward *= pole;
        backward /= pole;
    }
    c[0] = sum / (1.0 - whole * whole);
    for (index_t i = 1; i < n; ++i) c[i * stride] += pole * c[(i - 1) * stride];
    c[(n - 1) * stride] = pole / (pole * pole - 1.0) * (c[(n - 1) * stride] + pole * c[(n - 2) * stride]);
    for (index_t i = n - 2; i >= 0; --i) c[i * stride] = pole * (c[(i + 1) * stride] - c[i * stride]);
}

template <int D>
void prefilter(double* c, const Shape<D>& shape) {
    const Shape<D> step = strides<D>(shape);
    const index_t pixels = volume<D>(shape);
    for (int axis = 0; axis < D; ++axis)
        for (index_t outer = 0; outer < pixels; outer += step[axis] * shape[axis])
            for (index_t inner = 0; inner < step[axis]; ++inner)
                prefilter_line(c + outer + inner, shape[axis], step[axis]);
}

index_t mirrored(index_t i, index_t n) {
    if (n == 1) return 0;
    if (i < 0) i = -i;
    const index_t period = 2 * (n - 1);
    i %= period;
    return i < n ? i : period - i;
}

template <int D>
struct CubicStencil {
    index_t offsets[D][4];
    double weights[D][4];

    CubicStencil(const Point<D>& point, const Shape<D>& shape) {
        const Shape<D> step = strides<D>(shape);
        for (int axis = 0; axis < D; ++axis) {
            const double x = std::clamp(point[axis], 0.0, static_cast<double>(shape[axis] - 1));
            const index_t low = std::min(static_cast<index_t>(x), std::max<index_t>(shape[axis] - 2, 0));
            cubic_weights(x - static_cast<double>(low), weights[axis]);
            for (int tap = 0; tap < 4; ++tap) offsets[axis][tap] = mirrored(low + tap - 1, shape[axis]) * step[axis];
        }
    }

    double value(const double* c) const {
        double sum = 0.0;
        for (int a = 0; a < 4; ++a)
            for (int b = 0; b < 4; ++b) {
                const double outer = weights[0][a] * weights[1][b];
                const double* row = c + offsets[0][a] + offsets[1][b];
                if constexpr (D == 2)
                    sum += outer * *row;
                else
                    for (int e = 0; e < 4; ++e) sum += outer * weights[2][e] * row[offsets[2][e]];
            }
        return sum;
    }
};

}  // namespace

template <typename T, int D>
void warp_nearest(const WarpBatch<T, D>& batch, bool constant, T fill, T* out, int threads) {
    const index_t pixels = volume<D>(batch.shape);
    const Shape<D> step = strides<D>(batch.shape);
    const auto nearest = [&](const Point<D>& point) {
        index_t offset = 0;
        for (int axis = 0; axis < D; ++axis) {
            const double x = std::clamp(point[axis], 0.0, static_cast<double>(batch.shape[axis] - 1));
            offset += std::min(static_cast<index_t>(x + 0.5), batch.shape[axis] - 1) * step[axis];
        }
        return offset;
    };
    const auto read = [&](index_t channel, index_t offset) { return batch.images[channel * pixels + offset]; };
    warp_rows(batch, constant, fill, out, threads, nearest, read);
}

template <int D>
void warp_linear(const WarpBatch<float, D>& batch, Border border, float* out, int threads) {
    const index_t inputs = volume<D>(batch.shape), outputs = volume<D>(batch.out_shape);
    const index_t columns = batch.out_shape[D - 1], rows = outputs / columns;
    std::int32_t shape[D];
    for (int axis = 0; axis < D; ++axis) shape[axis] = static_cast<std::int32_t>(batch.shape[axis]);
    // Channels are the innermost loop: a row of the field is read once.
    parallel_for(batch.count * rows, threads, [&](index_t begin, index_t end) {
        for (index_t task = begin; task < end; ++task) {
            const index_t image = task / rows, y = task % rows;
            std::int32_t position[D] = {};
            index_t rest = y;
            for (int axis = D - 2; axis >= 0; --axis) {
                position[axis] = static_cast<std::int32_t>(rest % batch.out_shape[axis]);
                rest /= batch.out_shape[axis];
            }
            const float* field = batch.displacements + (batch.fields == 1 ? 0 : image) * D * outputs + y * columns;
            for (index_t c = 0; c < batch.channels; ++c) {
                const index_t channel = image * batch.channels + c;
                const WarpRow row{
                    batch.images + channel * inputs, shape, position, field, outputs, columns, border.constant,
                    static_cast<float>(border.fill)};
                (D == 2 ? simd().warp_linear_2d : simd().warp_linear_3d)(row, out + channel * outputs + y * columns);
            }
        }
    });
}

template <int D>
void warp_cubic(const WarpBatch<float, D>& batch, Border border, float* out, int threads) {
    const index_t pixels = volume<D>(batch.shape);
    const index_t total = batch.count * batch.channels;
    std::vector<double> coefficients(batch.images, batch.images + total * pixels);
    parallel_for(total, threads, [&](index_t begin, index_t end) {
        for (index_t channel = begin; channel < end; ++channel)
            prefilter<D>(coefficients.data() + channel * pixels, batch.shape);
    });
    const auto stencil = [&](const Point<D>& point) { return CubicStencil<D>(point, batch.shape); };
    const auto read = [&](index_t channel, const CubicStencil<D>& at) {
        return static_cast<float>(at.value(coefficients.data() + channel * pixels));
    };
    warp_rows(batch, border.constant, static_cast<float>(border.fill), out, threads, stencil, read);
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
