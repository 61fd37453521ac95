// Splines on the rows of their grid, one axis at a time: what the outer axes have in common is computed once.
#pragma once

#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/simd.hpp"

namespace modelaug {

// For every voxel along an axis: its cell and the four weights there, each weight contiguous.
struct AxisTable {
    std::vector<std::int32_t> cells;
    std::vector<float> weights;      // (4, voxels)
    std::vector<std::int32_t> runs;  // first voxels of the runs within one cell, and the end of the last

    AxisTable(index_t voxels, index_t count) : cells(voxels), weights(4 * voxels) {
        for (index_t x = 0; x < voxels; ++x) {
            const Location where = locate(static_cast<double>(x), voxels, count);
            double w[4];
            cubic_weights(where.t, w);
            cells[x] = static_cast<std::int32_t>(where.cell);
            for (int tap = 0; tap < 4; ++tap) weights[tap * voxels + x] = static_cast<float>(w[tap]);
            if (x == 0 || cells[x] != cells[x - 1]) runs.push_back(static_cast<std::int32_t>(x));
        }
        runs.push_back(static_cast<std::int32_t>(voxels));
    }

    index_t voxels() const { return static_cast<index_t>(cells.size()); }

    // out[i] = the four slabs of `inner` values around voxel x, combined.
    void collapse(index_t x, const float* lattice, index_t inner, float* out) const {
        simd().collapse(&weights[x], voxels(), lattice + cells[x] * inner, inner, out);
    }

    // out[x] = the spline with the control points `line` at all voxels of the axis.
    void expand(const float* line, float* out) const {
        simd().expand({cells.data(), weights.data(), voxels(), runs.data(), static_cast<index_t>(runs.size()) - 1},
                      line, out);
    }
};

// Evaluates splines with float control points (components, *nodes) along rows; each thread needs one of its own.
template <int D>
class LatticeRows {
  public:
    LatticeRows(const float* data, index_t components, const Shape<D>& cells, const Shape<D>& grid)
        : data_(data), grid_(grid), nodes_(Lattice<D>{nullptr, components, cells, grid}.nodes()) {
        for (int axis = 0; axis < D; ++axis) tables_.emplace_back(grid[axis], cells[axis]);
        line_.resize(nodes_[D - 1]);
        if constexpr (D == 3) {
            planes_.resize(components * nodes_[1] * nodes_[2]);
            current_.assign(components, -1);
        }
    }

    // out[x] = component k along row y, numbered in memory order.
    void row(index_t k, index_t y, float* out) {
        const float* lattice = data_ + k * volume<D>(nodes_);
        if constexpr (D == 2) {
            tables_[0].collapse(y, lattice, nodes_[1], line_.data());
        } else {
            const index_t plane = y / grid_[1], size = nodes_[1] * nodes_[2];
            float* collapsed = planes_.data() + k * size;
            if (current_[k] != plane) tables_[0].collapse(plane, lattice, size, collapsed);
            current_[k] = plane;
            tables_[1].collapse(y % grid_[1], collapsed, nodes_[2], line_.data());
        }
        tables_[D - 1].expand(line_.data(), out);
    }

  private:
    const float* data_;
    Shape<D> grid_, nodes_;
    std::vector<AxisTable> tables_;
    std::vector<float> line_, planes_;
    std::vector<index_t> current_;  // the plane that each component was last collapsed to
};

template <int D>
std::vector<float> float_coefficients(const Lattice<D>& lattice) {
    return std::vector<float>(lattice.data, lattice.data + lattice.components * volume<D>(lattice.nodes()));
}

}  // namespace modelaug
