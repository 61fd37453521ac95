// Sixteen numbers side by side, in as many registers as the instruction set needs for them, so that results do not
// depend on where a register ends. A part of kernels.cpp.
#pragma once

#include <string.h>

#include "lanes.hpp"
#include "portable.hpp"

namespace modelaug {
namespace {

constexpr int kSixteen = kBlock, kParts = kSixteen / kLanes;

#define MODELAUG_PARTS(Result, expression)                        \
    Result result;                                                \
    for (int p = 0; p < kParts; ++p) result.part[p] = expression; \
    return result

// Integers, and truths, which have all bits set (or, where a register holds one lane, the lowest).
struct SixteenInts {
    Ints part[kParts];

    friend SixteenInts operator+(SixteenInts a, SixteenInts b) { MODELAUG_PARTS(SixteenInts, a.part[p] + b.part[p]); }
    friend SixteenInts operator*(std::int32_t a, SixteenInts b) { MODELAUG_PARTS(SixteenInts, a * b.part[p]); }
    friend SixteenInts operator&(SixteenInts a, SixteenInts b) { MODELAUG_PARTS(SixteenInts, a.part[p] & b.part[p]); }
    // What is true in a and not in b.
    friend SixteenInts without(SixteenInts a, SixteenInts b) { MODELAUG_PARTS(SixteenInts, a.part[p] & ~b.part[p]); }
};

struct Sixteen {
    Floats part[kParts];

    friend Sixteen operator+(Sixteen a, Sixteen b) { MODELAUG_PARTS(Sixteen, a.part[p] + b.part[p]); }
    friend Sixteen operator-(Sixteen a, Sixteen b) { MODELAUG_PARTS(Sixteen, a.part[p] - b.part[p]); }
    friend Sixteen operator*(Sixteen a, Sixteen b) { MODELAUG_PARTS(Sixteen, a.part[p] * b.part[p]); }
    friend Sixteen operator/(Sixteen a, Sixteen b) { MODELAUG_PARTS(Sixteen, a.part[p] / b.part[p]); }
    friend Sixteen operator+(float a, Sixteen b) { MODELAUG_PARTS(Sixteen, a + b.part[p]); }
    friend Sixteen operator-(Sixteen a, float b) { MODELAUG_PARTS(Sixteen, a.part[p] - b); }
    friend Sixteen operator*(float a, Sixteen b) { MODELAUG_PARTS(Sixteen, a * b.part[p]); }
    friend SixteenInts operator<(Sixteen a, Sixteen b) { MODELAUG_PARTS(SixteenInts, a.part[p] < b.part[p]); }
    friend SixteenInts operator<=(Sixteen a, Sixteen b) { MODELAUG_PARTS(SixteenInts, a.part[p] <= b.part[p]); }
    friend Sixteen larger(Sixteen a, Sixteen b) { MODELAUG_PARTS(Sixteen, larger(a.part[p], b.part[p])); }
    friend Sixteen smaller(Sixteen a, Sixteen b) { MODELAUG_PARTS(Sixteen, smaller(a.part[p], b.part[p])); }
    // Towards zero.
    friend SixteenInts to_ints(Sixteen x) { MODELAUG_PARTS(SixteenInts, to_ints(x.part[p])); }
};

inline Sixteen to_floats(SixteenInts x) {
    MODELAUG_PARTS(Sixteen, to_floats(x.part[p]));
}

inline Sixteen select(SixteenInts truth, Sixteen a, Sixteen b) {
    MODELAUG_PARTS(Sixteen, select(static_cast<Mask>(truth.part[p]), a.part[p], b.part[p]));
}

inline Sixteen sixteen(float x) {
    MODELAUG_PARTS(Sixteen, splat(x));
}

// first, first + 1, ...
inline Sixteen counted(float first) {
    MODELAUG_PARTS(Sixteen, first + load(kCounts + p * kLanes));
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

inline bool any(SixteenInts truth) {
    Ints all = truth.part[0];
    for (int p = 1; p < kParts; ++p) all |= truth.part[p];
    return any(static_cast<Mask>(all));
}

inline bool any_less(Sixteen a, Sixteen b) {
#if MODELAUG_LANES == 16
    return _mm512_cmp_ps_mask((__m512)a.part[0], (__m512)b.part[0], _CMP_LT_OQ) != 0;
#else
    return any(a < b);
#endif
}

inline Sixteen load_sixteen(const float* values) {
    MODELAUG_PARTS(Sixteen, load(values + p * kLanes));
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

inline Sixteen square_root(Sixteen x) {
    float all[kSixteen];
    store(all, x);
    for (float& value : all) value = square_root(value);
    return load_sixteen(all);
}

#undef MODELAUG_PARTS

}  // namespace
}  // namespace modelaug
