#include <cstdlib>
#include <stdexcept>
#include <string>

#include "modelaug/simd.hpp"

namespace modelaug {

extern const KernelTable simd_baseline;
#ifdef MODELAUG_X86_LEVELS
extern const KernelTable simd_v3;
extern const KernelTable simd_v4;
#endif

namespace {

// Best first.
struct Level {
    const KernelTable& kernels;
    bool supported;
};

const KernelTable& choose() {
    const Level levels[] = {
#ifdef MODELAUG_X86_LEVELS
        {simd_v4, __builtin_cpu_supports("x86-64-v4") != 0},
        {simd_v3, __builtin_cpu_supports("x86-64-v3") != 0},
#endif
        {simd_baseline, true}};
    const char* given = std::getenv("MODELAUG_ISA");
    const std::string wanted = given == nullptr ? "" : given;
    std::string here;
    for (const Level& level : levels) {
        if (!level.supported) continue;
        if (wanted.empty() || wanted == level.kernels.name) return level.kernels;
        here += (here.empty() ? "" : ", ") + std::string(level.kernels.name);
    }
    throw std::invalid_argument("the environment variable MODELAUG_ISA is '" + wanted +
                                "'; set it to an instruction set that this build and this processor have (" + here +
                                "), or unset it");
}

}  // namespace

const KernelTable& simd() {
    static const KernelTable& chosen = choose();
    return chosen;
}

}  // namespace modelaug
