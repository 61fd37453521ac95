// Inner loops, compiled for several instruction sets; the best that this processor has is chosen when first used.
//
// The environment variable MODELAUG_ISA (baseline, v3 or v4, the x86-64 levels) chooses another one. On one instruction
// set results do not depend on anything but the arguments; sets differ by rounding, since the newer ones fuse multiply
// and add.
#pragma once

#include <cstddef>
#include <cstdint>

namespace modelaug {

// Voxels that kernels take at a time on every instruction set, however many of them a register holds: results do not
// depend on where a register ends.
static constexpr int kBlock = 16;

// A spline along an axis, for a block of voxels: the control points that count for it, and their weights,
// (control points, kBlock), 0 where one does not count.
struct AxisBlock {
    std::int32_t first, count;  // control points
    std::ptrdiff_t weights;     // where its weights begin
};

struct AxisView {
    const AxisBlock* blocks;
    const float* weights;
    std::ptrdiff_t voxels;
};

// Images mixed along one row of voxels.
struct MixtureRow {
    AxisView axis;
    const float* lines;              // control points of all fields along the row, (count, nodes)
    const float* images;             // (blocks, count, channels, kBlock)
    const float* inverse_deviation;  // (voxels)
    const float* ranges;             // (channels, 2): lowest and highest value of the result
    std::ptrdiff_t nodes, count, channels;
    float* fields;           // scratch, (count, kBlock)
    std::int32_t* selected;  // scratch, (count)
    float* maxima;           // over the fields: of the row before, and then of this one, (blocks, kBlock)
    float max_change;        // of any field from the row before; infinite if there is none
    float* out;              // of the first channel, at the row's first voxel
    std::ptrdiff_t channel;  // step between channels of `out`
};

// An image and a field that pulls it, at one row of the output.
struct WarpRow {
    const float* image;            // (*shape)
    const std::int32_t* shape;     // D entries
    const std::int32_t* position;  // D entries: the row's first voxel
    const float* displacement;     // component 0 at the row's first voxel
    std::ptrdiff_t component;      // step between components
    std::ptrdiff_t voxels;
    bool constant;  // beyond the image: fill, or its border
    float fill;
};

// One row of a field.
struct FieldRow {
    const float* field;            // component 0 at the row's first voxel
    const std::int32_t* shape;     // D entries: the field's grid
    const std::int32_t* position;  // D entries: the row's first voxel
    std::ptrdiff_t component;      // step between components
};

// One row of an inverse.
struct InverseRow {
    float* inverse;          // component 0 at the row's first voxel; components as far apart as the field's
    float* residual;         // at the row's first voxel, like the next
    std::uint8_t* fallback;  // 1 where the residual exceeds the tolerance
};

// Coefficients of the interpolating cubic B-spline of so many samples: one beyond each end; 4 of a single sample.
static constexpr std::ptrdiff_t spline_nodes(std::ptrdiff_t samples) {
    return samples > 1 ? samples + 2 : 4;
}

// Lines of samples side by side, to become those coefficients, mirrored about the outermost samples.
struct SplineLines {
    static constexpr std::ptrdiff_t kMargin = 16;     // rows that `work` has more than there are samples, at each end
    static constexpr std::ptrdiff_t kWidth = kBlock;  // the largest number of lines, and the best
    const float* from;                                // the first sample of the first line
    std::ptrdiff_t samples, from_step;                // along a line
    std::ptrdiff_t width;                             // lines, next to one another
    float* to;                                        // the first coefficient of the first line; may overlap `from`
    std::ptrdiff_t to_step;
};

// A displacement's control points, continued by kMargin on each side of every axis, the components of each side by
// side: 2 in the plane, 4 (the last 0) in space.
struct StepView {
    static constexpr int kMargin = 4;
    const float* nodes;
    float per_voxel[3];         // cells per voxel; 0 along axes of one voxel
    float highest[3];           // upper limit of a position, in cells and counted from the margin's first
    std::ptrdiff_t strides[3];  // floats between nodes along an axis
};

// x -> matrix steps(x) + offset.
struct CompositionView {
    const StepView* steps;
    std::ptrdiff_t count;
    float matrix[3][3], offset[3];
    float inverse[3][3];  // of the matrix
    float curvature;      // bound of the second derivative: |chi(x + v) - chi(x) - chi'(x) v| <= curvature |v|^2 / 2
};

// A row of voxels and where a composition takes them, its first step already applied.
struct DisplaceRow {
    float start[3];            // the row's first voxel
    float* displacement;       // of the first step, then of the whole composition: component 0 at the row's first voxel
    std::ptrdiff_t component;  // step between components
    std::ptrdiff_t voxels;
};

// The control points of a displacement for a row of cells.
struct FoldRow {
    const float* nodes;         // component 0, the first that counts for the first cell; kBlock more may be read
    std::ptrdiff_t component;   // step between components
    std::ptrdiff_t strides[2];  // floats between nodes along all axes but the last
    float per_voxel[3];         // cells per voxel; 0 along axes of one voxel
    std::ptrdiff_t cells;
    float* scratch;  // (2 D^2, cells + 3 + kBlock)
};

// Up to kBlock voxels side by side, solved row by row, each row started from the rows before it.
struct SolveStrip {
    float start[3];               // the first voxel of the first row
    const float* fixed;           // displacement of the fixed image's composition, component 0 at the first voxel
    float* flow;                  // component 0 at the first voxel
    float* residual;              // at the first voxel; an upper bound
    std::ptrdiff_t component;     // step between components of both
    std::ptrdiff_t row;           // step between rows, which are neighbours along the axis before the last
    std::ptrdiff_t rows, voxels;  // of the strip
    std::ptrdiff_t known_rows;    // before the first, which hold their flow already
};

// KernelTable for grids of D axes.
template <int D>
struct GridKernels {
    void (*warp_linear)(const WarpRow& row, float* out);

