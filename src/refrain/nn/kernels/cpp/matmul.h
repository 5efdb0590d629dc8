// The recurrent matmul of a few rows with a weight that is the same for a whole window: packed once, read every step.
//
// out (rows, columns) = a (rows, depth) * weight (depth, columns), with sums in float32. Elements are float or bf16. A
// word is 32 bits: one float, or two bf16 that follow one another in depth. On most processors, elements of `a` are
// also unsigned and those of the weight signed integers of eight bits, four a word, with sums of 32 bits in the place
// of floats.
//   Packed weight: panel after panel of V vectors of LANES columns; in a panel a row of V * LANES words for each word
//   of depth. Missing columns are zero. Packed rows: for each word of depth the words of all rows.
#pragma once

#include "vectors.h"

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
constexpr int PER_WORD = (int)(sizeof(uint32_t) / sizeof(Element));

static inline int64_t panels(int64_t units) { return (units + LANES - 1) / LANES; }

// Words of depth for a number of units, which are padded to whole panels.
template <typename Element>
static inline int64_t depth_words(int64_t units) {
    return panels(units) * LANES / PER_WORD<Element>;
}

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
static void multiply_tile(const uint32_t* a, int64_t rows, const uint32_t* panel, int64_t depth, bool more,
                          const uint32_t* ahead, float* out) {
    Floats sums[R][V];
#pragma GCC unroll 24
    for (int row = 0; row < R; ++row)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[row][v] = more ? load(out + (row * V + v) * LANES) : splat(0.0f);
    for (int64_t k = 0; k < depth; ++k, a += rows, panel += V * LANES, ahead += LANES) {
        __builtin_prefetch(ahead, 0, 3);
        Words columns[V];
        // one by one: of a single copy GCC makes halves of AVX registers, and waits for them
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
static inline void multiply_tiles(int64_t count, const uint32_t* a, int64_t rows, const uint32_t* panel, int64_t depth,
                                  bool more, const uint32_t* ahead, float* out) {
    if constexpr (R > 1)
        if (count < R) return multiply_tiles<Element, V, R - 1>(count, a, rows, panel, depth, more, ahead, out);
    multiply_tile<Element, V, R>(a, rows, panel, depth, more, ahead, out);
}

// All rows times one panel of V vectors, written to out (rows, V, LANES), or added to what is there. The panel behind
// it is read next.
template <typename Element, int V, bool ADD = false>
static void multiply(const uint32_t* a, int64_t rows, const uint32_t* panel, int64_t depth, float* out) {
    constexpr int MOST = ACCUMULATORS / V;
    const int64_t tiles = (rows + MOST - 1) / MOST;
    const int64_t chunks = (depth + AT_ONCE<V> - 1) / AT_ONCE<V>;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t begin = depth * chunk / chunks, words = depth * (chunk + 1) / chunks - begin;
        const uint32_t* part = panel + begin * V * LANES;
        const uint32_t* ahead = part + words * V * LANES;
        for (int64_t index = 0; index < tiles; ++index, ahead += words * LANES) {
            const int64_t first = rows * index / tiles, last = rows * (index + 1) / tiles;
            multiply_tiles<Element, V, MOST>(last - first, a + begin * rows + first, rows, part, words,
                                             ADD || chunk > 0, ahead, out + first * V * LANES);
        }
    }
}

// Write up to LANES units of a row, the first of them `unit`, into packed rows.
template <typename Element>
static inline void put(uint32_t* a, int64_t rows, int64_t row, int64_t unit, Floats values, int count) {
    uint32_t words[LANES];
    store((Element*)words, first_of(values, count));
    const int64_t first = unit / PER_WORD<Element>;
    for (int word = 0; word < LANES / PER_WORD<Element>; ++word) a[(first + word) * rows + row] = words[word];
}

// The lower (half = 0) or upper (half = 1) half of two registers, word by word in turns.
template <int half>
static inline Words interleaved(Words a, Words b) {
#if defined(__GNUC__) && !defined(__clang__)
    Words order;
    for (int lane = 0; lane < LANES; ++lane) order[lane] = half * LANES / 2 + lane / 2 + lane % 2 * LANES;
    return __builtin_shuffle(a, b, order);
#else
    Words words;
    for (int lane = 0; lane < LANES; ++lane) words[lane] = (lane % 2 ? b : a)[half * LANES / 2 + lane / 2];
    return words;
#endif
}

// Transpose a square of LANES words: each round interleaves the first half of the registers with the second.
static inline void transpose(Words (&square)[LANES]) {
    for (int round = 1; round < LANES; round *= 2) {
        Words next[LANES];
#pragma GCC unroll 16
        for (int index = 0; index < LANES / 2; ++index) {
            next[2 * index] = interleaved<0>(square[index], square[index + LANES / 2]);
            next[2 * index + 1] = interleaved<1>(square[index], square[index + LANES / 2]);
        }
#pragma GCC unroll 16
        for (int index = 0; index < LANES; ++index) square[index] = next[index];
    }
}

// Write words of up to LANES rows into packed rows, from a row and a word of depth on. `block` has LANES rows of
// WIDTH * LANES words.
template <int WIDTH>
static inline void put_block(uint32_t* a, int64_t rows, int64_t row, int64_t word, const uint32_t* block, int count) {
    for (int part = 0; part < WIDTH * LANES; part += LANES) {
        Words square[LANES];
        for (int index = 0; index < LANES; ++index)
            memcpy(&square[index], block + index * WIDTH * LANES + part, sizeof square[index]);
        transpose(square);
        for (int index = 0; index < LANES; ++index)
            store_some((float*)a + (word + part + index) * rows + row, (Floats)square[index], count);
    }
}

// Pack a panel of the transpose of weight (gates * units, inner). Its V vectors belong to LANES units in each of V
// gates or, where there is a single gate, to V * LANES consecutive units.
template <typename Element, int V>
static void pack_rows(const float* weight, bool gates, int64_t units, int64_t inner, int64_t panel, uint32_t* packed) {
    const int64_t depth = depth_words<Element>(inner);
    alignas(64) uint32_t block[LANES][LANES];
    for (int v = 0; v < V; ++v)
        for (int64_t at = 0; at < depth; at += LANES) {
            for (int lane = 0; lane < LANES; ++lane) {
                const int64_t unit = (gates ? panel : panel * V + v) * LANES + lane;
                const float* from = weight + ((gates ? v * units : 0) + unit) * inner;
                for (int part = 0; part < PER_WORD<Element>; ++part) {
                    const int64_t first = at * PER_WORD<Element> + part * LANES, left = inner - first;
                    const bool exists = unit < units && left > 0;
                    store((Element*)block[lane] + part * LANES,
                          exists ? load_some(from + first, left < LANES ? (int)left : LANES) : splat(0.0f));
                }
            }
            const int words = depth - at < LANES ? (int)(depth - at) : LANES;
            for (int word = 0; word < words; ++word)
                for (int lane = 0; lane < LANES; ++lane)
                    packed[((at + word) * V + v) * LANES + lane] = block[lane][word];
        }
}

// Pack a panel of weight (gates * units, inner): V * LANES columns of it. Depth runs over panels of units, in a panel
// over the gates, in a gate over its units.
template <typename Element, int V>
static void pack_columns(const float* weight, int64_t gates, int64_t units, int64_t inner, int64_t panel,
                         uint32_t* packed) {
    for (int64_t block = 0; block < panels(units); ++block)
        for (int64_t gate = 0; gate < gates; ++gate)
            for (int lane = 0; lane < LANES; lane += PER_WORD<Element>)
                for (int v = 0; v < V; ++v, packed += LANES) {
                    const int64_t column = (panel * V + v) * LANES, left = inner - column;
                    Element parts[2][LANES];
                    for (int part = 0; part < PER_WORD<Element>; ++part) {
                        const int64_t unit = block * LANES + lane + part;
                        const float* from = weight + (gate * units + unit) * inner + column;
                        const bool exists = unit < units && left > 0;
                        store(parts[part], exists ? load_some(from, left < LANES ? (int)left : LANES) : splat(0.0f));
                    }
                    for (int at = 0; at < LANES; ++at)
                        for (int part = 0; part < PER_WORD<Element>; ++part)
                            ((Element*)packed)[at * PER_WORD<Element> + part] = parts[part][at];
                }
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
