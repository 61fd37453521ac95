// Dense algebra in 2 and 3 dimensions.
#pragma once

#include <cmath>

#include "modelaug/grid.hpp"

namespace modelaug {

template <int D>
using Matrix = std::array<Point<D>, D>;

template <int D>
constexpr Matrix<D> identity() {
    Matrix<D> m{};
    for (int i = 0; i < D; ++i) m[i][i] = 1.0;
    return m;
}

inline double determinant(const Matrix<2>& m) {
    return m[0][0] * m[1][1] - m[0][1] * m[1][0];
}

inline double determinant(const Matrix<3>& m) {
    return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
           m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

template <int D>
Matrix<D> product(const Matrix<D>& a, const Matrix<D>& b) {
    Matrix<D> c{};
    for (int i = 0; i < D; ++i)
        for (int k = 0; k < D; ++k)
            for (int j = 0; j < D; ++j) c[i][j] += a[i][k] * b[k][j];
    return c;
}

template <int D>
double norm(const Point<D>& x) {
    double squared = 0.0;
    for (double component : x) squared += component * component;
    return std::sqrt(squared);
}

// Solution of m x = b by Cramer's rule; false if m is singular to working precision.
template <int D>
bool solve(const Matrix<D>& m, const Point<D>& b, Point<D>& x) {
    const double det = determinant(m);
    double scale = 1.0;
    for (const Point<D>& row : m) scale *= norm<D>(row);
    if (!(std::abs(det) > 1e-9 * scale)) return false;
    for (int column = 0; column < D; ++column) {
        Matrix<D> replaced = m;
        for (int row = 0; row < D; ++row) replaced[row][column] = b[row];
        x[column] = determinant(replaced) / det;
    }
    return true;
}

}  // namespace modelaug
