// Several voxels side by side in a vector register, and what they look up in an image. A part of kernels.cpp.
//
// Compilers without GCC's vector types take one voxel at a time: the same code, with float and bool in their place.
#pragma once

#include "modelaug/simd.hpp"
#include "portable.hpp"

#if defined(__SSE2__) && defined(MODELAUG_VECTORS)
#include <immintrin.h>
#endif

namespace modelaug {
namespace {

#ifdef MODELAUG_VECTORS
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef Ints Mask;
typedef float Quad __attribute__((vector_size(16)));
typedef float Octet __attribute__((vector_size(32)));

template <typename T>
inline T select(Mask mask, T a, T b) {
    return mask ? a : b;
}

inline Floats to_floats(Ints x) {
    return __builtin_convertvector(x, Floats);
}

// Towards zero.
inline Ints to_ints(Floats x) {
    return __builtin_convertvector(x, Ints);
}

inline Floats counting() {
    Floats x;
    for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(i);
    return x;
}

inline Floats load(const float* x) {
    typedef Floats Unaligned __attribute__((aligned(4), may_alias));
    return *reinterpret_cast<const Unaligned*>(x);
}

inline void store(float* x, Floats value) {
    typedef Floats Unaligned __attribute__((aligned(4), may_alias));
    *reinterpret_cast<Unaligned*>(x) = value;
}

inline void store(std::int32_t* x, Ints value) {
    typedef Ints Unaligned __attribute__((aligned(4), may_alias));
    *reinterpret_cast<Unaligned*>(x) = value;
}

inline bool any(Mask mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)mask) != 0;
#else
    std::int32_t found = 0;
    for (int i = 0; i < kLanes; ++i) found |= mask[i];
    return found != 0;
#endif
}

inline Quad load_quad(const float* x) {
    typedef Quad Unaligned __attribute__((aligned(4), may_alias));
    return *reinterpret_cast<const Unaligned*>(x);
}

inline void store_quad(float* x, Quad value) {
    typedef Quad Unaligned __attribute__((aligned(4), may_alias));
    *reinterpret_cast<Unaligned*>(x) = value;
}

inline Octet load_octet(const float* x) {
    typedef Octet Unaligned __attribute__((aligned(4), may_alias));
    return *reinterpret_cast<const Unaligned*>(x);
}

inline void store_octet(float* x, Octet value) {
    typedef Octet Unaligned __attribute__((aligned(4), may_alias));
    *reinterpret_cast<Unaligned*>(x) = value;
}