    // WarpRow::image: the image's spline coefficients; WarpRow::shape is the image's.
    void (*warp_cubic)(const WarpRow& row, float* out);

    // Where in the image the voxel nearest to each is, half rounded up; -1 beyond it if WarpRow::constant.
    void (*warp_nearest)(const WarpRow& row, std::int32_t* at);

    // The inverse of a field, which is both WarpRow::image and WarpRow::displacement.
    void (*invert)(const WarpRow& row, float tolerance, int iterations, const InverseRow& out);

    // Determinants of x -> x + u(x).
    void (*jacobian_determinant)(const FieldRow& row, float* out);

    // fold_free[x] = 1 where a bound by the control points' differences proves that the Jacobian determinant of
    // x + r(x) exceeds `least` in all of cell x; else 0.
    void (*find_fold_free)(const FoldRow& row, float least, std::uint8_t* fold_free);

    // Displacements of the composition's steps after the first.
    void (*displace)(const CompositionView& rest, const DisplaceRow& row);

    // Newton's method for the partners of a strip's voxels. Where neither the residual nor the bound of what the last
    // step leaves of it is within `tolerance` after `iterations` steps, `fallback` (rows, kBlock) is 1 and the flow is
    // that of the row before; else 0.
    void (*solve_correspondence)(const CompositionView& moving, const SolveStrip& strip, float tolerance,
                                 int iterations, std::uint8_t* fallback);
};

struct KernelTable {
    const char* name;

    // out[i] = the four slabs of `inner` values, combined with the weights w (4).
    void (*interpolate_slabs)(const float* w, const float* slabs, std::ptrdiff_t inner, float* out);

    // out[x] = the spline with control points `line` at all voxels of the axis.
    void (*interpolate_line)(const AxisView& axis, const float* line, float* out);

    // See render.hpp. mean: of the first channel, at the row's first voxel; channels as far apart as those of `out`.
    void (*mix_fields)(const MixtureRow& row, const float* mean);
    void (*mix_patchwork)(const MixtureRow& row, float sharpness, const float* gain, const float* bias);

    // The largest squares of differences c[a] - c[0], or, if b > 0, c[a + b] - c[b] - (c[a] - c[0]), over rows of
    // `length` numbers, `row` apart; the components side by side, of which there must be 2 or 4, are told apart:
    // squares (kBlock) goes on from what it holds.
    void (*max_squared_differences)(const float* c, std::ptrdiff_t rows, std::ptrdiff_t row, std::ptrdiff_t length,
                                    std::ptrdiff_t a, std::ptrdiff_t b, float* squares);

    // The largest of `count` absolute values, or differences.
    float (*max_absolute)(const float* values, std::ptrdiff_t count);
    float (*max_difference)(const float* a, const float* b, std::ptrdiff_t count);

    // work: 2 (samples + 2 kMargin) width + 3 kWidth floats.
    void (*spline_coefficients)(const SplineLines& lines, float* work);

    // Whether none is NaN or infinite.
    bool (*finite_floats)(const float* x, std::ptrdiff_t count);
    bool (*finite_doubles)(const double* x, std::ptrdiff_t count);

    GridKernels<2> plane;
    GridKernels<3> space;
};

// Throws std::invalid_argument where MODELAUG_ISA names none that this build and this processor have.
const KernelTable& simd();

// Those for grids of D axes.
template <int D>
const GridKernels<D>& simd() {
    if constexpr (D == 2)
        return simd().plane;
    else
        return simd().space;
}

}  // namespace modelaug
