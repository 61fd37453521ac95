// Compositions of displacements, and Newton's method on them. A part of kernels.cpp.
//
// Worth, by instruction_counts.json: `correspond` executes 19 times fewer instructions in the plane and 9 times fewer
// in space than `solve_composition`, its reference in double precision; evaluate_composition_on_grid 18 and 22 times
// fewer than `evaluate_composition`.
#pragma once

#include "assertions.hpp"
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

// A block of voxels of a row, and the iterates of Newton's method for their partners.
template <int D>
struct Batch {
    Sixteen at[D], target[D], iterate[D];  // target: what the composition's steps are to map the iterates to
    Sixteen value[D], jacobian[D][D];      // of the steps applied so far, at the iterate
    Sixteen residual;                      // or a bound of it
    SixteenInts active;                    // those that have not converged
    bool done;                             // whether no further step is taken
};

// The voxels, and what the moving composition's steps are to map their partners to, less the voxels: the affine part is
// undone.
template <int D>
inline void set_targets(const CompositionView& moving, const SolveStrip& strip, size y, Batch<D>& batch) {
    Sixteen fixed[D];
    for (int k = 0; k < D; ++k) {
        const float start = strip.start[k] + (k == D - 2 ? static_cast<float>(y) : 0.0f);
        // Beyond the last voxel it takes the place of those that are missing.
        batch.at[k] = k == D - 1 ? smaller(counted(start), sixteen(start + static_cast<float>(strip.voxels - 1)))
                                 : sixteen(start);
        fixed[k] = load_sixteen(strip.fixed + k * strip.component + y * strip.row, strip.voxels) - moving.offset[k];
    }
    for (int i = 0; i < D; ++i) {
        batch.target[i] = sixteen(0.0f);
        for (int j = 0; j < D; ++j)
            batch.target[i] = batch.target[i] + ((moving.inverse[i][j] - (i == j ? 1.0f : 0.0f)) * batch.at[j] +
                                                 moving.inverse[i][j] * fixed[j]);
    }
}

// The flow extrapolated from the `known` rows before.
inline Sixteen extrapolated(const float* flow, size row, size known, size voxels) {
    const Sixteen first = load_sixteen(flow - row, voxels);
    if (known == 1) return first;
    const Sixteen second = load_sixteen(flow - 2 * row, voxels);
    if (known == 2) return 2.0f * first - second;
    return 3.0f * (first - second) + load_sixteen(flow - 3 * row, voxels);
}

template <int D>
inline void initialize(const CompositionView& moving, const SolveStrip& strip, size y, Batch<D>& batch) {
    const size known = strip.known_rows + y;
    const float* flow = strip.flow + y * strip.row;
    set_targets<D>(moving, strip, y, batch);
    for (int k = 0; k < D; ++k) {
        const Sixteen start =
            known == 0 ? batch.target[k] : extrapolated(flow + k * strip.component, strip.row, known, strip.voxels);
        batch.target[k] = batch.target[k] + batch.at[k];
        batch.iterate[k] = start + batch.at[k];
    }
    batch.residual = sixteen(0.0f);
    batch.active = sixteen(0.0f) <= sixteen(0.0f);
    batch.done = false;
}

// value and jacobian, behind one more step of the composition.
template <int D>
inline void apply_step(const StepView& step, bool first, Batch<D>& batch) {
    Sixteen gradient[D][D], before[D][D];
    apply<true>(step, batch.value, gradient);
    if (first) {
        for (int i = 0; i < D; ++i)
            for (int j = 0; j < D; ++j) batch.jacobian[i][j] = (i == j ? 1.0f : 0.0f) + gradient[i][j];
        return;
    }
    for (int i = 0; i < D; ++i)
        for (int j = 0; j < D; ++j) before[i][j] = batch.jacobian[i][j];
    for (int i = 0; i < D; ++i)
        for (int j = 0; j < D; ++j)
            for (int k = 0; k < D; ++k) batch.jacobian[i][j] = batch.jacobian[i][j] + gradient[i][k] * before[k][j];
}

template <int D>
inline void evaluate(const CompositionView& moving, Batch<D>& batch) {
    for (int k = 0; k < D; ++k) batch.value[k] = batch.iterate[k];
    for (size s = 0; s < moving.count; ++s) apply_step<D>(moving.steps[s], s == 0, batch);
    if (moving.count > 0) return;
    for (int i = 0; i < D; ++i)
        for (int j = 0; j < D; ++j) batch.jacobian[i][j] = sixteen(i == j ? 1.0f : 0.0f);
}

