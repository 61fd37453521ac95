// Splines along rows, and images mixed by them. A part of kernels.cpp.
//
// Worth of the splines, by instruction_counts.json: `evaluate_on_grid` executes 75 times fewer instructions in the
// plane and 60 times fewer in space than `evaluate_at`, its reference in double precision, at all voxels. Of mixtures:
// one voxel at a time (MODELAUG_SCALAR) takes 2.5 and 3.2 times as many for render_fields, 9.2 and 8.3 for
// render_patchwork.
#pragma once

#include "assertions.hpp"
#include "modelaug/simd.hpp"
#include "portable.hpp"
#include "sixteen.hpp"

namespace modelaug {
namespace {

void interpolate_slabs(const float* w, const float* MODELAUG_RESTRICT slabs, size inner, float* MODELAUG_RESTRICT out) {
    const float a = w[0], b = w[1], c = w[2], d = w[3];
    const float *second = slabs + inner, *third = second + inner, *fourth = third + inner;
    for (size i = 0; i < inner; ++i) out[i] = a * slabs[i] + b * second[i] + c * third[i] + d * fourth[i];
}

void interpolate_line(const AxisView& axis, const float* MODELAUG_RESTRICT line, float* MODELAUG_RESTRICT out) {
    const AxisBlock* block = axis.blocks;
    for (size x = 0; x < axis.voxels; x += kSixteen, ++block) {
        const float *MODELAUG_RESTRICT w = axis.weights + block->weights, *MODELAUG_RESTRICT c = line + block->first;
        Sixteen sum = c[0] * load_sixteen(w);
        for (std::int32_t i = 1; i < block->count; ++i) sum = sum + c[i] * load_sixteen(w + i * kSixteen);
        store_some(out + x, sum, axis.voxels - x);
    }
}

// --- mixtures

// Calls visit(k, field) for all fields in a block, in their order, and returns the maximum at each voxel.
template <typename Visit>
inline Sixteen evaluate_block(const MixtureRow& row, const AxisBlock& block, const Visit& visit) {
    const float *w = row.axis.weights + block.weights, *lines = row.lines + block.first;
    const size nodes = row.nodes, count = row.count;
    const std::int32_t terms = block.count;
    assert(count >= 1 && block.first >= 0 && terms >= 4 && block.first + terms <= nodes);
    Sixteen maximum = sixteen(-3e38f), second = maximum;
    size k = 0;
    for (; k + 3 < count; k += 4) {
        const float* c = lines + k * nodes;
        const Sixteen first = load_sixteen(w);
        Sixteen f0 = c[0] * first, f1 = c[nodes] * first, f2 = c[2 * nodes] * first, f3 = c[3 * nodes] * first;
        for (std::int32_t i = 1; i < terms; ++i) {
            const Sixteen weight = load_sixteen(w + i * kSixteen);
            f0 = f0 + c[i] * weight;
            f1 = f1 + c[i + nodes] * weight;
            f2 = f2 + c[i + 2 * nodes] * weight;
            f3 = f3 + c[i + 3 * nodes] * weight;
        }
        visit(k, f0);
        visit(k + 1, f1);
        visit(k + 2, f2);
        visit(k + 3, f3);
        maximum = larger(maximum, larger(f0, f1));
        second = larger(second, larger(f2, f3));
    }
    for (; k < count; ++k) {
        const float* c = lines + k * nodes;
        Sixteen field = c[0] * load_sixteen(w);
        for (std::int32_t i = 1; i < terms; ++i) field = field + c[i] * load_sixteen(w + i * kSixteen);
        visit(k, field);
        maximum = larger(maximum, field);
    }
    return larger(maximum, second);
}

inline Sixteen clamped(Sixteen x, const float* range) {
    return smaller(larger(x, sixteen(range[0])), sixteen(range[1]));
}

void mix_fields(const MixtureRow& row, const float* mean) {
    for (size x = 0, b = 0; x < row.axis.voxels; x += kSixteen, ++b) {
        const size left = row.axis.voxels - x;
        evaluate_block(row, row.axis.blocks[b],
                       [&](size k, Sixteen field) { store(row.fields + k * kSixteen, field); });
        const float* images = row.images + b * row.count * row.channels * kSixteen;
        const Sixteen inverse_deviation = load_sixteen(row.inverse_deviation + x, left);
        for (size c = 0; c < row.channels; ++c) {
            Sixteen sum = sixteen(0.0f);
            for (size k = 0; k < row.count; ++k)
                sum = sum + load_sixteen(row.fields + k * kSixteen) *
                                load_sixteen(images + (k * row.channels + c) * kSixteen);
            const Sixteen value = load_sixteen(mean + c * row.channel + x, left) + inverse_deviation * sum;
            store_some(row.out + c * row.channel + x, clamped(value, row.ranges + 2 * c), left);
        }
    }
}

// 2^x for x <= 0 to 3e-7 relative: 2^n by the exponent's bits, times a polynomial in the rest.
inline Sixteen power_of_two(Sixteen x) {
    const Sixteen bounded = larger(x, sixteen(-120.0f));
    const SixteenInts whole = to_ints(bounded - 0.5f);  // not positive: rounds to the nearest
    const Sixteen t = 0.693147181f * (bounded - to_floats(whole));
    const Sixteen p = 1.0f + t * (1.0f + t * (0.5f + t * (0.166666667f + t * (0.0416666667f + 0.00833333333f * t))));
    return p * with_exponent(whole);
}

// Of the largest share; what is smaller is none. Few subjects are left anywhere then, which makes for speed, and a
// share fades to 0 without a jump.
constexpr float kSmallestShare = 1e-3f, kSmallestPower = -9.96578428f;  // its binary logarithm

void mix_patchwork(const MixtureRow& row, float sharpness, const float* gain, const float* bias) {
    const size subjects = row.count, subject = row.channels * kSixteen;
    float* const fields = row.fields;
    std::int32_t* const selected = row.selected;
    for (size x = 0, b = 0; x < row.axis.voxels; x += kSixteen, ++b) {
        const size left = row.axis.voxels - x;
        const float* images = row.images + b * subjects * subject;
        const Sixteen scale = 1.44269504f * sharpness * load_sixteen(row.inverse_deviation + x, left);
        // The maximum is not known yet, but how much lower it can be than in the row before.
        const Sixteen threshold = load_sixteen(row.maxima + x) - row.max_change + sixteen(kSmallestPower) / scale;
        size count = 0;
        const Sixteen maximum = evaluate_block(row, row.axis.blocks[b], [&](size k, Sixteen field) {
            store(fields + count * kSixteen, field);
            selected[count] = static_cast<std::int32_t>(k);
            count += any_less(threshold, field) ? 1 : 0;
        });
        store(row.maxima + x, maximum);
        // The first channel is mixed along the way; what is read of the images comes while shares are computed.
        const Sixteen max_power = scale * maximum;
        Sixteen total = sixteen(0.0f), sum = total;
        for (size i = 0; i < count; ++i) {
            float* const field = fields + i * kSixteen;
            const Sixteen power = power_of_two(scale * load_sixteen(field) - max_power);
            const Sixteen share = larger(power - kSmallestShare, sixteen(0.0f));
            total = total + share;
            const float* image = images + selected[i] * subject;
            prefetch(image + subjects * subject);  // the next block's, which mostly has the same subjects
            sum = sum + share * load_sixteen(image);
            store(field, share);
        }
        for (size c = 0; c < row.channels; ++c) {
            for (size i = 0; c > 0 && i < count; ++i) {
                const Sixteen image = load_sixteen(images + selected[i] * subject + c * kSixteen);
                sum = (i == 0 ? sixteen(0.0f) : sum) + load_sixteen(fields + i * kSixteen) * image;
            }
            const Sixteen value = sixteen(bias[c]) + gain[c] * (sum / total);
            store_some(row.out + c * row.channel + x, clamped(value, row.ranges + 2 * c), left);
        }
    }
}

}  // namespace
}  // namespace modelaug
