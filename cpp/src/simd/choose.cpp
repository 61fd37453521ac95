#include <cstdlib>
#include <cstring>

#include "modelaug/simd.hpp"

namespace modelaug {

extern const Simd simd_baseline;
#ifdef MODELAUG_X86_LEVELS
extern const Simd simd_v3;
extern const Simd simd_v4;
#endif

namespace {

const Simd& choose() {
#ifdef MODELAUG_X86_LEVELS
    const char* wanted = std::getenv("MODELAUG_ISA");
    const auto allowed = [&](const char* name) { return wanted == nullptr || std::strcmp(wanted, name) == 0; };
    // A level that this processor lacks is not chosen even if it is wanted.
    if (allowed("v4") && __builtin_cpu_supports("x86-64-v4")) return simd_v4;
    if (allowed("v3") && __builtin_cpu_supports("x86-64-v3")) return simd_v3;
#endif
    return simd_baseline;
}

}  // namespace

const Simd& simd() {
    static const Simd& chosen = choose();
    return chosen;
}

}  // namespace modelaug
