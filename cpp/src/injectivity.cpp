#include "modelaug/injectivity.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "modelaug/linear.hpp"
#include "modelaug/simd.hpp"

namespace modelaug {
namespace {

constexpr int kNodes2 = 16, kNodes3 = 64;

template <int D>
constexpr int kPatchNodes = D == 2 ? kNodes2 : kNodes3;

// A range that holds a number.
struct Range {
    double low, high;
};

Range operator*(Range a, Range b) {
    const auto [low, high] = std::minmax({a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high});
    return {low, high};
}

Range operator-(Range a, Range b) {
    return {a.low - b.high, a.high - b.low};
}

Range operator+(Range a, Range b) {
    return {a.low + b.low, a.high + b.high};
}

template <int D>
using Ranges = std::array<std::array<Range, D>, D>;

// A lower bound of the determinant of matrices within the ranges whose diagonals dominate their rows: the product of
// what the diagonal exceeds the rest of its row by (Ostrowski 1937). 0 for others.
template <int D>
double dominance(const Ranges<D>& m) {
    double product = 1.0;
    for (int k = 0; k < D; ++k) {
        double margin = m[k][k].low;
        for (int j = 0; j < D; ++j)
            if (j != k) margin -= std::max(m[k][j].high, -m[k][j].low);
        product *= std::max(margin, 0.0);
    }
    return product;
}

double lowest_determinant(const Ranges<2>& m) {
    return (m[0][0] * m[1][1] - m[0][1] * m[1][0]).low;
}

double lowest_determinant(const Ranges<3>& m) {
    return (m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
            m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]))
        .low;
}

template <int D>
bool exceeds(const Ranges<D>& jacobian, double least) {
    return dominance<D>(jacobian) > least || lowest_determinant(jacobian) > least;
}

// A displacement's control points, looked up beyond the border as well, where the outermost ones continue.
template <int D>
class Continued {
  public:
    explicit Continued(const Lattice<D>& lattice)
        : data_(lattice.data), nodes_(lattice.nodes()), strides_(strides<D>(nodes_)), total_(volume<D>(nodes_)) {
        for (int axis = 0; axis < D; ++axis) {
            const bool moves = lattice.grid[axis] > 1;
            per_voxel[axis] =
                moves ? static_cast<double>(lattice.cells[axis]) / static_cast<double>(lattice.grid[axis] - 1) : 0.0;
            // Four control points beyond the border nothing changes any more.
            first[axis] = moves ? -3 : 0;
            cells[axis] = moves ? lattice.cells[axis] + 6 : 1;
            if (!moves) collapse(axis);
        }
    }

    double operator()(int k, const Shape<D>& node) const { return *at(k, node); }

    const double* at(int k, const Shape<D>& node) const {
        index_t source = k * total_;
        for (int axis = 0; axis < D; ++axis)
            source += strides_[axis] * std::clamp<index_t>(node[axis] + first[axis], 0, nodes_[axis] - 1);
        return data_ + source;
    }

    Point<D> per_voxel{};       // cells per voxel; 0 along axes of one voxel
    Shape<D> first{}, cells{};  // of all cells in which the displacement may vary

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

// The control points of one cell, or of a part of it. The range of their differences holds the derivatives.
template <int D>
struct Patch {
    std::array<std::array<double, kPatchNodes<D>>, D> nodes;  // (D, 4, ..., 4)
    Point<D> per_voxel;

    static constexpr int stride(int axis) { return axis == D - 1 ? 1 : axis == D - 2 ? 4 : 16; }

    Ranges<D> jacobian() const {
        Ranges<D> result;
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
                result[k][axis] = {diagonal + low * per_voxel[axis], diagonal + high * per_voxel[axis]};
            }
        return result;
    }

    double determinant_in_the_middle() const {
        constexpr double weights[4] = {1.0 / 48, 23.0 / 48, 23.0 / 48, 1.0 / 48};
        constexpr double slopes[4] = {-1.0 / 8, -5.0 / 8, 5.0 / 8, 1.0 / 8};
        Matrix<D> jacobian = identity<D>();
        for (int node = 0; node < kPatchNodes<D>; ++node)
            for (int axis = 0; axis < D; ++axis) {
                double factor = per_voxel[axis];
                for (int other = 0; other < D; ++other) {
                    const double* table = other == axis ? slopes : weights;
                    factor *= table[node / stride(other) % 4];
                }
                for (int k = 0; k < D; ++k) jacobian[k][axis] += factor * nodes[k][node];
            }
        return determinant(jacobian);
    }

    // The lower or upper half along an axis, on a lattice twice as dense there (two-scale relation).
    Patch half(int axis, bool upper) const {
        Patch result = *this;
        result.per_voxel[axis] *= 2.0;
        const int step = stride(axis);
        for (int k = 0; k < D; ++k)
            for (int node = 0; node < kPatchNodes<D>; ++node) {
                if (node / step % 4 != 0) continue;
                const double *c = &nodes[k][node], a = c[0], b = c[step], d = c[2 * step], e = c[3 * step];
                const double fine[5] = {0.5 * (a + b), 0.125 * (a + 6.0 * b + d), 0.5 * (b + d),
                                        0.125 * (b + 6.0 * d + e), 0.5 * (d + e)};
                for (int i = 0; i < 4; ++i) result.nodes[k][node + i * step] = fine[i + (upper ? 1 : 0)];
            }
        return result;
    }
};

