#include <pybind11/typing.h>

#include "arrays.hpp"
#include "modelaug/bspline.hpp"

namespace modelaug::bind {
namespace {

using Fit = py::typing::Tuple<Array<double>, Array<double>, int, bool>;

template <int D>
Fit fit(const Array<double>& sites, const Array<double>& values, const std::optional<Array<double>>& weights,
        const Extents& grid, const FitOptions& options, int threads) {
    const index_t count = sites.shape(0), components = values.shape(1);
    const Shape<D> shape = to_shape<D>(grid);
    FitResult<D> result;
    {
        const double* w = weights ? weights->data() : nullptr;
        const double *x = sites.data(), *z = values.data();
        py::gil_scoped_release release;
        result = fit_bspline<D>(x, z, w, count, components, shape, options, threads);
    }
    return py::make_tuple(take_over<D>(result, components), Array<double>(count, result.residuals.data()),
                          result.levels, result.converged);
}

Fit bind_fit(const Array<double>& sites, const Array<double>& values, const std::optional<Array<double>>& weights,
             const Extents& grid, double tolerance, int max_levels, bool affine, int threads) {
    require(sites.ndim() == 2 && values.ndim() == 2, "sites and values must have two axes");
    require(sites.shape(0) >= 1 && values.shape(0) == sites.shape(0), "sites and values must have the same length");
    require(sites.shape(1) == static_cast<py::ssize_t>(grid.size()), "sites must have one coordinate per axis of grid");
    require(!weights || weights->size() == sites.shape(0), "weights must have the length of sites");
    const FitOptions options{tolerance, max_levels, affine};
    return with_dimension(sites.shape(1),
                          [&]<int D>() { return fit<D>(sites, values, weights, grid, options, threads); });
}

Array<double> bind_at(const Array<double>& coefficients, const Extents& grid, const Array<double>& points,
                      bool extrapolate, int threads) {
    const auto d = static_cast<py::ssize_t>(grid.size());
    require(points.ndim() == 2 && points.shape(1) == d, "points must have the shape (p, d)");
    return with_dimension(d, [&]<int D>() {
        const Lattice<D> lattice = to_lattice<D>(coefficients, grid);
        Array<double> out({points.shape(0), lattice.components});
        const double* x = points.data();
        double* target = out.mutable_data();
        const index_t count = points.shape(0);
        py::gil_scoped_release release;
        evaluate_at<D>(lattice, x, count, extrapolate, target, threads);
        return out;
    });
}

Array<float> bind_on_grid(const Array<double>& coefficients, const Extents& grid, int threads) {
    return with_dimension(static_cast<py::ssize_t>(grid.size()), [&]<int D>() {
        const Lattice<D> lattice = to_lattice<D>(coefficients, grid);
        Array<float> out = new_array<float, D>({lattice.components}, lattice.grid);
        float* target = out.mutable_data();
        py::gil_scoped_release release;
        evaluate_on_grid<D>(lattice, target, threads);
        return out;
    });
}

}  // namespace

void register_bspline(py::module_& module) {
    module.def("fit_bspline", &bind_fit, py::arg("sites").noconvert(), py::arg("values").noconvert(),
               py::arg("weights").noconvert(), py::arg("grid"), py::arg("tolerance"), py::arg("max_levels"),
               py::arg("affine"), py::arg("threads"),
               "(coefficients (k, *nodes), residuals (m,), levels, converged) of splines.fit_bspline");
    module.def("bspline_at", &bind_at, py::arg("coefficients").noconvert(), py::arg("grid"),
               py::arg("points").noconvert(), py::arg("extrapolate"), py::arg("threads"),
               "values (p, k) of a spline at points (p, d)");
    module.def("bspline_on_grid", &bind_on_grid, py::arg("coefficients").noconvert(), py::arg("grid"),
               py::arg("threads"), "values (k, *grid) of a spline at all voxels");
}

}  // namespace modelaug::bind
