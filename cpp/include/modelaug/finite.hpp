// Whether arrays hold only finite numbers: one pass as fast as memory is.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "modelaug/grid.hpp"

namespace modelaug {

template <typename T>
bool all_finite(const T* values, index_t count) {
    static_assert(std::numeric_limits<T>::is_iec559);
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    // Infinities and NaN have all bits of the exponent set. Stops at the first block that holds one.
    const Bits exponent = std::bit_cast<Bits>(std::numeric_limits<T>::infinity());
    constexpr index_t block = 4096;
    for (index_t begin = 0; begin < count; begin += block) {
        const index_t end = std::min(begin + block, count);
        Bits found = 0;
        for (index_t i = begin; i < end; ++i) found |= (std::bit_cast<Bits>(values[i]) & exponent) == exponent ? 1 : 0;
        if (found) return false;
    }
    return true;
}

}  // namespace modelaug
