#include "modelaug/diffeomorphism.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "modelaug/linear.hpp"
#include "modelaug/simd.hpp"
#include "simd/ranges.hpp"

namespace modelaug {
namespace {

template <int D>
constexpr int kPatchNodes = 1 << 2 * D;  // 4 along each axis

// A displacement's control points, looked up beyond the border as well, where the outermost ones continue.
template <int D>
class ContinuedLattice {
  public:
    explicit ContinuedLattice(const Lattice<D>& lattice)
        : data_(lattice.data), nodes_(lattice.nodes()), strides_(strides<D>(nodes_)), total_(volume<D>(nodes_)) {
        assert(lattice.components == D);
        for (int axis = 0; axis < D; ++axis) {
            const bool moves = lattice.grid[axis] > 1;
            cells_per_voxel[axis] = lattice.cells_per_voxel(axis);
            // Four control points beyond the border nothing changes any more.
            margin[axis] = moves ? 3 : 0;
            cells[axis] = moves ? lattice.cells[axis] + 6 : 1;
            if (!moves) collapse(axis);
        }
    }

    double operator()(int k, const Shape<D>& node) const {
        index_t source = k * total_;
        for (int axis = 0; axis < D; ++axis)
            source += strides_[axis] * continued(node[axis] - margin[axis], nodes_[axis]);
        return data_[source];
    }

    // All of one component in single precision, (*(cells + 3)).
    void copy(int k, float* out) const { copy_continued<D>(data_ + k * total_, nodes_, margin, 1, out); }

    Point<D> cells_per_voxel{};  // 0 along axes of one voxel
    Shape<D> margin{}, cells{};  // of all cells in which the displacement may vary, and how many precede the lattice

  private:
    // Along an axis of one voxel only the spline's value there counts: it takes the place of the four control points.
    void collapse(int axis) {
        if (collapsed_.empty()) collapsed_.assign(data_, data_ + D * total_);
        data_ = collapsed_.data();
        const index_t step = strides_[axis];
        for (index_t i = 0; i < D * total_; ++i) {
            if (i / step % nodes_[axis] != 0) continue;
            double* c = &collapsed_[i];
            const double value = (c[0] + 4.0 * c[step] + c[2 * step]) / 6.0;
            for (index_t tap = 0; tap < nodes_[axis]; ++tap) c[tap * step] = value;
        }
    }

    const double* data_;
    std::vector<double> collapsed_;
    Shape<D> nodes_, strides_;
    index_t total_;
};

// The control points of one cell, or of a part of it.
template <int D>
struct Patch {
    std::array<std::array<double, kPatchNodes<D>>, D> nodes;  // (D, 4, ..., 4)
    Point<D> cells_per_voxel;

    static constexpr int stride(int axis) { return 1 << 2 * (D - 1 - axis); }

    // Whether the range of their differences, which holds the derivatives, proves that the determinant exceeds `least`.
    bool exceeds(double least) const {
        Range<double> jacobian[D][D];
        for (int k = 0; k < D; ++k)
            for (int axis = 0; axis < D; ++axis) {
                const int step = stride(axis);
                // Four extremes side by side, for the compiler to keep them in a vector.
                double lows[4], highs[4];
                std::fill_n(lows, 4, INFINITY);
                std::fill_n(highs, 4, -INFINITY);
                for (int line = 0; line < kPatchNodes<D>; line += 4) {
                    if (step > 1 && line / step % 4 == 3) continue;
                    const double *from = &nodes[k][line], *to = from + step;
                    for (int i = 0; i < (step > 1 ? 4 : 3); ++i) {
                        const double slope = to[i] - from[i];
                        lows[i] = slope < lows[i] ? slope : lows[i];
                        highs[i] = slope > highs[i] ? slope : highs[i];
                    }
                }
                const double low = *std::min_element(lows, lows + 4), high = *std::max_element(highs, highs + 4);
                const double diagonal = k == axis ? 1.0 : 0.0;
                jacobian[k][axis] = {diagonal + low * cells_per_voxel[axis], diagonal + high * cells_per_voxel[axis]};
            }
        return dominance(jacobian) > least || lowest_determinant(jacobian) > least;
    }

    double determinant_in_the_middle() const {
        constexpr double weights[4] = {1.0 / 48, 23.0 / 48, 23.0 / 48, 1.0 / 48};
        constexpr double slopes[4] = {-1.0 / 8, -5.0 / 8, 5.0 / 8, 1.0 / 8};
        Matrix<D> jacobian = identity<D>();
        for (int node = 0; node < kPatchNodes<D>; ++node)
            for (int axis = 0; axis < D; ++axis) {
                double factor = cells_per_voxel[axis];
                for (int other = 0; other < D; ++other) {
                    const double* table = other == axis ? slopes : weights;
                    factor *= table[node / stride(other) % 4];
                }
                for (int k = 0; k < D; ++k) jacobian[k][axis] += factor * nodes[k][node];
            }
        return determinant(jacobian);
    }

