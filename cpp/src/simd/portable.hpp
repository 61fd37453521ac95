// What compilers spell differently.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>

#if defined(_MSC_VER)
#define MODELAUG_RESTRICT __restrict
#else
#define MODELAUG_RESTRICT __restrict__
#endif

// GCC's vector types, as of GCC 12, and Clang's. Without them, or if MODELAUG_SCALAR is defined, one lane at a time.
#if defined(__GNUC__) && defined(__has_builtin) && !defined(MODELAUG_SCALAR)
#if __has_builtin(__builtin_shufflevector) && __has_builtin(__builtin_convertvector)
#define MODELAUG_VECTORS
#define MODELAUG_UNALIGNED __attribute__((packed, may_alias))
#endif
#endif

#ifndef MODELAUG_UNALIGNED
#define MODELAUG_UNALIGNED
#endif

namespace modelaug {
namespace {

using size = std::ptrdiff_t;

inline void prefetch(const float* values) {
#if defined(__GNUC__)
    __builtin_prefetch(values);
#else
    (void)values;
#endif
}

inline float square_root(float x) {
    return sqrtf(x);
}

}  // namespace
}  // namespace modelaug
