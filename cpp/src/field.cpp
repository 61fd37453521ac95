#include "modelaug/field.hpp"

#include <cmath>

#include "modelaug/interpolate.hpp"
#include "modelaug/linear.hpp"
#include "modelaug/parallel.hpp"

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
    const index_t pixels = v.pixels();
    parallel_for(pixels / v.shape[D - 1], threads, [&](index_t begin, index_t end) {
        for_rows<D>(v.shape, begin, end, [&](const Shape<D>& position, index_t index) {
            const Point<D> further = value_at<D>(u, displaced<D>(v, position, index));
            for (int k = 0; k < D; ++k)
                out[k * pixels + index] =
                    static_cast<float>(static_cast<double>(v.data[k * pixels + index]) + further[k]);
        });
    });
}

template <int D>
void invert(const Field<D>& u, const InvertOptions& options, float* inverse, float* residual, int threads) {
    const index_t pixels = u.pixels();
    parallel_for(pixels / u.shape[D - 1], threads, [&](index_t begin, index_t end) {
        for_rows<D>(u.shape, begin, end, [&](const Shape<D>& position, index_t index) {
            Point<D> x, v;
            for (int k = 0; k < D; ++k) {
                x[k] = static_cast<double>(position[k]);
                v[k] = -static_cast<double>(u.data[k * pixels + index]);
            }
            residual[index] = static_cast<float>(invert_at<D>(u, x, options, v));
            for (int k = 0; k < D; ++k) inverse[k * pixels + index] = static_cast<float>(v[k]);
        });
    });
}

template <int D>
void jacobian_determinant(const Field<D>& u, float* out, int threads) {
    const Shape<D> step = strides<D>(u.shape);
    parallel_for(u.pixels() / u.shape[D - 1], threads, [&](index_t begin, index_t end) {
        for_rows<D>(u.shape, begin, end, [&](const Shape<D>& position, index_t index) {
            Matrix<D> m{};
            for (int axis = 0; axis < D; ++axis) {
                m[axis][axis] = 1.0;
                const index_t before = position[axis] > 0 ? step[axis] : 0;
                const index_t after = position[axis] + 1 < u.shape[axis] ? step[axis] : 0;
                if (before + after == 0) continue;
                const double scale = before && after ? 0.5 : 1.0;
                for (int k = 0; k < D; ++k) {
                    const float* component = u.channel(k) + index;
                    m[k][axis] +=
                        scale * (static_cast<double>(component[after]) - static_cast<double>(component[-before]));
                }
            }
            out[index] = static_cast<float>(determinant(m));
        });
    });
}

#define MODELAUG_INSTANTIATE(D)                                                           \
    template void sample_field<D>(const Field<D>&, const double*, index_t, double*, int); \
    template void compose<D>(const Field<D>&, const Field<D>&, float*, int);              \
    template void invert<D>(const Field<D>&, const InvertOptions&, float*, float*, int);  \
    template void jacobian_determinant<D>(const Field<D>&, float*, int);
MODELAUG_INSTANTIATE(2)
MODELAUG_INSTANTIATE(3)
#undef MODELAUG_INSTANTIATE

}  // namespace modelaug
