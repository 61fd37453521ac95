// Several voxels side by side in a vector register, and what they look up in an image. A part of kernels.cpp.
//
// Compilers without GCC's vector types take one voxel at a time: the same code, with float and bool in their place.
#pragma once

#if defined(__SSE2__) && defined(__GNUC__)
#include <immintrin.h>
#endif

#include "modelaug/simd.hpp"
#include "portable.hpp"

namespace modelaug {
namespace {

#if defined(__GNUC__)
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
    std::int32_t found = 0;
    for (int i = 0; i < kLanes; ++i) found |= mask[i];
    return found != 0;
}

inline Quad load_quad(const float* x) {
    typedef Quad Unaligned __attribute__((aligned(4), may_alias));
    return *reinterpret_cast<const Unaligned*>(x);
}

inline void store_quad(float* x, Quad value) {
    typedef Quad Unaligned __attribute__((aligned(4), may_alias));
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

// image[at] and image[at + 1], both with one access.
inline void load_pairs(const float* image, Ints at, Floats& left, Floats& right) {
#if defined(__AVX512F__)
    const auto eight = [&](auto where) {
        const auto pairs = _mm512_mask_i32gather_pd(__m512d{}, 0xff, reinterpret_cast<__m256i>(where), image, 4);
        return reinterpret_cast<Floats>(pairs);
    };
    const Floats a = eight(__builtin_shufflevector(at, at, 0, 1, 2, 3, 4, 5, 6, 7)),
                 b = eight(__builtin_shufflevector(at, at, 8, 9, 10, 11, 12, 13, 14, 15));
    left = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    right = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
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
    left = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    right = __builtin_shufflevector(a, b, 1, 3, 5, 7);
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

struct Quad {
    float v[4];
};

inline Quad operator+(Quad a, Quad b) {
    for (int i = 0; i < 4; ++i) a.v[i] += b.v[i];
    return a;
}

inline Quad operator*(float a, Quad b) {
    for (int i = 0; i < 4; ++i) b.v[i] *= a;
    return b;
}

inline Quad load_quad(const float* x) {
    return {x[0], x[1], x[2], x[3]};
}

inline void store_quad(float* x, Quad value) {
    for (int i = 0; i < 4; ++i) x[i] = value.v[i];
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
