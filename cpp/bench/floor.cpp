// What bench/floor.py compiles for the machine it runs on and calls: loops that do nothing but multiply and add, read,
// or copy. Each works for one thread and touches nothing that another thread has.
#include <cstddef>
#include <cstring>

#if defined(__AVX512F__)
constexpr int kBytes = 64, kSums = 24;
#elif defined(__AVX__)
constexpr int kBytes = 32, kSums = 12;
#elif defined(__aarch64__)
constexpr int kBytes = 16, kSums = 24;
#else
constexpr int kBytes = 16, kSums = 12;
#endif
// As wide as a register; kSums of them hide the latency and leave registers for the factors.
typedef float Vector __attribute__((vector_size(kBytes)));

namespace {

float total(const Vector* sums) {
    float result = 0.0f;
    for (int i = 0; i < kSums; ++i)
        for (int lane = 0; lane < kBytes / 4; ++lane) result += sums[i][lane];
    return result;
}

}  // namespace

extern "C" {

// Multiply-adds of one round.
int multiply_adds_per_round() {
    return kSums * kBytes / 4;
}

float multiply_add(std::ptrdiff_t rounds, float factor, float term) {
    Vector sums[kSums], factors = Vector{} + factor, terms = Vector{} + term;
    for (int i = 0; i < kSums; ++i) sums[i] = Vector{} + static_cast<float>(i);
    for (std::ptrdiff_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
        for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * factors + terms;
    }
    return total(sums);
}

// Sum of an array of `bytes` bytes, a multiple of 2048, read `rounds` times.
float read(const float* data, std::ptrdiff_t bytes, std::ptrdiff_t rounds) {
    constexpr int kLoads = 8;
    Vector sums[kSums] = {};
    for (std::ptrdiff_t round = 0; round < rounds; ++round) {
        const char* place = reinterpret_cast<const char*>(data);
        for (std::ptrdiff_t done = 0; done < bytes; done += kLoads * kBytes) {
#pragma GCC unroll 8
            for (int i = 0; i < kLoads; ++i) {
                Vector value;
                std::memcpy(&value, place + done + i * kBytes, kBytes);
                sums[i] += value;
            }
        }
    }
    return total(sums);
}

void copy(float* to, const float* from, std::ptrdiff_t bytes, std::ptrdiff_t rounds) {
    for (std::ptrdiff_t round = 0; round < rounds; ++round) {
        std::memcpy(to, from, static_cast<std::size_t>(bytes));
#if defined(__GNUC__)
        __asm__ volatile("" ::"r"(to) : "memory");  // a copy made again is made
#endif
    }
}

}  // extern "C"
