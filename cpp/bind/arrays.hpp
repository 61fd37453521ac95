// NumPy arrays <-> the kernels' views: the only conversion there is. Arrays arrive contiguous and of the right type
// (the Python layer sees to it); what is checked here is what a kernel would otherwise read out of bounds.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/grid.hpp"

namespace modelaug::bind {

namespace py = pybind11;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

using Extents = std::vector<index_t>;

// The last D axes of an array.
template <int D>
Shape<D> trailing_shape(const py::array& array) {
    Shape<D> shape;
    for (int axis = 0; axis < D; ++axis) shape[axis] = array.shape(array.ndim() - D + axis);
    return shape;
}

inline void require(bool condition, const char* message) {
    if (!condition) throw py::value_error(message);
}

template <int D>
Shape<D> to_shape(const Extents& extents) {
    Shape<D> shape;
    for (int axis = 0; axis < D; ++axis) shape[axis] = extents[static_cast<std::size_t>(axis)];
    return shape;
}

// A new array of the given leading extents and grid.
template <typename T, int D>
Array<T> new_array(Extents leading, const Shape<D>& grid) {
    leading.insert(leading.end(), grid.begin(), grid.end());
    return Array<T>(leading);
}

// The caller's array for a result, or a new one, of the given leading extents and grid.
template <typename T, int D>
Array<T> result_array(const std::optional<Array<T>>& out, Extents leading, const Shape<D>& grid) {
    if (!out) return new_array<T, D>(std::move(leading), grid);
    leading.insert(leading.end(), grid.begin(), grid.end());
    require(std::equal(leading.begin(), leading.end(), out->shape(), out->shape() + out->ndim()),
            "out must have the shape of the result");
    require(out->writeable(), "out must be writeable");
    return *out;
}

// Control points (k, *nodes) on the domain of a grid.
template <int D>
Lattice<D> to_lattice(const Array<double>& coefficients, const Extents& grid) {
    require(coefficients.ndim() == D + 1, "coefficients must have the shape (k, *nodes)");
    Lattice<D> lattice{coefficients.data(), coefficients.shape(0), trailing_shape<D>(coefficients), to_shape<D>(grid)};
    for (int axis = 0; axis < D; ++axis) {
        lattice.cells[axis] -= 3;
        require(lattice.cells[axis] >= 1, "coefficients must have at least 4 nodes along each axis");
        require(lattice.grid[axis] >= 1, "grid must be positive");
    }
    return lattice;
}

// The control points (components, *nodes) of a fit, which the array takes over.
template <int D>
Array<double> take_over(FitResult<D>& fit, index_t components) {
    Extents extents{components};
    for (index_t cells : fit.cells) extents.push_back(cells + 3);
    const double* data = fit.coefficients.get();
    const py::capsule owner(fit.coefficients.release(), [](void* owned) { delete[] static_cast<double*>(owned); });
    return Array<double>(extents, data, owner);
}

// Calls body.template operator()<D>() for D = 2 or 3.
template <typename Body>
auto with_dimension(py::ssize_t d, const Body& body) {
    require(d == 2 || d == 3, "the grid must have 2 or 3 axes");
    return d == 2 ? body.template operator()<2>() : body.template operator()<3>();
}

void register_bspline(py::module_& module);
void register_composition(py::module_& module);
void register_crossings(py::module_& module);
void register_field(py::module_& module);
void register_render(py::module_& module);
void register_warp(py::module_& module);

}  // namespace modelaug::bind
