// Matrices whose panels are read by several rows of inputs, as int8 or as floats.
//
// Weights are packed as in matmul.h with V = 4: panels of 4 * LANES rows of a matrix, or of the four gates of LANES
// units. Scales, starts and biases are in the same order.
#pragma once

#include "matmul.h"

constexpr int V = 4, PANEL = V * LANES;
// rows whose inputs and sums stay in the first-level cache beside a panel, or that tiles multiply two by two
constexpr int BLOCK = BY_TILES<uint8_t> ? 64 : 48;

#ifdef BYTES

typedef uint8_t Bytes __attribute__((vector_size(LANES)));

// integers that depth is a multiple of; those behind the last column are zero in a matrix and anything in its inputs
constexpr int64_t WHOLE = BY_TILES<uint8_t> ? 4 * STRIPE : 4;

// A packed matrix, and what turns its sums into numbers.
struct Integers {
    typedef uint8_t Element;
    const uint32_t* weight;
    const float* scale;
    const int32_t* start;
    int64_t width;

    int64_t depth() const { return (width + WHOLE - 1) / WHOLE * WHOLE / 4; }
    const uint32_t* panel(int64_t index) const { return weight + index * depth() * PANEL; }
    // LANES sums of products with a row of inputs of scale `inputs`, as numbers.
    Floats numbers(const float* sums, int64_t at, float inputs) const {
        Ints whole, first;
        memcpy(&whole, sums, sizeof whole);
        memcpy(&first, start + at, sizeof first);
        return __builtin_convertvector(whole + first, Floats) * (load(scale + at) * inputs);
    }
};

// Round rows (rows, width) to packed rows of bytes, and set the scale of each. A row with an entry that is not finite
// gets the scale NaN.
static void round_rows(const float* x, int64_t rows, int64_t width, uint32_t* packed, float* scales) {
    for (int64_t row = 0; row < rows; ++row, x += width) {
        Floats most = splat(0.0f), spoiled = splat(0.0f);
        for (int64_t at = 0; at < width; at += LANES) {
            const Floats values = load_some(x + at, present(at, width));
            const Floats sizes = values < splat(0.0f) ? -values : values;
            most = sizes > most ? sizes : most;
            spoiled += values * 0.0f;
        }
        const float greatest = largest(most), inverse = greatest > 0.0f ? 127.0f / greatest : 0.0f;
        scales[row] = greatest / 127.0f + sum(spoiled);
        for (int64_t at = 0; at < width; at += LANES) {
            const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to whole numbers
            const Floats shifted = load_some(x + at, present(at, width)) * inverse + shift;
            const Bytes bytes = __builtin_convertvector((Ints)shifted - 0x4b400000 + 128, Bytes);
            uint32_t words[LANES / 4];
            memcpy(words, &bytes, sizeof words);
            for (int word = 0; word < LANES / 4 && at + 4 * word < width; ++word)
                packed[packed_index<uint8_t>(rows, row, at / 4 + word)] = words[word];
        }
    }
}

#endif