// A step of Newton's method, if this is not the last evaluation. A voxel that has converged does not move on, so that
// it does not depend on the others. One step is always taken.
template <int D>
inline void newton_iteration(const CompositionView& moving, float tolerance, bool first, bool last, Batch<D>& batch) {
    Sixteen f[D], step[D], residual = sixteen(0.0f), length = residual;
    for (int k = 0; k < D; ++k) f[k] = batch.value[k] - batch.target[k];
    for (int i = 0; i < D; ++i) {
        Sixteen component = sixteen(0.0f);
        for (int j = 0; j < D; ++j) component = component + moving.matrix[i][j] * f[j];
        residual = residual + component * component;
    }
    residual = square_root(residual);
    batch.residual = select(batch.active, residual, batch.residual);
    if (!first) batch.active = without(batch.active, residual <= sixteen(tolerance));
    batch.done = last || !any(batch.active);
    if (batch.done) return;
    const SixteenInts moves = batch.active & newton_step(batch.jacobian, f, step);
    for (int k = 0; k < D; ++k) {
        length = length + step[k] * step[k];
        batch.iterate[k] = select(moves, batch.iterate[k] - step[k], batch.iterate[k]);
    }
    // A bound of the residual after the step.
    const Sixteen bound = 0.5f * moving.curvature * length;
    const SixteenInts converged = moves & (bound <= sixteen(tolerance));
    batch.residual = select(converged, bound, batch.residual);
    batch.active = without(batch.active, converged);
    batch.done = !any(batch.active);
}

template <int D>
inline void store_solution(const SolveStrip& strip, size y, const Batch<D>& batch, std::uint8_t* fallback) {
    float* const flow = strip.flow + y * strip.row;
    const bool all_converged = !any(batch.active);
    for (int k = 0; k < D; ++k) {
        Sixteen result = batch.iterate[k] - batch.at[k];
        if (!all_converged) {
            // Rows that follow had better not start from where the method diverged.
            const Sixteen kept = strip.known_rows + y == 0
                                     ? batch.target[k] - batch.at[k]
                                     : load_sixteen(flow + k * strip.component - strip.row, strip.voxels);
            result = select(batch.active, kept, result);
        }
        store_some(flow + k * strip.component, result, strip.voxels);
    }
    store_some(strip.residual + y * strip.row, batch.residual, strip.voxels);
    std::int32_t active[kBlock];
    store(active, batch.active);
    for (int r = 0; r < kBlock; ++r) fallback[r] = active[r] != 0 ? 1 : 0;
}

template <int D>
void solve_correspondence(const CompositionView& moving, const SolveStrip& strip, float tolerance, int iterations,
                          std::uint8_t* fallback) {
    assert(strip.voxels >= 1 && strip.voxels <= kBlock && strip.voxels <= strip.row);
    assert(strip.rows >= 1 && strip.known_rows >= 0 && strip.component >= strip.rows * strip.row);
    for (size y = 0; y < strip.rows; ++y) {
        Batch<D> batch;
        initialize<D>(moving, strip, y, batch);
        for (int iteration = 0; !batch.done; ++iteration) {
            evaluate<D>(moving, batch);
            newton_iteration<D>(moving, tolerance, iteration == 0, iteration == iterations, batch);
        }
        store_solution<D>(strip, y, batch, fallback + y * kBlock);
    }
}

template <int D>
void displace(const CompositionView& rest, const DisplaceRow& row) {
    assert(row.voxels >= 1 && row.component >= row.voxels);
    for (size begin = 0; begin < row.voxels; begin += kSixteen) {
        const size left = row.voxels - begin;
        Sixteen at[D], value[D], unused[D][D];
        for (int k = 0; k < D; ++k) {
            at[k] = k == D - 1 ? counted(row.start[k] + static_cast<float>(begin)) : sixteen(row.start[k]);
            value[k] = at[k] + load_sixteen(row.displacement + k * row.component + begin, left);
        }
        for (size s = 0; s < rest.count; ++s) apply<false>(rest.steps[s], value, unused);
        for (int i = 0; i < D; ++i) {
            Sixteen moved = sixteen(rest.offset[i]) - at[i];
            for (int j = 0; j < D; ++j) moved = moved + rest.matrix[i][j] * value[j];
            store_some(row.displacement + i * row.component + begin, moved, left);
        }
    }
}

void max_squared_differences(const float* c, size rows, size row, size length, size a, size b, float* squares) {
    assert(rows == 0 || (length >= 1 && a >= 1 && b >= 0));
    Sixteen largest = load_sixteen(squares);
    for (size y = 0; y < rows; ++y, c += row)
        for (size x = 0; x < length; x += kSixteen) {
            const size left = length - x;
            Sixteen difference = load_sixteen(c + x + a, left) - load_sixteen(c + x, left);
            if (b > 0) difference = load_sixteen(c + x + a + b, left) - load_sixteen(c + x + b, left) - difference;
            largest = larger(largest, difference * difference);
        }
    store(squares, largest);
}

}  // namespace
}  // namespace modelaug
