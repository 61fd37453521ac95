// Images and labels through a displacement field: out(x) = image(x + u(x)).
#pragma once

#include <cstdint>

#include "modelaug/grid.hpp"

namespace modelaug {

// Kernels count voxels in 32 bits and coordinates in floats.
template <int D>
constexpr bool countable(const Shape<D>& shape) {
    for (index_t length : shape)
        if (length > index_t{1} << 24) return false;
    return volume<D>(shape) < index_t{1} << 31;
}

// Beyond the image, either its border continues or every voxel has the value `fill`.
struct Border {
    bool constant;
    double fill;
};

// One displacement field (d, *out) for each image (c, *in), or one for all; the fields' grid is the output's.
template <typename T, int D>
struct WarpBatch {
    const T* images;  // (count, channels, *shape)
    index_t count, channels;
    Shape<D> shape;
    const float* displacements;  // (fields, D, *out_shape), fields = count or 1
    index_t fields;
    Shape<D> out_shape;
};

// out: (count, channels, *out_shape). Nearest voxel, half rounded up; T is any type of 1, 2, 4 or 8 bytes, copied as it
// is.
template <typename T, int D>
void warp_nearest(const WarpBatch<T, D>& batch, bool constant, T fill, T* out, int threads);

template <int D>
void warp_linear(const WarpBatch<float, D>& batch, Border border, float* out, int threads);

// Interpolating cubic B-spline, mirrored about the border voxels' centres.
//
// Unser, Aldroubi, Eden: B-spline signal processing. IEEE Trans. Signal Processing 41(2), 1993.
template <int D>
void warp_cubic(const WarpBatch<float, D>& batch, Border border, float* out, int threads);

}  // namespace modelaug
