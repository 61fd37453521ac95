#include <pybind11/typing.h>

#include "arrays.hpp"
#include "modelaug/field.hpp"
#include "modelaug/finite.hpp"
#include "modelaug/warp.hpp"

namespace modelaug::bind {
namespace {

template <int D>
Field<D> to_field(const Array<float>& array) {
    require(array.ndim() == D + 1 && array.shape(0) == D, "a field must have the shape (d, *grid)");
    require(array.size() > 0, "a field must not be empty");
    const Shape<D> shape = trailing_shape<D>(array);
    require(countable<D>(shape), "a grid must have less than 2^31 voxels, and at most 2^24 along an axis");
    return {array.data(), D, shape};
}

Array<double> bind_sample(const Array<float>& u, const Array<double>& points, int threads) {
    return with_dimension(u.ndim() - 1, [&]<int D>() {
        const Field<D> field = to_field<D>(u);
        require(points.ndim() == 2 && points.shape(1) == D, "points must have the shape (p, d)");
        Array<double> out({points.shape(0), py::ssize_t{D}});
        const double* x = points.data();
        double* target = out.mutable_data();
        const index_t count = points.shape(0);
        py::gil_scoped_release release;
        sample_field<D>(field, x, count, target, threads);
        return out;
    });
}

Array<float> bind_compose(const Array<float>& u, const Array<float>& v, int threads) {
    return with_dimension(v.ndim() - 1, [&]<int D>() {
        const Field<D> first = to_field<D>(u), second = to_field<D>(v);
        Array<float> out = new_array<float, D>({D}, second.shape);
        float* target = out.mutable_data();
        py::gil_scoped_release release;
        compose<D>(first, second, target, threads);
        return out;
    });
}

py::typing::Tuple<Array<float>, Array<float>> bind_invert(const Array<float>& u, double tolerance, int max_iterations,
                                                          int threads) {
    return with_dimension(u.ndim() - 1, [&]<int D>() {
        const Field<D> field = to_field<D>(u);
        Array<float> inverse = new_array<float, D>({D}, field.shape), residual = new_array<float, D>({}, field.shape);
        float *target = inverse.mutable_data(), *lengths = residual.mutable_data();
        {
            py::gil_scoped_release release;
            invert<D>(field, InvertOptions{tolerance, max_iterations}, target, lengths, threads);
        }
        return py::make_tuple(inverse, residual);
    });
}

Array<float> bind_jacobian(const Array<float>& u, int threads) {
    return with_dimension(u.ndim() - 1, [&]<int D>() {
        const Field<D> field = to_field<D>(u);
        Array<float> out = new_array<float, D>({}, field.shape);
        float* target = out.mutable_data();
        py::gil_scoped_release release;
        jacobian_determinant<D>(field, target, threads);
        return out;
    });
}

index_t bind_folds(const Array<float>& u, int threads) {
    return with_dimension(u.ndim() - 1, [&]<int D>() {
        const Field<D> field = to_field<D>(u);
        py::gil_scoped_release release;
        return count_folds<D>(field, threads);
    });
}

py::typing::Tuple<Array<bool>, index_t> bind_inside(const Array<float>& u, int threads) {
    return with_dimension(u.ndim() - 1, [&]<int D>() {
        const Field<D> field = to_field<D>(u);
        Array<bool> inside = new_array<bool, D>({}, field.shape);
        static_assert(sizeof(bool) == 1);
        auto* target = reinterpret_cast<std::uint8_t*>(inside.mutable_data());
        index_t outside = 0;
        {
            py::gil_scoped_release release;
            outside = find_inside<D>(field, target, threads);
        }
        return py::make_tuple(inside, outside);
    });
}

template <typename T>
bool bind_finite(const Array<T>& array, int threads) {
    const T* data = array.data();
    const index_t count = array.size();
    py::gil_scoped_release release;
    return all_finite<T>(data, count, threads);
}

}  // namespace

void register_field(py::module_& module) {
    module.def("all_finite", &bind_finite<float>, py::arg("array").noconvert(), py::arg("threads"),
               "whether no element is NaN or infinite");
    module.def("all_finite", &bind_finite<double>, py::arg("array").noconvert(), py::arg("threads"));
    module.def("sample_field", &bind_sample, py::arg("u").noconvert(), py::arg("points").noconvert(),
               py::arg("threads"), "displacements (p, d) at points (p, d)");
    module.def("compose", &bind_compose, py::arg("u").noconvert(), py::arg("v").noconvert(), py::arg("threads"),
               "v(x) + u(x + v(x)), (d, *grid)");
    module.def("invert", &bind_invert, py::arg("u").noconvert(), py::arg("tolerance"), py::arg("max_iterations"),
               py::arg("threads"), "(inverse (d, *grid), residual (*grid))");
    module.def("jacobian_determinant", &bind_jacobian, py::arg("u").noconvert(), py::arg("threads"),
               "det(I + grad u), (*grid)");
    module.def("count_folds", &bind_folds, py::arg("u").noconvert(), py::arg("threads"),
               "voxels at which det(I + grad u) is not positive");
    module.def("find_inside", &bind_inside, py::arg("u").noconvert(), py::arg("threads"),
               "(whether x + u(x) is inside the grid, (*grid), voxels for which it is not)");
}

}  // namespace modelaug::bind
