// Runs one kernel once on generated input, for tests/test_instruction_counts.py: what a kernel executes is counted
// between entering and leaving measured(). Without arguments: the compiler and the names of the kernels.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "modelaug/bspline.hpp"
#include "modelaug/composition.hpp"
#include "modelaug/diffeomorphism.hpp"
#include "modelaug/field.hpp"
#include "modelaug/render.hpp"
#include "modelaug/simd.hpp"
#include "modelaug/warp.hpp"

#if defined(__GNUC__)
#define MODELAUG_NOINLINE __attribute__((noinline))
#else
#define MODELAUG_NOINLINE
#endif

extern "C" MODELAUG_NOINLINE void measured(const std::function<void()>& kernel) {
    kernel();
}

namespace {

using namespace modelaug;

using Kernel = std::function<void()>;
using Kernels = std::map<std::string, std::function<Kernel()>>;  // what makes a kernel's input

template <int D>
constexpr Shape<D> kGrid{};
template <>
constexpr Shape<2> kGrid<2>{120, 150};
template <>
constexpr Shape<3> kGrid<3>{20, 18, 22};

// Numbers in [-1, 1) that are the same everywhere.
class Numbers {
  public:
    double next() {
        state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
        return static_cast<double>(state_ >> 11) * 0x1.0p-52 - 1.0;
    }

    template <typename T>
    std::vector<T> many(index_t count, double scale = 1.0) {
        std::vector<T> result;
        for (index_t i = 0; i < count; ++i) result.push_back(static_cast<T>(scale * next()));
        return result;
    }

  private:
    std::uint64_t state_ = 1;
};

template <int D>
Shape<D> equal(index_t length) {
    Shape<D> result;
    result.fill(length);
    return result;
}

// Control points that move by up to `share` of a cell.
template <int D>
struct Displacement {
    Shape<D> cells;
    std::vector<double> nodes;

    Displacement(index_t count, double share) : cells(equal<D>(count)) {
        Numbers numbers;
        for (index_t length : kGrid<D>)
            for (double u : numbers.many<double>(volume<D>(equal<D>(count + 3)),
                                                 share * static_cast<double>(length - 1) / static_cast<double>(count)))
                nodes.push_back(u);
    }

    Lattice<D> lattice() const { return {nodes.data(), D, cells, kGrid<D>}; }