    // The lower or upper half along an axis, by the two-scale relation.
    Patch half(int axis, bool upper) const {
        Patch result = *this;
        result.cells_per_voxel[axis] *= 2.0;
        const int step = stride(axis);
        for (int k = 0; k < D; ++k)
            for (int node = 0; node < kPatchNodes<D>; ++node) {
                if (node / step % 4 != 0) continue;
                const double *c = &nodes[k][node], a = c[0], b = c[step], d = c[2 * step], e = c[3 * step];
                const double fine[5] = {refined_between(a, b), refined_at(a, b, d), refined_between(b, d),
                                        refined_at(b, d, e), refined_between(d, e)};
                for (int i = 0; i < 4; ++i) result.nodes[k][node + i * step] = fine[i + (upper ? 1 : 0)];
            }
        return result;
    }
};

// Whether the determinant exceeds `least` in all of a patch. Halves get tighter bounds, four times so for each halving
// of all axes; what is not decided after `depth` of them is taken for folded.
template <int D>
bool exceeds_everywhere(const Patch<D>& patch, double least, int depth, int axis) {
    if (patch.exceeds(least)) return true;
    if (depth == 0 || !(patch.determinant_in_the_middle() > least)) return false;
    while (patch.cells_per_voxel[axis] == 0.0) axis = (axis + 1) % D;
    const int next = (axis + 1) % D;
    return exceeds_everywhere<D>(patch.half(axis, false), least, depth - 1, next) &&
           exceeds_everywhere<D>(patch.half(axis, true), least, depth - 1, next);
}

// All control points in single precision, the continuation beyond the border written out, (D, *(cells + 3)).
template <int D>
class FloatNodes {
  public:
    explicit FloatNodes(const ContinuedLattice<D>& control) {
        for (int axis = 0; axis < D; ++axis) nodes_[axis] = control.cells[axis] + 3;
        values_.resize(D * volume<D>(nodes_) + kBlock);
        for (int k = 0; k < D; ++k) control.copy(k, values_.data() + k * volume<D>(nodes_));
    }

    // The largest error of a difference of two of them, in voxels.
    float rounding() const {
        return 4.0f * std::numeric_limits<float>::epsilon() *
               simd().max_absolute(values_.data(), static_cast<index_t>(values_.size()));
    }

    FoldRow row(const ContinuedLattice<D>& control, const Shape<D>& cell) const {
        const Shape<D> step = strides<D>(nodes_);
        FoldRow result{values_.data(), volume<D>(nodes_), {}, {}, control.cells[D - 1], nullptr};
        for (int axis = 0; axis < D; ++axis) {
            result.nodes += cell[axis] * step[axis];
            result.per_voxel[axis] = static_cast<float>(control.cells_per_voxel[axis]);
            if (axis < D - 1) result.strides[axis] = step[axis];
        }
        return result;
    }

  private:
    Shape<D> nodes_{};
    std::vector<float> values_;
};

template <int D>
Patch<D> patch_at(const ContinuedLattice<D>& control, const Shape<D>& cell) {
    Patch<D> result;
    result.cells_per_voxel = control.cells_per_voxel;
    for (int k = 0; k < D; ++k)
        for (int node = 0; node < kPatchNodes<D>; ++node) {
            Shape<D> at = cell;
            for (int axis = 0; axis < D; ++axis) at[axis] += node / Patch<D>::stride(axis) % 4;
            result.nodes[k][node] = control(k, at);
        }
    return result;
}

}  // namespace

template <int D>
bool is_diffeomorphic(const Lattice<D>& lattice, double least) {
    const ContinuedLattice<D> control(lattice);
    const FloatNodes<D> nodes(control);
    // Down to a sixteenth of a voxel, and at least four halvings of every axis.
    int depth = 0;
    for (int axis = 0; axis < D; ++axis)
        if (control.cells_per_voxel[axis] > 0.0)
            depth += 4 + std::max(0, static_cast<int>(std::ceil(-std::log2(control.cells_per_voxel[axis]))));
    // What single precision decides it decides with a margin.
    const float wanted = static_cast<float>(least) + 1e-4f + 16.0f * nodes.rounding();
    const index_t columns = control.cells[D - 1];
    std::vector<float> scratch(2 * D * D * (columns + 3 + kBlock));
    std::vector<std::uint8_t> fold_free(columns);
    std::vector<Shape<D>> undecided;
    Shape<D> rows = control.cells;
    rows[D - 1] = 1;
    for_rows<D>(rows, 0, volume<D>(rows), [&](const Shape<D>& first, index_t) {
        FoldRow row = nodes.row(control, first);
        row.scratch = scratch.data();
        simd<D>().find_fold_free(row, wanted, fold_free.data());
        Shape<D> cell = first;
        for (index_t x = 0; x < columns; ++x) {
            cell[D - 1] = x;
            if (!fold_free[x]) undecided.push_back(cell);
        }
    });
    // Most folds show in the middle of a cell; only then cells are cut into pieces.
    for (const Shape<D>& cell : undecided)
        if (!(patch_at<D>(control, cell).determinant_in_the_middle() > least)) return false;
    for (const Shape<D>& cell : undecided)
        if (!exceeds_everywhere<D>(patch_at<D>(control, cell), least, depth, 0)) return false;
    return true;
}

template bool is_diffeomorphic<2>(const Lattice<2>&, double);
template bool is_diffeomorphic<3>(const Lattice<3>&, double);

}  // namespace modelaug
