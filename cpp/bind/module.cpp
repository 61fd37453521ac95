#include <pybind11/typing.h>

#include "arrays.hpp"
#include "modelaug/simd.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <Eigen/Core>

namespace modelaug::bind {
namespace {

py::typing::Dict<py::str, py::object> build_config() {
    py::typing::Dict<py::str, py::object> config;
    config["version"] = MODELAUG_VERSION;
    config["instruction_set"] = simd().name;
    config["compiler"] = MODELAUG_COMPILER;
    config["build_type"] = MODELAUG_BUILD_TYPE;
    config["flags"] = MODELAUG_FLAGS;
    config["sanitizers"] = MODELAUG_SANITIZERS;
    config["cplusplus"] = static_cast<long>(__cplusplus);
    config["eigen"] = std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
                      std::to_string(EIGEN_MINOR_VERSION);
    config["pybind11"] = std::to_string(PYBIND11_VERSION_MAJOR) + "." + std::to_string(PYBIND11_VERSION_MINOR) + "." +
                         std::to_string(PYBIND11_VERSION_MICRO);
#ifdef _OPENMP
    config["threading"] = "OpenMP " + std::to_string(_OPENMP);
    config["max_threads"] = omp_get_max_threads();
#else
    config["threading"] = "std::thread";
    config["max_threads"] = 0;
#endif
#ifdef NDEBUG
    config["assertions"] = false;
#else
    config["assertions"] = true;
#endif
    return config;
}

}  // namespace
}  // namespace modelaug::bind

PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
    modelaug::simd();  // a wish that cannot be granted ends the import, not the first kernel
    module.doc() = "Compiled kernels; use the functions of the package, which check their arguments.";
    module.def("build_config", &modelaug::bind::build_config, "compiler, flags, versions and threads of this build");
    modelaug::bind::register_bspline(module);
    modelaug::bind::register_composition(module);
    modelaug::bind::register_crossings(module);
    modelaug::bind::register_field(module);
    modelaug::bind::register_render(module);
    modelaug::bind::register_warp(module);
}