    std::vector<float> field() const {
        std::vector<float> result(D * volume<D>(kGrid<D>));
        evaluate_on_grid<D>(lattice(), result.data(), 1);
        return result;
    }
};

template <int D>
Composition<D> composition_of(const std::vector<Displacement<D>>& steps) {
    Composition<D> composition{{}, identity<D>(), {}};
    for (const Displacement<D>& step : steps) composition.steps.push_back(step.lattice());
    composition.matrix[0][0] = 1.05;
    composition.matrix[0][1] = 0.1;
    composition.offset[0] = 1.5;
    return composition;
}

template <int D>
std::vector<double> voxels() {
    std::vector<double> points;
    for_rows<D>(kGrid<D>, 0, volume<D>(kGrid<D>) / kGrid<D>[D - 1], [&](const Shape<D>& position, index_t) {
        for (index_t x : position) points.push_back(static_cast<double>(x));
    });
    return points;
}

template <int D>
void add_splines(Kernels& kernels, const std::string& suffix) {
    kernels["fit_bspline" + suffix] = [] {
        Numbers numbers;
        const index_t count = D == 2 ? 112 : 300;
        std::vector<double> sites;
        for (index_t i = 0; i < count; ++i)
            for (index_t length : kGrid<D>)
                sites.push_back(0.5 * (numbers.next() + 1.0) * static_cast<double>(length - 1));
        return [sites, count, values = numbers.many<double>(count * D, 3.0)] {
            fit_bspline<D>(sites.data(), values.data(), nullptr, count, D, kGrid<D>,
                           FitOptions{1e-9, D == 2 ? 7 : 5, true}, 1);
        };
    };
    kernels["evaluate_on_grid" + suffix] = [] {
        return [spline = Displacement<D>(D == 2 ? 32 : 8, 0.4),
                out = std::vector<float>(D * volume<D>(kGrid<D>))]() mutable {
            evaluate_on_grid<D>(spline.lattice(), out.data(), 1);
        };
    };
    // The reference at all voxels, here and below: what the kernels in single precision are worth.
    kernels["evaluate_at" + suffix] = [] {
        return [spline = Displacement<D>(D == 2 ? 32 : 8, 0.4), points = voxels<D>(),
                out = std::vector<double>(D * volume<D>(kGrid<D>))]() mutable {
            evaluate_at<D>(spline.lattice(), points.data(), volume<D>(kGrid<D>), false, out.data(), 1);
        };
    };
    kernels["is_diffeomorphic" + suffix] = [] {
        return [spline = Displacement<D>(D == 2 ? 32 : 8, 0.3)] { is_diffeomorphic<D>(spline.lattice(), 0.0); };
    };
}

template <int D>
void add_warps(Kernels& kernels, const std::string& suffix) {
    static constexpr index_t count = 2;
    const auto add = [&](const std::string& name, auto type, auto run) {
        using T = decltype(type);
        kernels[name + suffix] = [run] {
            const index_t values = count * volume<D>(kGrid<D>);
            Numbers numbers;
            std::vector<T> images;
            for (double value : numbers.many<double>(values)) images.push_back(static_cast<T>(5.0 * (value + 1.0)));
            return [images, field = Displacement<D>(5, 0.4).field(), out = std::vector<T>(values), run]() mutable {
                run(WarpBatch<T, D>{images.data(), count, 1, kGrid<D>, field.data(), 1, kGrid<D>}, out.data());
            };
        };
    };
    using Floats = WarpBatch<float, D>;
    add("warp_nearest", std::uint16_t{}, [](const WarpBatch<std::uint16_t, D>& batch, std::uint16_t* out) {
        warp_nearest<std::uint16_t, D>(batch, false, 0, out, 1);
    });
    add("warp_linear", 0.0f, [](const Floats& batch, float* out) { warp_linear<D>(batch, {false, 0.0}, out, 1); });
    add("warp_cubic", 0.0f, [](const Floats& batch, float* out) { warp_cubic<D>(batch, {false, 0.0}, out, 1); });
}

template <int D>
void add_fields(Kernels& kernels, const std::string& suffix) {
    const auto add = [&](const std::string& name, auto run) {
        kernels[name + suffix] = [run] {
            return [u = Displacement<D>(5, 0.4).field(), v = Displacement<D>(7, 0.4).field(),
                    out = std::vector<float>(D * volume<D>(kGrid<D>)),
                    residual = std::vector<float>(volume<D>(kGrid<D>)), run]() mutable {
                run(Field<D>{u.data(), D, kGrid<D>}, Field<D>{v.data(), D, kGrid<D>}, out.data(), residual.data());
            };
        };
    };
    add("compose", [](const Field<D>& u, const Field<D>& v, float* out, float*) { compose<D>(u, v, out, 1); });
    add("invert", [](const Field<D>& u, const Field<D>&, float* out, float* residual) {
        invert<D>(u, InvertOptions{1e-3, 50}, out, residual, 1);
    });
    add("jacobian_determinant",
        [](const Field<D>& u, const Field<D>&, float* out, float*) { jacobian_determinant<D>(u, out, 1); });
}

template <int D>
void add_compositions(Kernels& kernels, const std::string& suffix) {
    using Steps = std::vector<Displacement<D>>;
    kernels["evaluate_composition_on_grid" + suffix] = [] {
        return
            [steps = Steps{{5, 0.3}, {8, 0.3}, {6, 0.3}}, out = std::vector<float>(D * volume<D>(kGrid<D>))]() mutable {
                evaluate_composition_on_grid<D>(composition_of<D>(steps), kGrid<D>, out.data(), 1);
            };
    };
    kernels["evaluate_composition" + suffix] = [] {
        return [steps = Steps{{5, 0.3}, {8, 0.3}, {6, 0.3}}, points = voxels<D>(),
                out = std::vector<double>(D * volume<D>(kGrid<D>)),
                determinants = std::vector<double>(volume<D>(kGrid<D>))]() mutable {
            evaluate_composition<D>(composition_of<D>(steps), points.data(), volume<D>(kGrid<D>), out.data(),
                                    determinants.data(), 1);
        };
    };
    kernels["solve_composition" + suffix] = [] {
        const Steps fixed{{6, 0.3}, {5, 0.2}};
        const std::vector<double> starts = voxels<D>();
        std::vector<double> targets(starts), determinants(volume<D>(kGrid<D>));
        evaluate_composition<D>(composition_of<D>(fixed), starts.data(), volume<D>(kGrid<D>), targets.data(),
                                determinants.data(), 1);
        return [targets, moving = Steps{{5, 0.3}, {8, 0.3}}, y = starts, residuals = determinants]() mutable {
            solve_composition<D>(composition_of<D>(moving), targets.data(), volume<D>(kGrid<D>), {3e-4, 10}, y.data(),
                                 residuals.data(), 1);
        };
    };
    kernels["correspond" + suffix] = [] {
        const Steps fixed{{6, 0.3}, {5, 0.2}};
        std::vector<float> shown(D * volume<D>(kGrid<D>));
        evaluate_composition_on_grid<D>(composition_of<D>(fixed), kGrid<D>, shown.data(), 1);
        return [shown, moving = Steps{{5, 0.3}, {8, 0.3}}, flow = shown,
                residual = std::vector<float>(volume<D>(kGrid<D>))]() mutable {
            correspond<D>(shown.data(), composition_of<D>(moving), kGrid<D>, SolveOptions{3e-4, 10}, flow.data(),
                          residual.data(), 1);
        };
    };
}

template <int D>
void add_mixtures(Kernels& kernels, const std::string& suffix) {
    const auto add = [&](const std::string& name, auto run) {
        kernels[name + suffix] = [run] {
            const index_t count = 20, pixels = volume<D>(kGrid<D>), columns = kGrid<D>[D - 1];
            const index_t padded = pixels / columns * ((columns + kBlock - 1) / kBlock * kBlock);
            Numbers numbers;
            return [images = numbers.many<float>(count * padded), deviation = std::vector<float>(pixels, 1.5f),
                    coefficients = numbers.many<float>(count * volume<D>(equal<D>(7))),
                    ranges = std::vector<float>{-1.0f, 1.0f}, mean = numbers.many<float>(pixels, 0.1),
                    out = std::vector<float>(pixels), run]() mutable {
                const FieldMixture<D> mixture{images.data(), deviation.data(), ranges.data(), count, 1,
                                              kGrid<D>,      equal<D>(4)};
                run(mixture, mean.data(), coefficients.data(), out.data());
            };
        };
    };
    add("render_fields", [](const FieldMixture<D>& mixture, const float* mean, const float* coefficients, float* out) {
        render_fields<D>(mixture, mean, coefficients, out, 1);
    });
    add("render_patchwork", [](const FieldMixture<D>& mixture, const float*, const float* coefficients, float* out) {
        const float gain = 1.1f, bias = 0.1f;
        render_patchwork<D>(mixture, 3.0f, &gain, &bias, coefficients, out, 1);
    });
}

Kernels all_kernels() {
    Kernels kernels;
    add_splines<2>(kernels, "_2d");
    add_splines<3>(kernels, "_3d");
    add_warps<2>(kernels, "_2d");
    add_warps<3>(kernels, "_3d");
    add_fields<2>(kernels, "_2d");
    add_fields<3>(kernels, "_3d");
    add_compositions<2>(kernels, "_2d");
    add_compositions<3>(kernels, "_3d");
    add_mixtures<2>(kernels, "_2d");
    add_mixtures<3>(kernels, "_3d");
    kernels["render_texture"] = [] {
        const index_t modes = 30, pixels = volume<2>(kGrid<2>);
        Numbers numbers;
        return [mean = numbers.many<float>(pixels), basis = numbers.many<float>(modes * pixels),
                coefficients = numbers.many<double>(modes), ranges = std::vector<float>{-1.0f, 1.0f},
                out = std::vector<float>(pixels)]() mutable {
            const index_t count = static_cast<index_t>(coefficients.size());
            const index_t pixels = static_cast<index_t>(mean.size());
            render_texture(LinearTexture{mean.data(), basis.data(), ranges.data(), count, 1, pixels},
                           coefficients.data(), out.data(), 1);
        };
    };
    return kernels;
}

}  // namespace

int main(int argc, char** argv) {
    const Kernels kernels = all_kernels();
    if (argc == 1) {
        std::printf("%s\n", MODELAUG_COMPILER);
        for (const auto& [name, make] : kernels) std::printf("%s\n", name.c_str());
        return EXIT_SUCCESS;
    }
    const auto found = kernels.find(argv[1]);
    if (found == kernels.end()) {
        std::fprintf(stderr, "there is no kernel %s\n", argv[1]);
        return EXIT_FAILURE;
    }
    measured(found->second());
    std::printf("%s\n", modelaug::simd().name);
    return EXIT_SUCCESS;
}
