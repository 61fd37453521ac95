// Several lines of control points to the voxels of their axis. A part of kernels.cpp.
#pragma once

#include "lanes.hpp"

namespace modelaug {
namespace {

// to[j][i] = from[i][j], rows and columns being those of `from`.
inline void transpose(const float* from, size from_step, size rows, size columns, float* to, size to_step) {
    size i = 0;
#if defined(__GNUC__)
    for (; i + 4 <= rows; i += 4) {
        size j = 0;
        for (; j + 4 <= columns; j += 4) {
            const float* x = from + i * from_step + j;
            const Quad a = load_quad(x), b = load_quad(x + from_step), c = load_quad(x + 2 * from_step),
                       d = load_quad(x + 3 * from_step);
            const Quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5),
                       ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
            float* y = to + j * to_step + i;
            store_quad(y, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
            store_quad(y + to_step, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
            store_quad(y + 2 * to_step, __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5));
            store_quad(y + 3 * to_step, __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7));
        }
        for (; j < columns; ++j)
            for (size k = 0; k < 4; ++k) to[j * to_step + i + k] = from[(i + k) * from_step + j];
    }
#endif
    for (; i < rows; ++i)
        for (size j = 0; j < columns; ++j) to[j * to_step + i] = from[i * from_step + j];
}

// Side by side, lines share their weights and need no look-up: they are turned, summed as vectors, and turned back.
void expand_lines(const AxisView& axis, const float* lines, size nodes, size count, float* work, float* out) {
    constexpr size kLines = kExpandLines;
    const float *w0 = axis.weights, *w1 = w0 + axis.voxels, *w2 = w1 + axis.voxels, *w3 = w2 + axis.voxels;
    for (size first = 0; first < count; first += kLines) {
        const size together = count - first < kLines ? count - first : kLines;
        float *turned = work, *sums = work + nodes * kLines;
        transpose(lines + first * nodes, nodes, together, nodes, turned, kLines);
        for (size x = 0; x < axis.voxels; ++x) {
            const float a = w0[x], b = w1[x], c = w2[x], d = w3[x];
            const float* p = turned + axis.cells[x] * kLines;
            for (size i = 0; i < kLines; i += kLanes)
                store(sums + x * kLines + i, (a * load(p + i) + b * load(p + kLines + i)) +
                                                 (c * load(p + 2 * kLines + i) + d * load(p + 3 * kLines + i)));
        }
        transpose(sums, kLines, axis.voxels, together, out + first * axis.voxels, axis.voxels);
    }
}

}  // namespace
}  // namespace modelaug
