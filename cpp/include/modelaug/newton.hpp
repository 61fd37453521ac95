// Damped Newton's method for D equations in D unknowns.
#pragma once

#include "modelaug/linear.hpp"

namespace modelaug {

struct NewtonOptions {
    double tolerance;  // on |f|
    int max_iterations;
    double smallest_scale;  // to which a step may be halved
};

// Improves y towards f(y) = 0 and returns |f(y)|. A step that does not shorten f is halved until it does; where none
// does the iteration ends. f = function(y, jacobian) may leave the Jacobian there; find_step(y, f, jacobian, step) says
// whether there is a step, which is subtracted.
template <int D, typename Function, typename FindStep>
double damped_newton(const Function& function, const FindStep& find_step, const NewtonOptions& options, Point<D>& y) {
    Matrix<D> jacobian{};
    Point<D> f = function(y, jacobian);
    double residual = norm<D>(f);
    for (int iteration = 0; iteration < options.max_iterations && residual > options.tolerance; ++iteration) {
        Point<D> step;
        if (!find_step(y, f, jacobian, step)) break;
        bool improved = false;
        for (double scale = 1.0; scale > options.smallest_scale && !improved; scale *= 0.5) {
            Point<D> trial = y;
            for (int k = 0; k < D; ++k) trial[k] -= scale * step[k];
            Matrix<D> trial_jacobian{};
            const Point<D> trial_f = function(trial, trial_jacobian);
            const double trial_residual = norm<D>(trial_f);
            if (trial_residual < residual) {
                y = trial;
                f = trial_f;
                residual = trial_residual;
                jacobian = trial_jacobian;
                improved = true;
            }
        }
        if (!improved) break;
    }
    return residual;
}

}  // namespace modelaug
