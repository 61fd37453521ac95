// Splines on the rows of their grid, one axis at a time: what the outer axes have in common is computed once.
#pragma once

#include <vector>

#include "modelaug/bspline.hpp"

namespace modelaug {

// For every voxel along an axis: its cell and the four weights there.
struct AxisTable {
    std::vector<index_t> cells;
    std::vector<double> weights;  // (voxels, 4)

    AxisTable(index_t voxels, index_t count) : cells(voxels), weights(4 * voxels) {
        for (index_t x = 0; x < voxels; ++x) {
            const Location where = locate(static_cast<double>(x), voxels, count);
            cells[x] = where.cell;
            cubic_weights(where.t, &weights[4 * x]);
        }
    }

    // out[i] = the four slabs of `inner` values around voxel x, combined.
    void collapse(index_t x, const double* lattice, index_t inner, double* out) const {
        const double* w = &weights[4 * x];
        const double* slab = lattice + cells[x] * inner;
        for (index_t i = 0; i < inner; ++i)
            out[i] = w[0] * slab[i] + w[1] * slab[i + inner] + w[2] * slab[i + 2 * inner] + w[3] * slab[i + 3 * inner];
    }

    // out[x] = the spline with the control points `row` at all voxels of the axis.
    template <typename T>
    void expand(const double* row, T* out) const {
        for (std::size_t x = 0; x < cells.size(); ++x) {
            const double* w = &weights[4 * x];
            const double* c = row + cells[x];
            out[x] = static_cast<T>(w[0] * c[0] + w[1] * c[1] + w[2] * c[2] + w[3] * c[3]);
        }
    }
};

// Evaluates one component after the other along rows; each thread needs one of its own.
template <int D>
class LatticeRows {
  public:
    explicit LatticeRows(const Lattice<D>& lattice) : lattice_(lattice), nodes_(lattice.nodes()) {
        for (int axis = 0; axis < D; ++axis) tables_.emplace_back(lattice.grid[axis], lattice.cells[axis]);
        line_.resize(nodes_[D - 1]);
        if constexpr (D == 3) {
            planes_.resize(lattice.components * nodes_[1] * nodes_[2]);
            current_.assign(lattice.components, -1);
        }
    }

    // out[x] = component k along row y, numbered in memory order.
    template <typename T>
    void row(index_t k, index_t y, T* out) {
        const double* coefficients = lattice_.data + k * volume<D>(nodes_);
        if constexpr (D == 2) {
            tables_[0].collapse(y, coefficients, nodes_[1], line_.data());
        } else {
            const index_t plane = y / lattice_.grid[1], size = nodes_[1] * nodes_[2];
            double* collapsed = planes_.data() + k * size;
            if (current_[k] != plane) tables_[0].collapse(plane, coefficients, size, collapsed);
            current_[k] = plane;
            tables_[1].collapse(y % lattice_.grid[1], collapsed, nodes_[2], line_.data());
        }
        tables_[D - 1].expand(line_.data(), out);
    }

  private:
    Lattice<D> lattice_;
    Shape<D> nodes_;
    std::vector<AxisTable> tables_;
    std::vector<double> line_, planes_;
    std::vector<index_t> current_;  // the plane that each component was last collapsed to
};

}  // namespace modelaug
