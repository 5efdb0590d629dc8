// The recurrent matmul of a few rows with a weight that is the same for a whole window: packed once, read every step.
//
// out (rows, columns) = a (rows, depth) * weight (depth, columns), with sums in float32. Elements are float or bf16. A
// word is 32 bits: one float, or two bf16 that follow one another in depth. On most processors, elements of `a` are
// also uint8 and those of the weight int8, four a word, with sums of 32 bits in
// the place of floats.
//   Packed weight: panel after panel of V vectors of LANES columns; in a panel a row of V * LANES words for each word
//   of depth. Missing columns are zero. Packed rows: for each word of depth the words of all rows, or, where tiles
//   multiply, for each STRIPE words of depth those words of all rows.
#pragma once

#include "packing.h"

#if defined(__AVX512VNNI__) || (defined(__AVXVNNI__) && !defined(__AVX512F__)) || defined(__ARM_FEATURE_MATMUL_INT8)
#define BYTES 1
#elif defined(__AVX512BW__) || (defined(__AVX2__) && !defined(__AVX512F__)) || (defined(__SSE2__) && !defined(__AVX__))
#define BYTES 1
#define BY_HALVES 1
#endif

// accumulators that leave registers free for the inputs
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ACCUMULATORS = 24;
#else
constexpr int ACCUMULATORS = 12;
#endif

template <typename Element>
static inline Floats multiply_add(Floats sum, uint32_t a, Words b);

template <>
inline Floats multiply_add<float>(Floats sum, uint32_t a, Words b) {
    float value;
    memcpy(&value, &a, sizeof value);
    return sum + value * (Floats)b;
}

template <>
inline Floats multiply_add<bf16>(Floats sum, uint32_t a, Words b) {
#ifdef __AVX512BF16__
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
    return (Floats)vbfdotq_f32((float32x4_t)sum, vreinterpretq_bf16_u32(vdupq_n_u32(a)),
                               vreinterpretq_bf16_u32((uint32x4_t)b));
#else
    const uint32_t first = a << 16, second = a & 0xffff0000u;
    float low, high;
    memcpy(&low, &first, sizeof low);
    memcpy(&high, &second, sizeof high);
    sum = sum + low * (Floats)(b << 16);
    return sum + high * (Floats)(b & 0xffff0000u);
#endif
}

#ifdef BY_HALVES
typedef int16_t Shorts __attribute__((vector_size(4 * LANES)));

// Sums of two products of 16 bits each.
static inline Ints pairs(Shorts a, Shorts b) {
#if defined(__AVX512BW__)
    return (Ints)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
    return (Ints)_mm_madd_epi16((__m128i)a, (__m128i)b);
#endif
}

// Without an instruction for bytes: the even ones and the odd ones as integers of 16 bits, whose sums are as exact.
template <>
inline Floats multiply_add<uint8_t>(Floats sum, uint32_t a, Words b) {
    const Shorts even = (Shorts)(Words{} + (a & 0x00ff00ffu)), odd = (Shorts)(Words{} + (a >> 8 & 0x00ff00ffu));
    return (Floats)((Ints)sum + pairs(even, (Shorts)((Shorts)b << 8) >> 8) + pairs(odd, (Shorts)b >> 8));
}
#elif defined(BYTES)
template <>
inline Floats multiply_add<uint8_t>(Floats sum, uint32_t a, Words b) {
#ifdef __AVX512VNNI__
    return (Floats)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32((int)a), (__m512i)b);
#elif defined(__ARM_FEATURE_MATMUL_INT8)
    return (Floats)vusdotq_s32((int32x4_t)sum, vreinterpretq_u8_u32(vdupq_n_u32(a)),
                               vreinterpretq_s8_u32((uint32x4_t)b));
#else
    return (Floats)_mm256_dpbusd_avx_epi32((__m256i)sum, _mm256_set1_epi32((int)a), (__m256i)b);
#endif
}
#endif

// Words of depth that are multiplied with all rows before those that follow, so that this part of a panel stays in the
// first cache.
template <int V>
constexpr int64_t AT_ONCE = 256 / V;

