#include "modelaug/finite.hpp"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "modelaug/parallel.hpp"
#include "modelaug/simd.hpp"

namespace modelaug {

template <typename T>
bool all_finite(const T* values, index_t count, int threads) {
    constexpr index_t kChunk = 1 << 16;  // a thread that gets less costs more than it saves
    const index_t chunks = (count + kChunk - 1) / kChunk;
    std::vector<char> finite(chunks);
    parallel_for(chunks, threads, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const T* first = values + i * kChunk;
            const index_t length = std::min(kChunk, count - i * kChunk);
            if constexpr (std::is_same_v<T, float>)
                finite[i] = simd().finite_floats(first, length);
            else
                finite[i] = simd().finite_doubles(first, length);
        }
    });
    return std::all_of(finite.begin(), finite.end(), [](char fine) { return fine != 0; });
}

template bool all_finite<float>(const float*, index_t, int);
template bool all_finite<double>(const double*, index_t, int);

}  // namespace modelaug
