// Inverses of fields along rows. A part of kernels.cpp.
//
// Worth, in the plane and in space: one voxel at a time (MODELAUG_SCALAR) takes 3.0 and 2.7 times as many instructions
// (v3).
#pragma once

#include "warp.hpp"

namespace modelaug {
namespace {

// A component of a field, linear between the voxels around a position, and its slopes along the axes.
template <int D>
struct Slopes {
    Floats value, along[D];
};

inline Slopes<2> slopes_at(const float* u, const std::int32_t* shape, Ints at, Floats t0, Floats t1) {
    const std::int32_t w = shape[1];
    const float* below = u + (shape[0] > 1 ? w : 0);
    Floats a, b, c, d;
    if (w > 1) [[likely]] {
        load_pairs(u, at, a, b);
        load_pairs(below, at, c, d);
    } else {
        a = b = load_at(u, at);
        c = d = load_at(below, at);
    }
    const Floats top = between(a, b, t1), bottom = between(c, d, t1);
    return {between(top, bottom, t0), {bottom - top, between(b - a, d - c, t0)}};
}

inline Slopes<2> slopes(const float* u, const std::int32_t* shape, const Positions<2>& p) {
    const Ints at = p.axis[0].low * shape[1] + p.axis[1].low;
    return slopes_at(u, shape, at, p.axis[0].t, p.axis[1].t);
}

inline Slopes<3> slopes(const float* u, const std::int32_t* shape, const Positions<3>& p) {
    const std::int32_t plane = shape[1] * shape[2];
    const Ints at = p.axis[0].low * plane + p.axis[1].low * shape[2] + p.axis[2].low;
    const Floats t = p.axis[0].t, t0 = p.axis[1].t, t1 = p.axis[2].t;
    const Slopes<2> near = slopes_at(u, shape + 1, at, t0, t1),
                    far = slopes_at(u + (shape[0] > 1 ? plane : 0), shape + 1, at, t0, t1);
    return {between(near.value, far.value, t),
            {far.value - near.value, between(near.along[0], far.along[0], t), between(near.along[1], far.along[1], t)}};
}

// Newton's method from minus the displacement. A voxel that has converged stays; one whose residual a step does not
// shorten is left to damped steps, or it might jump across a fold.
template <int D>
void invert(const WarpRow& row, float tolerance, int iterations, const InverseRow& out) {
    assert(is_row<D>(row));
    const float allowed = tolerance * tolerance;
    for (size x = 0; x < row.voxels; x += kLanes) {
        const size left = row.voxels - x;
        Floats v[D], squared, before = splat(3e38f);
        for (int k = 0; k < D; ++k) v[k] = -displacement_along(row, k, x);
        for (int iteration = 0;; ++iteration) {
            Positions<D> p;
            for (int k = 0; k < D; ++k) p.axis[k] = locate(v[k], start_along(row, k, k == D - 1, x), row.shape[k]);
            Floats f[D], jacobian[D][D], step[D];
            squared = splat(0.0f);
            for (int k = 0; k < D; ++k) {
                const Slopes<D> u = slopes(row.image + k * row.component, row.shape, p);
                f[k] = v[k] + u.value;
                squared = squared + f[k] * f[k];
                // Beyond the border the field is constant across it.
                for (int axis = 0; axis < D; ++axis)
                    jacobian[k][axis] =
                        select(p.axis[axis].beyond == 0.0f, u.along[axis], splat(0.0f)) + (k == axis ? 1.0f : 0.0f);
            }
            const Mask active = (squared > allowed) & (squared < before);
            before = select(active, squared, splat(0.0f));
            if (iteration == iterations || !any(active)) break;
            const Mask regular = solve(jacobian, f, step);
            for (int k = 0; k < D; ++k) v[k] = select(active, v[k] - select(regular, step[k], f[k]), v[k]);
        }
        for (int k = 0; k < D; ++k) store_some(out.inverse + k * row.component + x, v[k], left);
        float lengths[kLanes];
        store(lengths, squared);
        for (size i = 0; i < (left < kLanes ? left : kLanes); ++i) {
            out.residual[x + i] = square_root(lengths[i]);
            out.fallback[x + i] = lengths[i] <= allowed ? 0 : 1;
        }
    }
}

}  // namespace
}  // namespace modelaug
