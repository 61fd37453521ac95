// Properties of the kernels that need no Python: run under the address, undefined-behaviour and thread sanitizers.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/composition.hpp"
#include "modelaug/diffeomorphism.hpp"
#include "modelaug/evaluator.hpp"
#include "modelaug/field.hpp"
#include "modelaug/interpolate.hpp"
#include "modelaug/parallel.hpp"
#include "modelaug/render.hpp"
#include "modelaug/warp.hpp"

#if defined(__GNUC__)
#define MODELAUG_NOINLINE __attribute__((noinline))  // or GCC takes free() for a mismatch of new
#else
#define MODELAUG_NOINLINE
#endif

std::atomic<long> allocations{0};

MODELAUG_NOINLINE void* operator new(std::size_t bytes) {
    ++allocations;
    if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
    throw std::bad_alloc();
}

MODELAUG_NOINLINE void operator delete(void* memory) noexcept {
    std::free(memory);
}

MODELAUG_NOINLINE void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace {

using namespace modelaug;

int failures = 0;

void check(bool condition, const char* what, int line) {
    if (condition) return;
    std::fprintf(stderr, "line %d: %s\n", line, what);
    ++failures;
}
#define CHECK(condition) check(condition, #condition, __LINE__)

// Numbers in [0, 1) that are the same everywhere.
class Numbers {
  public:
    double next() {
        state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
        return static_cast<double>(state_ >> 11) * 0x1.0p-53;
    }

  private:
    std::uint64_t state_ = 1;
};

template <int D>
std::vector<double> random_sites(Numbers& numbers, const Shape<D>& grid, index_t count) {
    std::vector<double> sites;
    for (index_t i = 0; i < count; ++i)
        for (int axis = 0; axis < D; ++axis) {
            const double upper = static_cast<double>(grid[axis] - 1);
            sites.push_back(i == 0 ? upper : numbers.next() * upper);  // the first at the closed upper corner
        }
    return sites;
}

template <int D>
void test_bspline(const Shape<D>& grid) {
    Numbers numbers;
    const index_t count = 23, components = 2;
    const std::vector<double> sites = random_sites<D>(numbers, grid, count);
    std::vector<double> values;
    for (index_t i = 0; i < count * components; ++i) values.push_back(numbers.next());
    const FitOptions options{1e-3, 5, true};
    const FitResult<D> fit = fit_bspline<D>(sites.data(), values.data(), nullptr, count, components, grid, options, 1);
    const Lattice<D> lattice{fit.coefficients.get(), components, fit.cells, grid};

    // Enough sites for several threads.
    const std::vector<double> dense_sites = random_sites<D>(numbers, grid, 2000);
    std::vector<double> dense_values;
    for (index_t i = 0; i < 2000 * components; ++i) dense_values.push_back(numbers.next());
    const auto fit_dense = [&](int threads) {
        return fit_bspline<D>(dense_sites.data(), dense_values.data(), nullptr, 2000, components, grid, options,
                              threads);
    };
    const FitResult<D> alone = fit_dense(1);
    for (int threads : {2, 3, 7}) {
        const FitResult<D> together = fit_dense(threads);
        const index_t total = components * volume<D>(Lattice<D>{nullptr, 0, alone.cells, grid}.nodes());
        CHECK(together.residuals == alone.residuals && together.cells == alone.cells);
        CHECK(std::equal(alone.coefficients.get(), alone.coefficients.get() + total, together.coefficients.get()));
    }

    std::vector<double> at(count * components);
    evaluate_at<D>(lattice, sites.data(), count, false, at.data(), 2);
    for (index_t i = 0; i < count; ++i)
        CHECK(std::abs(std::hypot(values[2 * i] - at[2 * i], values[2 * i + 1] - at[2 * i + 1]) - fit.residuals[i]) <
              1e-12);

    const index_t pixels = volume<D>(grid);
    std::vector<float> one(components * pixels), many(components * pixels);
    evaluate_on_grid<D>(lattice, one.data(), 1);
    evaluate_on_grid<D>(lattice, many.data(), 5);
    CHECK(one == many);
    std::vector<double> voxels;
    for_rows<D>(grid, 0, pixels / grid[D - 1], [&](const Shape<D>& position, index_t) {
        for (index_t x : position) voxels.push_back(static_cast<double>(x));
    });
    std::vector<double> dense(components * pixels);
    evaluate_at<D>(lattice, voxels.data(), pixels, true, dense.data(), 3);
    for (index_t p = 0; p < pixels; ++p)
        for (index_t k = 0; k < components; ++k)
            CHECK(std::abs(dense[p * components + k] - static_cast<double>(one[k * pixels + p])) < 1e-5);
}

template <int D>
std::vector<float> random_field(Numbers& numbers, const Shape<D>& grid, double amplitude) {
    std::vector<float> field(D * volume<D>(grid));
    for (float& u : field) u = static_cast<float>(amplitude * (numbers.next() - 0.5));
    return field;
}

template <int D>
void test_fields(const Shape<D>& grid) {
    Numbers numbers;
    const index_t pixels = volume<D>(grid);
    const std::vector<float> u = random_field<D>(numbers, grid, 0.3), wild = random_field<D>(numbers, grid, 100.0);
    const Field<D> field{u.data(), D, grid}, far{wild.data(), D, grid};
    std::vector<float> one(D * pixels), many(D * pixels), residual(pixels);

    invert<D>(field, InvertOptions{1e-5, 50}, one.data(), residual.data(), 1);
    for (float r : residual) CHECK(r <= 1e-5f);
    invert<D>(field, InvertOptions{1e-5, 50}, many.data(), residual.data(), 4);
    CHECK(one == many);
    compose<D>(field, Field<D>{one.data(), D, grid}, many.data(), 4);
    for (float w : many) CHECK(std::abs(w) < 1e-4f);
    invert<D>(far, InvertOptions{1e-5, 5}, one.data(), residual.data(), 2);
    compose<D>(far, far, many.data(), 3);
    // Against interpolation in double precision, of an inverse found or not.
    std::vector<double> points;
    for_rows<D>(grid, 0, pixels / grid[D - 1], [&](const Shape<D>& position, index_t index) {
        for (int k = 0; k < D; ++k)
            points.push_back(static_cast<double>(position[k]) + static_cast<double>(one[k * pixels + index]));
    });
    std::vector<double> found(D * pixels);
    sample_field<D>(far, points.data(), pixels, found.data(), 2);
    for (index_t i = 0; i < pixels; ++i) {
        Point<D> missed;
        for (int k = 0; k < D; ++k) missed[k] = found[i * D + k] + static_cast<double>(one[k * pixels + i]);
        CHECK(std::abs(norm<D>(missed) - static_cast<double>(residual[i])) < 1e-3);
    }

    std::vector<float> determinants(pixels);
    jacobian_determinant<D>(field, determinants.data(), 3);
    std::vector<float> zero(D * pixels);
    jacobian_determinant<D>(Field<D>{zero.data(), D, grid}, determinants.data(), 3);
    for (float determinant : determinants) CHECK(determinant == 1.0f);
}

template <int D>
void test_warps(const Shape<D>& grid, const Shape<D>& out_grid) {
    Numbers numbers;
    const index_t count = 3, channels = 2, pixels = volume<D>(grid), out_pixels = volume<D>(out_grid);
    std::vector<float> images(count * channels * pixels);
    for (float& value : images) value = static_cast<float>(numbers.next());
    std::vector<std::uint16_t> labels(images.size());
    for (std::uint16_t& label : labels) label = static_cast<std::uint16_t>(10.0 * numbers.next());

    for (const double amplitude : {0.0, 3.0, 1e6}) {
        const std::vector<float> u = random_field<D>(numbers, out_grid, amplitude);
        const WarpBatch<float, D> batch{images.data(), count, channels, grid, u.data(), 1, out_grid};
        std::vector<float> one(count * channels * out_pixels), many(one.size());
        for (const bool constant : {false, true}) {
            warp_linear<D>(batch, Border{constant, -1.0}, one.data(), 1);
            warp_linear<D>(batch, Border{constant, -1.0}, many.data(), 7);
            CHECK(one == many);
            if (amplitude == 0.0 && grid == out_grid) CHECK(one == images);
            for_rows<D>(out_grid, 0, out_pixels / out_grid[D - 1], [&](const Shape<D>& position, index_t index) {
                Point<D> at;
                for (int k = 0; k < D; ++k)
                    at[k] = static_cast<double>(position[k]) + static_cast<double>(u[k * out_pixels + index]);
                const double expected = LinearStencil<D>(at, grid).value(images.data());
                CHECK(constant || std::abs(static_cast<double>(one[index]) - expected) < 1e-5);
            });
            warp_cubic<D>(batch, Border{constant, -1.0}, many.data(), 7);
            for (std::size_t i = 0; amplitude == 0.0 && grid == out_grid && i < many.size(); ++i)
                CHECK(std::abs(many[i] - images[i]) < 1e-5f);
            const WarpBatch<std::uint16_t, D> label_batch{labels.data(), count, channels, grid, u.data(), 1, out_grid};
            std::vector<std::uint16_t> moved(one.size());
            warp_nearest<std::uint16_t, D>(label_batch, constant, 99, moved.data(), 2);
            for (std::uint16_t label : moved) CHECK(label < 10 || label == 99);
        }
    }
}

void test_render() {
    const index_t pixels = 5000, modes = 3;
    std::vector<float> mean(2 * pixels, 1.0f), basis(modes * 2 * pixels, 0.5f), one(2 * pixels), many(2 * pixels);
    const std::vector<double> coefficients{1.0, 2.0, 4.0};
    const std::vector<float> ranges{0.0f, 4.0f, 0.0f, 9.0f};
    const LinearTexture texture{mean.data(), basis.data(), ranges.data(), modes, 2, pixels};
    render_texture(texture, coefficients.data(), one.data(), 1);
    render_texture(texture, coefficients.data(), many.data(), 3);
    CHECK(one == many);
    for (index_t i = 0; i < pixels; ++i) CHECK(one[i] == 4.0f && one[pixels + i] == 4.5f);
}

// Two steps whose control points move by at most 0.3 cells, which cannot fold, and an affine map.
template <int D>
void test_compositions(const Shape<D>& grid) {
    Numbers numbers;
    std::vector<std::vector<double>> nodes;
    Composition<D> composition{};
    for (index_t count : {3, 5}) {
        Lattice<D> lattice{nullptr, D, {}, grid};
        for (int axis = 0; axis < D; ++axis) lattice.cells[axis] = grid[axis] > 1 ? count : 1;
        const index_t total = volume<D>(lattice.nodes());
        std::vector<double> control;
        for (int k = 0; k < D; ++k)
            for (index_t node = 0; node < total; ++node)
                control.push_back((numbers.next() - 0.5) * 0.6 * static_cast<double>(grid[k] - 1) /
                                  static_cast<double>(lattice.cells[k]));
        nodes.push_back(control);
        composition.steps.push_back(lattice);
    }
    for (std::size_t step = 0; step < nodes.size(); ++step) {
        composition.steps[step].data = nodes[step].data();
        CHECK(is_diffeomorphic<D>(composition.steps[step], 0.0));
        CHECK(!is_diffeomorphic<D>(composition.steps[step], 2.0));
    }
    for (int k = 0; k < D; ++k) {
        composition.matrix[k][k] = 1.1;
        composition.matrix[k][(k + 1) % D] = 0.2;
        composition.offset[k] = 3.0 - k;
    }
    const index_t pixels = volume<D>(grid);
    const SolveOptions options{3e-4, 10};
    Composition<D> identity{};
    for (int k = 0; k < D; ++k) identity.matrix[k][k] = 1.0;
    // Displacements on the grid against those of the reference.
    std::vector<float> moved(D * pixels);
    evaluate_composition_on_grid<D>(composition, grid, moved.data(), 2);
    for_rows<D>(grid, 0, pixels / grid[D - 1], [&](const Shape<D>& position, index_t index) {
        double at[D], reached[D], determinant = 0.0;
        for (int k = 0; k < D; ++k) at[k] = static_cast<double>(position[k]);
        evaluate_composition<D>(composition, at, 1, reached, &determinant, 1);
        for (int k = 0; k < D; ++k)
            CHECK(std::abs(reached[k] - at[k] - static_cast<double>(moved[k * pixels + index])) < 3e-5);
    });
    for (const Composition<D>& fixed : {identity, composition}) {
        std::vector<float> shown(D * pixels), flow(D * pixels), again(D * pixels), residual(pixels);
        evaluate_composition_on_grid<D>(fixed, grid, shown.data(), 1);
        correspond<D>(shown.data(), composition, grid, options, flow.data(), residual.data(), 1);
        for (int threads : {2, 3}) {
            correspond<D>(shown.data(), composition, grid, options, again.data(), residual.data(), threads);
            CHECK(again == flow);
        }
        for_rows<D>(grid, 0, pixels / grid[D - 1], [&](const Shape<D>& position, index_t index) {
            CHECK(residual[index] <= 4e-4f);
            double partner[D], reached[D], determinant = 0.0;
            for (int k = 0; k < D; ++k)
                partner[k] = static_cast<double>(position[k]) + static_cast<double>(flow[k * pixels + index]);
            evaluate_composition<D>(composition, partner, 1, reached, &determinant, 1);
            CHECK(determinant > 0.0);
            for (int k = 0; k < D; ++k)
                CHECK(std::abs(reached[k] - static_cast<double>(position[k]) -
                               static_cast<double>(shown[k * pixels + index])) < 1e-3);
        });
    }
    // What is proven in single precision holds in double precision, at and between voxels, and beyond the grid.
    for (const double factor : {1.0, 1.5, 2.0, 3.0}) {
        std::vector<double> stretched = nodes[0];
        for (double& node : stretched) node *= factor;
        const Lattice<D> lattice{stretched.data(), D, composition.steps[0].cells, grid};
        if (!is_diffeomorphic<D>(lattice, 0.1)) continue;
        const SplineEvaluator<D> reference(lattice);
        for (int i = 0; i < 500; ++i) {
            Point<D> x;
            Matrix<D> jacobian;
            for (int k = 0; k < D; ++k) x[k] = (1.4 * numbers.next() - 0.2) * static_cast<double>(grid[k]);
            reference.template displace<true>(x, jacobian);
            CHECK(determinant(jacobian) > 0.1);
        }
    }
    // Points far beyond the grid, and none that is a number.
    std::vector<double> points, targets, missed(3);
    for (double x : {-1e6, 1e6, std::nan("")})
        for (int k = 0; k < D; ++k) points.push_back(x);
    std::vector<double> values(points.size()), determinants(3);
    evaluate_composition<D>(composition, points.data(), 3, values.data(), determinants.data(), 1);
    solve_composition<D>(composition, values.data(), 3, options, points.data(), missed.data(), 2);
    CHECK(missed[0] < 1e-3 && missed[1] < 1e-3);
}

// Mixtures of images by fields, in the plane and in space.
template <int D>
void test_mixtures(const Shape<D>& grid) {
    Numbers numbers;
    const index_t pixels = volume<D>(grid), count = 6, channels = 2;
    Shape<D> cells;
    cells.fill(2);
    std::vector<float> images, deviation(pixels, 1.0f), mean(channels * pixels, 0.5f), coefficients;
    const index_t padded = pixels / grid[D - 1] * ((grid[D - 1] + kBlock - 1) / kBlock * kBlock);
    for (index_t i = 0; i < count * channels * padded; ++i) images.push_back(static_cast<float>(numbers.next()));
    const std::vector<float> ranges{0.0f, 1.0f, 0.0f, 1.0f}, gain{1.0f, 1.0f}, bias{0.0f, 0.0f};
    const FieldMixture<D> mixture{images.data(), deviation.data(), ranges.data(), count, channels, grid, cells};
    for (index_t i = 0; i < count * volume<D>(Lattice<D>{nullptr, 0, cells, grid}.nodes()); ++i)
        coefficients.push_back(static_cast<float>(numbers.next() - 0.5));
    std::vector<float> once(channels * pixels), again(channels * pixels);
    for (bool patchwork : {false, true}) {
        const auto render = [&](float* out, int threads) {
            if (patchwork)
                render_patchwork<D>(mixture, 3.0f, gain.data(), bias.data(), coefficients.data(), out, threads);
            else
                render_fields<D>(mixture, mean.data(), coefficients.data(), out, threads);
        };
        render(once.data(), 1);
        render(again.data(), 3);
        CHECK(once == again);
        for (float value : once) CHECK(value >= 0.0f && value <= 1.0f);
    }
}

// The reference against the B-spline's recursion formula, in one dimension and so in all.
double basis(int degree, double x) {
    if (degree == 0) return x >= 0.0 && x < 1.0 ? 1.0 : 0.0;
    return (x * basis(degree - 1, x) + (degree + 1 - x) * basis(degree - 1, x - 1.0)) / degree;
}

template <int D>
void test_reference(const Shape<D>& grid) {
    Numbers numbers;
    Lattice<D> lattice{nullptr, 1, {}, grid};
    for (int axis = 0; axis < D; ++axis) lattice.cells[axis] = grid[axis] > 1 ? axis + 2 : 1;
    const Shape<D> nodes = lattice.nodes();
    std::vector<double> control;
    for (index_t i = 0; i < volume<D>(nodes); ++i) control.push_back(numbers.next());
    lattice.data = control.data();
    const SplineEvaluator<D> reference(lattice);
    for (int i = 0; i < 100; ++i) {
        Point<D> x;
        for (int axis = 0; axis < D; ++axis) x[axis] = numbers.next() * static_cast<double>(grid[axis] - 1);
        double expected = 0.0;
        for_rows<D>(nodes, 0, volume<D>(nodes) / nodes[D - 1], [&](const Shape<D>& node, index_t index) {
            double weight = control[index];
            for (int axis = 0; axis < D; ++axis)
                weight *= basis(3, x[axis] * lattice.cells_per_voxel(axis) - static_cast<double>(node[axis]) + 3.0);
            expected += weight;
        });
        std::array<double, 1> value, moved;
        std::array<Point<D>, 1> gradient, unused;
        reference.template evaluate<1, true>(x, 0, value, gradient);
        CHECK(std::abs(value[0] - expected) < 1e-12);
        for (int axis = 0; axis < D; ++axis) {
            Point<D> near = x;
            near[axis] += 1e-6;
            reference.template evaluate<1, false>(near, 0, moved, unused);
            CHECK(std::abs((moved[0] - value[0]) / 1e-6 - gradient[0][axis]) < 1e-4);
        }
    }
}

// No kernel allocates memory for each row.
template <int D>
std::vector<long> allocations_of_kernels(index_t rows) {
    Shape<D> grid;
    grid.fill(5);
    grid[D - 2] = rows;
    const index_t pixels = volume<D>(grid);
    Numbers numbers;
    const std::vector<float> u = random_field<D>(numbers, grid, 0.3);
    const Field<D> field{u.data(), D, grid};
    Lattice<D> lattice{nullptr, D, {}, grid};
    lattice.cells.fill(2);
    const std::vector<double> control(D * volume<D>(lattice.nodes()), 0.5);
    lattice.data = control.data();
    const Composition<D> composition{{lattice, lattice}, identity<D>(), {}};
    std::vector<float> out(D * pixels), residual(pixels), images(pixels * 2 * kBlock), mean(pixels), ranges{0.0f, 1.0f};
    std::vector<std::uint8_t> inside(pixels);
    const WarpBatch<float, D> batch{images.data(), 1, 1, grid, u.data(), 1, grid};
    const WarpBatch<std::uint8_t, D> labels{inside.data(), 1, 1, grid, u.data(), 1, grid};
    const FieldMixture<D> mixture{images.data(), mean.data(), ranges.data(), 2, 1, grid, lattice.cells};
    std::vector<float> coefficients(2 * volume<D>(lattice.nodes()));
    std::vector<std::uint8_t> moved(pixels);
    std::vector<long> result;
    const auto measure = [&](const auto& kernel) {
        const long before = allocations;
        kernel();
        result.push_back(allocations - before);
    };
    measure([&] { compose<D>(field, field, out.data(), 1); });
    measure([&] { invert<D>(field, InvertOptions{1e-5, 50}, out.data(), residual.data(), 1); });
    measure([&] { jacobian_determinant<D>(field, residual.data(), 1); });
    measure([&] { count_folds<D>(field, 1); });
    measure([&] { find_inside<D>(field, inside.data(), 1); });
    measure([&] { warp_linear<D>(batch, {false, 0.0}, out.data(), 1); });
    measure([&] { warp_cubic<D>(batch, {false, 0.0}, out.data(), 1); });
    measure([&] { warp_nearest<std::uint8_t, D>(labels, false, 0, moved.data(), 1); });
    measure([&] { evaluate_on_grid<D>(lattice, out.data(), 1); });
    measure([&] { evaluate_composition_on_grid<D>(composition, grid, out.data(), 1); });
    measure([&] { correspond<D>(u.data(), composition, grid, {3e-4, 10}, out.data(), residual.data(), 1); });
    measure([&] { is_diffeomorphic<D>(lattice, 0.0); });
    measure([&] { render_fields<D>(mixture, mean.data(), coefficients.data(), residual.data(), 1); });
    measure(
        [&] { render_patchwork<D>(mixture, 3.0f, mean.data(), mean.data(), coefficients.data(), residual.data(), 1); });
    return result;
}

void test_parallel() {
    for (const index_t count : {0, 1, 2, 7})
        for (const int threads : {-1, 1, 2, 16}) {
            std::vector<int> visits(static_cast<std::size_t>(count));
            parallel_for(count, threads, [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) ++visits[i];
            });
            for (int n : visits) CHECK(n == 1);
        }
    bool caught = false;
    try {
        parallel_for(4, 4, [](index_t begin, index_t) {
            if (begin > 0) throw std::runtime_error(begin == 1 ? "first" : "later");
        });
    } catch (const std::runtime_error& error) {
        caught = std::string(error.what()) == "first";
    }
    CHECK(caught);
}

}  // namespace

