// The only kernel that uses Eigen.
#include <Eigen/Dense>
#include <cmath>

#include "modelaug/bspline.hpp"

namespace modelaug {

void fit_affine(int d, const double* sites, const double* values, const double* weights, index_t count,
                index_t components, double* matrix) {
    using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const RowMatrix> x(sites, count, d);
    const Eigen::Map<const RowMatrix> z(values, count, components);
    Eigen::VectorXd w = Eigen::VectorXd::Ones(count);
    if (weights) w = Eigen::Map<const Eigen::VectorXd>(weights, count);
    w /= w.sum();

    const Eigen::RowVectorXd site_mean = w.transpose() * x;
    const Eigen::RowVectorXd value_mean = w.transpose() * z;
    const Eigen::VectorXd root = w.cwiseSqrt();
    const Eigen::MatrixXd centred = root.asDiagonal() * (x.rowwise() - site_mean);
    const Eigen::MatrixXd target = root.asDiagonal() * (z.rowwise() - value_mean);

    Eigen::CompleteOrthogonalDecomposition<Eigen::MatrixXd> decomposition;
    decomposition.setThreshold(1e-10);
    decomposition.compute(centred);
    const Eigen::MatrixXd linear = decomposition.solve(target);  // (d, components)

    Eigen::Map<RowMatrix> result(matrix, components, d + 1);
    result.leftCols(d) = linear.transpose();
    result.col(d) = (value_mean - site_mean * linear).transpose();
}

}  // namespace modelaug