// Whether the determinant exceeds `least` in all of a patch. Halves get tighter bounds, four times so for each halving
// of all axes; what is not decided after `depth` of them is taken for folded.
template <int D>
bool exceeds_everywhere(const Patch<D>& patch, double least, int depth, int axis) {
    if (exceeds<D>(patch.jacobian(), least)) return true;
    if (depth == 0 || !(patch.determinant_in_the_middle() > least)) return false;
    while (patch.per_voxel[axis] == 0.0) axis = (axis + 1) % D;
    const int next = (axis + 1) % D;
    return exceeds_everywhere<D>(patch.half(axis, false), least, depth - 1, next) &&
           exceeds_everywhere<D>(patch.half(axis, true), least, depth - 1, next);
}

// All control points in single precision, the continuation beyond the border written out, (D, *(cells + 3)).
template <int D>
class FloatNodes {
  public:
    explicit FloatNodes(const Continued<D>& control) {
        for (int axis = 0; axis < D; ++axis) nodes_[axis] = control.cells[axis] + 3;
        const index_t total = volume<D>(nodes_);
        values_.resize(D * total + 16);
        const index_t columns = nodes_[D - 1], before = -control.first[D - 1], inner = columns - 2 * before;
        Shape<D> lines = nodes_;
        lines[D - 1] = 1;
        for (int k = 0; k < D; ++k)
            for_rows<D>(lines, 0, volume<D>(lines), [&](Shape<D> node, index_t line) {
                node[D - 1] = before;
                continue_line(control.at(k, node), inner, before, 1, values_.data() + k * total + line * columns);
            });
    }

    // The largest error of a difference of two of them, in voxels.
    float rounding() const {
        return 4.0f * std::numeric_limits<float>::epsilon() *
               simd().largest(values_.data(), static_cast<index_t>(values_.size()));
    }

    FoldRow row(const Continued<D>& control, const Shape<D>& cell) const {
        const Shape<D> step = strides<D>(nodes_);
        FoldRow result{values_.data(), volume<D>(nodes_), {}, {}, control.cells[D - 1], nullptr};
        for (int axis = 0; axis < D; ++axis) {
            result.nodes += cell[axis] * step[axis];
            result.per_voxel[axis] = static_cast<float>(control.per_voxel[axis]);
            if (axis < D - 1) result.strides[axis] = step[axis];
        }
        return result;
    }

  private:
    Shape<D> nodes_{};
    std::vector<float> values_;
};

template <int D>
Patch<D> patch_at(const Continued<D>& control, const Shape<D>& cell) {
    Patch<D> result;
    result.per_voxel = control.per_voxel;
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
bool is_one_to_one(const Lattice<D>& lattice, double least) {
    const Continued<D> control(lattice);
    const FloatNodes<D> nodes(control);
    // Down to a sixteenth of a voxel, and at least four halvings of every axis.
    int depth = 0;
    for (int axis = 0; axis < D; ++axis)
        if (control.per_voxel[axis] > 0.0)
            depth += 4 + std::max(0, static_cast<int>(std::ceil(-std::log2(control.per_voxel[axis]))));
    // What single precision decides it decides with a margin.
    const float wanted = static_cast<float>(least) + 1e-4f + 16.0f * nodes.rounding();
    const index_t columns = control.cells[D - 1];
    std::vector<float> scratch(2 * D * D * (columns + 19));
    std::vector<std::uint8_t> sure(columns);
    std::vector<Shape<D>> doubtful;
    Shape<D> rows = control.cells;
    rows[D - 1] = 1;
    for_rows<D>(rows, 0, volume<D>(rows), [&](const Shape<D>& first, index_t) {
        FoldRow row = nodes.row(control, first);
        row.scratch = scratch.data();
        (D == 2 ? simd().unfolded_2d : simd().unfolded_3d)(row, wanted, sure.data());
        Shape<D> cell = first;
        for (index_t x = 0; x < columns; ++x) {
            cell[D - 1] = x;
            if (!sure[x]) doubtful.push_back(cell);
        }
    });
    // Most folds show in the middle of a cell; only then cells are cut into pieces.
    for (const Shape<D>& cell : doubtful)
        if (!(patch_at<D>(control, cell).determinant_in_the_middle() > least)) return false;
    for (const Shape<D>& cell : doubtful)
        if (!exceeds_everywhere<D>(patch_at<D>(control, cell), least, depth, 0)) return false;
    return true;
}

template bool is_one_to_one<2>(const Lattice<2>&, double);
template bool is_one_to_one<3>(const Lattice<3>&, double);

}  // namespace modelaug