int main() {
    test_parallel();
    test_render();
    test_reference<2>({17, 23});
    test_reference<2>({9, 1});
    test_reference<3>({7, 6, 9});
    CHECK(allocations_of_kernels<2>(8) == allocations_of_kernels<2>(64));
    CHECK(allocations_of_kernels<3>(8) == allocations_of_kernels<3>(64));
    for (const Shape<2>& grid : {Shape<2>{17, 23}, Shape<2>{1, 9}, Shape<2>{8, 1}, Shape<2>{1, 1}, Shape<2>{2, 3}}) {
        test_bspline<2>(grid);
        test_fields<2>(grid);
        test_compositions<2>(grid);
        test_mixtures<2>(grid);
        test_warps<2>(grid, grid);
        test_warps<2>(grid, {5, 6});
    }
    for (const Shape<3>& grid : {Shape<3>{7, 6, 9}, Shape<3>{1, 4, 5}, Shape<3>{5, 1, 1}, Shape<3>{2, 2, 2}}) {
        test_bspline<3>(grid);
        test_fields<3>(grid);
        test_compositions<3>(grid);
        test_mixtures<3>(grid);
        test_warps<3>(grid, grid);
        test_warps<3>(grid, {3, 4, 2});
    }
    std::printf("%d failures\n", failures);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
