// Weight matrices as the inference kernels read them, and their dot products with a small batch of inputs.
//
// A matrix is packed in groups of rows, such as the gates of one unit, so that the thread that forms the gates of a
// unit also applies them. A group is stored in strips of 16 columns, row after row, and is read from its beginning to
// its end; the last strip is padded with zeros. Matrices that are used together may be interleaved group by group.
// Weights are float, or int8 with a scale a row; all sums are float.
#pragma once

#include <cstdlib>

#include "vectors.h"

// columns of a strip; sequences of the batch whose sums are held in registers
constexpr int STRIP = 16, TILE = 4;
// how many bytes ahead of their use weights are prefetched: three pages, as the processor's own prefetching ends with
// one
constexpr int64_t AHEAD = 12288;

static inline Floats load(const int8_t* from) {
#if defined(__AVX512F__)
    return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from)));
#elif defined(__AVX2__)
    return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)from)));
#else
    Floats values;
    for (int lane = 0; lane < LANES; ++lane) values[lane] = from[lane];
    return values;
#endif
}

// The same value, kept in a register: without this, a compiler may load it again from memory for each of its uses.
static inline Floats in_register(Floats value) {
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

static inline int64_t padded(int64_t width) { return (width + STRIP - 1) / STRIP * STRIP; }

// The inputs of a matrix, a row for each sequence of the batch, padded with zeros to whole strips.
class Inputs {
    float* copy = nullptr;

  public:
    const float* rows;
    int64_t width;

    Inputs(const float* x, int64_t own, int64_t batch) : rows(x), width(padded(own)) {
        if (width == own) return;
        copy = (float*)calloc(batch * width, sizeof(float));
        rows = copy;
        if (!copy) return;
        for (int64_t b = 0; b < batch; ++b) memcpy(copy + b * width, x + b * own, own * sizeof(float));
    }
    Inputs(const Inputs&) = delete;
    Inputs& operator=(const Inputs&) = delete;
    ~Inputs() { free(copy); }

    // Whether there was no memory for the padded copy.
    bool failed() const { return width && !rows; }
};

// A packed matrix: its rows are float, or int8 where there are scales. One group begins `stride` entries after another.
struct Matrix {
    const void* weight;
    const float* scale;
    int64_t width, stride;
};

// The dot products of a group of R rows with B inputs, each `width` long: out[row][input]. `gap` is the number of bytes
// between the end of the group and what is read next.
template <int R, int B, typename Weight>
static inline void dots(const Weight* weight, int64_t width, int64_t gap, const float* x, float (*out)[TILE]) {
    const char* end = (const char*)(weight + R * width);
    Floats sums[R][B] = {};
    for (int64_t k = 0; k < width; k += STRIP, weight += R * STRIP) {
        for (int part = 0; part < STRIP; part += LANES) {
            Floats inputs[B];
            for (int b = 0; b < B; ++b) inputs[b] = in_register(load(x + b * width + k + part));
            for (int r = 0; r < R; ++r) {
                const Floats value = in_register(load(weight + r * STRIP + part));
                for (int b = 0; b < B; ++b) sums[r][b] += value * inputs[b];
            }
        }
        const char* later = (const char*)weight + AHEAD;
        if (later >= end) later += gap;
        for (size_t line = 0; line < R * STRIP * sizeof(Weight); line += 64) __builtin_prefetch(later + line, 0, 3);
    }
    for (int r = 0; r < R; ++r)
        for (int b = 0; b < B; ++b) out[r][b] = total(sums[r][b]);
}

template <int R, typename Weight>
static inline void dots_of(int batch, const Weight* weight, int64_t width, int64_t gap, const float* x,
                           float (*out)[TILE]) {
    if (batch == 1)
        dots<R, 1>(weight, width, gap, x, out);
    else if (batch == 2)
        dots<R, 2>(weight, width, gap, x, out);
    else if (batch == 3)
        dots<R, 3>(weight, width, gap, x, out);
    else
        dots<R, 4>(weight, width, gap, x, out);
}
