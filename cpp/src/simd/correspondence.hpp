// Chains of displacements, and Newton's method on them. A part of kernels.cpp.
#pragma once

#include "modelaug/simd.hpp"
#include "portable.hpp"
#include "sixteen.hpp"
#include "splines.hpp"

namespace modelaug {
namespace {

// step = jacobian^-1 f; returns where the Jacobian is regular, and elsewhere the step is anything.
template <int D>
inline SixteenInts newton_step(const Sixteen (&jacobian)[D][D], const Sixteen (&f)[D], Sixteen (&step)[D]) {
    SixteenInts regular;
    for (int p = 0; p < kParts; ++p) {
        Floats m[D][D], b[D], x[D];
        for (int i = 0; i < D; ++i) {
            b[i] = f[i].part[p];
            for (int j = 0; j < D; ++j) m[i][j] = jacobian[i][j].part[p];
        }
        regular.part[p] = solve(m, b, x);
        for (int i = 0; i < D; ++i) step[i].part[p] = x[i];
    }
    return regular;
}

// Sixteen voxels of a row on their way to their partners.
template <int D>
struct Seekers {
    Sixteen at[D], target[D], guess[D];  // target: what the steps are to make of the partners
    Sixteen value[D], jacobian[D][D];    // of the chain's steps at the guess, as far as they are applied
    Sixteen residual;                    // or a bound of it
    SixteenInts open;                    // who is not there yet
    bool done;                           // whether all are
};

// The voxels, and what the moving chain's steps are to make of their partners, less the voxels: the affine part is
// undone.
template <int D>
inline void aim(const ChainView& moving, const SolveStrip& strip, size y, Seekers<D>& all) {
    Sixteen fixed[D];
    for (int k = 0; k < D; ++k) {
        const float start = strip.start[k] + (k == D - 2 ? static_cast<float>(y) : 0.0f);
        // Beyond the last voxel it takes the place of those that are missing.
        all.at[k] = k == D - 1 ? smaller(counted(start), sixteen(start + static_cast<float>(strip.voxels - 1)))
                               : sixteen(start);
        fixed[k] = load_sixteen(strip.fixed + k * strip.component + y * strip.row, strip.voxels) - moving.offset[k];
    }
    for (int i = 0; i < D; ++i) {
        all.target[i] = sixteen(0.0f);
        for (int j = 0; j < D; ++j)
            all.target[i] = all.target[i] + ((moving.inverse[i][j] - (i == j ? 1.0f : 0.0f)) * all.at[j] +
                                             moving.inverse[i][j] * fixed[j]);
    }
}

// The flow that continues that of the `known` rows before.
inline Sixteen continued(const float* flow, size row, size known, size voxels) {
    const Sixteen first = load_sixteen(flow - row, voxels);
    if (known == 1) return first;
    const Sixteen second = load_sixteen(flow - 2 * row, voxels);
    if (known == 2) return 2.0f * first - second;
    return 3.0f * (first - second) + load_sixteen(flow - 3 * row, voxels);
}

template <int D>
inline void set_out(const ChainView& moving, const SolveStrip& strip, size y, Seekers<D>& all) {
    const size known = strip.known + y;
    const float* flow = strip.flow + y * strip.row;
    aim<D>(moving, strip, y, all);
    for (int k = 0; k < D; ++k) {
        const Sixteen start =
            known == 0 ? all.target[k] : continued(flow + k * strip.component, strip.row, known, strip.voxels);
        all.target[k] = all.target[k] + all.at[k];
        all.guess[k] = start + all.at[k];
    }
    all.residual = sixteen(0.0f);
    all.open = sixteen(0.0f) <= sixteen(0.0f);
    all.done = false;
}

template <int D>
inline void set_identity(Seekers<D>& all) {
    for (int i = 0; i < D; ++i)
        for (int j = 0; j < D; ++j) all.jacobian[i][j] = sixteen(i == j ? 1.0f : 0.0f);
}

template <int D>
inline void apply_step(const StepView& step, bool first, Seekers<D>& all) {
    Sixteen gradient[D][D], before[D][D];
    apply<true>(step, all.value, gradient);
    if (first) {
        for (int i = 0; i < D; ++i)
            for (int j = 0; j < D; ++j) all.jacobian[i][j] = (i == j ? 1.0f : 0.0f) + gradient[i][j];
        return;
    }
    for (int i = 0; i < D; ++i)
        for (int j = 0; j < D; ++j) before[i][j] = all.jacobian[i][j];
    for (int i = 0; i < D; ++i)
        for (int j = 0; j < D; ++j)
            for (int k = 0; k < D; ++k) all.jacobian[i][j] = all.jacobian[i][j] + gradient[i][k] * before[k][j];
}

// A step of Newton's method, if it is not the last evaluation. A voxel that is there does not move on, so that it does
// not depend on the others. One step is always taken.
template <int D>
inline void advance(const ChainView& moving, float tolerance, bool first, bool last, Seekers<D>& all) {
    Sixteen f[D], step[D], missed = sixteen(0.0f), length = missed;
    for (int k = 0; k < D; ++k) f[k] = all.value[k] - all.target[k];
    for (int i = 0; i < D; ++i) {
        Sixteen component = sixteen(0.0f);
        for (int j = 0; j < D; ++j) component = component + moving.matrix[i][j] * f[j];
        missed = missed + component * component;
    }
    missed = square_root(missed);
    all.residual = select(all.open, missed, all.residual);
    if (!first) all.open = without(all.open, missed <= sixteen(tolerance));
    all.done = last || !any(all.open);
    if (all.done) return;
    const SixteenInts moves = all.open & newton_step(all.jacobian, f, step);
    for (int k = 0; k < D; ++k) {
        length = length + step[k] * step[k];
        all.guess[k] = select(moves, all.guess[k] - step[k], all.guess[k]);
    }
    // What a step leaves of the residual at most.
    const Sixteen left = 0.5f * moving.curvature * length;
    const SixteenInts arrives = moves & (left <= sixteen(tolerance));
    all.residual = select(arrives, left, all.residual);
    all.open = without(all.open, arrives);
    all.done = !any(all.open);
}

template <int D>
inline void arrive(const SolveStrip& strip, size y, const Seekers<D>& all, std::uint8_t* hard) {
    float* const flow = strip.flow + y * strip.row;
    const bool astray = any(all.open);
    for (int k = 0; k < D; ++k) {
        Sixteen result = all.guess[k] - all.at[k];
        if (astray) {
            // Where the method goes astray the rows after it had better not follow.
            const Sixteen kept = strip.known + y == 0
                                     ? all.target[k] - all.at[k]
                                     : load_sixteen(flow + k * strip.component - strip.row, strip.voxels);
            result = select(all.open, kept, result);
        }
        store_some(flow + k * strip.component, result, strip.voxels);
    }
    store_some(strip.residual + y * strip.row, all.residual, strip.voxels);
    std::int32_t open[kSixteen];
    store(open, all.open);
    for (int r = 0; r < kSixteen; ++r) hard[r] = open[r] != 0 ? 1 : 0;
}

template <int D>
inline void solve_strip(const ChainView& moving, const SolveStrip& strip, float tolerance, int iterations,
                        std::uint8_t* hard) {
    for (size y = 0; y < strip.rows; ++y) {
        Seekers<D> all;
        set_out<D>(moving, strip, y, all);
        for (int iteration = 0; !all.done; ++iteration) {
            for (int k = 0; k < D; ++k) all.value[k] = all.guess[k];
            for (size s = 0; s < moving.count; ++s) apply_step<D>(moving.steps[s], s == 0, all);
            if (moving.count == 0) set_identity<D>(all);
            advance<D>(moving, tolerance, iteration == 0, iteration == iterations, all);
        }
        arrive<D>(strip, y, all, hard + y * kSixteen);
    }
}

template <int D>
inline void displace_row(const ChainView& chain, const DisplaceRow& row) {
    for (size begin = 0; begin < row.voxels; begin += kSixteen) {
        const size left = row.voxels - begin;
        Sixteen at[D], value[D], unused[D][D];
        for (int k = 0; k < D; ++k) {
            at[k] = k == D - 1 ? counted(row.start[k] + static_cast<float>(begin)) : sixteen(row.start[k]);
            value[k] = at[k] + load_sixteen(row.displacement + k * row.component + begin, left);
        }
        for (size s = 0; s < chain.count; ++s) apply<false>(chain.steps[s], value, unused);
        for (int i = 0; i < D; ++i) {
            Sixteen moved = sixteen(chain.offset[i]) - at[i];
            for (int j = 0; j < D; ++j) moved = moved + chain.matrix[i][j] * value[j];
            store_some(row.displacement + i * row.component + begin, moved, left);
        }
    }
}

void steepest(const float* c, size rows, size row, size length, size a, size b, float* squares) {
    Sixteen highest_so_far = load_sixteen(squares);
    for (size y = 0; y < rows; ++y, c += row)
        for (size x = 0; x < length; x += kSixteen) {
            const size left = length - x;
            Sixteen difference = load_sixteen(c + x + a, left) - load_sixteen(c + x, left);
            if (b > 0) difference = load_sixteen(c + x + a + b, left) - load_sixteen(c + x + b, left) - difference;
            highest_so_far = larger(highest_so_far, difference * difference);
        }
    store(squares, highest_so_far);
}

void displace_2d(const ChainView& chain, const DisplaceRow& row) {
    displace_row<2>(chain, row);
}

void displace_3d(const ChainView& chain, const DisplaceRow& row) {
    displace_row<3>(chain, row);
}

void solve_2d(const ChainView& moving, const SolveStrip& strip, float tolerance, int iterations, std::uint8_t* hard) {
    solve_strip<2>(moving, strip, tolerance, iterations, hard);
}

void solve_3d(const ChainView& moving, const SolveStrip& strip, float tolerance, int iterations, std::uint8_t* hard) {
    solve_strip<3>(moving, strip, tolerance, iterations, hard);
}

}  // namespace
}  // namespace modelaug
