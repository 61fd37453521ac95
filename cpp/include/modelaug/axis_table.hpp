// Splines along one axis of their grid.
#pragma once

#include <algorithm>
#include <cassert>
#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/simd.hpp"

namespace modelaug {

// Weights of the control points of a cubic B-spline at all voxels along an axis.
class AxisTable {
  public:
    AxisTable(index_t voxels, index_t cells) : voxels_(voxels), cells_(voxels), weights_(4 * voxels) {
        for (index_t x = 0; x < voxels; ++x) {
            const Location where = locate(static_cast<double>(x), voxels, cells);
            double w[4];
            cubic_weights(where.t, w);
            cells_[x] = static_cast<std::int32_t>(where.cell);
            for (int tap = 0; tap < 4; ++tap) weights_[4 * x + tap] = static_cast<float>(w[tap]);
        }
        const index_t blocks = (voxels + kBlock - 1) / kBlock;
        blocks_.reserve(blocks);
        block_weights_.reserve((cells + 4 * blocks) * kBlock);
        for (index_t begin = 0; begin < voxels; begin += kBlock) {
            const index_t end = std::min(begin + kBlock, voxels);
            const AxisBlock block{cells_[begin], cells_[end - 1] - cells_[begin] + 4,
                                  static_cast<index_t>(block_weights_.size())};
            block_weights_.resize(block_weights_.size() + block.count * kBlock);
            for (index_t x = begin; x < end; ++x)
                for (index_t tap = 0; tap < 4; ++tap)
                    block_weights_[block.weights + (cells_[x] - block.first + tap) * kBlock + x - begin] =
                        weights_[4 * x + tap];
            blocks_.push_back(block);
        }
    }

    // out[i] = the four slabs of `inner` values around voxel x, combined.
    void interpolate_slabs(index_t x, const float* lattice, index_t inner, float* out) const {
        assert(x >= 0 && x < voxels_ && inner >= 1);
        simd().interpolate_slabs(&weights_[4 * x], lattice + cells_[x] * inner, inner, out);
    }

    AxisView view() const { return {blocks_.data(), block_weights_.data(), voxels_}; }

  private:
    index_t voxels_;
    std::vector<std::int32_t> cells_;
    std::vector<float> weights_;  // (voxels, 4)
    std::vector<AxisBlock> blocks_;
    std::vector<float> block_weights_;
};

}  // namespace modelaug