// R rows times one panel of V vectors; `more` adds to out (R, V, LANES), else it is written. Meanwhile words of the
// weight that are read later, from `ahead` on, are prefetched, as many as a register has for each word of depth.
template <typename Element, int V, int R>
static void multiply_rows(const uint32_t* a, int64_t rows, const uint32_t* panel, int64_t depth, bool more,
                          const uint32_t* ahead, float* out) {
    Floats sums[R][V];
#pragma GCC unroll 24
    for (int row = 0; row < R; ++row)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[row][v] = more ? load(out + (row * V + v) * LANES) : splat(0.0f);
    for (int64_t k = 0; k < depth; ++k, a += rows, panel += V * LANES, ahead += LANES) {
        __builtin_prefetch(ahead, 0, 3);
        Words columns[V];
        // copied vector by vector, because GCC splits one large copy into halves of AVX registers, which stalls
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) memcpy(&columns[v], panel + v * LANES, sizeof columns[v]);
#pragma GCC unroll 24
        for (int row = 0; row < R; ++row)
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sums[row][v] = multiply_add<Element>(sums[row][v], a[row], columns[v]);
    }
#pragma GCC unroll 24
    for (int row = 0; row < R; ++row)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store(out + (row * V + v) * LANES, sums[row][v]);
}

template <typename Element, int V, int R>
static inline void multiply_part(int64_t count, const uint32_t* a, int64_t rows, const uint32_t* panel, int64_t depth,
                                 bool more, const uint32_t* ahead, float* out) {
    if constexpr (R > 1)
        if (count < R) return multiply_part<Element, V, R - 1>(count, a, rows, panel, depth, more, ahead, out);
    multiply_rows<Element, V, R>(a, rows, panel, depth, more, ahead, out);
}

// All rows times one panel of V vectors, written to out (rows, V, LANES), or added to what is there. The panel behind
// it is read next.
template <typename Element, int V, bool ADD = false>
static void multiply(const uint32_t* a, int64_t rows, const uint32_t* panel, int64_t depth, float* out) {
    constexpr int MOST = ACCUMULATORS / V;
    const int64_t parts = (rows + MOST - 1) / MOST;
    const int64_t chunks = (depth + AT_ONCE<V> - 1) / AT_ONCE<V>;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t begin = depth * chunk / chunks, words = depth * (chunk + 1) / chunks - begin;
        const uint32_t* weight = panel + begin * V * LANES;
        const uint32_t* ahead = weight + words * V * LANES;
        for (int64_t part = 0; part < parts; ++part, ahead += words * LANES) {
            const int64_t first = rows * part / parts, last = rows * (part + 1) / parts;
            multiply_part<Element, V, MOST>(last - first, a + begin * rows + first, rows, weight, words,
                                            ADD || chunk > 0, ahead, out + first * V * LANES);
        }
    }
}

// The same, by the tiles of the calling thread where they multiply elements of this type.
template <typename Element, int V>
static void multiply(Tiles& tiles, const uint32_t* a, int64_t rows, const uint32_t* panel, int64_t depth, float* out) {
    if constexpr (BY_TILES<Element>)
        multiply_by_tiles<Element, V>(tiles, a, rows, panel, depth, out);
    else
        multiply<Element, V>(a, rows, panel, depth, out);
}

// The number of units in the register that begins with `unit`; negative or zero if it begins past the end.
static inline int present(int64_t unit, int64_t units) { return units - unit < LANES ? (int)(units - unit) : LANES; }

// Write the sums of a panel (rows, V, LANES) to out (rows, units).
template <int V>
static void store_sums(float* out, const float* sums, int64_t rows, int64_t units, int64_t panel) {
    for (int v = 0; v < V; ++v) {
        const int64_t unit = (panel * V + v) * LANES;
        const int count = present(unit, units);
        for (int64_t row = 0; row < rows && count > 0; ++row)
            store_some(out + row * units + unit, load(sums + (row * V + v) * LANES), count);
    }
}

// A thread's share of the panels: the same at every step, so that its part of the weight stays in its cache.
struct Share {
    int64_t first, last;
    Share(int64_t count, int thread, int threads)
        : first(count * thread / threads), last(count * (thread + 1) / threads) {}
};

static inline int team_size() {
#ifdef _OPENMP
    return omp_get_num_threads();
#else
    return 1;
#endif
}
