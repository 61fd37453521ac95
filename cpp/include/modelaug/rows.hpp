// Splines on the rows of their grid, one axis at a time: what the outer axes have in common is computed once.
#pragma once

#include <algorithm>
#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/simd.hpp"

namespace modelaug {

// Weights of the control points of a cubic B-spline at all voxels along an axis.
class AxisTable {
  public:
    AxisTable(index_t voxels, index_t cells) : voxels_(voxels), cells_(voxels), weights_(4 * voxels) {
        constexpr index_t kVoxels = AxisBlock::kVoxels;
        for (index_t x = 0; x < voxels; ++x) {
            const Location where = locate(static_cast<double>(x), voxels, cells);
            double w[4];
            cubic_weights(where.t, w);
            cells_[x] = static_cast<std::int32_t>(where.cell);
            for (int tap = 0; tap < 4; ++tap) weights_[4 * x + tap] = static_cast<float>(w[tap]);
        }
        for (index_t begin = 0; begin < voxels; begin += kVoxels) {
            const index_t end = std::min(begin + kVoxels, voxels);
            const AxisBlock block{cells_[begin], cells_[end - 1] - cells_[begin] + 4,
                                  static_cast<index_t>(block_weights_.size())};
            block_weights_.resize(block_weights_.size() + block.count * kVoxels);
            for (index_t x = begin; x < end; ++x)
                for (index_t tap = 0; tap < 4; ++tap)
                    block_weights_[block.weights + (cells_[x] - block.first + tap) * kVoxels + x - begin] =
                        weights_[4 * x + tap];
            blocks_.push_back(block);
        }
    }

    // out[i] = the four slabs of `inner` values around voxel x, combined.
    void collapse(index_t x, const float* lattice, index_t inner, float* out) const {
        simd().collapse(&weights_[4 * x], lattice + cells_[x] * inner, inner, out);
    }

    AxisView view() const { return {blocks_.data(), block_weights_.data(), voxels_}; }

  private:
    index_t voxels_;
    std::vector<std::int32_t> cells_;
    std::vector<float> weights_;  // (voxels, 4)
    std::vector<AxisBlock> blocks_;
    std::vector<float> block_weights_;
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
        simd().expand(tables_[D - 1].view(), line_.data(), out);
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
