// Several voxels side by side in a vector register, and what they look up in an image. A part of kernels.cpp.
//
// Compilers without GCC's vector types take one voxel at a time: the same code, with float and bool in their place.
//
// Why no library's vectors: by instructions counted with GCC 12 on the x86-64 levels 1 and 3, of mixtures, warps,
// correspondences, fold tests and inverses, against these,
// - std::experimental::simd takes 1 to 122 % more (fixed_size<16>: up to 928 %), changes bits, and of the compilers
//   that wheels are built with only GCC has it;
// - xsimd 14.3 takes up to 3 % more, a linear warp 20 % (on level 4 45 %); Highway 1.4 up to 12 %, and it changes bits.
//   Neither has sixteen numbers side by side on every processor, nor what load_pairs() and splines.hpp shuffle, so
//   most of this file and all of sixteen.hpp would stay. Neither is on PyPI, where the build finds Eigen;
// - GCC's own vectors of sixteen on every level, instead of sixteen.hpp, take 42 to 463 % more: GCC 12 keeps those
//   wider than a register in memory. Arrays of sixteen left to its vectorizer take 18 to 821 % more.
#pragma once

#include "modelaug/simd.hpp"
#include "portable.hpp"

#if !defined(MODELAUG_VECTORS)
#define MODELAUG_LANES 1
#elif defined(__AVX512F__)
#define MODELAUG_LANES 16
#elif defined(__AVX2__)
#define MODELAUG_LANES 8
#else
#define MODELAUG_LANES 4
#endif
#if MODELAUG_LANES > 1 && defined(__SSE2__)
#include <immintrin.h>
#endif

namespace modelaug {
namespace {

constexpr int kLanes = MODELAUG_LANES;
#if MODELAUG_LANES > 1
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef Ints Mask;
typedef float Quad __attribute__((vector_size(16)));
typedef float Octet __attribute__((vector_size(32)));
#else
typedef float Floats;
typedef std::int32_t Ints;
typedef bool Mask;

template <int N>
struct Several {
    float v[N];

