#include "arrays.hpp"
#include "modelaug/crossings.hpp"

namespace modelaug::bind {
namespace {

using Indices = Array<std::int64_t>;

Array<std::int64_t> bind_crossings(const Array<double>& points, const Indices& starts, const Indices& ends,
                                   const Indices& contours) {
    require(points.ndim() == 2 && points.shape(1) == 2, "points must have the shape (m, 2)");
    const index_t count = starts.size();
    require(ends.size() == count && contours.size() == count, "starts, ends and contours must have the same length");
    std::int64_t last = -1;
    for (index_t i = 0; i < count; ++i) {
        for (const std::int64_t point : {starts.data()[i], ends.data()[i]})
            require(point >= 0 && point < points.shape(0), "starts and ends must be indices of points");
        require(contours.data()[i] >= std::max<std::int64_t>(last, 0), "contours must be numbers that do not fall");
        last = contours.data()[i];
    }
    require(last < count, "contours must be fewer than segments");
    Array<std::int64_t> counts({last + 1, last + 1});
    std::fill_n(counts.mutable_data(), counts.size(), 0);
    count_crossings(points.data(), {starts.data(), ends.data(), contours.data(), count}, last + 1,
                    counts.mutable_data());
    return counts;
}

}  // namespace

void register_crossings(py::module_& module) {
    module.def("count_crossings", &bind_crossings, py::arg("points").noconvert(), py::arg("starts").noconvert(),
               py::arg("ends").noconvert(), py::arg("contours").noconvert(),
               "crossings (contours, contours), above and on the diagonal, of segments between points (m, 2)");
}

}  // namespace modelaug::bind
