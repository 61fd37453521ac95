// Cubic B-splines and their gradients at any point, one after the other and in double precision: the reference that all
// faster evaluations are tested against.
#pragma once

#include <algorithm>
#include <cassert>
#include <cmath>

#include "modelaug/bspline.hpp"
#include "modelaug/linear.hpp"

namespace modelaug {

// Looks up the lattice's control points, which must outlive it. Beyond the domain the outermost ones continue.
template <int D>
class SplineEvaluator {
  public:
    explicit SplineEvaluator(const Lattice<D>& lattice)
        : data_(lattice.data),
          nodes_(lattice.nodes()),
          strides_(strides<D>(nodes_)),
          cells_(lattice.cells),
          total_(volume<D>(nodes_)) {
        for (int axis = 0; axis < D; ++axis) cells_per_voxel_[axis] = lattice.cells_per_voxel(axis);
    }

    // The K components from `first` on, and their gradients if wanted.
    template <int K, bool WithGradient>
    void evaluate(const Point<D>& x, index_t first, std::array<double, K>& value,
                  [[maybe_unused]] std::array<Point<D>, K>& gradient) const {
        index_t offsets[D][4];
        double w[D][4], slope[D][4];
        for (int axis = 0; axis < D; ++axis) {
            // Four cells beyond the domain all control points are the same.
            const double cells = static_cast<double>(cells_[axis]);
            const double position = x[axis] * cells_per_voxel_[axis];
            const double scaled = position > -4.0 ? std::min(position, cells + 4.0) : -4.0;  // so that NaN is no index
            const double floor = std::floor(scaled);
            const index_t cell = static_cast<index_t>(floor);
            cubic_weights(scaled - floor, w[axis]);
            if constexpr (WithGradient) {
                cubic_derivative_weights(scaled - floor, slope[axis]);
                for (double& s : slope[axis]) s *= cells_per_voxel_[axis];
            }
            for (index_t i = 0; i < 4; ++i) offsets[axis][i] = continued(cell + i, nodes_[axis]) * strides_[axis];
        }
        value = {};
        if constexpr (WithGradient) gradient = {};
        const double* const data = data_ + first * total_;
        constexpr int kRows = D == 2 ? 4 : 16;
        for (int row = 0; row < kRows; ++row) {
            const int a = D == 2 ? row : row / 4, b = row % 4;
            const double* c = data + offsets[0][a] + (D == 3 ? offsets[1][b] : 0);
            std::array<double, K> sum{}, along{};
            for (int i = 0; i < 4; ++i)
                for (int k = 0; k < K; ++k) {
                    const double node = c[offsets[D - 1][i] + k * total_];
                    sum[k] += w[D - 1][i] * node;
                    if constexpr (WithGradient) along[k] += slope[D - 1][i] * node;
                }
            const double outer = D == 2 ? w[0][a] : w[0][a] * w[1][b];
            for (int k = 0; k < K; ++k) value[k] += outer * sum[k];
            if constexpr (WithGradient) {
                for (int k = 0; k < K; ++k) {
                    gradient[k][D - 1] += outer * along[k];
                    gradient[k][0] += (D == 2 ? slope[0][a] : slope[0][a] * w[1][b]) * sum[k];
                    if constexpr (D == 3) gradient[k][1] += w[0][a] * slope[1][b] * sum[k];
                }
            }
        }
    }

    // A spline of D components as a displacement r: x -> x + r(x); jacobian: I + grad r, if wanted.
    template <bool WithJacobian>
    void displace(Point<D>& x, Matrix<D>& jacobian) const {
        Point<D> value;
        evaluate<D, WithJacobian>(x, 0, value, jacobian);
        for (int k = 0; k < D; ++k) x[k] += value[k];
        if constexpr (WithJacobian)
            for (int k = 0; k < D; ++k) jacobian[k][k] += 1.0;
    }

  private:
    const double* data_;
    Shape<D> nodes_, strides_, cells_;
    index_t total_;
    Point<D> cells_per_voxel_{};
};

}  // namespace modelaug