// a > b ? a : b and a < b ? a : b; the compiler does not find the instructions for that by itself. (GCC 12 warns of
// what the unmasked ones leave undefined.)
inline Floats larger(Floats a, Floats b) {
#if defined(__AVX512F__)
    return _mm512_mask_max_ps(a, 0xffff, a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#elif defined(__SSE2__)
    return _mm_max_ps(a, b);
#else
    return a > b ? a : b;
#endif
}

inline Floats smaller(Floats a, Floats b) {
#if defined(__AVX512F__)
    return _mm512_mask_min_ps(a, 0xffff, a, b);
#elif defined(__AVX2__)
    return _mm256_min_ps(a, b);
#elif defined(__SSE2__)
    return _mm_min_ps(a, b);
#else
    return a < b ? a : b;
#endif
}

// Numbers at even and at odd places of a and then b.
inline void split_pairs(Floats a, Floats b, Floats& even, Floats& odd) {
#if defined(__AVX512F__)
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

// image[at] and image[at + 1], both with one access.
inline void load_pairs(const float* image, Ints at, Floats& left, Floats& right) {
#if defined(__AVX512F__)
    const auto eight = [&](auto where) {
        const auto pairs = _mm512_mask_i32gather_pd(__m512d{}, 0xff, reinterpret_cast<__m256i>(where), image, 4);
        return reinterpret_cast<Floats>(pairs);
    };
    const Floats a = eight(__builtin_shufflevector(at, at, 0, 1, 2, 3, 4, 5, 6, 7)),
                 b = eight(__builtin_shufflevector(at, at, 8, 9, 10, 11, 12, 13, 14, 15));
    split_pairs(a, b, left, right);
#else
    typedef double Pair __attribute__((aligned(4), may_alias));
    typedef double Pairs __attribute__((vector_size(16)));
    const auto two_pairs = [&](int i) {
        const Pairs pairs = {*reinterpret_cast<const Pair*>(image + at[i]),
                             *reinterpret_cast<const Pair*>(image + at[i + 1])};
        return reinterpret_cast<Quad>(pairs);
    };
    const Quad a = two_pairs(0), b = two_pairs(2);
#if defined(__AVX2__)
    const Quad c = two_pairs(4), d = two_pairs(6);
    const Octet ac = __builtin_shufflevector(a, c, 0, 1, 2, 3, 4, 5, 6, 7),
                bd = __builtin_shufflevector(b, d, 0, 1, 2, 3, 4, 5, 6, 7);
    left = __builtin_shufflevector(ac, bd, 0, 2, 8, 10, 4, 6, 12, 14);
    right = __builtin_shufflevector(ac, bd, 1, 3, 9, 11, 5, 7, 13, 15);
#else
    split_pairs(a, b, left, right);
#endif
#endif
}

inline Floats load_at(const float* image, Ints at) {
    Floats x;
    for (int i = 0; i < kLanes; ++i) x[i] = image[at[i]];
    return x;
}
#else
constexpr int kLanes = 1;
typedef float Floats;
typedef std::int32_t Ints;
typedef bool Mask;

template <typename T>
inline T select(Mask mask, T a, T b) {
    return mask ? a : b;
}

inline Floats to_floats(Ints x) {
    return static_cast<float>(x);
}

inline Ints to_ints(Floats x) {
    return static_cast<std::int32_t>(x);
}

inline Floats counting() {
    return 0.0f;
}

inline Floats load(const float* x) {
    return *x;
}

inline void store(float* x, Floats value) {
    *x = value;
}

inline void store(std::int32_t* x, Ints value) {
    *x = value;
}

inline Floats larger(Floats a, Floats b) {
    return a > b ? a : b;
}

inline Floats smaller(Floats a, Floats b) {
    return a < b ? a : b;
}

inline bool any(Mask mask) {
    return mask;
}

template <int N>
struct Several {
    float v[N];
};

template <int N>
inline Several<N> operator+(Several<N> a, Several<N> b) {
    for (int i = 0; i < N; ++i) a.v[i] += b.v[i];
    return a;
}

template <int N>
inline Several<N> operator*(float a, Several<N> b) {
    for (int i = 0; i < N; ++i) b.v[i] *= a;
    return b;
}

template <int N>
inline Several<N> load_several(const float* x) {
    Several<N> result;
    for (int i = 0; i < N; ++i) result.v[i] = x[i];
    return result;
}

template <int N>
inline void store_several(float* x, Several<N> value) {
    for (int i = 0; i < N; ++i) x[i] = value.v[i];
}

typedef Several<4> Quad;
typedef Several<8> Octet;

inline Quad load_quad(const float* x) {
    return load_several<4>(x);
}

inline void store_quad(float* x, Quad value) {
    store_several(x, value);
}

inline Octet load_octet(const float* x) {
    return load_several<8>(x);
}

inline void store_octet(float* x, Octet value) {
    store_several(x, value);
}

inline void load_pairs(const float* image, Ints at, Floats& left, Floats& right) {
    left = image[at];
    right = image[at + 1];
}

inline Floats load_at(const float* image, Ints at) {
    return image[at];
}
#endif

inline Floats splat(float x) {
    return Floats{} + x;
}

inline Ints splat(std::int32_t x) {
    return Ints{} + x;
}

// The four cubic B-splines at t in [0, 1], and their derivatives; of numbers, or of several side by side.
template <typename T>
inline void spline_weights(T t, T (&w)[4]) {
    const T s = 1.0f - t;
    w[0] = (1.0f / 6) * (s * s * s);
    w[1] = 4.0f / 6 + t * t * (0.5f * t - 1.0f);
    w[2] = 4.0f / 6 + s * s * (0.5f * s - 1.0f);
    w[3] = (1.0f / 6) * (t * t * t);
}

template <typename T>
inline void spline_slopes(T t, T (&d)[4]) {
    const T s = 1.0f - t;
    d[0] = -0.5f * (s * s);
    d[1] = t * (1.5f * t - 2.0f);
    d[2] = s * (2.0f - 1.5f * s);
    d[3] = 0.5f * (t * t);
}

// x = m^-1 f; returns where m is regular, and elsewhere x is anything.
inline Mask solve(const Floats (&m)[2][2], const Floats (&f)[2], Floats (&x)[2]) {
    const Floats det = m[0][0] * m[1][1] - m[0][1] * m[1][0];
    const Mask regular = (det > 1e-6f) | (det < -1e-6f);
    const Floats inverse = 1.0f / select(regular, det, splat(1.0f));
    x[0] = inverse * (m[1][1] * f[0] - m[0][1] * f[1]);
    x[1] = inverse * (m[0][0] * f[1] - m[1][0] * f[0]);
    return regular;
}

inline Mask solve(const Floats (&m)[3][3], const Floats (&f)[3], Floats (&x)[3]) {
    Floats minor[3][3];
    for (int a = 0; a < 3; ++a)
        for (int b = 0; b < 3; ++b) {
            const int a1 = (a + 1) % 3, a2 = (a + 2) % 3, b1 = (b + 1) % 3, b2 = (b + 2) % 3;
            minor[a][b] = m[a1][b1] * m[a2][b2] - m[a1][b2] * m[a2][b1];
        }
    const Floats det = m[0][0] * minor[0][0] + m[0][1] * minor[0][1] + m[0][2] * minor[0][2];
    const Mask regular = (det > 1e-6f) | (det < -1e-6f);
    const Floats inverse = 1.0f / select(regular, det, splat(1.0f));
    for (int k = 0; k < 3; ++k) x[k] = inverse * (minor[0][k] * f[0] + minor[1][k] * f[1] + minor[2][k] * f[2]);
    return regular;
}

// The first `count` of a block, zeros after.
inline Floats load_some(const float* x, size count) {
    if (count >= kLanes) return load(x);
    float some[kLanes] = {};
    for (size i = 0; i < count; ++i) some[i] = x[i];
    return load(some);
}

template <typename T, typename Block>
inline void store_some(T* x, Block value, size count) {
    if (count >= kLanes) return store(x, value);
    T some[kLanes];
    store(some, value);
    for (size i = 0; i < count; ++i) x[i] = some[i];
}

}  // namespace
}  // namespace modelaug
