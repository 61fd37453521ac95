// Displacement fields in voxels, (D, *shape), pull direction: a point x goes to x + u(x). Between voxels a field is
// linear, beyond the grid its border continues.
#pragma once

#include <cstdint>

#include "modelaug/grid.hpp"

namespace modelaug {

template <int D>
using Field = Channels<const float, D>;

// values: (count, D), the field at the points.
template <int D>
void sample_field(const Field<D>& u, const double* points, index_t count, double* values, int threads);

// out(x) = v(x) + u(x + v(x)); out has the grid of v.
template <int D>
void compose(const Field<D>& u, const Field<D>& v, float* out, int threads);

struct InvertOptions {
    double tolerance;  // voxels
    int max_iterations;
};

// inverse: v with v(x) = -u(x + v(x)), (D, *shape). residual: |v(x) + u(x + v(x))|, (*shape). Damped Newton steps on
// the interpolated field from v = -u; the best iterate is kept.
template <int D>
void invert(const Field<D>& u, const InvertOptions& options, float* inverse, float* residual, int threads);

// out(x) = det(I + grad u)(x): central differences, one-sided at the border, 0 along axes with a single voxel.
template <int D>
void jacobian_determinant(const Field<D>& u, float* out, int threads);

// Voxels at which that is not positive.
template <int D>
index_t count_folds(const Field<D>& u, int threads);

// inside (*shape): 1 where x + u(x) is inside the grid, as warps see it, else 0. Returns the number of zeros.
template <int D>
index_t find_inside(const Field<D>& u, std::uint8_t* inside, int threads);

}  // namespace modelaug
