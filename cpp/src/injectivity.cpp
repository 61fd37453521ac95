#include "modelaug/injectivity.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "modelaug/linear.hpp"
#include "modelaug/step.hpp"

namespace modelaug {
namespace {

// The lattice with its border continued by three control points on each side of every axis of more than one voxel, then
// refined until a cell is at most `widest` voxels wide: bounds by control points get tighter.
template <int D>
struct Continued {
    Shape<D> cells, grid;
    Point<D> per_voxel;
    std::vector<double> coefficients;

    Continued(const Lattice<D>& lattice, double widest) : cells(lattice.cells), grid(lattice.grid) {
        const Shape<D> inner = lattice.nodes();
        for (int axis = 0; axis < D; ++axis) {
            per_voxel[axis] =
                grid[axis] > 1 ? static_cast<double>(cells[axis]) / static_cast<double>(grid[axis] - 1) : 0.0;
            if (grid[axis] > 1) cells[axis] += 6;
        }
        const Shape<D> nodes = shape();
        const Shape<D> step = strides<D>(inner);
        coefficients.resize(D * volume<D>(nodes));
        for (int k = 0; k < D; ++k)
            for_rows<D>(nodes, 0, volume<D>(nodes) / nodes[D - 1], [&](const Shape<D>& node, index_t index) {
                index_t source = k * volume<D>(inner);
                for (int axis = 0; axis < D; ++axis)
                    source +=
                        step[axis] * std::clamp<index_t>(node[axis] - (grid[axis] > 1 ? 3 : 0), 0, inner[axis] - 1);
                coefficients[k * volume<D>(nodes) + index] = lattice.data[source];
            });
        const auto wide = [&] {
            for (int axis = 0; axis < D; ++axis)
                if (grid[axis] > 1 && per_voxel[axis] * widest < 1.0) return true;
            return false;
        };
        while (wide()) {
            coefficients = refine<D>(std::move(coefficients), D, cells, grid);
            for (int axis = 0; axis < D; ++axis)
                if (grid[axis] > 1) {
                    cells[axis] *= 2;
                    per_voxel[axis] *= 2.0;
                }
        }
    }

    Shape<D> shape() const { return Lattice<D>{nullptr, D, cells, grid}.nodes(); }
};

// Replaces values by the lowest (or highest) of 3 or 4 neighbours from there on along an axis, (outer, nodes, inner);
// the last ones keep what is left of theirs. Pairs first, then pairs of pairs.
template <bool Lowest>
void slide(std::vector<double>& values, index_t outer, index_t nodes, index_t inner, index_t length) {
    for (const index_t shift : {index_t{1}, length - 2})
        for (index_t o = 0; o < outer; ++o) {
            double* target = values.data() + o * nodes * inner;
            const double* other = target + shift * inner;
            for (index_t x = 0; x < (nodes - shift) * inner; ++x)
                target[x] = Lowest ? std::min(target[x], other[x]) : std::max(target[x], other[x]);
        }
}

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

// For the cells of a box, small enough to stay in the cache: the range of each derivative over the control points of a
// cell, by the differences of neighbours along its axis.
template <int D>
class DerivativeRanges {
  public:
    DerivativeRanges(const Continued<D>& fine, const Shape<D>& first, const Shape<D>& cells) {
        const Shape<D> all = fine.shape(), all_strides = strides<D>(all);
        Shape<D> nodes;
        for (int axis = 0; axis < D; ++axis) nodes[axis] = cells[axis] + 3;
        strides_ = strides<D>(nodes);
        const index_t total = volume<D>(nodes);
        std::vector<double> control(total);
        for (int k = 0; k < D; ++k) {
            for_rows<D>(nodes, 0, total / nodes[D - 1], [&](const Shape<D>& node, index_t index) {
                index_t source = k * volume<D>(all);
                for (int axis = 0; axis < D; ++axis) source += (first[axis] + node[axis]) * all_strides[axis];
                control[index] = fine.coefficients[source];
            });
            for (int axis = 0; axis < D; ++axis) {
                std::vector<double> slope(total);
                for (index_t i = 0; i + strides_[axis] < total; ++i)
                    slope[i] = (control[i + strides_[axis]] - control[i]) * fine.per_voxel[axis];
                auto& [low, high] = limits_[k][axis];
                low = slope;
                high = std::move(slope);
                for (int other = 0; other < D; ++other) {
                    const index_t outer = total / (strides_[other] * nodes[other]), length = other == axis ? 3 : 4;
                    slide<true>(low, outer, nodes[other], strides_[other], length);
                    slide<false>(high, outer, nodes[other], strides_[other], length);
                }
            }
        }
    }

