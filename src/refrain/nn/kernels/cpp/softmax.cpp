// Cross-entropy of rows of logits and its gradient in one pass: a row stays in the first-level caches throughout.

#include <cmath>
#include <cstdlib>

#include "vectors.h"

// logits (words) are replaced by softmax minus one-hot; bias (words) or null. `row` has room for the words, rounded up
// to LANES; so has `totals`, to which the gradient is added, or null.
template <typename Element>
static float one_row(Element* logits, const float* bias, int64_t target, int64_t words, float* row, float* totals) {
    const auto score = [&](int64_t at, int count) {
        const Floats values = load_some(logits + at, count, -INFINITY);
        return bias ? values + load_some(bias + at, count) : values;
    };
    const auto present_at = [&](int64_t at) { return words - at < LANES ? (int)(words - at) : LANES; };
    Floats most = splat(-INFINITY);
    for (int64_t at = 0; at < words; at += LANES) {
        const Floats values = score(at, present_at(at));
        most = values > most ? values : most;
    }
    const float top = largest(most), of_target = to_float(logits[target]) + (bias ? bias[target] : 0.0f);
    Floats total = splat(0.0f);
    for (int64_t at = 0; at < words; at += LANES) {
        Floats below = score(at, present_at(at)) - top;
        Floats exponentials = exponential_in_range(below);
        // below -60: negligible beside the largest, which is 1, or a lane past the end
        exponentials = below < splat(-60.0f) ? splat(0.0f) : exponentials;
        store(row + at, exponentials);
        total += exponentials;
    }
    const float whole = sum(total), scale = 1.0f / whole;
    for (int64_t at = 0; at < words; at += LANES) {
        const Floats values = load(row + at) * scale;
        store_some(logits + at, values, present_at(at));
        if (totals) store(totals + at, load(totals + at) + values);
    }
    // exact also where the probability is so close to 1 that the type of the logits would round it
    from_float(logits + target, row[target] * scale - 1.0f);
    if (totals) totals[target] -= 1.0f;
    return std::log(whole) + (top - of_target);
}

// logits (rows, words), bias (words) or null, targets (rows) -> nats (rows), gradients in the memory of the logits, and
// totals (words) or null, to which their sum over rows is added. Returns 1 if there is no memory for its buffers.
template <typename Element>
static int all_rows(Element* logits, const float* bias, const int64_t* targets, float* nats, float* totals,
                    int64_t rows, int64_t words, int64_t threads) {
    const int64_t room = (words + LANES - 1) / LANES * LANES;
    float* buffers = (float*)calloc(2 * room * threads, sizeof(float));
    if (!buffers) return 1;
#pragma omp parallel num_threads((int)threads)
    {
        float* row = buffers + 2 * room * this_thread();
        float* sums = totals ? row + room : nullptr;
#pragma omp for schedule(static)
        for (int64_t index = 0; index < rows; ++index)
            nats[index] = one_row(logits + index * words, bias, targets[index], words, row, sums);
        if (totals) {
#pragma omp for schedule(static)
            for (int64_t word = 0; word < words; ++word)
                for (int64_t thread = 0; thread < threads; ++thread)
                    totals[word] += buffers[(2 * thread + 1) * room + word];
        }
    }
    free(buffers);
    return 0;
}

#define SOFTMAX_KERNEL(NAME, ELEMENT)                                                                               \
    extern "C" int softmax_gradient_##NAME(ELEMENT* logits, const float* bias, const int64_t* targets, float* nats, \
                                           float* totals, int64_t rows, int64_t words, int64_t threads) {           \
        return all_rows(logits, bias, targets, nats, totals, rows, words, threads);                                 \
    }

SOFTMAX_KERNEL(float32, float)
SOFTMAX_KERNEL(bf16, bf16)

// out (count) = values (count) * factor (1), in one pass; out may be values.
template <typename Element>
static int scaled(const bf16* values, const float* factor, Element* out, int64_t count, int64_t threads) {
    const float scale = *factor;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t at = 0; at < count; at += LANES) {
        const int present = count - at < LANES ? (int)(count - at) : LANES;
        store_some(out + at, load_some(values + at, present) * scale, present);
    }
    return 0;
}

extern "C" int scaled_bf16(const bf16* values, const float* factor, float* out, int64_t count, int64_t threads) {
    return scaled(values, factor, out, count, threads);
}

extern "C" int scaled_bf16_in_place(bf16* values, const float* factor, int64_t count, int64_t threads) {
    return scaled(values, factor, values, count, threads);
}
