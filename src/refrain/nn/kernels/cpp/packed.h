// Matrices as a step reads them, and their products with few inputs.
//
// A matrix is packed in groups of rows, such as the gates of one unit, so that the thread that forms the gates of a unit
// also applies them. A group lies in strips of 16 columns, row after row, and is read from its beginning to its end; the
// last strip is filled up with zeros. Matrices that are used together may lie side by side, group by group. Weights are
// float, or int8 with a scale a row; all sums are float.
#pragma once

#include <cstddef>
#include <vector>

#include "vectors.h"

// columns of a strip, streams whose sums stand in registers
constexpr int STRIP = 16, TILE = 4;
// how many bytes ahead of their use weights are asked for: a page, as the processor's own prefetching ends with one
constexpr ptrdiff_t AHEAD = 4096;

static inline Floats load(const int8_t *from) {
#if defined(__AVX512F__)
    return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
#elif defined(__AVX2__)
    return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
#else
    Floats found;
    for (int lane = 0; lane < LANES; lane++) found[lane] = from[lane];
    return found;
#endif
}

// The same, in a register: left to itself, a compiler may read it again from memory for each of its uses.
static inline Floats held(Floats value) {
#if defined(__x86_64__)
    asm("" : "+v"(value));
#endif
    return value;
}

static inline float total(Floats values) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)values);
#else
    return sum(values);
#endif
}

static inline ptrdiff_t padded(ptrdiff_t width) { return (width + STRIP - 1) / STRIP * STRIP; }

// What a matrix acts on, a row a stream, filled up with zeros to whole strips.
class Inputs {
    std::vector<float> copy;

  public:
    const float *rows;
    ptrdiff_t width;
    Inputs(const float *x, ptrdiff_t own, ptrdiff_t streams) : rows(x), width(padded(own)) {
        if (width == own) return;
        copy.resize(streams * width);
        for (ptrdiff_t s = 0; s < streams; s++) memcpy(&copy[s * width], x + s * own, own * sizeof(float));
        rows = copy.data();
    }
};

// A packed matrix: its rows are float, or int8 where there are scales. From a group to the next it is `stride` entries.
struct Matrix {
    const void *weight;
    const float *scale;
    ptrdiff_t width, stride;
};

// The products of a group of `rows` rows with `streams` inputs, each `width` long: out[row][stream]. What is read next
// begins `gap` bytes behind the group.
template <int rows, int streams, class Weight>
static inline void dots(const Weight *weight, ptrdiff_t width, ptrdiff_t gap, const float *x, float (*out)[TILE]) {
    const char *end = (const char *)(weight + rows * width);
    Floats sums[rows][streams] = {};
    for (ptrdiff_t k = 0; k < width; k += STRIP, weight += rows * STRIP) {
        for (int part = 0; part < STRIP; part += LANES) {
            Floats inputs[streams];
            for (int s = 0; s < streams; s++) inputs[s] = held(load(x + s * width + k + part));
            for (int r = 0; r < rows; r++) {
                const Floats value = held(load(weight + r * STRIP + part));
                for (int s = 0; s < streams; s++) sums[r][s] += value * inputs[s];
            }
        }
        const char *later = (const char *)weight + AHEAD;
        if (later >= end) later += gap;
        // into the second level of the cache: the first has not the room for all that is under way
        for (size_t line = 0; line < rows * STRIP * sizeof(Weight); line += 64) __builtin_prefetch(later + line, 0, 2);
    }
    for (int r = 0; r < rows; r++)
        for (int s = 0; s < streams; s++) out[r][s] = total(sums[r][s]);
}

template <int rows, class Weight>
static inline void tile(int streams, const Weight *weight, ptrdiff_t width, ptrdiff_t gap, const float *x,
                        float (*out)[TILE]) {
    if (streams == 1) dots<rows, 1>(weight, width, gap, x, out);
    else if (streams == 2) dots<rows, 2>(weight, width, gap, x, out);
    else if (streams == 3) dots<rows, 3>(weight, width, gap, x, out);
    else dots<rows, 4>(weight, width, gap, x, out);
}
