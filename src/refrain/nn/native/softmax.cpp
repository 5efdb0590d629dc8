// Cross-entropy of rows of logits and its gradient, in one pass: a row stays in the first caches from logits to gradient.

#include <cmath>
#include <cstdlib>

#include "vectors.h"

// logits (rows, words), overwritten by softmax less one at the target; bias (words) or null; nats (rows).
// `row` has room for the words, rounded up to LANES.
template <typename Element>
static float one_row(Element* logits, const float* bias, int64_t target, int64_t words, float* row) {
    Floats most = splat(-INFINITY);
    for (int64_t at = 0; at < words; at += LANES) {
        const int count = words - at < LANES ? (int)(words - at) : LANES;
        Floats values = load_some(logits + at, count, -INFINITY);
        if (bias) values += load_some(bias + at, count);
        store(row + at, values);
        most = values > most ? values : most;
    }
    const float top = largest(most), wanted = row[target];
    Floats total = splat(0.0f);
    for (int64_t at = 0; at < words; at += LANES) {
        Floats below = load(row + at) - top;
        Floats shares = exponential(below);
        // nothing beside the top's 1, and in no danger of becoming slow subnormal numbers; so are lanes behind the last
        shares = below < splat(-60.0f) ? splat(0.0f) : shares;
        store(row + at, shares);
        total += shares;
    }
    const float whole = sum(total), scale = 1.0f / whole;
    for (int64_t at = 0; at < words; at += LANES) {
        const int count = words - at < LANES ? (int)(words - at) : LANES;
        store_some(logits + at, load(row + at) * scale, count);
    }
    // exact also where the share is so near to 1 that the type of the logits rounds it
    from_float(logits + target, row[target] * scale - 1.0f);
    return std::log(whole) + top - wanted;
}

template <typename Element>
static int all_rows(Element* logits, const float* bias, const int64_t* targets, float* nats, int64_t rows,
                    int64_t words, int64_t threads) {
    const int64_t room = (words + LANES - 1) / LANES * LANES;
    float* buffers = (float*)malloc(sizeof(float) * room * threads);
    if (!buffers) return 1;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t index = 0; index < rows; ++index) {
        int thread = 0;
#ifdef _OPENMP
        thread = omp_get_thread_num();
#endif
        nats[index] = one_row(logits + index * words, bias, targets[index], words, buffers + thread * room);
    }
    free(buffers);
    return 0;
}

extern "C" int softmax_gradient_float32(float* logits, const float* bias, const int64_t* targets, float* nats,
                                        int64_t rows, int64_t words, int64_t threads) {
    return all_rows(logits, bias, targets, nats, rows, words, threads);
}

extern "C" int softmax_gradient_bf16(bf16* logits, const float* bias, const int64_t* targets, float* nats,
                                     int64_t rows, int64_t words, int64_t threads) {
    return all_rows(logits, bias, targets, nats, rows, words, threads);
}
