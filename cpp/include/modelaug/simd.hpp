// Inner loops, compiled for several instruction sets; the best that this processor has is chosen when first used.
//
// The environment variable MODELAUG_ISA (baseline, v3 or v4, the x86-64 levels) chooses another one. On one instruction
// set results do not depend on anything but the arguments; sets differ by rounding, since the newer ones fuse multiply
// and add.
#pragma once

#include <cstddef>
#include <cstdint>

namespace modelaug {

// A spline along an axis, for blocks of kVoxels voxels: the control points that count for a block, and their weights,
// (control points, kVoxels), 0 where one does not count.
struct AxisBlock {
    static constexpr int kVoxels = 16;
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
    const float* images;             // (blocks, count, channels, AxisBlock::kVoxels)
    const float* inverse_deviation;  // (voxels)
    const float* ranges;             // (channels, 2): lowest and highest value of the result
    std::ptrdiff_t nodes, count, channels;
    float* fields;           // scratch, (count, AxisBlock::kVoxels)
    std::int32_t* chosen;    // scratch, (count)
    float* tops;             // the highest fields of the row before, and then of this one, (blocks, kVoxels)
    float change;            // by which no field changes more from there; infinite if there is no row before
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
    float* inverse;      // component 0 at the row's first voxel; components as far apart as the field's
    float* residual;     // at the row's first voxel, like the next
    std::uint8_t* hard;  // 1 where the residual is larger than allowed
};

// Coefficients of the interpolating cubic B-spline of so many samples: one beyond each end; 4 of a single sample.
static constexpr std::ptrdiff_t spline_nodes(std::ptrdiff_t samples) {
    return samples > 1 ? samples + 2 : 4;
}

// Lines of samples side by side, to become those coefficients, mirrored about the outermost samples.
struct SplineLines {
    static constexpr std::ptrdiff_t kMargin = 16;  // rows that `work` has more than there are samples, at each end
    static constexpr std::ptrdiff_t kWidth = 16;   // the best number of lines
    const float* from;                             // the first sample of the first line
    std::ptrdiff_t samples, from_step;             // along a line
    std::ptrdiff_t width;                          // lines, next to one another
    float* to;                                     // the first coefficient of the first line; may overlap `from`
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
struct ChainView {
    const StepView* steps;
    std::ptrdiff_t count;
    float matrix[3][3], offset[3];
    float inverse[3][3];  // of the matrix
    float curvature;      // bound of the second derivative: |chi(x + v) - chi(x) - chi'(x) v| <= curvature |v|^2 / 2
};

// A row of voxels and where a chain takes them, its first step already taken.
struct DisplaceRow {
    float start[3];            // the row's first voxel
    float* displacement;       // of the first step, and then of the whole chain: component 0 at the row's first voxel
    std::ptrdiff_t component;  // step between components
    std::ptrdiff_t voxels;
};

// The control points of a displacement for a row of cells.
struct FoldRow {
    const float* nodes;         // component 0, the first that counts for the first cell; 16 more may be read
    std::ptrdiff_t component;   // step between components
    std::ptrdiff_t strides[2];  // floats between nodes along all axes but the last
    float per_voxel[3];         // cells per voxel; 0 along axes of one voxel
    std::ptrdiff_t cells;
    float* scratch;  // (2 D^2, cells + 19)
};

// Up to kVoxels voxels side by side, solved row by row, each row started from the rows before it.
struct SolveStrip {
    static constexpr int kVoxels = 16;
    float start[3];               // the first voxel of the first row
    const float* fixed;           // displacement of the fixed image's chain, component 0 at the first voxel
    float* flow;                  // component 0 at the first voxel
    float* residual;              // at the first voxel; an upper bound
    std::ptrdiff_t component;     // step between components of both
    std::ptrdiff_t row;           // step between rows, which are neighbours along the axis before the last
    std::ptrdiff_t rows, voxels;  // of the strip
    std::ptrdiff_t known;         // rows before the first that hold their flow already
};

struct Simd {
    const char* name;

