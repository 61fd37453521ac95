#include "modelaug/crossings.hpp"

#include <algorithm>
#include <vector>

namespace modelaug {
namespace {

struct Segment {
    double ax, ay, bx, by, left, right, low, high;

    // On which side of the line through the segment a point lies: twice the signed area of the triangle they make.
    double side(double x, double y) const { return (bx - ax) * (y - ay) - (by - ay) * (x - ax); }

    bool separates(const Segment& other) const { return side(other.ax, other.ay) * side(other.bx, other.by) < 0.0; }
};

}  // namespace

void count_crossings(const double* points, const Segments& segments, index_t contours, std::int64_t* counts) {
    std::vector<Segment> all;
    all.reserve(segments.count);
    for (index_t i = 0; i < segments.count; ++i) {
        const double *a = points + 2 * segments.starts[i], *b = points + 2 * segments.ends[i];
        all.push_back({a[0], a[1], b[0], b[1], std::min(a[0], b[0]), std::max(a[0], b[0]), std::min(a[1], b[1]),
                       std::max(a[1], b[1])});
    }
    for (index_t i = 0; i < segments.count; ++i)
        for (index_t j = i + 1; j < segments.count; ++j) {
            const Segment &a = all[i], &b = all[j];
            if (a.right < b.left || b.right < a.left || a.high < b.low || b.high < a.low) continue;
            if (a.separates(b) && b.separates(a)) ++counts[segments.contours[i] * contours + segments.contours[j]];
        }
}

}  // namespace modelaug
