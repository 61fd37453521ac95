// Whether numbers are finite: infinities and NaN have all bits of the exponent set. A part of kernels.cpp.
#pragma once

#include "modelaug/simd.hpp"
#include "portable.hpp"

namespace modelaug {
namespace {

#if defined(__GNUC__)
typedef std::uint32_t FloatBits __attribute__((may_alias));
typedef std::uint64_t DoubleBits __attribute__((may_alias));
#else
typedef std::uint32_t FloatBits;
typedef std::uint64_t DoubleBits;
#endif

constexpr size kFiniteBlock = 4096;  // looking stops after the block in which one is found

template <typename Bits>
inline bool none_has(Bits exponent, const Bits* bits, size count) {
    Bits found = 0;
    for (size begin = 0; begin < count && found == 0; begin += kFiniteBlock) {
        const size end = begin + kFiniteBlock < count ? begin + kFiniteBlock : count;
        for (size i = begin; i < end; ++i) found |= (bits[i] & exponent) == exponent ? 1u : 0u;
    }
    return found == 0;
}

bool finite_floats(const float* x, size count) {
    return none_has<FloatBits>(0x7f800000u, reinterpret_cast<const FloatBits*>(x), count);
}

bool finite_doubles(const double* x, size count) {
    return none_has<DoubleBits>(0x7ff0000000000000u, reinterpret_cast<const DoubleBits*>(x), count);
}

}  // namespace
}  // namespace modelaug
