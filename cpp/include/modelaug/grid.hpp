// Non-owning views of contiguous arrays on 2D and 3D grids, last axis fastest.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace modelaug {

using index_t = std::ptrdiff_t;

template <int D>
using Shape = std::array<index_t, D>;

template <int D>
using Point = std::array<double, D>;

template <int D>
constexpr index_t volume(const Shape<D>& shape) {
    index_t product = 1;
    for (index_t length : shape) product *= length;
    return product;
}

// Distance in memory between neighbours along each axis.
template <int D>
constexpr Shape<D> strides(const Shape<D>& shape) {
    Shape<D> result{};
    index_t stride = 1;
    for (int axis = D - 1; axis >= 0; --axis) {
        result[axis] = stride;
        stride *= shape[axis];
    }
    return result;
}

// `channels` scalar grids of one shape, one after the other: (channels, *shape).
template <typename T, int D>
struct Channels {
    T* data;
    index_t channels;
    Shape<D> shape;

    index_t pixels() const { return volume<D>(shape); }
    T* channel(index_t c) const {
        assert(c >= 0 && c < channels);
        return data + c * pixels();
    }
};

// The first voxel of row y, a run along the last axis; rows are numbered in memory order.
template <int D>
constexpr Shape<D> row_start(const Shape<D>& shape, index_t y) {
    Shape<D> start{};
    for (int axis = D - 2; axis >= 0; --axis) {
        start[axis] = y % shape[axis];
        y /= shape[axis];
    }
    assert(y == 0);
    return start;
}

// As the inner loops want it.
template <int D>
constexpr std::array<std::int32_t, D> narrow(const Shape<D>& shape) {
    std::array<std::int32_t, D> result{};
    for (int axis = 0; axis < D; ++axis) {
        assert(shape[axis] >= 0 && shape[axis] <= INT32_MAX);
        result[axis] = static_cast<std::int32_t>(shape[axis]);
    }
    return result;
}

// Calls body(position, index) for the voxels of rows [begin, end), where a row is a run along the last axis and rows
// are numbered in memory order.
template <int D, typename Body>
void for_rows(const Shape<D>& shape, index_t begin, index_t end, const Body& body) {
    const index_t length = shape[D - 1];
    for (index_t row = begin; row < end; ++row) {
        Shape<D> position = row_start<D>(shape, row);
        for (index_t x = 0; x < length; ++x) {
            position[D - 1] = x;
            body(position, row * length + x);
        }
    }
}

}  // namespace modelaug
