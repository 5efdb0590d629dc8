// The order of weights and rows in a recurrent matmul, as matmul.h describes it, and functions that bring them into it.
#pragma once

#include "tiles.h"

template <typename Element>
constexpr int PER_WORD = (int)(sizeof(uint32_t) / sizeof(Element));

static inline int64_t panels(int64_t units) { return (units + LANES - 1) / LANES; }

// Words of depth that units fill, of each gate, in whole panels.
template <typename Element>
static inline int64_t filled_words(int64_t units, int64_t gates) {
    return gates * panels(units) * LANES / PER_WORD<Element>;
}

// Words of depth for units: those that they fill and, where tiles multiply, zeros up to whole stripes.
template <typename Element>
static inline int64_t depth_words(int64_t units, int64_t gates = 1) {
    const int64_t filled = filled_words<Element>(units, gates);
    return BY_TILES<Element> ? (filled + STRIPE - 1) / STRIPE * STRIPE : filled;
}

// The index of a word of packed rows.
template <typename Element>
static inline int64_t packed_index(int64_t rows, int64_t row, int64_t word) {
    return BY_TILES<Element> ? word / STRIPE * STRIPE * rows + row * STRIPE + word % STRIPE : word * rows + row;
}

// Write up to LANES units of a row, the first of them `unit`, into packed rows.
template <typename Element>
static inline void put(uint32_t* a, int64_t rows, int64_t row, int64_t unit, Floats values, int count) {
    uint32_t words[LANES];
    store((Element*)words, first_of(values, count));
    const int64_t first = unit / PER_WORD<Element>;
    for (int word = 0; word < LANES / PER_WORD<Element>; ++word)
        a[packed_index<Element>(rows, row, first + word)] = words[word];
}

// Write zeros behind the units of packed rows, up to whole stripes.
template <typename Element>
static inline void pad(uint32_t* a, int64_t rows, int64_t units, int64_t gates = 1) {
    for (int64_t word = filled_words<Element>(units, gates); word < depth_words<Element>(units, gates); ++word)
        for (int64_t row = 0; row < rows; ++row) a[packed_index<Element>(rows, row, word)] = 0;
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
template <typename Element, int WIDTH>
static inline void put_block(uint32_t* a, int64_t rows, int64_t row, int64_t word, const uint32_t* block, int count) {
    if constexpr (BY_TILES<Element>) {
        for (int index = 0; index < count; ++index)
            for (int part = 0; part < WIDTH * LANES; part += STRIPE)
                memcpy(a + packed_index<Element>(rows, row + index, word + part), block + index * WIDTH * LANES + part,
                       STRIPE * sizeof *a);
        return;
    }
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
    const int64_t empty = depth_words<Element>(units, gates) - filled_words<Element>(units, gates);
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
    memset(packed, 0, empty * V * LANES * sizeof *packed);
}
