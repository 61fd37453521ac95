// Where a displacement field sends the voxels of a row, and images there. A part of kernels.cpp.
//
// Worth, in the plane and in space: one voxel at a time (MODELAUG_SCALAR) takes 1.9 and 1.4 times as many instructions
// for linear interpolation, 1.8 and 1.4 for composing fields, 3.7 and 3.1 for the nearest voxel (v3).
#pragma once

#include "assertions.hpp"
#include "lanes.hpp"

namespace modelaug {
namespace {

constexpr float kSlack = 1e-3f;  // voxels beyond the outermost ones that are not yet outside: fields are not exact

// A coordinate within the image as voxel and rest, and how far it was moved to be there.
struct Position {
    Ints low;  // in [0, length - 2], 0 if there is one voxel
    Floats t;  // in [0, 1] up to rounding
    Floats beyond;

    Mask outside() const { return (beyond > kSlack) | (beyond < -kSlack); }
};

// `start`: minus the coordinate of the displaced voxel. The displacement's own fraction is exact, so positions far
// along an axis lose nothing. NaN goes to the first voxel.
inline Position locate(Floats displacement, Floats start, std::int32_t length) {
    const float upper = static_cast<float>(length - 1), last = length > 1 ? upper - 1.0f : 0.0f;
    const Floats inside = smaller(larger(displacement, start), start + upper);
    const Ints low = to_ints(smaller(inside - start, Floats{} + last));
    assert(within(low, 0, static_cast<std::int32_t>(last)));
    return {low, inside - (start + to_floats(low)), displacement - inside};
}

inline Floats start_along(const WarpRow& row, int axis, bool last, size first) {
    const Floats start = splat(-static_cast<float>(row.position[axis]));
    return last ? start - (static_cast<float>(first) + counting()) : start;
}

inline Floats displacement_along(const WarpRow& row, int axis, size first) {
    return load_some(row.displacement + axis * row.component + first, row.voxels - first);
}

// The positions of the block of voxels from `first` on, counted from that of the row. A block that ends after the row
// is continued by voxels that do not move.
template <int D>
struct Positions {
    Position axis[D];

    Positions() = default;

    Positions(const WarpRow& row, size first) {
        for (int k = 0; k < D; ++k)
            axis[k] = locate(displacement_along(row, k, first), start_along(row, k, k == D - 1, first), row.shape[k]);
    }

    Mask outside() const {
        Mask any = axis[0].outside();
        for (int k = 1; k < D; ++k) any |= axis[k].outside();
        return any;
    }
};

// out[x] = value(positions of a block) for all voxels of the row, or the fill.
template <int D, typename Value>
inline void warp_row(const WarpRow& row, float* out, const Value& value_at) {
    assert(is_row<D>(row));
    for (size x = 0; x < row.voxels; x += kLanes) {
        const Positions<D> at(row, x);
        Floats value = value_at(at);
        if (row.constant) value = select(at.outside(), splat(row.fill), value);
        store_some(out + x, value, row.voxels - x);
    }
}

// Exactly a at t = 0 and b at t = 1.
inline Floats between(Floats a, Floats b, Floats t) {
    return (1.0f - t) * a + t * b;
}

inline Floats along_row(const float* image, Ints at, Floats t, bool single) {
    Floats left, right;
    if (single) return load_at(image, at);
    load_pairs(image, at, left, right);
    return between(left, right, t);
}

template <int D>
void warp_linear(const WarpRow& row, float* out);

template <>
void warp_linear<2>(const WarpRow& row, float* out) {
    const float* image = row.image;
    const std::int32_t w = row.shape[1];
    const size below = row.shape[0] > 1 ? w : 0;
    const bool single = w == 1;
    warp_row<2>(row, out, [&](const Positions<2>& p) {
        const Ints at = p.axis[0].low * w + p.axis[1].low;
        const Floats t = p.axis[1].t;
        return between(along_row(image, at, t, single), along_row(image + below, at, t, single), p.axis[0].t);
    });
}

template <>
void warp_linear<3>(const WarpRow& row, float* out) {
    const std::int32_t h = row.shape[1], w = row.shape[2];
    const float* near = row.image;
    const float* far = near + (row.shape[0] > 1 ? static_cast<size>(h) * w : 0);
    const size below = h > 1 ? w : 0;
    const bool single = w == 1;
    warp_row<3>(row, out, [&](const Positions<3>& p) {
        const Ints at = (p.axis[0].low * h + p.axis[1].low) * w + p.axis[2].low;
        const Floats t = p.axis[2].t, u = p.axis[1].t;
        const Floats front = between(along_row(near, at, t, single), along_row(near + below, at, t, single), u);
        const Floats back = between(along_row(far, at, t, single), along_row(far + below, at, t, single), u);
        return between(front, back, p.axis[0].t);
    });
}

// Whole and rest of a displacement are exact, so halves are met exactly.
template <int D>
void warp_nearest(const WarpRow& row, std::int32_t* at) {
    assert(is_row<D>(row));
    for (size x = 0; x < row.voxels; x += kLanes) {
        Ints index{};
        Mask outside{};
        for (int k = 0; k < D; ++k) {
            const Floats displacement = displacement_along(row, k, x), start = start_along(row, k, k == D - 1, x);
            const Floats inside = smaller(larger(displacement, start), start + static_cast<float>(row.shape[k] - 1));
            const Ints whole = to_ints(inside);
            const Floats rest = inside - to_floats(whole);
            const Ints up = select(rest >= 0.5f, splat(1), splat(0)), down = select(rest < -0.5f, splat(1), splat(0));
            index = index * row.shape[k] + (whole + up - down - to_ints(start));
            outside |= Position{index, rest, displacement - inside}.outside();
        }
        assert(within(index, 0, static_cast<std::int32_t>(voxels_of<D>(row.shape) - 1)));
        if (row.constant) index = select(outside, splat(-1), index);
        store_some(at + x, index, row.voxels - x);
    }
}

}  // namespace
}  // namespace modelaug
