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
#endif
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
#if defined(__GNUC__)
    return __builtin_sqrtf(x);
#else
    return static_cast<float>(sqrt(static_cast<double>(x)));
#endif
}

}  // namespace
}  // namespace modelaug
