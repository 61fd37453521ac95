#include "arrays.hpp"
#include "modelaug/render.hpp"

namespace modelaug::bind {
namespace {

void check_ranges(const Array<float>& ranges, index_t channels) {
    require(ranges.ndim() == 2 && ranges.shape(0) == channels && ranges.shape(1) == 2,
            "ranges must have the shape (c, 2)");
    for (index_t c = 0; c < channels; ++c) require(ranges.at(c, 0) <= ranges.at(c, 1), "ranges must not be reversed");
}

Array<float> bind_texture(const Array<float>& mean, const Array<float>& modes, const Array<float>& ranges,
                          const Array<double>& coefficients, int threads) {
    require(mean.ndim() == 2 && mean.size() > 0, "mean must have the shape (c, pixels)");
    const index_t channels = mean.shape(0), pixels = mean.shape(1);
    require(modes.ndim() == 3 && modes.shape(1) == channels && modes.shape(2) == pixels,
            "modes must have the shape (k, c, pixels)");
    check_ranges(ranges, channels);
    require(coefficients.ndim() == 1 && coefficients.shape(0) == modes.shape(0),
            "coefficients must have the shape (k,)");
    const LinearTexture texture{mean.data(), modes.data(), ranges.data(), modes.shape(0), channels, pixels};
    Array<float> out({channels, pixels});
    const double* c = coefficients.data();
    float* target = out.mutable_data();
    py::gil_scoped_release release;
    render_texture(texture, c, target, threads);
    return out;
}

Array<float> bind_blocks(const Array<float>& images) {
    require(images.ndim() >= 3 && images.size() > 0, "images must have the shape (k, c, *grid)");
    const index_t count = images.shape(0), channels = images.shape(1), columns = images.shape(images.ndim() - 1);
    const index_t rows = images.size() / (count * channels * columns), blocks = (columns + kBlock - 1) / kBlock;
    Array<float> out({rows, blocks, count, channels, index_t{kBlock}});
    const float* const from = images.data();
    float* const to = out.mutable_data();
    std::fill_n(to, out.size(), 0.0f);
    for (index_t image = 0; image < count * channels; ++image)
        for (index_t y = 0; y < rows; ++y)
            for (index_t x = 0; x < columns; ++x)
                to[((y * blocks + x / kBlock) * count * channels + image) * kBlock + x % kBlock] =
                    from[(image * rows + y) * columns + x];
    return out;
}

template <int D>
FieldMixture<D> to_mixture(const Array<float>& images, const Array<float>& inverse_deviation,
                           const Array<float>& ranges, const Array<float>& coefficients) {
    require(images.ndim() == 5 && images.size() > 0, "images must be those of in_blocks");
    require(coefficients.ndim() == D + 1 && coefficients.shape(0) == images.shape(2),
            "coefficients must have the shape (k, *nodes)");
    FieldMixture<D> mixture{images.data(),
                            inverse_deviation.data(),
                            ranges.data(),
                            images.shape(2),
                            images.shape(3),
                            trailing_shape<D>(inverse_deviation),
                            trailing_shape<D>(coefficients)};
    const index_t columns = mixture.grid[D - 1];
    require(columns > 0 && images.shape(0) * columns == volume<D>(mixture.grid) &&
                images.shape(1) == (columns + kBlock - 1) / kBlock && images.shape(4) == kBlock,
            "images must have the rows and blocks of inverse_deviation's grid");
    for (index_t& cells : mixture.cells) {
        cells -= 3;
        require(cells >= 1, "coefficients must have at least 4 nodes along each axis");
    }
    check_ranges(ranges, mixture.channels);
    return mixture;
}

Array<float> bind_fields(const Array<float>& images, const Array<float>& inverse_deviation, const Array<float>& ranges,
                         const Array<float>& mean, const Array<float>& coefficients, int threads) {
    return with_dimension(inverse_deviation.ndim(), [&]<int D>() {
        const FieldMixture<D> mixture = to_mixture<D>(images, inverse_deviation, ranges, coefficients);
        require(mean.ndim() == D + 1 && mean.shape(0) == mixture.channels && trailing_shape<D>(mean) == mixture.grid,
                "mean must have the shape (c, *grid)");
        Array<float> out = new_array<float, D>({mixture.channels}, mixture.grid);
        const float *centre = mean.data(), *nodes = coefficients.data();
        float* target = out.mutable_data();
        py::gil_scoped_release release;
        render_fields<D>(mixture, centre, nodes, target, threads);
        return out;
    });
}

Array<float> bind_patchwork(const Array<float>& images, const Array<float>& inverse_deviation,
                            const Array<float>& ranges, float sharpness, const Array<float>& gain,
                            const Array<float>& bias, const Array<float>& coefficients, int threads) {
    return with_dimension(inverse_deviation.ndim(), [&]<int D>() {
        const FieldMixture<D> mixture = to_mixture<D>(images, inverse_deviation, ranges, coefficients);
        require(gain.ndim() == 1 && bias.ndim() == 1 && gain.shape(0) == mixture.channels &&
                    bias.shape(0) == mixture.channels,
                "gain and bias must have the shape (c,)");
        Array<float> out = new_array<float, D>({mixture.channels}, mixture.grid);
        const float *factors = gain.data(), *offsets = bias.data(), *nodes = coefficients.data();
        float* target = out.mutable_data();
        py::gil_scoped_release release;
        render_patchwork<D>(mixture, sharpness, factors, offsets, nodes, target, threads);
        return out;
    });
}

}  // namespace

void register_render(py::module_& module) {
    module.def("render_texture", &bind_texture, py::arg("mean").noconvert(), py::arg("modes").noconvert(),
               py::arg("ranges").noconvert(), py::arg("coefficients").noconvert(), py::arg("threads"),
               "mean (c, p) + coefficients (k,) @ modes (k, c, p), each channel clamped to its range (c, 2)");
    module.def("in_blocks", &bind_blocks, py::arg("images").noconvert(),
               "images (k, c, *grid) as (rows, blocks, k, c, voxels): what kernels mix at once is one piece of memory");
    module.def("render_fields", &bind_fields, py::arg("images").noconvert(), py::arg("inverse_deviation").noconvert(),
               py::arg("ranges").noconvert(), py::arg("mean").noconvert(), py::arg("coefficients").noconvert(),
               py::arg("threads"),
               "mean (c, *grid) + sum over k of field k times image k, clamped; images of in_blocks");
    module.def("render_patchwork", &bind_patchwork, py::arg("images").noconvert(),
               py::arg("inverse_deviation").noconvert(), py::arg("ranges").noconvert(), py::arg("sharpness"),
               py::arg("gain").noconvert(), py::arg("bias").noconvert(), py::arg("coefficients").noconvert(),
               py::arg("threads"), "bias + gain * images of in_blocks in softmax shares of the fields, clamped");
}

}  // namespace modelaug::bind
