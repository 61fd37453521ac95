// The only kernel that uses Eigen.
#include <Eigen/Dense>
#include <cmath>

#include "modelaug/bspline.hpp"

namespace modelaug {
namespace {

constexpr double kSmallestSpread = 1e-6;

}  // namespace

void fit_affine(int d, const double* sites, const double* values, const double* weights, index_t count,
                index_t components, double* matrix) {
    using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const RowMatrix> x(sites, count, d);
    const Eigen::Map<const RowMatrix> z(values, count, components);
    Eigen::VectorXd w = Eigen::VectorXd::Ones(count);
    if (weights) w = Eigen::Map<const Eigen::VectorXd>(weights, count);
    w /= w.sum();

    // Relative to the first site, so that sites at one place have no spread at all, not even a rounding error's.
    const Eigen::RowVectorXd origin = x.row(0);
    const Eigen::RowVectorXd site_mean = origin + w.transpose() * (x.rowwise() - origin);
    const Eigen::RowVectorXd value_mean = w.transpose() * z;
    const Eigen::VectorXd root = w.cwiseSqrt();
    const Eigen::MatrixXd centred = root.asDiagonal() * (x.rowwise() - site_mean);
    const Eigen::MatrixXd target = root.asDiagonal() * (z.rowwise() - value_mean);

    // A singular value is the sites' root mean square spread along a direction, in voxels.
    const Eigen::JacobiSVD<Eigen::MatrixXd> svd(centred, Eigen::ComputeThinU | Eigen::ComputeThinV);
    const Eigen::VectorXd& spread = svd.singularValues();
    const Eigen::VectorXd inverse = (spread.array() > kSmallestSpread).select(spread.cwiseInverse(), 0.0);
    const Eigen::MatrixXd linear =
        svd.matrixV() * inverse.asDiagonal() * svd.matrixU().transpose() * target;  // (d, components)

    Eigen::Map<RowMatrix> result(matrix, components, d + 1);
    result.leftCols(d) = linear.transpose();
    result.col(d) = (value_mean - site_mean * linear).transpose();
}

}  // namespace modelaug
