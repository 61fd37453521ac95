// Interval arithmetic, of doubles or of several floats side by side. In a namespace without a name, so that what is
// compiled for one instruction set stays in its object file.
#pragma once

namespace modelaug {
namespace {

inline double smaller(double a, double b) {
    return a < b ? a : b;
}

inline double larger(double a, double b) {
    return a > b ? a : b;
}

// Holds a number, or one in each place.
template <typename T>
struct Range {
    T low, high;
};

template <typename T>
inline Range<T> operator*(const Range<T>& a, const Range<T>& b) {
    const T ll = a.low * b.low, lh = a.low * b.high, hl = a.high * b.low, hh = a.high * b.high;
    return {smaller(smaller(ll, lh), smaller(hl, hh)), larger(larger(ll, lh), larger(hl, hh))};
}

template <typename T>
inline Range<T> operator-(const Range<T>& a, const Range<T>& b) {
    return {a.low - b.high, a.high - b.low};
}

template <typename T>
inline Range<T> operator+(const Range<T>& a, const Range<T>& b) {
    return {a.low + b.low, a.high + b.high};
}

template <typename T>
inline T lowest_determinant(const Range<T> (&m)[2][2]) {
    return (m[0][0] * m[1][1] - m[0][1] * m[1][0]).low;
}

template <typename T>
inline T lowest_determinant(const Range<T> (&m)[3][3]) {
    return (m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
            m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]))
        .low;
}

// A lower bound of the determinant of matrices within the ranges whose diagonals dominate their rows: the product of
// what the diagonal exceeds the rest of its row by (Ostrowski 1937). 0 for others.
template <typename T, int D>
inline T dominance(const Range<T> (&m)[D][D]) {
    const T zero{};
    T product{};
    for (int k = 0; k < D; ++k) {
        T margin = m[k][k].low;
        for (int j = 0; j < D; ++j)
            if (j != k) margin = margin - larger(m[k][j].high, zero - m[k][j].low);
        product = k == 0 ? larger(margin, zero) : product * larger(margin, zero);
    }
    return product;
}

}  // namespace
}  // namespace modelaug
