#include <cstdint>

#include "arrays.hpp"
#include "modelaug/warp.hpp"

namespace modelaug::bind {
namespace {

template <typename T, int D>
WarpBatch<T, D> to_batch(const Array<T>& images, const Array<float>& displacements) {
    require(images.ndim() == D + 2, "images must have the shape (b, c, *grid)");
    require(displacements.ndim() == D + 2 && displacements.shape(1) == D,
            "displacements must have the shape (b, d, *grid)");
    require(displacements.shape(0) == images.shape(0) || displacements.shape(0) == 1,
            "displacements must hold one field per image, or one for all");
    require(images.size() > 0 && displacements.size() > 0, "images and displacements must not be empty");
    const Shape<D> shape = trailing_shape<D>(images), out_shape = trailing_shape<D>(displacements);
    require(countable<D>(shape) && countable<D>(out_shape),
            "a grid must have less than 2^31 voxels, and at most 2^24 along an axis");
    return {images.data(),        images.shape(0),        images.shape(1), shape,
            displacements.data(), displacements.shape(0), out_shape};
}

template <typename T>
Array<T> bind_nearest(const Array<T>& images, const Array<float>& displacements, bool constant, T fill, int threads,
                      const std::optional<Array<T>>& out) {
    return with_dimension(displacements.ndim() - 2, [&]<int D>() {
        const WarpBatch<T, D> batch = to_batch<T, D>(images, displacements);
        Array<T> result = result_array<T, D>(out, {batch.count, batch.channels}, batch.out_shape);
        T* target = result.mutable_data();
        py::gil_scoped_release release;
        warp_nearest<T, D>(batch, constant, fill, target, threads);
        return result;
    });
}

Array<float> bind_warp(const Array<float>& images, const Array<float>& displacements, bool cubic, bool constant,
                       double fill, int threads, const std::optional<Array<float>>& out) {
    return with_dimension(displacements.ndim() - 2, [&]<int D>() {
        const WarpBatch<float, D> batch = to_batch<float, D>(images, displacements);
        Array<float> result = result_array<float, D>(out, {batch.count, batch.channels}, batch.out_shape);
        float* target = result.mutable_data();
        py::gil_scoped_release release;
        (cubic ? warp_cubic<D> : warp_linear<D>)(batch, Border{constant, fill}, target, threads);
        return result;
    });
}

template <typename T>
void register_nearest(py::module_& module) {
    module.def("warp_nearest", &bind_nearest<T>, py::arg("images").noconvert(), py::arg("displacements").noconvert(),
               py::arg("constant"), py::arg("fill"), py::arg("threads"), py::arg("out").noconvert() = py::none(),
               "images (b, c, *grid) through fields, order 0");
}

}  // namespace

void register_warp(py::module_& module) {
    register_nearest<std::uint8_t>(module);
    register_nearest<std::uint16_t>(module);
    register_nearest<std::uint32_t>(module);
    register_nearest<std::uint64_t>(module);
    module.def("warp", &bind_warp, py::arg("images").noconvert(), py::arg("displacements").noconvert(),
               py::arg("cubic"), py::arg("constant"), py::arg("fill"), py::arg("threads"),
               py::arg("out").noconvert() = py::none(),
               "images (b, c, *grid) through fields (b or 1, d, *grid), order 1 or 3");
}

}  // namespace modelaug::bind