    // out[i] = the four slabs of `inner` values, combined with the weights w (4).
    void (*collapse)(const float* w, const float* slabs, std::ptrdiff_t inner, float* out);

    // out[x] = the spline with control points `line` at all voxels of the axis.
    void (*expand)(const AxisView& axis, const float* line, float* out);

    // See render.hpp. mean: of the first channel, at the row's first voxel; channels as far apart as those of `out`.
    void (*fields)(const MixtureRow& row, const float* mean);
    void (*patchwork)(const MixtureRow& row, float sharpness, const float* gain, const float* bias);

    void (*warp_linear_2d)(const WarpRow& row, float* out);
    void (*warp_linear_3d)(const WarpRow& row, float* out);

    // The largest squares of differences c[a] - c[0], or, if b > 0, c[a + b] - c[b] - (c[a] - c[0]), over rows of
    // `length` numbers, `row` apart; the components side by side, of which there must be 2 or 4, are told apart:
    // squares (16) goes on from what it holds.
    void (*steepest)(const float* c, std::ptrdiff_t rows, std::ptrdiff_t row, std::ptrdiff_t length, std::ptrdiff_t a,
                     std::ptrdiff_t b, float* squares);

    // The largest of `count` absolute values, or differences.
    float (*largest)(const float* values, std::ptrdiff_t count);
    float (*largest_difference)(const float* a, const float* b, std::ptrdiff_t count);

    // sure[x] = 1 where a bound by the control points' differences tells that the Jacobian determinant of x + r(x)
    // exceeds `least` in all of cell x; else 0.
    void (*unfolded_2d)(const FoldRow& row, float least, std::uint8_t* sure);
    void (*unfolded_3d)(const FoldRow& row, float least, std::uint8_t* sure);

    // Displacements of the chain's steps after the first.
    void (*displace_2d)(const ChainView& rest, const DisplaceRow& row);
    void (*displace_3d)(const ChainView& rest, const DisplaceRow& row);

    // Newton's method for the partners of a strip's voxels. Where neither the residual nor what the last step leaves of
    // it at most is within `tolerance` after `iterations` steps, `hard` (rows, kVoxels) is 1 and the flow is that of
    // the row before; else 0.
    void (*solve_2d)(const ChainView& moving, const SolveStrip& strip, float tolerance, int iterations,
                     std::uint8_t* hard);
    void (*solve_3d)(const ChainView& moving, const SolveStrip& strip, float tolerance, int iterations,
                     std::uint8_t* hard);

    // work: 2 (samples + 2 kMargin) width + 3 kWidth floats.
    void (*spline_lines)(const SplineLines& lines, float* work);

    // WarpRow::image: the image's spline coefficients; WarpRow::shape is the image's.
    void (*warp_cubic_2d)(const WarpRow& row, float* out);
    void (*warp_cubic_3d)(const WarpRow& row, float* out);

    // Whether none is NaN or infinite.
    bool (*finite_floats)(const float* x, std::ptrdiff_t count);
    bool (*finite_doubles)(const double* x, std::ptrdiff_t count);

    // Determinants of x -> x + u(x).
    void (*jacobian_2d)(const FieldRow& row, float* out);
    void (*jacobian_3d)(const FieldRow& row, float* out);

    // Where in the image the voxel nearest to each is, half rounded up; -1 beyond it if WarpRow::constant.
    void (*nearest_2d)(const WarpRow& row, std::int32_t* at);
    void (*nearest_3d)(const WarpRow& row, std::int32_t* at);

    // The inverse of a field, which is both WarpRow::image and WarpRow::displacement.
    void (*invert_2d)(const WarpRow& row, float tolerance, int iterations, const InverseRow& out);
    void (*invert_3d)(const WarpRow& row, float tolerance, int iterations, const InverseRow& out);
};

// Throws std::invalid_argument where MODELAUG_ISA names none that this build and this processor have.
const Simd& simd();

}  // namespace modelaug
