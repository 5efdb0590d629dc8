// Scores of many sequences at once by int8 matmuls: the window of an LSTM, and the nats of words.
//
// Weights are integers from -127 to 127 with a scale a row. Each row of inputs is rounded to 127ths of its largest
// entry when it is used, plus 128, because the processor multiplies unsigned inputs by signed weights; `start`, minus
// 128 times the sum of a weight's row, takes that back. Sums of products are exact, so the result of a row depends
// neither on the other rows nor on the number of threads. What follows a sum is float.
//
// Weights are packed as in matmul.h, four integers a word, with V = 4: panels of 4 * LANES rows of a matrix, or of the
// four gates of LANES units. Scales, starts and biases are in the same order. Functions return 0, or 1 where there was
// no memory; then their outputs have no meaning.

#include <cfloat>
#include <cmath>
#include <cstdlib>

#include "integers.h"

#ifdef BYTES

// how far a logit, in bits, may exceed the one that is subtracted before the power of two
constexpr float ROOM = 60.0f;
// rows whose powers are computed side by side: the steps of one wait for each other
constexpr int ABREAST = 2;

// Rows of a batch, over all steps of a window.
struct Window {
    Integers first, second;
    const float* bias;     // as packed
    const float* x;        // (steps, batch, width of first)
    const float* hidden;   // (batch, size), before the window
    float *cell, *output;  // (batch, size), replaced by that after the window; (steps, batch, size)
    int64_t size, batch, steps;
};

// One panel of units of the cell, for `rows` rows from `row` on in step t.
static void cell_panel(const Window& p, int64_t t, int64_t row, int64_t rows, int64_t panel, const float* by_input,
                       const float* by_state, const float* scales_x, const float* scales_h) {
    const int64_t unit = panel * LANES;
    const int count = present(unit, p.size);
    for (int64_t r = 0; r < rows; ++r) {
        Floats gates[V];
        for (int v = 0; v < V; ++v) {
            const int64_t at = panel * PANEL + v * LANES, sum_at = (r * V + v) * LANES;
            gates[v] = p.first.numbers(by_input + sum_at, at, scales_x[r]) +
                       p.second.numbers(by_state + sum_at, at, scales_h[r]) + load(p.bias + at);
        }
        const Floats i = sigmoid(gates[0]), f = sigmoid(gates[1]), o = sigmoid(gates[3]);
        float* cell = p.cell + (row + r) * p.size + unit;
        const Floats after = f * load_some(cell, count) + i * hyperbolic_tangent(gates[2]);
        store_some(cell, after, count);
        store_some(p.output + (t * p.batch + row + r) * p.size + unit, o * hyperbolic_tangent(after), count);
    }
}

static void window_block(const Window& p, int64_t row, int64_t rows, uint32_t* packed) {
    alignas(64) float by_input[BLOCK * PANEL], by_state[BLOCK * PANEL];
    float scales_x[BLOCK], scales_h[BLOCK];
    uint32_t* states = packed + BLOCK * p.first.depth();
    Tiles tiles;
    for (int64_t t = 0; t < p.steps; ++t) {
        const float* before = t ? p.output + (t - 1) * p.batch * p.size : p.hidden;
        round_rows(p.x + (t * p.batch + row) * p.first.width, rows, p.first.width, packed, scales_x);
        round_rows(before + row * p.size, rows, p.size, states, scales_h);
        for (int64_t panel = 0; panel < panels(p.size); ++panel) {
            multiply<uint8_t, V>(tiles, packed, rows, p.first.panel(panel), p.first.depth(), by_input);
            multiply<uint8_t, V>(tiles, states, rows, p.second.panel(panel), p.second.depth(), by_state);
            cell_panel(p, t, row, rows, panel, by_input, by_state, scales_x, scales_h);
        }
    }
}

// For each row of a block the sum of 2^(logit - top), in LANES parts.
struct Totals {
    alignas(64) float parts[BLOCK * LANES] = {};
    float tops[BLOCK], limits[BLOCK];

    Totals() {
        for (int row = 0; row < BLOCK; ++row) set_top(row, -FLT_MAX);
    }
    void set_top(int64_t row, float top) {
        tops[row] = top;
        limits[row] = top + ROOM;
    }
    // A logit of the row exceeds its limit.
    __attribute__((noinline)) void raise_top(int64_t row, float top) {
        store(parts + row * LANES, load(parts + row * LANES) * std::exp2(tops[row] - top));
        set_top(row, top);
    }
    float logarithm(int64_t row) const { return tops[row] + std::log2(sum(load(parts + row * LANES))); }
};

// 2^x with a relative error of at most 3e-7 for x in [-126, 126]; less counts as -126, and NaN stays NaN. The
// polynomial has the least largest relative error of its degree on [-1/2, 1/2] (Remez).
__attribute__((always_inline)) static inline Floats power_of_two(Floats x) {
    const float shift = 12583039.0f;  // 1.5 * 2^23 + 127: adding it rounds, and leaves the exponent in the lowest bits
    x = larger(splat(-126.0f), x);
    const Floats shifted = x + shift, rest = x - (shifted - shift);
    Floats series = splat(1.32764724e-3f);
    series = series * rest + 9.67554096e-3f;
    series = series * rest + 5.55071309e-2f;
    series = series * rest + 2.40221202e-1f;
    series = series * rest + 6.93146944e-1f;
    series = series * rest + 1.00000012f;
    return series * (Floats)((Words)shifted << 23);
}

