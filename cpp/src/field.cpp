#include "modelaug/field.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "modelaug/interpolate.hpp"
#include "modelaug/linear.hpp"
#include "modelaug/newton.hpp"
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
// fixed point v <- -u(x + v), to which it falls back, does not; damping keeps them from jumping between the kinks of
// the interpolated field.
template <int D>
double invert_at(const Field<D>& u, const Point<D>& x, const InvertOptions& options, Point<D>& v) {
    return damped_newton<D>([&](const Point<D>& at, Matrix<D>&) { return inversion_residual<D>(u, x, at); },
                            [&](const Point<D>& at, const Point<D>& f, Matrix<D>& jacobian, Point<D>& step) {
                                Point<D> target;
                                for (int k = 0; k < D; ++k) target[k] = x[k] + at[k];
                                jacobian = gradient_at<D>(u, target);
                                for (int k = 0; k < D; ++k) jacobian[k][k] += 1.0;
                                if (!solve<D>(jacobian, f, step)) step = f;
                                return true;
                            },
                            {options.tolerance, options.max_iterations, 1e-3}, v);
}

// Calls body(position, index, scratch) for each row, with the position and index of its first voxel, and a row of
// scratch of the thread's own.
template <typename Scratch, int D, typename Body>
void each_row(const Shape<D>& shape, int threads, const Body& body) {
    const index_t columns = shape[D - 1];
    parallel_for(volume<D>(shape) / columns, threads, [&](index_t begin, index_t end) {
        std::vector<Scratch> scratch(columns);
        for (index_t row = begin; row < end; ++row) {
            const std::array<std::int32_t, D> position = narrow<D>(row_start<D>(shape, row));
            body(position.data(), row * columns, scratch.data());
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
    each_row<float, D>(v.shape, threads, [&](const std::int32_t* position, index_t index, float*) {
        for (int k = 0; k < D; ++k) {
            const WarpRow row{u.channel(k), shape.data(), position, v.data + index, pixels, columns, false, 0.0f};
            float* const further = out + k * pixels + index;
            simd<D>().warp_linear(row, further);
            const float* const first = v.channel(k) + index;
            for (index_t x = 0; x < columns; ++x) further[x] += first[x];
        }
    });
}

template <int D>
void invert(const Field<D>& u, const InvertOptions& options, float* inverse, float* residual, int threads) {
    constexpr int kFloatIterations = 8;  // undamped; where they do not converge, damped ones from the start may
    const index_t pixels = u.pixels(), columns = u.shape[D - 1];
    const std::array<std::int32_t, D> shape = narrow<D>(u.shape);
    const int iterations = std::min(options.max_iterations, kFloatIterations);
    each_row<std::uint8_t, D>(
        u.shape, threads, [&](const std::int32_t* position, index_t first, std::uint8_t* fallback) {
            const WarpRow row{u.data, shape.data(), position, u.data + first, pixels, columns, false, 0.0f};
            simd<D>().invert(row, static_cast<float>(options.tolerance), iterations,
                             {inverse + first, residual + first, fallback});
            for (index_t index = first; index < first + columns; ++index) {
                if (!fallback[index - first]) continue;
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
    each_row<float, D>(u.shape, threads, [&](const std::int32_t* position, index_t index, float*) {
        const FieldRow row{u.data + index, shape.data(), position, u.pixels()};
        simd<D>().jacobian_determinant(row, out + index);
    });
}

template <int D>
index_t count_folds(const Field<D>& u, int threads) {
    const std::array<std::int32_t, D> shape = narrow<D>(u.shape);
    const index_t columns = u.shape[D - 1], rows = u.pixels() / columns;
    std::vector<index_t> folds(rows);
    each_row<float, D>(u.shape, threads, [&](const std::int32_t* position, index_t index, float* determinants) {
        const FieldRow row{u.data + index, shape.data(), position, u.pixels()};
        simd<D>().jacobian_determinant(row, determinants);
        folds[index / columns] =
            std::count_if(determinants, determinants + columns, [](float value) { return !(value > 0.0f); });
    });
    return std::accumulate(folds.begin(), folds.end(), index_t{0});
}

template <int D>
index_t find_inside(const Field<D>& u, std::uint8_t* inside, int threads) {
    const std::array<std::int32_t, D> shape = narrow<D>(u.shape);
    const index_t columns = u.shape[D - 1], rows = u.pixels() / columns;
    std::vector<index_t> outside(rows);
    each_row<std::int32_t, D>(
        u.shape, threads, [&](const std::int32_t* position, index_t index, std::int32_t* nearest) {
            const WarpRow row{nullptr, shape.data(), position, u.data + index, u.pixels(), columns, true, 0.0f};
            simd<D>().warp_nearest(row, nearest);
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