    friend Several operator+(Several a, const Several& b) {
        for (int i = 0; i < N; ++i) a.v[i] += b.v[i];
        return a;
    }
    friend Several operator*(float a, Several b) {
        for (int i = 0; i < N; ++i) b.v[i] *= a;
        return b;
    }
};
typedef Several<4> Quad;
typedef Several<8> Octet;
#endif

// As it lies among numbers, at any of them.
template <typename Block>
struct MODELAUG_UNALIGNED Stored {
    Block block;
};

template <typename Block = Floats>
inline Block load(const float* x) {
    return reinterpret_cast<const Stored<Block>*>(x)->block;
}

template <typename T, typename Block>
inline void store(T* x, Block block) {
    reinterpret_cast<Stored<Block>*>(x)->block = block;
}

// The first `count` of a block, zeros after.
inline Floats load_some(const float* x, size count) {
    if (count >= kLanes) return load(x);
    float some[kLanes] = {};
    for (size i = 0; i < count; ++i) some[i] = x[i];
    return load(some);
}

// The first `count` of a block, of any size.
template <typename T, typename Block>
inline void store_some(T* x, Block block, size count) {
    constexpr size all = sizeof(block) / sizeof(T);
    if (count >= all) return store(x, block);
    T some[all];
    store(some, block);
    for (size i = 0; i < count; ++i) x[i] = some[i];
}

inline Floats splat(float x) {
    return Floats{} + x;
}

inline Ints splat(std::int32_t x) {
    return Ints{} + x;
}

constexpr float kCounts[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

inline Floats counting() {
    return load(kCounts);
}

template <typename T>
inline T select(Mask mask, T a, T b) {
    return mask ? a : b;
}

inline Floats to_floats(Ints x) {
#ifdef MODELAUG_VECTORS
    return __builtin_convertvector(x, Floats);
#else
    return static_cast<Floats>(x);
#endif
}

// Towards zero.
inline Ints to_ints(Floats x) {
#ifdef MODELAUG_VECTORS
    return __builtin_convertvector(x, Ints);
#else
    return static_cast<Ints>(x);
#endif
}

inline bool any(Mask mask) {
#if MODELAUG_LANES == 16
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif MODELAUG_LANES == 8
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif MODELAUG_LANES == 4 && defined(__SSE2__)
    return _mm_movemask_ps((__m128)mask) != 0;
#elif MODELAUG_LANES == 4
    return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
#else
    return mask;
#endif
}

// a > b ? a : b and a < b ? a : b; the compiler does not find the instructions for that by itself. (GCC 12 warns of
// what the unmasked ones leave undefined.)
inline Floats larger(Floats a, Floats b) {
#if MODELAUG_LANES == 16
    return _mm512_mask_max_ps(a, 0xffff, a, b);
#elif MODELAUG_LANES == 8
    return _mm256_max_ps(a, b);
#elif MODELAUG_LANES == 4 && defined(__SSE2__)
    return _mm_max_ps(a, b);
#else
    return a > b ? a : b;
#endif
}

inline Floats smaller(Floats a, Floats b) {
#if MODELAUG_LANES == 16
    return _mm512_mask_min_ps(a, 0xffff, a, b);
#elif MODELAUG_LANES == 8
    return _mm256_min_ps(a, b);
#elif MODELAUG_LANES == 4 && defined(__SSE2__)
    return _mm_min_ps(a, b);
#else
    return a < b ? a : b;
#endif
}

#if MODELAUG_LANES > 1
// Numbers at even and at odd places of a and then b.
inline void split_pairs(Floats a, Floats b, Floats& even, Floats& odd) {
#if MODELAUG_LANES == 16
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif MODELAUG_LANES == 8
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}
#endif

// image[at] and image[at + 1], both with one access.
inline void load_pairs(const float* image, Ints at, Floats& left, Floats& right) {
#if MODELAUG_LANES == 16
    const auto eight = [&](auto where) {
        const auto pairs = _mm512_mask_i32gather_pd(__m512d{}, 0xff, reinterpret_cast<__m256i>(where), image, 4);
        return reinterpret_cast<Floats>(pairs);
    };
    split_pairs(eight(__builtin_shufflevector(at, at, 0, 1, 2, 3, 4, 5, 6, 7)),
                eight(__builtin_shufflevector(at, at, 8, 9, 10, 11, 12, 13, 14, 15)), left, right);
#elif MODELAUG_LANES > 1
    typedef double Pair __attribute__((aligned(4), may_alias));
    typedef double Pairs __attribute__((vector_size(4 * kLanes)));
    const auto pair = [&](int i) -> double { return *reinterpret_cast<const Pair*>(image + at[i]); };
#if MODELAUG_LANES == 8
    // In the order in which one instruction splits them.
    const Pairs a{pair(0), pair(1), pair(4), pair(5)}, b{pair(2), pair(3), pair(6), pair(7)};
    const Floats c = reinterpret_cast<Floats>(a), d = reinterpret_cast<Floats>(b);
    left = __builtin_shufflevector(c, d, 0, 2, 8, 10, 4, 6, 12, 14);
    right = __builtin_shufflevector(c, d, 1, 3, 9, 11, 5, 7, 13, 15);
#else
    const Pairs a{pair(0), pair(1)}, b{pair(2), pair(3)};
    split_pairs(reinterpret_cast<Floats>(a), reinterpret_cast<Floats>(b), left, right);
#endif
#else
    left = image[at];
    right = image[at + 1];
#endif
}

inline Floats load_at(const float* image, Ints at) {
    std::int32_t where[kLanes];
    float x[kLanes];
    store(where, at);
    for (int i = 0; i < kLanes; ++i) x[i] = image[where[i]];
    return load(x);
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

}  // namespace
}  // namespace modelaug
