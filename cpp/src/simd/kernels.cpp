// Compiled once for each instruction set, with MODELAUG_ISA naming it. Raw pointers and functions of this file only: a
// template or inline function of another header, compiled here for a new instruction set, could be the copy that the
// linker keeps for everybody, old processors included.
#include <math.h>

#include "correspondence.hpp"
#include "cubic.hpp"
#include "finite.hpp"
#include "folds.hpp"
#include "invert.hpp"
#include "jacobian.hpp"
#include "mixture.hpp"
#include "modelaug/simd.hpp"
#include "warp.hpp"

#define MODELAUG_JOIN_(a, b) a##b
#define MODELAUG_JOIN(a, b) MODELAUG_JOIN_(a, b)
#define MODELAUG_STRING_(name) #name
#define MODELAUG_STRING(name) MODELAUG_STRING_(name)

// An entry is named once, and entries are in their order, or this does not compile: none can take another's place.
#define MODELAUG_ENTRY(kernel) .kernel = kernel
#define MODELAUG_GRID_ENTRY(kernel) .kernel = kernel<D>

namespace modelaug {
namespace {

static_assert(kBlock == kSixteen);

template <int D>
constexpr GridKernels<D> grid_kernels() {
    return {MODELAUG_GRID_ENTRY(warp_linear),
            MODELAUG_GRID_ENTRY(warp_cubic),
            MODELAUG_GRID_ENTRY(warp_nearest),
            MODELAUG_GRID_ENTRY(invert),
            MODELAUG_GRID_ENTRY(jacobian_determinant),
            MODELAUG_GRID_ENTRY(find_fold_free),
            MODELAUG_GRID_ENTRY(displace),
            MODELAUG_GRID_ENTRY(solve_correspondence)};
}

}  // namespace

extern const KernelTable MODELAUG_JOIN(simd_, MODELAUG_ISA);
constinit const KernelTable MODELAUG_JOIN(simd_, MODELAUG_ISA) = {.name = MODELAUG_STRING(MODELAUG_ISA),
                                                                  MODELAUG_ENTRY(interpolate_slabs),
                                                                  MODELAUG_ENTRY(interpolate_line),
                                                                  MODELAUG_ENTRY(mix_fields),
                                                                  MODELAUG_ENTRY(mix_patchwork),
                                                                  MODELAUG_ENTRY(max_squared_differences),
                                                                  MODELAUG_ENTRY(max_absolute),
                                                                  MODELAUG_ENTRY(max_difference),
                                                                  MODELAUG_ENTRY(spline_coefficients),
                                                                  MODELAUG_ENTRY(finite_floats),
                                                                  MODELAUG_ENTRY(finite_doubles),
                                                                  .plane = grid_kernels<2>(),
                                                                  .space = grid_kernels<3>()};

}  // namespace modelaug