// Add 2^logit of the words of a panel to the totals of R rows from `row` on. `sums` are the panel's, `scales` the
// rows'.
template <int R>
static inline void add_powers(const Integers& matrix, const float* bias, const float* sums, const float* scales,
                              int64_t panel, int64_t row, Totals& totals) {
    Floats logits[R][V];
    for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) {
            const int64_t at = panel * PANEL + v * LANES, sum_at = ((row + r) * V + v) * LANES;
            logits[r][v] = matrix.numbers(sums + sum_at, at, scales[row + r]) + load(bias + at);
        }
        const Floats most = larger(larger(logits[r][0], logits[r][1]), larger(logits[r][2], logits[r][3]));
        const Ints higher = most > splat(totals.limits[row + r]);
        if (any(higher)) totals.raise_top(row + r, largest(most));
    }
    for (int r = 0; r < R; ++r) {
        Floats total = load(totals.parts + (row + r) * LANES);
        for (int v = 0; v < V; ++v) total += power_of_two(logits[r][v] - totals.tops[row + r]);
        store(totals.parts + (row + r) * LANES, total);
    }
}

// Normalisers of rows: log2 of the sum of 2^logit. `count` is that of the panels; biases past the last word are
// -infinity.
static void normalise(const Integers& matrix, const float* bias, const uint32_t* x, const float* scales, int64_t rows,
                      int64_t count, float* normalisers) {
    alignas(64) float sums[BLOCK * PANEL];
    Totals totals;
    Tiles tiles;
    for (int64_t panel = 0; panel < count; ++panel) {
        multiply<uint8_t, V>(tiles, x, rows, matrix.panel(panel), matrix.depth(), sums);
        int64_t row = 0;
        for (; row + ABREAST <= rows; row += ABREAST)
            add_powers<ABREAST>(matrix, bias, sums, scales, panel, row, totals);
        for (; row < rows; ++row) add_powers<1>(matrix, bias, sums, scales, panel, row, totals);
    }
    for (int64_t row = 0; row < rows; ++row) normalisers[row] = totals.logarithm(row);
}

// The logit, in bits, of a word for one of the packed rows of a block.
static float logit(const Integers& matrix, const float* bias, const uint32_t* x, int64_t rows, int64_t row, float scale,
                   int64_t word) {
    const uint32_t* weight = matrix.panel(word / PANEL) + word % PANEL;
    int32_t whole = matrix.start[word];
    for (int64_t k = 0; k < matrix.depth(); ++k) {
        uint8_t inputs[4];
        int8_t weights[4];
        memcpy(inputs, x + packed_index<uint8_t>(rows, row, k), 4);
        memcpy(weights, weight + k * PANEL, 4);
        for (int part = 0; part < 4; ++part) whole += inputs[part] * weights[part];
    }
    return (float)whole * (matrix.scale[word] * scale) + bias[word];
}

extern "C" {

// A window of an LSTM: x (steps, batch, width) and the state before it -> output (steps, batch, size); `cell` goes from
// that before the window to that after it.
int integer_lstm_window(const uint32_t* first, const float* first_scale, const int32_t* first_start,
                        const uint32_t* second, const float* second_scale, const int32_t* second_start,
                        const float* bias, const float* x, const float* hidden, float* cell, float* output,
                        int64_t width, int64_t size, int64_t batch, int64_t steps, int64_t threads) {
    const Window window = {{first, first_scale, first_start, width},
                           {second, second_scale, second_start, size},
                           bias,
                           x,
                           hidden,
                           cell,
                           output,
                           size,
                           batch,
                           steps};
    const int64_t blocks = (batch + BLOCK - 1) / BLOCK;
    const int64_t words = BLOCK * (window.first.depth() + window.second.depth());
    uint32_t* packed = (uint32_t*)malloc(blocks * words * sizeof(uint32_t));
    if (!packed) return 1;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
        // blocks of about the same size, so that none is left with a few rows
        const int64_t row = batch * block / blocks, last = batch * (block + 1) / blocks;
        window_block(window, row, last - row, packed + block * words);
    }
    free(packed);
    return 0;
}

// x (rows, width); pairs of a row and a word -> the nats of each word (pairs). `words` are padded to whole panels;
// their scales and biases are those of logits in bits.
int integer_nats(const uint32_t* weight, const float* scale, const int32_t* start, const float* bias, const float* x,
                 const int64_t* pair_rows, const int64_t* pair_words, float* nats, int64_t words, int64_t width,
                 int64_t rows, int64_t pairs, int64_t threads) {
    const Integers matrix = {weight, scale, start, width};
    const int64_t depth = matrix.depth(), blocks = (rows + BLOCK - 1) / BLOCK;
    uint32_t* packed = (uint32_t*)malloc(rows * (depth + 2) * sizeof(uint32_t) + 1);
    if (!packed) return 1;
    float *scales = (float*)(packed + rows * depth), *normalisers = scales + rows;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t row = block * BLOCK, count = rows - row < BLOCK ? rows - row : BLOCK;
        round_rows(x + row * width, count, width, packed + row * depth, scales + row);
        normalise(matrix, bias, packed + row * depth, scales + row, count, words / PANEL, normalisers + row);
    }
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t pair = 0; pair < pairs; ++pair) {
        const int64_t row = pair_rows[pair], first = row / BLOCK * BLOCK;
        const int64_t count = rows - first < BLOCK ? rows - first : BLOCK;
        const float bits = normalisers[row] - logit(matrix, bias, packed + first * depth, count, row - first,
                                                    scales[row], pair_words[pair]);
        nats[pair] = bits * 0.693147181f;
    }
    free(packed);
    return 0;
}
}

#endif

// The width of a vector in the order of packed weights, or 0 without int8 matmuls.
extern "C" int integer_lanes() {
#ifdef BYTES
    return LANES;
#else
    return 0;
#endif
}

// The number that the columns of a packed matrix are a multiple of.
extern "C" int integer_columns() {
#ifdef BYTES
    return (int)WHOLE;
#else
    return 4;
#endif
}
