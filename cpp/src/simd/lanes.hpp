// Sixteen numbers side by side, in as many registers as the instruction set needs for them. A part of kernels.cpp.
#pragma once

#include <string.h>

#include "portable.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace modelaug {
namespace {

constexpr int kLanes = 16;

#if defined(__GNUC__)
#if defined(__AVX512F__)
constexpr int kPartLanes = 16;
#elif defined(__AVX__)
constexpr int kPartLanes = 8;
#else
constexpr int kPartLanes = 4;
#endif
typedef float Part __attribute__((vector_size(4 * kPartLanes)));
typedef std::int32_t IntPart __attribute__((vector_size(4 * kPartLanes)));
typedef Part LoosePart __attribute__((aligned(4), may_alias));

inline IntPart truncated(Part x) {
    return __builtin_convertvector(x, IntPart);
}

inline Part converted(IntPart x) {
    return __builtin_convertvector(x, Part);
}
#else
constexpr int kPartLanes = 1;
typedef float Part;
typedef std::int32_t IntPart;
typedef float LoosePart;

inline IntPart truncated(Part x) {
    return static_cast<std::int32_t>(x);
}

inline Part converted(IntPart x) {
    return static_cast<float>(x);
}
#endif

constexpr int kParts = kLanes / kPartLanes;

struct Lanes {
    Part part[kParts];
};

// Of integers, and of truths: all bits set (or, where a part is a single lane, 1) and 0.
struct IntLanes {
    IntPart part[kParts];
};

#define MODELAUG_LANES(expression)                                \
    Lanes result;                                                 \
    for (int p = 0; p < kParts; ++p) result.part[p] = expression; \
    return result

#define MODELAUG_INT_LANES(expression)                            \
    IntLanes result;                                              \
    for (int p = 0; p < kParts; ++p) result.part[p] = expression; \
    return result

inline Lanes lanes(float x) {
    MODELAUG_LANES(x - Part{});  // a scalar spreads over a vector
}
inline IntLanes int_lanes(std::int32_t x) {
    MODELAUG_INT_LANES(x + IntPart{});
}
inline Lanes operator+(Lanes a, Lanes b) {
    MODELAUG_LANES(a.part[p] + b.part[p]);
}
inline Lanes operator-(Lanes a, Lanes b) {
    MODELAUG_LANES(a.part[p] - b.part[p]);
}
inline Lanes operator*(Lanes a, Lanes b) {
    MODELAUG_LANES(a.part[p] * b.part[p]);
}
inline Lanes operator/(Lanes a, Lanes b) {
    MODELAUG_LANES(a.part[p] / b.part[p]);
}
inline Lanes operator+(float a, Lanes b) {
    MODELAUG_LANES(a + b.part[p]);
}
inline Lanes operator-(float a, Lanes b) {
    MODELAUG_LANES(a - b.part[p]);
}
inline Lanes operator-(Lanes a, float b) {
    MODELAUG_LANES(a.part[p] - b);
}
inline Lanes operator*(float a, Lanes b) {
    MODELAUG_LANES(a * b.part[p]);
}
inline IntLanes operator+(IntLanes a, IntLanes b) {
    MODELAUG_INT_LANES(a.part[p] + b.part[p]);
}
inline IntLanes operator*(std::int32_t a, IntLanes b) {
    MODELAUG_INT_LANES(a * b.part[p]);
}
inline IntLanes operator&(IntLanes a, IntLanes b) {
    MODELAUG_INT_LANES(a.part[p] & b.part[p]);
}
inline IntLanes operator|(IntLanes a, IntLanes b) {
    MODELAUG_INT_LANES(a.part[p] | b.part[p]);
}
// Truths of a that are none of b.
inline IntLanes without(IntLanes a, IntLanes b) {
    MODELAUG_INT_LANES(a.part[p] & ~b.part[p]);
}
inline IntLanes operator<(Lanes a, Lanes b) {
    MODELAUG_INT_LANES(a.part[p] < b.part[p]);
}
inline IntLanes operator<=(Lanes a, Lanes b) {
    MODELAUG_INT_LANES(a.part[p] <= b.part[p]);
}
inline Lanes select(IntLanes truth, Lanes a, Lanes b) {
    MODELAUG_LANES(truth.part[p] ? a.part[p] : b.part[p]);
}
inline Lanes highest(Lanes a, Lanes b) {
    MODELAUG_LANES(a.part[p] > b.part[p] ? a.part[p] : b.part[p]);
}
inline Lanes lowest(Lanes a, Lanes b) {
    MODELAUG_LANES(a.part[p] < b.part[p] ? a.part[p] : b.part[p]);
}
// Towards 0.
inline IntLanes truncated(Lanes x) {
    MODELAUG_INT_LANES(truncated(x.part[p]));
}
inline Lanes converted(IntLanes x) {
    MODELAUG_LANES(converted(x.part[p]));
}

#undef MODELAUG_LANES
#undef MODELAUG_INT_LANES

inline bool any(IntLanes truth) {
    IntPart all = truth.part[0];
    for (int p = 1; p < kParts; ++p) all |= truth.part[p];
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)all, (__m512i)all) != 0;
#elif defined(__AVX__)
    return _mm256_movemask_ps((__m256)all) != 0;
