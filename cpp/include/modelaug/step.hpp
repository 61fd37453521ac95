// A step of a chain, x -> x + r(x), and its Jacobian at any point.
#pragma once

#include <algorithm>
#include <cmath>

#include "modelaug/bspline.hpp"
#include "modelaug/linear.hpp"

namespace modelaug {

// Looks up the lattice's control points, which must outlive it. Beyond the domain the outermost ones continue.
template <int D>
class Step {
  public:
    explicit Step(const Lattice<D>& lattice)
        : data_(lattice.data),
          nodes_(lattice.nodes()),
          strides_(strides<D>(nodes_)),
          cells_(lattice.cells),
          total_(volume<D>(nodes_)) {
        for (int axis = 0; axis < D; ++axis)
            per_voxel_[axis] = lattice.grid[axis] > 1 ? static_cast<double>(lattice.cells[axis]) /
                                                            static_cast<double>(lattice.grid[axis] - 1)
                                                      : 0.0;
    }

    // x -> x + r(x); jacobian: I + grad r, if wanted.
    template <bool WithJacobian>
    void apply(Point<D>& x, [[maybe_unused]] Matrix<D>& jacobian) const {
        index_t offsets[D][4];
        double w[D][4], slope[D][4];
        for (int axis = 0; axis < D; ++axis) {
            // Four cells beyond the domain all control points are the same.
            const double cells = static_cast<double>(cells_[axis]);
            const double position = x[axis] * per_voxel_[axis];
            const double scaled = position > -4.0 ? std::min(position, cells + 4.0) : -4.0;  // so that NaN is no index
            const double floor = std::floor(scaled);
            const index_t cell = static_cast<index_t>(floor);
            cubic_weights(scaled - floor, w[axis]);
            if constexpr (WithJacobian) {
                cubic_derivative_weights(scaled - floor, slope[axis]);
                for (double& s : slope[axis]) s *= per_voxel_[axis];
            }
            for (index_t i = 0; i < 4; ++i)
                offsets[axis][i] = std::clamp<index_t>(cell + i, 0, nodes_[axis] - 1) * strides_[axis];
        }
        Point<D> value{};
        Matrix<D> gradient{};
        constexpr int kRows = D == 2 ? 4 : 16;
        for (int row = 0; row < kRows; ++row) {
            const int a = D == 2 ? row : row / 4, b = row % 4;
            const double* c = data_ + offsets[0][a] + (D == 3 ? offsets[1][b] : 0);
            Point<D> sum{}, along{};
            for (int i = 0; i < 4; ++i)
                for (int k = 0; k < D; ++k) {
                    const double node = c[offsets[D - 1][i] + k * total_];
                    sum[k] += w[D - 1][i] * node;
                    if constexpr (WithJacobian) along[k] += slope[D - 1][i] * node;
                }
            const double outer = D == 2 ? w[0][a] : w[0][a] * w[1][b];
            for (int k = 0; k < D; ++k) value[k] += outer * sum[k];
            if constexpr (WithJacobian) {
                for (int k = 0; k < D; ++k) {
                    gradient[k][D - 1] += outer * along[k];
                    gradient[k][0] += (D == 2 ? slope[0][a] : slope[0][a] * w[1][b]) * sum[k];
                    if constexpr (D == 3) gradient[k][1] += w[0][a] * slope[1][b] * sum[k];
                }
            }
        }
        for (int k = 0; k < D; ++k) x[k] += value[k];
        if constexpr (WithJacobian) {
            jacobian = gradient;
            for (int k = 0; k < D; ++k) jacobian[k][k] += 1.0;
        }
    }

  private:
    const double* data_;
    Shape<D> nodes_, strides_, cells_;
    index_t total_;
    Point<D> per_voxel_{};
};

}  // namespace modelaug