    // The Jacobian of x + r(x) in a cell, counted from the box's first.
    Ranges<D> jacobian(const Shape<D>& cell) const {
        index_t node = 0;
        for (int axis = 0; axis < D; ++axis) node += cell[axis] * strides_[axis];
        Ranges<D> result;
        for (int k = 0; k < D; ++k)
            for (int axis = 0; axis < D; ++axis) {
                const double diagonal = k == axis ? 1.0 : 0.0;
                result[k][axis] = {diagonal + limits_[k][axis][0][node], diagonal + limits_[k][axis][1][node]};
            }
        return result;
    }

  private:
    Shape<D> strides_{};
    std::array<std::array<std::array<std::vector<double>, 2>, D>, D> limits_;
};

// Whether the determinant exceeds `least` at the corners of a cell and at points between them, at most a voxel apart.
template <int D>
bool exceeds_within(const Step<D>& step, const Lattice<D>& lattice, const Continued<D>& fine, const Shape<D>& cell,
                    double least) {
    Shape<D> samples;
    for (int axis = 0; axis < D; ++axis)
        samples[axis] = fine.grid[axis] == 1 ? 1 : 1 + static_cast<index_t>(std::ceil(1.0 / fine.per_voxel[axis]));
    bool exceeds = true;
    for_rows<D>(samples, 0, volume<D>(samples) / samples[D - 1], [&](const Shape<D>& sample, index_t) {
        Point<D> x{};
        for (int axis = 0; axis < D; ++axis) {
            if (fine.grid[axis] == 1) continue;
            const double t = static_cast<double>(sample[axis]) / static_cast<double>(samples[axis] - 1);
            // Three cells of the lattice as it came lie before the first voxel.
            const double before =
                3.0 * static_cast<double>(fine.cells[axis]) / static_cast<double>(lattice.cells[axis] + 6);
            x[axis] = (static_cast<double>(cell[axis]) + t - before) / fine.per_voxel[axis];
        }
        Matrix<D> jacobian;
        step.template apply<true>(x, jacobian);
        exceeds = exceeds && determinant(jacobian) > least;
    });
    return exceeds;
}

}  // namespace

template <int D>
bool is_one_to_one(const Lattice<D>& lattice, double least) {
    constexpr index_t kBox = D == 2 ? 64 : 16;
    const Continued<D> fine(lattice, 4.0);
    const Step<D> step(lattice);
    Shape<D> boxes;
    for (int axis = 0; axis < D; ++axis) boxes[axis] = (fine.cells[axis] + kBox - 1) / kBox;
    bool folded = false;
    for_rows<D>(boxes, 0, volume<D>(boxes) / boxes[D - 1], [&](const Shape<D>& box, index_t) {
        if (folded) return;
        Shape<D> first, cells;
        for (int axis = 0; axis < D; ++axis) {
            first[axis] = box[axis] * kBox;
            cells[axis] = std::min(kBox, fine.cells[axis] - first[axis]);
        }
        const DerivativeRanges<D> ranges(fine, first, cells);
        for_rows<D>(cells, 0, volume<D>(cells) / cells[D - 1], [&](const Shape<D>& offset, index_t) {
            if (folded) return;
            const Ranges<D> jacobian = ranges.jacobian(offset);
            if (dominance<D>(jacobian) > least || lowest_determinant(jacobian) > least) return;
            Shape<D> cell;
            for (int axis = 0; axis < D; ++axis) cell[axis] = first[axis] + offset[axis];
            folded = !exceeds_within<D>(step, lattice, fine, cell, least);
        });
    });
    return !folded;
}

template bool is_one_to_one<2>(const Lattice<2>&, double);
template bool is_one_to_one<3>(const Lattice<3>&, double);

}  // namespace modelaug