#elif defined(__SSE2__) && defined(__GNUC__)
    return _mm_movemask_ps((__m128)all) != 0;
#elif defined(__GNUC__)
    std::int32_t found = 0;
    for (int i = 0; i < kPartLanes; ++i) found |= all[i];
    return found != 0;
#else
    return all != 0;
#endif
}

inline bool any_less(Lanes a, Lanes b) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a.part[0], (__m512)b.part[0], _CMP_LT_OQ) != 0;
#else
    return any(a < b);
#endif
}

// 2^n for -127 < n < 128.
inline Lanes with_exponent(IntLanes n) {
    Lanes result;
    for (int p = 0; p < kParts; ++p) {
        const IntPart bits = (n.part[p] + 127) << 23;
        memcpy(&result.part[p], &bits, sizeof(bits));
    }
    return result;
}

inline Lanes load(const float* values) {
    Lanes result;
    for (int p = 0; p < kParts; ++p) result.part[p] = reinterpret_cast<const LoosePart*>(values)[p];
    return result;
}

inline void store(Lanes x, float* values) {
    for (int p = 0; p < kParts; ++p) reinterpret_cast<LoosePart*>(values)[p] = x.part[p];
}

inline void store(IntLanes x, std::int32_t* values) {
#if defined(__GNUC__)
    typedef IntPart LooseIntPart __attribute__((aligned(4), may_alias));
#else
    typedef IntPart LooseIntPart;
#endif
    for (int p = 0; p < kParts; ++p) reinterpret_cast<LooseIntPart*>(values)[p] = x.part[p];
}

// Of a run that may be shorter: the last number takes the place of those that are missing.
inline Lanes load(const float* values, size count) {
    if (count >= kLanes) return load(values);
    float all[kLanes];
    for (int r = 0; r < kLanes; ++r) all[r] = values[r < count ? r : count - 1];
    return load(all);
}

inline void store(Lanes x, size count, float* values) {
    if (count >= kLanes) return store(x, values);
    float all[kLanes];
    store(x, all);
    for (size r = 0; r < count; ++r) values[r] = all[r];
}

inline Lanes square_root(Lanes x) {
    float all[kLanes];
    store(x, all);
    for (int r = 0; r < kLanes; ++r) all[r] = square_root(all[r]);
    return load(all);
}

// first, first + 1, ...
inline Lanes counted(float first) {
    float all[kLanes];
    for (int r = 0; r < kLanes; ++r) all[r] = first + static_cast<float>(r);
    return load(all);
}

}  // namespace
}  // namespace modelaug
