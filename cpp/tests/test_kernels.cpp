// Properties of the kernels that need no Python: run under the address, undefined-behaviour and thread sanitizers.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/chain.hpp"
#include "modelaug/field.hpp"
#include "modelaug/injectivity.hpp"
#include "modelaug/parallel.hpp"
#include "modelaug/render.hpp"
#include "modelaug/warp.hpp"

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
    const FitResult<D> fit = fit_bspline<D>(sites.data(), values.data(), nullptr, count, components, grid, options);
    const Lattice<D> lattice{fit.coefficients.get(), components, fit.cells, grid};

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
    compose<D>(far, far, one.data(), 3);

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
void test_chains(const Shape<D>& grid) {
    Numbers numbers;
    std::vector<std::vector<double>> nodes;
    Chain<D> chain{};
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
        chain.steps.push_back(lattice);
    }
    for (std::size_t step = 0; step < nodes.size(); ++step) {
        chain.steps[step].data = nodes[step].data();
        CHECK(is_one_to_one<D>(chain.steps[step], 0.0));
        CHECK(!is_one_to_one<D>(chain.steps[step], 2.0));
    }
    for (int k = 0; k < D; ++k) {
        chain.matrix[k][k] = 1.1;
        chain.matrix[k][(k + 1) % D] = 0.2;
        chain.offset[k] = 3.0 - k;
    }
    const index_t pixels = volume<D>(grid);
    const SolveOptions options{3e-4, 10};
    Chain<D> identity{};
    for (int k = 0; k < D; ++k) identity.matrix[k][k] = 1.0;
    for (const Chain<D>& fixed : {identity, chain}) {
        std::vector<float> shown(D * pixels), flow(D * pixels), again(D * pixels), residual(pixels);
        chain_on_grid<D>(fixed, grid, shown.data(), 1);
        correspond<D>(shown.data(), chain, grid, options, flow.data(), residual.data(), 1);
        for (int threads : {2, 3}) {
            correspond<D>(shown.data(), chain, grid, options, again.data(), residual.data(), threads);
            CHECK(again == flow);
        }
        for_rows<D>(grid, 0, pixels / grid[D - 1], [&](const Shape<D>& position, index_t index) {
            CHECK(residual[index] <= 4e-4f);
            double partner[D], reached[D], determinant = 0.0;
            for (int k = 0; k < D; ++k)
                partner[k] = static_cast<double>(position[k]) + static_cast<double>(flow[k * pixels + index]);
            chain_at<D>(chain, partner, 1, reached, &determinant, 1);
            CHECK(determinant > 0.0);
            for (int k = 0; k < D; ++k)
                CHECK(std::abs(reached[k] - static_cast<double>(position[k]) -
                               static_cast<double>(shown[k * pixels + index])) < 1e-3);
        });
    }
    // Points far beyond the grid, and none that is a number.
    std::vector<double> points, targets, missed(3);
    for (double x : {-1e6, 1e6, std::nan("")})
        for (int k = 0; k < D; ++k) points.push_back(x);
    std::vector<double> values(points.size()), determinants(3);
    chain_at<D>(chain, points.data(), 3, values.data(), determinants.data(), 1);
    chain_solve<D>(chain, values.data(), 3, options, points.data(), missed.data(), 2);
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
    constexpr index_t kVoxels = FieldMixture<D>::kVoxels;
    const index_t padded = pixels / grid[D - 1] * ((grid[D - 1] + kVoxels - 1) / kVoxels * kVoxels);
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
    for (const Shape<2>& grid : {Shape<2>{17, 23}, Shape<2>{1, 9}, Shape<2>{8, 1}, Shape<2>{1, 1}, Shape<2>{2, 3}}) {
        test_bspline<2>(grid);
        test_fields<2>(grid);
        test_chains<2>(grid);
        test_mixtures<2>(grid);
        test_warps<2>(grid, grid);
        test_warps<2>(grid, {5, 6});
    }
    for (const Shape<3>& grid : {Shape<3>{7, 6, 9}, Shape<3>{1, 4, 5}, Shape<3>{5, 1, 1}, Shape<3>{2, 2, 2}}) {
        test_bspline<3>(grid);
        test_fields<3>(grid);
        test_chains<3>(grid);
        test_mixtures<3>(grid);
        test_warps<3>(grid, grid);
        test_warps<3>(grid, {3, 4, 2});
    }
    std::printf("%d failures\n", failures);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
