#include "modelaug/field.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "modelaug/interpolate.hpp"
#include "modelaug/linear.hpp"
#include "modelaug/parallel.hpp"
#include "modelaug/simd.hpp"

namespace modelaug {
namespace {

template <int D>
Point<D> value_at(const Field<D>& u, const Point<D>& point) {
    const LinearStencil<D> stencil(point, u.shape);
    Point<D> value;
    for (int k = 0; k < D; ++k) value[k] = stencil.value(u.channel(k));
    return value;
}

// gradient[k][axis] of the linearly interpolated field. Constant beyond the border, so 0 across it.
template <int D>
Matrix<D> gradient_at(const Field<D>& u, const Point<D>& point) {
    Matrix<D> gradient{};
    for (int axis = 0; axis < D; ++axis) {
        const double upper = static_cast<double>(u.shape[axis] - 1);
        if (upper == 0.0 || point[axis] < 0.0 || point[axis] > upper) continue;
        Point<D> low = point, high = point;
        low[axis] = std::min(std::floor(point[axis]), upper - 1.0);
        high[axis] = low[axis] + 1.0;
        const Point<D> before = value_at<D>(u, low), after = value_at<D>(u, high);
        for (int k = 0; k < D; ++k) gradient[k][axis] = after[k] - before[k];
    }
    return gradient;
}

// F(v) = v + u(x + v).
template <int D>
Point<D> inversion_residual(const Field<D>& u, const Point<D>& x, const Point<D>& v) {
    Point<D> target;
    for (int k = 0; k < D; ++k) target[k] = x[k] + v[k];
    Point<D> f = value_at<D>(u, target);
    for (int k = 0; k < D; ++k) f[k] += v[k];
    return f;
}

// Improves v in place and returns the residual's length. Newton steps converge where the field is steep and the plain
// fixed point v <- -u(x + v) does not; halving the step keeps them from jumping between the kinks of the interpolated
// field.
template <int D>
double invert_at(const Field<D>& u, const Point<D>& x, const InvertOptions& options, Point<D>& v) {
    Point<D> f = inversion_residual<D>(u, x, v);
    double length = norm<D>(f);
    for (int iteration = 0; iteration < options.max_iterations && length > options.tolerance; ++iteration) {
        Point<D> target;
        for (int k = 0; k < D; ++k) target[k] = x[k] + v[k];
        Matrix<D> jacobian = gradient_at<D>(u, target);
        for (int k = 0; k < D; ++k) jacobian[k][k] += 1.0;
        Point<D> step;
        if (!solve<D>(jacobian, f, step)) step = f;
        bool improved = false;
        for (double scale = 1.0; scale > 1e-3 && !improved; scale *= 0.5) {
            Point<D> trial;
            for (int k = 0; k < D; ++k) trial[k] = v[k] - scale * step[k];
            const Point<D> trial_f = inversion_residual<D>(u, x, trial);
            const double trial_length = norm<D>(trial_f);
            if (trial_length < length) {
                v = trial;
                f = trial_f;
                length = trial_length;
                improved = true;
            }
        }
        if (!improved) break;
    }
    return length;
}

// Calls body(position, index) for each row, with the position and index of its first voxel.
template <int D, typename Body>
void each_row(const Shape<D>& shape, int threads, const Body& body) {
    const index_t columns = shape[D - 1];
    parallel_for(volume<D>(shape) / columns, threads, [&](index_t begin, index_t end) {
        for (index_t row = begin; row < end; ++row) {
            const std::array<std::int32_t, D> position = narrow<D>(row_start<D>(shape, row));
            body(position.data(), row * columns);
        }
    });
}

}  // namespace

template <int D>
void sample_field(const Field<D>& u, const double* points, index_t count, double* values, int threads) {
    parallel_for(count, threads, [&](index_t begin, index_t end) {
        for (index_t p = begin; p < end; ++p) {
            Point<D> point;
            for (int axis = 0; axis < D; ++axis) point[axis] = points[p * D + axis];
            const Point<D> value = value_at<D>(u, point);
            for (int axis = 0; axis < D; ++axis) values[p * D + axis] = value[axis];
        }
    });
}

template <int D>
void compose(const Field<D>& u, const Field<D>& v, float* out, int threads) {
    const index_t pixels = v.pixels(), columns = v.shape[D - 1];
    const std::array<std::int32_t, D> shape = narrow<D>(u.shape);
    each_row<D>(v.shape, threads, [&](const std::int32_t* position, index_t index) {
        for (int k = 0; k < D; ++k) {
            const WarpRow row{u.channel(k), shape.data(), position, v.data + index, pixels, columns, false, 0.0f};
            float* const further = out + k * pixels + index;
            (D == 2 ? simd().warp_linear_2d : simd().warp_linear_3d)(row, further);
            const float* const first = v.channel(k) + index;
            for (index_t x = 0; x < columns; ++x) further[x] += first[x];
        }
    });
}

template <int D>
void invert(const Field<D>& u, const InvertOptions& options, float* inverse, float* residual, int threads) {
    constexpr int kQuick = 8;  // full steps; where they do not lead there, damped ones from the start may
    const index_t pixels = u.pixels(), columns = u.shape[D - 1];
    const std::array<std::int32_t, D> shape = narrow<D>(u.shape);
    const int quick = std::min(options.max_iterations, kQuick);
    std::vector<std::uint8_t> hard(pixels);
    each_row<D>(u.shape, threads, [&](const std::int32_t* position, index_t first) {
        const WarpRow row{u.data, shape.data(), position, u.data + first, pixels, columns, false, 0.0f};
        (D == 2 ? simd().invert_2d : simd().invert_3d)(row, static_cast<float>(options.tolerance), quick,
                                                       {inverse + first, residual + first, &hard[first]});
        for (index_t index = first; index < first + columns; ++index) {
            if (!hard[index]) continue;
            Point<D> x, v;
            for (int k = 0; k < D; ++k) {
                x[k] = static_cast<double>(k < D - 1 ? position[k] : index - first);
                v[k] = -static_cast<double>(u.data[k * pixels + index]);
            }
            residual[index] = static_cast<float>(invert_at<D>(u, x, options, v));
            for (int k = 0; k < D; ++k) inverse[k * pixels + index] = static_cast<float>(v[k]);
        }
    });
}

template <int D>
void jacobian_determinant(const Field<D>& u, float* out, int threads) {
    const std::array<std::int32_t, D> shape = narrow<D>(u.shape);
    each_row<D>(u.shape, threads, [&](const std::int32_t* position, index_t index) {
        const FieldRow row{u.data + index, shape.data(), position, u.pixels()};
        (D == 2 ? simd().jacobian_2d : simd().jacobian_3d)(row, out + index);
    });
}

template <int D>
index_t count_folds(const Field<D>& u, int threads) {
    const std::array<std::int32_t, D> shape = narrow<D>(u.shape);
    const index_t columns = u.shape[D - 1], rows = u.pixels() / columns;
    std::vector<index_t> folds(rows);
    each_row<D>(u.shape, threads, [&](const std::int32_t* position, index_t index) {
        std::vector<float> determinants(columns);
        const FieldRow row{u.data + index, shape.data(), position, u.pixels()};
        (D == 2 ? simd().jacobian_2d : simd().jacobian_3d)(row, determinants.data());
        folds[index / columns] =
            std::count_if(determinants.begin(), determinants.end(), [](float value) { return !(value > 0.0f); });
    });
    return std::accumulate(folds.begin(), folds.end(), index_t{0});
}

template <int D>
index_t find_inside(const Field<D>& u, std::uint8_t* inside, int threads) {
    const std::array<std::int32_t, D> shape = narrow<D>(u.shape);
    const index_t columns = u.shape[D - 1], rows = u.pixels() / columns;
    std::vector<index_t> outside(rows);
    each_row<D>(u.shape, threads, [&](const std::int32_t* position, index_t index) {
        std::vector<std::int32_t> nearest(columns);
        const WarpRow row{nullptr, shape.data(), position, u.data + index, u.pixels(), columns, true, 0.0f};
        (D == 2 ? simd().nearest_2d : simd().nearest_3d)(row, nearest.data());
        std::int32_t count = 0;
        for (index_t x = 0; x < columns; ++x) count += nearest[x] < 0 ? 1 : 0;
        for (index_t x = 0; x < columns; ++x) inside[index + x] = nearest[x] < 0 ? 0 : 1;
        outside[index / columns] = count;
    });
    return std::accumulate(outside.begin(), outside.end(), index_t{0});
}

#define MODELAUG_INSTANTIATE(D)                                                           \
    template void sample_field<D>(const Field<D>&, const double*, index_t, double*, int); \
    template void compose<D>(const Field<D>&, const Field<D>&, float*, int);              \
    template void invert<D>(const Field<D>&, const InvertOptions&, float*, float*, int);  \
    template void jacobian_determinant<D>(const Field<D>&, float*, int);                  \
    template index_t count_folds<D>(const Field<D>&, int);                                \
    template index_t find_inside<D>(const Field<D>&, std::uint8_t*, int);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
