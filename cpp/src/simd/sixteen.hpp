// Sixteen numbers side by side, in as many registers as the instruction set needs for them, so that results do not
// depend on where a register ends. A part of kernels.cpp.
#pragma once

#include <string.h>

#include "lanes.hpp"
#include "portable.hpp"

namespace modelaug {
namespace {

constexpr int kSixteen = 16, kParts = kSixteen / kLanes;

struct Sixteen {
    Floats part[kParts];
};

// Of integers, and of truths, which have all bits set (or, where a register holds one lane, the lowest).
struct SixteenInts {
    Ints part[kParts];
};

#define MODELAUG_FLOATS(expression)                               \
    Sixteen result;                                               \
    for (int p = 0; p < kParts; ++p) result.part[p] = expression; \
    return result

#define MODELAUG_INTS(expression)                                 \
    SixteenInts result;                                           \
    for (int p = 0; p < kParts; ++p) result.part[p] = expression; \
    return result

inline Sixteen sixteen(float x) {
    MODELAUG_FLOATS(splat(x));
}
inline Sixteen operator+(Sixteen a, Sixteen b) {
    MODELAUG_FLOATS(a.part[p] + b.part[p]);
}
inline Sixteen operator-(Sixteen a, Sixteen b) {
    MODELAUG_FLOATS(a.part[p] - b.part[p]);
}
inline Sixteen operator*(Sixteen a, Sixteen b) {
    MODELAUG_FLOATS(a.part[p] * b.part[p]);
}
inline Sixteen operator/(Sixteen a, Sixteen b) {
    MODELAUG_FLOATS(a.part[p] / b.part[p]);
}
inline Sixteen operator+(float a, Sixteen b) {
    MODELAUG_FLOATS(a + b.part[p]);
}
inline Sixteen operator-(float a, Sixteen b) {
    MODELAUG_FLOATS(a - b.part[p]);
}
inline Sixteen operator-(Sixteen a, float b) {
    MODELAUG_FLOATS(a.part[p] - b);
}
inline Sixteen operator*(float a, Sixteen b) {
    MODELAUG_FLOATS(a * b.part[p]);
}
inline SixteenInts operator+(SixteenInts a, SixteenInts b) {
    MODELAUG_INTS(a.part[p] + b.part[p]);
}
inline SixteenInts operator*(std::int32_t a, SixteenInts b) {
    MODELAUG_INTS(a * b.part[p]);
}
inline SixteenInts operator&(SixteenInts a, SixteenInts b) {
    MODELAUG_INTS(a.part[p] & b.part[p]);
}
inline SixteenInts operator|(SixteenInts a, SixteenInts b) {
    MODELAUG_INTS(a.part[p] | b.part[p]);
}
// What is true in a and not in b.
inline SixteenInts without(SixteenInts a, SixteenInts b) {
    MODELAUG_INTS(a.part[p] & ~b.part[p]);
}
inline SixteenInts operator<(Sixteen a, Sixteen b) {
    MODELAUG_INTS(a.part[p] < b.part[p]);
}
inline SixteenInts operator<=(Sixteen a, Sixteen b) {
    MODELAUG_INTS(a.part[p] <= b.part[p]);
}
inline Sixteen select(SixteenInts truth, Sixteen a, Sixteen b) {
    MODELAUG_FLOATS(select(static_cast<Mask>(truth.part[p]), a.part[p], b.part[p]));
}
inline Sixteen larger(Sixteen a, Sixteen b) {
    MODELAUG_FLOATS(larger(a.part[p], b.part[p]));
}
inline Sixteen smaller(Sixteen a, Sixteen b) {
    MODELAUG_FLOATS(smaller(a.part[p], b.part[p]));
}
// Towards zero.
inline SixteenInts to_ints(Sixteen x) {
    MODELAUG_INTS(to_ints(x.part[p]));
}
inline Sixteen to_floats(SixteenInts x) {
    MODELAUG_FLOATS(to_floats(x.part[p]));
}

#undef MODELAUG_FLOATS
#undef MODELAUG_INTS

inline bool any(SixteenInts truth) {
    Ints all = truth.part[0];
    for (int p = 1; p < kParts; ++p) all |= truth.part[p];
    return any(static_cast<Mask>(all));
}

inline bool any_less(Sixteen a, Sixteen b) {
#if defined(MODELAUG_VECTORS) && defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)a.part[0], (__m512)b.part[0], _CMP_LT_OQ) != 0;
#else
    return any(a < b);
#endif
}

// 2^n for -127 < n < 128.
inline Sixteen with_exponent(SixteenInts n) {
    Sixteen result;
    for (int p = 0; p < kParts; ++p) {
        const Ints bits = (n.part[p] + 127) << 23;
        memcpy(&result.part[p], &bits, sizeof(bits));
    }
    return result;
}

inline Sixteen load_sixteen(const float* values) {
    Sixteen result;
    for (int p = 0; p < kParts; ++p) result.part[p] = load(values + p * kLanes);
    return result;
}

inline void store(float* values, Sixteen x) {
    for (int p = 0; p < kParts; ++p) store(values + p * kLanes, x.part[p]);
}

inline void store(std::int32_t* values, SixteenInts x) {
    for (int p = 0; p < kParts; ++p) store(values + p * kLanes, x.part[p]);
}

// Of `count` numbers, or fewer: the last takes the place of those that are missing.
inline Sixteen load_sixteen(const float* values, size count) {
    if (count >= kSixteen) return load_sixteen(values);
    float all[kSixteen];
    for (int r = 0; r < kSixteen; ++r) all[r] = values[r < count ? r : count - 1];
    return load_sixteen(all);
}

inline void store_some(float* values, Sixteen x, size count) {
    if (count >= kSixteen) return store(values, x);
    float all[kSixteen];
    store(all, x);
    for (size r = 0; r < count; ++r) values[r] = all[r];
}

inline Sixteen square_root(Sixteen x) {
    float all[kSixteen];
    store(all, x);
    for (int r = 0; r < kSixteen; ++r) all[r] = square_root(all[r]);
    return load_sixteen(all);
}

// first, first + 1, ...
inline Sixteen counted(float first) {
    float all[kSixteen];
    for (int r = 0; r < kSixteen; ++r) all[r] = first + static_cast<float>(r);
    return load_sixteen(all);
}

}  // namespace
}  // namespace modelaug
