#include <pybind11/typing.h>

#include <cmath>

#include "arrays.hpp"
#include "modelaug/composition.hpp"
#include "modelaug/diffeomorphism.hpp"
#include "modelaug/landmark_map.hpp"

namespace modelaug::bind {
namespace {

using Steps = std::vector<Array<double>>;
using Solution = py::typing::Tuple<Array<double>, Array<double>>;
using StepsAndResiduals = py::typing::Tuple<py::typing::List<Array<double>>, Array<double>>;
using Correspondence = py::typing::Tuple<Array<float>, Array<float>>;

template <int D>
Lattice<D> to_step(const Array<double>& coefficients, const Extents& grid) {
    require(coefficients.ndim() == D + 1 && coefficients.shape(0) == D, "a step must have the shape (d, *nodes)");
    return to_lattice<D>(coefficients, grid);
}

// The views are valid as long as the arrays are.
template <int D>
Composition<D> to_composition(const Steps& steps, const Array<double>& affine, const Extents& grid) {
    for (index_t length : grid) require(length >= 1, "grid must be positive");
    require(affine.ndim() == 2 && affine.shape(0) == D && affine.shape(1) == D + 1,
            "affine must have the shape (d, d + 1)");
    Composition<D> composition{};
    for (const Array<double>& step : steps) composition.steps.push_back(to_step<D>(step, grid));
    for (int i = 0; i < D; ++i) {
        for (int j = 0; j < D; ++j) composition.matrix[i][j] = affine.at(i, j);
        composition.offset[i] = affine.at(i, D);
    }
    return composition;
}

Solution bind_at(const Steps& steps, const Array<double>& affine, const Extents& grid, const Array<double>& points,
                 int threads) {
    return with_dimension(static_cast<py::ssize_t>(grid.size()), [&]<int D>() {
        const Composition<D> composition = to_composition<D>(steps, affine, grid);
        require(points.ndim() == 2 && points.shape(1) == D, "points must have the shape (p, d)");
        const index_t count = points.shape(0);
        Array<double> out({count, index_t{D}}), determinants(count);
        const double* x = points.data();
        double *values = out.mutable_data(), *dets = determinants.mutable_data();
        {
            py::gil_scoped_release release;
            evaluate_composition<D>(composition, x, count, values, dets, threads);
        }
        return Solution(py::make_tuple(out, determinants));
    });
}

Array<float> bind_on_grid(const Steps& steps, const Array<double>& affine, const Extents& grid, int threads) {
    return with_dimension(static_cast<py::ssize_t>(grid.size()), [&]<int D>() {
        const Composition<D> composition = to_composition<D>(steps, affine, grid);
        const Shape<D> shape = to_shape<D>(grid);
        Array<float> out = new_array<float, D>({D}, shape);
        float* target = out.mutable_data();
        py::gil_scoped_release release;
        evaluate_composition_on_grid<D>(composition, shape, target, threads);
        return out;
    });
}

Solution bind_solve(const Steps& steps, const Array<double>& affine, const Extents& grid, const Array<double>& targets,
                    const Array<double>& starts, double tolerance, int max_iterations, int threads) {
    return with_dimension(static_cast<py::ssize_t>(grid.size()), [&]<int D>() {
        const Composition<D> composition = to_composition<D>(steps, affine, grid);
        require(targets.ndim() == 2 && targets.shape(1) == D, "targets must have the shape (p, d)");
        require(starts.ndim() == 2 && starts.shape(0) == targets.shape(0) && starts.shape(1) == D,
                "starts must have the shape of targets");
        const index_t count = targets.shape(0);
        Array<double> out({count, index_t{D}}), residuals(count);
        std::copy(starts.data(), starts.data() + count * D, out.mutable_data());
        const double* goal = targets.data();
        double *y = out.mutable_data(), *left = residuals.mutable_data();
        {
            py::gil_scoped_release release;
            solve_composition<D>(composition, goal, count, {tolerance, max_iterations}, y, left, threads);
        }
        return Solution(py::make_tuple(out, residuals));
    });
}

Correspondence bind_correspond(const Array<float>& fixed, const Steps& steps, const Array<double>& affine,
                               double tolerance, int max_iterations, int threads,
                               const std::optional<Array<float>>& out) {
    return with_dimension(fixed.ndim() - 1, [&]<int D>() {
        require(fixed.shape(0) == D && fixed.size() > 0, "fixed must have the shape (d, *grid)");
        const Shape<D> shape = trailing_shape<D>(fixed);
        const Composition<D> moving = to_composition<D>(steps, affine, Extents(shape.begin(), shape.end()));
        Array<float> flow = result_array<float, D>(out, {D}, shape), residual = new_array<float, D>({}, shape);
        const float* shown = fixed.data();
        float *target = flow.mutable_data(), *left = residual.mutable_data();
        {
            py::gil_scoped_release release;
            correspond<D>(shown, moving, shape, {tolerance, max_iterations}, target, left, threads);
        }
        return Correspondence(py::make_tuple(flow, residual));
    });
}

StepsAndResiduals bind_fit_steps(const Array<double>& sites, const Array<double>& targets, const Extents& grid,
                                 double tolerance, int max_levels, double least, int max_steps, double max_residual,
                                 bool folds) {
    const auto d = static_cast<py::ssize_t>(grid.size());
    return with_dimension(d, [&]<int D>() {
        require(sites.ndim() == 2 && sites.shape(1) == D && sites.shape(0) > 0, "sites must have the shape (m, d)");
        require(targets.ndim() == 2 && targets.shape(0) == sites.shape(0) && targets.shape(1) == D,
                "targets must have the shape of sites");
        for (index_t length : grid) require(length >= 1, "grid must be positive");
        const MapOptions options{{tolerance, max_levels, true}, least, max_steps, max_residual, folds};
        const Shape<D> shape = to_shape<D>(grid);
        const double *x = sites.data(), *y = targets.data();
        const index_t count = sites.shape(0);
        for (index_t i = 0; i < count * D; ++i) {
            require(x[i] >= 0.0 && x[i] <= static_cast<double>(shape[i % D] - 1), "sites must lie on the grid");
            require(std::isfinite(y[i]), "targets must be finite");
        }
        MapSteps<D> fitted;
        {
            py::gil_scoped_release release;
            fitted = fit_steps<D>(x, y, count, shape, options);
        }
        Steps steps;
        for (FitResult<D>& step : fitted.steps) steps.push_back(take_over<D>(step, D));
        return StepsAndResiduals(py::make_tuple(steps, Array<double>(count, fitted.residuals.data())));
    });
}

bool bind_diffeomorphic(const Array<double>& step, const Extents& grid, double least) {
    return with_dimension(static_cast<py::ssize_t>(grid.size()), [&]<int D>() {
        const Lattice<D> lattice = to_step<D>(step, grid);
        py::gil_scoped_release release;
        return is_diffeomorphic<D>(lattice, least);
    });
}

}  // namespace

void register_composition(py::module_& module) {
    module.def("evaluate_composition", &bind_at, py::arg("steps").noconvert(), py::arg("affine").noconvert(),
               py::arg("grid"), py::arg("points").noconvert(), py::arg("threads"),
               "(values (p, d), determinants (p,)) of a composition of displacements (d, *nodes) and an affine map (d, "
               "d + 1)");
    module.def("evaluate_composition_on_grid", &bind_on_grid, py::arg("steps").noconvert(),
               py::arg("affine").noconvert(), py::arg("grid"), py::arg("threads"),
               "displacement (d, *grid) of a composition at all voxels");
    module.def("solve_composition", &bind_solve, py::arg("steps").noconvert(), py::arg("affine").noconvert(),
               py::arg("grid"), py::arg("targets").noconvert(), py::arg("starts").noconvert(), py::arg("tolerance"),
               py::arg("max_iterations"), py::arg("threads"),
               "(points (p, d) that a composition maps to targets, residuals (p,))");
    module.def("correspond", &bind_correspond, py::arg("fixed").noconvert(), py::arg("steps").noconvert(),
               py::arg("affine").noconvert(), py::arg("tolerance"), py::arg("max_iterations"), py::arg("threads"),
               py::arg("out").noconvert() = py::none(),
               "(flow (d, *grid), residual (*grid)): moving(x + flow(x)) = x + fixed(x) for a displacement fixed and a "
               "composition");
    module.def("fit_steps", &bind_fit_steps, py::arg("sites").noconvert(), py::arg("targets").noconvert(),
               py::arg("grid"), py::arg("tolerance"), py::arg("max_levels"), py::arg("least"), py::arg("max_steps"),
               py::arg("max_residual"), py::arg("folds"),
               "(displacements (d, *nodes) that move sites (m, d) to targets without folds, residuals (m,))");
    module.def("is_diffeomorphic", &bind_diffeomorphic, py::arg("step").noconvert(), py::arg("grid"), py::arg("least"),
               "whether the Jacobian determinant of a displacement (d, *nodes) exceeds `least` everywhere");
}

}  // namespace modelaug::bind
