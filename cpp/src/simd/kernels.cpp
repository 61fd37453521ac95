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

namespace modelaug {

static_assert(AxisBlock::kVoxels == kSixteen && SolveStrip::kVoxels == kSixteen);

extern const Simd MODELAUG_JOIN(simd_, MODELAUG_ISA);
const Simd MODELAUG_JOIN(simd_, MODELAUG_ISA) = {MODELAUG_STRING(MODELAUG_ISA),
                                                 collapse,
                                                 expand,
                                                 fields,
                                                 patchwork,
                                                 warp_linear_2d,
                                                 warp_linear_3d,
                                                 steepest,
                                                 largest,
                                                 largest_difference,
                                                 unfolded_2d,
                                                 unfolded_3d,
                                                 displace_2d,
                                                 displace_3d,
                                                 solve_2d,
                                                 solve_3d,
                                                 spline_lines,
                                                 warp_cubic_2d,
                                                 warp_cubic_3d,
                                                 finite_floats,
                                                 finite_doubles,
                                                 jacobian_2d,
                                                 jacobian_3d,
                                                 nearest_2d,
                                                 nearest_3d,
                                                 invert_2d,
                                                 invert_3d};

}  // namespace modelaug
